"""Two towers: regions of a picture and words of a sentence as vectors of one space, where each word looks for its region.

Karpathy and Fei-Fei 2015, https://arxiv.org/abs/1412.2306. The regions are the places of the features of any image net, and the whole
picture; the paper takes 19 detected boxes and the whole picture. Words are read with their context from both sides (eq. 2 to 6).
Letters: B pictures, S sentences, P regions, T words, C channels, D numbers of the common space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.nets._trunk import Trunk

TAKES = ("image", "tokens")
SIZES: dict[str, dict] = {}
BUILDS_ON = "features"
ANSWERS = "which sentence fits"
FIRST = 4  # tokens below are padding, unknown words, start and end


@dataclass(frozen=True)
class Config:
    """Sizes of the two towers."""

    classes: int = 100
    """tokens of the vocabulary, the four special ones with them"""
    shape: tuple[int, ...] = (3, 64, 64)
    """channels, height and width of the picture"""
    features: str = "resnet9"
    """the image net that it builds on, with or without a size: resnet/20"""
    embedding: int = 96
    """numbers of a word"""
    width: int = 128
    """numbers of the common space"""
    dropout: float = 0.1
    """share of the numbers of words and regions that is dropped in training"""


class Words(nn.Embedding):
    """Vectors of words; weight decay would pull rare ones to nothing."""

    decays = False


class Net(nn.Module):
    """image (B, channels, height, width) float in [0, 1], tokens (S, words) int64 -> how well they fit (B, S).

    Raises SettingError.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.width", config.width, 1, 8192)
        self.trunk = Trunk(config.features, config.shape)
        self.grid = self.trunk.grid
        width = self.trunk.width
        self.place = nn.Parameter(0.02 * torch.randn(self.grid[0] * self.grid[1], width))
        self.region = nn.Linear(width, config.width)  # eq. 1
        self.words = Words(config.classes, config.embedding)
        self.enter = nn.Sequential(nn.Linear(config.embedding, config.width), nn.ReLU())
        self.forth = nn.GRU(config.width, config.width, batch_first=True)
        self.back = nn.GRU(config.width, config.width, batch_first=True)
        self.leave = nn.Linear(config.width, config.width)
        self.drop = nn.Dropout(config.dropout)

    def see(self, image: Tensor) -> Tensor:
        """image (B, ...) -> regions (B, P, D): the places row by row, and the whole picture as the last one."""
        x = self.trunk(image).flatten(2).transpose(1, 2) + self.place
        return self.region(self.drop(torch.cat([x, x.mean(1, keepdim=True)], 1)))

    def read(self, tokens: Tensor) -> Tensor:
        """tokens (S, T), PADDING behind the end -> words (S, T, D), each with what stands before and behind it."""
        x = self.enter(self.words(tokens))
        count, at = (tokens > 0).sum(1, keepdim=True), torch.arange(tokens.shape[1], device=tokens.device)
        turned = torch.where(at < count, count - 1 - at, at)[:, :, None]  # the last word first
        forth = self.forth(x)[0]
        back = self.back(x.gather(1, turned.expand_as(x)))[0].gather(1, turned.expand_as(x))
        return self.leave(self.drop(forth + back))

    def forward(self, image: Tensor, tokens: Tensor) -> Tensor:
        return align(self.see(image), self.read(tokens), known(tokens))[0]


def known(tokens: Tensor) -> Tensor:
    """bool (S, T): where there is a word that training saw."""
    return tokens >= FIRST


def align(regions: Tensor, words: Tensor, there: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """regions (B, P, D), words (S, T, D), there (S, T) -> how well each pair fits (B, S), the sum over its words of the best region's
    (eq. 8); that of each word (B, S, T), and which region it chose (B, S, T)."""
    fits = torch.einsum("bpd,std->bstp", regions, words) / math.sqrt(words.shape[2])
    best, chosen = fits.max(3)
    return (best * there).sum(2), best, chosen


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    tokens = torch.randint(FIRST, 100, (2, 7))
    tokens[1, 5:] = 0
    return {"image": torch.rand(2, 3, 64, 64), "tokens": tokens}, (2, 2)
