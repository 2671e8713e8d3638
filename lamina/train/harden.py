"""Adversarial training in one step: every picture is replaced by one near it that the net answers worse.

FGSM from a random start, Wong 2020, https://arxiv.org/abs/2001.03994, algorithm 3: an update costs about two.
"""

from __future__ import annotations

import torch
from torch import nn

from lamina.core.errors import SettingError
from lamina.tasks._task import Batch, Task

STEP = 1.25  # of the radius


def worse(task: Task, net: nn.Module, batch: Batch, radius: float) -> Batch:
    """The prepared batch with pictures in [0, 1] whose pixels are changed by at most `radius`, the way the loss rises.

    Draws from torch's default generator. Raises SettingError when the rows hold no picture.
    """
    if "image" not in batch:
        raise SettingError("--harden changes pictures a little for the worse, and these rows hold none.")
    image = batch["image"]
    start = (image + radius * (2 * torch.rand_like(image) - 1)).clamp_(0, 1).requires_grad_()
    (grad,) = torch.autograd.grad(task.loss(net, {**batch, "image": start}), start)
    change = (start.detach() + STEP * radius * grad.sign() - image).clamp_(-radius, radius)
    return {**batch, "image": (image + change).clamp_(0, 1)}
