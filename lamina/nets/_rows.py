"""Rows of a table in code that is compiled: their gradients are summed in one order.

Code that torch's compiler makes for it lets threads add where they meet, to other bits each time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.nets._dense import compiling


def rows(table: nn.Embedding, numbers: Tensor) -> Tensor:
    """table's rows (.., width) of `numbers` (..) int64."""
    if compiling():
        return _Rows.apply(table.weight, numbers)  # type: ignore[no-any-return]
    return table(numbers)  # type: ignore[no-any-return]


@torch.library.custom_op("lamina::summed", mutates_args=())
def _summed(grad: Tensor, numbers: Tensor, count: int) -> Tensor:
    """(count, width): the sum of the rows of `grad` (.., width) for each of `numbers` (..)."""
    return torch.ops.aten.embedding_dense_backward(grad, numbers, count, -1, False)


@_summed.register_fake
def _(grad: Tensor, numbers: Tensor, count: int) -> Tensor:
    return grad.new_empty(count, grad.shape[-1])


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, numbers: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(numbers)
        ctx.count = len(weight)
        return F.embedding(numbers, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (numbers,) = ctx.saved_tensors
        return _summed(grad.contiguous(), numbers, ctx.count), None
