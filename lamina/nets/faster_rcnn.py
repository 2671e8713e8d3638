"""Faster R-CNN: first where something is, then what it is. Ren 2015, https://arxiv.org/abs/1506.01497

A small net proposes regions around every cell (section 3.1); the features inside the best ones are read on an even grid by bilinear
sampling (RoI align, He 2017, arXiv:1703.06870, section 3), and two layers say the class and the final box. Coarse features are
added to fine ones (Lin 2016, arXiv:1612.03144). Places without an object are the hardest ones (Shrivastava 2016, arXiv:1604.03540)
where the paper draws them, so that a loss depends on nothing drawn. Letters as in _boxes; P proposals.
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
    "small": {"features": "resnet9/long"},
    "18": {"features": "resnet/18", "width": 128, "hidden": 512},
    "efficient": {"features": "efficientnet/lite0", "width": 96},
}
THING, NOTHING = (
    0.6,
    0.3,
)  # overlap from which a place is an object's, and under which it is none's (0.7 and 0.3 in the paper)
FOUND = 0.5  # overlap from which a proposal is an object's
MINED = 3  # without an object, for each with one
LOOKED, DOUBLE = 200, 0.7  # places that are looked at for proposals; overlap from which two propose the same
CELLS = 5  # a side, on which the features of a proposal are read


@dataclass(frozen=True)
class Config:
    """Sizes of a Faster R-CNN."""

    classes: int = 10
    """kinds of objects"""
    channels: int = 3
    """channels of the picture"""
    side: int = 128
    """pixels of the picture's sides; a multiple of the largest stride"""
    features: str = "resnet9/long"
    """image net whose features are used, NET or NET/SIZE"""
    strides: tuple[int, ...] = (8, 16, 32)
    """pixels between neighbours of the features; coarse ones are added to the finest"""
    width: int = 64
    """channels behind the features"""
    hidden: int = 256
    """units of the two layers that look at a proposal"""
    proposals: int = 48
    """regions that are looked at in a picture"""
    scales: tuple[float, ...] = (0.12, 0.25, 0.5)
    """sides of the default boxes as shares of the picture's"""
    proportions: tuple[float, ...] = (1.0, 2.0, 0.5)
    """width over height of the default boxes"""


def regions(features: Tensor, boxes: Tensor, cells: int) -> Tensor:
    """Features (B, C, H, W) inside boxes (B, P, 4) as shares -> (B, P, C, cells, cells): the mean of 2 x 2 samples a cell."""
    count = 2 * cells
    at = (torch.arange(count, device=boxes.device) + 0.5) / count
    x = boxes[..., 0, None] + at * (boxes[..., 2] - boxes[..., 0])[..., None]  # (B, P, 2 cells)
    y = boxes[..., 1, None] + at * (boxes[..., 3] - boxes[..., 1])[..., None]
    rows, proposals = boxes.shape[:2]
    grid = torch.stack([x[:, :, None].expand(-1, -1, count, -1), y[..., None].expand(-1, -1, -1, count)], -1)
    grid = (2 * grid - 1).view(rows, proposals * count, count, 2)
    read = F.grid_sample(features, grid.to(features.dtype), padding_mode="border", align_corners=False)
    read = F.avg_pool2d(read, 2)  # (B, C, P x cells, cells)
    return read.view(rows, -1, proposals, cells, cells).transpose(1, 2)


