"""Segmentation: a class for each pixel of views of levels that training never saw, by U-Net, SegNet and FCN beside each other.

Long 2015 (FCN), https://arxiv.org/abs/1411.4038; Badrinarayanan 2015 (SegNet), https://arxiv.org/abs/1511.00561; Ronneberger 2015
(U-Net), https://arxiv.org/abs/1505.04597. Views of Freedoom's levels by ViZDoom with exact truth (lamina look doom): walls, floor, and ten
classes of things; every fourth level is test. Each net has the same minutes. Command: lamina recipe segmentation, after
pip install 'lamina[made]'. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import lamina
from lamina.core import _drawn
from lamina.data._dense import Masks
from lamina.data._table import Column, Field, Table
from lamina.recipes import _sheet
from lamina.recipes._recipe import Number, Outcome, few_digits, packed

SYSTEMS = ("S24", "S25")
SEEDS = 3
HISTORY = {
    "": "mean IoU on other pictures: FCN-8s 62.2 % (PASCAL VOC 2012, Long 2015), SegNet 60.1 % (CamVid, Badrinarayanan 2015), "
    "U-Net 77.6 % (cells DIC-HeLa, Ronneberger 2015)",
}
NETS = ("unet", "segnet", "fcn")
MINUTES = 2.5  # of each net
SHOWN = 6


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Mean IoU, share of right pixels and IoU of each class by net; picture, truth and the nets' answers side by side."""
    table = written(40, seed) if quick else packed(views(data), task="segment")
    how: dict[str, Any] = {"steps": 6, "batch": 8} if quick else {"minutes": MINUTES}
    numbers: Number = {}
    runs: list[Any] = []
    for net in NETS:
        small = (
            {"unet": {"width": 4, "depth": 1}, "segnet": {"widths": "4,4", "blocks": "1,1"}}.get(net, {})
            if quick
            else {}
        )
        made = lamina.fit(
            table, task="segment", net=net, net_settings=small, run=folder / net, seed=seed, show=False, **how
        )
        score = made.score()
        numbers[f"{net}: mean IoU %"] = 100 * score.numbers["mean_iou"]
        numbers[f"{net}: pixels right %"] = 100 * score.numbers["pixel_accuracy"]
        runs.append(made)
    for name, value in runs[0].score().baselines.items():
        numbers[f"{name}: mean IoU %"] = 100 * value
    best = max(range(len(NETS)), key=lambda i: numbers[f"{NETS[i]}: mean IoU %"])
    for name, value in runs[0].score().numbers.items():
        if name.startswith("iou of ") and np.isfinite(value):
            numbers[f"{NETS[0]}: IoU of {name.removeprefix('iou of ')} %"] = 100 * value
    return Outcome(numbers, (runs[best],), (drawn(runs, table, seed, folder / "side-by-side.png"),))


def views(data: str | None) -> Table:
    """The views of doom with their masks as target, or other data with masks."""
    table = lamina.open(data or "doom")
    mask = next(n for n, c in table.columns.items() if c.field.kind == "mask")
    return table.with_(target=mask)


def drawn(runs: list[Any], table: Table, seed: int, path: Path) -> Path:
    """Test pictures, their truth and every net's answer, with what the colours mean."""
    own = _sheet.prepared(runs[0], table)
    rows = _sheet.some(own, SHOWN, seed)
    shown = [_sheet.shown(made, own, rows) for made in runs]
    sheet = [[*shown[0][i], *(other[i][2] for other in shown[1:])] for i in range(len(rows))]
    classes = runs[0].classes
    colours = dict(zip(classes, _drawn.colours(len(classes)), strict=False))
    return _sheet.sheet(sheet, ("picture", "truth", *NETS), path, colours=colours)


def written(rows: int, seed: int) -> Table:
    """The same on digits: which pixels are ink."""
    digits = few_digits(rows, seed)
    ink = (digits["image"].values.array[..., 0] > 127).astype(np.uint8)
    mask = Column(Field("mask", "mask", ("paper", "ink")), Masks.of_array(ink))
    return digits.with_(columns={"image": digits["image"], "mask": mask}, target="mask")
