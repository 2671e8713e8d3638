"""neighbours: the training rows that the net takes to be most like this one: it answers so because of these.

Nearness is that of the features, the input of the net's last layer with weights, found by running it (Krizhevsky 2012, section 6.1,
https://doi.org/10.1145/3065386; Papernot and McDaniel 2018, https://arxiv.org/abs/1803.04765).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import SettingError
from lamina.data._table import TRAIN, Column, Table
from lamina.explain import _columns, _draw
from lamina.explain._method import Explanation, Question, about, array, batches_of, needs_table, rows_at_a_time, rows_of
from lamina.explain._taps import recording, untouched
from lamina.tasks._task import Batch, Task, inputs

SHOWN = 6  # columns of a table: those in which the neighbours are most alike
TILE = 112  # pixels


@dataclass(frozen=True)
class Config:
    """How many are shown and among how many."""

    count: int = 8
    """neighbours"""
    rows: int = 20_000
    """training rows at most, spread evenly, among which they are looked for"""


def explain(task: Task, net: nn.Module, batch: Batch, question: Question, config: Config) -> Explanation:
    """rows (count,) int64: positions in the table, nearest first; distances (count,): Euclidean, between features.

    Raises SettingError without training data.
    """
    within("count", config.count, 1, 100)
    within("rows", config.rows, 1, 100_000_000)
    table = needs_table("neighbours", question)
    rows = rows_of(table, TRAIN, config.rows)
    with untouched(net) as inner, torch.no_grad():
        what = about(task, inner, batch, question)
        own = features(inner, batch)
        batches = batches_of(task, inner, table, rows, question)
        size = 4 * rows_at_a_time(batch["image"]) if "image" in batch else 1024
        distances, near = [], []
        for start in range(0, len(batches), size):
            part = task.prepare(batches.slice(start, start + size), training=False)
            distances.append((features(inner, part) - own).norm(dim=1))
    order = torch.argsort(torch.cat(distances), stable=True)[: config.count].cpu()
    distance = array(torch.cat(distances))[order.numpy()]
    near = rows[order.numpy()]
    prepared = task.prepare(batches.get(order), training=False)
    spread = (
        batches.tensors["numbers"].double().nan_to_num().std(0, correction=0) if "numbers" in batches.tensors else None
    )
    picture = _draw_near(table, near, distance, batch, prepared, f"Neighbours: {what}", question, spread)
    targets = [_target(table[task.target.name], int(row)) for row in near]
    same = sum(t == what.name for t in targets)
    summary = f"Nearest: {table.names[near[0]]}, {task.target.name} {targets[0]}"
    summary += "." if what.is_number else f"; {same} of the {len(near)} nearest training rows are {what.name}."
    return Explanation(
        "neighbours", str(what), {"rows": near.astype(np.int64), "distances": distance}, picture, summary
    )


def features(net: nn.Module, batch: Batch) -> Tensor:
    """(rows, width): what the last layer with weights takes, flattened. Raises SettingError when no layer has weights."""
    with recording(net, lambda m: any(True for _ in m.parameters(recurse=False))) as seen:
        net(*inputs(net, batch))
    last = next((s.taken for s in reversed(seen) if s.taken is not None and s.taken.is_floating_point()), None)
    if last is None:
        raise SettingError("neighbours needs a layer with weights, and this net has none.")
    return last.detach().float().flatten(1)


def _target(column: Column, row: int) -> str:
    value, field = column.values[row], column.field
    if field.kind == "label":
        return field.classes[value] if value >= 0 else "-"
    if field.kind == "labels":
        return ", ".join(c for c, held in zip(field.classes, value, strict=True) if held) or "none"
    return f"{float(value):,.6g}"


def _apart(column: _columns.Part, batch: Batch, others: Batch, spread: Tensor | None) -> float:
    """How far the rows are from this one in a column: in standard deviations, or the share of other categories."""
    if column.categories:
        codes = [b["categories"][:, column.categories[0]] for b in (others, batch)]
        return float((codes[0] != codes[1]).double().mean())
    first = column.numbers[0]
    apart = (others["numbers"][:, first] - batch["numbers"][:, first]).abs().double()
    scale = float(spread[first]) if spread is not None else 0.0
    return float((apart / (scale or 1.0)).nan_to_num(1.0).mean())


def _draw_near(
    table: Table,
    near: np.ndarray,
    distance: np.ndarray,
    batch: Batch,
    others: Batch,
    title: str,
    question: Question,
    spread: Tensor | None,
) -> Image.Image:
    target = next(c for n, c in table.columns.items() if n == table.target)
    captions = [_target(target, int(row)) for row in near]
    said = "the training rows whose features are nearest to those of this one"
    if "image" in batch:

        def tile(image: Tensor) -> Image.Image:
            return _draw.enlarged(_draw.pixels(array(image)), TILE)

        near_tiles = [(tile(others["image"][i]), f"{captions[i]} ({distance[i]:.3g})") for i in range(len(near))]
        half = max(1, -(-len(near_tiles) // 2))
        lines = [("this one", [(tile(batch["image"][0]), "")])]
        lines += [
            ("nearest, with target and distance" if not i else "", near_tiles[i : i + half])
            for i in range(0, len(near_tiles), half)
        ]
        return _draw.tiles(lines, title, said)
    every = sorted(_columns.columns(batch, question), key=lambda c: _apart(c, batch, others, spread))
    columns = every[:SHOWN]
    said += f"; the {SHOWN} columns in which they are most alike" if len(every) > SHOWN else ""
    head = ["", *(c.name for c in columns), target.field.name, "distance"]
    rows = [["this one", *(_columns.value(c, batch) for c in columns), "", ""]]
    for i, row in enumerate(near):
        rows.append(
            [str(table.names[row]), *(_columns.value(c, others, i) for c in columns), captions[i], f"{distance[i]:.3g}"]
        )
    return _draw.grid(head, rows, title, said)
