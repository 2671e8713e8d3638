"""EDSR: residual blocks without normalisation, at the size of the small picture; pixels are put in place at the end.

Lim 2017, https://arxiv.org/abs/1707.02921; the places of the pixels as in Shi 2016 (sub-pixel convolution), https://arxiv.org/abs/1609.05158.
The picture that comes in has the size of the answer: each `fold` x `fold` pixels become channels of one, so that all the work is done
where there are fewer places, and become pixels again at the end. Letters: B batch, C channels, H height, W width, k fold.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.check import within
from lamina.core.errors import SettingError
from lamina.nets._blocks import Standardize, activation, initialise

TAKES = ("image",)
ANSWERS = "a value per pixel"
SIZES: dict[str, dict] = {
    "small": {"width": 32, "depth": 4},
    "baseline": {"width": 64, "depth": 16},
    "2017": {"width": 256, "depth": 32, "scale": 0.1},
}


@dataclass(frozen=True)
class Config:
    """Sizes of an EDSR."""

    classes: int = 3
    """outputs per pixel"""
    channels: int = 3
    """channels of the picture"""
    fold: int = 2
    """pixels a side that become channels of one place: 1, 2, 3, 4 or 8"""
    width: int = 32
    """channels between"""
    depth: int = 4
    """residual blocks of two convolutions"""
    scale: float = 1.0
    """what each block adds counts so much; 0.1 keeps wide nets steady (section 3.2)"""
    activation: str = "relu"
    """relu leaky_relu gelu silu tanh sigmoid"""


class Block(nn.Module):
    """x (B, C, H, W) -> x + scale * f(x)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        first, second = (nn.Conv2d(config.width, config.width, 3, padding=1) for _ in range(2))
        self.change = nn.Sequential(first, activation(config.activation), second)
        self.scale = config.scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.change(x)


class Body(nn.Module):
    """g: image (B, channels, H, W) -> (B, width, H / k, W / k), rounded up."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.fold, self.width = config.fold, config.width
        self.first = nn.Conv2d(config.channels * config.fold**2, config.width, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.depth)))
        self.last = nn.Conv2d(config.width, config.width, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        image = F.pad(image, (0, -width % self.fold, 0, -height % self.fold), "replicate")
        x = self.first(F.pixel_unshuffle(image, self.fold))  # (B, width, H / k, W / k)
        return x + self.last(self.blocks(x))


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> (batch, classes, height, width). Any height and width.

    Raises SettingError, or NameUnknown for an activation that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.width", config.width, 1, 4096)
        within("net.depth", config.depth, 1, 256)
        within("net.scale", config.scale, 1e-3, 1)
        if config.fold not in (1, 2, 3, 4, 8):
            raise SettingError(f"net.fold must be 1, 2, 3, 4 or 8, not {config.fold}.")
        self.standardize = Standardize(config.channels)
        self.features = Body(config)
        initialise(self.features, "he")
        for block in self.features.blocks:
            with (
                torch.no_grad()
            ):  # no normalisation: blocks begin near doing nothing, or depth would multiply what they add
                block.change[2].weight.mul_(0.1)  # type: ignore[index]
        self.fold = config.fold
        self.classifier = nn.Conv2d(config.width, config.classes * config.fold**2, 3, padding=1)
        nn.init.normal_(self.classifier.weight, std=1e-3)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        given = self.classifier(self.features(self.standardize(image)))  # (B, classes k k, H / k, W / k)
        return F.pixel_shuffle(given, self.fold)[:, :, : image.shape[2], : image.shape[3]]


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 31, 48)}, (2, 3, 31, 48)
