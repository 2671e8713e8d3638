"""Join: a picture and a table row answered together; each has its own features, one head answers from both.

Late fusion by concatenation, as in wide and deep nets (Cheng 2016, https://arxiv.org/abs/1606.07792).
Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.nets import resnet9
from lamina.nets._blocks import Features, activation, norm
from lamina.nets._row import RowEncoder

TAKES = ("image", "numbers", "categories")
SIZES: dict[str, dict] = {}


@dataclass(frozen=True)
class Config:
    """Sizes of a joined net."""

    classes: int = 2
    """outputs"""
    channels: int = 3
    """channels of the picture"""
    numbers: int = 3
    """numeric inputs"""
    categories: tuple[int, ...] = ()
    """categories of each categorical input"""
    stem: int = 16
    """channels of the picture's first convolution"""
    stages: tuple[int, ...] = (32, 64)
    """channels of each stage of the picture's features, as in resnet9"""
    hidden: int = 128
    """units of the row's features and of the head"""
    dropout: float = 0.1
    """share dropped before the answer"""
    activation: str = "relu"
    """activation of rows and head"""


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1], numbers (batch, numbers), categories (batch, columns) ->
    (batch, classes)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        picture = resnet9.Net(resnet9.Config(channels=config.channels, stem=config.stem, stages=config.stages))
        self.standardize, self.picture = picture.standardize, picture.features
        self.row = RowEncoder(config.numbers, config.categories, ranked=True, unknown=0.02)
        both = self.picture.width + config.hidden
        self.features = Features(
            nn.Linear(self.row.width, config.hidden), activation(config.activation), width=config.hidden
        )
        self.head = nn.Sequential(
            norm("batch", both, dims=0), nn.Linear(both, config.hidden), activation(config.activation),
            nn.Dropout(config.dropout), nn.Linear(config.hidden, config.classes),
        )  # fmt: skip

    def forward(self, image: Tensor, numbers: Tensor | None, categories: Tensor | None) -> Tensor:
        seen = self.picture(self.standardize(image)).mean((2, 3))  # (B, C)
        told = self.features(self.row(numbers, categories))  # (B, hidden)
        return self.head(torch.cat([seen, told], 1))


def example() -> tuple[dict[str, Tensor | None], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 32, 32), "numbers": torch.randn(2, 3), "categories": None}, (2, 2)
