"""Cross entropy of tokens: the loss and its gradient together, some rows at a time, so that their numbers stay in the cache.

torch goes over all logits ten times, in bfloat16 over copies in float32. On one core with AMX the loss of 2,048 tokens out of 8,000
takes 22 ms forth and back instead of 65, an update of a GPT of byte pairs 147 instead of 184. N tokens, V of the vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

AT_ONCE = 1 << 18  # logits
FEW = 256  # tokens of which torch's own is as fast: of 768 characters out of 70 it takes 0.15 ms where this takes 0.24


def mean_nats(logits: Tensor, target: Tensor, ignored: int = -100, smoothing: float = 0.0) -> Tensor:
    """logits (N, V), target (N,) int64 -> the mean over targets that are not `ignored`, in float32; 0 where all are.

    smoothing: share of the target that all V have alike (Szegedy 2016, https://arxiv.org/abs/1512.00567, section 7).
    """
    if logits.device.type == "cpu" and logits.requires_grad and logits.shape[1] > FEW and len(logits):
        return _Nats.apply(logits, target, ignored, smoothing)  # type: ignore[return-value]
    total = F.cross_entropy(logits.float(), target, ignore_index=ignored, label_smoothing=smoothing, reduction="sum")
    return total / (target != ignored).sum().clamp(min=1)


class _Nats(torch.autograd.Function):
    """Of every row log sum exp z - (1 - s) z[target] - s mean z, whose gradient is softmax z - (1 - s) [target] - s / V."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, ignored: int, smoothing: float) -> Tensor:  # type: ignore[override]
        size, grad = logits.shape[1], torch.empty_like(logits)
        known = (target != ignored).float()
        share, place = known / known.sum().clamp(min=1), target.where(target != ignored, 0)[:, None]
        total = torch.zeros(())
        step = max(1, AT_ONCE // size)
        for start in range(0, len(logits), step):
            rows = slice(start, start + step)
            weight, at = share[rows], place[rows]
            z = logits[rows].to(torch.float32, copy=True)
            z.sub_(z.amax(1, keepdim=True))
            own = z.gather(1, at)[:, 0]
            own = torch.lerp(own, z.mean(1), smoothing) if smoothing else own
            every = z.exp_().sum(1)
            total += ((every.log() - own) * weight).sum()
            z.mul_((weight / every)[:, None])
            if smoothing:
                z.sub_((weight * (smoothing / size))[:, None])
            grad[rows] = z.scatter_add_(1, at, (weight * (smoothing - 1))[:, None])
        ctx.save_for_backward(grad)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        (grad,) = ctx.saved_tensors
        return grad if float(given) == 1 else grad * given, None, None, None