class Net(nn.Module):
    """image (B, channels, side, side) float in [0, 1] -> (B, N + P, 9 + classes).

    The first N rows are the places: codes of the box, logit of an object, zeros. The others are the proposals: their box, codes
    against it, logits of none and each class. `losses` learns from it, `found` answers from it. Raises SettingError.
    """

    defaults: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.proposals", config.proposals, 1, LOOKED)
        self.proposals, width = config.proposals, config.width
        self.features = Pyramid(config.features, config.channels, config.side, config.strides)
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in self.features.widths)
        self.merged = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        each = len(config.scales) * len(config.proportions)
        self.places = nn.Conv2d(width, 5 * each, 3, padding=1)
        hidden = config.hidden
        self.look = nn.Sequential(nn.Linear(width * CELLS**2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.sides, self.classes = nn.Linear(hidden, 4), nn.Linear(hidden, 1 + config.classes)
        for layer in (self.places, self.sides, self.classes):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        sizes = [(s * math.sqrt(p), s / math.sqrt(p)) for s in config.scales for p in config.proportions]
        self.register_buffer("defaults", _boxes.grid(config.side, config.strides[0], sizes), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        found = [layer(x) for layer, x in zip(self.lateral, self.features(image), strict=True)]
        for i in range(len(found) - 1, 0, -1):
            found[i - 1] = found[i - 1] + F.interpolate(found[i], size=found[i - 1].shape[2:])
        x = self.merged(found[0])  # (B, width, H, W)
        places = self.places(x).permute(0, 2, 3, 1).reshape(len(x), -1, 5)
        boxes = self._proposed(places)
        looked = self.look(regions(x, boxes, CELLS).flatten(2))
        second = torch.cat([boxes.to(looked.dtype), self.sides(looked), self.classes(looked)], 2)
        return torch.cat([F.pad(places, (0, second.shape[2] - 5)), second], 1)

    @torch.no_grad()
    def _proposed(self, places: Tensor) -> Tensor:
        """Boxes (B, P, 4) of the places (B, N, 5) that are surest of an object; doubles come last."""
        sure = places[..., 4].float().sigmoid()
        score, at = sure.sort(dim=1, descending=True, stable=True)
        score, at = score[:, :LOOKED], at[:, :LOOKED]
        boxes = (
            _boxes.decoded(places[..., :4].float(), self.defaults)
            .gather(1, at[..., None].expand(-1, -1, 4))
            .clamp(0, 1)
        )
        stays = _boxes.suppressed(boxes, score, DOUBLE)
        order = (~stays).long().sort(dim=1, stable=True).indices[:, : self.proposals]
        return boxes.gather(1, order[..., None].expand(-1, -1, 4))

    def losses(self, output: Tensor, objects: Tensor) -> Tensor:
        """(B,) of the output and the objects (B, M, 5): both looks' cross-entropy and smooth L1 of the codes (eq. 1), added."""
        output = output.float()
        places, second = output[:, : len(self.defaults)], output[:, len(self.defaults) :]
        with torch.no_grad():
            _, box, most = _boxes.assigned(self.defaults, objects)
            mine = most >= THING
        surprise = F.binary_cross_entropy_with_logits(places[..., 4], mine.float(), reduction="none")
        counted = _boxes.hardest(surprise.detach(), mine, most < NOTHING, MINED)
        first = self._both(places[..., :4], _boxes.coded(box, self.defaults), surprise, mine, counted)
        with torch.no_grad():
            kind, box, most = _boxes.assigned(second[..., :4], objects)
            mine = most >= FOUND
            kind = torch.where(mine, kind, 0)
            own = second[..., :4]
            own = torch.cat([own[..., :2], torch.maximum(own[..., 2:], own[..., :2] + 1e-3)], -1)
        surprise = F.cross_entropy(second[..., 8:].flatten(0, 1), kind.flatten(), reduction="none").view(kind.shape)
        counted = _boxes.hardest(surprise.detach(), mine, ~mine, MINED)
        return first + self._both(second[..., 4:8], _boxes.coded(box, own), surprise, mine, counted)

    @staticmethod
    def _both(codes: Tensor, wanted: Tensor, surprise: Tensor, mine: Tensor, counted: Tensor) -> Tensor:
        place = F.smooth_l1_loss(codes, wanted, reduction="none").sum(2)
        return ((place * mine).sum(1) + (surprise * counted).sum(1)) / mine.sum(1).clamp(min=1)

    def found(self, output: Tensor) -> Tensor:
        """(B, MOST, 6): x0 y0 x1 y1 as shares of the picture, score, class; a score of 0 is no box."""
        second = output[:, len(self.defaults) :].float()
        own = second[..., :4]
        own = torch.cat([own[..., :2], torch.maximum(own[..., 2:], own[..., :2] + 1e-3)], -1)
        return _boxes.answers(_boxes.decoded(second[..., 4:8], own), second[..., 8:].softmax(2)[..., 1:])


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 128, 128)}, (2, 9 * 16**2 + 48, 19)
