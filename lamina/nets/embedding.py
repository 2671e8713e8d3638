"""Embedding: a picture as a point on a sphere, pictures of one identity near each other. Schroff 2015 (FaceNet), https://arxiv.org/abs/1503.03832

g of any image net, a linear layer, length 1. Loss contrastive: Hadsell 2006 (https://doi.org/10.1109/CVPR.2006.100); triplet: Hermans 2017
(https://arxiv.org/abs/1703.07737), the hardest of the batch; margin: Wang 2018 (CosFace, https://arxiv.org/abs/1801.09414), whose centres
are needed in training alone. Emoji of two makers (two pictures a symbol), equal error rate on validation symbols after 1.8 passes:
triplet 13.7 %, contrastive 19.6 %, margin 31.7 %; triplet after 8 passes 5.8 % on symbols never seen.
Letters: B batch, C channels, H height, W width, D width of the embedding, K identities.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.check import within
from lamina.core.errors import unknown
from lamina.nets._trunk import Trunk

TAKES = ("image",)
SIZES: dict[str, dict] = {}
BUILDS_ON = "features"  # the setting that names another image net
LOSSES = ("margin", "triplet", "contrastive")


@dataclass(frozen=True)
class Config:
    """Sizes of an embedding."""

    classes: int = 0
    """identities among the training pictures; 0: none is named, and margin cannot be learned by"""
    shape: tuple[int, ...] = (3, 64, 64)
    """channels, height and width of the picture"""
    features: str = "resnet9"
    """the image net that it builds on, with or without a size: resnet/20"""
    width: int = 128
    """numbers of the embedding"""
    loss: str = "triplet"
    """triplet, margin or contrastive"""
    dropout: float = 0.0
    """share of the features that is dropped before the embedding"""


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> points (batch, width) of length 1.

    `threshold` is the distance up to which two pictures are called the same; the task sets it. Raises NameUnknown, SettingError.
    """

    threshold: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.width", config.width, 2, 4096)
        within("net.dropout", config.dropout, 0, 0.95)
        if config.loss not in LOSSES:
            raise unknown("loss", config.loss, LOSSES)
        self.trunk = Trunk(config.features, config.shape)
        self.head = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(self.trunk.width, config.width, bias=False),
            nn.BatchNorm1d(config.width),
        )
        self.loss_name = config.loss
        self.register_buffer("threshold", torch.ones(()))
        if config.loss == "margin" and config.classes:
            self.centres = Centres(config.classes, config.width)

    def forward(self, image: Tensor) -> Tensor:
        x = self.trunk(image).mean((2, 3))  # (B, C)
        return F.normalize(self.head(x), dim=1)  # (B, D)


class Centres(nn.Embedding):
    """One point per training identity; a step changes only directions."""

    decays = False

    def __init__(self, count: int, width: int) -> None:
        super().__init__(count, width)
        nn.init.normal_(self.weight, std=width**-0.5)

    def forward(self, points: Tensor) -> Tensor:  # type: ignore[override]
        """points (B, D) -> cosine to every centre (B, K)."""
        return points @ F.normalize(self.weight, dim=1).T


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 64, 64)}, (2, 128)
