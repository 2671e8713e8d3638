"""Slices: the kinds of rows that a net answers worst, by a small tree over what is known of a row; and answering only when sure.

The tree is grown on every other test row and its slices are measured on those between (Chung 2019, arXiv:1807.06068, finds
slices; the halves keep the intervals honest). Selective answers: Geifman 2017, https://arxiv.org/abs/1705.08500.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lamina.data._pictures import Pictures
from lamina.data._table import Table
from lamina.judge import oddities
from lamina.measures.interval import wilson

LEAST, SHARE = 25, 0.05  # rows, and share of the rows, of a slice at least
DEPTH = 2  # conditions of a slice at most
MOST = 5  # slices
SURE = 2.6  # standard errors below the other rows: five slices are tried
CUTS = 9  # of a number
CATEGORIES = 30  # of a column that are tried
COVERED = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)

Condition = tuple[str, np.ndarray]  # words, bool (rows,)


@dataclass(frozen=True)
class Slice:
    """Rows that meet all conditions, and how many of them are answered rightly, with a 95 % interval."""

    text: str
    rows: int
    share: float
    low: float
    high: float
    others: float
    """share of the other rows that are right"""


def find(table: Table, right: np.ndarray) -> list[Slice]:
    """The worst slices of a table of test rows, worst first; only those that are surely worse than the other rows.

    right: bool (rows,) whether each was answered rightly.
    """
    if len(right) < 4 * LEAST or right.all():
        return []
    grown, measured = np.arange(len(right)) % 2 == 0, np.arange(len(right)) % 2 == 1
    found: list[Slice] = []
    taken = np.zeros(len(right), bool)
    known = list(_conditions(table))
    for _ in range(MOST):
        words, held = _worst(known, right, grown & ~taken)
        if not words:
            break
        taken |= held
        rows, rest = held & measured, ~held & measured
        hits, n = int(right[rows].sum()), int(rows.sum())
        low, high = wilson(hits, n)
        others = float(right[rest].mean()) if rest.any() else 1.0
        spread = math.sqrt(max(hits, 1) * max(n - hits, 1) / n**3 + others * (1 - others) / max(1, int(rest.sum())))
        if n >= LEAST // 2 and hits / n < others - SURE * spread:
            found.append(Slice(" and ".join(words), n, hits / n, low, high, others))
    return sorted(found, key=lambda s: s.share)


def _worst(known: list[Condition], right: np.ndarray, among: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Conditions, one after the other, whose rows have the lowest upper end of the interval."""
    least = max(LEAST, int(SHARE * among.sum()))
    words: list[str] = []
    held = among.copy()
    bound = wilson(int(right[held].sum()), int(held.sum()))[1]
    meets = np.ones(len(right), bool)
    for _ in range(DEPTH):
        best: tuple[float, str, np.ndarray] | None = None
        for text, mask in known:
            rows = held & mask
            n = int(rows.sum())
            if n < least or n == int(held.sum()):
                continue
            high = wilson(int(right[rows].sum()), n)[1]
            if high < bound and (best is None or high < best[0]):
                best = (high, text, mask)
        if best is None:
            break
        bound, held, meets = best[0], held & best[2], meets & best[2]
        words.append(best[1])
    return words, meets


def _conditions(table: Table) -> Iterator[Condition]:
    """What can be said of a row: ranges of numbers, categories, lengths of texts, statistics of pictures, the label itself."""
    for name, column in table.columns.items():
        kind, values = column.field.kind, column.values
        if isinstance(values, Pictures):
            if values.array is not None and name != table.target:
                for what, of in oddities.statistics(values).items():
                    yield from _ranges(f"{what} of {name}", of)
        elif kind == "label":
            count = np.bincount(values[values >= 0], minlength=1)
            for code in np.argsort(-count, kind="stable")[:CATEGORIES]:
                yield f"{name} is {column.field.classes[code]}", values == code
            if (values < 0).any():
                yield f"{name} is missing", values < 0
        elif name == table.target:
            continue
        elif kind in ("number", "date"):
            yield from _ranges(name, values)
            if np.isnan(values).any():
                yield f"{name} is missing", np.isnan(values)
        elif kind == "text":
            yield from _ranges(f"characters of {name}", np.array([len(t) for t in values], float))


def _ranges(name: str, values: np.ndarray) -> Iterator[Condition]:
    known = values[~np.isnan(values)]
    if not len(known):
        return
    for cut in np.unique(np.quantile(known, np.linspace(0, 1, CUTS + 2)[1:-1])):
        with np.errstate(invalid="ignore"):
            yield f"{name} is {cut:.4g} or less", values <= cut
            yield f"{name} is over {cut:.4g}", values > cut


def selective(probabilities: np.ndarray, right: np.ndarray) -> list[dict[str, float]]:
    """Share answered -> share of these that are right, when the least sure rows are left to a person."""
    order = np.argsort(-probabilities.max(1), kind="stable")
    found = []
    for covered in COVERED:
        n = max(1, round(covered * len(order)))
        hits = int(right[order[:n]].sum())
        low, high = wilson(hits, n)
        found.append(
            {
                "answered": covered,
                "right": hits / n,
                "low": low,
                "high": high,
                "sure": float(probabilities[order[n - 1]].max()),
            }
        )
    return found
