"""What a trained net is asked about: files, folders, tables, rows given as dicts, arrays; no torch is needed to read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _pairs, _unlabelled, conll, mail, sniff, table, text, texts
from lamina.data._table import Column, Field, Reading, Table

ROWS = (*table.ALL, *table.LINES)  # files that hold rows, and not one text
NAMED = 40  # characters of a text that name its row


class Sent(str):
    """A text that came from outside: it is never the name of a file."""


def is_file(source: Any) -> bool:
    """Whether a text or path that somebody asks about is to be read as a file."""
    if isinstance(source, Path | Sent):
        return isinstance(source, Path)
    return isinstance(source, str) and len(source) < 250 and "\0" not in source and Path(source).is_file()


def is_folder(source: str | Path) -> bool:
    """Whether a source is a folder of texts without classes: one text a file."""
    if isinstance(source, Sent) or len(str(source)) >= 250 or "\0" in str(source):
        return False
    path = Path(source).expanduser()
    return path.is_dir() and text.claims(path) and not mail.claims(path)


def tables(sources: Sequence[Any], fields: Sequence[Field], inputs: Sequence[Field] = ()) -> Iterator[Table]:
    """A table per source, read as the columns that `fields` name. Raises DataError when one holds nothing.

    Where the `inputs` are two pictures, loose pictures are taken two by two.
    """
    images = [f for f in inputs if f.kind == "image"]
    reads = any(f.kind == "text" for f in fields)
    for source in sources if reads else _gathered(sources):
        found = opened(source, fields)
        if not len(found):
            why = f": {found.bad[0].where}: {found.bad[0].why}" if found.bad else ""
            raise DataError(f"{found.source} holds nothing to ask about{why}.")
        yield _two_by_two(found, images) if len(images) == 2 else found


def opened(source: Any, fields: Sequence[Field]) -> Table:
    """A table of a source's columns that `fields` name, each read as its kind."""
    if isinstance(source, Table):
        return source
    running = next((f for f in fields if f.kind == "running"), None)
    if running:
        return text.coded_by(source, running)
    if made := _of_text(source, [f for f in fields if f.kind == "text"]):
        return made
    if any(f.kind == "text" for f in fields) and isinstance(source, str | Path) and is_folder(source):
        return _unlabelled.of_folder(Path(source))
    kinds = {f.name: f.kind for f in fields}
    held = sniff.open(_frame(source), Reading(kinds=kinds, only=tuple(kinds)))
    wanted = next((f for f in fields if f.kind == "same"), None)
    if wanted and wanted.name not in held.columns and held.target:
        made = _pairs.every(held, 0)
        names = [f.name for f in fields if f.kind == "image"]
        two = [made.columns[n] for n, c in made.columns.items() if c.field.kind == "image"]
        columns = {n: Column(replace(c.field, name=n), c.values) for n, c in zip(names, two, strict=True)}
        held = made.with_(columns={**columns, wanted.name: made.columns[_pairs.SAME]}, target=wanted.name)
    return held


def _of_text(source: Any, fields: list[Field]) -> Table | None:
    """A text, or a file of one, as a row of the text columns; None where the source holds rows. Raises DataError.

    A mail goes into the columns of mails, where the net reads such; any other text into the column of which most is read.
    """
    if not fields or not isinstance(source, str | Path):
        return None
    if isinstance(source, str) and not source.strip():  # not the folder one is in
        raise DataError("an empty text tells nothing; give a text of a word or more.")
    longest = max(fields, key=lambda f: f.shape)
    path = Path(source)
    if len(str(source)) < 250 and "\n" not in str(source) and "\0" not in str(source) and path.expanduser().exists():
        path = path.expanduser()
        if path.is_dir() or path.name.lower().endswith((*ROWS, *mail.BOXES)) or conll.claims(path):
            return None
        found = mail.read(path, Reading()) if mail.claims(path) else texts.read(path, Reading())
        if {f.name for f in fields} & {*mail.COLUMNS} and found.reader == "mail":
            return found
        whole = [c.values[0] for c in found.columns.values() if c.field.kind == "text"]
        given, name = "\n".join(text for text in whole if text), found.names
    elif isinstance(source, Path) or (
        path.suffix.lower() in (*ROWS, *mail.BOXES, *mail.MAILS, *texts.SUFFIXES[:-1]) and " " not in source
    ):
        raise sniff._missing(path)
    else:
        short = " ".join(source.split())
        given, name = source, np.array([short if len(short) <= NAMED else f"{short[: NAMED - 3]}..."], object)
    if not given.strip():
        raise DataError("an empty text tells nothing; give a text of a word or more.")
    columns = {longest.name: Column(Field(longest.name, "text"), np.array([given, None], object)[:-1])}
    return Table(columns, "the text that is asked about", "texts", name, tried=1)


def _two_by_two(given: Table, images: list[Field]) -> Table:
    """The first and second, third and fourth picture ... of a table of one picture column, as rows. Raises DataError."""
    there = [c for c in given.columns.values() if c.field.kind == "image"]
    if len(there) != 1 or all(f.name in given.columns for f in images):
        return given
    if len(given) % 2:
        raise DataError(f"{given.source} gives {len(given)} pictures; two are compared at a time.")
    first, second = np.arange(0, len(given), 2), np.arange(1, len(given), 2)
    columns = {f.name: Column(f, there[0].values.take(rows)) for f, rows in zip(images, (first, second), strict=True)}
    names = np.array([f"{given.names[i]} ~ {given.names[i + 1]}" for i in first], object)
    return given.with_(columns=columns, names=names, target=None, split=None)


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
