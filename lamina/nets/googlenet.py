"""GoogLeNet (Inception v1): 22 layers of parallel convolutions with side heads. Szegedy 2014, https://arxiv.org/abs/1409.4842

Nine inception modules see their input through windows of 1, 3 and 5 pixels and a pooling at once; in training two side heads
answer from the middle (`auxiliary`), so that the gradient reaches the lower layers. "2014" is the paper's net, "batch" the same
with batch normalisation (Ioffe 2015, https://arxiv.org/abs/1502.03167); without a size it is that with a quarter of the
channels. The side heads see means over 4x4 parts, where the paper pools 5x5 windows of stride 3 to 4x4.
Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.nets._blocks import (
    RELU,
    ConvNorm,
    Features,
    Grid,
    Standardize,
    activation,
    checked_stem,
    initialise,
    response,
    stem_for,
)

TAKES = ("image",)
SIZES: dict[str, dict] = {
    "2014": {"width": 64, "stem": "large", "norm": "response"},
    "batch": {"width": 64, "stem": "large"},
}
# Table 1: channels of 1x1; of 3x3 and before it; of 5x5 and before it; after the pooling. None: a pooling between.
MODULES = (
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), None,
    (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128), None,
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
)  # fmt: skip
HEADS = {10: "4a", 13: "4d"}  # layers after which a side head answers


@dataclass(frozen=True)
class Config:
    """Sizes of a GoogLeNet."""

    classes: int = 10
    """outputs"""
    channels: int = 3
    """channels of the picture"""
    width: int = 16
    """channels of the first convolution; 64 in the paper, and all others in proportion"""
    auxiliary: bool = True
    """two side heads that answer in training"""
    stem: str = "small"
    """small: 3x3, keeps the side; half: 7x7 of stride 2 and a pooling, a quarter of it; large: one more pooling, an eighth"""
    activation: str = "relu"
    """relu leaky_relu gelu silu tanh sigmoid"""
    norm: str = "batch"
    """response (the paper's, twice in the stem) batch layer instance group weight batch_renorm none"""
    dropout: float = 0.4
    """share of the features that is dropped before the classifier"""


def suited(image: tuple[int, ...], wished: dict[str, Any]) -> dict[str, Any]:
    """Settings for pictures (channels, height, width), whatever the size: the stem."""
    return {"stem": stem_for(image, 40, 128)}


class Inception(nn.Module):
    """x (B, c_in, H, W) -> (B, c_out, H, W): four ways beside each other, their channels joined."""

    def __init__(self, c_in: int, channels: list[int], **how: Any) -> None:
        super().__init__()
        one, before_three, three, before_five, five, pooled = channels
        self.one = ConvNorm(c_in, one, 1, **how)
        self.three = nn.Sequential(ConvNorm(c_in, before_three, 1, **how), ConvNorm(before_three, three, 3, **how))
        self.five = nn.Sequential(ConvNorm(c_in, before_five, 1, **how), ConvNorm(before_five, five, 5, **how))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), ConvNorm(c_in, pooled, 1, **how))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1)


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> logits (batch, classes). Any height and width.

    In training `auxiliary` holds the logits of the side heads, too. Raises SettingError, or NameUnknown for a stem, norm or
    activation that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.width", config.width, 4, 4096)
        self.standardize = Standardize(config.channels)
        how: dict[str, Any] = {
            "norm_name": "none" if config.norm == "response" else config.norm,
            "act": config.activation,
        }
        layers, heads, c = self._stem(config, how), nn.ModuleDict(), self._scaled(192, config)
        for row in MODULES:
            if row is None:
                layers.append(self._pool())
                continue
            scaled = [self._scaled(channels, config) for channels in row]
            layers.append(Inception(c, scaled, **how))
            c = scaled[0] + scaled[2] + scaled[4] + scaled[5]
            head = HEADS.get(len(layers) - 1)
            if head and config.auxiliary:
                heads[head] = self._head(c, config, how)
        self.features = Features(*layers, width=c)
        self.heads = heads
        initialise(self.features, "lecun", RELU)
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(c, config.classes))

    @staticmethod
    def _scaled(channels: int, config: Config) -> int:
        return max(1, round(channels * config.width / 64))

    @classmethod
    def _stem(cls, config: Config, how: dict[str, Any]) -> list[nn.Module]:
        stem = checked_stem(config.stem)
        before, after = (response() if config.norm == "response" else nn.Identity() for _ in range(2))
        size, stride = (3, 1) if stem == "small" else (7, 2)
        pools = {"small": 0, "half": 1, "large": 2}[stem]
        last = cls._scaled(192, config)
        layers: list[nn.Module] = [
            ConvNorm(config.channels, config.width, size, stride, **how),
            cls._pool(pools > 0),
            before,
        ]
        layers += [ConvNorm(config.width, config.width, 1, **how), ConvNorm(config.width, last, 3, **how)]
        return [*layers, after, cls._pool(pools > 1)]

    @staticmethod
    def _pool(halved: bool = True) -> nn.Module:
        # An identity in its place, so that the weights have the same names with every stem.
        return nn.MaxPool2d(3, 2, ceil_mode=True) if halved else nn.Identity()

    @classmethod
    def _head(cls, c: int, config: Config, how: dict[str, Any]) -> nn.Sequential:
        """Section 5: 4x4 means, 128 channels of 1x1, a hidden layer of 1024 units, dropout of 70 %."""
        seen, hidden = cls._scaled(128, config), cls._scaled(1024, config)
        layers = [Grid(4), ConvNorm(c, seen, 1, **how), nn.Flatten(), nn.Linear(16 * seen, hidden)]
        made = nn.Sequential(*layers, activation(config.activation), nn.Dropout(0.7), nn.Linear(hidden, config.classes))
        initialise(made[:4], "lecun", RELU)
        return made

    def forward(self, image: Tensor) -> Tensor:
        x = self.standardize(image)
        if self.training:
            self.auxiliary = []
            for number, layer in enumerate(self.features):
                x = layer(x)
                head = HEADS.get(number, "")
                if head in self.heads:
                    self.auxiliary.append(self.heads[head](x))
        else:
            x = self.features(x)  # (B, C, H, W)
        return self.classifier(x.mean((2, 3)))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 32, 32)}, (2, 10)
