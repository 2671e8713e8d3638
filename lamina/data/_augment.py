"""Random changes to a whole batch at once, keyed by (seed, pass, row): no generator, so neither workers nor resuming change them.

On one core here, 128 pictures: shift and flip of 3x32x32 0.8 ms, turn and scale of 1x28x28 0.9 ms. Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_MASK = (1 << 63) - 1


def _mix(x: Tensor) -> Tensor:
    """splitmix64's finaliser on int64 (Steele 2014, https://doi.org/10.1145/2714064.2660195), logical shifts by masking."""
    x = (x ^ ((x >> 30) & (_MASK >> 29))) * -4658895280553007687
    x = (x ^ ((x >> 27) & (_MASK >> 26))) * -7723592293110705685
    return x ^ ((x >> 31) & (_MASK >> 30))


def uniform(seed: int, passes: Tensor, rows: Tensor, count: int) -> Tensor:
    """Numbers in [0, 1) that depend on nothing but seed, pass and row: (B, count) float32 from passes and rows (B,) int64."""
    seeded = int(_mix(torch.tensor((seed * 2 + 1) & _MASK)))
    key = _mix(_mix(passes * 7046029254386353131 + seeded) + rows * 2862933555777941757)
    stream = torch.arange(1, count + 1, device=rows.device, dtype=torch.int64) * -7046029254386353131
    bits = _mix(key[:, None] + stream)
    return ((bits >> 40) & 0xFFFFFF).to(torch.float32) / (1 << 24)


