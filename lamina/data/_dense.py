"""Values per pixel: masks (a class per pixel) and maps of float values such as depth. Both are kept as Pictures are.

They are brought to a frame as the pictures beside them are (stretched, or cropped around the centre), but every pixel keeps
a value that was there: the nearest one, never a mean of two classes or of two depths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _decode, _store
from lamina.data._index import Index
from lamina.data._pictures import Pictures
from lamina.data._table import IGNORE


def raw(path: Path) -> np.ndarray:
    """uint32 (height, width): what a mask file holds: palette indices, grey values, or colours as 0xRRGGBB. Raises DataError."""
    try:
        with _decode._opened(path) as image:
            if image.mode in ("P", "1", "L", "I", "I;16", "I;16B"):
                return np.asarray(image).astype(np.uint32)
            if image.mode in ("LA", "La"):
                return np.asarray(image)[..., 0].astype(np.uint32)
            rgb = np.asarray(image.convert("RGB")).astype(np.uint32)
    except DataError:
        raise
    except Exception as error:  # Pillow fails on damaged files in more ways than can be listed
        raise DataError(f"{path} {_decode.reason(path, error)}.") from None
    return rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]


def is_coloured(path: Path) -> bool:
    """Whether a mask file holds colours, not indices or grey values. Raises DataError."""
    try:
        with _decode._opened(path) as image:
            return image.mode not in ("P", "1", "L", "I", "I;16", "I;16B", "LA", "La")
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path} {_decode.reason(path, error)}.") from None


def is_deep(path: Path) -> bool:
    """Whether a picture file holds 16-bit or float values of one channel; False for one that cannot be read."""
    try:
        with _decode._opened(path) as image:
            return image.mode in ("I", "I;16", "I;16B", "F")
    except Exception:  # said elsewhere
        return False


def _deep(path: Path) -> np.ndarray:
    """The values of a picture file of one channel. Raises DataError."""
    try:
        with _decode._opened(path) as image:
            return np.asarray(image).astype(np.float32)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path} {_decode.reason(path, error)}.") from None


def nearest(values: np.ndarray, height: int, width: int, fit: str = "stretch") -> np.ndarray:
    """(h, w, ...) -> (height, width, ...): the value at each pixel's centre; "crop": of the largest centred box of these proportions."""
    tall, wide = values.shape[:2]
    high, broad = float(tall), float(wide)
    if fit == "crop":
        high, broad = min(high, wide * height / width), min(broad, tall * width / height)
    y = ((tall - high) / 2 + (np.arange(height) + 0.5) * high / height).astype(int).clip(0, tall - 1)
    x = ((wide - broad) / 2 + (np.arange(width) + 0.5) * broad / width).astype(int).clip(0, wide - 1)
    return values[y[:, None], x[None, :]]


