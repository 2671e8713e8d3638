"""Semantic hashing: an autoencoder of word counts whose code is bits. Salakhutdinov and Hinton 2007, https://doi.org/10.1016/j.ijar.2008.11.006

code noise: normal noise before the logistic units drives them to 0 or 1 (section 2.2); straight: bits forwards, the slope of the
logistic backwards (Bengio 2013, https://arxiv.org/abs/1308.3432). The answer is how likely each word is (a softmax over words, which
counts of a text of any length share: section 2.1). Letters: B batch, T tokens, V vocabulary, K bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import unknown
from lamina.nets._text import SPECIAL

TAKES = ("tokens",)
ANSWERS = "codes"
LONGEST = 1000  # tokens of a text
RECIPE = {"lr": 2e-3, "batch": 64, "epochs": 30.0}
SIZES: dict[str, dict] = {"32": {"bits": 32}, "64": {"bits": 64}, "128": {"bits": 128}}
CODES = ("straight", "noise")
LOUD = 4.0  # standard deviation of the noise


@dataclass(frozen=True)
class Config:
    """Sizes of a semantic hash."""

    vocabulary: int = 1000
    """tokens there are"""
    bits: int = 64
    """of a code; a multiple of 8"""
    hidden: int = 256
    """units between words and code"""
    code: str = "straight"
    """how bits are learned: straight or noise"""
    dropout: float = 0.1
    """share of the words dropped in training"""


class Net(nn.Module):
    """tokens (B, T) int64, 0 = padding -> logits (B, V) of the words of each text. Raises SettingError and NameUnknown."""

    rarity: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.bits", config.bits, 8, 4096)
        if config.bits % 8:
            within("net.bits modulo 8", config.bits % 8, 0, 0, "Codes are packed into bytes.")
        if config.code not in CODES:
            raise unknown("code", config.code, CODES)
        self.code, self.dropout = config.code, config.dropout
        self.register_buffer("rarity", torch.ones(config.vocabulary))
        self.bag = nn.EmbeddingBag(config.vocabulary, config.hidden, mode="sum")
        nn.init.normal_(self.bag.weight, std=0.3)
        self.bias = nn.Parameter(torch.zeros(config.hidden))
        self.encode = nn.Linear(config.hidden, config.bits)
        self.balance = nn.BatchNorm1d(config.bits, affine=False)  # a bit that is nearly always the same says nothing
        self.decode = nn.Sequential(
            nn.Linear(config.bits, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.vocabulary)
        )

    @torch.no_grad()
    def fit_tokens(self, batches: Iterable[Tensor]) -> None:
        """Set how rare each word is (Sparck Jones 1972), from the tokens (B, T) of training texts."""
        count, texts = torch.zeros_like(self.rarity), 0
        for tokens in batches:
            ordered = tokens.sort(1).values
            first = torch.cat([torch.ones_like(ordered[:, :1], dtype=torch.bool), ordered[:, 1:] != ordered[:, :-1]], 1)
            count += torch.bincount(ordered[first], minlength=len(count))
            texts += len(tokens)
        self.rarity.copy_(((1 + texts) / (1 + count)).log())

    def scores(self, tokens: Tensor) -> Tensor:
        """(B, K): a bit is 1 where its score is above zero."""
        weight = self.rarity[tokens] * (tokens >= SPECIAL)
        if self.training and self.dropout:
            weight = weight * (torch.rand(weight.shape, device=weight.device) >= self.dropout)
        weight = weight / weight.norm(dim=1, keepdim=True).clamp(min=1e-6)
        return self.balance(self.encode(torch.relu(self.bag(tokens, per_sample_weights=weight) + self.bias)))

    def forward(self, tokens: Tensor) -> Tensor:
        score = self.scores(tokens)
        if self.code == "noise" and self.training:
            bits = (score + LOUD * torch.randn_like(score)).sigmoid()
        else:
            soft = score.sigmoid()
            bits = soft + ((score > 0).to(soft.dtype) - soft).detach()
        return self.decode(2 * bits - 1)


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    tokens = torch.randint(SPECIAL, 1000, (3, 12))
    tokens[1, 5:] = 0
    return {"tokens": tokens}, (3, 1000)
