"""Columns of a table as a prepared batch holds them: which numbers and categories belong to each, and the row's value in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from lamina.core.errors import SettingError
from lamina.data._batches import DATE_NUMBERS, DAY
from lamina.data._table import Field
from lamina.explain._method import Question
from lamina.tasks._task import Batch


@dataclass(frozen=True)
class Part:
    """A column and its places in the batch."""

    name: str
    kind: str
    classes: tuple[str, ...]
    numbers: tuple[int, ...] = ()
    """positions in batch["numbers"]"""
    categories: tuple[int, ...] = ()
    """positions in batch["categories"]"""


def columns(batch: Batch, question: Question) -> list[Part]:
    """The columns of a batch in their order. Raises SettingError when there are none."""
    numbers, categories = (batch[k].shape[1] if k in batch else 0 for k in ("numbers", "categories"))
    fields = [f for f in question.inputs if f.kind in ("number", "date", "label")]
    if not question.inputs:
        fields = [Field(f"number {i}", "number") for i in range(numbers)]
        fields += [Field(f"category {i}", "label") for i in range(categories)]
    if not fields:
        other = ("texts", "occlusion") if "tokens" in batch else ("a picture", "gradcam")
        raise SettingError(f"this needs table columns, and the net reads {other[0]} alone; try {other[1]}.")
    found, first, code = [], 0, 0
    for field in fields:
        width = {"number": 1, "date": DATE_NUMBERS}.get(field.kind, 0)
        own = (code,) if field.kind == "label" else ()
        found.append(Part(field.name, field.kind, field.classes, tuple(range(first, first + width)), own))
        first, code = first + width, code + len(own)
    return found


def value(part: Part, batch: Batch, row: int = 0) -> str:
    """The value of a column in a row of the batch, as people read it; "-" where it is missing."""
    if part.categories:
        code = int(batch["categories"][row, part.categories[0]])
        return "-" if code < 0 else part.classes[code] if part.classes else str(code)
    number = float(batch["numbers"][row, part.numbers[0]])
    if math.isnan(number):
        return "-"
    if part.kind == "date":
        return f"{datetime.fromtimestamp(number * DAY, UTC):%Y-%m-%d}"
    return f"{number:,.5g}"


def shown(part: Part, batch: Batch, row: int = 0) -> str:
    """Name and value: "age = 41"."""
    return f"{part.name} = {value(part, batch, row)}"
