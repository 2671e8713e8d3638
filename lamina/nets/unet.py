"""U-Net: a way down that sees widely and a way up that takes the details back. Ronneberger 2015, https://arxiv.org/abs/1505.04597

"2015" has the paper's channels and depth. The convolutions are padded, so that the answer has the picture's size whatever
that is; what a pooling of odd sides adds is cut off on the way up. Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import SettingError
from lamina.nets._blocks import ConvNorm, Standardize, initialise

TAKES = ("image",)
ANSWERS = "a value per pixel"
SIZES: dict[str, dict] = {
    "2015": {"width": 64, "depth": 4, "stem": "small", "norm": "none"},
    "small": {"width": 16, "depth": 3},
    "medium": {"width": 24, "depth": 4},
    "large": {"width": 32, "depth": 4},
}
STEMS = ("small", "half")


@dataclass(frozen=True)
class Config:
    """Sizes of a U-Net."""

    classes: int = 2
    """outputs per pixel"""
    channels: int = 3
    """channels of the picture"""
    width: int = 16
    """channels of the first stage; each pooling doubles them"""
    depth: int = 3
    """poolings, each of which halves the side"""
    widest: int = 1024
    """most channels of a stage"""
    stem: str = "small"
    """small: the first stage has the picture's size; half: half of it, and the picture itself joins at the end"""
    reduce: int = 1
    """the answer's sides are so many times smaller than the picture's: 1, 2, 4 or 8"""
    activation: str = "relu"
    """relu leaky_relu gelu silu tanh sigmoid"""
    norm: str = "batch"
    """batch layer instance group weight batch_renorm none"""
    dropout: float = 0.0
    """share of the deepest features that is dropped"""


def suited(image: tuple[int, ...], wished: dict[str, Any]) -> dict[str, Any]:
    """Settings for pictures (channels, height, width), whatever the size: the stem, and poolings that leave 4 pixels or more."""
    half = min(image[1:]) > 64 and "stem" not in wished
    depth = wished.get("depth", 3)
    while depth > 1 and min(image[1:]) // 2 ** (depth + half) < 4:
        depth -= 1
    return {"depth": depth, **({"stem": "half"} if half else {})}


def _twice(c_in: int, c_out: int, config: Config) -> nn.Sequential:
    """Two 3x3 convolutions, each with norm and activation."""
    first = ConvNorm(c_in, c_out, 3, norm_name=config.norm, act=config.activation)
    return nn.Sequential(first, ConvNorm(c_out, c_out, 3, norm_name=config.norm, act=config.activation))


class Up(nn.Module):
    """x (B, 2C, H/2, W/2) and what was seen on the way down (B, S, H, W) -> (B, C, H, W)."""

    def __init__(self, c_in: int, c_skip: int, c_out: int, config: Config) -> None:
        super().__init__()
        self.grow = nn.ConvTranspose2d(c_in, c_out, 2, 2)
        self.join = _twice(c_out + c_skip, c_out, config)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.grow(x)[:, :, : skip.shape[2], : skip.shape[3]]
        return self.join(torch.cat([skip, x], 1))


class Body(nn.Module):
    """g: image (B, channels, H, W) -> (B, width, H / reduce, W / reduce)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths = [min(config.widest, config.width * 2**i) for i in range(config.depth + 1)]
        half = config.stem == "half"
        self.stem = (
            ConvNorm(config.channels, widths[0], 4, 2, norm_name=config.norm, act=config.activation, padding=1)
            if half
            else None
        )
        first = widths[0] if half else config.channels
        self.down = nn.ModuleList(_twice(c, w, config) for c, w in zip([first, *widths], widths, strict=False))
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.drop = nn.Dropout(config.dropout)
        steps = max(0, config.depth + half - config.reduce.bit_length() + 1)
        levels = list(range(config.depth))[::-1][:steps]
        self.up = nn.ModuleList(Up(widths[i + 1], widths[i], widths[i], config) for i in levels)
        self.width = widths[levels[-1]] if levels else widths[-1]
        self.last = None
        if half and config.reduce == 1:
            self.last = Up(self.width, config.channels, max(8, self.width // 2), config)
            self.width = max(8, self.width // 2)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        if self.stem is not None:  # an odd side gets one more pixel, or the last one would be lost
            image = nn.functional.pad(image, (0, width % 2, 0, height % 2), "replicate")
        x, seen = image if self.stem is None else self.stem(image), []
        for i, stage in enumerate(self.down):
            x = stage(self.pool(x) if i else x)
            seen.append(x)
        x = self.drop(x)
        for up, skip in zip(self.up, seen[-2::-1], strict=False):
            x = up(x, skip)
        return x if self.last is None else self.last(x, image)[:, :, :height, :width]


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> (batch, classes, height, width) over reduce. Any height and width.

    Raises SettingError, or NameUnknown for a norm or activation that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.width", config.width, 1, 4096)
        within("net.depth", config.depth, 1, 8)
        if config.stem not in STEMS:
            raise SettingError(f"net.stem must be {' or '.join(STEMS)}, not '{config.stem}'.")
        if config.reduce not in (1, 2, 4, 8) or config.reduce >= 2 ** (config.depth + (config.stem == "half") + 1):
            raise SettingError(f"net.reduce must be 1, 2, 4 or 8 and no deeper than net.depth, not {config.reduce}.")
        self.standardize = Standardize(config.channels)
        self.features = Body(config)
        initialise(self.features, "he")
        self.classifier = nn.Conv2d(self.features.width, config.classes, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(self.standardize(image)))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 32, 48)}, (2, 2, 32, 48)
