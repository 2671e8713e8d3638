"""Transformer: encoder and decoder for translation. Vaswani 2017, https://arxiv.org/abs/1706.03762

Norms stand before each part (Xiong 2020, https://arxiv.org/abs/2002.04745); positions are learned: rotary ones beside
them bring the loss after 900 updates from 2.93 to 2.87, and in equal minutes nothing (BLEU 12.4 and 12.7). What a part adds at first is
small, the smaller the deeper the net (Radford 2019, GPT-2, section 2.3). base is the paper's. Letters: B batch, S source tokens, T
target tokens, C width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.check import divides, within
from lamina.core.errors import SettingError
from lamina.nets._attention import Cache, SelfAttention
from lamina.nets._blocks import Dropout

TAKES = ("tokens", "mask", "before")
PLACE = 0.02  # deviation of a place's numbers at first: those of tokens have 0.04 to 0.09, and must not drown in them
ANSWERS = "a translation"
SIZES: dict[str, dict] = {
    "small": {"width": 128, "depth": 2, "heads": 4},
    "medium": {"width": 256, "depth": 3, "heads": 4},
    "base": {"width": 512, "depth": 6, "heads": 8},
}


@dataclass(frozen=True)
class Config:
    """Sizes of a Transformer."""

    vocabulary: int = 100
    """different tokens of the source"""
    classes: int = 100
    """different tokens of the translation"""
    length: int = 130
    """tokens of a sentence, at most"""
    width: int = 256
    """numbers that stand for a token"""
    depth: int = 3
    """layers of the encoder, and of the decoder"""
    heads: int = 4
    """attentions beside each other; they share the width"""
    ratio: int = 4
    """units of the dense layers are the width times this"""
    dropout: float = 0.1
    """share dropped after embeddings, attention and dense layers"""


class Across(nn.Module):
    """x (B, T, C) asks memory (B, S, C) -> (B, T, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ask, self.offer, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.share: Tensor | None = None

    def offered(self, memory: Tensor) -> Tensor:
        """Keys and values (2, B, H, S, C / H) of a memory."""
        b, s, c = memory.shape
        return self.offer(memory).view(b, s, 2, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)

    def forward(self, x: Tensor, offered: Tensor, mask: Tensor, look: bool = False) -> Tensor:
        b, t, c = x.shape
        query = self.ask(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)
        score = query @ offered[0].transpose(2, 3) * query.shape[3] ** -0.5
        share = score.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1)  # (B, H, T, S)
        if look:
            self.share = share.mean(1)
        return self.out((share @ offered[1]).transpose(1, 2).reshape(b, t, c))


class Layer(nn.Module):
    """x (B, T, C) -> (B, T, C); `across` asks the source too."""

    def __init__(self, config: Config, across: bool) -> None:
        super().__init__()
        width = config.width
        self.own_norm = nn.LayerNorm(width)
        self.own = SelfAttention(width, config.heads, causal=across)
        self.across_norm, self.across = (nn.LayerNorm(width), Across(width, config.heads)) if across else (None, None)
        self.dense = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, config.ratio * width),
            nn.ReLU(),
            nn.Linear(config.ratio * width, width),
        )
        self.dropout = Dropout(config.dropout)

    def draw(self, depth: int) -> None:
        """First weights in a net of so many layers: queries, keys and values as large as x, what is added to it small."""
        own, across = self.own, self.across
        for given in (own.ask, *([across.ask, across.offer] if across else [])):
            nn.init.normal_(given.weight, 0.0, given.in_features**-0.5)
        for last in (own.out, self.dense[3], *([across.out] if across else [])):
            assert isinstance(last, nn.Linear)
            nn.init.normal_(last.weight, 0.0, (2 * depth * last.in_features) ** -0.5 / 2)
            nn.init.zeros_(last.bias)

    def encode(self, x: Tensor, mask: Tensor) -> Tensor:
        """Every token of the source sees every other."""
        x = x + self.dropout(self.own(self.own_norm(x), mask))
        return x + self.dropout(self.dense(x))

    def forward(self, x: Tensor, offered: Tensor, mask: Tensor, cache: Cache | None, look: bool) -> Tensor:
        assert self.across is not None and self.across_norm is not None
        x = x + self.dropout(self.own(self.own_norm(x), cache=cache))
        x = x + self.dropout(self.across(self.across_norm(x), offered, mask, look))
        return x + self.dropout(self.dense(x))


