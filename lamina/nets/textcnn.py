"""Convolutions over words: windows of 3, 4 and 5 tokens, the strongest answer of each. Kim 2014, https://arxiv.org/abs/1408.5882

Word vectors are learned with the rest (the paper's CNN-rand). Letters: B batch, T tokens, D numbers of a token, F filters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.check import within
from lamina.core.errors import SettingError
from lamina.nets._blocks import Dropout
from lamina.nets._text import TokenVectors

TAKES = ("tokens",)
LONGEST = 400  # tokens of a text
RECIPE = {"lr": 1e-3, "batch": 32, "epochs": 12.0}
SIZES: dict[str, dict] = {
    "small": {"embedded": 64, "filters": 64},
    "paper": {"embedded": 300, "filters": 100, "dropout": 0.5},
}


@dataclass(frozen=True)
class Config:
    """Sizes of a convolutional net for texts."""

    classes: int = 2
    """outputs"""
    vocabulary: int = 1000
    """tokens there are"""
    embedded: int = 96
    """numbers that stand for a token"""
    windows: tuple[int, ...] = (3, 4, 5)
    """tokens that a filter sees"""
    filters: int = 96
    """filters of each window"""
    dropout: float = 0.5
    """share dropped before the answer"""
    unknown: float = 0.1
    """share of the tokens made unknown in training"""


class Net(nn.Module):
    """tokens (batch, tokens) int64, 0 = padding -> logits (batch, classes). Raises SettingError."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.unknown", config.unknown, 0, 0.95)
        if not config.windows or min(config.windows) < 1 or max(config.windows) > 64:
            raise SettingError(f"net.windows (={config.windows}) must be one or more numbers from 1 to 64.")
        self.least = max(config.windows)
        self.embed = TokenVectors(config.vocabulary, config.embedded, config.unknown)
        self.windows = nn.ModuleList(nn.Linear(size * config.embedded, config.filters) for size in config.windows)
        self.sizes = config.windows
        self.drop = Dropout(config.dropout)
        self.classifier = nn.Linear(len(config.windows) * config.filters, config.classes)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = F.pad(tokens, (self.least - 1, self.least - 1))  # every token is seen by every place of a filter
        mask = (tokens > 0).unsqueeze(2)
        x = self.embed(tokens) * mask
        found = []
        for size, layer in zip(self.sizes, self.windows, strict=True):
            seen = x.unfold(1, size, 1).transpose(2, 3).flatten(2)  # (B, T, size D)
            there = mask[:, :, 0].unfold(1, size, 1).any(2, keepdim=True)
            found.append(F.relu(layer(seen)).masked_fill(~there, 0.0).amax(1))  # (B, F)
        return self.classifier(self.drop(torch.cat(found, 1)))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    tokens = torch.randint(4, 1000, (3, 12))
    tokens[1, 5:] = 0
    return {"tokens": tokens}, (3, 2)
