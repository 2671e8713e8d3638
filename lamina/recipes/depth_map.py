"""Depth: how far away each pixel of a single picture is, in levels that training never saw, beside two answers that look at nothing.

Eigen 2014, https://arxiv.org/abs/1406.2283; Liu 2015, https://arxiv.org/abs/1502.07411. Views of Freedoom's levels by ViZDoom with the
renderer's own depth (lamina look doom); every fourth level is test. A U-Net learns the logarithm of the depth, by the absolute
and by the square loss. Command: lamina recipe depth_map, after pip install 'lamina[made]'. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import lamina
from lamina.data._dense import Floats
from lamina.data._table import Column, Field, Table
from lamina.recipes import _sheet
from lamina.recipes._recipe import Number, Outcome, few_digits, packed

SYSTEMS = ("S27",)
SEEDS = 3
HISTORY = {
    "": "absolute relative error on photographs of rooms (NYU v2): predicting the mean 0.403, a convolutional net 0.215 (Eigen 2014, table 1), "
    "with a field over superpixels 0.213 (Liu 2015)",
    "the mean everywhere: absolute relative error": "0.403",
    "absolute loss: absolute relative error": "0.215",
}
MINUTES = 4.0  # of each loss
SHOWN = 6


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Absolute relative error, share of pixels within 25 %, error of constant answers; picture, truth and answers side by side."""
    table = strokes(40, seed) if quick else packed(views(data), task="paint/depth")
    how: dict[str, Any] = {"steps": 6, "batch": 8} if quick else {"minutes": MINUTES}
    small = {"width": 4, "depth": 1} if quick else {}
    numbers: Number = {}
    runs: list[Any] = []
    for loss in ("absolute", "square"):
        made = lamina.fit(
            table, task="paint/depth", task_settings={"loss": loss}, net="unet", net_settings=small, run=folder / loss,
            seed=seed, show=False, **how,
        )  # fmt: skip
        score = made.score()
        numbers[f"{loss} loss: absolute relative error"] = score.value
        numbers[f"{loss} loss: pixels within 25 %, %"] = 100 * score.numbers["within_25_percent"]
        runs.append(made)
    for name, value in runs[0].score().baselines.items():
        numbers[f"{name}: absolute relative error"] = value
    return Outcome(numbers, tuple(runs[:1]), (drawn(runs, table, seed, folder / "side-by-side.png"),))


def views(data: str | None) -> Table:
    """The views of doom with their depth as target, or other data with a picture of values."""
    table = lamina.open(data or "doom")
    return table.with_(target=next(n for n, c in table.columns.items() if c.field.kind == "picture"))


def drawn(runs: list[Any], table: Table, seed: int, path: Path) -> Path:
    """Test pictures, their depth, and the answers, near dark and far bright, all on the scale of the truth."""
    own = _sheet.prepared(runs[0], table)
    rows = _sheet.some(own, SHOWN, seed)
    shown = [_sheet.shown(made, own, rows) for made in runs]
    sheet = [[*first, second[2]] for first, second in zip(*shown, strict=True)]
    return _sheet.sheet(sheet, ("picture", "truth", "absolute loss", "square loss"), path)


def strokes(rows: int, seed: int) -> Table:
    """The same on digits: how dark each pixel is, as a depth."""
    digits = few_digits(rows, seed)
    deep = 1 + digits["image"].values.array[..., 0].astype(np.float32) / 64
    depth = Column(Field("depth", "picture"), Floats.of_array(deep))
    return digits.with_(columns={"image": digits["image"], "depth": depth}, target="depth")