class Masks(Pictures):
    """Rows of masks: uint8 codes (rows, height, width, 1), or files whose values stand for codes; IGNORE where there is no class.

    values: what the files hold, rising; codes: the class of each; both None where files hold the codes themselves.
    """

    def __init__(
        self,
        array: np.ndarray | None,
        paths: np.ndarray | None,
        values: Sequence[int] | None = None,
        codes: Sequence[int] | None = None,
    ) -> None:
        if array is not None and (array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 1):
            raise DataError(f"masks must be uint8 (rows, height, width, 1), not {array.dtype} {array.shape}.")
        super().__init__(array, paths)
        known = np.arange(256) if values is None else np.array(values, np.int64)
        order = np.argsort(known)
        self.values = known[order].astype(np.uint32)
        self.codes = (known if codes is None else np.array(codes))[order].astype(np.uint8)

    @classmethod
    def of_files(
        cls, paths: Iterable[Path], values: Sequence[int] | None = None, codes: Sequence[int] | None = None
    ) -> Masks:
        """Masks in files, decoded when they are needed; a value that is not among `values` becomes IGNORE."""
        return cls(None, np.array([str(p) for p in paths], object), values, codes)

    @classmethod
    def of_array(cls, array: np.ndarray) -> Masks:
        """uint8 codes (rows, height, width). Raises DataError for another type or shape."""
        return cls(array[..., None] if array.ndim == 3 else array, None)

    def take(self, rows: np.ndarray) -> Masks:
        """The masks of these rows."""
        return self._with(super().take(rows))

    def _with(self, taken: Pictures) -> Masks:
        made = Masks(taken.array, taken.paths, self.values.tolist(), self.codes.tolist())
        made._hashes, made._entries, made._headers = taken._hashes, taken._entries, taken._headers
        return made

    def recoded(self, codes: np.ndarray) -> Masks:
        """The masks with uint8 codes[code] in the place of each code; `codes` has 256 entries."""
        made = self._with(self)
        made.codes = codes[self.codes].astype(np.uint8)
        return made

    def open(self, row: int, side: int | None = None) -> np.ndarray:
        """uint8 (height, width, 1) codes of a row in full size. Raises DataError."""
        if self.array is not None:
            return self._coded(self.array[row])
        return self._coded(raw(Path(self.paths[row]))[..., None])

    def _coded(self, found: np.ndarray) -> np.ndarray:
        place = np.searchsorted(self.values, found).clip(max=len(self.values) - 1)
        return np.where(self.values[place] == found, self.codes[place], np.uint8(IGNORE))

    def channels(self) -> int:
        return 1

    def hashes(self, index: Index | None = None) -> np.ndarray:
        """sha256 per row of the content and of what it stands for."""
        how = hashlib.sha256(self.values.tobytes() + self.codes.tobytes()).hexdigest()[:16]
        return np.array([how + h for h in super().hashes(index)], object)

    def framed(self, row: int, shape: tuple[int, ...], fit: str) -> np.ndarray:
        """uint8 (1, height, width) codes of a row in the frame."""
        return nearest(self.open(row), shape[1], shape[2], fit).transpose(2, 0, 1)

    def pack(self, shape: tuple[int, ...], cache: Path | None = None, fit: str = "crop") -> np.ndarray:
        """uint8 (rows, 1, height, width) codes in the frame; packed once into the cache folder. Raises DataError."""
        return _store.pack(self, (1, *shape[1:]), cache, fit)


class Floats(Pictures):
    """Rows of float values per pixel: float32 (rows, height, width, 1), or files: .npy (height, width), 16-bit or float pictures.

    NaN where unknown.
    """

    @classmethod
    def of_files(cls, paths: Iterable[Path]) -> Floats:
        """Values in files, read when they are needed."""
        return cls(None, np.array([str(p) for p in paths], object))

    @classmethod
    def of_array(cls, array: np.ndarray) -> Floats:
        """(rows, height, width) of any float type; a memory-mapped one stays on disk."""
        array = array[..., None] if array.ndim == 3 else array
        if array.ndim != 4 or array.shape[3] != 1 or array.dtype.kind != "f":
            raise DataError(f"float pictures must be (rows, height, width), not {array.dtype} {array.shape}.")
        return cls(array, None)

    def take(self, rows: np.ndarray) -> Floats:
        """The pictures of these rows."""
        taken = super().take(rows)
        made = Floats(taken.array, taken.paths)
        made._hashes, made._entries = taken._hashes, taken._entries
        return made

    def open(self, row: int, side: int | None = None) -> np.ndarray:
        """float32 (height, width, 1) of a row in full size. Raises DataError."""
        if self.array is not None:
            return np.asarray(self.array[row], np.float32)
        path = Path(self.paths[row])
        try:
            found = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _deep(path)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path} is no array that can be read ({str(error)[:80]}).") from None
        found = found[..., None] if found.ndim == 2 else found
        if found.ndim != 3 or found.shape[2] != 1 or found.dtype.kind not in "fiu":
            raise DataError(f"{path} must hold (height, width) numbers, not {found.dtype} {found.shape}.")
        return found.astype(np.float32)

    def sizes(self) -> np.ndarray:
        if self.array is not None:
            return super().sizes()
        return np.array([self.open(i).shape[:2] for i in range(len(self))], int).reshape(-1, 2)

    def channels(self) -> int:
        return 1

    def framed(self, row: int, shape: tuple[int, ...], fit: str) -> np.ndarray:
        """uint8 (1, height, 4 width): the bytes of float32 values in the frame."""
        found = nearest(self.open(row), shape[1], shape[2] // 4, fit).transpose(2, 0, 1)
        return np.ascontiguousarray(found).view(np.uint8)

    def pack(self, shape: tuple[int, ...], cache: Path | None = None, fit: str = "crop") -> np.ndarray:
        """float32 (rows, 1, height, width) in the frame; packed once into the cache folder. Raises DataError."""
        return _store.pack(self, (1, shape[1], 4 * shape[2]), cache, fit).view(np.float32)
