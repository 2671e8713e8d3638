"""Compare two nets on the same rows: McNemar's exact test for labels, the paired bootstrap for every number.

McNemar 1947, https://doi.org/10.1007/BF02295996; Efron 1993, An Introduction to the Bootstrap, chapter 16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lamina.judge import _rows
from lamina.tasks._task import Task

DRAWS = 1_000
SURE = 0.05


@dataclass(frozen=True)
class Compared:
    """The second against the first net."""

    name: str
    first: float
    second: float
    difference: float
    """second less first"""
    low: float
    high: float
    """95 % interval of the difference, over rows"""
    rows: int
    paired: bool
    """whether both were measured on the same rows"""
    p: float | None = None
    """chance of so many rows turned by luck (McNemar, exact); None where answers are no labels, or not paired"""
    only_first: int = 0
    """rows that only the first answers rightly"""
    only_second: int = 0

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out 0, and McNemar's test agrees where there is one."""
        return (self.low > 0 or self.high < 0) and (self.p is None or self.p < SURE)


def paired(task: Task, one: dict[str, np.ndarray], other: dict[str, np.ndarray], seed: int = 0) -> Compared:
    """Two nets on the same rows: statistics of one entry per row, in the same order."""
    rows = [{k: v for k, v in r.items() if k != "place"} for r in (one, other)]
    n, name = len(one["place"]), task.better
    values = [task.finish(r)[name] for r in rows]
    random = np.random.default_rng(seed)
    hits = [_rows.right(r) for r in rows]
    if name == "accuracy" and hits[0] is not None and hits[1] is not None:
        change = hits[1].astype(float) - hits[0].astype(float)
        draws = [change[random.integers(0, n, n)].mean() for _ in range(DRAWS)]
    else:
        at = [random.integers(0, n, n) for _ in range(DRAWS if n < 20_000 else DRAWS // 5)]
        tried = [[task.finish({k: v[i] for k, v in r.items()})[name] for r in rows] for i in at]
        draws = [second - first for first, second in tried]
    low, high = (float(v) for v in np.nanpercentile(draws, [2.5, 97.5]))
    if hits[0] is None or hits[1] is None:
        return Compared(name, values[0], values[1], values[1] - values[0], low, high, n, True)
    only = int((hits[0] & ~hits[1]).sum()), int((~hits[0] & hits[1]).sum())
    return Compared(name, values[0], values[1], values[1] - values[0], low, high, n, True, mcnemar(*only), *only)


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided chance that of the rows which only one answers rightly so uneven a share falls to one of them."""
    n, few = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    if n > 1000:  # the normal form, with its correction for whole numbers
        return math.erfc(max(0.0, abs(only_first - only_second) - 1) / math.sqrt(2 * n))
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(few + 1)) / 2**n)


def apart(name: str, one: tuple[float, float, float, int], other: tuple[float, float, float, int]) -> Compared:
    """Two nets on different rows, from (value, low, high, rows) each: the intervals are taken as independent."""
    half = math.hypot((one[2] - one[1]) / 2, (other[2] - other[1]) / 2)
    difference = other[0] - one[0]
    return Compared(
        name, one[0], other[0], difference, difference - half, difference + half, min(one[3], other[3]), False
    )
