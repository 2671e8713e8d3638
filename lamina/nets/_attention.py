"""Parts of transformers (Vaswani 2017, https://arxiv.org/abs/1706.03762): attention, causal with a cache or among all, dense layers, positions.

Layers normalise before each part (Xiong 2020, https://arxiv.org/abs/2002.04745), which needs no warm-up. In training on a processor
attention is plain batched products in bfloat16, and wherever it is causal: its square is cut into stripes, of which each looks at no
more than it may. Forward and back, against torch's fused attention: 1.6 times as fast for 72 squares of 256 x 256 in float32 (55 ms
to 89, AVX2), 1.35 for 48 of 64 x 64; in bfloat16 with AMX 2.0 (17 ms to 34) and 6.6 (0.95 to 6.3). Equal to it to rounding. What is
dropped is dropped from x: dropping shares of the softmax too, as BERT does, takes torch 600 ms a layer instead of 107 for 256 squares
of 306 x 306.
Letters: B batch, T tokens, S tokens seen before and now, H heads, D numbers of a head, C = H D.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.check import divides
from lamina.core.errors import SettingError, unknown
from lamina.nets._blocks import Dropout
from lamina.nets._dense import Linear
from lamina.nets._rotary import placed

POSITIONS = ("learned", "sinus", "none")
STRIPE, LOW_STRIPE = 32, 128  # queries of a stripe, at least, in float32 and bfloat16
STRIPES = 4


class _Products(torch.autograd.Function):
    """softmax(q k' / sqrt(D) + hidden) v; q (B H, T, D), k v (B H, S, D) -> (B H, T, D).

    `hidden` (B H or 1, 1, S) is -inf where nobody looks; None: row i of q sees rows 0 to i.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None) -> Tensor:  # type: ignore[override]
        scale = q.shape[2] ** -0.5
        ctx.stripes = _stripes(q) if hidden is None else [(0, q.shape[1], k.shape[1])]
        out, shares = [], []
        for start, stop, seen in ctx.stripes:
            mask = _hidden(stop - start, seen, q.dtype) if hidden is None else hidden
            share = torch.baddbmm(mask, q[:, start:stop], k[:, :seen].transpose(1, 2), alpha=scale).softmax(-1)
            out.append(torch.bmm(share, v[:, :seen]))
            shares.append(share)
        ctx.save_for_backward(q, k, v, *shares)
        return _joined(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        q, k, v, *shares = ctx.saved_tensors
        scale, of_q = q.shape[2] ** -0.5, []
        of_k = of_v = k  # until the last stripe, which sees all, gives them
        for (start, stop, seen), share in reversed(list(zip(ctx.stripes, shares, strict=True))):
            own, seeks = grad[:, start:stop], q[:, start:stop]
            of_share = torch.bmm(own, v[:, :seen].transpose(1, 2))
            of_score = torch.ops.aten._softmax_backward_data(of_share, share, -1, share.dtype).mul_(scale)
            of_q.append(torch.bmm(of_score, k[:, :seen]))
            if seen == k.shape[1]:
                of_k, of_v = torch.bmm(of_score.transpose(1, 2), seeks), torch.bmm(share.transpose(1, 2), own)
            else:
                of_k[:, :seen].baddbmm_(of_score.transpose(1, 2), seeks)
                of_v[:, :seen].baddbmm_(share.transpose(1, 2), own)
        return _joined(of_q[::-1]), of_k, of_v, None


def _joined(stripes: list[Tensor]) -> Tensor:
    return stripes[0] if len(stripes) == 1 else torch.cat(stripes, 1)


def _stripes(q: Tensor) -> list[tuple[int, int, int]]:
    """Where each begins and ends, and how many places it sees."""
    length, least = q.shape[1], STRIPE if q.dtype == torch.float32 else LOW_STRIPE
    size = max(least, -(-length // STRIPES))
    return [(start, min(length, start + size), min(length, start + size)) for start in range(0, length, size)]


@functools.lru_cache(64)
def _hidden(rows: int, seen: int, kind: torch.dtype = torch.float32) -> Tensor:
    """(rows, seen): -inf where a row may not look; the last row sees all."""
    with torch.inference_mode(False):  # what it makes is kept, and may learn later
        return torch.full((rows, seen), -math.inf, dtype=kind).triu(seen - rows + 1)


def _by_products(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None) -> Tensor:
    flat = _Products.apply(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), hidden)
    return flat.view(q.shape)  # type: ignore[union-attr]


def _cast(*parts: Tensor) -> tuple[Tensor, ...]:
    """In the precision of products here: positions that were turned are in float32."""
    if parts[0].device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return parts
    return tuple(part.to(torch.get_autocast_dtype("cpu")) for part in parts)


def looking_back(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q k v (B, H, T, D) -> (B, H, T, D): every place sees itself and those before it."""
    q, k, v = _cast(q, k, v)
    if q.device.type == "cpu" and q.requires_grad and q.dtype in (torch.float32, torch.bfloat16):
        return _by_products(q, k, v, None)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def looking(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """q (B, H, T, D), k v (B, H, S, D) -> (B, H, T, D): every place sees all S, or those where mask (B, S) is True."""
    q, k, v = _cast(q, k, v)
    if q.device.type == "cpu" and q.requires_grad and q.dtype == torch.bfloat16:
        if mask is None:
            return _by_products(q, k, v, q.new_zeros(1, 1, 1))
        hidden = torch.zeros(mask.shape, dtype=q.dtype).masked_fill_(~mask, -math.inf)
        return _by_products(q, k, v, hidden.repeat_interleave(q.shape[1], 0)[:, None])
    return F.scaled_dot_product_attention(q, k, v, None if mask is None else mask[:, None, None])


class Cache:
    """Keys and values of the tokens that a layer has seen, in memory taken once for `length` of them."""

    def __init__(self, length: int) -> None:
        self.length, self.seen = length, 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def add(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Take in (B, H, T, D) and give (B, H, S, D) of all seen so far."""
        if self.keys is None or self.values is None:
            shape = (*k.shape[:2], self.length, k.shape[3])
            self.keys, self.values = k.new_empty(shape), v.new_empty(shape)
        stop = self.seen + k.shape[2]
        self.keys[:, :, self.seen : stop], self.values[:, :, self.seen : stop] = k, v
        self.seen = stop
        return self.keys[:, :, :stop], self.values[:, :, :stop]

    def choose(self, rows: Tensor) -> None:
        """Keep these rows (int64) of the batch, in this order; some may be there twice."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = (self._chosen(part, rows) for part in (self.keys, self.values))

    def _chosen(self, part: Tensor, rows: Tensor) -> Tensor:
        """Only what was seen is copied, into the same memory where the rows are as many."""
        kept = part[rows, :, : self.seen]
        part = part if len(rows) == len(part) else part.new_empty(len(rows), *part.shape[1:])
        part[:, :, : self.seen] = kept
        return part


class SelfAttention(nn.Module):
    """x (B, T, C) -> (B, T, C): every token asks all where mask (B, T) is True; causal: itself and those before it.

    rotary: queries and keys are turned by their places (Su 2021, https://arxiv.org/abs/2104.09864). Raises SettingError.
    """

    def __init__(
        self, width: int, heads: int, bias: bool = True, *, causal: bool = False, rotary: bool = False
    ) -> None:
        super().__init__()
        divides("net.heads", heads, "net.width", width)
        if rotary and width // heads % 2:
            raise SettingError(f"net.width / net.heads (={width // heads}) must be even for rotary positions.")
        self.heads, self.causal, self.rotary = heads, causal, rotary
        self.ask, self.out = Linear(width, 3 * width, bias), Linear(width, width, bias)

    def parts(self, x: Tensor, start: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value (B, H, T, D) of the tokens from place `start` on."""
        b, t, c = x.shape
        query, key, value = self.ask(x).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        return (placed(query, start), placed(key, start), value) if self.rotary else (query, key, value)

    def forward(self, x: Tensor, mask: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        query, key, value = self.parts(x, cache.seen if cache else 0)
        if not self.causal:
            y = looking(query, key, value, mask)
        elif cache is None:
            y = looking_back(query, key, value)
        else:
            key, value = cache.add(key, value)
            if x.shape[1] > 1:  # the tokens now see those before and each other up to themselves
                hidden = _hidden(x.shape[1], key.shape[2]).to(x.device)
                y = F.scaled_dot_product_attention(query, key, value, hidden)
            else:
                share = (query @ key.transpose(2, 3) * query.shape[3] ** -0.5).softmax(-1)
                y = share @ value
        return self.out(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Sequential):
    """x (B, T, C) -> (B, T, C): two linear layers at each place, `ratio` times as wide between them (section 3.3)."""

    def __init__(self, width: int, ratio: int = 4, dropout: float = 0.0) -> None:
        inner = width * ratio
        super().__init__(nn.Linear(width, inner), nn.GELU(), Dropout(dropout), nn.Linear(inner, width))


class Layer(nn.Module):
    """x (B, T, C) -> (B, T, C): x + attention to all tokens of mask (B, T), then x + feed-forward."""

    def __init__(self, width: int, heads: int, *, ratio: int = 4, dropout: float = 0.0, rotary: bool = False) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width), SelfAttention(width, heads, rotary=rotary)
        self.dense_norm, self.dense = nn.LayerNorm(width), FeedForward(width, ratio, dropout)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.drop(self.attention(self.attention_norm(x), mask))
        return x + self.drop(self.dense(self.dense_norm(x)))


def attended(layers: nn.ModuleList, x: Tensor, mask: Tensor) -> Tensor:
    """x (B, T, D) after all layers, none of which looks at padding; mask (B, T), without which it is faster where nothing is padded."""
    among = mask if torch.compiler.is_exporting() or not bool(mask.all()) else None
    for layer in layers:
        x = layer(x, among)
    return x


class Embed(nn.Module):
    """tokens (B, T) int64 -> (B, T, C): a vector per token and one per place, added (sections 3.4 and 3.5).

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
        self.drop = Dropout(dropout)

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
