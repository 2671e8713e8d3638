"""Alike: rows that belong together, because their texts are nearly the same or because they share a key.

A text is the set of its runs of SHINGLE words (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900). The hash of each run falls
into one of BINS bins and the least of each bin is kept (Li 2012, https://arxiv.org/abs/1208.1259); an empty bin borrows from
the next full one (Shrivastava 2014, https://arxiv.org/abs/1406.4784). Texts that agree in all bins of a band are compared:
the share of equal bins estimates the share of runs that two texts have in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

SHINGLE = 3  # words of a run
BINS, BAND = 64, 4  # bins of a signature; of a band
ALIKE = 0.5  # share of equal bins from which on texts are nearly the same
LEAST = 20  # words below which a text is too short to be nearly the same as another
MOST = 2_000  # words of a text that are looked at
CHARACTERS = 200_000_000  # of all texts, beyond which they are not compared
EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)


def nearly_same(texts: Sequence[str]) -> np.ndarray:
    """int64 (pairs, 2): rows whose texts are nearly the same; of many equal ones not every pair. (0, 2) for too much text."""
    if sum(map(len, texts)) > CHARACTERS:
        return np.empty((0, 2), np.int64)
    rows, made = _signatures(texts)
    pairs = [np.empty((0, 2), np.int64)]
    for start in range(0, BINS, BAND):
        key = made[:, start]
        for column in range(start + 1, start + BAND):
            key = _mixed(key) + made[:, column]
        order = np.argsort(key, kind="stable")
        same = key[order][1:] == key[order][:-1]
        first = np.maximum.accumulate(np.where(np.concatenate([[True], ~same]), np.arange(len(order)), 0))
        pairs += [np.stack([order[:-1], order[1:]], 1)[same], np.stack([order[first[1:]], order[1:]], 1)[same]]
    found = np.unique(np.concatenate(pairs), axis=0)
    close = [(made[part[:, 0]] == made[part[:, 1]]).mean(1) >= ALIKE for part in np.array_split(found, 64)]
    return rows[found[np.concatenate(close)]]


def together(rows: int, keys: Iterable[Sequence[str]] = (), pairs: np.ndarray | None = None) -> np.ndarray:
    """int64 (rows,): a number that rows share which have a key in common ("" is none), or are a pair, or are so through others.

    keys: those of each row. The number is the position of the first row of its kind.
    """
    parent = list(range(rows))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    def join(one: int, other: int) -> None:
        first, last = sorted((root(one), root(other)))
        parent[last] = first

    seen: dict[str, int] = {}
    for row, own in enumerate(keys):
        for key in own:
            if key:
                join(seen.setdefault(key, row), row)
    for one, other in () if pairs is None else pairs.tolist():
        join(one, other)
    return np.array([root(row) for row in range(rows)], np.int64)


def _signatures(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The rows that are long enough, and uint64 (those, BINS)."""
    numbers, parts, rows = _Numbers(), [np.empty(0, np.uint64)], []
    for row, text in enumerate(texts):
        found = text.lower().split(maxsplit=MOST)[:MOST]
        if len(found) >= LEAST:
            parts.append(np.fromiter(map(numbers.__getitem__, found), np.uint64, len(found)))
            rows.append(row)
    lengths = np.array([len(part) for part in parts[1:]], np.int64)
    flat = np.concatenate(parts)
    runs = _mixed(flat)
    for step in range(1, SHINGLE):
        runs = _mixed(runs + np.roll(flat, -step))
    owner = np.repeat(np.arange(len(rows)), lengths)
    whole = np.arange(len(flat)) + SHINGLE <= np.cumsum(lengths)[owner] if rows else np.empty(0, bool)
    runs, owner = runs[whole], owner[whole]
    made = np.full(len(rows) * BINS, EMPTY)
    np.minimum.at(made, owner * BINS + (runs >> np.uint64(58)).astype(np.int64), runs & np.uint64((1 << 58) - 1))
    return np.array(rows, np.int64), _filled(made.reshape(-1, BINS))


def _filled(made: np.ndarray) -> np.ndarray:
    """Signatures whose empty bins hold what the next full one holds, changed by how far it is."""
    found = made.copy()
    for step in range(1, BINS):
        empty = found == EMPTY
        if not empty.any():
            break
        other = np.roll(made, -step, 1)
        found = np.where(empty & (other != EMPTY), other + np.uint64(step << 58), found)
    return found


def _mixed(x: np.ndarray) -> np.ndarray:
    """Whole numbers scattered over 64 bits (Steele 2014, https://doi.org/10.1145/2660193.2660195)."""
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class _Numbers(dict[str, int]):
    """Every word gets the next number."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number
