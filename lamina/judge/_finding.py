"""Finding: one thing that is odd about data or a net: a sentence with rows, what to do, and the numbers behind it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lamina.data._table import Table

MOST = 200  # rows and groups of a finding that are kept
SHOWN = 3  # rows that a sentence names


@dataclass(frozen=True)
class Finding:
    """What was found, where, and what can be done."""

    kind: str
    """such as "near duplicates": the same for every data set"""
    sentence: str
    todo: str
    """what to do about it, one sentence"""
    grave: bool = False
    """whether a score is not to be believed because of it"""
    rows: tuple[int, ...] = ()
    """positions in the table, the most telling first, MOST at most"""
    names: tuple[str, ...] = ()
    """what a person calls these rows"""
    groups: tuple[tuple[int, ...], ...] = ()
    """rows that belong together"""
    columns: tuple[str, ...] = ()
    numbers: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {k: v for k, v in asdict(self).items() if not isinstance(v, tuple | dict) or v}


def rows_of(table: Table, rows: Sequence[int] | np.ndarray) -> dict[str, Any]:
    """The fields `rows` and `names` of a finding."""
    kept = [int(r) for r in rows[:MOST]]
    return {"rows": tuple(kept), "names": tuple(str(table.names[r]) for r in kept)}


def named(table: Table, rows: Sequence[int] | np.ndarray, most: int = SHOWN) -> str:
    """ "row 3, row 9 and 12 more" """
    names = [str(table.names[int(r)]) for r in rows[:most]]
    more = len(rows) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more > 0 else "")


def counted(count: int, one: str, many: str = "") -> str:
    """1 row, 1,200 rows."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


class OutOfTime(Exception):
    """A check that did not end in the time it was given: it says nothing."""


def in_time(until: float) -> None:
    """Raises OutOfTime once time.monotonic() is past `until`."""
    if time.monotonic() > until:
        raise OutOfTime
