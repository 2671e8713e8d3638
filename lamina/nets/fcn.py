"""Fully convolutional net: the features of any image net, answered at every place. Long 2015, https://arxiv.org/abs/1411.4038

The answers of coarse features are enlarged and joined by those of finer ones (the paper's FCN-16s and FCN-8s: `skips` 1 and 2);
enlarging begins as bilinear interpolation and learns, the last one stays bilinear. "vgg" is the paper's FCN-8s on VGG-16.
Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core import catalog
from lamina.core.check import within
from lamina.core.errors import SettingError, unknown
from lamina.nets._blocks import Standardize, initialise

TAKES = ("image",)
ANSWERS = "a value per pixel"
SIZES: dict[str, dict] = {
    "small": {"body": "resnet9/small"},
    "resnet": {"body": "resnet/20"},
    "vgg": {"body": "vgg/16", "hidden": 4096, "window": 7},
}


@dataclass(frozen=True)
class Config:
    """Sizes of a fully convolutional net."""

    classes: int = 2
    """outputs per pixel"""
    channels: int = 3
    """channels of the picture"""
    body: str = "resnet9/small"
    """net, or net/size, whose features are used: `lamina list nets`"""
    skips: int = 2
    """finer features whose answers are added: 0, 1 or 2 in the paper"""
    hidden: int = 0
    """channels of two convolutions between features and answer; 0: none"""
    window: int = 1
    """side of the first of them"""
    dropout: float = 0.0
    """share of their channels that is dropped"""


UNFIT = ("fcn", "vit", "cnn", "lenet", "capsnet")
LOOKED = 64  # pixels of the picture that tells where features become smaller


def _body(config: Config) -> nn.Sequential:
    """The features of an image net, built with the smallest answering layers. Raises SettingError for a net that has none on a grid."""
    name, _, size = config.body.partition("/")
    module = catalog.find("nets", name)
    unfit = SettingError(
        f"net.body cannot be '{name}': its layers do not follow each other on a grid; try resnet9, resnet or vgg."
    )
    if module.TAKES != ("image",) or name in UNFIT:
        raise unfit
    if size and size not in module.SIZES:
        raise unknown(f"size of {name}", size, module.SIZES)
    settings = {
        **(module.SIZES[size] if size else {}),
        "channels": config.channels,
        "classes": 1,
        "hidden": 1,
        "grid": 1,
    }
    made = module.Net(module.Config(**{k: v for k, v in settings.items() if k in module.Config.__dataclass_fields__}))
    features = getattr(made, "features", None)
    if not isinstance(features, nn.Sequential) or not hasattr(features, "width"):
        raise unfit
    return features


@torch.no_grad()
def _stages(features: nn.Sequential, channels: int) -> list[tuple[int, int]]:
    """(place of a layer that makes the picture smaller, channels of what comes before it), the first layer left out."""
    found, mode = [], features.training
    features.eval()
    x = torch.zeros(1, channels, LOOKED, LOOKED, device=next(features.parameters()).device)
    for i, layer in enumerate(features):
        given = layer(x)
        if i and given.shape[2] < x.shape[2]:
            found.append((i, x.shape[1]))
        x = given
    features.train(mode)
    return found


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> (batch, classes, height, width). Any height and width.

    Raises SettingError for a body without features on a grid, NameUnknown for one that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.skips", config.skips, 0, 8)
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.window", config.window, 1, 31)
        self.standardize = Standardize(config.channels)
        self.features = _body(config)
        width: int = self.features.width  # type: ignore[assignment]
        self.head = nn.Sequential()
        if config.hidden:
            for c, size in ((width, config.window), (config.hidden, 1)):
                self.head.extend(
                    [nn.Conv2d(c, config.hidden, size, padding=size // 2), nn.ReLU(), nn.Dropout2d(config.dropout)]
                )
            initialise(self.head, "he")
            width = config.hidden
        stages = _stages(self.features, config.channels)
        self.taps = [place for place, _ in stages][-config.skips :] if config.skips else []
        self.finer = nn.ModuleList(nn.Conv2d(c, config.classes, 1) for place, c in stages if place in self.taps)
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(config.classes, config.classes, 4, 2, 1, bias=False) for _ in self.taps
        )
        with torch.no_grad():
            for layer in self.finer.parameters():
                layer.zero_()  # the coarse answers come first (section 4.2)
            for layer in self.grow.parameters():
                layer.copy_(_bilinear(config.classes))
        self.classifier = nn.Conv2d(width, config.classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        x, seen = self.standardize(image), []
        for i, layer in enumerate(self.features):
            if i in self.taps:
                seen.append(x)
            x = layer(x)
        x = self.classifier(self.head(x))
        for grow, score in zip(self.grow, self.finer[::-1], strict=True):
            finer = score(seen.pop())
            x = grow(x)
            if x.shape[2:] != finer.shape[2:]:
                x = F.interpolate(x, finer.shape[2:], mode="bilinear", align_corners=False)
            x = x + finer
        return F.interpolate(x, image.shape[2:], mode="bilinear", align_corners=False)


def _bilinear(channels: int) -> Tensor:
    """(channels, channels, 4, 4): each channel by itself grows twice as large by bilinear interpolation."""
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    return torch.eye(channels)[:, :, None, None] * (line[:, None] * line)


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 32, 48)}, (2, 2, 32, 48)
