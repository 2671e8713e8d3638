"""idx: files of the MNIST family (LeCun 1998, http://yann.lecun.com/exdb/mnist), gzipped or plain, with their labels."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data._pictures import Pictures
from lamina.data._table import TEST, TRAIN, Column, Field, Reading, Table

PARTS = {"train": TRAIN, "t10k": TEST, "test": TEST}


def claims(source: Any) -> bool:
    """Claims a folder with files such as train-images-idx3-ubyte.gz, or one such file."""
    if not isinstance(source, Path):
        return False
    return bool(_images(source)) if source.is_dir() else source.is_file() and _is_images(source)


def read(source: Any, reading: Reading) -> Table:
    """Pictures (height, width) grey and classes "0", "1" ...; train and t10k files are the train and test splits.

    Raises DataError naming the file when it is damaged or pictures and labels differ in number.
    """
    paths = _images(source) if source.is_dir() else [source]
    pictures, labels, splits, names = [], [], [], []
    for path in paths:
        image = _array(path, 3)
        pair = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
        part = next((p for p in PARTS if path.name.startswith(p)), "")
        pictures.append(image)
        names += [f"{part or path.name} {i}" for i in range(len(image))]
        splits.append(np.full(len(image), PARTS.get(part, TRAIN), np.int8))
        if not pair.is_file():
            if len(paths) > 1:
                raise DataError(f"{path} has no labels beside it ({pair.name} is missing).")
            continue
        label = _array(pair, 1)
        if len(label) != len(image):
            raise DataError(f"{path} holds {len(image)} pictures, but {pair.name} holds {len(label)} labels.")
        labels.append(label)
    if len({p.shape[1:] for p in pictures}) > 1:
        raise DataError(f"the files of {source} hold pictures of different sizes.")
    split = np.concatenate(splits)
    columns = {"image": Column(Field("image", "image"), Pictures.of_array(np.concatenate(pictures)))}
    table = Table(columns, str(source), "idx", np.array(names, object), tried=len(names))
    if len(paths) > 1:
        table = table.with_(split=split, split_rule="the files' own train and test parts")
    if not labels:
        return table
    used, codes = np.unique(np.concatenate(labels), return_inverse=True)
    field = Field("class", "label", tuple(str(c) for c in used))
    return table.with_column(Column(field, codes.astype(np.int64))).with_(target="class")


def _is_images(path: Path) -> bool:
    name = path.name.removesuffix(".gz")
    return "images" in name and name.endswith(("idx3-ubyte", "idx3.ubyte"))


def _images(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.iterdir() if p.is_file() and _is_images(p))
    plain = {p.name for p in found}
    return [p for p in found if not (p.suffix == ".gz" and p.name.removesuffix(".gz") in plain)]


def _array(path: Path, axes: int) -> np.ndarray:
    """uint8 array of an IDX file: two zero bytes, type 8, number of axes, sizes as big-endian int32, then the values."""
    try:
        opener = gzip.open(path) if path.suffix == ".gz" else open(path, "rb")
        with opener as file:
            head = file.read(4 + 4 * axes)
            if len(head) < 4 + 4 * axes or head[:3] != b"\x00\x00\x08" or head[3] != axes:
                raise DataError(
                    f"{path} is not an IDX file of bytes with {axes} axes; its first bytes are {head[:4].hex()}."
                )
            shape = [int(n) for n in np.frombuffer(head, ">i4", axes, 4)]
            if min(shape) < 0 or math.prod(shape) > 1 << 34:
                raise DataError(f"{path} claims the sizes {shape}; it is damaged.")
            count = math.prod(shape)
            values = file.read(count + 1)
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, PermissionError):
            raise DataError(f"{path} cannot be read: permission denied.") from None
        raise DataError(f"{path} is truncated or damaged ({error}).") from None
    if len(values) != count:
        what = "more" if len(values) > count else f"only {len(values):,}"
        raise DataError(f"{path} should hold {count:,} values after its header and holds {what}; it is damaged.")
    return np.frombuffer(values, np.uint8).reshape(shape)
