"""SegNet: the way up puts values where the poolings of the way down found them. Badrinarayanan 2015, https://arxiv.org/abs/1511.00561

"2015" is the paper's: the 13 convolutions of VGG-16 down, the same 13 up. Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.check import within
from lamina.core.errors import SettingError
from lamina.nets._blocks import ConvNorm, Standardize, initialise

TAKES = ("image",)
ANSWERS = "a value per pixel"
SIZES: dict[str, dict] = {
    "2015": {"blocks": (2, 2, 3, 3, 3), "widths": (64, 128, 256, 512, 512)},
    "basic": {"blocks": (1, 1, 1, 1), "widths": (64, 64, 64, 64)},
    "small": {"blocks": (1, 2, 2), "widths": (16, 32, 64)},
}


@dataclass(frozen=True)
class Config:
    """Sizes of a SegNet."""

    classes: int = 2
    """outputs per pixel"""
    channels: int = 3
    """channels of the picture"""
    blocks: tuple[int, ...] = (1, 2, 2)
    """convolutions per stage; each stage ends in a pooling that halves the side"""
    widths: tuple[int, ...] = (16, 32, 64)
    """channels per stage"""
    activation: str = "relu"
    """relu leaky_relu gelu silu tanh sigmoid"""
    norm: str = "batch"
    """batch layer instance group weight batch_renorm none"""


def suited(image: tuple[int, ...], wished: dict[str, Any]) -> dict[str, Any]:
    """Settings for pictures (channels, height, width), whatever the size: no more stages than leave two pixels."""
    blocks, widths = (wished.get(k, getattr(Config, k)) for k in ("blocks", "widths"))
    stages = max(1, min(len(blocks), min(image[1:]).bit_length() - 2))
    return {"blocks": tuple(blocks[:stages]), "widths": tuple(widths[:stages])}


class Body(nn.Module):
    """g: image (B, channels, H, W) -> (B, width, H, W)."""

    def __init__(self, config: Config) -> None:
        super().__init__()

        def stage(widths: list[int]) -> nn.Sequential:
            pairs = itertools.pairwise(widths)
            return nn.Sequential(*(ConvNorm(a, b, 3, norm_name=config.norm, act=config.activation) for a, b in pairs))

        c, down, up = config.channels, [], []
        for i, (count, width) in enumerate(zip(config.blocks, config.widths, strict=True)):
            down.append(stage([c] + [width] * count))
            up.append(stage([width] * count + [c if i else width]))
            c = width
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up[::-1])
        self.width = config.widths[0]

    def forward(self, x: Tensor) -> Tensor:
        places, sizes = [], []
        for stage in self.down:
            x = stage(x)
            sizes.append(x.shape[2:])
            x, place = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            places.append(place)
        for stage in self.up:
            x = stage(F.max_unpool2d(x, places.pop(), [2, 2], output_size=sizes.pop()))
        return x


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> (batch, classes, height, width). Any height and width.

    Raises SettingError, or NameUnknown for a norm or activation that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        if not config.blocks or len(config.blocks) != len(config.widths):
            raise SettingError(
                f"net.blocks and net.widths must have one whole number per stage, not {config.blocks} and {config.widths}."
            )
        for name, values in (("net.blocks", config.blocks), ("net.widths", config.widths)):
            for value in values:
                within(name, value, 1, 4096)
        self.standardize = Standardize(config.channels)
        self.features = Body(config)
        initialise(self.features, "he")
        self.classifier = nn.Conv2d(self.features.width, config.classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(self.standardize(image)))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 32, 48)}, (2, 2, 32, 48)
