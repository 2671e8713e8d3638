"""Sheets of recipes as PNG: what was given, the truth and answers beside each other, a row of pictures for a row of the table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from lamina.core import _drawn
from lamina.data._batches import Batches
from lamina.data._table import TEST, Table
from lamina.explain._draw import DIM, INK, PAPER, font

WIDE, GAP, HEAD, LINE = 256, 8, 28, 20  # pixels of a picture's width, between pictures, of heads, of lines of text
LEGEND = 130  # pixels of an entry
Picture = np.ndarray  # uint8 (height, width, 1|3)


def sheet(
    rows: Sequence[Sequence[Picture]], heads: Sequence[str], path: Path, said: Sequence[str] = (), colours: dict[str, Any] | None = None,
    wide: int = WIDE,
) -> Path:  # fmt: skip
    """Rows of pictures, `wide` pixels each, under heads, a sentence (with line breaks) under each row, and what colours mean; returns the path."""
    made = [[_wide(p, wide) for p in row] for row in rows]
    lines = [text.count("\n") + 1 if text else 0 for text in said] or [0] * len(rows)
    high = [max(p.height for p in row) + GAP + LINE * n for row, n in zip(made, lines, strict=True)]
    width = len(heads) * (wide + GAP) + GAP
    across = max(1, (width - GAP) // LEGEND)
    legend = LINE * -(-len(colours) // across) + GAP if colours else 0
    canvas = Image.new("RGB", (width, HEAD + sum(high) + legend + GAP), PAPER)
    draw, top = ImageDraw.Draw(canvas), HEAD
    for i, head in enumerate(heads):
        draw.text((GAP + i * (wide + GAP), 5), head, INK, font(15, head))
    for i, row in enumerate(made):
        for k, picture in enumerate(row):
            canvas.paste(picture, (GAP + k * (wide + GAP), top))
        for k, text in enumerate(said[i].split("\n") if lines[i] else ()):
            draw.text((GAP, top + max(p.height for p in row) + 2 + k * LINE), text, DIM, font(14, text))
        top += high[i]
    for i, (name, colour) in enumerate((colours or {}).items()):
        x, y = GAP + i % across * LEGEND, top + i // across * LINE
        draw.rectangle((x, y + 2, x + 14, y + 15), fill=tuple(int(c) for c in colour))
        draw.text((x + 20, y), name, INK, font(13, name))
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path)
    return path


def _wide(pixels: Picture, wide: int) -> Image.Image:
    image = Image.fromarray(_drawn.three(np.ascontiguousarray(pixels)))
    way = Image.Resampling.NEAREST if image.width < wide else Image.Resampling.LANCZOS
    return image.resize((wide, round(wide * image.height / image.width)), way)


@torch.no_grad()
def shown(run: Any, table: Table, rows: np.ndarray) -> list[list[Picture]]:
    """What a run's task shows of these rows of a table: picture, truth, answer."""
    inputs = run.plan.inputs
    device = next(run.net.parameters()).device
    batches = Batches(table.take(rows), inputs, run.task.target, device)
    batch = run.task.prepare(batches.slice(0, len(rows)), training=False)
    return run.task.shown(run.net.eval(), batch) or []


def some(table: Table, count: int, seed: int) -> np.ndarray:
    """Positions of so many test rows, drawn by the seed, in order."""
    rows = table.rows(TEST)
    return np.sort(np.random.default_rng([seed, 19]).permutation(rows)[:count])


def prepared(run: Any, source: Any) -> Table:
    """The table of a source as the run learned from it: split, in the net's frame, its target made. Raises DataError."""
    from lamina import _saved

    return _saved.same_table(run.config, run.plan, source)
