"""Texts that are learned for their own sake: the text columns of a table, without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lamina.core.errors import DataError
from lamina.data import text, texts
from lamina.data._table import Column, Field, Table

ITSELF = "itself"  # kind and name of a target that is the row itself


def whole_files(table: Table) -> Table:
    """A folder of text files, read before as running text, as a table of one text a file. Raises DataError for a single file."""
    source = Path(table.source)
    if not source.is_dir():
        raise DataError(f"{source} is one text; bring many: a folder of texts, or a table with a column of them.")
    return of_folder(source)


def of_folder(source: Path) -> Table:
    """The text files of a folder, one text a file. Raises DataError when none can be read."""
    found = sorted(p for p in source.rglob("*") if p.suffix in text.SUFFIXES and p.is_file())
    return texts.of_files({p.relative_to(source).as_posix(): p for p in found}, str(source))


def unlabelled(table: Table, task: str) -> Table:
    """The texts, what groups them, and a target that says nothing. Raises DataError where there are no texts."""
    kept = {n: c for n, c in table.columns.items() if c.field.kind in ("text", "group")}
    if not any(c.field.kind == "text" for c in kept.values()):
        held = ", ".join(f"{n} ({c.field.kind})" for n, c in list(table.columns.items())[:6]) or "nothing"
        raise DataError(f"task {task} learns from texts, and {table.source} holds {held}.")
    kept[ITSELF] = Column(Field(ITSELF, ITSELF), np.zeros(len(table), np.int64))
    left = [n for n in table.columns if n not in kept]
    table = table.with_(columns=kept, target=ITSELF)
    return table.noted(f"Learned without labels; not used: {', '.join(left[:6])}.") if left else table
