"""Residual networks. He 2015, https://arxiv.org/abs/1512.03385; pre-activation: He 2016, https://arxiv.org/abs/1603.05027

18 to 152 are the ImageNet nets (four stages, 64 channels at first), 8 to 110 the CIFAR nets of 6n + 2 layers (three stages,
16 channels at first). Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import SettingError
from lamina.nets._blocks import (
    Features,
    SqueezeExcite,
    Standardize,
    activation,
    checked_stem,
    initialise,
    norm,
    pool,
    weighted,
)

TAKES = ("image",)
SIZES: dict[str, dict] = {
    "8": {"blocks": (1, 1, 1), "width": 16},
    "14": {"blocks": (2, 2, 2), "width": 16},
    "20": {"blocks": (3, 3, 3), "width": 16},
    "32": {"blocks": (5, 5, 5), "width": 16},
    "44": {"blocks": (7, 7, 7), "width": 16},
    "56": {"blocks": (9, 9, 9), "width": 16},
    "110": {"blocks": (18, 18, 18), "width": 16},
    "18": {"blocks": (2, 2, 2, 2), "width": 64},
    "34": {"blocks": (3, 4, 6, 3), "width": 64},
    "50": {"blocks": (3, 4, 6, 3), "width": 64, "bottleneck": True},
    "101": {"blocks": (3, 4, 23, 3), "width": 64, "bottleneck": True},
    "152": {"blocks": (3, 8, 36, 3), "width": 64, "bottleneck": True},
}


@dataclass(frozen=True)
class Config:
    """Sizes of a residual network."""

    classes: int = 10
    """outputs"""
    channels: int = 3
    """channels of the picture"""
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    """residual blocks per stage; each stage after the first halves the side and doubles the channels"""
    width: int = 64
    """channels of the first stage"""
    bottleneck: bool = False
    """blocks of 1x1, 3x3, 1x1 convolutions with four times the channels at their end"""
    preactivation: bool = False
    """normalise and activate before each convolution (He 2016)"""
    stem: str = "small"
    """small: 3x3, keeps the side; half: 3x3 and a pooling; large: 7x7 with stride 2 and a pooling, a quarter of the side"""
    activation: str = "relu"
    """relu leaky_relu gelu silu tanh sigmoid"""
    norm: str = "batch"
    """batch layer instance group weight batch_renorm none"""
    pool: str = "max"
    """pooling of the half and large stems: max or average"""
    dropout: float = 0.0
    """share of the features that is dropped before the classifier"""
    squeeze: int = 0
    """channels per unit of a squeeze-and-excitation in each block (net senet); 0: none"""
    shortcut: bool = True
    """add what goes into a block to what comes out; without it the net is the paper's plain one"""


def suited(image: tuple[int, ...], wished: dict[str, Any]) -> dict[str, Any]:
    """Settings for pictures (channels, height, width), whatever the size: the stem."""
    return {"stem": "large"} if min(image[1:]) > 64 else {}


class Pointwise(nn.Conv2d):
    """1x1 convolution whose stride is a slice before it.

    The same numbers; torch 2.13 on processors without AVX-512 writes beyond its memory in the backward pass of a
    channels-last 1x1 convolution of stride 2 with fewer than 8 input channels.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, bias: bool) -> None:
        super().__init__(c_in, c_out, 1, bias=bias)
        self.every = stride

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, :, :: self.every, :: self.every])


class Conv(nn.Sequential):
    """Convolution and normalisation (post-activation nets), or the other way round (pre-activation nets)."""

    def __init__(self, c_in: int, c_out: int, size: int, stride: int, config: Config, active: bool = True) -> None:
        bias = config.norm in ("none", "weight")
        conv = Pointwise(c_in, c_out, stride, bias) if size == 1 else nn.Conv2d(c_in, c_out, size, stride, 1, bias=bias)
        act = [activation(config.activation)] if active else []
        if config.preactivation:
            super().__init__(norm(config.norm, c_in), *act, weighted(conv, config.norm))
        else:
            super().__init__(weighted(conv, config.norm), norm(config.norm, c_out), *act)


class Block(nn.Module):
    """x -> act(x + residual(x)); in pre-activation nets x + residual(x); in plain nets without the x."""

    def __init__(self, c_in: int, c: int, stride: int, config: Config) -> None:
        super().__init__()
        pre = config.preactivation
        c_out = 4 * c if config.bottleneck else c
        if config.bottleneck:
            layers = [
                Conv(c_in, c, 1, 1, config),
                Conv(c, c, 3, stride, config),
                Conv(c, c_out, 1, 1, config, active=pre),
            ]
        else:
            layers = [Conv(c_in, c, 3, stride, config), Conv(c, c_out, 3, 1, config, active=pre)]
        squeeze = [SqueezeExcite(c_out, max(4, c_out // config.squeeze))] if config.squeeze else []
        self.residual = nn.Sequential(*layers, *squeeze)
        same = c_in == c_out and stride == 1
        adapted = nn.Identity() if same else Conv(c_in, c_out, 1, stride, config, active=False)
        self.shortcut = adapted if config.shortcut else None
        self.act = nn.Identity() if pre else activation(config.activation)

    def forward(self, x: Tensor) -> Tensor:
        changed = self.residual(x)
        return self.act(changed if self.shortcut is None else self.shortcut(x) + changed)


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> logits (batch, classes). Any height and width.

    Raises SettingError, or NameUnknown for a stem, norm, pool or activation that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.width", config.width, 1, 4096)
        within("net.squeeze", config.squeeze, 0, 4096)
        if not config.blocks or min(config.blocks) < 1:
            raise SettingError(f"net.blocks must be whole numbers from 1, one per stage, not {config.blocks}.")
        self.standardize = Standardize(config.channels)
        c, stages = config.width, []
        for i, blocks in enumerate(config.blocks):
            width = config.width * 2**i
            for j in range(blocks):
                stages.append(Block(c, width, 2 if i and not j else 1, config))
                c = 4 * width if config.bottleneck else width
        last = [norm(config.norm, c), activation(config.activation)] if config.preactivation else []
        self.features = Features(*self._stem(config), *stages, *last, width=c)
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(c, config.classes))
        initialise(self.features, "he")

    @staticmethod
    def _stem(config: Config) -> list[nn.Module]:
        size, stride = (7, 2) if checked_stem(config.stem) == "large" else (3, 1)
        conv = nn.Conv2d(config.channels, config.width, size, stride, size // 2, bias=config.norm in ("none", "weight"))
        layers = [weighted(conv, config.norm)]
        if not config.preactivation:
            layers += [norm(config.norm, config.width), activation(config.activation)]
        pooling = {"small": [], "half": [pool(config.pool, 2)], "large": [pool(config.pool, 3, 2, 1)]}
        return layers + pooling[config.stem]

    def forward(self, image: Tensor) -> Tensor:
        x = self.features(self.standardize(image))  # (B, C, H, W)
        return self.classifier(x.mean((2, 3)))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 32, 32)}, (2, 10)