class Net(nn.Module):
    """tokens and mask (B, S), before (B, T): the translation up to each token -> logits (B, T, classes) of the next.

    Raises SettingError.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.depth", config.depth, 1, 100)
        divides("net.heads", config.heads, "net.width", config.width)
        self.length, width = config.length, config.width
        self.embed, self.embed_target = nn.Embedding(config.vocabulary, width), nn.Embedding(config.classes, width)
        self.places, self.places_target = nn.Embedding(config.length, width), nn.Embedding(config.length, width)
        self.encoder = nn.ModuleList(Layer(config, False) for _ in range(config.depth))
        self.decoder = nn.ModuleList(Layer(config, True) for _ in range(config.depth))
        self.encoder_norm, self.norm, self.dropout = (
            nn.LayerNorm(width),
            nn.LayerNorm(width),
            Dropout(config.dropout),
        )
        for words, places in ((self.embed, self.places), (self.embed_target, self.places_target)):
            nn.init.normal_(words.weight, 0.0, width**-0.5)
            nn.init.normal_(places.weight, 0.0, PLACE)
        for layer in (m for m in self.modules() if isinstance(m, Layer)):
            layer.draw(config.depth)

    def forward(self, tokens: Tensor, mask: Tensor, before: Tensor) -> Tensor:
        return self._decode(before, self.read(tokens, mask), cached=False)

    def read(self, tokens: Tensor, mask: Tensor) -> dict[str, Any]:
        """The state before the translation's first token."""
        self._fits(tokens.shape[1])
        x = self.dropout(self.embed(tokens) + self.places.weight[: tokens.shape[1]])
        for layer in self.encoder:
            assert isinstance(layer, Layer)
            x = layer.encode(x, mask)
        memory = self.encoder_norm(x)
        offered = [across.offered(memory) for across in self._across()]
        return {
            "offered": offered,
            "mask": mask,
            "caches": [Cache(self.length) for _ in self.decoder],
            "attention": None,
        }

    def go_on(self, before: Tensor, state: dict[str, Any]) -> Tensor:
        """Logits (B, T, classes) after tokens (B, T) that go on from the state, which is changed in place."""
        return self._decode(before, state, cached=True)

    def _decode(self, before: Tensor, state: dict[str, Any], cached: bool) -> Tensor:
        caches: list[Any] = state["caches"] if cached else [None] * len(self.decoder)
        seen = caches[0].seen if cached else 0
        self._fits(seen + before.shape[1])
        x = self.dropout(self.embed_target(before) + self.places_target.weight[seen : seen + before.shape[1]])
        for layer, offered, cache in zip(self.decoder, state["offered"], caches, strict=True):
            x = layer(x, offered, state["mask"], cache, not self.training)
        state["attention"] = self._across()[-1].share
        return F.linear(self.norm(x), self.embed_target.weight)

    def _across(self) -> list[Across]:
        return [part for part in self.decoder.modules() if isinstance(part, Across)]

    def _fits(self, tokens: int) -> None:
        if tokens > self.length:
            raise SettingError(f"{tokens} tokens are more than net.length (={self.length}).")

    def choose(self, state: dict[str, Any], rows: Tensor, within: bool = False) -> None:
        """Keep these rows (int64) of the state, in this order; `within`: each takes the place of one of the same source."""
        if not within:
            state["offered"] = [offered[:, rows] for offered in state["offered"]]
            state["mask"] = state["mask"][rows]
        for cache in state["caches"]:
            cache.choose(rows)


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    mask = torch.ones(2, 7, dtype=torch.bool)
    return {"tokens": torch.randint(4, 100, (2, 7)), "mask": mask, "before": torch.randint(4, 100, (2, 9))}, (2, 9, 100)
