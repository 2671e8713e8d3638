"""Recurrent nets for texts: plain, LSTM (Hochreiter 1997), GRU (Cho 2014, https://arxiv.org/abs/1406.1078); one or both directions.

A text that is shorter than its batch ends where it ends: forwards, padding comes after the last token; backwards, each text is
turned round by itself. Letters: B batch, T tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import unknown
from lamina.nets._blocks import Dropout
from lamina.nets._recurrent import CELLS, initialise
from lamina.nets._text import PER, TokenVectors

TAKES = ("tokens",)
ANSWERS = ("", "tags")
LONGEST = 256  # tokens of a text
RECIPE = {"optimizer": "muon", "lr": 3e-2, "batch": 32, "epochs": 12.0}
SIZES: dict[str, dict] = {
    "small": {"embedded": 64, "width": 64},
    "medium": {"embedded": 128, "width": 256, "depth": 2},
}
POOLS = ("max", "mean", "last")


@dataclass(frozen=True)
class Config:
    """Sizes of a recurrent net."""

    classes: int = 2
    """outputs"""
    vocabulary: int = 1000
    """tokens there are"""
    cell: str = "lstm"
    """plain lstm gru"""
    embedded: int = 96
    """numbers that stand for a token"""
    width: int = 96
    """units of each layer and direction"""
    depth: int = 1
    """layers"""
    both: bool = True
    """read backwards too"""
    per: str = "text"
    """what is answered: text or token"""
    pool: str = "max"
    """the answer comes from the largest value over the tokens, their mean, or the last state: max mean last"""
    dropout: float = 0.3
    """share dropped after the embedding, between layers and before the answer"""
    unknown: float = 0.1
    """share of the tokens made unknown in training"""


class Layer(nn.Module):
    """x (B, T, inputs) -> (B, T, width, twice that with both directions); `back` turns every row round by itself."""

    def __init__(self, cell: str, inputs: int, width: int, both: bool) -> None:
        super().__init__()
        made = [CELLS[cell](inputs, width, batch_first=True) for _ in range(1 + both)]
        self.forwards, *back = (initialise(layers, "bias_hh") for layers in made)
        self.backwards = back[0] if both else None

    def forward(self, x: Tensor, back: Tensor) -> Tensor:
        found = self.forwards(x)[0]
        if self.backwards is None:
            return found
        turned = self.backwards(turn(x, back))[0]
        return torch.cat([found, turn(turned, back)], 2)


def turn(x: Tensor, places: Tensor) -> Tensor:
    """x (B, T, D) with the tokens of each row at other places (B, T)."""
    return x.gather(1, places.unsqueeze(2).expand(-1, -1, x.shape[2]))


class Net(nn.Module):
    """tokens (batch, tokens) int64, 0 = padding -> logits (batch, classes), or (batch, tokens, classes) per token. Raises SettingError and NameUnknown."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.unknown", config.unknown, 0, 0.95)
        within("net.depth", config.depth, 1, 100)
        for what, name, known in (
            ("cell", config.cell, CELLS),
            ("pooling", config.pool, POOLS),
            ("answer per", config.per, PER[:2]),
        ):
            if name not in known:
                raise unknown(what, name, known)
        self.pool, self.width, self.per = config.pool, config.width, config.per
        self.embed = TokenVectors(config.vocabulary, config.embedded, config.unknown)
        wide = config.width * (2 if config.both else 1)
        inputs = [config.embedded] + [wide] * (config.depth - 1)
        self.layers = nn.ModuleList(Layer(config.cell, n, config.width, config.both) for n in inputs)
        self.drop = Dropout(config.dropout)
        self.classifier = nn.Linear(wide, config.classes)

    def forward(self, tokens: Tensor) -> Tensor:
        mask = tokens > 0
        length = mask.sum(1, keepdim=True)  # (B, 1)
        place = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        back = torch.where(place < length, length - 1 - place, place)
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(self.drop(x), back)  # (B, T, D)
        return self.classifier(self.drop(x if self.per == "token" else self._pooled(x, mask, length)))

    def _pooled(self, x: Tensor, mask: Tensor, length: Tensor) -> Tensor:
        if self.pool == "max":
            return x.masked_fill(~mask.unsqueeze(2), -torch.inf).amax(1)
        if self.pool == "mean":
            return (x * mask.unsqueeze(2)).sum(1) / length.clamp(min=1)
        last = x.gather(1, (length - 1).clamp(min=0).unsqueeze(2).expand(-1, -1, x.shape[2]))[:, 0]
        return torch.cat([last[:, : self.width], x[:, 0, self.width :]], 1)  # each direction's own last state


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    tokens = torch.randint(4, 1000, (3, 12))
    tokens[1, 5:] = 0
    return {"tokens": tokens}, (3, 2)
