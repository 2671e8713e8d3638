"""Batches: the columns of a table as tensors on the device; a batch is one gather, not a loop over rows."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lamina.data._pictures import Pictures
from lamina.data._table import Field, Table

DATE_NUMBERS = 6  # day, and sine and cosine of the year's, and of the week's; hour of the day
DAY = 86_400.0


def number_count(fields: Sequence[Field]) -> int:
    """How many numbers the number and date fields give per row."""
    return sum({"number": 1, "date": DATE_NUMBERS}.get(f.kind, 0) for f in fields)


def category_counts(fields: Sequence[Field]) -> tuple[int, ...]:
    """How many classes each label field has."""
    return tuple(len(f.classes) for f in fields if f.kind == "label")


def number_names(fields: Sequence[Field]) -> list[str]:
    """Names of the columns of `numbers`, a date's six parts included."""
    parts = ("day", "year sine", "year cosine", "week sine", "week cosine", "hour")
    names: list[str] = []
    for f in fields:
        names += [f.name] if f.kind == "number" else [f"{f.name} ({p})" for p in parts] if f.kind == "date" else []
    return names


class Batches:
    """Rows of a table as tensors, by what nets take.

    image (rows, channels, height, width) uint8, numbers (rows, number_count) float32 with NaN = missing,
    categories (rows, columns) int64 with -1 = missing, target: int64 codes, uint8 (rows, classes), or float64 values.
    """

    def __init__(
        self,
        table: Table,
        inputs: Sequence[Field],
        target: Field | None,
        device: torch.device,
        cache: Path | None = None,
    ) -> None:
        columns = table.conform([*inputs, *([target] if target else [])])
        self.device, self.length = device, len(table)
        self.tensors: dict[str, Tensor] = {}
        numbers, categories = [], []
        for field in inputs:
            values = columns[field.name].values
            if field.kind == "image":
                packed = values.pack(field.shape, cache) if isinstance(values, Pictures) else values
                self.tensors["image"] = _tensor(packed).to(device)
            elif field.kind == "number":
                numbers.append(values[:, None])
            elif field.kind == "date":
                numbers.append(_date_numbers(values))
            elif field.kind == "label":
                categories.append(values)
        if numbers:
            self.tensors["numbers"] = torch.from_numpy(np.concatenate(numbers, 1).astype(np.float32)).to(device)
        if categories:
            self.tensors["categories"] = torch.from_numpy(np.stack(categories, 1)).to(device)
        if target:
            self.tensors["target"] = torch.from_numpy(np.ascontiguousarray(columns[target.name].values)).to(device)

    def __len__(self) -> int:
        return self.length

    def get(self, rows: Tensor) -> dict[str, Tensor]:
        """The batch of these rows (int64 positions on any device)."""
        rows = rows.to(self.device)
        return {name: tensor.index_select(0, rows) for name, tensor in self.tensors.items()}

    def first(self, rows: int) -> Batches:
        """The first rows, sharing memory."""
        few = copy.copy(self)
        few.tensors, few.length = self.slice(0, rows), rows
        return few

    def slice(self, start: int, stop: int) -> dict[str, Tensor]:
        """Rows start..stop in order, without a copy."""
        return {name: tensor[start:stop] for name, tensor in self.tensors.items()}


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array if array.flags.writeable else np.array(array))


def _date_numbers(seconds: np.ndarray) -> np.ndarray:
    day = seconds / DAY
    year, week = 2 * np.pi * day / 365.2425, 2 * np.pi * (day + 4) / 7  # 1970-01-01 was a Thursday
    return np.stack([day, np.sin(year), np.cos(year), np.sin(week), np.cos(week), seconds % DAY / 3600], 1)
