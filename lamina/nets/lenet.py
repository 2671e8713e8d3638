"""LeNet: the first convolutional networks that read handwritten digits.

LeCun 1990, Handwritten Digit Recognition with a Back-Propagation Network, https://yann.lecun.com/exdb/publis/pdf/lecun-90c.pdf
LeCun 1998, Gradient-Based Learning Applied to Document Recognition, https://doi.org/10.1109/5.726791

"1990" is 4@24x24, 4@12x12, 12@8x8, 12@4x4, 10: 2,578 weights and 98,442 connections (the lectures round to 2,600 and
100,000). "1998" is LeNet-5, whose radial output units are a linear layer here.
Letters: B batch, H height, W width of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.core.errors import SettingError, unknown
from lamina.nets._blocks import Features, ScaledTanh, Standardize

TAKES = ("image",)
SIZES: dict[str, dict] = {"1990": {"version": "1990"}, "1998": {"version": "1998"}}

# Which of the maps before feed a map: 1990 table 1 and 1998 table I.
MAPS_1990 = ((0,), (0, 1), (0, 1), (1,), (0, 1), (0, 1), (2,), (2, 3), (2, 3), (3,), (2, 3), (2, 3))
MAPS_1998 = tuple(
    [tuple(sorted((i + k) % 6 for k in range(3))) for i in range(6)]
    + [tuple(sorted((i + k) % 6 for k in range(4))) for i in range(6)]
    + [tuple(sorted((i + k) % 6 for k in (0, 1, 3, 4))) for i in range(3)]
    + [tuple(range(6))]
)


@dataclass(frozen=True)
class Config:
    """Sizes of a LeNet."""

    classes: int = 10
    """outputs"""
    channels: int = 1
    """channels of the picture"""
    side: int = 28
    """height and width of the picture in pixels"""
    version: str = "1998"
    """1990 (2,578 weights) or 1998 (LeNet-5)"""


class PartialConv(nn.Module):
    """5x5 convolution in which each output map sees only some input maps; only those weights exist."""

    place: Tensor

    def __init__(self, inputs: int, maps: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        pairs = [(o, i) for o, seen in enumerate(maps) for i in seen]
        self.register_buffer("place", torch.tensor([o * inputs + i for o, i in pairs]), persistent=False)
        self.inputs, self.outputs = inputs, len(maps)
        bound = torch.tensor([2.4 / (25 * len(maps[o])) for o, _ in pairs]).view(-1, 1)  # LeCun 1990, section 4
        self.weight = nn.Parameter((torch.rand(len(pairs), 25) * 2 - 1) * bound)
        self.bias = nn.Parameter(torch.zeros(self.outputs))

    def forward(self, x: Tensor) -> Tensor:
        full = torch.zeros(self.outputs * self.inputs, 25, dtype=self.weight.dtype, device=self.weight.device)
        full = full.index_copy(0, self.place, self.weight).view(self.outputs, self.inputs, 5, 5)
        return nn.functional.conv2d(x, full, self.bias)


class Subsample(nn.Module):
    """Mean over 2x2, times one weight per map, plus one bias per map."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(maps, 1, 1))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 2) * self.weight + self.bias


class Net(nn.Module):
    """image (batch, channels, side, side) float in [0, 1] -> logits (batch, classes).

    Raises SettingError when the side leaves nothing after the layers.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.version not in SIZES:
            raise unknown("version of lenet", config.version, SIZES)
        old = config.version == "1990"
        first, maps = (4, MAPS_1990) if old else (6, MAPS_1998)
        self.padding = 0 if old else 2  # LeNet-5 puts 28x28 into 32x32
        left = ((config.side + 2 * self.padding - 4) // 2 - 4) // 2
        if left < 1:
            raise SettingError(f"net.side (={config.side}) must be at least 12 for lenet/{config.version}.")
        self.standardize = Standardize(config.channels)
        self.features = Features(
            nn.Conv2d(config.channels, first, 5), ScaledTanh(), Subsample(first), ScaledTanh(),
            PartialConv(first, maps), ScaledTanh(), Subsample(len(maps)), ScaledTanh(), nn.Flatten(), width=len(maps) * left * left,
        )  # fmt: skip
        width = len(maps) * left * left
        hidden = [] if old else [nn.Linear(width, 120), ScaledTanh(), nn.Linear(120, 84), ScaledTanh()]
        self.classifier = nn.Sequential(*hidden, nn.Linear(width if old else 84, config.classes))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.uniform_(module.weight, -2.4 / module.weight[0].numel(), 2.4 / module.weight[0].numel())
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        x = self.standardize(image)
        x = nn.functional.pad(x, [self.padding] * 4)  # (B, channels, H, W)
        return self.classifier(self.features(x))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 1, 28, 28)}, (2, 10)
