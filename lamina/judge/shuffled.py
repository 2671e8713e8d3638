"""shuffled: the labels are dealt out anew and the net learns again: what it then scores above chance, it cannot have learned.

After Ojala and Garriga 2010, https://www.jmlr.org/papers/v11/ojala10a.html. Rows that are equal in all inputs keep one label
together, so that copies of test rows among the training rows are found, as is a target that reaches the inputs on the way. The
net learns as long as the run did, and the last one is taken: no validation could choose it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from lamina.core.figures import shown
from lamina.data._batches import DENSE, Batches
from lamina.data._pictures import Pictures
from lamina.data._table import TEST, TRAIN, Table
from lamina.judge import baseline
from lamina.judge._refit import Again
from lamina.judge.findings import _row_keys

SURE = 3.3  # standard errors above chance: one false alarm in 2,000


@dataclass(frozen=True)
class Shuffled:
    """What a net scores that learned from shuffled labels, and what the best constant answer scores on the same rows."""

    name: str
    value: float
    low: float
    high: float
    chance: float
    leaks: bool
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return vars(self)


def dealt(table: Table, seed: int) -> Table:
    """The table with its target's values dealt out anew; rows with equal inputs get one value together."""
    target = table[table.target or ""]
    keys = np.arange(len(table)) if _coarse(table) else np.unique(_row_keys(table), return_inverse=True)[1].reshape(-1)
    first = np.unique(keys, return_index=True)[1]
    order = np.random.default_rng([seed, 23]).permutation(first)
    return table.with_column(replace(target, values=target.values[order[keys]]))


def _coarse(table: Table) -> bool:
    """Whether rows are equal by chance: columns with few values in few combinations (the birthday problem)."""
    if any(isinstance(c.values, Pictures) for c in table.columns.values()):
        return False
    counts = [
        len(np.unique(c.values)) for n, c in table.columns.items() if n != table.target and c.values.dtype != object
    ]
    return sum(math.log(n) for n in counts) < 2 * math.log(max(2, len(table))) + math.log(10)


def measure(again: Again, table: Table) -> Shuffled | str:
    """Learn from shuffled labels and score on the test rows; or why that cannot be done."""
    target = table[table.target or ""]
    if target.field.kind in DENSE or target.field.kind not in ("label", "labels", "number"):
        return f"a {target.field.kind} belongs to its own row and cannot be dealt out anew"
    mixed = dealt(table, again.plan.recipe.seed)
    task, rows = again.tested(mixed, 1.0, chosen=False)
    parts = [Batches(mixed.take(mixed.rows(s)), [], target.field, torch.device("cpu")) for s in (TRAIN, TEST)]
    value, chance = task.finish(rows)[task.better], baseline.constant(task, *parts)
    low, high = task.interval(rows, task.better, again.plan.recipe.seed)
    better = -1 if task.lower_is_better else 1
    error = max((high - low) / (2 * 1.96), 1e-9)
    leaks = math.isfinite(value) and better * (value - chance) > SURE * error
    name = task.better.replace("_", " ")
    told = f"{name} {shown(task.better, value)} where always the same answer gets {shown(task.better, chance)}"
    sentence = (
        f"After learning from shuffled labels it still scores: {told}. The test rows' answers reach it: look for copies of rows and for leaks."
        if leaks
        else f"From shuffled labels it learns nothing, as it should: {told}."
    )
    return Shuffled(task.better, float(value), float(low), float(high), float(chance), bool(leaks), sentence)
