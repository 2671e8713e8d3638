"""Colour: grey photographs coloured by a classification with rebalancing, and by the square loss, which answers with brownish means.

Zhang 2016, https://arxiv.org/abs/1603.08511: colours are 313 classes of ab there, those that occur in the training pictures here; rare
ones weigh more; the answer is the annealed mean. 2,750 scenes of cut-out photographs on photographs (lamina look stamps); cut-outs and
photographs of the test are in no training scene. Command: lamina recipe colour, after lamina fetch stamps. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import lamina
from lamina.core import _drawn
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Field, Table
from lamina.recipes import _sheet
from lamina.recipes._recipe import Number, Outcome, few_digits, packed

SYSTEMS = ("S28",)
SEEDS = 3
LOSSES = ("classes", "square")
HISTORY = {
    "": "on ImageNet, area under the curve of colour errors, plain and with rare colours weighing more (Zhang 2016, table 1): grey 89.1 and 58.0 %, "
    "square loss 91.2 and 64.4 %, classes with rebalancing 89.5 and 67.3 %",
    "classes: balanced area under the curve %": "67.3",
    "square: balanced area under the curve %": "64.4",
    "grey: balanced area under the curve %": "58.0",
    "classes: area under the curve %": "89.5",
    "square: area under the curve %": "91.2",
}
MINUTES = 3.0  # of each loss
SIDE = 96  # pixels of a scene
SHOWN = 7


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """How near the colours come, and how colourful they are as a share of the truth; grey, truth and both answers side by side."""
    table = tinted(40, seed) if quick else lamina.open(data or "stamps")
    how: dict[str, Any] = {"steps": 6, "batch": 8} if quick else {"minutes": MINUTES}
    cut = (
        {"side": 16, "shorter": 16, "tiles": 1}
        if quick
        else {}
        if data
        else {"side": SIDE, "shorter": SIDE, "tiles": 1}
    )
    if not quick:
        packed(table, task="paint/colour", task_settings=cut, seed=seed)
    numbers: Number = {}
    runs: list[Any] = []
    for loss in LOSSES:
        made = lamina.fit(
            table, task="paint/colour", task_settings={**cut, "loss": loss}, net="unet",
            net_settings={"width": 8, "depth": 1, "reduce": 1} if quick else {}, run=folder / loss, seed=seed, show=False, **how,
        )  # fmt: skip
        score = made.score().numbers
        numbers[f"{loss}: balanced area under the curve %"] = 100 * score["balanced_auc"]
        numbers[f"{loss}: area under the curve %"] = 100 * score["auc"]
        numbers[f"{loss}: colourfulness, % of the truth"] = 100 * score["colourfulness"]
        numbers[f"{loss}: PSNR dB"] = score["psnr"]
        runs.append(made)
    for name, value in runs[0].score().baselines.items():
        numbers[f"{name}: balanced area under the curve %"] = 100 * value
    return Outcome(numbers, tuple(runs[:1]), (drawn(runs, table, seed, folder / "side-by-side.png"),))


def drawn(runs: list[Any], table: Table, seed: int, path: Path) -> Path:
    """Grey, truth, and both answers."""
    own = [_sheet.prepared(made, table) for made in runs]
    rows = _sheet.some(own[0], SHOWN, seed)
    shown = [_sheet.shown(made, tiles, rows) for made, tiles in zip(runs, own, strict=True)]
    sheet = [[*first, second[2]] for first, second in zip(*shown, strict=True)]
    return _sheet.sheet(sheet, ("given", "truth", "classes, rebalanced", "square loss"), path)


def tinted(rows: int, seed: int) -> Table:
    """Digits in two colours, that of each class its own, without their margin."""
    digits = few_digits(rows, seed)
    ink = digits["image"].values.array[:, 6:22, 6:22] / 255.0  # (rows, 16, 16, 1)
    colours = _drawn.colours(11)[1 + digits["class"].values][:, None, None].astype(float)
    made = np.round(ink * colours + (1 - ink) * (255 - colours) / 2).astype(np.uint8)
    column = Column(Field("image", "image"), Pictures.of_array(made))
    return digits.with_(columns={"image": column}, target=None, source="tinted digits")
