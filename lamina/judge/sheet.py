"""sheet: one picture of a table: pictures of every class, or a small histogram per column."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lamina.data._decode import fit
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Table

TILE, GAP, TEXT = 72, 6, 16  # pixels
PER_CLASS = 10
MOST_CLASSES = 20
MOST_COLUMNS = 24
WIDE, HIGH, ACROSS = 200, 80, 4
MOST_TOKENS = 1_000_000  # of a running text, that are counted
COUNTED = {
    "text": ": words",
    "sentence": ": words",
    "running": ": tokens",
    "tags": ": tags",
}  # what the bars show of a kind
INK, PAPER, BAR = (32, 36, 44), (255, 255, 255), (64, 120, 192)


def sheet(table: Table) -> Image.Image:
    """A picture of up to 20 classes with 10 pictures each, or of up to 24 columns."""
    column = next((c for c in table.columns.values() if isinstance(c.values, Pictures)), None)
    return _pictures(table, column) if column else _columns(table)


def _pictures(table: Table, column: Column) -> Image.Image:
    target = table.columns.get(table.target or "")
    if target is not None and target.field.kind == "label":
        groups = [(n, np.flatnonzero(target.values == i)) for i, n in enumerate(target.field.classes[:MOST_CLASSES])]
    else:
        groups = [("", np.arange(len(table)))]
    label = 140 if groups[0][0] else 0
    image = Image.new("RGB", (label + PER_CLASS * (TILE + GAP) + GAP, len(groups) * (TILE + GAP) + GAP), PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(TEXT - 2)
    for y, (name, rows) in enumerate(groups):
        top = GAP + y * (TILE + GAP)
        draw.text((GAP, top + TILE // 2 - TEXT), name[:16], INK, font)
        draw.text((GAP, top + TILE // 2), f"{len(rows):,}" if name else "", (120, 124, 132), font)
        for x, row in enumerate(rows[np.linspace(0, len(rows) - 1, min(PER_CLASS, len(rows))).astype(int)]):
            tile = Image.fromarray(fit(column.values.open(int(row)), TILE, TILE, 3))
            image.paste(tile, (label + GAP + x * (TILE + GAP), top))
    return image


def _columns(table: Table) -> Image.Image:
    chosen = [c for c in table.columns.values() if c.field.kind in ("number", "date", "label", *COUNTED)]
    chosen = [c for c in chosen if c.field.kind != "running" or c.field.name != table.target]  # one token later
    chosen.sort(key=lambda c: c.field.name != table.target)  # the target first
    chosen = chosen[:MOST_COLUMNS]
    lines = -(-len(chosen) // ACROSS)
    image = Image.new("RGB", (ACROSS * (WIDE + GAP) + GAP, lines * (HIGH + TEXT + 3 * GAP) + GAP), PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(TEXT - 4)
    for i, column in enumerate(chosen):
        left = GAP + (i % ACROSS) * (WIDE + GAP)
        top = GAP + (i // ACROSS) * (HIGH + TEXT + 3 * GAP)
        mark = " (target)" if column.field.name == table.target else ""
        told = COUNTED.get(column.field.kind, "")
        draw.text((left, top), f"{column.field.name[: 22 - len(told)]}{told}{mark}", INK, font)
        _bars(lambda box: draw.rectangle(box, BAR), _heights(column), left, top + TEXT + GAP)
        draw.line((left, top + TEXT + GAP + HIGH, left + WIDE - GAP, top + TEXT + GAP + HIGH), (200, 204, 210))
    return image


def _heights(column: Column) -> np.ndarray:
    if column.field.kind == "label":
        return np.sort(np.bincount(column.values[column.values >= 0], minlength=1))[::-1][:24]
    if column.field.kind == "tags":
        return np.sort(np.bincount(np.concatenate(column.values), minlength=1))[::-1][:24]
    if column.field.kind == "running":
        held = getattr(column.values, "coded", None)
        ids = column.values.ravel() if held is None else np.asarray(held.ids[: held.ends[0] or None][:MOST_TOKENS])
        return np.sort(np.bincount(ids, minlength=1))[::-1][:24]
    if column.field.kind in COUNTED:
        words = np.array([len(text.split()) for text in column.values])
        return np.histogram(words, 24, (0, max(1, np.quantile(words, 0.98))))[0]
    known = column.values[~np.isnan(column.values)]
    return np.histogram(known, 24)[0] if len(known) else np.zeros(1, int)


def _bars(rectangle: Callable[[tuple[int, int, int, int]], None], heights: np.ndarray, left: int, top: int) -> None:
    width = (WIDE - GAP) / len(heights)
    for i, height in enumerate(heights / max(1, heights.max())):
        if height > 0:
            x = left + int(i * width)
            rectangle((x, top + HIGH - max(1, int(height * HIGH)), x + max(1, int(width) - 2), top + HIGH - 1))
