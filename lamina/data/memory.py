"""memory: what a Python program holds: arrays, tensors, torch datasets, pandas and polars frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Field, Reading, Table

FORMS = "arrays x or (x, y), a dict of arrays, a pandas or polars frame, tensors, or a dataset of (x, y)"


def claims(source: Any) -> bool:
    """Claims arrays, tuples and dicts of arrays, frames, tensors and map-style datasets."""
    if isinstance(source, np.ndarray) or _is_frame(source) or _is_tensor(source):
        return True
    if isinstance(source, tuple):
        return len(source) == 2 and all(isinstance(p, np.ndarray | list) or _is_tensor(p) for p in source)
    if isinstance(source, dict):
        return bool(source) and all(isinstance(v, np.ndarray | list) or _is_tensor(v) for v in source.values())
    return hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, str | bytes | list)


def read(source: Any, reading: Reading) -> Table:
    """Arrays of 3 or 4 axes are pictures, of 2 axes columns x0, x1 ...; y of whole numbers or text is a label, else a number.

    Raises DataError for shapes that do not fit.
    """
    if _is_frame(source):
        return _of_frame(source, reading, "frame")
    if isinstance(source, dict):
        return _of_dict(source, reading)
    if isinstance(source, tuple):
        return of_arrays(_array(source[0]), _array(source[1]), reading, "arrays")
    if isinstance(source, np.ndarray) or _is_tensor(source):
        return of_arrays(_array(source), None, reading, "array")
    return _of_dataset(source, reading)


def _module(source: Any) -> str:
    return type(source).__module__.split(".")[0]


def _is_frame(source: Any) -> bool:
    return _module(source) in ("pandas", "polars") and hasattr(source, "columns")


def _is_tensor(source: Any) -> bool:
    return _module(source) == "torch" and hasattr(source, "detach")


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if _is_tensor(value) else np.asarray(value)


def _of_frame(frame: Any, reading: Reading, source: str) -> Table:
    from lamina.data.table import of_frame

    copied = frame.to_pandas() if _module(frame) == "polars" else frame.copy(deep=False)
    names = np.array([f"row {i}" for i in range(len(copied))], object)
    return of_frame(copied, reading, source, "memory", names)


def _of_dict(source: dict[str, Any], reading: Reading) -> Table:
    import pandas as pd

    arrays = {str(k): _array(v) for k, v in source.items()}
    lengths = {k: len(v) for k, v in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"the arrays differ in length: {', '.join(f'{k} {n}' for k, n in lengths.items())}.")
    flat = {k: v for k, v in arrays.items() if v.ndim == 1}
    pictures = {k: v for k, v in arrays.items() if v.ndim >= 3}
    wide = {f"{k}{i}": v[:, i] for k, v in arrays.items() if v.ndim == 2 for i in range(v.shape[1])}
    names = np.array([f"row {i}" for i in range(next(iter(lengths.values())))], object)
    if flat or wide:
        table = _of_frame(pd.DataFrame({**flat, **wide}), reading, "arrays")
    else:
        table = Table({}, "arrays", "memory", names, reading.target, tried=len(names))
    for name, array in pictures.items():
        table = table.with_column(Column(Field(name, "image"), Pictures.of_array(array)))
    return table


def of_arrays(x: np.ndarray, y: np.ndarray | None, reading: Reading, source: str) -> Table:
    """A table of inputs x and, when given, a target y of the same length."""
    if y is not None and len(x) != len(y):
        raise DataError(f"x has {len(x)} rows and y has {len(y)}; they must be the same.")
    if x.dtype == object:
        raise DataError(f"x holds objects; bring {FORMS}.")
    names = np.array([f"row {i}" for i in range(len(x))], object)
    columns: dict[str, Column] = {}
    if x.ndim >= 3:
        columns["image"] = Column(Field("image", "image"), Pictures.of_array(x))
    elif x.ndim in (1, 2):
        values = x[:, None] if x.ndim == 1 else x
        for i in range(values.shape[1]):
            columns[f"x{i}"] = Column(Field(f"x{i}", "number"), _finite(values[:, i], f"x{i}"))
    else:
        raise DataError(f"x must have 1 to 4 axes, not {x.ndim}.")
    table = Table(columns, source, "memory", names, tried=len(x))
    return table if y is None else _with_target(table, y)


def _finite(values: np.ndarray, name: str) -> np.ndarray:
    """float64 with NaN for missing; inf is an error, since an array has no note of what was meant."""
    values = values.astype(np.float64)
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise DataError(f"{name} is inf in row {row}; replace it, or use NaN for a missing value.")
    return values


def _with_target(table: Table, y: np.ndarray) -> Table:
    import pandas as pd

    from lamina.data._columns import _label

    if y.ndim == 2 and y.shape[1] > 1 and set(np.unique(y)) <= {0, 1}:
        field = Field("class", "labels", tuple(str(i) for i in range(y.shape[1])))
        return table.with_column(Column(field, y.astype(np.uint8))).with_(target="class")
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1:
        raise DataError(f"y must hold one value per row, or 0 and 1 per row and label, not the shape {y.shape}.")
    if y.dtype.kind == "f":
        return table.with_column(Column(Field("target", "number"), _finite(y, "target"))).with_(target="target")
    return table.with_column(_label("class", pd.Series(y))).with_(target="class")


def _of_dataset(source: Any, reading: Reading) -> Table:
    if not len(source):
        raise DataError("the dataset is empty.")
    pairs = [source[i] for i in range(len(source))]
    if not isinstance(pairs[0], tuple | list) or len(pairs[0]) != 2:
        raise DataError(f"a dataset must give (x, y) per row, not {type(pairs[0]).__name__}; or bring {FORMS}.")
    xs = [_array(p[0]) for p in pairs]
    if len({x.shape for x in xs}) > 1:
        raise DataError("the inputs of the dataset differ in shape; resize them, or bring a folder of pictures.")
    table = of_arrays(np.stack(xs), np.array([np.asarray(_array(p[1])) for p in pairs]), reading, type(source).__name__)
    classes = getattr(source, "classes", None)
    target = table[table.target or ""]
    if classes and target.field.kind == "label" and all(int(c) < len(classes) for c in target.field.classes):
        named = tuple(str(classes[int(c)]) for c in target.field.classes)
        table = table.with_column(Column(Field("class", "label", named), target.values))
    return table
