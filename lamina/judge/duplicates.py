"""Duplicates: rows that are the same, and rows that are nearly the same, inside a split and across splits.

Exact: equal decoded pixels, equal texts but for case and blanks, equal columns. Near: pictures as in _pixels.py; texts as in
data/_alike.py.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from lamina.core.errors import DataError
from lamina.data._alike import nearly_same, together
from lamina.data._pictures import Pictures
from lamina.data._table import SPLITS, Table
from lamina.judge import _pixels
from lamina.judge._finding import MOST, Finding, counted, rows_of

FLATTERS = 0.01  # of the held-out rows that have a double, from which on a score is not to be believed
SHARE = 0.7  # of the time left that comparing pictures may take
CHANCE = 0.5  # of the bits that the columns would have if they were independent


def find(table: Table, until: float = math.inf) -> list[Finding]:
    """Exact and near duplicates of a table's inputs, with the splits they lie in. Raises OutOfTime."""
    pictures = next(
        (c.values for n, c in table.columns.items() if isinstance(c.values, Pictures) and n != table.target), None
    )
    share = 1.0
    texts = [c.values for n, c in table.columns.items() if c.field.kind == "text" and n != table.target]
    if pictures is not None:
        packed = _pixels.small(pictures)
        exact = _same_pixels(pictures, packed)
        now = time.monotonic()
        near, share = _pixels.pairs(packed, now + SHARE * (until - now))
    elif texts:
        whole = [" ".join(" ".join(row).lower().split()) for row in zip(*texts, strict=True)]
        exact = _equal(np.array(whole, object), [bool(t) for t in whole])
        near = nearly_same(whole)
    else:
        keys = row_keys(table)
        exact = [] if keys is None else _equal(keys, np.ones(len(keys), bool))
        near = np.zeros((0, 2), np.int64)
    alike = groups(len(table), [(g[0], other) for g in exact for other in g[1:]] + near.tolist())
    same = {row: i for i, g in enumerate(exact) for row in g}
    alike = [g for g in alike if len({same.get(row, -row - 1) for row in g}) > 1]  # more than one exact group
    what = "pictures" if pictures is not None else "texts" if texts else "rows"
    found = _told(table, exact, f"exact duplicates of {what}", "the same") + _told(
        table, alike, f"near duplicates of {what}", "nearly the same"
    )
    if share < 1:
        text = f"There was time to compare {share:.0%} of the pairs of pictures that may be nearly the same, the likeliest first."
        found.append(
            Finding("comparison cut short", text, "lamina check --deep compares all of them.", numbers={"share": share})
        )
    return found + _contradicting(table, exact)


def _told(table: Table, found: list[list[int]], kind: str, how: str) -> list[Finding]:
    """One finding for groups across splits, one for those inside."""
    if not found:
        return []
    split = table.split if table.split is not None else np.zeros(len(table), np.int8)
    across = [g for g in found if len(set(split[g].tolist())) > 1]
    inside = [g for g in found if len(set(split[g].tolist())) == 1]
    told = []
    for some, where in ((across, "across splits"), (inside, "inside a split")):
        if not some:
            continue
        some.sort(key=lambda g: (-len(g), g[0]))
        rows, grave = sorted({r for g in some for r in g}), False
        pair = some[0][:2]
        text = f"{counted(len(rows), 'row')} in {counted(len(some), 'group')} are {how} {where}, such as {table.names[pair[0]]} and {table.names[pair[1]]}"
        if some is across:
            counts = {SPLITS[s]: sum(split[r] == s for r in rows) for s in range(3)}
            text += f" ({', '.join(f'{n:,} {s}' for s, n in counts.items() if n)}): the score would flatter."
            held_out = int((split[rows] > 0).sum())
            grave = bool(held_out >= FLATTERS * max(1, int((split > 0).sum())))
            todo = "Remove all but one of each group, or keep a group on one side (--split-by COLUMN)."
        else:
            text += ": they count more than once."
            todo = "Remove all but one of each group, unless they are meant to weigh more."
        told.append(Finding(f"{kind} {where}", text, todo, grave, **rows_of(table, rows),
                            groups=tuple(tuple(g) for g in some[:MOST]), numbers={"rows": len(rows), "groups": len(some)}))  # fmt: skip
    return told


def _contradicting(table: Table, exact: list[list[int]]) -> list[Finding]:
    """Rows that are the same and labelled differently."""
    target = table.columns.get(table.target or "")
    if target is None or target.field.kind != "label":
        return []
    some = [g for g in exact if len({int(target.values[r]) for r in g if target.values[r] >= 0}) > 1]
    if not some:
        return []
    rows = [r for g in some for r in g]
    first = ", ".join(f"{table.names[r]} is {target.field.classes[target.values[r]]}" for r in some[0][:2])
    text = f"{counted(len(some), 'group')} of equal rows {'has' if len(some) == 1 else 'have'} different answers ({first}): no net can get all of them right."
    return [Finding("contradicting duplicates", text, "Look at them and settle the label.", False, **rows_of(table, rows),
                    groups=tuple(tuple(g) for g in some[:MOST]), numbers={"groups": len(some)})]  # fmt: skip


def groups(count: int, pairs: Sequence[Sequence[int]]) -> list[list[int]]:
    """Positions that hang together by pairs, two or more each, in order."""
    number = together(count, (), np.array(pairs, np.int64).reshape(-1, 2))
    order = np.argsort(number, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    return [p.tolist() for p in parts if len(p) > 1]


def _equal(keys: np.ndarray, counts: Iterable[bool]) -> list[list[int]]:
    """Rows with the same key, among those that count."""
    places: dict[object, list[int]] = {}
    for row, (key, wanted) in enumerate(zip(keys.tolist(), counts, strict=True)):
        if wanted:
            places.setdefault(key, []).append(row)
    return [rows for rows in places.values() if len(rows) > 1]


def _same_pixels(pictures: Pictures, packed: np.ndarray) -> list[list[int]]:
    """Rows whose pictures decode to the same pixels; files are only decoded where their small version is equal."""
    if pictures.array is not None:
        return _equal(pictures.hashes(), np.ones(len(pictures), bool))
    shown = [p.tobytes() for p in packed]
    found = []
    for rows in _equal(np.array([zlib.crc32(s) for s in shown]), np.ones(len(shown), bool)):
        same: dict[tuple, list[int]] = {}
        for row in rows:
            try:
                pixels = pictures.open(row)
            except DataError:  # gone since it was read
                continue
            same.setdefault((pixels.shape, pixels.tobytes()), []).append(row)
        found += [g for g in same.values() if len(g) > 1]
    return found


def row_keys(table: Table) -> np.ndarray | None:
    """(rows,) what is equal where all plain columns are; None where so few and coarse columns are equal by chance."""
    parts, bits = [], 0.0
    for name, column in table.columns.items():
        if name == table.target or column.field.kind not in ("number", "date", "label"):
            continue
        _, place, count = np.unique(column.values, return_inverse=True, return_counts=True)
        parts.append(place.reshape(-1))
        bits += -math.log2(float(np.square(count / len(table)).sum()))
    if not parts or CHANCE * bits < 2 * math.log2(max(2, len(table))) - 1:
        return None
    return np.unique(np.stack(parts, 1), axis=0, return_inverse=True)[1].reshape(-1)
