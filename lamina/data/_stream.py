"""Rows of a packed array that is larger than memory: read from its file into the batch, the next batches ahead by threads.

Rows are read (preadv), not touched through the memory map: a batch's own memory is all that the process takes, nothing has to
be given back behind it, and a page of a map costs a fault (9 us here) where a read costs a copy. What the system keeps of the
file in its cache it gives up by itself when memory is short.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from lamina.core.errors import DataError

READERS = 4  # threads: as many requests are before the disk at once
AHEAD = 2  # batches that are read before they are asked for


class Stream:
    """A packed array uint8 (rows, ...) whose batches are read when they are needed, or before."""

    def __init__(self, packed: np.ndarray, pinned: bool = False) -> None:
        self.packed, self.shape, self.pinned = packed, packed.shape, pinned
        self._begun: dict[bytes, tuple[Tensor, list[Future[None]]]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(READERS)
        self._file = None
        if isinstance(packed, np.memmap) and packed.filename and packed.flags.c_contiguous and hasattr(os, "preadv"):
            self._file = os.open(packed.filename, os.O_RDONLY)
            weakref.finalize(self, os.close, self._file)

    def get(self, rows: np.ndarray) -> Tensor:
        """uint8 (len(rows), ...) in main memory. Raises DataError when the file was cut short meanwhile."""
        with self._lock:
            batch, reading = self._begun.pop(rows.tobytes(), None) or self._begin(rows)
        for future in reading:
            future.result()
        return batch

    def ahead(self, rows: np.ndarray) -> None:
        """Begin to read rows that will be asked for next; of more than AHEAD batches the oldest is forgotten."""
        with self._lock:
            if rows.tobytes() not in self._begun:
                while len(self._begun) >= AHEAD:
                    _, reading = self._begun.pop(next(iter(self._begun)))
                    for future in reading:
                        future.cancel()
                self._begun[rows.tobytes()] = self._begin(rows)

    def bound(self, batch: int) -> int:
        """Bytes of main memory at most for batches of so many rows: those read ahead, the one in use and the next."""
        return (AHEAD + 2) * batch * math.prod(self.shape[1:])

    def _begin(self, rows: np.ndarray) -> tuple[Tensor, list[Future[None]]]:
        batch = torch.empty((len(rows), *self.shape[1:]), dtype=torch.uint8, pin_memory=self.pinned)
        into, part = batch.numpy(), max(1, -(-len(rows) // READERS))
        starts = range(0, len(rows), part)
        return batch, [self._pool.submit(self._read, rows[s : s + part], into[s : s + part]) for s in starts]

    def _read(self, rows: np.ndarray, into: np.ndarray) -> None:
        if self._file is None:
            into[:] = self.packed[rows]
            return
        size = math.prod(self.shape[1:])
        for start, stop in _runs(rows):
            offset = self.packed.offset + int(rows[start]) * size  # type: ignore[attr-defined]
            view = memoryview(into[start:stop].reshape(-1).data)
            while view:
                count = os.preadv(self._file, [view], offset)
                if not count:
                    raise DataError(f"{self.packed.filename} was cut short while it was read; start again.")  # type: ignore[attr-defined]
                view, offset = view[count:], offset + count


def _runs(rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Places (start, stop) of rows that follow each other, which are read at once."""
    ends = np.flatnonzero(np.diff(rows) != 1) + 1
    return zip([0, *ends.tolist()], [*ends.tolist(), len(rows)], strict=True)
