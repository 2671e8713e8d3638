"""Show and Tell: a picture's features begin a recurrent net that writes a sentence. Vinyals 2014, https://arxiv.org/abs/1411.4555

With attention every word looks at a place of the picture (Xu 2015, Show, Attend and Tell, https://arxiv.org/abs/1502.03044, section 4.2, and the
gate of section 4.2.1). g of any image net.
Letters: B batch, T words, V vocabulary, P places of the picture, C channels, H hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.nets._trunk import Trunk

TAKES = ("image", "tokens")
SIZES: dict[str, dict] = {}
BUILDS_ON = "features"
State = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Config:
    """Sizes of a writer of sentences."""

    classes: int = 100
    """tokens of the vocabulary, the four special ones with them"""
    shape: tuple[int, ...] = (3, 64, 64)
    """channels, height and width of the picture"""
    features: str = "resnet9"
    """the image net that it builds on, with or without a size: resnet/20"""
    embedding: int = 96
    """numbers of a word"""
    hidden: int = 192
    """units of the recurrent layer"""
    attention: bool = True
    """look at the places of the picture before each word; without, the picture is seen once"""
    dropout: float = 0.2
    """share of the hidden units dropped before the answer"""


class Words(nn.Embedding):
    """Vectors of words; weight decay would pull rare ones to nothing."""

    decays = False


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1], tokens (batch, words) int64 -> logits (batch, words, vocabulary).

    The logits at a word are those of the next one. Raises SettingError.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.hidden", config.hidden, 1, 8192)
        self.trunk = Trunk(config.features, config.shape)
        width, hidden = self.trunk.width, config.hidden
        self.words = Words(config.classes, config.embedding)
        self.begin = nn.Linear(width, 2 * hidden)
        self.place = nn.Parameter(torch.zeros(self.trunk.grid[0] * self.trunk.grid[1], width))
        self.cell = nn.LSTMCell(config.embedding + (width if config.attention else 0), hidden)
        self.attention = Attention(width, hidden) if config.attention else None
        self.answer = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(hidden, config.classes))

    def see(self, image: Tensor) -> Tensor:
        """image (B, ...) -> places (B, P, C)."""
        x = self.trunk(image).flatten(2).transpose(1, 2)
        return x + self.place

    def first(self, places: Tensor) -> State:
        """The state before the first word."""
        h, c = self.begin(places.mean(1)).tanh().chunk(2, 1)
        return h, c

    def next(self, state: State, word: Tensor, places: Tensor) -> tuple[Tensor, State, Tensor | None]:
        """word (B,) -> logits (B, V) of the next one, the state, and where it looked (B, P)."""
        x, where = self.words(word), None
        if self.attention is not None:
            seen, where = self.attention(state[0], places)
            x = torch.cat([x, seen], 1)
        h, c = self.cell(x, state)
        return self.answer(h), (h, c), where

    def forward(self, image: Tensor, tokens: Tensor) -> Tensor:
        places = self.see(image)
        state, logits = self.first(places), []
        for i in range(tokens.shape[1]):
            given, state, _ = self.next(state, tokens[:, i], places)
            logits.append(given)
        return torch.stack(logits, 1)


class Attention(nn.Module):
    """state (B, H), places (B, P, C) -> what is looked at (B, C), and the shares of the places (B, P) (Xu 2015, eq. 4 to 6)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.place, self.ask = nn.Linear(width, hidden), nn.Linear(hidden, hidden)
        self.weigh, self.gate = nn.Linear(hidden, 1, bias=False), nn.Linear(hidden, width)

    def forward(self, h: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        score = self.weigh((self.place(places) + self.ask(h)[:, None]).tanh()).squeeze(2)
        share = score.softmax(1)
        return self.gate(h).sigmoid() * (share[:, :, None] * places).sum(1), share


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 64, 64), "tokens": torch.randint(4, 100, (2, 5))}, (2, 5, 100)
