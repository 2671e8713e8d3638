"""Capsules: vectors whose length says whether a thing is there, and whose direction says how. Sabour 2017, https://arxiv.org/abs/1710.09829

Small capsules vote for larger ones and are heard where they agree (dynamic routing). The logits are those of the lengths, so a
softmax of them is a share of the squared votes; in training the margin loss of the paper is asked for (`loss_name`), and the
pixels must come back from the longest capsule (`penalty`; the paper takes the capsule of the right class). "2017" is the
paper's net; without a size it has 64 filters and 8 types. Larger pictures are averaged down to 28 to 56 pixels.
Letters: B batch, I capsules below, J capsules above (classes), D numbers of a capsule above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import SettingError
from lamina.nets._blocks import Features, Standardize, initialise

TAKES = ("image",)
SIZES: dict[str, dict] = {"2017": {"filters": 256, "types": 32}}


@dataclass(frozen=True)
class Config:
    """Sizes of a capsule network."""

    classes: int = 10
    """outputs"""
    channels: int = 1
    """channels of the picture"""
    side: int = 28
    """pixels of the picture's side"""
    shrink: int = 1
    """pixels of the side of the squares over which the picture is averaged first; what is left over at its edge is cut off"""
    filters: int = 64
    """channels of the first convolution"""
    types: int = 8
    """kinds of capsules below, each of 8 numbers, at every place"""
    above: int = 16
    """numbers of a capsule of a class"""
    rounds: int = 3
    """rounds of routing"""
    margin: bool = True
    """learn by the margin loss where the task is to classify; else by the task's own"""
    rebuild: float = 0.0005
    """weight of the squared error of the rebuilt picture, summed over its pixels; 0: nothing is rebuilt"""


def suited(image: tuple[int, ...], wished: dict[str, Any]) -> dict[str, Any]:
    """Settings for pictures (channels, height, width), whatever the size: how far they are averaged down."""
    return {"shrink": max(1, min(image[1:]) // 28)}


def lengthened(x: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (..., D) -> (the same with length s^2 / (1 + s^2), logits of those lengths) for lengths s (eq. 1)."""
    square = (x * x).sum(-1, keepdim=True) + 1e-9
    return x * square.sqrt() / (1 + square), square.log().squeeze(-1)  # log(v / (1 - v)) = log(s^2)


class Capsules(nn.Module):
    """u (B, I, 8) -> (vectors (B, J, D), logits (B, J)): every capsule below votes, routing by agreement (procedure 1)."""

    decays = False  # AdamW learns the votes: one orthogonal matrix over all capsules has no meaning

    def __init__(self, below: int, classes: int, above: int, rounds: int) -> None:
        super().__init__()
        self.classes, self.above, self.rounds = classes, above, rounds
        self.weight = nn.Parameter(0.1 * torch.randn(below, 8, classes * above))

    def forward(self, u: Tensor) -> tuple[Tensor, Tensor]:
        votes = torch.bmm(u.transpose(0, 1), self.weight)  # (I, B, J D)
        votes = votes.view(*votes.shape[:2], self.classes, self.above)
        fixed = votes.detach()  # only the last round learns
        share = torch.full((*votes.shape[:3], 1), 1 / self.classes, dtype=u.dtype, device=u.device)
        agreement = torch.zeros_like(share)
        for _ in range(self.rounds - 1):
            vector, _ = lengthened((share * fixed).sum(0))  # (B, J, D)
            agreement = agreement + (fixed * vector).sum(-1, keepdim=True)  # (I, B, J, 1)
            share = agreement.softmax(2)
        return lengthened((share * votes).sum(0))


class Net(nn.Module):
    """image (batch, channels, side, side) float in [0, 1] -> logits (batch, classes) of the lengths of the capsules.

    In training `penalty` is the weighted error of the rebuilt picture. Raises SettingError.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.rounds", config.rounds, 1, 20)
        within("net.rebuild", config.rebuild, 0, 100)
        within("net.shrink", config.shrink, 1, config.side)
        side = config.side // config.shrink
        grid = (side - 8 - 9) // 2 + 1
        if grid < 1:
            raise SettingError(f"net.side / net.shrink (={side}) must be at least 17 for two windows of 9 pixels.")
        self.loss_name, self.rebuild = ("margin" if config.margin else ""), config.rebuild
        self.shrink = nn.AvgPool2d(config.shrink) if config.shrink > 1 else nn.Identity()
        self.standardize = Standardize(config.channels)
        self.features = Features(
            nn.Conv2d(config.channels, config.filters, 9), nn.ReLU(),
            nn.Conv2d(config.filters, 8 * config.types, 9, 2), width=8 * config.types,
        )  # fmt: skip
        initialise(self.features, "lecun")
        vectors, pixels = config.above * config.classes, config.channels * side * side
        self.decoder = nn.Sequential(
            nn.Linear(vectors, 512), nn.ReLU(), nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, pixels), nn.Sigmoid()
        ) if config.rebuild else None  # fmt: skip
        self.classifier = Capsules(config.types * grid * grid, config.classes, config.above, config.rounds)

    def capsules(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (batch, classes, above) and logits (batch, classes) of a picture."""
        x = self.features(self.standardize(self.shrink(image)))  # (B, 8 types, H, W)
        u = x.unflatten(1, (-1, 8)).permute(0, 1, 3, 4, 2).flatten(1, 3)  # (B, I, 8)
        return self.classifier(lengthened(u)[0])

    def rebuilt(self, vectors: Tensor, chosen: Tensor) -> Tensor:
        """The picture (batch, pixels) in [0, 1] that the capsules (batch,) `chosen` hold. Needs net.rebuild above 0."""
        assert self.decoder is not None
        kept = nn.functional.one_hot(chosen, vectors.shape[1]).to(vectors.dtype).unsqueeze(2)
        return self.decoder((vectors * kept).flatten(1))

    def forward(self, image: Tensor) -> Tensor:
        vectors, logits = self.capsules(image)
        if self.training and self.decoder is not None:
            wrong = self.rebuilt(vectors, logits.argmax(1)) - self.shrink(image).flatten(1)
            self.penalty = self.rebuild * (wrong * wrong).sum(1).mean()
        return logits


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 1, 28, 28)}, (2, 10)
