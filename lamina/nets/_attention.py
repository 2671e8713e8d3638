"""Parts of transformers (Vaswani 2017, https://arxiv.org/abs/1706.03762): attention with a cache, feed-forward, positions, layers.

Layers normalise before each part (Xiong 2020, https://arxiv.org/abs/2002.04745), which needs no warm-up. The attention is the fused
one of torch. Letters: B batch, T tokens that ask, S tokens that are asked, D width, H heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.check import divides
from lamina.core.errors import unknown

POSITIONS = ("learned", "sinus", "none")


class Cache:
    """Keys and values (B, H, most, D / H) of the tokens that an attention has seen, for writing token by token."""

    def __init__(self, most: int) -> None:
        self.most, self.length = most, 0
        """tokens there is room for; tokens there are"""
        self.keys = self.values = torch.empty(0)

    def add(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Put in keys and values (B, H, T, D / H) and get those of all tokens so far."""
        if not self.length:
            shape = (*key.shape[:2], self.most, key.shape[3])
            self.keys, self.values = key.new_empty(shape), value.new_empty(shape)
        start, self.length = self.length, self.length + key.shape[2]
        self.keys[:, :, start : self.length], self.values[:, :, start : self.length] = key, value
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def pick(self, rows: Tensor) -> None:
        """Go on with these rows (int64) alone, in this order: what a beam search keeps."""
        self.keys, self.values = self.keys.index_select(0, rows), self.values.index_select(0, rows)


class Attention(nn.Module):
    """x (B, T, D) asks memory (B, S, D), or itself -> (B, T, D): section 3.2.2.

    mask (B, S) bool: True where there is a token. causal: no token asks a later one. Raises SettingError.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        divides("net.heads", heads, "net.width", width)
        self.heads, self.dropout = heads, dropout
        self.ask = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, causal: bool = False, memory: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:  # fmt: skip
        query, key, value = self._parts(x, memory, cache)
        among = None if mask is None else mask[:, None, None, :]
        asks, asked = query.shape[2], key.shape[2]
        is_causal = causal and asks == asked and among is None
        if causal and not is_causal and asks > 1:
            earlier = torch.ones(asks, asked, dtype=torch.bool, device=x.device).tril(asked - asks)
            among = earlier if among is None else earlier & among
        dropout = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(query, key, value, among, dropout, is_causal)  # (B, H, T, D / H)
        return self.out(x.transpose(1, 2).flatten(2))

    def _parts(self, x: Tensor, memory: Tensor | None, cache: Cache | None) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value (B, H, tokens, D / H); those of a memory are computed once where there is a cache."""
        width = x.shape[-1]
        if memory is None:
            query, key, value = (self._split(part) for part in self.ask(x).split(width, -1))
            return (query, key, value) if cache is None else (query, *cache.add(key, value))
        weight, bias = self.ask.weight, self.ask.bias
        query = self._split(F.linear(x, weight[:width], bias[:width]))
        if cache is not None and cache.length:
            return query, cache.keys[:, :, : cache.length], cache.values[:, :, : cache.length]
        given = F.linear(memory, weight[width:], bias[width:]).split(width, -1)
        key, value = (self._split(part) for part in given)
        return (query, key, value) if cache is None else (query, *cache.add(key, value))

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Sequential):
    """x (B, T, D) -> (B, T, D): two linear layers at each place, `ratio` times as wide between them (section 3.3)."""

    def __init__(self, width: int, ratio: int = 4, dropout: float = 0.0) -> None:
        inner = width * ratio
        super().__init__(nn.Linear(width, inner), nn.GELU(), nn.Dropout(dropout), nn.Linear(inner, width))


class Layer(nn.Module):
    """x (B, T, D) -> (B, T, D): x + attention, with `crossed` x + attention to a memory, then x + feed-forward."""

    def __init__(self, width: int, heads: int, *, ratio: int = 4, dropout: float = 0.0, crossed: bool = False) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width), Attention(width, heads, dropout)
        self.memory_norm = nn.LayerNorm(width) if crossed else None
        self.memory = Attention(width, heads, dropout) if crossed else None
        self.dense_norm, self.dense = nn.LayerNorm(width), FeedForward(width, ratio, dropout)
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, causal: bool = False, memory: Tensor | None = None,
        memory_mask: Tensor | None = None, cache: tuple[Cache, Cache] | None = None,
    ) -> Tensor:  # fmt: skip
        """mask of x, memory and its mask as in Attention; cache: of the attention, and of the one to the memory."""
        own, other = cache or (None, None)
        x = x + self.drop(self.attention(self.attention_norm(x), mask, causal=causal, cache=own))
        if self.memory is not None and self.memory_norm is not None:
            x = x + self.drop(self.memory(self.memory_norm(x), memory_mask, memory=memory, cache=other))
        return x + self.drop(self.dense(self.dense_norm(x)))


class Embed(nn.Module):
    """tokens (B, T) int64 -> (B, T, D): a vector per token and one per place, added (sections 3.4 and 3.5).

    positions: learned, for `context` places at most; sinus, for any number; or none. Raises NameUnknown.
    """

    decays = False
    table: Tensor

    def __init__(
        self, vocabulary: int, width: int, context: int, positions: str = "learned", dropout: float = 0.0
    ) -> None:
        super().__init__()
        if positions not in POSITIONS:
            raise unknown("kind of positions", positions, POSITIONS)
        self.context, self.positions = context, positions
        self.token = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.token.weight, std=0.02)
        self.place = nn.Parameter(0.02 * torch.randn(context, width)) if positions == "learned" else None
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        """start: place of the first token, when earlier ones are in a cache."""
        x, stop = self.token(tokens), start + tokens.shape[1]
        if self.place is not None:
            x = x + self.place[start:stop]
        elif self.positions == "sinus":
            x = x * math.sqrt(x.shape[-1]) + sinus(stop, x.shape[-1], x)[start:]
        return self.drop(x)


def sinus(places: int, width: int, like: Tensor) -> Tensor:
    """(places, width): sines and cosines of wavelengths from 2 pi to 10,000 times that (section 3.5)."""
    place = torch.arange(places, device=like.device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10_000.0) / width))
    return torch.stack([(place * rate).sin(), (place * rate).cos()], 2).flatten(1)[:, :width].to(like.dtype)
