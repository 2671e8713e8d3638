"""learning_curve: what twice the training rows would bring, by fits on parts of them and a power law.

The error falls with the rows as n ** -b (Hestness 2017, https://arxiv.org/abs/1712.00409): b is the slope of its logarithm over
that of n, fitted to nets that learned from parts as the run did. The interval is over test rows (a bootstrap that takes the same rows
for every net) and over what is left beside the line (Student's t). It says what is likely if the law goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.core.figures import PERCENT, shown
from lamina.data._table import TEST, TRAIN, VALIDATION, Table
from lamina.judge._refit import Again
from lamina.measures.interval import T95
from lamina.tasks._task import Task
from lamina.train.plan import task_of

SHARES = (0.125, 0.125, 0.25, 0.5)  # of the training rows; the run itself is the whole
LEAST = 24  # rows of the smallest part
DRAWS = 300


@dataclass(frozen=True)
class Curve:
    """What was measured on the same test rows after learning from so many rows, and what is to be expected of twice the rows."""

    name: str
    rows: list[int]
    values: list[float]
    """one each; the last is the run's own"""
    slope: float
    """b: twice the rows multiply the error by 2 ** -b"""
    twice: float
    """expected of twice the rows, and its 95 % interval"""
    low: float
    high: float
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return vars(self)


def measure(
    again: Again, table: Table, own: dict[str, np.ndarray], say: Callable[[str], None] = lambda _: None
) -> Curve | str:
    """The curve of a run, or why there is none. own: statistics of the test rows by the run's net, in their order."""
    task = task_of(again.plan.task, again.plan.target, again.plan.options)
    if not (task.lower_is_better or task.better in PERCENT):
        return f"{task.better.replace('_', ' ')} is no share and no error: no law is known for it"
    train, others = table.rows(TRAIN), np.concatenate([table.rows(VALIDATION), table.rows(TEST)])
    if SHARES[0] * len(train) < LEAST or not again.steps:
        return f"an eighth of {len(train)} training rows are too few to learn from"
    random, found, rows = np.random.default_rng([again.plan.recipe.seed, 21]), [], []
    for share in SHARES:
        part = np.sort(random.permutation(train)[: round(share * len(train))])
        say(f"learning from {len(part):,} of {len(train):,} rows")
        found.append(again.tested(table.take(np.sort(np.concatenate([part, others]))), math.sqrt(share))[1])
        rows.append(len(part))
    return law(task, [*rows, len(train)], [*found, own])


def law(task: Task, rows: list[int], found: list[dict[str, np.ndarray]], seed: int = 0) -> Curve:
    """The power law of nets that learned from so many rows; statistics of the same test rows each, the last the run's own."""
    count, x = len(found[0]["loss"]), np.log(np.array(rows, float))
    values = [task.finish(f)[task.better] for f in found]
    errors = np.array([_error(task, v, count) for v in values])
    shares = not task.lower_is_better
    weight = errors if shares else np.ones(len(errors))  # the logarithm of a rare error is known the least
    slope, rest = _line(x, np.log(errors), weight)
    spread = T95[min(len(x) - 3, 29)] / 1.96  # few points: their spread is known badly
    bend = rest / math.sqrt(float((weight / weight.sum() * (x - np.average(x, weights=weight)) ** 2).sum() * len(x)))
    random, drawn = np.random.default_rng([seed, 22]), []
    for _ in range(DRAWS):
        at = random.integers(0, count, count)
        again = np.array(
            [_error(task, task.finish({k: v[at] for k, v in f.items()})[task.better], count) for f in found]
        )
        b = _line(x, np.log(again), weight)[0] + spread * bend * random.normal()
        drawn.append(again[-1] * 2**b * math.exp(rest * random.normal()))
    twice = [errors[-1] * 2**slope, *np.nanpercentile(drawn, (2.5, 97.5))]
    told = [1 - min(1.0, t) if shares else t for t in twice]
    low, high = sorted(told[1:])
    return Curve(task.better, rows, [float(v) for v in values], float(-slope), float(told[0]), float(low), float(high),
                 _sentence(task, rows[-1], float(values[-1]), told[0], low, high))  # fmt: skip


def _error(task: Task, value: float, count: int) -> float:
    """Above 0: of a share what is missing, never less than half a row."""
    return max(value, 1e-12) if task.lower_is_better else (max(0.0, 1 - value) * count + 0.5) / (count + 1)


def _line(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Slope of a weighted line, and the standard deviation of what is left beside it."""
    mid, high = np.average(x, weights=weight), np.average(y, weights=weight)
    slope = float((weight * (x - mid) * (y - high)).sum() / (weight * (x - mid) ** 2).sum())
    left = y - high - slope * (x - mid)
    return slope, math.sqrt(float((weight * left**2).sum() / weight.sum()) * len(x) / (len(x) - 2))


def _sentence(task: Task, rows: int, now: float, twice: float, low: float, high: float) -> str:
    name, better = task.better.replace("_", " "), -1 if task.lower_is_better else 1
    interval = f"95 % interval {shown(task.better, low)} to {shown(task.better, high)}"
    sure = (low if better > 0 else high) * better > now * better
    start = f"Twice the training rows ({2 * rows:,})"
    if better * (twice - now) <= 0:
        return f"{start} would bring nothing ({interval}; {name} is {shown(task.better, now)})."
    end = "" if sure else "; that it brings nothing is not ruled out"
    return f"{start} would bring {name} from {shown(task.better, now)} to about {shown(task.better, twice)} ({interval}{end})."
