"""numpy: .npz and .npy files; the names x_train, y_train, x_test, y_test and their relatives are understood."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data import memory
from lamina.data._table import TEST, TRAIN, VALIDATION, Reading, Table

INPUTS = ("x", "images", "image", "data", "inputs", "features")
TARGETS = ("y", "labels", "label", "target", "targets", "class", "classes")
PARTS = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}


def claims(source: Any) -> bool:
    """Claims .npz and .npy files."""
    return isinstance(source, Path) and source.is_file() and source.suffix.lower() in (".npz", ".npy")


def read(source: Any, reading: Reading) -> Table:
    """Inputs and targets by their names in the file; x_train and x_test give the split.

    Raises DataError for objects (they would run code), damaged files and names that are not understood.
    """
    try:
        loaded = np.load(source, allow_pickle=False)
        arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else {k: loaded[k] for k in loaded.files}
    except ValueError as error:
        why = "it holds Python objects, which are never loaded" if "allow_pickle" in str(error) else str(error)
        raise DataError(f"{source} cannot be read: {why}.") from None
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{source} is damaged or not a NumPy file ({error}).") from None
    found: dict[int | None, dict[str, np.ndarray]] = {}
    for name, array in sorted(arrays.items(), key=lambda item: _meaning(item[0])[0] != "x"):  # inputs first
        role, part = _meaning(name)
        known = found.setdefault(part, {}) if role else {}
        fits = "x" in known and array.shape[:1] == known["x"].shape[:1]  # the names of the classes do not
        if role and (role not in known or fits):
            known[role] = array
    parts = {p: v for p, v in found.items() if "x" in v}
    if not parts:
        raise DataError(
            f"{source} holds {', '.join(arrays)}; name the inputs x (or x_train, images, data) and the target y."
        )
    x = np.concatenate([v["x"] for v in parts.values()])
    has_target = all("y" in v for v in parts.values())
    y = np.concatenate([v["y"] for v in parts.values()]) if has_target else None
    table = memory.of_arrays(x, y, reading, str(source)).with_(reader="numpy")
    if len(parts) > 1 and None not in parts:
        split = np.concatenate([np.full(len(v["x"]), p, np.int8) for p, v in parts.items()])
        table = table.with_(split=split, split_rule="the file's own parts")
    return table


def _meaning(name: str) -> tuple[str | None, int | None]:
    """("x" or "y", split) of an array's name: x_train, train_images, y, labels ..."""
    words = name.lower().replace("-", "_").split("_")
    part = next((PARTS[w] for w in words if w in PARTS), None)
    rest = [w for w in words if w not in PARTS]
    role = "x" if any(w in INPUTS for w in rest) else "y" if any(w in TARGETS for w in rest) else None
    return role, part
