"""Model: a trained net that is served: opened once, its rows answered alone or several at once, with the same bits.

A product of matrices may add in another order when it has more rows, so a batch may answer otherwise than a row alone, in the last
bit. Which sizes of batch answer alike is measured when a model is opened: every row of a batch of each size must have the bits
of the row asked alone. Only such sizes are used, filled up with rows whose answers nobody gets; a net that has none answers
row by row.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.answers import told
from lamina.core.errors import SettingError
from lamina.data._asked import Sent
from lamina.data._decode import decode
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Field, Table
from lamina.serving import _rows
from lamina.serving._rows import Row

SIZES = (2, 4, 8, 16, 32, 64)
ROWS = 8  # that are asked alone, to compare with
PROVING = 2.0  # seconds that a proof may take
GATHERED = ("image", "number", "date", "label")  # kinds of column whose rows have one shape


class Model:
    """One served net. `name` in addresses; `sizes` of batches that answer to the bit as rows alone, ascending, 1 first."""

    def __init__(self, name: str, path: Path, opened: Any, most: int = 64) -> None:
        self.name, self.path, self.opened = name, path, opened
        found = opened.columns if hasattr(opened, "columns") else (opened.inputs, opened.target)
        self.inputs: tuple[Field, ...] = tuple(found[0])
        self.target: Field = found[1]
        self.task: str = _about(opened, "task")
        self.net: str = _about(opened, "net")
        self.writes = hasattr(getattr(opened, "task", None), "write")
        self.asks = self._by_itself("asked")
        """whether its task reads a text by itself"""
        self.sizes, self.row_seconds, self.read_seconds = (1,), 0.0, PROVING
        self.gathers = self._plain() and alike(self)
        """whether rows of several requests can be answered together"""
        if self.gathers:
            self.sizes, seconds = proven(self, most)
            self.row_seconds = seconds + self.read_seconds
        self.light = self.gathers and hasattr(opened, "session")
        """whether a quick batch may be answered in any thread; torch's settings are those of the thread"""

    def _plain(self) -> bool:
        """Whether all rows have one shape, and are answered by the plain way."""
        if any(f.kind not in GATHERED for f in self.inputs) or not hasattr(self.opened, "outputs"):
            return False
        if getattr(self.opened, "given", ("",))[0] in (
            "mask",
            "picture",
            "values",
        ):  # answered in the picture's own size
            return False
        return not self.asks and not self._by_itself("placed")

    def _by_itself(self, method: str) -> bool:
        """Whether the task has a way of its own of what `Task` does; an ONNX file has no task."""
        task = getattr(self.opened, "task", None)
        if task is None:
            return False
        from lamina.tasks._task import Task

        return getattr(type(task), method) is not getattr(Task, method)

    def read(self, row: Row) -> Table:
        """One row as columns that the net can be given: pictures decoded, and in the frame where the net wants one. Raises DataError."""
        table = _rows.table([row], self.inputs)
        table = table.conform(self.inputs)
        for field in self.inputs:
            values = table[field.name].values
            if not isinstance(values, Pictures):
                continue
            side = max(field.shape[1:])
            if hasattr(self.opened, "session"):  # an ONNX file resizes by itself
                pixels = values.open(0, side)[None]
            else:
                pixels = np.ascontiguousarray(values.framed(0, field.shape, field.fit))[None].transpose(0, 2, 3, 1)
            table = table.with_column(Column(field, Pictures(pixels, None)))
        return table

    def kind(self, table: Table) -> tuple:
        """Rows of one kind can be answered together."""
        return tuple(
            v.array.shape
            for f in self.inputs
            if isinstance(v := table[f.name].values, Pictures) and v.array is not None
        )

    def fitting(self, rows: int) -> int:
        """How many of so many waiting rows to answer at once: the largest size of batch, or a fuller one with few rows for nothing."""
        over = next((s for s in self.sizes if s >= rows), self.sizes[-1])
        under = max(s for s in self.sizes if s <= max(1, rows))
        return over if rows >= 0.8 * over else under

    def notes(self, table: Table) -> list[str]:
        """What was not understood of a row that was read."""
        return [f"{b.where}: {b.why}" for b in table.bad]

    def together(self, tables: Sequence[Table]) -> list[Any]:
        """One answer per table of one row, all of one kind: at most as many as the largest of `sizes`."""
        rows = len(tables)
        size = next((s for s in self.sizes if s >= rows), 0)
        if not size:
            return [answer for table in tables for answer in self.together([table])]
        return self._told(self._outputs([*tables, *[tables[-1]] * (size - rows)]))[:rows]

    def _outputs(self, tables: Sequence[Table]) -> dict[str, np.ndarray]:
        return self.opened.outputs(stacked(tables, self.inputs))

    def _told(self, outputs: dict[str, np.ndarray]) -> list[Any]:
        task = getattr(self.opened, "task", None)
        if task is not None:
            return task.answers_of(outputs)
        return told(outputs, self.opened.classes, self.opened.content["threshold"])

    def answers(self, rows: Sequence[Row]) -> tuple[list[tuple[str, Any]], list[tuple[str, str]]]:
        """(name, answer) of rows that came in one request, and (where, why): what `lamina ask` gives for them. Raises LaminaError."""
        texts = [row.values[self.inputs[0].name] for row in rows]
        if self.asks and all(isinstance(t, Sent) for t in texts):
            return self.opened.answers(*texts)
        return self.opened.answers(_rows.table(rows, self.inputs))

    def outputs(self, rows: Sequence[Row]) -> dict[str, np.ndarray]:
        """What the net gives for rows, as arrays: "probabilities" (rows, classes), "answer" (rows,) ..."""
        return self.opened.outputs(_rows.table(rows, self.inputs))


