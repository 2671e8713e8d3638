"""Pictures: the values of an image column, an array or files that are decoded when needed.

Pixels are uint8 (height, width, channels) everywhere, EXIF rotation applied once, transparent pixels over white.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lamina.core.device import cores
from lamina.core.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jfif", ".ppm", ".pgm")
MAX_PIXELS = 100_000_000
SAMPLE = 64  # files that are looked at to tell grey from colour
T = TypeVar("T")
R = TypeVar("R")


class Pictures:
    """Rows of pictures: uint8 (rows, height, width, channels), or paths; never both."""

    def __init__(self, array: np.ndarray | None, paths: np.ndarray | None) -> None:
        self.array, self.paths = array, paths
        self._hashes: np.ndarray | None = None

    @classmethod
    def of_files(cls, paths: Iterable[Path]) -> Pictures:
        """Pictures in files, decoded when they are needed."""
        return cls(None, np.array([str(p) for p in paths], object))

    @classmethod
    def of_array(cls, array: np.ndarray) -> Pictures:
        """(rows, height, width), (rows, height, width, 1|3|4) or (rows, 1|3|4, height, width), of any number type.

        uint8 is kept; bool becomes 0 and 255; float within [0, 1] is times 255; 16 bit keeps its upper byte; everything
        else is stretched from its least to its largest value. Raises DataError for another shape, NaN or inf.
        """
        if array.ndim == 3:
            array = array[..., None]
        if array.ndim != 4 or (array.shape[3] not in (1, 3, 4) and array.shape[1] not in (1, 3, 4)):
            raise DataError(
                f"pictures must be (rows, height, width[, channels]) with 1, 3 or 4 channels, not {array.shape}."
            )
        if array.shape[3] not in (1, 3, 4):
            array = array.transpose(0, 2, 3, 1)
        array = _bytes(array)
        if array.shape[3] == 4:
            array = _over_white(array)
        return cls(array, None)

    def __len__(self) -> int:
        return len(self.array if self.array is not None else self.paths)  # type: ignore[arg-type]

    def take(self, rows: np.ndarray) -> Pictures:
        """The pictures of these rows."""
        taken = Pictures(*(None if part is None else part[rows] for part in (self.array, self.paths)))
        taken._hashes = None if self._hashes is None else self._hashes[rows]
        return taken

    def sizes(self) -> np.ndarray:
        """int (rows, 2): height and width, after EXIF rotation, from the headers of files."""
        if self.array is not None:
            return np.tile(np.array(self.array.shape[1:3]), (len(self), 1))
        return np.array(_in_threads(_size, self.paths.tolist()), int).reshape(-1, 2)  # type: ignore[union-attr]

    def channels(self) -> int:
        """1 when the pictures are grey (of files a sample is judged), else 3."""
        rows = np.unique(np.linspace(0, len(self) - 1, SAMPLE).astype(int))
        return 1 if all(_is_grey(p) for p in _in_threads(self.open, rows.tolist())) else 3

    def open(self, row: int) -> np.ndarray:
        """uint8 (height, width, 1|3) of a row in full size. Raises DataError."""
        return self.array[row] if self.array is not None else decode(Path(self.paths[row]))  # type: ignore[index]

    def hashes(self) -> np.ndarray:
        """sha256 per row: equal for bit-equal pictures (arrays) or files."""
        if self._hashes is None:
            items: Sequence = self.array if self.array is not None else self.paths.tolist()  # type: ignore[assignment,union-attr]
            self._hashes = np.array(_in_threads(_hash, items), object)
        return self._hashes

    def fingerprint(self) -> str:
        """sha256 over all rows."""
        return hashlib.sha256("".join(self.hashes().tolist()).encode()).hexdigest()

    def pack(self, shape: tuple[int, ...], cache: Path | None = None) -> np.ndarray:
        """uint8 (rows, channels, height, width): each picture resized to cover the frame and cropped around its centre.

        With a cache folder the result is written once, aside and renamed, and mapped into memory from then on.
        """
        if self.array is not None and self.array.shape[1:] == (shape[1], shape[2], shape[0]):
            return np.ascontiguousarray(self.array.transpose(0, 3, 1, 2))
        if cache is None:
            return self._fill(np.empty((len(self), *shape), np.uint8))
        name = hashlib.sha256(f"{self.fingerprint()} {shape} 1".encode()).hexdigest()[:32]
        path = cache / f"{name}.npy"
        if not path.exists():
            cache.mkdir(parents=True, exist_ok=True)
            aside = cache / f"{name}.{os.getpid()}.new"
            packed = np.lib.format.open_memmap(aside, "w+", np.uint8, (len(self), *shape))
            self._fill(packed)
            packed.flush()
            del packed
            os.replace(aside, path)
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def _fill(self, packed: np.ndarray) -> np.ndarray:
        _, channels, height, width = packed.shape

        def one(row: int) -> None:
            packed[row] = fit(self._small(row, max(height, width)), height, width, channels).transpose(2, 0, 1)

        _in_threads(one, range(len(self)))
        return packed

    def _small(self, row: int, side: int) -> np.ndarray:
        """A row, decoded at a fraction of its size where the format allows that and the net needs no more."""
        return self.array[row] if self.array is not None else decode(Path(self.paths[row]), side)  # type: ignore[index]


def _in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """function of every item, in order, on all cores (Pillow and hashing let other threads run)."""
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(function, items))


def decode(path: Path, side: int | None = None) -> np.ndarray:
    """uint8 (height, width, 1|3) of a picture file: JPEG, PNG, WebP, BMP, GIF (first frame), TIFF, whatever its suffix.

    16-bit pictures keep their upper byte, 32-bit ones are stretched from least to largest. A JPEG may come smaller, but
    its shorter side no less than `side`. Raises DataError naming the file and what is wrong with it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                _check_size(path, image)
                if side and image.format == "JPEG":
                    image.draft(None, (2 * side, 2 * side))
                image.load()
                return _pixels(ImageOps.exif_transpose(image))
    except DataError:
        raise
    except Exception as error:  # a decoder fails on damaged bytes in more ways than can be listed
        raise DataError(f"{path} {_reason(path, error)}.") from None


