"""ZFNet: AlexNet with a finer beginning, found by looking at what its layers see. Zeiler and Fergus 2013, https://arxiv.org/abs/1311.2901

7x7 filters of stride 2 in place of 11x11 of stride 4, and a second convolution of stride 2. "2013" is the paper's net;
without a size it is a small one with batch normalisation for pictures of 28 to 64 pixels.
Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.check import within
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
SIZES: dict[str, dict] = {
    "2013": {"filters": (96, 256, 384, 384, 256), "hidden": 4096, "grid": 6, "stem": "large", "norm": "response"},
}
# Size, stride and padding of the first two convolutions (the paper's figure 3: 224 -> 110 -> 55 -> 26 -> 13 -> 6).
STEM = {
    "small": ((5, 1, 2), (5, 1, 2)),
    "half": ((7, 2, 3), (5, 1, 2)),
    "large": ((7, 2, 1), (5, 2, 0)),
}


@dataclass(frozen=True)
class Config:
    """Sizes of a ZFNet."""

    classes: int = 10
    """outputs"""
    channels: int = 3
    """channels of the picture"""
    filters: tuple[int, ...] = (32, 64, 96, 96, 64)
    """channels of the five convolutions"""
    hidden: int = 256
    """units of each of the two hidden dense layers"""
    grid: int = 3
    """side of the features that the dense layers see"""
    stem: str = "small"
    """first two convolutions; small: 5x5 that keep the side; half: 7x7 of stride 2 first; large: 7x7 and 5x5, both stride 2"""
    activation: str = "relu"
    """relu leaky_relu gelu silu tanh sigmoid"""
    norm: str = "batch"
    """response (the paper's, after convolutions 1 and 2) batch layer instance group weight batch_renorm none"""
    dropout: float = 0.5
    """share of the inputs of each hidden layer dropped in training"""


def suited(image: tuple[int, ...], wished: dict[str, Any]) -> dict[str, Any]:
    """Settings for pictures (channels, height, width), whatever the size: the stem and the grid that it leaves."""
    stem = checked_stem(wished.get("stem") or stem_for(image, 48, 112))
    side = min(image[1:])
    for size, stride, padding in STEM[stem]:
        side = (side + 2 * padding - size) // stride + 1
        side = (side - 1) // 2 + 1
    return {"stem": stem, "grid": max(1, min(6, (side - 3) // 2 + 1))}


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> logits (batch, classes). Sides from 9 pixels on.

    Raises SettingError, or NameUnknown for a stem, norm or activation that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.grid", config.grid, 1, 64)
        if len(config.filters) != 5 or min(config.filters) < 1:
            raise SettingError(f"net.filters must be five whole numbers from 1, not {config.filters}.")
        self.standardize = Standardize(config.channels)
        layers: list[nn.Module] = []
        c = config.channels
        for i, (size, stride, padding) in enumerate([*STEM[checked_stem(config.stem)], *[(3, 1, 1)] * 3]):
            name = "none" if config.norm == "response" else config.norm
            how = {"norm_name": name, "act": config.activation, "padding": padding}
            layers.append(ConvNorm(c, config.filters[i], size, stride, **how))
            if i < 2:
                layers.append(nn.MaxPool2d(3, 2, 1))
                layers += [response()] if config.norm == "response" else []
            c = config.filters[i]
        self.features = Features(*layers, nn.MaxPool2d(3, 2), width=c)
        initialise(self.features, "lecun", RELU)
        self.classifier = dense(c, config.grid, config.hidden, config.classes, config.dropout, config.activation)

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(self.standardize(image)))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 32, 32)}, (2, 10)
