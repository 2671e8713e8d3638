"""Perceptron: one layer of weights, a weighted sum per class. Rosenblatt 1958, https://doi.org/10.1037/h0042519

The decision is the class of the largest sum; with output="step" the sums pass Rosenblatt's threshold, which learns through
a straight-through gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.nets._blocks import activation
from lamina.nets._row import RowEncoder

TAKES = ("numbers", "categories")
SIZES: dict[str, dict] = {}


@dataclass(frozen=True)
class Config:
    """Sizes of a perceptron."""

    classes: int = 2
    """outputs"""
    numbers: int = 2
    """numeric inputs; a picture counts its pixels"""
    categories: tuple[int, ...] = ()
    """categories of each categorical input"""
    output: str = "none"
    """activation of the output: none or step"""


class Net(nn.Module):
    """numbers (batch, numbers) float, NaN = missing; categories (batch, columns) int64, -1 = missing -> (batch, classes)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.features = RowEncoder(config.numbers, config.categories, one_hot=True)
        self.classifier = nn.Linear(self.features.width, config.classes)
        self.output = activation(config.output)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, numbers: Tensor, categories: Tensor | None = None) -> Tensor:
        return self.output(self.classifier(self.features(numbers, categories)))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"numbers": torch.randn(3, 2)}, (3, 2)
