"""What a trained net is asked about: files, folders, tables, rows given as dicts, arrays; no torch is needed to read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _pairs, sniff, text
from lamina.data._table import Column, Field, Reading, Table


def tables(sources: Sequence[Any], fields: Sequence[Field], inputs: Sequence[Field] = ()) -> Iterator[Table]:
    """A table per source, read as the columns that `fields` name. Raises DataError when one holds nothing.

    Where the `inputs` are two pictures, loose pictures are taken two by two.
    """
    images = [f for f in inputs if f.kind == "image"]
    for source in _gathered(sources):
        table = opened(source, fields)
        if not len(table):
            why = f": {table.bad[0].where}: {table.bad[0].why}" if table.bad else ""
            raise DataError(f"{table.source} holds nothing to ask about{why}.")
        yield _two_by_two(table, images) if len(images) == 2 else table


def opened(source: Any, fields: Sequence[Field]) -> Table:
    """A table of a source's columns that `fields` name, each read as its kind."""
    if isinstance(source, Table):
        return source
    running = next((f for f in fields if f.kind == "running"), None)
    if running:
        return text.coded_by(source, running)
    kinds = {f.name: f.kind for f in fields}
    table = sniff.open(_frame(source), Reading(kinds=kinds, only=tuple(kinds)))
    wanted = next((f for f in fields if f.kind == "same"), None)
    if wanted and wanted.name not in table.columns and table.target:
        made = _pairs.every(table, 0)
        names = [f.name for f in fields if f.kind == "image"]
        found = [made.columns[n] for n, c in made.columns.items() if c.field.kind == "image"]
        columns = {n: Column(replace(c.field, name=n), c.values) for n, c in zip(names, found, strict=True)}
        table = made.with_(columns={**columns, wanted.name: made.columns[_pairs.SAME]}, target=wanted.name)
    return table


def _two_by_two(table: Table, images: list[Field]) -> Table:
    """The first and second, third and fourth picture ... of a table of one picture column, as rows. Raises DataError."""
    there = [c for c in table.columns.values() if c.field.kind == "image"]
    if len(there) != 1 or all(f.name in table.columns for f in images):
        return table
    if len(table) % 2:
        raise DataError(f"{table.source} gives {len(table)} pictures; two are compared at a time.")
    first, second = np.arange(0, len(table), 2), np.arange(1, len(table), 2)
    columns = {f.name: Column(f, there[0].values.take(rows)) for f, rows in zip(images, (first, second), strict=True)}
    names = np.array([f"{table.names[i]} ~ {table.names[i + 1]}" for i in first], object)
    return table.with_(columns=columns, names=names, target=None, split=None)


def _frame(source: Any) -> Any:
    """A row given as a dict, or rows as a list of dicts, become a frame."""
    rows = [source] if isinstance(source, dict) else source
    if isinstance(rows, list) and rows and all(isinstance(r, dict) for r in rows):
        if any(isinstance(v, np.ndarray) and v.ndim for r in rows for v in r.values()):
            return source
        import pandas

        return pandas.DataFrame(rows)
    return source


def _gathered(sources: Sequence[Any]) -> list[Any]:
    """Single files of pictures are read together, which keeps their order and is faster."""
    paths = [Path(s) for s in sources if isinstance(s, str | Path)]
    given = list(sources)
    if len(paths) == len(given) > 1 and not any(
        p.is_dir() or p.suffix.lower() in (".csv", ".tsv", ".parquet", ".jsonl") for p in paths
    ):
        return [paths]
    return given
