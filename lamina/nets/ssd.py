"""SSD: boxes and classes from several sizes of features by one look. Liu 2015, https://arxiv.org/abs/1512.02325

Default boxes of several proportions lie around every cell of every size; each says how far the object is from it, and which
class it has. In training a default box is an object's when they overlap by half or more; of the others the hardest count, three
for each that is an object's (section 2.2). The features are those of any image net; each size comes to the same scale (section 3.1)
by a 1x1 convolution and batch normalisation in place of the paper's L2 norm. Letters as in _boxes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.check import within
from lamina.nets import _boxes
from lamina.nets._pyramid import Pyramid, normed

TAKES = ("image",)
ANSWERS, BUILDS_ON = "boxes", "features"
SIZES: dict[str, dict] = {
    "small": {"features": "resnet9/long"},
    "18": {"features": "resnet/18"},
    "efficient": {"features": "efficientnet/lite0"},
}
MINED = 3  # of the places without an object, for each with one
FOUND = 0.5  # overlap from which a default box is an object's


@dataclass(frozen=True)
class Config:
    """Sizes of an SSD."""

    classes: int = 10
    """kinds of objects"""
    channels: int = 3
    """channels of the picture"""
    side: int = 128
    """pixels of the picture's sides; a multiple of the largest stride"""
    features: str = "resnet9/long"
    """image net whose features are used, NET or NET/SIZE"""
    strides: tuple[int, ...] = (8, 16, 32, 64)
    """pixels between neighbours of each size of features"""
    smallest: float = 0.1
    """side of the smallest default boxes as a share of the picture's; those of the last size are 0.8"""
    proportions: tuple[float, ...] = (1.0, 2.0, 0.5)
    """width over height of the default boxes; a larger square is added"""
    width: int = 128
    """channels from which boxes and classes are answered"""


class Net(nn.Module):
    """image (B, channels, side, side) float in [0, 1] -> (B, N, 4 + 1 + classes): codes of boxes, logits of none and each class.

    `losses` learns from it, `found` answers from it. Raises SettingError.
    """

    defaults: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.smallest", config.smallest, 0.01, 0.7)
        within("net.width", config.width, 1, 4096)
        self.classes = config.classes
        self.features = Pyramid(config.features, config.channels, config.side, config.strides)
        each = len(config.proportions) + 1
        self.scaled = nn.ModuleList(normed(width, config.width, 1) for width in self.features.widths)
        self.heads = nn.ModuleList()
        for _ in config.strides:
            head = nn.Conv2d(config.width, each * (5 + config.classes), 3, padding=1)
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]
            self.heads.append(head)
        self.register_buffer("defaults", _defaults(config), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        each = 5 + self.classes
        features = zip(self.heads, self.scaled, self.features(image), strict=True)
        made = [head(scaled(x)) for head, scaled, x in features]
        return torch.cat([x.permute(0, 2, 3, 1).reshape(len(x), -1, each) for x in made], 1)

    def losses(self, output: Tensor, objects: Tensor) -> Tensor:
        """(B,) of the output and the objects (B, M, 5): smooth L1 of the codes and cross-entropy, over the objects' places (eq. 1)."""
        with torch.no_grad():
            kind, box, most = _boxes.assigned(self.defaults, objects)
            kind = torch.where(most >= FOUND, kind, 0)
        codes, logits = output[..., :4].float(), output[..., 4:].float()
        mine = kind > 0
        count = mine.sum(1).clamp(min=1)
        surprise = F.cross_entropy(logits.flatten(0, 1), kind.flatten(), reduction="none").view(kind.shape)
        counted = _boxes.hardest(surprise.detach(), mine, ~mine, MINED)
        place = F.smooth_l1_loss(codes, _boxes.coded(box, self.defaults), reduction="none").sum(2)
        return ((place * mine).sum(1) + (surprise * counted).sum(1)) / count

    def found(self, output: Tensor) -> Tensor:
        """(B, MOST, 6): x0 y0 x1 y1 as shares of the picture, score, class; a score of 0 is no box."""
        boxes = _boxes.decoded(output[..., :4].float(), self.defaults)
        return _boxes.answers(boxes, output[..., 4:].float().softmax(2)[..., 1:])


def _defaults(config: Config) -> Tensor:
    """All default boxes (N, 4), in the order of the output (eq. 4)."""
    last = max(1, len(config.strides) - 1)
    scales = [config.smallest * (0.8 / config.smallest) ** (i / last) for i in range(len(config.strides))] + [1.0]
    made = []
    for i, stride in enumerate(config.strides):
        sizes = [(scales[i] * math.sqrt(p), scales[i] / math.sqrt(p)) for p in config.proportions]
        between = math.sqrt(scales[i] * scales[i + 1])
        made.append(_boxes.grid(config.side, stride, [*sizes, (between, between)]))
    return torch.cat(made)


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    cells = sum((128 // s) ** 2 for s in (8, 16, 32, 64))
    return {"image": torch.rand(2, 3, 128, 128)}, (2, 4 * cells, 15)
