"""MobileNets v2 (Sandler 2018, https://arxiv.org/abs/1801.04381) and v3 (Howard 2019, https://arxiv.org/abs/1905.02244).

Inverted residuals: a 1x1 convolution widens, a depthwise one looks around, a 1x1 narrows without an activation. v3 was found
by a search and adds squeeze-and-excitation and hard swish. Without a size it is v3_small.
Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import unknown
from lamina.nets._blocks import (
    STEMS,
    ConvNorm,
    DropPath,
    Features,
    SqueezeExcite,
    Standardize,
    activation,
    checked_stem,
    initialise,
    stem_for,
)

TAKES = ("image",)
SIZES: dict[str, dict] = {
    "v2": {"version": "v2"},
    "v3_small": {"version": "v3_small"},
    "v3_large": {"version": "v3_large"},
}


@dataclass(frozen=True)
class Row:
    """An inverted residual: the size of its window, channels between and after, and how."""

    size: int
    wide: int
    channels: int
    stride: int = 1
    act: str = "relu"
    squeezed: bool = False


def _v2() -> list[Row]:
    """Sandler 2018, table 2: expansion, channels, repeats and stride of the first."""
    rows, c = [], 32
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, channels, repeats, stride in table:
        for i in range(repeats):
            rows.append(Row(3, expansion * c, channels, 1 if i else stride, "relu6"))
            c = channels
    return rows


H = "hard_swish"
# Howard 2019, tables 1 and 2.
LARGE = [
    Row(3, 16, 16), Row(3, 64, 24, 2), Row(3, 72, 24), Row(5, 72, 40, 2, "relu", True), Row(5, 120, 40, 1, "relu", True),
    Row(5, 120, 40, 1, "relu", True), Row(3, 240, 80, 2, H), Row(3, 200, 80, 1, H), Row(3, 184, 80, 1, H), Row(3, 184, 80, 1, H),
    Row(3, 480, 112, 1, H, True), Row(3, 672, 112, 1, H, True), Row(5, 672, 160, 2, H, True), Row(5, 960, 160, 1, H, True),
    Row(5, 960, 160, 1, H, True),
]  # fmt: skip
SMALL = [
    Row(3, 16, 16, 2, "relu", True), Row(3, 72, 24, 2), Row(3, 88, 24), Row(5, 96, 40, 2, H, True), Row(5, 240, 40, 1, H, True),
    Row(5, 240, 40, 1, H, True), Row(5, 120, 48, 1, H, True), Row(5, 144, 48, 1, H, True), Row(5, 288, 96, 2, H, True),
    Row(5, 576, 96, 1, H, True), Row(5, 576, 96, 1, H, True),
]  # fmt: skip
# Channels of the stem, rows, channels of the last 1x1 convolution, hidden units of the answer, activation of stem and end.
VERSIONS = {
    "v2": (32, _v2(), 1280, 0, "relu6"),
    "v3_small": (16, SMALL, 576, 1024, H),
    "v3_large": (16, LARGE, 960, 1280, H),
}


@dataclass(frozen=True)
class Config:
    """Sizes of a MobileNet."""

    classes: int = 10
    """outputs"""
    channels: int = 3
    """channels of the picture"""
    version: str = "v3_small"
    """v2 v3_small v3_large"""
    multiplier: float = 1.0
    """factor on the channels of every layer, rounded to multiples of 8"""
    stem: str = "small"
    """large: a 32nd of the side is left, as in the papers; half: a 16th; small: an eighth"""
    norm: str = "batch"
    """batch layer instance group batch_renorm none"""
    dropout: float = 0.2
    """share dropped before the last layer"""


def suited(image: tuple[int, ...], wished: dict[str, Any]) -> dict[str, Any]:
    """Settings for pictures (channels, height, width), whatever the size: the stem."""
    return {"stem": stem_for(image, 40, 112)}


def rounded(channels: float, multiple: int = 8) -> int:
    """The nearest multiple of 8 that is at least 90 % of so many channels."""
    near = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return near + multiple if near < 0.9 * channels else near


def finer(strides: Sequence[int], stem: str) -> list[int]:
    """Strides, of which the first that are 2 become 1: none with the large stem, one with half, two with small."""
    left, made = len(STEMS) - 1 - STEMS.index(checked_stem(stem)), []
    for stride in strides:
        made.append(1 if left and stride == 2 else stride)
        left -= bool(left) and stride == 2
    return made


class Inverted(nn.Module):
    """x (B, c_in, H, W) -> (B, c_out, H / stride, W / stride): wide, look around, weigh, narrow; x is added where it fits.

    wide: channels between; squeezed: units of squeeze-and-excitation, 0 for none; dropped: share of the rows whose residual is
    left out in training.
    """

    def __init__(
        self, c_in: int, wide: int, c_out: int, size: int, stride: int, *, act: str, norm_name: str, squeezed: int = 0,
        squeeze_act: str = "relu", gate: str = "hard_sigmoid", dropped: float = 0.0, conv: type[nn.Conv2d] = nn.Conv2d,
    ) -> None:  # fmt: skip
        super().__init__()
        self.expand = ConvNorm(c_in, wide, 1, norm_name=norm_name, act=act) if wide != c_in else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, size, stride, groups=wide, norm_name=norm_name, act=act, conv=conv)
        self.squeeze = SqueezeExcite(wide, squeezed, squeeze_act, gate) if squeezed else nn.Identity()
        self.project = ConvNorm(wide, c_out, 1, norm_name=norm_name, act="none")
        self.added = stride == 1 and c_in == c_out
        self.drop = DropPath(dropped)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.squeeze(self.depthwise(self.expand(x))))
        return x + self.drop(y) if self.added else y


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> logits (batch, classes). Any height and width.

    Raises SettingError, or NameUnknown for a version, stem or norm that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.multiplier", config.multiplier, 0.1, 10)
        if config.version not in VERSIONS:
            raise unknown("version of mobilenet", config.version, VERSIONS)
        first, rows, last, hidden, act = VERSIONS[config.version]
        factor, norm_name = config.multiplier, config.norm
        strides = finer([2, *(row.stride for row in rows)], config.stem)
        self.standardize = Standardize(config.channels)
        c = rounded(first * factor)
        layers: list[nn.Module] = [ConvNorm(config.channels, c, 3, strides[0], norm_name=norm_name, act=act)]
        for row, stride in zip(rows, strides[1:], strict=True):
            wide, c_out = rounded(row.wide * factor), rounded(row.channels * factor)
            squeezed = rounded(wide / 4) if row.squeezed else 0
            layers.append(
                Inverted(c, wide, c_out, row.size, stride, act=row.act, norm_name=norm_name, squeezed=squeezed)
            )
            c = c_out
        width = rounded(last * (max(1.0, factor) if config.version == "v2" else factor))
        layers.append(ConvNorm(c, width, 1, norm_name=norm_name, act=act))
        self.features = Features(*layers, width=width)
        initialise(self.features, "he")
        before = [nn.Linear(width, hidden), activation(act)] if hidden else []
        self.classifier = nn.Sequential(*before, nn.Dropout(config.dropout), nn.Linear(hidden or width, config.classes))

    def forward(self, image: Tensor) -> Tensor:
        x = self.features(self.standardize(image))  # (B, C, H, W)
        return self.classifier(x.mean((2, 3)))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 32, 32)}, (2, 10)
