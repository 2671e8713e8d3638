"""VGG: only 3x3 convolutions, 11 to 19 layers deep. Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556

11, 13, 16 and 19 are the paper's nets A, B, D and E, "16_bn" and the like the same with batch normalisation. Without a size
it is A with a quarter of the channels, batch normalisation and 256 hidden units. Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import SettingError
from lamina.nets._blocks import RELU, ConvNorm, Features, Standardize, dense, initialise

TAKES = ("image",)
_PLAIN = {"width": 64, "hidden": 4096, "grid": 7, "norm": "none"}
_NORM = {**_PLAIN, "norm": "batch"}
SIZES: dict[str, dict] = {
    "11": {**_PLAIN, "blocks": (1, 1, 2, 2, 2)},
    "13": {**_PLAIN, "blocks": (2, 2, 2, 2, 2)},
    "16": {**_PLAIN, "blocks": (2, 2, 3, 3, 3)},
    "19": {**_PLAIN, "blocks": (2, 2, 4, 4, 4)},
    "11_bn": {**_NORM, "blocks": (1, 1, 2, 2, 2)},
    "13_bn": {**_NORM, "blocks": (2, 2, 2, 2, 2)},
    "16_bn": {**_NORM, "blocks": (2, 2, 3, 3, 3)},
    "19_bn": {**_NORM, "blocks": (2, 2, 4, 4, 4)},
}
WIDEST = 8  # times the channels of the first stage


@dataclass(frozen=True)
class Config:
    """Sizes of a VGG."""

    classes: int = 10
    """outputs"""
    channels: int = 3
    """channels of the picture"""
    blocks: tuple[int, ...] = (1, 1, 2, 2, 2)
    """convolutions per stage; each stage ends in a pooling that halves the side"""
    width: int = 16
    """channels of the first stage; they double from stage to stage up to eight times as many"""
    hidden: int = 256
    """units of each of the two hidden dense layers"""
    grid: int = 1
    """side of the features that the dense layers see"""
    activation: str = "relu"
    """relu leaky_relu gelu silu tanh sigmoid"""
    norm: str = "batch"
    """batch layer instance group weight batch_renorm none"""
    dropout: float = 0.5
    """share of the inputs of each hidden layer dropped in training"""


def suited(image: tuple[int, ...], wished: dict[str, Any]) -> dict[str, Any]:
    """Settings for pictures (channels, height, width), whatever the size: the grid that the poolings leave."""
    stages = len(wished.get("blocks", (1,) * 5))
    return {"grid": min(7, -(-min(image[1:]) // 2**stages))}


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> logits (batch, classes). Any height and width.

    Raises SettingError, or NameUnknown for a norm or activation that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.width", config.width, 1, 4096)
        within("net.grid", config.grid, 1, 64)
        if not config.blocks or min(config.blocks) < 1:
            raise SettingError(f"net.blocks must be whole numbers from 1, one per stage, not {config.blocks}.")
        self.standardize = Standardize(config.channels)
        layers: list[nn.Module] = []
        c = config.channels
        for i, convolutions in enumerate(config.blocks):
            width = config.width * min(WIDEST, 2**i)
            for _ in range(convolutions):
                layers.append(ConvNorm(c, width, 3, norm_name=config.norm, act=config.activation))
                c = width
            layers.append(nn.MaxPool2d(2, ceil_mode=True))  # 28 pixels: 14, 7, 4, 2, 1
        self.features = Features(*layers, width=c)
        initialise(self.features, "lecun", RELU)
        self.classifier = dense(c, config.grid, config.hidden, config.classes, config.dropout, config.activation)

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(self.standardize(image)))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 32, 32)}, (2, 10)