class Pictured(Model):
    """An ONNX file that reads one picture a row: its pixels go to onnxruntime without a table around them."""

    def read(self, row: Row) -> Any:
        """uint8 (height, width, 1|3)."""
        value = row.values[self.inputs[0].name]
        if isinstance(value, _rows.Encoded) and value.decoded is not None:
            return value.decoded
        return decode(value, max(self.inputs[0].shape[1:])) if isinstance(value, bytes) else value

    def kind(self, table: Any) -> tuple:
        return table.shape

    def notes(self, table: Any) -> list[str]:
        return []

    def _outputs(self, tables: Sequence[Any]) -> dict[str, np.ndarray]:
        given = {self.opened.names[self.inputs[0].name]: np.stack(tables)}
        return dict(zip(self.opened.given, self.opened.session.run(self.opened.given, given), strict=True))


def _about(opened: Any, name: str) -> str:
    plan = getattr(opened, "plan", None)
    return getattr(plan, name) if plan is not None else opened.content[name]


def stacked(tables: Sequence[Table], inputs: Sequence[Field]) -> Table:
    """Tables of one row each as one table. Pictures must have one size.

    They lie in memory channel by channel, as those of files do: torch chooses how it adds by that too.
    """
    columns = {}
    for field in inputs:
        values = [t[field.name].values for t in tables]
        if isinstance(values[0], Pictures):
            planes = np.concatenate([v.array.transpose(0, 3, 1, 2) for v in values])
            columns[field.name] = Column(field, Pictures(planes.transpose(0, 2, 3, 1), None))
        else:
            columns[field.name] = Column(field, np.concatenate(values))
    return Table(columns, "what was sent", "memory", np.array([t.names[0] for t in tables], object), tried=len(tables))


def alike(model: Model) -> bool:
    """Whether a row that is read and asked as gathered ones are has the answer of `lamina ask`."""
    for table in _made(model.inputs)[:3]:
        values = {}
        for field in model.inputs:
            held = table[field.name].values
            if isinstance(held, Pictures):
                values[field.name] = _rows.png(held.open(0))
            elif field.kind == "label":
                values[field.name] = field.classes[held[0]] if held[0] >= 0 else None
            else:
                values[field.name] = float(held[0]) if field.kind == "number" else "2020-05-06 07:08:09"
        row, begun = Row("row 0", values), time.perf_counter()
        read = model.read(row)
        model.read_seconds = min(model.read_seconds, time.perf_counter() - begun)
        if model.together([read])[0] != model.answers([row])[0][0][1]:
            return False
    return True


def proven(model: Model, most: int) -> tuple[tuple[int, ...], float]:
    """Sizes of batches whose rows have the bits of rows alone, and the seconds of a row in the largest of these."""
    rows = _made(model.inputs)
    begun = time.perf_counter()
    alone = [model.opened.outputs(stacked([row], model.inputs)) for row in rows]
    seconds = (time.perf_counter() - begun) / len(rows)
    sizes = [1]
    for size in SIZES:
        if size > most or time.perf_counter() - begun + 2 * size * seconds > PROVING:
            break
        began, equal = time.perf_counter(), True
        for first in (0, 3):
            places = [(first + i) % len(rows) for i in range(size)]
            outputs = model.opened.outputs(stacked([rows[p] for p in places], model.inputs))
            equal = equal and all(
                outputs[name][i].tobytes() == alone[p][name][0].tobytes()
                for name in outputs
                for i, p in enumerate(places)
            )
        if equal:
            sizes.append(size)
            seconds = (time.perf_counter() - began) / (2 * size)
    return tuple(sizes), seconds


def _made(inputs: Sequence[Field]) -> list[Table]:
    """Rows of random values in the frame: what is added in another order shows in some bit of them."""
    random = np.random.default_rng(0)
    columns = {}
    for field in inputs:
        if field.kind == "image":
            channels, height, width = field.shape
            pixels = random.integers(0, 256, (ROWS, height, width, channels), np.uint8)
            columns[field.name] = Column(field, Pictures(pixels, None))
        elif field.kind == "label":
            columns[field.name] = Column(field, random.integers(-1, len(field.classes), ROWS))
        else:
            columns[field.name] = Column(field, random.normal(0, 1e6 if field.kind == "date" else 50, ROWS))
    table = Table(columns, "proof", "memory", np.array([f"row {i}" for i in range(ROWS)], object), tried=ROWS)
    return [table.take(np.array([i])) for i in range(ROWS)]


def opened(name: str, path: Path, most: int = 64) -> Model:
    """Open a pack, an ONNX file, or a run to serve it. Raises LaminaError."""
    if path.is_file():  # an ONNX file needs no torch
        from lamina.ship._parcel import load
    else:
        from lamina.api import load
    found = load(path)
    picture = hasattr(found, "session") and [f.kind for f in found.inputs] == ["image"]
    return (Pictured if picture else Model)(name, path, found, most)


def named(words: Sequence[str]) -> dict[str, Path]:
    """Names and paths of models given as PATH or NAME=PATH. Raises SettingError."""
    found: dict[str, Path] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or "/" in name:
            name, path = Path(word).stem if Path(word).is_file() else Path(word).name, word
        name = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
        if name in found:
            raise SettingError(f"two models are named {name}; name one: lamina serve {name}=... other={path}.")
        found[name] = Path(path)
    return found
