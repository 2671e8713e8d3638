"""Pictures that show the same although no byte is equal: resized, recompressed, cropped by up to a tenth of a side.

Candidates: the lowest cosines of a picture and of five crops of it (perceptual hash by DCT, Zauner 2010,
https://www.phash.org/docs/pubs/thesis_zauner.pdf), whitened over the data set so that what all pictures share does not count,
compared within the nearest cells of a coarse clustering (Sivic 2003). A candidate is confirmed pixel by pixel after the two
were moved onto each other (Lucas, Kanade 1981). Letters: N pictures, S pixels a side, F cosines, K candidates.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.data._pictures import Pictures

SIDE = 32  # pixels in which pictures are compared
LOW = 7  # cosines a side
CROP = 0.9  # of a side
CROPS = (
    (0.0, 0.0, 1.0),
    *((x * (1 - CROP), y * (1 - CROP), CROP) for x, y in ((0.5, 0.5), (0, 0), (1, 0), (0, 1), (1, 1))),
)
"""left, top and size as shares of a side; the first is the whole picture"""
CLOSE = (0.97, *(0.76,) * 5)  # cosine of two whitened hashes, from which on a pair is looked at, per crop
NEAREST = 4  # pairs of a picture that are looked at, per crop
CELL = 500  # pictures of a cell of the coarse clustering
PROBED = 6  # cells that are searched
BLOCK = 512
FIRST, THEN = 5, 8  # turns of the alignment, at half the pixels and at all of them
FAR = 0.30  # of a side that the alignment may move
HOPE = 0.45  # of the contrast that may differ after the first turns
ERROR, SPOT_ERROR, DETAIL = (
    0.35,
    0.28,
    0.6,
)  # of the contrast that may differ, everywhere and in a spot; correlation of details
SURELY = 0.12  # of the contrast in a spot up to which two pictures are the same in any set
USUAL = 0.55  # of what a picture of the set usually differs from its nearest neighbour in a spot
SPOT = 5  # pixels a side
FLAT = 6.0  # standard deviation of 0 to 255 below which a picture shows nothing to compare


def small(pictures: Pictures) -> np.ndarray:
    """uint8 (N, channels, S, S) of all pictures, each stretched; those that are small keep their pixels."""
    channels = pictures.channels()
    if (
        pictures.array is not None
        and max(pictures.array.shape[1:3]) <= 1.5 * SIDE
        and pictures.array.shape[3] == channels
    ):
        return np.ascontiguousarray(pictures.array.transpose(0, 3, 1, 2))
    return pictures.pack((channels, SIDE, SIDE), None, "stretch")


def _cosines(side: int, start: float, size: float) -> Tensor:
    """(LOW, side): the lowest cosines of a window of a line of pixels, as a matrix."""
    places = (torch.arange(side, dtype=torch.float32) + 0.5) / side
    inside = (places - start) / size
    waves = torch.cos(math.pi * torch.arange(LOW)[:, None] * inside[None])
    return waves * ((inside > 0) & (inside < 1))


def hashes(grey: Tensor, crop: tuple[float, float, float]) -> Tensor:
    """(N, F) lowest cosines without the mean, of the window (left, top, size) of pictures (N, height, width) of 0 to 255."""
    left, top, size = crop
    rows, columns = _cosines(grey.shape[1], top, size), _cosines(grey.shape[2], left, size)
    found = torch.einsum("fh,nhw,gw->nfg", rows, grey, columns) / (size * size * grey.shape[1] * grey.shape[2])
    return found.flatten(1)[:, 1:]


def candidates(grey: Tensor, until: float = math.inf) -> tuple[Tensor, float]:
    """int64 (K, 3): pictures a and b that may show the same, and which of CROPS of a is like the whole of b; the likeliest first.

    And the share of the searches that there was time for.
    """
    whole = hashes(grey, CROPS[0])
    mean, spread = (
        whole.mean(0),
        whole.std(0).clamp(min=1e-3) if len(whole) > 20 else whole.abs().mean(0).clamp(min=1e-3),
    )
    keys = F.normalize((whole - mean) / spread, dim=1)
    cells = _Cells(keys)
    found, close, searched = [], [], 0
    for number, crop in enumerate(CROPS):
        asked = keys if number == 0 else F.normalize((hashes(grey, crop) - mean) / spread, dim=1)
        for pair, cosine, rows in cells.near(asked, CLOSE[number], until):
            searched += rows
            kept = pair[:, 0] < pair[:, 1] if number == 0 else torch.ones(len(pair), dtype=torch.bool)
            found.append(F.pad(pair[kept], (0, 1), value=number))  # whole against whole is the same both ways
            close.append(cosine[kept] - (1 if number else 0))
    share = searched / (len(CROPS) * len(grey) * min(PROBED, len(cells.rows)))
    if not found:
        return torch.zeros(0, 3, dtype=torch.long), share
    return torch.cat(found)[torch.cat(close).argsort(descending=True, stable=True)], share


class _Cells:
    """Keys (N, F) of length 1, grouped by the nearest of some centres, so that a search looks at few of them."""

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys
        count = max(1, len(keys) // CELL) if len(keys) > 4 * CELL else 1
        random = torch.Generator().manual_seed(0)
        self.centres = keys[torch.randperm(len(keys), generator=random)[:count]]
        sample = keys[torch.randperm(len(keys), generator=random)[: 64 * count]]
        for _ in range(4 if count > 1 else 0):
            nearest = (sample @ self.centres.T).argmax(1)
            sums = torch.zeros_like(self.centres).index_add_(0, nearest, sample)
            self.centres = F.normalize(torch.where(sums.any(1, keepdim=True), sums, self.centres), dim=1)
        own = (keys @ self.centres.T).argmax(1)
        self.rows = [(own == i).nonzero().flatten() for i in range(count)]

    def near(self, asked: Tensor, close_from: float, until: float) -> Iterator[tuple[Tensor, Tensor, int]]:
        """int64 (K, 2), (K,) cosines and how many keys asked, until time is up: of each asked key the NEAREST others whose cosine is over `close_from`."""
        probed = (asked @ self.centres.T).topk(min(PROBED, len(self.centres)), dim=1).indices
        for cell, rows in enumerate(self.rows):
            asking = (probed == cell).any(1).nonzero().flatten()
            for part in asking.split(BLOCK):
                if time.monotonic() > until:
                    return
                close = asked[part] @ self.keys[rows].T
                close[part[:, None] == rows[None]] = -1.0
                best, place = close.topk(min(NEAREST, len(rows)), dim=1)
                at, which = (best > close_from).nonzero(as_tuple=True)
                yield torch.stack([part[at], rows[place[at, which]]], 1), best[at, which], len(part)


def _moved(image: Tensor, box: Tensor) -> Tensor:
    """(K, channels, height, width) the part of each image in its box (K, 4): centre x, y and size x, y, in [-1, 1]."""
    theta = torch.zeros(len(image), 2, 3)
    theta[:, 0, 0], theta[:, 0, 2], theta[:, 1, 1], theta[:, 1, 2] = box[:, 2], box[:, 0], box[:, 3], box[:, 1]
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False)


def aligned(one: Tensor, other: Tensor, box: Tensor, turns: int) -> tuple[Tensor, Tensor]:
    """`one` (K, channels, height, width) moved so that it lies on `other`, and the box (K, 4) that does so, from a first guess.

    Inverse compositional (Baker 2004, https://doi.org/10.1023/B:VISI.0000011205.11775.fd, section 3.2): slopes and their
    squares are those of `other`, once. Of all turns the best is kept.
    """
    height, width = one.shape[2:]
    y, x = torch.meshgrid(*((torch.arange(n) + 0.5) * 2 / n - 1 for n in (height, width)), indexing="ij")
    grey = F.pad(other.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")[:, 0]
    gx, gy = (
        (grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2]) * (width / 4),
        (grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]) * (height / 4),
    )
    slopes = torch.stack([gx, gy, gx * x, gy * y], 1).flatten(2)  # (K, 4, pixels)
    square = slopes @ slopes.transpose(1, 2)
    square = square + (1e-3 * square.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + 1e-6) * torch.eye(4)
    pull = torch.linalg.solve(square, slopes)
    best, least, first, kept = one, torch.full((len(one),), math.inf), box, box
    for _ in range(turns):
        now = _moved(one, box)
        error = (now - other).mean(1).flatten(1)
        loss = error.square().mean(1)
        better = loss < least
        best = torch.where(better[:, None, None, None], now, best)
        least, kept = torch.where(better, loss, least), torch.where(better[:, None], box, kept)
        step = (pull @ error[..., None])[..., 0].clamp(-0.1, 0.1)
        size = box[:, 2:] / (1 + step[:, 2:])
        box = torch.cat([box[:, :2] - size * step[:, :2], size], 1)
        box = torch.minimum(torch.maximum(box, first - FAR), first + FAR)
    return best, kept


def likeness(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(K,) each: share of the contrast by which two pictures differ, by which they differ in a spot, correlation of their finest details.

    What resampling and compression change cancels out within a spot; another hat on the same head does not.
    """
    contrast = other.flatten(1).std(1).clamp(min=FLAT)
    change = one - other
    error = change.square().flatten(1).mean(1).sqrt() / contrast
    spot = F.avg_pool2d(change, SPOT, 1).abs().flatten(1).amax(1) / contrast

    def fine(image: Tensor) -> Tensor:
        grey = image.mean(1, keepdim=True)
        return (grey - F.avg_pool2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, 1)).flatten(1)

    return error, spot, F.cosine_similarity(fine(one), fine(other), dim=1)


