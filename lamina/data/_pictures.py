"""Pictures: the values of an image column, an array or files that are decoded when needed.

Pixels are uint8 (height, width, channels) everywhere, EXIF rotation applied once, transparent pixels over white.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from lamina.core.device import cores
from lamina.core.errors import DataError
from lamina.data._decode import as_bytes, decode, header, over_white, reason

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jfif", ".ppm", ".pgm")
SAMPLE = 64  # files that are looked at to tell grey from colour
CHUNK = 1 << 26  # bytes that are packed at once
LEFTOVER = 600.0  # seconds after which a file aside is one that a killed process left
VERSION = 2  # of decoding and resizing; another one makes caches anew


class Pictures:
    """Rows of pictures: uint8 (rows, height, width, channels), or paths; never both."""

    def __init__(self, array: np.ndarray | None, paths: np.ndarray | None) -> None:
        self.array, self.paths = array, paths
        self._hashes: np.ndarray | None = None
        self._headers: np.ndarray | None = None

    @classmethod
    def of_files(cls, paths: Iterable[Path]) -> Pictures:
        """Pictures in files, decoded when they are needed."""
        return cls(None, np.array([str(p) for p in paths], object))

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
        return 1 if all(_in_threads(lambda row: _is_grey(self.open(row, 64)), rows)) else 3

    def open(self, row: int, side: int | None = None) -> np.ndarray:
        """uint8 (height, width, 1|3) of a row in full size; `side` as in decode. Raises DataError."""
        return self.array[row] if self.array is not None else decode(Path(self.paths[row]), side)  # type: ignore[index]

    def hashes(self) -> np.ndarray:
        """sha256 per row: equal for bit-equal pictures (arrays) or files. Raises DataError."""
        if self._hashes is None:
            found = [_hash(p) for p in self.array] if self.array is not None else _in_threads(_hash, self.paths)
            self._hashes = np.array(found, object)
        return self._hashes

    def fingerprint(self) -> str:
        """sha256 over all rows in order: the bytes of files wherever they lie, the values and the shape of an array."""
        shape = "" if self.array is None else str(self.array.shape[1:])
        return hashlib.sha256("".join([shape, *self.hashes()]).encode()).hexdigest()

    def pack(self, shape: tuple[int, ...], cache: Path | None = None) -> np.ndarray:
        """uint8 (rows, channels, height, width): each picture resized to cover the frame and cropped around its centre.

        With a cache folder the result is written once, aside and renamed, and mapped into memory from then on; a damaged
        one is made anew. Raises DataError for a file that does not decode and a cache that cannot be written.
        """
        channels, height, width = shape
        if self.array is not None and self.array.shape[1:] == (height, width, channels):
            packed = self.array.transpose(0, 3, 1, 2)
            if packed.flags.c_contiguous or cache is None or not isinstance(self.array, np.memmap):
                return np.ascontiguousarray(packed)
        if cache is None or not len(self):
            return self._fill(np.empty((len(self), *shape), np.uint8), 0)
        name = hashlib.sha256(f"{self.fingerprint()} {tuple(shape)} {VERSION}".encode()).hexdigest()[:32]
        path = cache / f"{name}.npy"
        if not _sound(path, (len(self), *shape)):
            self._write(path, shape)
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def _seen(self) -> np.ndarray:
        """int (rows, 3): height and width of files, and 1 where the header tells that the picture is grey."""
        if self._headers is None:
            self._headers = np.array(_in_threads(header, self.paths), int).reshape(-1, 3)
        return self._headers

    def _fill(self, packed: np.ndarray, start: int) -> np.ndarray:
        """Pack the rows from `start` on into `packed`."""
        _, channels, height, width = packed.shape

        def one(i: int) -> None:
            packed[i] = fit(self.open(start + i, max(height, width)), height, width, channels).transpose(2, 0, 1)

        _in_threads(one, range(len(packed)))
        return packed

    def _write(self, path: Path, shape: tuple[int, ...]) -> None:
        """Write the cache: a .npy file and, behind its values, their crc32."""
        aside = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.new")
        described: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": (len(self), *shape)}
        rows, crc = max(cores(), CHUNK // math.prod(shape)), 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in path.parent.glob("*.new"):
                if time.time() - left.stat().st_mtime > LEFTOVER:
                    left.unlink()
            with open(aside, "wb") as file:
                np.lib.format.write_array_header_1_0(file, described)
                for start in range(0, len(self), rows):
                    part = self._fill(np.empty((min(rows, len(self) - start), *shape), np.uint8), start)
                    crc = zlib.crc32(part.data, crc)
                    file.write(part.data)
                file.write(crc.to_bytes(4, "big"))
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except OSError as error:
            why = f"cannot take the packed pictures ({error.strerror}); free space there, or choose another folder."
            raise DataError(f"{path.parent} {why}") from None
        finally:
            with contextlib.suppress(OSError):
                aside.unlink()


def _sound(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether a cache is there and holds what was written."""
    try:
        packed = np.lib.format.open_memmap(path, mode="r")  # np.load would take a zip for arrays
        with open(path, "rb") as file:
            file.seek(-4, os.SEEK_END)
            crc = int.from_bytes(file.read(), "big")
        return packed.shape == shape and packed.dtype == np.uint8 and zlib.crc32(packed.data) == crc
    except Exception:  # damage shows in more ways than can be listed
        return False


def _in_threads(function: Callable[[Any], Any], items: Any) -> list[Any]:
    """function of every item, in order, on all cores (Pillow and hashing let other threads run)."""
    with ThreadPoolExecutor(cores()) as pool:
        return [r for start in range(0, len(items), 4096) for r in pool.map(function, items[start : start + 4096])]


def _is_grey(array: np.ndarray) -> bool:
    return array.shape[2] == 1 or bool((array[..., :1] == array[..., 1:]).all())


def _hash(item: np.ndarray | str) -> str:
    if not isinstance(item, str):
        return hashlib.sha256(np.ascontiguousarray(item).data).hexdigest()
    try:
        with open(item, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{item} {reason(Path(item), error)}.") from None


def fit(pixels: np.ndarray, height: int, width: int, channels: int) -> np.ndarray:
    """uint8 (h, w, 1|3) -> (height, width, channels): resized to cover the frame (bicubic, antialiased), centre cropped."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    array = np.asarray(image)
    return array[..., None] if channels == 1 else array


def inspect(paths: Sequence[Path]) -> list[str]:
    """Per file what is wrong with it, "" when it decodes; every pixel is decoded, on all cores."""

    def one(path: Path) -> str:
        try:
            decode(path, 64)
        except DataError as error:
            return str(error).removeprefix(f"{path} ").rstrip(".")
        return ""

    return _in_threads(one, paths)
