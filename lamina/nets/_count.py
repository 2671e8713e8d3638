"""Counts of weights and of connections (multiplications by a weight, and additions of a bias), as LeCun 1990 counts them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def weights(net: nn.Module) -> int:
    """Numbers that training changes."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def connections(net: nn.Module, *inputs: Tensor) -> int:
    """Connections for one example: every use of a weight or bias of a layer that shares or does not share them.

    A pooling layer with a weight counts its window's inputs too, as the paper does.
    """
    total = 0

    def count(module: nn.Module, _: tuple, output: Tensor) -> None:
        nonlocal total
        own = sum(p.numel() for p in module.parameters(recurse=False))
        if not own:
            return
        positions = output[0].numel() // output.shape[1] if output.dim() > 2 else 1
        pooled = own == 2 * output.shape[1] and type(module).__name__ == "Subsample"
        total += positions * (own + 3 * output.shape[1] if pooled else own)

    handles = [m.register_forward_hook(count) for m in net.modules()]
    try:
        with torch.no_grad():
            net(*(x[:1] for x in inputs))
    finally:
        for handle in handles:
            handle.remove()
    return total
