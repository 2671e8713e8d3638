"""Score: the number that counts on rows that chose nothing, with its interval, baselines and signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lamina import __version__
from lamina.core.figures import PER_CLASS, shown
from lamina.data._batches import Batches
from lamina.data._table import TEST, TRAIN, VALIDATION, Field, Table
from lamina.judge import baseline
from lamina.measures import labels
from lamina.tasks._task import Task
from lamina.train.evaluate import statistics

MISTAKES = 24  # rows kept for the report


@dataclass(frozen=True, repr=False)
class Score:
    """A measured number: what it is, how sure, on what."""

    name: str
    value: float
    low: float
    """lower end of the 95 % interval"""
    high: float
    rows: int
    numbers: dict[str, float]
    """everything else that was measured on the same rows"""
    baselines: dict[str, float]
    signature: str
    """data, split, rows, seed and versions"""
    mistakes: list[dict[str, Any]] = field(default_factory=list)
    """the rows with the largest loss that were answered wrongly: row (position in the table), name, target, answer, loss"""
    confusion: list[list[int]] = field(default_factory=list)
    calibration: dict[str, Any] = field(default_factory=dict)
    curves: list[dict[str, Any]] = field(default_factory=list)
    """what the task draws beside its numbers (Task.curves)"""
    complete: bool = True
    """False when training was stopped before its time"""

    def by_class(self) -> list[tuple[str, str, float]]:
        """(measure, class, value) of the numbers of one class that were measured, the least first."""
        found = [
            (n.partition(" of ")[0], n.partition(" of ")[2], v)
            for n, v in self.numbers.items()
            if n.startswith(PER_CLASS) and v is not None and not np.isnan(v)
        ]
        return sorted(found, key=lambda entry: entry[2])

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.name} {shown(self.name, self.value)} ({interval_shown(self)})  {self.signature}"

    __repr__ = __str__


def interval_shown(score: Score) -> str:
    """The interval in the units of the number."""
    return f"95 % interval {shown(score.name, score.low)} to {shown(score.name, score.high)}, n = {score.rows:,}"


def measure(task: Task, net: nn.Module, table: Table, seed: int, signature: str, *, cache: Path | None = None) -> Score:
    """Score a net on the test rows of a split table, beside the baselines. `cache` keeps pictures that were packed before."""
    return measured(task, net, table, seed, signature, cache)[0]


def measured(
    task: Task, net: nn.Module, table: Table, seed: int, signature: str, cache: Path | None = None
) -> tuple[Score, dict[str, np.ndarray]]:
    """The same, with the statistics of every test row."""
    device = next(net.parameters()).device
    test_rows = table.rows(TEST)
    batches = [
        Batches(table.take(table.rows(s)), table.inputs, task.target, device, cache) for s in (TRAIN, VALIDATION, TEST)
    ]
    rows = statistics(task, net, batches[2], final=True)
    base = baseline.all_of(task, *batches)
    return from_rows(task, rows, table, test_rows, base, seed, signature), rows


def measure_on(task: Task, net: nn.Module, table: Table, inputs: Sequence[Field], seed: int, signature: str) -> Score:
    """Score a net of these inputs on every row of a table, whatever its split; no baselines, since nothing is learned from it."""
    device = next(net.parameters()).device
    rows = statistics(task, net, Batches(table, inputs, task.target, device), final=True)
    return from_rows(task, rows, table, np.arange(len(table)), {}, seed, signature)


def from_rows(task: Task, rows: dict, table: Table, places: np.ndarray, base: dict, seed: int, signature: str) -> Score:
    """Numbers, interval and worst mistakes from statistics per row; `places` are the rows' positions in the table."""
    numbers = task.finish(rows)
    low, high = task.interval(rows, task.better, seed)
    single = task.target.kind == "label" and "probabilities" in rows
    return Score(
        name=task.better,
        value=numbers[task.better],
        low=low,
        high=high,
        rows=len(places),
        numbers=numbers,
        baselines=base,
        signature=f"{signature} {task.signature()}".rstrip(),
        mistakes=_mistakes(task, rows, table, places),
        confusion=_confusion(rows, single) if len(task.target.classes) <= 200 else [],
        calibration=labels.calibration(rows) if single else {},
        curves=task.curves(rows),
    )


def _confusion(rows: dict[str, np.ndarray], single: bool) -> list[list[int]]:
    """Counts of rows, or of pixels where each row has its own counts: true class, then answer."""
    if "confusion" in rows:
        return rows["confusion"].sum(0).tolist()
    return labels.confusion(rows).tolist() if single else []


def signature(table: Table, seed: int, split: str = "test", precision: str = "float32") -> str:
    """What a number was measured on, so that two numbers can be told to be comparable; `precision` if not the usual one."""
    import torch

    data = table.fingerprint()[:8]
    learned = "" if precision == "float32" else f" | learned in {precision}"
    return f"[{table.source} #{data} | {split} | seed {seed}{learned} | lamina {__version__} torch {torch.__version__}]"


def _mistakes(task: Task, rows: dict[str, np.ndarray], table: Table, places: np.ndarray) -> list[dict[str, Any]]:
    order = np.argsort(-rows.get("wrong", rows["loss"]), kind="stable")  # a task may say itself how wrong a row is
    found = []
    for i in order:
        told = task.told(rows, int(i))
        if told["target"] == told["answer"]:
            continue
        place = int(places[i])
        found.append({"row": place, "name": str(table.names[place]), **told, "loss": round(float(rows["loss"][i]), 4)})
        if len(found) == MISTAKES:
            break
    return found
