"""Colour as a question of classes: CIE Lab, quantised ab, soft codes and rebalancing. Zhang 2016, https://arxiv.org/abs/1603.08511

Lab is of sRGB with the white point D65: L in [0, 100], a and b in about [-110, 110]. Letters: B batch, H height, W width, Q bins.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

GRID = 10.0  # units of ab between bins
NEAREST, SPREAD = 5, 5.0  # bins that share a colour, and the standard deviation of their shares (section 2.1)
TEMPERATURE = 0.38  # of the annealed mean (eq. 5)
MIXED = 0.5  # share of the even distribution in the weights (lambda of eq. 4)
RARE = 2e-5  # share of the pixels below which a bin is left out
WHITE = (0.95047, 1.0, 1.08883)
TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
STEP = 6 / 29


def to_lab(rgb: Tensor) -> Tensor:
    """sRGB (B, 3, H, W) in [0, 1] -> Lab (B, 3, H, W)."""
    linear = torch.where(rgb > 0.04045, ((rgb.clamp(min=0) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = (
        torch.tensor(TO_XYZ, dtype=rgb.dtype, device=rgb.device)
        / torch.tensor(WHITE, dtype=rgb.dtype, device=rgb.device)[:, None]
    )
    xyz = torch.einsum("ij,bjhw->bihw", matrix, linear)
    f = torch.where(xyz > STEP**3, xyz.clamp(min=1e-9) ** (1 / 3), xyz / (3 * STEP**2) + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def to_rgb(lab: Tensor) -> Tensor:
    """Lab (B, 3, H, W) -> sRGB (B, 3, H, W), cut to [0, 1]."""
    y = (lab[:, 0] + 16) / 116
    f = torch.stack([y + lab[:, 1] / 500, y, y - lab[:, 2] / 200], 1)
    xyz = torch.where(f > STEP, f**3, 3 * STEP**2 * (f - 4 / 29))
    back = np.linalg.inv(np.array(TO_XYZ) / np.array(WHITE)[:, None])
    linear = torch.einsum("ij,bjhw->bihw", torch.tensor(back.tolist(), dtype=lab.dtype, device=lab.device), xyz).clamp(
        0, 1
    )
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055, 12.92 * linear)


def bins_of(ab: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours (pixels, 2) -> bins (Q, 2), those of the grid that occur, and weights (Q,) of mean 1 over the pixels (eq. 4)."""
    codes, count = np.unique(np.round(ab / GRID).astype(int), axis=0, return_counts=True)
    kept = count >= max(2, RARE * count.sum())
    bins, share = codes[kept] * GRID, count[kept] / count[kept].sum()
    apart = ((bins[:, None] - bins[None]) ** 2).sum(-1)
    near = np.exp(-apart / (2 * SPREAD**2))
    share = near @ share / near.sum(1)
    share /= share.sum()
    weights = 1 / ((1 - MIXED) * share + MIXED / len(share))
    return bins, weights / (weights * share).sum()


def encoded(ab: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
    """ab (B, 2, H, W), bins (Q, 2) -> the NEAREST bins (B, H, W, k) int64 and their shares (B, H, W, k)."""
    flat = ab.permute(0, 2, 3, 1).reshape(-1, 2)
    away, place = torch.cdist(flat, bins).topk(min(NEAREST, len(bins)), largest=False)
    shares = torch.exp(-(away**2) / (2 * SPREAD**2)).clamp(min=1e-12)
    shape = (len(ab), *ab.shape[2:], place.shape[1])
    return place.view(shape), (shares / shares.sum(1, keepdim=True)).view(shape)


def nearest(ab: Tensor, bins: Tensor) -> Tensor:
    """ab (B, 2, H, W), bins (Q, 2) -> the nearest bin (B, H, W) int64."""
    flat = ab.permute(0, 2, 3, 1).reshape(-1, 2)
    return (flat @ (-2 * bins.T) + (bins**2).sum(1)).argmin(1).view(len(ab), *ab.shape[2:])


def decoded(logits: Tensor, bins: Tensor) -> Tensor:
    """(B, Q, H, W) -> ab (B, 2, H, W): the annealed mean, between the likeliest colour and the mean of all (eq. 5)."""
    return torch.einsum("bqhw,qc->bchw", (logits / TEMPERATURE).softmax(1), bins)


def class_losses(logits: Tensor, ab: Tensor, bins: Tensor, weights: Tensor) -> Tensor:
    """(B,) cross-entropy against soft codes, rebalanced by the weight of the nearest bin (eq. 2)."""
    place, shares = encoded(ab, bins)
    likely = F.log_softmax(logits, 1).permute(0, 2, 3, 1)
    own = -(shares * likely.gather(3, place)).sum(3)
    return (own * weights[place[..., 0]]).flatten(1).mean(1)


def errors_by_threshold(answer: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 151) twice: pixels whose ab is within 0, 1 ... 150 of the target, plain and weighted (B, H, W), as shares (section 3.1)."""
    away = (answer - target).norm(dim=1).flatten(1)
    level = away.ceil().clamp(max=151).long()
    weights = weights.flatten(1)
    found = []
    for w in (torch.ones_like(weights), weights):
        count = torch.zeros(len(away), 152, dtype=torch.float64, device=away.device).scatter_add_(1, level, w.double())
        found.append(count[:, :151].cumsum(1) / w.double().sum(1, keepdim=True))
    return found[0], found[1]


def chroma(ab: Tensor) -> Tensor:
    """(B,) mean distance from grey."""
    return ab.norm(dim=1).flatten(1).mean(1)


def entropy(bins: int) -> float:
    """Loss of a net that finds all bins alike."""
    return math.log(bins)
