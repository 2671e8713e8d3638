"""Adversarial training in one step: every picture is replaced by one near it that the net answers worse.

Projected gradients from a random start, Madry 2017, https://arxiv.org/abs/1706.06083, section 2: an update costs STEPS more. One large
step (Wong 2020, arXiv:2001.03994) is cheaper and leaves more pictures that err (bench/results/trust.md). The radius grows in the
first WARM of the budget: a net that knows nothing learns nothing from the worst.
"""

from __future__ import annotations

import torch
from torch import nn

from lamina.core.errors import SettingError
from lamina.tasks._task import Batch, Task

STEPS = 4
REACH = 2.5  # of the radius that all steps together could go
WARM = 0.3  # share of the budget


def grown(radius: float, progress: float) -> float:
    """The radius at `progress` in [0, 1] of the budget."""
    return radius * min(1.0, progress / WARM)


def worse(task: Task, net: nn.Module, batch: Batch, radius: float) -> Batch:
    """The prepared batch with pictures in [0, 1] whose pixels are changed by at most `radius`, the way the loss rises.

    Draws from torch's default generator. Raises SettingError when the rows hold no picture.
    """
    if "image" not in batch:
        raise SettingError("--harden changes pictures a little for the worse, and these rows hold none.")
    image = batch["image"]
    change = radius * (2 * torch.rand_like(image) - 1)
    for _ in range(STEPS):
        tried = (image + change).clamp_(0, 1).requires_grad_()
        (grad,) = torch.autograd.grad(task.loss(net, {**batch, "image": tried}), tried)
        change = (tried.detach() + REACH / STEPS * radius * grad.sign() - image).clamp_(-radius, radius)
    return {**batch, "image": (image + change).clamp_(0, 1)}
