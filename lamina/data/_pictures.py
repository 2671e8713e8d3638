"""Pictures: the values of an image column, an array or files that are decoded when needed.

Pixels are uint8 (height, width, channels) everywhere, EXIF rotation applied once, transparent pixels over white.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _decode, _index, _store
from lamina.data._decode import as_bytes, decode, header, over_white
from lamina.data._threads import in_threads

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jfif", ".ppm", ".pgm")
SAMPLE = 64  # files that are looked at to tell grey from colour


class Pictures:
    """Rows of pictures: uint8 (rows, height, width, channels), or paths, or the content of files as bytes; never two."""

    def __init__(self, array: np.ndarray | None, paths: np.ndarray | None) -> None:
        self.array = array
        self.paths: Any = paths
        self._hashes: np.ndarray | None = None
        self._entries: Any = None
        self._headers: np.ndarray | None = None

    @classmethod
    def of_files(cls, paths: Iterable[Path]) -> Pictures:
        """Pictures in files, decoded when they are needed."""
        return cls(None, np.array([str(p) for p in paths], object))

    @classmethod
    def of_bytes(cls, contents: Sequence[bytes]) -> Pictures:
        """Pictures whose files were sent, not stored: the content of each."""
        held = np.empty(len(contents), object)
        held[:] = contents
        return cls(None, held)

    @classmethod
    def of_array(cls, array: np.ndarray) -> Pictures:
        """(rows, height, width), (rows, height, width, 1|3|4) or (rows, 1|3|4, height, width), of any number type.

        uint8 is kept. bool, floats in [0, 1] and floats in [-1, 1] fill 0 to 255; values in [0, 255] are rounded; whole
        numbers to 65535 are of 10, 12, 14 or 16 bits, the least that holds the largest; anything else is stretched from
        its least to its largest value. Raises DataError for another shape, NaN or inf.
        """
        shape = array.shape
        array = array[..., None] if array.ndim == 3 else array
        if array.ndim != 4 or min(array.shape[1:]) < 1 or not {1, 3, 4} & {array.shape[1], array.shape[3]}:
            raise DataError(f"pictures must be (rows, height, width[, channels]) with 1, 3 or 4 channels, not {shape}.")
        array = as_bytes(array if array.shape[3] in (1, 3, 4) else array.transpose(0, 2, 3, 1))
        return cls(over_white(array) if array.shape[3] == 4 else array, None)

    def __len__(self) -> int:
        return len(self.array if self.array is not None else self.paths)  # type: ignore[arg-type]

    def take(self, rows: np.ndarray) -> Pictures:
        """The pictures of these rows."""
        taken = Pictures(*(None if part is None else part[rows] for part in (self.array, self.paths)))
        taken._hashes = None if self._hashes is None else self._hashes[rows]
        taken._entries = None if self._entries is None else self._entries[rows]
        taken._headers = None if self._headers is None else self._headers[rows]
        return taken

    def sizes(self) -> np.ndarray:
        """int (rows, 2): height and width, after EXIF rotation, from the headers of files. Raises DataError."""
        if self.array is not None:
            return np.tile(np.array(self.array.shape[1:3], int), (len(self), 1))
        return self._seen()[:, :2]

    def channels(self) -> int:
        """1 when the pictures are grey, else 3; of files whose header leaves it open a sample is decoded."""
        if self.array is not None:
            return 1 if self.array.shape[3] == 1 or all(_is_grey(p) for p in self.array) else 3
        rows = np.flatnonzero(self._seen()[:, 2] == 0)
        if len(rows) > SAMPLE:
            rows = rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(int)]
        return 1 if all(in_threads(lambda row: _is_grey(self.open(row, 64)), rows)) else 3

    def open(self, row: int, side: int | None = None) -> np.ndarray:
        """uint8 (height, width, 1|3) of a row in full size; `side` as in decode. Raises DataError."""
        if self.array is not None:
            return self.array[row]
        file = self.paths[row]
        return decode(file if isinstance(file, bytes) else Path(file), side)

    def framed(self, row: int, shape: tuple[int, ...], fit: str) -> np.ndarray:
        """uint8 (channels, height, width) of a row in a frame of this shape; `fit` as in pack. Raises DataError."""
        channels, height, width = shape
        fitted = {"crop": _decode.fit, "stretch": _decode.stretch}[fit]
        return fitted(self.open(row, max(height, width)), height, width, channels).transpose(2, 0, 1)

    def hashes(self, index: _index.Index | None = None) -> np.ndarray:
        """sha256 per row: equal for bit-equal pictures (arrays) or files. Raises DataError.

        Of files that an index knows and that did not change, the content is not read.
        """
        if self._hashes is None and self.array is not None:
            self._hashes = np.array([_hash(p) for p in self.array], object)
        elif self._hashes is None:
            found = index.entries(self.paths) if index else in_threads(_index.read, self.paths)
            self._entries = np.fromiter(found, object, len(found))
            self._hashes = np.fromiter((entry[3] for entry in found), object, len(found))
        if index and self._entries is not None:
            index.learn(self.paths, self._entries)
        return self._hashes

    def check(self) -> None:
        """Raises DataError when a file is no longer what its hash says."""
        if self._entries is not None:
            for path, entry in zip(self.paths, self._entries, strict=True):
                if _index.stamp(path) != entry[:3] and _index.read(path)[3] != entry[3]:
                    raise DataError(f"{path} changed after its hash was taken; start again.")

    def fingerprint(self) -> str:
        """sha256 over all rows in order: the bytes of files wherever they lie, the values and the shape of an array."""
        shape = "" if self.array is None else str(self.array.shape[1:])
        return hashlib.sha256("".join([shape, *self.hashes()]).encode()).hexdigest()

    def pack(self, shape: tuple[int, ...], cache: Path | None = None, fit: str = "crop") -> np.ndarray:
        """uint8 (rows, channels, height, width): each picture resized to cover the frame and cropped around its centre.

        fit="stretch": all of each picture, its sides resized by themselves.

        With a cache folder the result is packed once by _store and mapped into memory from then on; a damaged one is
        made anew. Raises DataError for a file that does not decode and a cache that cannot be written.
        """
        channels, height, width = shape
        if self.array is not None and self.array.shape[1:] == (height, width, channels):
            packed = self.array.transpose(0, 3, 1, 2)
            if packed.flags.c_contiguous or cache is None or not isinstance(self.array, np.memmap):
                return np.ascontiguousarray(packed)
        return _store.pack(self, shape, cache, fit)

    def _seen(self) -> np.ndarray:
        """int (rows, 3): height and width of files, and 1 where the header tells that the picture is grey."""
        if self._headers is None:
            self._headers = np.array(in_threads(header, self.paths), int).reshape(-1, 3)
        return self._headers


def _is_grey(array: np.ndarray) -> bool:
    return array.shape[2] == 1 or bool((array[..., :1] == array[..., 1:]).all())


def _hash(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def inspect(paths: Sequence[Path]) -> list[str]:
    """Per file what is wrong with it, "" when it decodes; every pixel is decoded, on all cores."""

    def one(path: Path) -> str:
        try:
            decode(path, 64)
        except DataError as error:
            return str(error).removeprefix(f"{path} ").rstrip(".")
        return ""

    return in_threads(one, paths)
