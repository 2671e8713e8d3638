"""YOLO: boxes and classes of all cells at once. Redmon 2015, https://arxiv.org/abs/1506.02640; v3: arXiv:1804.02767

Three sizes of features, coarse ones added to fine ones (Lin 2016, arXiv:1612.03144). Every cell of each says how far the sides of
an object are from its middle (no default boxes: Tian 2019, arXiv:1904.01355) and how sure it is of each class. Which cells learn
an object is decided by how well they answer it already (Feng 2021, arXiv:2108.07755, section 3.2). Letters as in _boxes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.check import within
from lamina.nets import _boxes
from lamina.nets._pyramid import Pyramid

TAKES = ("image",)
ANSWERS, BUILDS_ON = "boxes", "features"
SIZES: dict[str, dict] = {
    "small": {"features": "resnet9/long", "width": 64},
    "18": {"features": "resnet/18", "width": 128},
    "efficient": {"features": "efficientnet/lite0", "width": 96},
}
LEARNERS = 8  # cells that learn an object
SURE = 0.01  # of each class at first
BOX = 5.0  # weight of the boxes' loss


@dataclass(frozen=True)
class Config:
    """Sizes of a YOLO."""

    classes: int = 10
    """kinds of objects"""
    channels: int = 3
    """channels of the picture"""
    side: int = 128
    """pixels of the picture's sides; a multiple of the largest stride"""
    features: str = "resnet9/long"
    """image net whose features are used, NET or NET/SIZE"""
    strides: tuple[int, ...] = (8, 16, 32)
    """pixels between neighbours of each size of features"""
    width: int = 64
    """channels behind the features"""


def _conv(c_in: int, c_out: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, size, padding=size // 2, bias=False), nn.BatchNorm2d(c_out), nn.SiLU(inplace=True)
    )


class Head(nn.Module):
    """x (B, C, H, W) -> (B, H x W, 4 + classes): logarithms of the four distances in strides, and logits of the classes."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.place, self.kind = _conv(width, width, 3), _conv(width, width, 3)
        self.sides, self.classes = nn.Conv2d(width, 4, 1), nn.Conv2d(width, classes, 1)
        nn.init.zeros_(self.sides.weight)
        nn.init.constant_(self.sides.bias, math.log(1.5))  # type: ignore[arg-type]
        nn.init.normal_(self.classes.weight, std=0.01)
        nn.init.constant_(self.classes.bias, math.log(SURE / (1 - SURE)))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        made = torch.cat([self.sides(self.place(x)), self.classes(self.kind(x))], 1)
        return made.flatten(2).transpose(1, 2)


class Net(nn.Module):
    """image (B, channels, side, side) float in [0, 1] -> (B, N, 4 + classes) for the N cells of all sizes, finest first.

    `losses` learns from it, `found` answers from it. Raises SettingError.
    """

    middle: Tensor
    stride: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.width", config.width, 1, 4096)
        self.features = Pyramid(config.features, config.channels, config.side, config.strides)
        self.lateral = nn.ModuleList(_conv(width, config.width, 1) for width in self.features.widths)
        self.merged = nn.ModuleList(_conv(config.width, config.width, 3) for _ in config.strides)
        self.heads = nn.ModuleList(Head(config.width, config.classes) for _ in config.strides)
        cells = [_boxes.grid(config.side, s, [(s / config.side, s / config.side)]) for s in config.strides]
        every = torch.cat(cells)
        self.register_buffer("middle", (every[:, :2] + every[:, 2:]) / 2, persistent=False)
        self.register_buffer("stride", every[:, 2] - every[:, 0], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        found = [layer(x) for layer, x in zip(self.lateral, self.features(image), strict=True)]
        for i in range(len(found) - 1, 0, -1):
            found[i - 1] = found[i - 1] + F.interpolate(found[i], size=found[i - 1].shape[2:])
        return torch.cat([head(merge(x)) for head, merge, x in zip(self.heads, self.merged, found, strict=True)], 1)

    def _boxes(self, output: Tensor) -> Tensor:
        away = output[..., :4].float().clamp(-6, 6).exp() * self.stride[:, None]
        return torch.cat([self.middle - away[..., :2], self.middle + away[..., 2:]], -1)

    def losses(self, output: Tensor, objects: Tensor) -> Tensor:
        """(B,) of the output and the objects (B, M, 5): cross-entropy of every class and cell, 1 - CIoU of the objects' cells."""
        boxes, logits = self._boxes(output), output[..., 4:].float()
        with torch.no_grad():
            wanted, box, weight = self._assigned(boxes, logits.sigmoid(), objects)
        count = weight.sum(1).clamp(min=1)
        kind = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum((1, 2))
        apart = (1 - _boxes.complete_overlap(boxes, box)) * weight
        return (kind + BOX * apart.sum(1)) / count

    def _assigned(self, boxes: Tensor, sure: Tensor, objects: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (B, N, K), box (B, N, 4) and weight (B, N) that each cell shall learn; weight 0 where it has no object.

        An object is learned by the LEARNERS cells inside it that answer it best: sureness^0.5 x overlap^6.
        """
        there, kind = objects[..., 4] >= 0, objects[..., 4].clamp(min=0).long()
        shared = _boxes.overlap(boxes, objects[..., :4])  # (B, N, M)
        own = sure.gather(2, kind[:, None].expand(-1, sure.shape[1], -1))
        fit = own.sqrt() * shared**6
        x, y = self.middle[:, None].unbind(-1)
        x0, y0, x1, y1 = objects[:, None, :, :4].unbind(-1)
        inside = torch.stack([x - x0, y - y0, x1 - x, y1 - y]).amin(0) > 0
        away = (x - (x0 + x1) / 2) ** 2 + (y - (y0 + y1) / 2) ** 2
        nearest = torch.zeros_like(inside).scatter_(1, away.argmin(1, keepdim=True), True)
        may = (inside | nearest) & there[:, None]
        rank = torch.where(may, fit + 1e-12 / (away + 1e-3), -1.0)
        least = rank.topk(min(LEARNERS, rank.shape[1]), 1).values[:, -1:]
        learns = may & (rank >= least)
        best = torch.where(learns, shared, -1.0).max(2)  # a cell that several want learns the one it overlaps most
        which, taken = best.indices, best.values >= 0
        mine = learns & (torch.arange(objects.shape[1], device=which.device) == which[..., None])
        most, top = (fit * mine).amax(1), (shared * mine).amax(1)  # (B, M)
        score = fit * mine * (top / most.clamp(min=1e-12))[:, None]
        weight = torch.where(taken, score.sum(2), 0.0)
        wanted = torch.zeros_like(sure).scatter_(2, kind.gather(1, which)[..., None], weight[..., None])
        return wanted, objects[..., :4].gather(1, which[..., None].expand(-1, -1, 4)), weight

    def found(self, output: Tensor) -> Tensor:
        """(B, MOST, 6): x0 y0 x1 y1 as shares of the picture, score, class; a score of 0 is no box."""
        return _boxes.answers(self._boxes(output), output[..., 4:].float().sigmoid())


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 128, 128)}, (2, sum((128 // s) ** 2 for s in (8, 16, 32)), 14)
