"""Measures of pictures beside true ones: peak signal-to-noise ratio, structural similarity, absolute relative error.

PSNR in decibel: 10 log10(1 / mean squared error) of values in [0, 1]. SSIM: Wang 2004, https://doi.org/10.1109/TIP.2003.819861,
Gaussian windows of 1.5 pixels, mean over channels and all places where the window fits. Absolute relative error of a depth:
mean of |answer - truth| / truth (Eigen 2014, https://arxiv.org/abs/1406.2283).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.measures.interval import bootstrap

SIGMA, RADIUS = 1.5, 5  # pixels
STEADY = (0.01**2, 0.03**2)  # K1 and K2 of the paper, for values in [0, 1]
LEAST = 1e-10  # squared error below which pictures count as equal: 100 dB


def psnr(answer: Tensor, target: Tensor) -> Tensor:
    """(B, C, H, W) in [0, 1] twice -> (B,) decibel, 100 at most."""
    return -10 * ((answer - target) ** 2).flatten(1).mean(1).clamp(min=LEAST).log10()


def ssim(answer: Tensor, target: Tensor) -> Tensor:
    """(B, C, H, W) in [0, 1] twice -> (B,) in [-1, 1]; sides of 11 pixels or more (NaN below)."""
    channels, sides = answer.shape[1], answer.shape[2:]
    if min(sides) < 2 * RADIUS + 1:
        return answer.new_full((len(answer),), float("nan"))
    line = torch.exp(-0.5 * (torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64) / SIGMA) ** 2)
    window = (line / line.sum()).to(answer).view(1, 1, -1, 1).expand(channels, 1, -1, 1)

    def blurred(x: Tensor) -> Tensor:
        x = F.conv2d(x, window, groups=channels)
        return F.conv2d(x, window.transpose(2, 3), groups=channels)

    x, y = blurred(answer), blurred(target)
    square_x, square_y, both = blurred(answer**2) - x * x, blurred(target**2) - y * y, blurred(answer * target) - x * y
    first, second = STEADY
    found = (2 * x * y + first) * (2 * both + second) / ((x * x + y * y + first) * (square_x + square_y + second))
    return found.flatten(1).mean(1)


def relative_error(answer: Tensor, target: Tensor) -> Tensor:
    """(B, 1, H, W) twice -> (B,): mean of |answer - target| / target over pixels whose target is known and above 0."""
    known = target > 0  # False for NaN
    apart = ((answer - target).abs() / target).where(known, 0.0)
    return apart.flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)


def finish(rows: dict[str, np.ndarray], names: tuple[str, ...]) -> dict[str, float]:
    """Means over pictures of the statistics of these names."""
    return {name: float(np.nanmean(rows[name])) for name in names}


def interval(
    finish_: Callable[[dict[str, np.ndarray]], dict[str, float]], rows: dict[str, np.ndarray], name: str, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval over pictures of a number that `finish_` makes of the rows."""
    return bootstrap(
        lambda taken: finish_({k: v[taken] for k, v in rows.items()})[name],
        len(rows[name if name in rows else "loss"]),
        seed,
    )
