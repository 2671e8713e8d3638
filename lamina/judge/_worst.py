"""Pictures of the rows that were answered worst: what was given, the truth and the answer side by side, kept with the run."""

from __future__ import annotations

import numpy as np
import safetensors.numpy
import torch
from torch import nn

from lamina.core import _drawn
from lamina.core.run import Run
from lamina.data._batches import Batches
from lamina.data._table import Table
from lamina.judge.score import Score
from lamina.tasks._task import Task

FILE = "worst.safetensors"
MOST = 12


@torch.no_grad()
def kept(task: Task, net: nn.Module, table: Table, score: Score) -> bytes | None:
    """The file, by position of the row; None where the task draws nothing."""
    rows = np.array([m["row"] for m in score.mistakes[:MOST]], np.int64)
    if not len(rows):
        return None
    batches = Batches(table.take(rows), table.inputs, task.target, next(net.parameters()).device)
    net.eval()
    drawn = task.shown(net, task.prepare(batches.slice(0, len(rows)), training=False))
    if drawn is None:
        return None
    return safetensors.numpy.save({str(r): _drawn.beside(d) for r, d in zip(rows, drawn, strict=True)})


def read(run: Run) -> dict[int, np.ndarray]:
    """Position of the row -> uint8 (height, width, 3); {} where nothing was kept."""
    if not run.has(FILE):
        return {}
    return {int(name): pixels for name, pixels in safetensors.numpy.load(run.read(FILE)).items()}
