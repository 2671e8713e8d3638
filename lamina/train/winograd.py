"""Convolutions of 3x3 by a quarter of the multiplications, for training on a processor.

Lavin and Gray 2015, https://arxiv.org/abs/1509.09308, F(4x4, 3x3): tiles of 6x6 pixels and the weights become 36 numbers each
(B^T d B and G g G^T), these are multiplied channel by channel, 36 matrix products in all, and give 4x4 pixels (A^T m A). The
gradients by the input and the weights go the same way (F(3x3, 4x4) for the weights). Rounding is about seven times that of the
plain sum: 4e-5 where answers are of size 1 to 5. A forward and backward pass on one EPYC core against torch's: 64 channels at 56x56
1.4 times as fast, 128 at 28x28 1.9, 256 at 14x14 1.9, 512 at 7x7 1.9; with 48 and fewer it is slower. The gradients of resnet/18 at
224x224: 5.31 to 3.75 s for 32 pictures. Letters: B batch, C channels, K channels that come out, H height, W width, T tiles of a
chunk of pictures; u and v count tiles down and across.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST = 64 * 64  # channels in by channels out; with fewer, changing tiles takes what the products save,
SURE = 80 * 80  # as it does on pictures of fewer pixels than
LARGE = 28 * 28  # 64 channels at 16x16: 1.04 times as fast as torch; 0.8 at 14x14, where tiles hang over the edge
MANY = 128  # tiles of a batch; with fewer, changing the weights takes it
TILES = 256  # of a chunk: enough for products at full speed, few enough to stay in the cache
SIDE = 4  # pixels of a side that a tile answers
G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


def suits(module: nn.Module) -> bool:
    """Whether it is a convolution that this may make faster."""
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (3, 3)
        and module.stride == module.dilation == (1, 1)
        and module.padding in ((0, 0), (1, 1))
        and module.groups == 1
        and module.padding_mode == "zeros"
        and module.in_channels * module.out_channels >= LEAST
        and module.weight.device.type == "cpu"
        and module.weight.dtype == torch.float32
    )


def pays(batch: int, channels: int, kinds: int, high: int, wide: int) -> bool:
    """Whether it is faster for so many answers (batch, kinds, high, wide) of so many channels."""
    down, across, _ = _counts(batch, high, wide)
    filled = high * wide / (SIDE * SIDE * down * across)
    least = LEAST if high * wide >= LARGE else SURE
    return batch * down * across >= MANY and channels * kinds * filled**2 >= least


def used(net: nn.Module) -> bool:
    """Whether a convolution of the net has learned by tiles since they were turned on."""
    return any(getattr(vars(m).get("forward"), "used", False) for m in net.modules())


def turn(net: nn.Module, on: bool) -> None:
    """Let the net's convolutions that suit learn by tiles, or as they came. Answers are computed as they came in any case."""
    for module in net.modules():
        if suits(module):
            module.__dict__.pop("forward", None)
            if on:
                module.forward = Learning(module)  # type: ignore[method-assign, arg-type]


class Learning:
    """The forward of a convolution: by tiles while it learns in float32."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self.conv, self.used = conv, False

    def __call__(self, x: Tensor) -> Tensor:
        conv = self.conv
        learns = conv.training and torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
        lost = 2 - 2 * conv.padding[0]  # type: ignore[operator]
        sides = x.shape[2] - lost, x.shape[3] - lost
        if not learns or x.dtype != torch.float32 or not pays(len(x), conv.in_channels, conv.out_channels, *sides):
            return type(conv).forward(conv, x)
        self.used = True
        y: Tensor = Convolution.apply(x, conv.weight, conv.padding[0])  # type: ignore[assignment]
        return y if conv.bias is None else y + conv.bias[:, None, None]


class Convolution(torch.autograd.Function):
    """x (B, C, H, W), weight (K, C, 3, 3) -> (B, K, H, W), channels last; so many rows of zeros around x, less 1 the answer is smaller."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, around: int) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x, weight)
        ctx.around = around
        return convolved(x, weight, around)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        by_x, by_weight, _ = ctx.needs_input_grad
        return (
            convolved(grad, weight.flip(2, 3).transpose(0, 1), 2 - ctx.around) if by_x else None,
            correlated(x, grad, ctx.around).to(memory_format=torch.channels_last) if by_weight else None,
            None,
        )


