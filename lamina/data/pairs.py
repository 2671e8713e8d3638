"""pairs: pictures two by two, the same or not: a CSV, TSV or JSON lines with two columns of paths and one that says whether they are the same.

Also a folder of two folders a and b (first and second, left and right) with pictures of equal names, which are the same; different pairs
are then drawn. Class folders become pairs by `--task verify`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _pairs
from lamina.data._pictures import SUFFIXES, Pictures
from lamina.data._table import Bad, Column, Field, Reading, Table

NAMES = ("same", "is_same", "issame", "match", "matches", "equal", "identical", "same_person", "same_class")
YES = ("1", "1.0", "true", "yes", "y", "same", "match", "positive")
NO = ("0", "0.0", "-1", "false", "no", "n", "different", "other", "not_same", "mismatch", "negative")
FOLDERS = (("a", "b"), ("first", "second"), ("left", "right"), ("1", "2"))
HEAD = 1 << 16  # bytes that tell whether a file is a table of pairs
MOST_BAD = 20


def claims(source: Any) -> bool:
    """Claims a table whose first row has two paths of pictures and a column of NAMES; a folder of two folders of FOLDERS."""
    if not isinstance(source, Path):
        return False
    try:
        if source.is_file():
            return _columns(source) is not None
        return source.is_dir() and _sides(source) is not None
    except OSError:
        return False


def read(source: Any, reading: Reading) -> Table:
    """Columns of two pictures and "same" (kind same). Raises DataError, with row, for values that are neither yes nor no."""
    from lamina.data import table  # it imports folder, which asks this file

    sides = _sides(source) if source.is_dir() else None
    if sides:
        return _of_folders(source, *sides)
    found = _columns(source)
    if found is None:
        raise DataError(f"{source} has no two columns of picture paths and a column same; see `lamina list data`.")
    first, second, same = found
    kinds = {first: "image", second: "image", same: "text"}
    made = table.read(source, Reading(target=same, ignore=reading.ignore, kinds=kinds, only=(first, second, same)))
    told = [str(v).strip().lower() for v in made[same].values]
    wrong = [i for i, text in enumerate(told) if text not in (*YES, *NO)]
    bad = [Bad(str(made.names[i]), f"{same} is '{told[i][:40]}', neither yes nor no") for i in wrong]
    pictures = [made[name].values for name in (first, second)]
    is_same = np.array([text in YES for text in told])
    rows = np.setdiff1d(np.arange(len(made)), wrong)
    who, against = _people(pictures, is_same, rows)
    bad += [Bad(str(made.names[i]), "says different, and other rows join both pictures as the same") for i in against]
    rows = np.setdiff1d(rows, against)
    values = np.full((len(made), 2), -1, np.int64)
    values[rows] = who[rows]
    columns = {name: made.columns[name] for name in (first, second)} | {same: Column(Field(same, "same"), values)}
    people = len(np.unique(values[rows]))
    note = f"{len(rows):,} pairs, {is_same[rows].mean():.0%} of them the same; they join the pictures to {people:,} identities."
    made = made.with_(columns=columns, target=same, reader="pairs", bad=(*made.bad, *bad[:MOST_BAD])).noted(note)
    return made.take(rows)


def _people(pictures: Sequence[Pictures], is_same: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, 2) codes of whom the pictures show, by the rows that say same, and the rows that contradict others."""
    hashes = np.stack([p.hashes() for p in pictures], 1)
    _, node = np.unique(hashes, return_inverse=True)
    node = node.reshape(-1, 2)
    edges = [(int(a), int(b)) for a, b in node[rows[is_same[rows]]]]
    group = _pairs.together(edges, int(node.max()) + 1)
    who = group[node]
    return who, rows[~is_same[rows] & (who[rows, 0] == who[rows, 1])]


def _columns(path: Path) -> tuple[str, str, str] | None:
    """Names of the two picture columns and of the one that says same, from the first row; None when they are not there."""
    name = path.name.lower()
    if not name.endswith((".csv", ".tsv", ".tab", ".jsonl", ".ndjson")):
        return None
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        lines = [line for line in file.read(HEAD).splitlines() if line.strip()][:2]
    if name.endswith((".jsonl", ".ndjson")):
        try:
            first = json.loads(lines[0]) if lines else None
        except ValueError:
            return None
        row = {str(k): str(v) for k, v in first.items()} if isinstance(first, dict) else {}
    elif len(lines) == 2:
        delimiter = max(",;\t|", key=lines[0].count)
        head, values = (next(csv.reader([line], delimiter=delimiter)) for line in lines)
        row = dict(zip(head, values, strict=False))
    else:
        row = {}
    images = [k for k, v in row.items() if v.strip().lower().endswith(SUFFIXES)]
    same = [k for k in row if k.strip().lower().replace(" ", "_") in NAMES]
    return (images[0], images[1], same[0]) if len(images) == 2 and len(same) == 1 else None


def _sides(folder: Path) -> tuple[Path, Path] | None:
    """The two folders of pictures of equal names, and nothing beside them."""
    inside = {p.name.lower(): p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")}
    pair = next((pair for pair in FOLDERS if set(inside) == set(pair)), None)
    if pair is None:
        return None
    names = [{p.name for p in inside[side].iterdir() if p.suffix.lower() in SUFFIXES} for side in pair]
    shared = len(names[0] & names[1])
    return (inside[pair[0]], inside[pair[1]]) if shared and shared >= 0.5 * max(map(len, names)) else None


def _of_folders(source: Path, first: Path, second: Path) -> Table:
    """Pictures of equal names as classes of two; `--task verify`'s way makes the pairs."""
    from lamina.data import folder

    names = [{p.name for p in side.iterdir() if p.suffix.lower() in SUFFIXES} for side in (first, second)]
    alone = sorted(names[0] ^ names[1])
    shared = sorted(names[0] & names[1], key=folder.natural)
    files = [side / name for name in shared for side in (first, second)]
    shown = [f"{name}/{side.name}" for name in shared for side in (first, second)]
    made = folder._readable(files, shown, str(source), [Bad(n, "is in one of the two folders alone") for n in alone])
    place = {name: i for i, name in enumerate(shared)}
    codes = np.array([place[str(n).rsplit("/", 1)[0]] for n in made.names], np.int64)
    classes = tuple(name.rsplit(".", 1)[0] for name in shared)
    if len(set(classes)) < len(classes):
        classes = tuple(shared)
    column = Column(Field("name", "label", classes), codes)
    made = made.with_column(column).with_(target="name", reader="pairs")
    return _pairs.of_classes(made, 0)
