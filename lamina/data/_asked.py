"""What a trained net is asked about: files, folders, tables, rows given as dicts, arrays; no torch is needed to read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data import sniff
from lamina.data._table import Field, Reading, Table


def tables(sources: Sequence[Any], fields: Sequence[Field]) -> Iterator[Table]:
    """A table per source, read as the columns that `fields` name. Raises DataError when one holds nothing."""
    for source in _gathered(sources):
        table = opened(source, fields)
        if not len(table):
            why = f": {table.bad[0].where}: {table.bad[0].why}" if table.bad else ""
            raise DataError(f"{table.source} holds nothing to ask about{why}.")
        yield table


def opened(source: Any, fields: Sequence[Field]) -> Table:
    """A table of a source's columns that `fields` name, each read as its kind."""
    if isinstance(source, Table):
        return source
    kinds = {f.name: f.kind for f in fields}
    return sniff.open(_frame(source), Reading(kinds=kinds, only=tuple(kinds)))


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
