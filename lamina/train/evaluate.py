"""Statistics of every row, without gradients, in large batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.data._asked import tables
from lamina.data._batches import Batches
from lamina.data._table import Field, Table
from lamina.tasks._task import Batch, Task

Asked = tuple[list[tuple[str, Any]], list[tuple[str, str]]]
BATCH = 512  # rows; a picture of 224 x 224 x 3 is a seventeenth of that
TOKENS = 4096  # per batch of a running text
PIXELS = 512 * 32 * 32 * 3  # about as many input values per batch
HELD = 4  # batches of asked rows that are decoded at once


def batch_rows(batches: Batches) -> int:
    """Rows per batch so that inputs of any size take about the same memory."""
    if batches.window:
        return max(1, TOKENS // batches.window)
    return rows_of(batches.image_shape)


def rows_of(shape: tuple[int, ...] | None) -> int:
    """The same for pictures of a shape, or for rows without one."""
    return BATCH if shape is None else max(8, min(1024, PIXELS // max(1, math.prod(shape))))


def mode(net: nn.Module, training: bool) -> None:
    """Training or answering mode; what is frozen (freeze.py) keeps its statistics and drops nothing in either."""
    net.train(training)
    for module in net.modules() if training else ():
        if getattr(module, "frozen", False):
            module.eval()


@torch.no_grad()
def statistics(task: Task, net: nn.Module, batches: Batches, final: bool = False) -> dict[str, np.ndarray]:
    """task.score (or `final`) of all rows in order, as arrays of one entry per row. The net is left in the mode it was in."""
    training = net.training
    net.eval()
    found = _stacked(batches, ((task.final if final else task.score)(net, batch) for batch in _prepared(task, batches)))
    mode(net, training)
    return found


@torch.no_grad()
def answers(task: Task, net: nn.Module, batches: Batches) -> list[Any]:
    """task.answer of all rows in order, by the net in its answering mode."""
    net.eval()
    found = [answer for batch in _prepared(task, batches) for answer in task.answer(net, batch)]
    back = _back(batches)
    return found if back is None else [found[place] for place in back]


@torch.no_grad()
def outputs(task: Task, net: nn.Module, batches: Batches, exact: bool = False) -> dict[str, np.ndarray]:
    """task.output (or `exact`) of all rows in order, as arrays of one entry per row, by the net in its answering mode."""
    net.eval()
    give = task.exact if exact else task.output
    return _stacked(batches, (give(net, batch) for batch in _prepared(task, batches)))


def _stacked(batches: Batches, given: Iterator[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    parts, back = [{k: v.cpu().numpy() for k, v in part.items()} for part in given], _back(batches)
    found = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]} if parts else {}
    return found if back is None else {k: v[back] for k, v in found.items()}


def _back(batches: Batches) -> np.ndarray | None:
    """Where each row came among those that _prepared gave; None when they came in order."""
    parts = batches.parts(batch_rows(batches))
    return None if parts is None else np.argsort(np.concatenate([p.numpy() for p in parts]), kind="stable")


def asked(task: Task, net: nn.Module, inputs: Sequence[Field], *sources: Any) -> Asked:
    """(name of the row, answer) in the order asked, and (where, why) of what could not be read.

    Sources are files, folders, tables, rows (dicts) or arrays. Raises DataError when nothing of a source can be read.
    """
    own = task.asked(net, sources, tuple(inputs))
    if own is not None:
        return own, []
    found: list[tuple[str, Any]] = []
    bad: list[tuple[str, str]] = []
    for table in tables(sources, [*inputs, task.target], inputs):
        net.eval()
        with torch.no_grad():
            told = task.placed(net, table, inputs)
        if told is None:
            parts = _ahead(table, inputs, next(net.parameters()).device)
            told = [a for batches in parts for a in answers(task, net, batches)]
        found += zip((str(n) for n in table.names), told, strict=True)
        bad += [(b.where, b.why) for b in table.bad]
    return found, bad


def _ahead(table: Table, inputs: Sequence[Field], device: torch.device) -> Iterator[Batches]:
    """The rows of a table in order, some batches at a time: while these are answered the next ones are decoded."""
    image = next((f.shape for f in inputs if f.kind == "image"), None)
    size = HELD * rows_of(image)
    parts = (table.take(np.arange(start, min(start + size, len(table)))) for start in range(0, len(table), size))
    with ThreadPoolExecutor(1) as reader:
        waiting: Future[Batches] | None = None
        for part in parts:
            following = reader.submit(Batches, part, inputs, None, device)
            if waiting:
                yield waiting.result()
            waiting = following
        if waiting:
            yield waiting.result()


def _prepared(task: Task, batches: Batches) -> Iterator[Batch]:
    size = batch_rows(batches)
    for rows in batches.parts(size) or []:
        yield task.prepare(batches.get(rows), training=False)
    for start in range(0, len(batches) if batches.texts is None else 0, size):
        yield task.prepare(batches.slice(start, start + size), training=False)
