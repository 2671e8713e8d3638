"""Optimisers by name, and the learning rate over a budget.

sgd: Nesterov momentum 0.9 (Sutskever 2013). adamw: Loshchilov 2017, https://arxiv.org/abs/1711.05101.
muon: Jordan 2024, https://kellerjordan.github.io/posts/muon: momentum made orthogonal, for weight matrices; AdamW for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.errors import unknown


def rate(schedule: str, progress: float) -> float:
    """Learning rate as a share of the highest, for progress in [0, 1] of the budget.

    one_cycle rises over the first fifth and falls linearly to 0 (Smith 2018); cosine
    (Loshchilov 2016), linear and constant warm up for 5 %.
    """
    progress = min(1.0, max(0.0, progress))
    if schedule == "one_cycle":
        return 0.1 + 0.9 * progress / 0.2 if progress < 0.2 else (1 - progress) / 0.8
    warm = min(1.0, (progress + 0.002) / 0.05)
    if schedule == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * progress))
    return warm * (1 - progress) if schedule == "linear" else warm


@torch.no_grad()
def clip(grads: list[Tensor], most: float) -> None:
    """Scale gradients in place so that their common norm is at most `most`; twice as fast as torch's for small nets."""
    norm = torch.linalg.vector_norm
    total = norm(grads[0]) if len(grads) == 1 else norm(torch.stack(torch._foreach_norm(grads)))  # type: ignore[attr-defined]
    torch._foreach_mul_(grads, (most / (total + 1e-6)).clamp(max=1.0))  # type: ignore[attr-defined]


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is replaced by the nearest orthogonal one, by five Newton-Schulz steps.

    Takes weights of two or more axes; a convolution counts as (outputs, everything else).
    """

    def __init__(self, params: Sequence[Tensor], lr: float, momentum: float = 0.9, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                update = weight.grad.add(state["momentum"], alpha=group["momentum"]).flatten(1)
                update = orthogonal(update).view(weight.shape)
                scale = max(1.0, weight.shape[0] / weight[0].numel()) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The orthogonal matrix nearest to a matrix, its singular values within 0.7 to 1.2 of 1 (quintic Newton-Schulz)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.T


def flatten(params: list[nn.Parameter]) -> nn.Parameter:
    """One vector in whose memory these weights lie from now on, and their gradients in its own; convolutions stay apart.

    Updating many small tensors is mostly calling: a step of an MLP 10-64-64-1 takes 0.75 ms with it and 0.94 without.
    """
    whole = nn.Parameter(torch.cat([p.detach().flatten() for p in params]))
    whole.grad = torch.zeros_like(whole)
    start = 0
    for p in params:
        stop = start + p.numel()
        p.data, p.grad = whole.data[start:stop].view(p.shape), whole.grad[start:stop].view(p.shape)
        start = stop
    return whole


def optimizers(name: str, net: nn.Module, lr: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    """The optimisers of a net; group["lr"] is the highest rate, group["highest"] keeps it.

    Only matrices decay, and not those of modules that say `decays = False`. What is no convolution is flattened.
    """
    learned = [p for p in net.parameters() if p.requires_grad]
    spared = {id(p) for m in net.modules() if not getattr(m, "decays", True) for p in m.parameters(recurse=False)}
    matrices = [p for p in learned if p.dim() > 1 and id(p) not in spared]
    vectors = [p for p in learned if p.dim() <= 1 or id(p) in spared]
    if name == "sgd":
        groups = _groups(matrices, vectors, weight_decay)
        made: list[torch.optim.Optimizer] = [torch.optim.SGD(groups, lr, momentum=0.9, nesterov=True, fused=True)]
    elif name == "adamw":
        groups = _groups(matrices, vectors, weight_decay)
        made = [torch.optim.AdamW(groups, lr, betas=(0.9, 0.99), fused=True)]
    elif name == "muon":
        last, inner = matrices[-1:], matrices[:-1]  # the answer layer learns better by AdamW
        made = [torch.optim.AdamW(_groups(last, vectors, weight_decay), lr * 0.1, fused=True)]
        made += [Muon(inner, lr, weight_decay=weight_decay)] if inner else []
    else:
        raise unknown("optimizer", name, ("sgd", "adamw", "muon"))
    for optimizer in made:
        for group in optimizer.param_groups:
            group["highest"] = group["lr"]
    return made


def _groups(decaying: list[nn.Parameter], others: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Groups of weights that decay alike, those flattened that have fewer than four axes (ways.py lays out the rest anew)."""
    parts = [(decaying, weight_decay), (others, 0.0)] if weight_decay else [([*decaying, *others], 0.0)]
    groups = []
    for part, decay in parts:
        flat, apart = [p for p in part if p.dim() < 4], [p for p in part if p.dim() >= 4]
        if part:
            groups.append({"params": [*([flatten(flat)] if flat else []), *apart], "weight_decay": decay})
    return groups