def convolved(x: Tensor, weight: Tensor, around: int) -> Tensor:
    """x (B, C, H, W) within zeros, with weight (K, C, 3, 3) -> (B, K, H + 2 around - 2, W + 2 around - 2), channels last."""
    (batch, channels, *sides), kinds = x.shape, len(weight)
    high, wide = (side + 2 * around - 2 for side in sides)
    down, across, chunk = _counts(batch, high, wide)
    products = (_both(weight) @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(36, channels, kinds)
    pixels = _padded(x, SIDE * down + 2, SIDE * across + 2, around)
    made = x.new_empty(batch, SIDE * down, SIDE * across, kinds)
    for start in range(0, batch, chunk):
        held = _tiles(pixels[start : start + chunk], down, across)
        _answer(torch.bmm(held, products), made[start : start + chunk])
    return made[:, :high, :wide].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def correlated(x: Tensor, grad: Tensor, around: int) -> Tensor:
    """The gradient (K, C, 3, 3) by the weight, of x (B, C, H, W) within zeros and the gradient (B, K, ...) by the answer."""
    channels, (batch, kinds, high, wide) = x.shape[1], grad.shape
    down, across, chunk = _counts(batch, high, wide)
    pixels, back = _padded(x, SIDE * down + 2, SIDE * across + 2, around), _padded(grad, SIDE * down, SIDE * across, 0)
    total = x.new_zeros(36, channels, kinds)
    for start in range(0, batch, chunk):
        held = _tiles(pixels[start : start + chunk], down, across)
        total.baddbmm_(held.transpose(1, 2), _spread(back[start : start + chunk]))
    return (_both(x).T @ total.view(36, -1)).view(3, 3, channels, kinds).permute(3, 2, 0, 1)


def _counts(batch: int, high: int, wide: int) -> tuple[int, int, int]:
    """Tiles down and across an answer, and pictures of a chunk."""
    down, across = -(-high // SIDE), -(-wide // SIDE)
    return down, across, min(batch, max(1, TILES // (down * across)))


def _padded(x: Tensor, high: int, wide: int, around: int) -> Tensor:
    """(B, C, H, W) -> (B, high, wide, C): so many rows of zeros above and left, and zeros where nothing is."""
    x = x.contiguous(memory_format=torch.channels_last)
    low, right = high - x.shape[2] - around, wide - x.shape[3] - around
    return F.pad(x, (around, right, around, low)).permute(0, 2, 3, 1)


def _both(like: Tensor) -> Tensor:
    """G by both sides of the weights: (36, 9)."""
    g = like.new_tensor(G)
    return torch.kron(g, g)


def _tiles(pixels: Tensor, down: int, across: int) -> Tensor:
    """(b, 4 u + 2, 4 v + 2, C) -> (36, T, C): B^T d B of every tile."""
    batch, _, wide, channels = pixels.shape
    rows = pixels.new_empty(6, batch, down, wide, channels)
    _inward([pixels[:, i : i + SIDE * down - 3 : SIDE] for i in range(6)], list(rows))
    held = pixels.new_empty(6, 6, batch, down, across, channels)
    _inward([rows[:, :, :, i : i + SIDE * across - 3 : SIDE] for i in range(6)], list(held.unbind(1)))
    return held.view(36, -1, channels)


def _answer(held: Tensor, made: Tensor) -> None:
    """Put A^T m A of (36, T, K) into (b, 4 u, 4 v, K)."""
    batch, high, wide, kinds = made.shape
    down, across = high // SIDE, wide // SIDE
    m = held.view(6, 6, batch, down, across, kinds)
    rows = held.new_empty(SIDE, 6, batch, down, across, kinds)
    _outward(list(m), list(rows))
    places = made.view(batch, down, SIDE, across, SIDE, kinds).permute(4, 2, 0, 1, 3, 5)
    _outward(list(rows.unbind(1)), list(places))


def _spread(back: Tensor) -> Tensor:
    """(b, 4 u, 4 v, K) -> (36, T, K): A y A^T of every tile."""
    batch, high, wide, kinds = back.shape
    down, across = high // SIDE, wide // SIDE
    places = back.reshape(batch, down, SIDE, across, SIDE, kinds)
    rows = back.new_empty(6, batch, down, across, SIDE, kinds)
    _apart(list(places.unbind(2)), list(rows))
    held = back.new_empty(6, 6, batch, down, across, kinds)
    _apart(list(rows.unbind(4)), list(held.unbind(1)))
    return held.view(36, -1, kinds)


def _inward(d: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """out = B^T d (Lavin and Gray 2015, section 4.2), six of each."""
    even, odd = torch.add(d[4], d[2], alpha=-4), torch.add(d[3], d[1], alpha=-4)
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.sub(d[4], d[2], out=even)
    torch.sub(d[3], d[1], out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.add(even, odd, alpha=-2, out=out[4])
    torch.add(even, torch.sub(d[0], d[2], out=out[0]), alpha=4, out=out[0])  # 4 d0 - 5 d2 + d4
    torch.sub(d[5], d[3], out=out[5]).add_(odd, alpha=-4)  # 4 d1 - 5 d3 + d5


def _outward(m: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """out = A^T m, four of six."""
    near, near_apart, far, far_apart = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    torch.add(near_apart, far_apart, alpha=2, out=out[1])
    torch.add(near, far, alpha=4, out=out[2])
    torch.add(near_apart.add_(far_apart, alpha=8), m[5], out=out[3])
    torch.add(near.add_(far), m[0], out=out[0])


def _apart(y: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """out = A y, six of four."""
    even, odd = y[0] + y[2], y[1] + y[3]
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.add(y[0], y[2], alpha=4, out=even)
    torch.add(y[1], y[3], alpha=4, out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.add(even, odd, alpha=-2, out=out[4])
    out[0].copy_(y[0])
    out[5].copy_(y[3])
