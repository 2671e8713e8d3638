"""Recurrent language model: says the next token from a state that carries the text before. Graves 2013, https://arxiv.org/abs/1308.0850

The state is its cache: writing takes the same time per token however long the text is, and has no window.
Letters: B batch, T tokens, C width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import unknown
from lamina.nets._recurrent import CELLS, initialise

TAKES = ("tokens",)
ANSWERS = "the next token"
SIZES: dict[str, dict] = {"2x256": {"depth": 2, "width": 256}, "2x512": {"depth": 2, "width": 512}}


@dataclass(frozen=True)
class Config:
    """Sizes of a recurrent language model."""

    vocabulary: int = 65
    """different tokens"""
    width: int = 256
    """numbers that stand for a token, and units of a layer"""
    depth: int = 2
    """layers"""
    cell: str = "lstm"
    """lstm, gru or plain"""
    dropout: float = 0.0
    """share dropped between layers and before the answer"""


class Net(nn.Module):
    """tokens (B, T) int64 -> logits (B, T, V) of the token after each; the state before the first is zero.

    `start` and `go_on` give the same piece by piece. Raises SettingError, or NameUnknown for a cell that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.depth", config.depth, 1, 16)
        if config.cell not in CELLS:
            raise unknown("cell", config.cell, CELLS)
        self.embed = nn.Embedding(config.vocabulary, config.width)
        between = config.dropout if config.depth > 1 else 0.0
        self.layers = CELLS[config.cell](config.width, config.width, config.depth, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(config.dropout)
        self.answer = nn.Linear(config.width, config.vocabulary)
        nn.init.normal_(self.embed.weight, 0.0, config.width**-0.5)
        initialise(self.layers, "bias_ih", quiet=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.answer(self.dropout(self.layers(self.embed(tokens))[0]))

    def start(self) -> dict[str, Any]:
        """The state before a text."""
        return {"state": None}

    def go_on(self, tokens: Tensor, state: dict[str, Any]) -> Tensor:
        """Read tokens (B, T) after those that the state has seen; logits (B, T, V). The state is changed in place."""
        x, state["state"] = self.layers(self.embed(tokens), state["state"])
        return self.answer(self.dropout(x))

    def room(self, state: dict[str, Any]) -> int | None:
        """How many tokens the state can still take: any number."""
        return None


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"tokens": torch.randint(65, (2, 16))}, (2, 16, 65)
