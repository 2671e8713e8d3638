"""idx: files of the MNIST family (LeCun 1998, http://yann.lecun.com/exdb/mnist), gzipped or plain, with their labels."""

from __future__ import annotations

import contextlib
import gzip
import math
import re
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data._pictures import Pictures
from lamina.data._table import TEST, TRAIN, Column, Field, Reading, Table

PARTS = {"train": TRAIN, "t10k": TEST, "test": TEST}
NAME = re.compile(r"(?:(?P<set>.*?)-?(?P<part>train|t10k|test)-)?.*images-idx3-ubyte")  # of a key, see _key
MOST = 1 << 33  # bytes of one file, unpacked
PACKED = 1_032  # the most that a byte of gzip unpacks to (RFC 1951: 258 bytes from two bits)
STEP = 1 << 24  # bytes read at once


def claims(source: Any) -> bool:
    """Claims a folder with files such as train-images-idx3-ubyte.gz or train-images.idx3-ubyte, or one such file."""
    try:
        return isinstance(source, Path) and bool(_images(source))
    except PermissionError:
        return False


def read(source: Any, reading: Reading) -> Table:
    """Pictures (height, width) grey and classes "0", "1" ...; train and t10k files are the train and test splits.

    Raises DataError naming the file when it is damaged or pictures and labels differ in number.
    """
    paths = _images(source)
    if not paths:
        raise DataError(f"{source} holds no IDX pictures such as train-images-idx3-ubyte.gz.")
    _check_one_set(source, paths)
    pictures, labels, splits, names = [], [], [], []
    for path in paths:
        image, label = _pair(path, needs_labels=len(paths) > 1)
        if pictures and image.shape[1:] != pictures[0].shape[1:]:
            sizes = f"{_size(pictures[0])} in {paths[0].name} and {_size(image)} in {path.name}"
            raise DataError(f"the pictures of {source} differ in size: {sizes}; keep one of the files.")
        part = _part(path)[1]
        pictures.append(image)
        labels += [] if label is None else [label]
        names += [f"{part or path.name} {i}" for i in range(len(image))]
        splits.append(np.full(len(image), PARTS.get(part, TRAIN), np.int8))
    columns = {"image": Column(Field("image", "image"), Pictures.of_array(np.concatenate(pictures)))}
    table = Table(columns, str(source), "idx", np.array(names, object), tried=len(names))
    if len(paths) > 1:
        table = table.with_(split=np.concatenate(splits), split_rule="the files' own train and test parts")
    if not labels:
        return table.noted(f"No file of labels stands beside {paths[0].name}: the pictures can be asked about.")
    used, codes = np.unique(np.concatenate(labels), return_inverse=True)
    field = Field("class", "label", tuple(str(c) for c in used))
    return table.with_column(Column(field, codes.astype(np.int64))).with_(target="class")


def _key(path: Path) -> str:
    """The name of a file without the ways in which it is written: case, dots for hyphens, .gz."""
    return path.name.lower().removesuffix(".gz").replace(".", "-")


def _part(path: Path) -> tuple[str, str]:
    """Name of the data set ("" of MNIST itself, "emnist-letters") and of the part (train, t10k, test)."""
    match = NAME.fullmatch(_key(path))
    return (match["set"] or "", match["part"] or "") if match else ("", "")


def _images(source: Path) -> list[Path]:
    """Files of pictures in a folder, or the file itself; the plain one where a gzipped one stands beside it."""
    if not source.is_dir():
        return [source] if NAME.fullmatch(_key(source)) and source.is_file() else []
    found = {_key(p): p for p in _plain_last(source) if NAME.fullmatch(_key(p))}
    return [found[key] for key in sorted(found)]


def _plain_last(folder: Path) -> list[Path]:
    return sorted((p for p in folder.iterdir() if p.is_file()), key=lambda p: (p.suffix.lower() != ".gz", p.name))


def _check_one_set(source: Path, paths: list[Path]) -> None:
    sets = sorted({_part(p)[0] for p in paths})
    if len(sets) > 1:
        named = ", ".join(name or "mnist" for name in sets[:6])
        raise DataError(
            f"{source} holds {len(sets)} data sets ({named}); put the files of one into a folder of its own."
        )


def _pair(path: Path, needs_labels: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """The pictures of a file and, when there are any beside it, their labels."""
    image = _array(path, 3)
    key = _key(path).replace("images-idx3", "labels-idx1")
    beside = [p for p in _plain_last(path.parent) if _key(p) == key]
    if not beside and needs_labels:
        raise DataError(f"{path} has no labels beside it ({key} is missing).")
    if not beside:
        return image, None
    label = _array(beside[-1], 1)
    if len(label) != len(image):
        raise DataError(f"{path} holds {len(image)} pictures, but {beside[-1].name} holds {len(label)} labels.")
    return image, label


def _size(pictures: np.ndarray) -> str:
    return f"{pictures.shape[1]}x{pictures.shape[2]}"


def _array(path: Path, axes: int) -> np.ndarray:
    """uint8 array of an IDX file: two zero bytes, type 8, number of axes, sizes as big-endian int32, then the values."""
    try:
        with open(path, "rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"  # some browsers unpack a .gz and keep its name
            most = file.seek(0, 2) * (PACKED if is_packed else 1)
            file.seek(0)
            with gzip.open(file) if is_packed else contextlib.nullcontext(file) as values:
                return _values(path, values, axes, min(most, MOST))  # type: ignore[arg-type]
    except PermissionError:
        raise DataError(f"{path} cannot be read: permission denied.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged ({error}).") from None


def _values(path: Path, file: IO[bytes], axes: int, most: int) -> np.ndarray:
    """The array behind a header; never more than the header names is read, nor room made for more than `most` bytes."""
    head = file.read(4 + 4 * axes)
    if len(head) < 4 + 4 * axes or head[:3] != b"\x00\x00\x08" or head[3] != axes:
        raise DataError(f"{path} is not an IDX file of bytes with {axes} axes; its first bytes are {head[:4].hex()}.")
    shape = [int(n) for n in np.frombuffer(head, ">i4", axes, 4)]
    count = math.prod(shape)
    if min(shape) < 1 or count > MOST:
        raise DataError(f"{path} claims the sizes {shape}; it is damaged.")
    made, held = np.empty(min(count, most), np.uint8), 0
    while held < len(made) and (got := file.readinto(made[held : held + STEP].data)):  # type: ignore[attr-defined]
        held += got
    if held < count or file.read(1):
        what = "more" if held == count else f"only {held:,}"
        raise DataError(f"{path} should hold {count:,} values after its header and holds {what}; it is damaged.")
    return made.reshape(shape)
