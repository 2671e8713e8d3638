"""AlexNet: five convolutions and three dense layers. Krizhevsky 2012, https://doi.org/10.1145/3065386

"2012" is the paper's net in one tower, "towers" the same over the two that had a graphics card each (convolutions 2, 4 and 5
see half of the channels), "2014" the narrower tower of Krizhevsky 2014 (https://arxiv.org/abs/1404.5997). Without a size it
is a small one with batch normalisation for pictures of 28 to 64 pixels. Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.check import divides, within
from lamina.core.errors import SettingError
from lamina.nets._blocks import (
    RELU,
    ConvNorm,
    Features,
    Standardize,
    checked_stem,
    dense,
    initialise,
    response,
    stem_for,
)

TAKES = ("image",)
_PAPER = {"filters": (96, 256, 384, 384, 256), "hidden": 4096, "grid": 6, "stem": "large", "norm": "response"}
SIZES: dict[str, dict] = {
    "2012": {**_PAPER},
    "towers": {**_PAPER, "towers": 2},
    "2014": {**_PAPER, "filters": (64, 192, 384, 256, 256), "norm": "none"},
}
STEM = {"small": (5, 1, 2), "half": (7, 2, 3), "large": (11, 4, 2)}  # size, stride and padding of the first convolution


@dataclass(frozen=True)
class Config:
    """Sizes of an AlexNet."""

    classes: int = 10
    """outputs"""
    channels: int = 3
    """channels of the picture"""
    filters: tuple[int, ...] = (32, 64, 96, 96, 64)
    """channels of the five convolutions"""
    towers: int = 1
    """parts that the channels of convolutions 2, 4 and 5 are split into"""
    hidden: int = 256
    """units of each of the two hidden dense layers"""
    grid: int = 3
    """side of the features that the dense layers see"""
    stem: str = "small"
    """first convolution; small: 5x5, keeps the side; half: 7x7, stride 2; large: 11x11, stride 4"""
    activation: str = "relu"
    """relu leaky_relu gelu silu tanh sigmoid"""
    norm: str = "batch"
    """response (the paper's, after convolutions 1 and 2) batch layer instance group weight batch_renorm none"""
    dropout: float = 0.5
    """share of the inputs of each hidden layer dropped in training"""


def suited(image: tuple[int, ...], wished: dict[str, Any]) -> dict[str, Any]:
    """Settings for pictures (channels, height, width), whatever the size: the stem and the grid that it leaves."""
    stem = checked_stem(wished.get("stem") or stem_for(image, 64, 128))
    size, stride, padding = STEM[stem]
    side = (min(image[1:]) + 2 * padding - size) // stride + 1
    for _ in range(3):
        side = (side - 3) // 2 + 1
    return {"stem": stem, "grid": max(1, min(6, side))}


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> logits (batch, classes). Sides from 15 pixels on.

    Raises SettingError, or NameUnknown for a stem, norm or activation that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.grid", config.grid, 1, 64)
        if len(config.filters) != 5 or min(config.filters) < 1:
            raise SettingError(f"net.filters must be five whole numbers from 1, not {config.filters}.")
        for width in config.filters[:4]:
            divides("net.towers", config.towers, "each of net.filters", width)
        self.standardize = Standardize(config.channels)
        layers = self._convolutions(config)
        self.features = Features(*layers, width=config.filters[-1])
        initialise(self.features, "lecun", RELU)
        self.classifier = dense(
            config.filters[-1], config.grid, config.hidden, config.classes, config.dropout, config.activation
        )

    @staticmethod
    def _convolutions(config: Config) -> list[nn.Module]:
        size, stride, padding = STEM[checked_stem(config.stem)]
        plan = [(size, stride, padding, 1), (5, 1, 2, config.towers), (3, 1, 1, 1)] + 2 * [(3, 1, 1, config.towers)]
        layers: list[nn.Module] = []
        c = config.channels
        for i, (width, (size, stride, padding, groups)) in enumerate(zip(config.filters, plan, strict=True)):
            name = "none" if config.norm == "response" else config.norm
            how = {"norm_name": name, "act": config.activation, "groups": groups, "padding": padding}
            layers.append(ConvNorm(c, width, size, stride, **how))
            layers += [response()] if config.norm == "response" and i < 2 else []
            layers += [nn.MaxPool2d(3, 2)] if i in (0, 1, 4) else []  # overlapping windows: section 3.4
            c = width
        return layers

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(self.standardize(image)))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 32, 32)}, (2, 10)
