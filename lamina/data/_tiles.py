"""Tiles: squares of photographs, as rows of their own. They come from the photograph made smaller, in an even grid."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _decode
from lamina.data._index import Index
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Field, Table

KEPT = 6  # photographs that are held decoded: tiles of one follow each other


class Tiles(Pictures):
    """Squares of `side` pixels; `boxes` int (rows, 4): height and width that the photograph is made, top and left of the square."""

    def __init__(self, photos: Pictures, rows: np.ndarray, boxes: np.ndarray, side: int) -> None:
        names = np.array([f"{p}" for p in photos.paths[rows]], object) if photos.paths is not None else None
        super().__init__(None, names)
        self.photos, self.rows, self.boxes, self.side = photos, rows, boxes, side
        self._held: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray) -> Tiles:
        """The tiles of these rows."""
        return Tiles(self.photos, self.rows[rows], self.boxes[rows], self.side)

    def sizes(self) -> np.ndarray:
        return np.full((len(self), 2), self.side)

    def channels(self) -> int:
        return self.photos.take(np.unique(self.rows)).channels()

    def open(self, row: int, side: int | None = None) -> np.ndarray:
        """uint8 (side, side, 1|3) of a row. Raises DataError."""
        height, width, top, left = (int(v) for v in self.boxes[row])
        whole = self._smaller(int(self.rows[row]), height, width)
        return whole[top : top + self.side, left : left + self.side]

    def _smaller(self, photo: int, height: int, width: int) -> np.ndarray:
        key = (photo, height)
        with self._lock:
            if key not in self._held:
                pixels = self.photos.open(photo, max(height, width))
                self._held[key] = _decode.stretch(pixels, height, width, pixels.shape[2])
                while len(self._held) > KEPT:
                    self._held.popitem(last=False)
            return self._held[key]

    def hashes(self, index: Index | None = None) -> np.ndarray:
        """sha256 per row of the photograph's and the place in it."""
        if self._hashes is None:
            used, place = np.unique(self.rows, return_inverse=True)
            known = self.photos.take(used).hashes(index)
            texts = (f"{known[p]} {b.tolist()} {self.side}" for p, b in zip(place, self.boxes, strict=True))
            self._hashes = np.array([hashlib.sha256(t.encode()).hexdigest() for t in texts], object)
        return self._hashes

    def check(self) -> None:
        self.photos.check()


def tiled(table: Table, name: str, side: int, shorter: int, most: int) -> Table:
    """The table with rows of at most `most` tiles a photograph of the picture column `name`, and no other column.

    shorter: pixels that the shorter side of each photograph is made first where it has more, at least a tile.
    Raises DataError when no photograph is large enough for a tile.
    """
    photos = table[name].values
    sizes, rows, boxes, small = photos.sizes(), [], [], []
    for i, (height, width) in enumerate(sizes.tolist()):
        if min(height, width) < side:
            small.append(str(table.names[i]))
            continue
        scale = min(1.0, max(shorter, side) / min(height, width))
        high, wide = max(side, round(scale * height)), max(side, round(scale * width))
        found = _grid(high, wide, side, most)
        rows += [i] * len(found)
        boxes += [(high, wide, top, left) for top, left in found]
    if not rows:
        raise DataError(
            f"{table.source} has no photograph of {side}x{side} pixels or more; make tiles smaller with --task.side."
        )
    at, places = np.array(rows), np.array(boxes, int)
    named = [f"{table.names[i]} at {left},{top} of {w}x{h}" for i, (h, w, top, left) in zip(at, places, strict=True)]
    notes = [f"{len(at):,} tiles of {side}x{side} pixels cut from {len(set(rows)):,} photographs."]
    if small:
        notes.append(f"{len(small)} photographs smaller than a tile are left out ({', '.join(small[:3])}).")
    column = Column(Field(name, "image"), Tiles(photos, at, places, side))
    split = None if table.split is None else table.split[at]
    return table.with_(columns={name: column}, names=np.array(named, object), split=split, tried=len(at)).noted(*notes)


def _grid(height: int, width: int, side: int, most: int) -> list[tuple[int, int]]:
    """Corners (top, left) of tiles: evenly spread, half over each other at most."""
    down, across = (max(1, round((n - side) / (side / 2)) + 1) if n > side else 1 for n in (height, width))
    while down * across > most:
        down, across = (max(1, down - 1), across) if down >= across else (down, max(1, across - 1))
    tops, lefts = (np.linspace(0, n - side, k).round().astype(int) for n, k in ((height, down), (width, across)))
    return [(int(t), int(le)) for t in tops for le in lefts]
