"""The plan of a run carried out anew, on other rows or other labels: what the learning curve and the shuffled labels are made of."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from lamina.core.run import Run
from lamina.data._batches import Batches
from lamina.data._store import shared
from lamina.data._table import TEST, TRAIN, Table
from lamina.tasks._task import Task
from lamina.train import engine, evaluate
from lamina.train import plan as planning
from lamina.train.begin import START
from lamina.train.plan import Plan

FEWEST = 20  # weight updates


@dataclass(frozen=True)
class Again:
    """A run that is carried out anew: its plan as it began, the folder of its weights, and the device."""

    plan: Plan
    run: Run
    device: torch.device

    @property
    def steps(self) -> int:
        """Weight updates that the run did."""
        return max([r.get("step", 0) for r in self.run.history("report")] or [0])

    def tested(self, table: Table, share: float, chosen: bool = True) -> tuple[Task, dict[str, np.ndarray]]:
        """Learn from the table's training rows with this share of the run's updates; statistics of its test rows.

        chosen: the net that is best on the validation rows is taken, as in the run; else the last one, without an early end. The run
        itself and its files stay as they are.
        """
        steps, rows = max(FEWEST, round(share * self.steps)), len(table.rows(TRAIN))
        batch = min(self.plan.recipe.batch or rows, rows)
        recipe = replace(self.plan.recipe, minutes=None, epochs=None, steps=steps, batch=batch)
        recipe = recipe if chosen else replace(recipe, patience=None)
        plan = replace(self.plan, recipe=recipe)
        with tempfile.TemporaryDirectory() as folder:
            aside = Run.create(Path(folder) / "run")
            if self.run.has(START):
                aside.write(START, self.run.read(START))
            task, net = planning.build(plan, table, self.device, aside)
            for _ in engine.fit(task, net, table, recipe, aside):
                pass
            if chosen:
                net.load_state_dict(safetensors.torch.load(aside.read("best.safetensors")))
        return task, self.measured(task, net, table)

    def measured(self, task: Task, net: torch.nn.Module, table: Table) -> dict[str, np.ndarray]:
        """Statistics of the test rows."""
        test = Batches(table.take(table.rows(TEST)), self.plan.inputs, self.plan.target, self.device, shared())
        return evaluate.statistics(task, net.eval(), test, final=True)
