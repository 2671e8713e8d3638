"""SENet: residual networks whose blocks weigh their channels by what the whole picture holds. Hu 2017, https://arxiv.org/abs/1709.01507

Squeeze (the mean of each channel), excitation (two dense layers, a gate per channel): a tenth more weights than resnet, from
whose blocks it is built. Sizes are those of resnet. Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.nets import resnet

TAKES = ("image",)
SIZES: dict[str, dict] = {
    "20": {"blocks": (3, 3, 3), "width": 16},
    "56": {"blocks": (9, 9, 9), "width": 16},
    "18": {"blocks": (2, 2, 2, 2), "width": 64},
    "34": {"blocks": (3, 4, 6, 3), "width": 64},
    "50": {"blocks": (3, 4, 6, 3), "width": 64, "bottleneck": True},
    "101": {"blocks": (3, 4, 23, 3), "width": 64, "bottleneck": True},
    "152": {"blocks": (3, 8, 36, 3), "width": 64, "bottleneck": True},
}
suited = resnet.suited


@dataclass(frozen=True)
class Config:
    """Sizes of a squeeze-and-excitation network."""

    classes: int = 10
    """outputs"""
    channels: int = 3
    """channels of the picture"""
    blocks: tuple[int, ...] = (3, 3, 3)
    """residual blocks per stage; each stage after the first halves the side and doubles the channels"""
    width: int = 16
    """channels of the first stage"""
    bottleneck: bool = False
    """blocks of 1x1, 3x3, 1x1 convolutions with four times the channels at their end"""
    squeeze: int = 16
    """channels per unit between squeeze and excitation, which has at least 4"""
    stem: str = "small"
    """small: 3x3, keeps the side; half: 3x3 and a pooling; large: 7x7 with stride 2 and a pooling, a quarter of the side"""
    activation: str = "relu"
    """relu leaky_relu gelu silu tanh sigmoid"""
    norm: str = "batch"
    """batch layer instance group weight batch_renorm none"""
    dropout: float = 0.0
    """share of the features that is dropped before the classifier"""


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> logits (batch, classes). Any height and width.

    Raises SettingError, or NameUnknown for a stem, norm or activation that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.squeeze", config.squeeze, 1, 4096)
        settings: dict[str, Any] = {**vars(config)}
        inner = resnet.Net(resnet.Config(**settings))
        self.standardize, self.features, self.classifier = inner.standardize, inner.features, inner.classifier

    def forward(self, image: Tensor) -> Tensor:
        x = self.features(self.standardize(image))  # (B, C, H, W)
        return self.classifier(x.mean((2, 3)))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 32, 32)}, (2, 10)
