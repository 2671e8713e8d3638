"""Rows of a table to look at in the report: the worst mistakes, and pictures as the net saw them in training."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from PIL import Image

from lamina.core import _drawn
from lamina.core.drawing import rectangles
from lamina.core.errors import DataError
from lamina.core.figures import shown
from lamina.data._augment import named
from lamina.data._batches import DENSE, Batches
from lamina.data._pictures import Pictures
from lamina.data._table import TRAIN, Column, Field, Table
from lamina.judge.score import MISTAKES
from lamina.train.plan import Plan, task_of
from lamina.train.step import Order

SIDE = 160  # pixels of a picture in the report, at most
WIDE = 640  # of pictures side by side
TINY = 80  # pixels below which a picture is enlarged without smoothing
SEEN = 16  # pictures of a batch
MOST_COLUMNS = 8  # of a table
MOST_ROWS = 12


def image_field(plan: Plan) -> Field | None:
    """The picture column, if there is one."""
    return next((f for f in plan.inputs if f.kind == "image"), None)


def said(value: Any) -> str:
    """A target or an answer as people read it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(str(v) for v in value) or "none"
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def data_uri(pixels: np.ndarray, most: int = SIDE) -> str:
    """uint8 (height, width, 1|3) -> a PNG inside a data address, `most` pixels a side; tiny ones in whole multiples."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    largest = max(image.size)
    if largest < TINY:
        times = max(1, 112 // largest)
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    else:
        image.thumbnail((most, most), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _picture(values: Any, row: int, marks: dict[str, Any] | None = None) -> str:
    """Data address of a row, "" when its file is gone; boxes that are true broken, those that were answered full."""
    try:
        pixels = values.open(row) if isinstance(values, Pictures) else values[row].transpose(1, 2, 0)
        for name, boxes in (marks or {}).items():
            sides = [[b[side] for side in ("left", "top", "right", "bottom")] for b in boxes]
            texts, names = [f"{b['class']} {100 * b['score']:.0f}" for b in boxes], [b["class"] for b in boxes]
            pixels = rectangles(pixels, sides, texts, names, dashed=name == "target")
        return data_uri(pixels, 2 * SIDE if marks else SIDE)
    except (DataError, IndexError):
        return ""


def mistakes(
    found: Sequence[dict[str, Any]], table: Table, plan: Plan, drawn: Mapping[int, np.ndarray]
) -> list[dict[str, Any]]:
    """The stored mistakes with what is shown of them: picture or values, target, answer, probability or error.

    drawn: of rows whose answer is a picture, what was given, truth and answer side by side; rows without one are left out.
    """
    found = [m for m in found if not drawn or m["row"] in drawn]
    image = image_field(plan)
    images = [f for f in plan.inputs if f.kind == "image"]
    columns = shown_columns(plan)
    made = []
    for mistake in found[: MISTAKES if image else MOST_ROWS]:
        row, target, answer = mistake["row"], mistake["target"], mistake["answer"]
        known = 0 <= row < len(table)
        number = isinstance(target, float) and isinstance(answer, float)
        sure = mistake.get("probability")
        made.append({
            "name": mistake["name"],
            "target": said(target),
            "answer": said(answer),
            "sure": f"{100 * sure:.0f} %" if sure is not None and math.isfinite(sure) else "",
            "error": f"{'-' if answer < target else '+'}{shown('', abs(answer - target))}" if number else "",
            "pictures": [data_uri(drawn[row], WIDE)]
            if row in drawn
            else [_picture(table[f.name].values, row, mistake.get("marks")) if known else "" for f in images],
            "said": mistake.get("said", ""),
            "values": [value_shown(table[f.name], row) if known else "-" for f in columns],
        })  # fmt: skip
    return made


def shown_columns(plan: Plan) -> list[Field]:
    """The first columns of a table without pictures."""
    return [] if image_field(plan) else list(plan.inputs[:MOST_COLUMNS])


def value_shown(column: Column, row: int) -> str:
    """A value of a column as people read it."""
    value, kind = column.values[row], column.field.kind
    if kind == "label":
        return column.field.classes[value] if value >= 0 else "-"
    if kind == "date":
        return "-" if np.isnan(value) else f"{datetime.fromtimestamp(float(value), UTC):%Y-%m-%d}"
    return said(float(value)) if kind == "number" else str(value)


def batch_seen(table: Table, plan: Plan) -> list[dict[str, str]]:
    """The first SEEN pictures of the first pass, changed exactly as in training, and their targets."""
    image = image_field(plan)
    train = table.rows(TRAIN)
    if image is None or not len(train):
        return []
    seed = plan.recipe.seed
    chosen = Order(len(train), min(SEEN, len(train)), seed)(0)[0]
    part = table.take(train[chosen.numpy()])
    augment, passes = named(plan.recipe.augment), torch.zeros_like(chosen)
    placed = plan.target.kind in (*DENSE, "boxes")  # drawn by the task, moved with the picture
    try:
        batch = Batches(part, [image], plan.target if placed else None, torch.device("cpu"))
    except DataError:  # a file is gone since training
        return []
    if placed:
        task = task_of(plan.task, plan.target, plan.options)
        pairs = task.seen(task.change(batch.slice(0, len(chosen)), augment, seed, passes, chosen)) or []
        names = [str(n) for n in part.names]
        return [
            {"picture": data_uri(_drawn.beside(p), 2 * SIDE), "target": n} for p, n in zip(pairs, names, strict=True)
        ]
    changed = augment(batch.tensors["image"], seed, passes, chosen)
    if augment.mixes:
        changed, _ = augment.mix(changed, seed, passes, chosen)
    pixels = changed.round().clamp(0, 255).to(torch.uint8) if changed.is_floating_point() else changed
    arrays = pixels.permute(0, 2, 3, 1).numpy()
    target = part[plan.target.name]
    return [{"picture": data_uri(a), "target": _target(target, i)} for i, a in enumerate(arrays)]


def _target(column: Column, row: int) -> str:
    if column.field.kind == "same":
        return "same" if column.values[row, 0] == column.values[row, 1] else "different"
    if column.field.kind == "labels":
        return said([c for c, held in zip(column.field.classes, column.values[row], strict=True) if held])
    return value_shown(column, row)
