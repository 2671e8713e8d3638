"""Drift: do the splits come from one source? A classifier tries to tell train rows from test rows (Lopez-Paz 2016, arXiv:1610.06545).

Where it can, rows to come may differ as much; the columns that tell most are named.
"""

from __future__ import annotations

import math

import numpy as np

from lamina.data._pictures import Pictures
from lamina.data._table import TEST, TRAIN, Table
from lamina.judge import _quick
from lamina.judge._finding import Finding, in_time
from lamina.judge.oddities import statistics
from lamina.measures.labels import auc

ROWS = 2_000  # of each split, at most
FEW = 50  # rows of a split below which nothing is said
FROM = 0.6  # area under the curve from which on splits differ
SURE = 3.0  # standard errors above one half
TELLING = 5  # columns that are named


def find(table: Table, until: float = math.inf) -> list[Finding]:
    """One finding where the test rows can be told from the train rows. Raises OutOfTime."""
    if table.split is None:
        return []
    random = np.random.default_rng(0)
    parts = [random.permutation(table.rows(s))[:ROWS] for s in (TRAIN, TEST)]
    if min(map(len, parts)) < FEW:
        return []
    rows = np.concatenate(parts)
    some, codes = table.take(rows), np.repeat([0, 1], [len(p) for p in parts])
    taken = tuple(
        n for n, c in table.columns.items() if c.field.kind not in ("image", "number", "label", "date", "text")
    )
    inputs = _quick.features(some, taken, until, filters=32)
    if not inputs.shape[1]:
        return []
    told = auc(_quick.crossed(inputs, codes, 2, until)[:, 1], codes)
    spread = math.sqrt(
        (len(rows) + 1) / (12 * len(parts[0]) * len(parts[1]))
    )  # of an area where nothing can be told (Mann, Whitney 1947)
    if not told > max(FROM, 0.5 + SURE * spread):
        return []
    telling = _telling(some, codes, until)
    about = "; most telling: " + ", ".join(f"{name} ({area:.2f})" for name, area in telling) if telling else ""
    text = f"A simple classifier tells test rows from train rows with an area under the curve of {told:.2f} (0.5: not at all){about}."
    todo = "Find out why they differ: the score holds for rows like the test rows only; a split at random or by group would tell more."
    return [Finding("drift between splits", text, todo, told > 0.8, columns=tuple(n for n, _ in telling),
                    numbers={"auc": told, "columns": dict(telling)})]  # fmt: skip


def _telling(table: Table, codes: np.ndarray, until: float) -> list[tuple[str, float]]:
    """Columns, or statistics of pictures, by how well each alone tells the splits apart."""
    found = []
    for name, column in table.columns.items():
        in_time(until)
        if name == table.target:
            continue
        if isinstance(column.values, Pictures):
            found += [(what, _area(values, codes)) for what, values in statistics(column.values, until).items()]
        elif column.field.kind in ("number", "date"):
            values = column.values
            found.append(
                (
                    name,
                    max(
                        _area(np.nan_to_num(values, nan=np.nanmedian(values)), codes),
                        _area(np.isnan(values).astype(float), codes),
                    ),
                )
            )
        elif column.field.kind == "label":
            found.append((name, _area(_quick.crossed(_quick.of_column(column), codes, 2)[:, 1], codes)))
        elif column.field.kind == "text":
            found.append((f"length of {name}", _area(np.array([len(t) for t in column.values], float), codes)))
    found.sort(key=lambda f: -f[1])
    return [(n, round(a, 3)) for n, a in found[:TELLING] if a > 0.55]


def _area(values: np.ndarray, codes: np.ndarray) -> float:
    area = auc(values, codes)
    return max(area, 1 - area)