def _check_size(path: Path, image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(
            f"{path} has {image.width}x{image.height} pixels, over the limit of {MAX_PIXELS:,}; make it smaller."
        )


def _reason(path: Path, error: Exception) -> str:
    """What is wrong with a file that could not be decoded."""
    if isinstance(error, PermissionError):
        return "cannot be read: permission denied"
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, Image.DecompressionBombError):
        return f"has more pixels than the limit of {MAX_PIXELS:,}"
    if path.exists() and path.stat().st_size == 0:
        return "is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError):
        return "is not a picture, whatever its name says"
    return f"is truncated or damaged ({str(error).split(chr(10))[0][:80]})"


def _pixels(image: Image.Image) -> np.ndarray:
    """uint8 (height, width, 1|3) of any mode of Pillow."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _bytes(np.array(image)[None, ..., None])[0]
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        grey = image.mode in ("LA", "La", "L")
        over = _over_white(np.array(image.convert("RGBA"))[None])[0]
        return over[..., :1] if grey else over
    if image.mode != "L":
        image = image.convert("RGB")
    array = np.array(image)
    return array[..., None] if array.ndim == 2 else array


def _bytes(array: np.ndarray) -> np.ndarray:
    """uint8 values of pictures of any number type, by the rule of Pictures.of_array."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype.kind not in "iuf":
        raise DataError(f"pictures must be numbers, not {array.dtype}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))[0])
        raise DataError(f"picture {row} holds NaN or inf; replace these values.")
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 1.0)
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.round(array * 255).astype(np.uint8)
    if low >= 0 and high <= 255:
        return np.round(array).astype(np.uint8)
    if low >= 0 and high <= 65_535 and array.dtype.kind in "iu":
        return (array.astype(np.uint32) >> 8).astype(np.uint8)
    return np.round((array.astype(np.float64) - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)


def _over_white(array: np.ndarray) -> np.ndarray:
    """RGBA (..., 4) -> RGB (..., 3), transparent parts white."""
    alpha = array[..., 3:].astype(np.uint16)
    return ((array[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _is_grey(array: np.ndarray) -> bool:
    return array.shape[2] == 1 or bool((array[..., :1] == array[..., 1:]).all())


def _hash(item: np.ndarray | str) -> str:
    if isinstance(item, str):
        with open(item, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(np.ascontiguousarray(item).tobytes()).hexdigest()


def _size(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return (image.width, image.height) if turned else (image.height, image.width)


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
