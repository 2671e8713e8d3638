"""Random changes to a whole batch at once, keyed by (seed, pass, row): no generator, so neither workers nor resuming change them.

Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    seeded = torch.full_like(rows, (seed * 2 + 1) & _MASK)
    key = _mix(_mix(_mix(seeded) + passes * 7046029254386353131) + rows * 2862933555777941757)
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
    erase: float = 0.0
    """blank a square of this share of the side"""

    def __call__(self, image: Tensor, seed: int, passes: Tensor, rows: Tensor) -> Tensor:
        """image (B, C, H, W) uint8 -> changed copy, uint8 unless turned or scaled (then float32 in [0, 255])."""
        if not any((self.flip, self.shift, self.rotate, self.scale, self.erase)):
            return image
        draw = uniform(seed, passes, rows, 8)
        if self.flip:
            image = torch.where(draw[:, 0, None, None, None] < 0.5, image, image.flip(3))
        if self.rotate or self.scale:
            image = self._affine(image, draw)
        elif self.shift:
            image = self._shift(image, draw)
        if self.erase:
            image = self._erase(image, draw)
        return image

    def _shift(self, image: Tensor, draw: Tensor) -> Tensor:
        """Whole pixels, by one gather; beyond the border its last pixel is repeated."""
        height, width = image.shape[2:]
        top, left = self._pixels(draw[:, 1], height), self._pixels(draw[:, 2], width)
        y = (torch.arange(height, device=image.device) + top[:, None]).clamp(0, height - 1)  # (B, H)
        x = (torch.arange(width, device=image.device) + left[:, None]).clamp(0, width - 1)  # (B, W)
        place = (y[:, :, None] * width + x[:, None, :]).flatten(1)[:, None, :]  # (B, 1, H * W)
        return image.flatten(2).gather(2, place.expand(-1, image.shape[1], -1)).view(image.shape)

    def _pixels(self, draw: Tensor, side: int) -> Tensor:
        most = max(1, round(self.shift * side))
        return (draw * (2 * most + 1)).floor().to(torch.int64) - most

    def _affine(self, image: Tensor, draw: Tensor) -> Tensor:
        """Shift, turn and scale by one bilinear sampling; beyond the border its last pixel is repeated."""
        angle = (2 * draw[:, 3] - 1) * math.radians(self.rotate)
        size = 1 + (2 * draw[:, 4] - 1) * self.scale
        cosine, sine = torch.cos(angle) / size, torch.sin(angle) / size
        right, down = (2 * draw[:, 1] - 1) * 2 * self.shift, (2 * draw[:, 2] - 1) * 2 * self.shift
        matrix = torch.stack([cosine, -sine, right, sine, cosine, down], 1).view(-1, 2, 3)
        grid = torch.nn.functional.affine_grid(matrix, list(image.shape), align_corners=False)
        return torch.nn.functional.grid_sample(image.float(), grid, padding_mode="border", align_corners=False)

    def _erase(self, image: Tensor, draw: Tensor) -> Tensor:
        height, width = image.shape[2:]
        side = self.erase * min(height, width)
        y = torch.arange(height, device=image.device)[None, :] + 0.5 - draw[:, 5, None] * height
        x = torch.arange(width, device=image.device)[None, :] + 0.5 - draw[:, 6, None] * width
        hole = (y.abs() < side / 2)[:, None, :, None] & (x.abs() < side / 2)[:, None, None, :]
        return image.masked_fill(hole, 0)


NAMED = {
    "none": Augment(),
    "shift": Augment(shift=0.08),
    "flip": Augment(flip=True, shift=0.08),
    "affine": Augment(shift=0.06, rotate=12.0, scale=0.1),
}
