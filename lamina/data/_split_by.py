"""--split-by COLUMN: rows of one value stay on one side; by a date the latest rows are the test, those before them the validation."""

from __future__ import annotations

import numpy as np

from lamina.core.errors import DataError, SettingError
from lamina.data._columns import as_label
from lamina.data._table import TEST, TRAIN, VALIDATION, Column, Field, Table
from lamina.data._target import SMALL


def arranged(table: Table, name: str) -> Table:
    """The table with its column `name` as a group, or split by that date. Raises SettingError where it brings a split of its own."""
    column = table[name]
    field = column.field
    if table.split is not None and len(np.unique(table.split)) == 3:
        raise SettingError(f"{table.source} brings its own split; --split-by {field.name} would have no effect.")
    if table.target == field.name:
        raise SettingError(f"--split-by {field.name} names the target; name another column.")
    if field.kind == "date":
        return _by_time(table, column)
    if field.kind in ("identifier", "text", "group"):
        values = column.values
    elif field.kind in ("label", "number"):
        coded = as_label(column)
        values = np.array([*coded.field.classes, ""], object)[coded.values]
    else:
        raise SettingError(
            f"--split-by {field.name} names a column of kind {field.kind}; name one of names, numbers or dates."
        )
    if len({v for v in values if v}) < 5:
        raise DataError(f"--split-by {field.name}: fewer than 5 values; three splits need more.")
    return table.with_column(Column(Field(field.name, "group"), values))


def _by_time(table: Table, column: Column) -> Table:
    known = ~column.missing()
    table, values = table.take(known), column.values[known]
    share = 0.2 if len(table) < SMALL else 0.1
    last, before = np.quantile(values, [1 - share, 1 - 2 * share], method="higher")
    split = np.where(values >= last, TEST, np.where(values >= before, VALIDATION, TRAIN)).astype(np.int8)
    if len(np.unique(split)) < 3 or len(values) < 10:
        raise DataError(f"--split-by {column.field.name}: too few different dates for three splits.")
    gone = f"{int((~known).sum()):,} rows without a {column.field.name} are left out." if not known.all() else ""
    table = table.noted(gone) if gone else table
    return table.with_(
        split=split,
        split_rule=f"by {column.field.name}: the latest {share:.0%} are the test, those before them validation",
    )