@dataclass(frozen=True)
class Augment:
    """Which changes, and how large they may be; all off by default."""

    flip: bool = False
    """mirror left and right, one picture in two"""
    shift: float = 0.0
    """shift by up to this share of the side, the border repeated"""
    rotate: float = 0.0
    """turn by up to so many degrees either way"""
    scale: float = 0.0
    """grow or shrink by up to this share"""
    crop: float = 0.0
    """look at a window, each side of it shorter by up to this share, stretched to the whole"""
    color: float = 0.0
    """change brightness, contrast and saturation by up to this share"""
    erase: float = 0.0
    """blank a square of this share of the side (DeVries 2017, https://arxiv.org/abs/1708.04552)"""
    bands: float = 0.0
    """blank a band of rows and one of columns, each up to this share of the side: frequency and time of a spectrogram
    (SpecAugment, Park 2019, https://arxiv.org/abs/1904.08779)"""
    mixup: bool = False
    """blend with another picture of the batch, targets too (Zhang 2017, https://arxiv.org/abs/1710.09412, alpha 1)"""
    cutmix: bool = False
    """paste a rectangle of another picture of the batch, targets by area (Yun 2019, https://arxiv.org/abs/1905.04899)"""

    @property
    def mixes(self) -> bool:
        """Whether a picture takes a part of another one, and of its target."""
        return self.mixup or self.cutmix

    def __call__(self, image: Tensor, seed: int, passes: Tensor, rows: Tensor) -> Tensor:
        """image (B, C, H, W) uint8 -> changed copy, uint8, or float32 in [0, 255] where values between are made."""
        if self == Augment(mixup=self.mixup, cutmix=self.cutmix):
            return image
        draw = uniform(seed, passes, rows, DRAWS)
        if self.rotate or self.scale or self.crop:
            image = self._affine(image, self.source(image.shape[2], image.shape[3], seed, passes, rows))
        elif self.flip or self.shift:
            image = self._shift(image, draw)
        if self.color:
            image = self._color(image, draw)
        if self.erase:
            image = self._erase(image, draw)
        if self.bands:
            image = self._bands(image, draw)
        return image

    def alongside(self, target: Tensor, seed: int, passes: Tensor, rows: Tensor, *, smooth: bool = False) -> Tensor:
        """target (B, [C,] H, W) of the pictures' size, moved as they are by the same keys; colours stay, nothing is blanked.

        smooth: values between may be made where pictures are sampled (float32); else each pixel keeps a value that was there.
        """
        x = target if target.dim() == 4 else target[:, None]
        if self.rotate or self.scale or self.crop:
            x = self._affine(x, self.source(x.shape[2], x.shape[3], seed, passes, rows), smooth)
        elif self.flip or self.shift:
            x = self._shift(x, uniform(seed, passes, rows, DRAWS))
        return (x if smooth else x.to(target.dtype)).view(target.shape)

    def mix(self, image: Tensor, seed: int, passes: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """image (B, C, H, W) -> float32 image with parts of the batch's pictures in opposite order, and (B,) the share kept."""
        draw = uniform(seed, passes, rows, DRAWS + MIXES)[:, DRAWS:]
        image, share = image.float(), draw[:, 0]
        kept = share[:, None, None]  # share of the picture itself, of each pixel (B, H, W)
        if self.cutmix:
            height, width = image.shape[2:]
            side = (1 - share).sqrt()[:, None]
            y = _near(height, draw[:, 1], side * height, image.device)
            x = _near(width, draw[:, 2], side * width, image.device)
            outside = 1 - (y[:, :, None] & x[:, None, :]).float()
            kept = torch.where(draw[:, 3, None, None] < 0.5, kept, outside) if self.mixup else outside
        return torch.lerp(image.flip(0), image, kept[:, None]), kept.mean((1, 2))

    def _shift(self, image: Tensor, draw: Tensor) -> Tensor:
        """Mirrored, and shifted by whole pixels; beyond the border its last pixel is repeated."""
        rows, channels, height, width = image.shape
        if self.shift:  # whole rows of pixels first: they are copied at once
            y = torch.arange(height, device=image.device) + self._pixels(draw[:, 1], height)[:, None]
            first = torch.arange(0, image.numel() // width, height, device=image.device).view(rows, channels, 1)
            places = (first + y.clamp_(0, height - 1)[:, None]).flatten()
            image = image.reshape(-1, width).index_select(0, places).view(image.shape)
        x = torch.arange(width, device=image.device) + self._pixels(draw[:, 2], width)[:, None]
        x = x.clamp_(0, width - 1)
        if self.flip:
            x = torch.where(draw[:, 0, None] < 0.5, x, width - 1 - x)  # (B, W)
        return image.gather(3, x[:, None, None, :].expand(-1, channels, height, -1))

    def _pixels(self, draw: Tensor, side: int) -> Tensor:
        most = max(1, round(self.shift * side)) if self.shift else 0
        return (draw * (2 * most + 1)).floor().to(torch.int64) - most

    @property
    def moves(self) -> bool:
        """Whether what is seen changes its place."""
        return self.flip or bool(self.shift or self.rotate or self.scale or self.crop)

    def source(self, height: int, width: int, seed: int, passes: Tensor, rows: Tensor) -> Tensor:
        """(B, 2, 3) float32: which place of the picture each place of the changed one shows.

        Places are x to the right and y down in [-1, 1] from edge to edge: source = matrix @ (x, y, 1). What lies in a picture
        (boxes, masks) moves with it by this matrix.
        """
        draw = uniform(seed, passes, rows, DRAWS + MIXES + WINDOWS)
        side = torch.where(draw[:, 0] < 0.5, 1.0, -1.0) if self.flip else torch.ones_like(draw[:, 0])
        zero = torch.zeros_like(side)
        if not (self.rotate or self.scale or self.crop):
            down, right = (2 * self._pixels(draw[:, i], n) / n for i, n in ((1, height), (2, width)))
            return torch.stack([side, zero, side * right, zero, zero + 1, zero + down], 1).view(-1, 2, 3)
        angle = (2 * draw[:, 3] - 1) * math.radians(self.rotate)
        size = 1 + (2 * draw[:, 4] - 1) * self.scale
        cosine, sine = torch.cos(angle) / size, torch.sin(angle) / size
        right, down = ((2 * draw[:, i] - 1) * 2 * self.shift for i in (1, 2))
        matrix = torch.stack([side * cosine, -side * sine, side * right, sine, cosine, down], 1).view(-1, 2, 3)
        if self.crop:
            window = draw[:, DRAWS + MIXES :]
            share = 1 - self.crop * window[:, :2]
            matrix = matrix * share[:, :, None]
            matrix[:, :, 2] += (2 * window[:, 2:4] - 1) * (1 - share)
        return matrix

    def _affine(self, image: Tensor, source: Tensor, smooth: bool = True) -> Tensor:
        """Mirror, shift, turn, scale and crop by one sampling, bilinear or of the nearest pixel; beyond the border its last pixel is repeated.

        The grid is summed here: torch's affine_grid takes four times the sampling itself.
        """
        y, x = (_centres(length, image.device) for length in image.shape[2:])
        grid = image.new_empty((len(image), 2, *image.shape[2:]), dtype=torch.float32)
        for i in (0, 1):
            along, down, there = (source[:, i, k, None] for k in range(3))
            torch.add((along * x)[:, None, :], (there + down * y)[:, :, None], out=grid[:, i])
        sample = torch.nn.functional.grid_sample
        mode = "bilinear" if smooth else "nearest"
        return sample(image.float(), grid.permute(0, 2, 3, 1), mode, padding_mode="border", align_corners=False)

    def _color(self, image: Tensor, draw: Tensor) -> Tensor:
        """Saturation about the grey of a pixel, contrast about the picture's mean, then brightness."""
        saturation, contrast, brightness = (1 + (2 * draw[:, 7:10] - 1) * self.color)[:, :, None, None, None].unbind(1)
        x = image.float()
        grey = x.mean(1, keepdim=True)
        mean = grey.mean(
            (2, 3), keepdim=True
        )  # brightness * (mean + contrast * (grey + saturation * (x - grey) - mean))
        rest = brightness * (contrast * (1 - saturation) * grey + (1 - contrast) * mean)
        return torch.addcmul(rest, x, brightness * contrast * saturation).clamp_(0, 255)

    def _erase(self, image: Tensor, draw: Tensor) -> Tensor:
        height, width = image.shape[2:]
        side = self.erase * min(height, width)
        y, x = _near(height, draw[:, 5], side, image.device), _near(width, draw[:, 6], side, image.device)
        return image * ~(y[:, None, :, None] & x[:, None, None, :])

    def _bands(self, image: Tensor, draw: Tensor) -> Tensor:
        height, width = image.shape[2:]
        y = _near(height, draw[:, 10], (draw[:, 11] * self.bands * height)[:, None], image.device)
        x = _near(width, draw[:, 12], (draw[:, 13] * self.bands * width)[:, None], image.device)
        return image * ~(y[:, None, :, None] | x[:, None, None, :])


DRAWS, MIXES, WINDOWS = 14, 4, 4  # numbers a picture that its changes are drawn from, its mixing, and its window
SEEN = 0.3  # share of a moved box that must be left inside the picture


def moved_boxes(boxes: Tensor, source: Tensor) -> Tensor:
    """boxes (B, N, 5) as Batches gives them -> where they are in the pictures changed by `source` (B, 2, 3).

    A turned box becomes the smallest upright one around it. What is cut off is cut off; a box of which less than SEEN is left
    gets class -1.
    """
    x0, y0, x1, y1 = (2 * boxes[..., :4] - 1).unbind(-1)
    corners = torch.stack([x0, y0, x1, y0, x0, y1, x1, y1], -1).view(*boxes.shape[:2], 4, 2)
    back = torch.linalg.inv(source[:, :, :2])[:, None]
    corners = ((corners - source[:, None, None, :, 2]) @ back.mT + 1) / 2  # (B, N, 4, 2)
    low, high = corners.amin(2), corners.amax(2)
    inside = torch.cat([low, high], -1).clamp(0, 1)
    left = (inside[..., 2:] - inside[..., :2]).prod(-1) >= SEEN * (high - low).prod(-1)
    kind = torch.where(left, boxes[..., 4], -1.0)
    return torch.cat([inside, kind[..., None]], -1)


def _centres(side: int, device: torch.device) -> Tensor:
    """Pixel centres in [-1, 1]."""
    return (2 * torch.arange(side, device=device) + 1) / side - 1


def _near(side: int, centre: Tensor, size: float | Tensor, device: torch.device) -> Tensor:
    """(B, side) whether a pixel's centre lies within size / 2 of `centre` (B,), a share of the side."""
    away = torch.arange(side, device=device)[None, :] + 0.5 - centre[:, None] * side
    return away.abs() < size / 2


PRESETS = {
    "none": Augment(),
    "shift": Augment(shift=0.08),
    "flip": Augment(flip=True, shift=0.08),
    "affine": Augment(shift=0.06, rotate=12.0, scale=0.1),
}
ADDED = {
    "crop": {"crop": 0.4},
    "color": {"color": 0.3},
    "erase": {"erase": 0.25},
    "bands": {"bands": 0.25},
    "mixup": {"mixup": True},
    "cutmix": {"cutmix": True},
}


def named(name: str) -> Augment:
    """The changes of a preset and what is added to it: "flip", "flip+color+cutmix", "mixup". Recipe checks the words."""
    first, *added = name.split("+")
    made = PRESETS[first] if first in PRESETS else replace(Augment(), **ADDED[first])
    for word in added:
        made = replace(made, **ADDED[word])
    return made
