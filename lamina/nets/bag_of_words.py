"""Bag of words: a text is which words and word pairs it holds, no matter where; linear, or with a hidden layer.

Linear: logistic regression on weighted n-grams (Joachims 1998, https://doi.org/10.1007/BFb0026683; Wang 2012 for pairs,
https://aclanthology.org/P12-2018). Hidden: the mean of vectors of n-grams (Joulin 2016, https://arxiv.org/abs/1607.01759).
n-grams of two and more tokens are hashed into `buckets` (Weinberger 2009, https://arxiv.org/abs/0902.2206); those of one have
their own places. Each n-gram of a text weighs by how rare it is among the training texts (Sparck Jones 1972), the vector of a
text has length one. Columns of numbers and categories beside the text join after their features.
Letters: B batch, T tokens, G n-grams of a text, D width.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.check import within
from lamina.nets._blocks import activation
from lamina.nets._row import RowEncoder

TAKES = ("tokens", "numbers", "categories")
LONGEST = 2000  # tokens of a text
RECIPE = {"lr": 1e-2, "batch": 64, "epochs": 20.0}
SIZES: dict[str, dict] = {"linear": {"hidden": 0}, "small": {"hidden": 32, "ngrams": 1}, "mlp": {"hidden": 64}}
PRIMES = (1_000_003, 8_191, 131_071, 524_287)


@dataclass(frozen=True)
class Config:
    """Sizes of a bag of words."""

    classes: int = 2
    """outputs"""
    vocabulary: int = 1000
    """tokens there are"""
    numbers: int = 0
    """numeric inputs beside the text"""
    categories: tuple[int, ...] = ()
    """categories of each categorical input beside the text"""
    ngrams: int = 2
    """tokens of the longest n-gram"""
    buckets: int = 50_000
    """places that n-grams of two and more tokens share"""
    hidden: int = 0
    """units of the hidden layer; 0: linear"""
    dropout: float = 0.2
    """share of the n-grams dropped in training, and of the hidden units"""
    activation: str = "relu"
    """of the hidden layer"""


class Net(nn.Module):
    """tokens (batch, tokens) int64, 0 = padding; numbers (batch, numbers); categories (batch, columns) -> (batch, classes)."""

    rarity: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.ngrams", config.ngrams, 1, len(PRIMES))
        within("net.buckets", config.buckets, 1, 1 << 24)
        self.vocabulary, self.buckets, self.ngrams = config.vocabulary, config.buckets, config.ngrams
        places = config.vocabulary + (config.buckets if config.ngrams > 1 else 0)
        width = config.hidden or config.classes
        self.register_buffer("rarity", torch.ones(places))
        self.bag = nn.EmbeddingBag(places, width, mode="sum")
        self.bag.decays = False  # type: ignore[assignment]
        nn.init.normal_(self.bag.weight, std=0.1 if config.hidden else 1e-3)
        beside = bool(config.numbers or config.categories)
        self.row = RowEncoder(config.numbers, config.categories, ranked=True, unknown=0.02) if beside else None
        self.dropout = config.dropout
        act = activation(config.activation) if config.hidden else nn.Identity()
        self.hidden = nn.Sequential(act, nn.Dropout(config.dropout)) if config.hidden else nn.Identity()
        wide = width + (64 if self.row else 0)
        self.beside = nn.Sequential(nn.Linear(self.row.width, 64), nn.ReLU()) if self.row else None
        self.classifier = nn.Linear(wide, config.classes) if config.hidden or self.row else nn.Identity()
        self.bias = nn.Parameter(torch.zeros(width))

    def grams(self, tokens: Tensor) -> Tensor:
        """tokens (B, T) -> (B, G): places of all n-grams in the table, 0 where there is none; each n-gram once."""
        found, mixed = [tokens.masked_fill(tokens < 4, 0)], tokens
        for size in range(2, self.ngrams + 1):
            mixed = mixed[:, :-1] * PRIMES[size - 1] + tokens[:, size - 1 :] * PRIMES[0]
            place = self.vocabulary + (mixed ^ (mixed >> 15)) % self.buckets
            found.append(place.masked_fill(tokens[:, size - 1 :] == 0, 0))
        places = torch.cat(found, 1).sort(1).values
        again = F.pad(places[:, 1:] == places[:, :-1], (1, 0))
        return places.masked_fill(again, 0)

    @torch.no_grad()
    def fit_tokens(self, batches: Iterable[Tensor]) -> None:
        """Set how rare each n-gram is, from the tokens (B, T) of training texts."""
        count, texts = torch.zeros_like(self.rarity), 0
        for tokens in batches:
            places = self.grams(tokens)
            count += torch.bincount(places[places > 0], minlength=len(count))
            texts += len(tokens)
        rare = ((1 + texts) / (1 + count)).log() + 1
        self.rarity.copy_(
            torch.where(count >= min(2, texts), rare, 0.0)
        )  # what one text alone holds tells nothing of others

    def forward(self, tokens: Tensor, numbers: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        places = self.grams(tokens)
        weight = self.rarity[places] * (places > 0)
        if self.training and self.dropout:
            weight = weight * (torch.rand(weight.shape, device=weight.device) >= self.dropout)
        weight = weight / weight.norm(dim=1, keepdim=True).clamp(min=1e-6)
        x = self.hidden(self.bag(places, per_sample_weights=weight) + self.bias)  # (B, D)
        if self.row is not None and self.beside is not None:
            x = torch.cat([x, self.beside(self.row(numbers, categories))], 1)
        return self.classifier(x)


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"tokens": torch.randint(4, 1000, (3, 12))}, (3, 2)
