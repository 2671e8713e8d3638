"""square: an attack that asks for answers alone and no gradients: squares of changed pixels at random, kept where they help.

Andriushchenko 2019, https://arxiv.org/abs/1912.00049, for the L-inf norm. Where it turns more answers than PGD does, the
gradients of the net hide what changes it (Athalye 2018, https://arxiv.org/abs/1802.00420), and PGD's figures say too much.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lamina.judge.attacks import Aim, wrongness

QUERIES = 150  # for a picture
SHARE = 0.3  # of the pixels that a square covers at first
HALVED = (0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)  # of the queries, after which the share is half as much
ROWS_BEYOND = 2  # rows by which it may be better than PGD by chance


@torch.no_grad()
def square(aim: Aim, radius: float, queries: int = QUERIES, seed: int = 0) -> Tensor:
    """The pictures, each pixel changed by the radius up or down; of every row the last version, which errs if any did."""
    image, generator = aim.batch["image"], torch.Generator().manual_seed(seed)
    rows, channels, height, width = image.shape
    stripes = torch.randint(0, 2, (rows, channels, 1, width), generator=generator).to(image) * 2 - 1
    best = (image + radius * stripes).clamp(0, 1)
    ahead = wrongness(aim.logs(best), aim.batch["target"])
    y, x = torch.arange(height).view(1, 1, -1, 1), torch.arange(width).view(1, 1, 1, -1)
    for query in range(queries):
        open_ = (ahead <= 0).nonzero().flatten()
        if not len(open_):
            break
        share = SHARE * 0.5 ** sum(query >= h * queries for h in HALVED)
        side = min(max(1, round(math.sqrt(share * height * width))), height, width)
        top, left = (
            torch.randint(0, n - side + 1, (len(open_), 1, 1, 1), generator=generator) for n in (height, width)
        )
        inside = ((y >= top) & (y < top + side) & (x >= left) & (x < left + side)).to(image.device)
        sign = torch.randint(0, 2, (len(open_), channels, 1, 1), generator=generator).to(image) * 2 - 1
        tried = torch.where(inside, (image[open_] + radius * sign).clamp(0, 1), best[open_])
        now = wrongness(aim.part(open_).logs(tried), aim.batch["target"][open_])
        better = now > ahead[open_]
        best[open_[better]], ahead[open_[better]] = tried[better], now[better]
    return best


def hidden(found: dict[str, dict[str, float]], rows: int) -> bool:
    """Whether the squares turned more of so many rows than PGD at any radius. found: attack -> radius -> share right."""
    pairs = zip(found["black box"].values(), found["PGD"].values(), strict=True)
    return any((pgd - box) * rows > ROWS_BEYOND for box, pgd in pairs)