def confirmed(packed: np.ndarray, pairs: Tensor, until: float = math.inf) -> Tensor:
    """(K, 3) `likeness` of the candidates after each was moved onto the other; inf where they soon were too far apart.

    Shorter than the candidates where time ran out.
    """
    found = torch.full((len(pairs), 3), math.inf)
    guess = torch.tensor([(2 * left + size - 1, 2 * top + size - 1, size, size) for left, top, size in CROPS])
    for rows in torch.arange(len(pairs)).split(BLOCK) if len(pairs) else ():
        if time.monotonic() > until:
            return found[: int(rows[0])]
        one, other = (torch.from_numpy(packed[pairs[rows, i].numpy()]).float() for i in (0, 1))
        half = F.avg_pool2d(other, 2)
        near, box = aligned(F.avg_pool2d(one, 2), half, guess[pairs[rows, 2]], FIRST)
        hope = likeness(near, half)[0] < HOPE
        if bool(hope.any()):
            near, _ = aligned(one[hope], other[hope], box[hope], THEN)
            found[rows[hope]] = torch.stack(likeness(near, other[hope]), 1)
    return found


def pairs(packed: np.ndarray, until: float = math.inf) -> tuple[np.ndarray, float]:
    """int64 (K, 2) positions of pictures (N, channels, S, S) that show the same, and the share of all pairs there was time for."""
    grey = torch.from_numpy(packed).float().mean(1)
    places = (grey.flatten(1).std(1) > FLAT).nonzero().flatten()
    if len(places) < 2:
        return np.zeros((0, 2), np.int64), 1.0
    now = time.monotonic()
    found, searched = candidates(grey[places], now + 0.5 * (until - now))
    found[:, :2] = places[found[:, :2]]
    looked = confirmed(packed, found, until)
    share = searched * (len(looked) / len(found) if len(found) else 1.0)
    found, (error, spot, detail) = found[: len(looked)], looked.unbind(1)
    same = (error < ERROR) & (detail > DETAIL) & (spot < _far(found, spot, len(packed), share == 1))
    return np.unique(np.sort(found[same][:, :2].numpy(), axis=1), axis=0), share


def _far(found: Tensor, spot: Tensor, count: int, whole: bool) -> float:
    """SPOT_ERROR, or less where the pictures of a data set are so alike that their nearest neighbours would pass."""
    nearest = torch.full((count,), math.inf)
    for side in (0, 1):
        nearest.scatter_reduce_(0, found[:, side], spot, "amin")
    if not whole:  # of the rows that were not reached nothing is known
        nearest = nearest[nearest.isfinite()]
    others = nearest[nearest > SURELY]
    return min(SPOT_ERROR, USUAL * float(others.median())) if len(others) else SPOT_ERROR
