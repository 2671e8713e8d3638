"""GPT: a transformer that reads a text and says what comes next. Radford 2019, https://github.com/openai/gpt-2

style gpt2 is the paper's: layer norms, learned positions, GELU (exact: its approximation by tanh, at most
0.0005 from it, takes torch three to five times as long on processors). style modern has rotary positions (Su 2021,
https://arxiv.org/abs/2104.09864), root-mean-square norms (Zhang 2019, https://arxiv.org/abs/1910.07467) and no biases. small is
GPT-2's 124 million weights. With `classes` it answers about a whole text, from what it made of all its tokens, or of the last one
(Radford 2018, https://openai.com/index/language-unsupervised, section 3.2): a net that learned to write begins so with what it
learned (--weights RUN). Letters: B batch, T tokens, C width, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import SettingError, unknown
from lamina.nets._attention import Cache, SelfAttention
from lamina.nets._blocks import Dropout
from lamina.nets._dense import Linear, gelu, linear
from lamina.nets._rotary import RMSNorm
from lamina.nets._rows import rows
from lamina.nets._text import pooled

TAKES = ("tokens",)
ANSWERS = ("the next token", "")
TOKENS = "pairs"  # of texts that it answers about
LONGEST = 256
RECIPE = {"lr": 1e-3, "batch": 32, "epochs": 12.0}
FINE = {"lr": 5e-4}  # where weights came
SIZES: dict[str, dict] = {
    "4x128": {"depth": 4, "width": 128, "heads": 4},
    "6x384": {"depth": 6, "width": 384, "heads": 6},
    "small": {"depth": 12, "width": 768, "heads": 12, "style": "gpt2"},
    "medium": {"depth": 24, "width": 1024, "heads": 16, "style": "gpt2"},
}
STYLES, POOLS = ("gpt2", "modern"), ("mean", "last")


@dataclass(frozen=True)
class Config:
    """Sizes of a GPT."""

    vocabulary: int = 65
    """different tokens"""
    length: int = 64
    """tokens that it sees at most"""
    width: int = 128
    """numbers that stand for a token"""
    depth: int = 4
    """layers, each attention and two dense ones"""
    heads: int = 4
    """attentions beside each other; they share the width"""
    ratio: int = 4
    """units of the dense layers are the width times this"""
    style: str = "modern"
    """gpt2 (layer norm, learned positions, biases) or modern (RMS norm, rotary positions, no biases)"""
    tied: bool = True
    """the answer layer has the weights of the embedding"""
    dropout: float = 0.0
    """share dropped after the embedding, attention and dense layers"""
    classes: int = 0
    """outputs for a whole text; 0: it foresees the next token"""
    pool: str = "mean"
    """the answer about a text comes from the mean over its tokens or from the last one: mean last"""


class Layer(nn.Module):
    """x (B, T, C) -> (B, T, C): x + attention, then x + dense layers, each of the normalised x."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, inner, plain = config.width, config.width * config.ratio, config.style == "gpt2"
        self.attention_norm, self.dense_norm = _norm(config), _norm(config)
        self.attention = SelfAttention(width, config.heads, plain, causal=True, rotary=not plain)
        self.wide, self.narrow = Linear(width, inner, plain), Linear(inner, width, plain)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, cache: Cache | None) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), cache=cache))
        return x + self.dropout(self.narrow(gelu(self.wide(self.dense_norm(x)))))


def _norm(config: Config) -> nn.Module:
    return nn.LayerNorm(config.width) if config.style == "gpt2" else RMSNorm(config.width)


class Net(nn.Module):
    """tokens (B, T) int64, T <= length -> logits (B, T, V) of the token after each; with classes: 0 = padding behind a text -> (B, classes).

    `start` and `go_on` give the same with a cache: what was seen before is not computed again.
    Raises SettingError, or NameUnknown for a style that does not exist.
    """

    COMPILES = True  # it learns faster by compiled code (train.compiled)

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.depth", config.depth, 1, 200)
        for what, name, known in (("style", config.style, STYLES), ("pooling", config.pool, POOLS)):
            if name not in known:
                raise unknown(what, name, known)
        self.length, self.pool, told = config.length, config.pool, config.classes > 0
        self.embed = nn.Embedding(config.vocabulary, config.width)
        self.places = None if config.style == "modern" else nn.Embedding(config.length, config.width)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.norm = _norm(config)
        self.answer = None if config.tied or told else nn.Linear(config.width, config.vocabulary, False)
        if told:
            self.features, self.classifier = nn.Identity(), nn.Linear(config.width, config.classes)
        self.told = told
        self._initialise(config)

    def _initialise(self, config: Config) -> None:
        """Normal 0.02; what is added to x less, so that its size does not grow with depth (Radford 2019, section 2.3)."""
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                added = name.endswith(("attention.out.weight", "narrow.weight"))
                nn.init.normal_(weight, 0.0, 0.02 / math.sqrt(2 * config.depth) if added else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def forward(self, tokens: Tensor, caches: list[Cache] | None = None) -> Tensor:
        seen = caches[0].seen if caches else 0
        stop = seen + tokens.shape[1]
        if stop > self.length:
            raise SettingError(
                f"{stop} tokens are more than net.length (={self.length}); --context must not be larger."
            )
        x = rows(self.embed, tokens)  # (B, T, C)
        if self.places is not None:
            x = x + self.places.weight[seen:stop]
        x = self.dropout(x)
        for i, layer in enumerate(self.layers):
            x = layer(x, caches[i] if caches else None)
        x = self.norm(x)
        if self.told:
            return self.classifier(self.features(self._of_text(x, tokens > 0)))
        return linear(x, self.embed.weight) if self.answer is None else self.answer(x)

    def _of_text(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, C), of which `mask` (B, T) shows the tokens -> (B, C)."""
        if self.pool == "mean":
            return pooled(x, mask, "mean")
        return x.gather(1, (mask.sum(1) - 1).clamp(min=0)[:, None, None].expand(-1, 1, x.shape[2])).squeeze(1)

    def start(self) -> list[Cache]:
        """The state before a text: one cache a layer."""
        return [Cache(self.length) for _ in self.layers]

    def go_on(self, tokens: Tensor, state: list[Cache]) -> Tensor:
        """Read tokens (B, T) after those that the state has seen; logits (B, T, V). The state is changed in place."""
        return self(tokens, state)

    def room(self, state: list[Cache]) -> int | None:
        """How many tokens the state can still take; None when any number."""
        return self.length - state[0].seen


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"tokens": torch.randint(65, (2, 16))}, (2, 16, 65)
