"""BERT: a transformer that reads in both directions, foretells words that were hidden from it, then learns labels. Devlin 2018, https://arxiv.org/abs/1810.04805

Layers normalise before each part (Xiong 2020, https://arxiv.org/abs/2002.04745), which needs no warm-up; queries and keys are
turned by their places, too (Su 2021, https://arxiv.org/abs/2104.09864): hidden words told after 1.4 minutes 36 %, without it 17. A
segment is what lies between two <end> signs (section 3.2). `per` says what is answered: text (an answer per text), token (one per token) or mask (pretraining:
the words at places that were hidden, by the weights of the embedding, and whether the second half of a text follows the first).
Letters: B batch, T tokens, D width, V vocabulary, N places.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.check import within
from lamina.core.errors import SettingError, unknown
from lamina.nets._attention import Embed, Layer, attended
from lamina.nets._text import PER, POOLS, pooled

TAKES = ("tokens",)
ANSWERS = ("", "tags", "masks")
TOKENS = "pairs"
LONGEST = 256  # tokens of a text
EARLIER = {"rotary": False}  # of nets that were saved without a word of it
RECIPE = {"lr": 1e-3, "batch": 32, "epochs": 12.0}
FINE = {"lr": 5e-4}  # where weights came
SIZES: dict[str, dict] = {
    "tiny": {"width": 64, "depth": 2, "heads": 2},
    "small": {"width": 256, "depth": 4, "heads": 4},
    "base": {"width": 768, "depth": 12, "heads": 12, "context": 512},
}
SEGMENTS = 4
END = 3  # the token between two segments


@dataclass(frozen=True)
class Config:
    """Sizes of a BERT."""

    classes: int = 2
    """outputs"""
    vocabulary: int = 1000
    """tokens there are"""
    context: int = 256
    """tokens of the longest text; learned positions end there"""
    width: int = 128
    """numbers that stand for a token"""
    depth: int = 3
    """layers, each attention and two dense ones"""
    heads: int = 4
    """attentions beside each other; they share the width"""
    ratio: int = 4
    """units of the dense layers are the width times this"""
    rotary: bool = True
    """attention sees how far tokens are apart, too (Su 2021)"""
    per: str = "text"
    """what is answered: text, token or mask (what was hidden)"""
    follows: bool = False
    """of mask: tell too whether the second half of a text follows the first"""
    pool: str = "mean"
    """the answer of a text comes from the mean over the tokens or from the first one: mean first"""
    dropout: float = 0.1
    """share dropped after attention and dense layers"""


class Encoder(nn.Module):
    """tokens (B, T) int64, 0 = padding -> (B, T, D) after all layers, and mask (B, T)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.width = config.width
        self.embed = Embed(config.vocabulary, config.width, config.context, "learned", config.dropout)
        self.segment = nn.Embedding(SEGMENTS, config.width)
        self.segment.decays = False  # type: ignore[assignment]
        nn.init.normal_(self.segment.weight, std=0.02)
        self.layers = nn.ModuleList(
            Layer(config.width, config.heads, ratio=config.ratio, dropout=config.dropout, rotary=config.rotary)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        mask, ends = tokens > 0, (tokens == END).long()
        x = self.embed(tokens) + self.segment((ends.cumsum(1) - ends).clamp(max=SEGMENTS - 1))
        return self.norm(attended(self.layers, x, mask)), mask


class Words(nn.Module):
    """x (N, D) -> logits (N, V): a dense layer, then the likeness to every token's vector (Devlin 2018, appendix A)."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, x: Tensor, vectors: Tensor) -> Tensor:
        return F.linear(self.norm(F.gelu(self.dense(x))), vectors, self.bias)


class Net(nn.Module):
    """tokens (B, T) int64, 0 = padding -> logits (B, classes), or (B, T, classes) per token or mask. Raises SettingError and NameUnknown."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.depth", config.depth, 1, 200)
        for what, name, known in (("answer per", config.per, PER), ("pooling", config.pool, POOLS)):
            if name not in known:
                raise unknown(what, name, known)
        self.per, self.pool, self.context = config.per, config.pool, config.context
        self.features = Encoder(config)
        masks = config.per == "mask"
        self.words = Words(config.width, config.vocabulary) if masks else None
        self.follows = nn.Linear(config.width, 2) if masks and config.follows else None
        self.classifier = None if masks else nn.Linear(config.width, config.classes)

    def read(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) of all tokens, and mask (B, T). Raises SettingError for a text beyond the context."""
        if tokens.shape[1] > self.context:
            raise SettingError(f"a text has {tokens.shape[1]} tokens, and the net's context is {self.context}.")
        return self.features(tokens)

    def foretold(self, tokens: Tensor, places: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits (N, V) at `places` (B, T) bool, row by row, and (B, 2): whether the second half follows; None where that is not learned."""
        if self.words is None:
            raise SettingError("this net foretells no words; it was built for another task.")
        x, _ = self.read(tokens)
        found = self.words(x[places], self.features.embed.token.weight)
        return found, None if self.follows is None else self.follows(x[:, 0])

    def forward(self, tokens: Tensor) -> Tensor:
        x, mask = self.read(tokens)
        if self.classifier is None:
            assert self.words is not None
            return self.words(x, self.features.embed.token.weight)
        if self.per == "token":
            return self.classifier(x)
        return self.classifier(pooled(x, mask, self.pool))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    tokens = torch.randint(4, 1000, (3, 256))  # every place, so that every position learns
    tokens[0, [40, 90, 160]] = END
    tokens[1, 200:] = 0
    return {"tokens": tokens}, (3, 2)
