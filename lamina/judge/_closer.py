"""A closer look at a trained net, from what is known after scoring: slices, answering only when sure, labels, cost; and the data.

What costs nothing is always done; the checks of the data only in the seconds that are left.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import nn

from lamina.core.run import Run
from lamina.data._batches import Batches
from lamina.data._pictures import Pictures
from lamina.data._table import TEST, Table
from lamina.judge import _rows, label_errors, slices
from lamina.judge._finding import Finding
from lamina.judge.examine import examine
from lamina.tasks._task import Task
from lamina.train import harden
from lamina.train.plan import Plan

COST, CLOSER, ENERGY = "cost.json", "closer.json", "energy.json"
COUNTING = 4.0  # seconds below which operations are not counted, which took 1.4 to 2.0 on an EPYC core
LEAST = 0.5  # seconds below which the data is not looked at
FREE = ("leaks", "oddities", "duplicates", "drift")
PER_FILE, PER_ARRAY = 4e-3, 4e-4  # seconds that looking at a picture takes, decoding included


def cost(task: Task, net: nn.Module, batches: Batches, seconds: float) -> dict[str, Any]:
    """Weights, bytes of them, the most memory that was used; and operations of one answer (products and convolutions).

    Operations only where COUNTING seconds are left: torch's counter imports its compiler.
    """
    weights = sum(p.numel() for p in net.parameters())
    found: dict[str, Any] = {
        "weights": weights,
        "megabytes": round(sum(p.numel() * p.element_size() for p in net.parameters()) / 1e6, 3),
    }
    if seconds > COUNTING:
        from torch.utils.flop_counter import FlopCounterMode

        batch = task.prepare(batches.slice(0, 1), training=False)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            task.score(net.eval(), batch)
        found["operations_per_answer"] = counter.get_total_flops()
    if sys.platform != "win32":
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["most_memory_megabytes"] = round(most / (1e6 if sys.platform == "darwin" else 1e3))
    if torch.cuda.is_available():
        found["most_device_memory_megabytes"] = round(torch.cuda.max_memory_allocated() / 1e6)
    return found


def of_training(cost: dict[str, Any], plan: Plan, last: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The cost, with about how many operations the training took: forward once and back twice as much, for every row of every pass."""
    answer, passes = cost.get("operations_per_answer"), last.get("passes")
    if not answer or not passes or plan.recipe.freeze == "features":
        return cost
    forward = answer / (2 if plan.options.get("mirror") else 1)
    hardened = 1 + harden.STEPS if plan.recipe.harden else 1
    rows = config.get("rows", {}).get("train", 0)
    return {**cost, "training_operations_about": round(3 * forward * hardened * passes * rows)}


def look(task: Task, table: Table, rows: dict[str, np.ndarray], places: np.ndarray) -> dict[str, Any]:
    """Slices, selective answers and suspect labels of the test rows, plain values; {} where a row has no single label.

    rows: statistics of the test rows, at these positions of the table.
    """
    right = _rows.right(rows)
    if right is None:
        return {}
    labels = rows["target"].astype(int)
    of = "of the test rows, by this net, which never saw them"
    trusted = right.mean() > 0.7
    suspect = label_errors.told(table, places, rows["probabilities"], labels, of) if trusted else []
    return {
        "slices": [vars(s) for s in slices.find(table.take(places), right)],
        "selective": slices.selective(rows["probabilities"], right),
        "labels": [f.to_json() for f in suspect],
    }


def of_data(table: Table, seconds: float) -> dict[str, Any]:
    """What `examine` finds in so many seconds; parts that are surely too slow are not begun."""
    if seconds < LEAST:
        return {}
    pictures = [c.values for c in table.columns.values() if isinstance(c.values, Pictures)]
    texts = sum(sum(map(len, c.values)) for c in table.columns.values() if c.field.kind == "text")
    takes = sum(len(p) * (PER_ARRAY if p.array is not None else PER_FILE) for p in pictures) + texts / 1e6
    only = FREE if 3 * takes < seconds else FREE[:1]
    found = examine(table, 0.8 * seconds, only=only)
    return {**found.to_json(), "left_out": [*found.left_out, *(n for n in FREE if n not in only)]}


def read(run: Run) -> dict[str, Any]:
    """What was kept with a run: {} for an older one."""
    found, cost, energy = (run.read_json(n) if run.has(n) else {} for n in (CLOSER, COST, ENERGY))
    return {**found, "cost": {**cost, **({"energy": energy} if cost and energy else {})}}


def finding(told: dict[str, Any]) -> Finding:
    """A finding as it was before it became JSON."""
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}
    return Finding(**known)


def first_rows(table: Table, task: Task, device: torch.device) -> Batches:
    """The first test rows."""
    return Batches(table.take(table.rows(TEST)[:2]), table.inputs, task.target, device)
