"""ConvNeXt: a residual net with what was learned from transformers. Liu 2022, https://arxiv.org/abs/2201.03545

A block looks around through a depthwise 7x7 convolution, then mixes channels pixel by pixel in two dense layers.
tiny, small and base are the paper's; without a size it is a narrow one of six blocks.
Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import SettingError
from lamina.nets._blocks import DropPath, Features, Standardize, checked_stem, stem_for

TAKES = ("image",)
SIZES: dict[str, dict] = {
    "tiny": {"blocks": (3, 3, 9, 3), "width": 96, "scale": 1e-6, "drop_path": 0.1, "stem": "large"},
    "small": {"blocks": (3, 3, 27, 3), "width": 96, "scale": 1e-6, "drop_path": 0.4, "stem": "large"},
    "base": {"blocks": (3, 3, 27, 3), "width": 128, "scale": 1e-6, "drop_path": 0.5, "stem": "large"},
}
STEM = {"small": 1, "half": 2, "large": 4}


@dataclass(frozen=True)
class Config:
    """Sizes of a ConvNeXt."""

    classes: int = 10
    """outputs"""
    channels: int = 3
    """channels of the picture"""
    blocks: tuple[int, ...] = (1, 1, 3, 1)
    """blocks per stage; each stage after the first halves the side and doubles the channels"""
    width: int = 32
    """channels of the first stage"""
    stem: str = "half"
    """the first convolution takes patches of small: 1, half: 2x2, large: 4x4 pixels"""
    scale: float = 0.1
    """factor on each residual at the start; it is learned per channel"""
    dropout: float = 0.0
    """share of the features that is dropped before the classifier"""
    drop_path: float = 0.0
    """share of the rows that skip the last block in training; less for earlier ones"""


def suited(image: tuple[int, ...], wished: dict[str, Any]) -> dict[str, Any]:
    """Settings for pictures (channels, height, width), whatever the size: the stem."""
    return {"stem": stem_for(image, 24, 112)}


class PixelNorm(nn.LayerNorm):
    """Layer normalisation of x (B, C, H, W) over the channels of each pixel; copies nothing where channels lie last."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """x (B, C, H, W) -> x + scale * residual(x): around by pixels, then along channels."""

    def __init__(self, channels: int, scale: float, dropped: float) -> None:
        super().__init__()
        self.around = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.along = nn.Sequential(
            nn.LayerNorm(channels, 1e-6),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
        )
        self.scale = nn.Parameter(torch.full((channels,), scale))
        self.drop = DropPath(dropped)

    def forward(self, x: Tensor) -> Tensor:
        y = self.along(self.around(x).permute(0, 2, 3, 1)) * self.scale  # (B, H, W, C)
        return x + self.drop(y.permute(0, 3, 1, 2))


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> logits (batch, classes). Sides from 8 times the stem's patch.

    Raises SettingError, or NameUnknown for a stem that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        for name, low, high in (("dropout", 0, 0.95), ("drop_path", 0, 0.95), ("width", 1, 4096), ("scale", 1e-9, 10)):
            within(f"net.{name}", getattr(config, name), low, high)
        if not config.blocks or min(config.blocks) < 1:
            raise SettingError(f"net.blocks must be whole numbers from 1, one per stage, not {config.blocks}.")
        patch, c, number, total = STEM[checked_stem(config.stem)], config.width, 0, sum(config.blocks)
        layers: list[nn.Module] = [nn.Conv2d(config.channels, c, patch, patch), PixelNorm(c, 1e-6)]
        for i, blocks in enumerate(config.blocks):
            if i:
                layers += [PixelNorm(c, 1e-6), nn.Conv2d(c, 2 * c, 2, 2)]
                c *= 2
            for _ in range(blocks):
                layers.append(Block(c, config.scale, config.drop_path * number / max(1, total - 1)))
                number += 1
        self.standardize = Standardize(config.channels)
        self.features = Features(*layers, width=c)
        self.norm = nn.LayerNorm(c, 1e-6)
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(c, config.classes))
        self.least = patch * 2 ** (len(config.blocks) - 1)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):  # appendix A.1
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        if min(image.shape[2:]) < self.least:
            raise SettingError(
                f"net.blocks halve pictures of {image.shape[2]}x{image.shape[3]} pixels to nothing; they need "
                f"{self.least}x{self.least}: leave a stage out or try --net.stem small."
            )
        x = self.features(self.standardize(image))  # (B, C, H, W)
        return self.classifier(self.norm(x.mean((2, 3))))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 32, 32)}, (2, 10)
