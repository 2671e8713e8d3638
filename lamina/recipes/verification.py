"""Verification: do two pictures show the same symbol, drawn by two makers? Told of symbols that training never saw.

Taigman 2014 (DeepFace), https://doi.org/10.1109/CVPR.2014.220; the loss: Hermans 2017, https://arxiv.org/abs/1703.07737. No faces here:
1,911 symbols as Google and as Twitter draw them, 64x64 pixels, without variants of skin colour (which would be nearly the same
picture under two names). The symbols are divided by the seed: a fifth is test. Equal error rate: false accepts as often as
false rejects. Against it the distance of the pixels, and of the mean colours. Command: lamina recipe verification, after
lamina fetch emoji; --minutes a fit. Results: RESULTS.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import lamina
from lamina.data import _assets
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Field, Table
from lamina.recipes._recipe import Number, Outcome

SYSTEMS = ("S18",)
SEEDS = 5
MINUTES = 2.0  # a fit, scoring included
HISTORY = {"": "faces: 97.35 % of the pairs of Labeled Faces in the Wild told rightly, people 97.5 % (Taigman 2014)"}
MAKERS = ("google", "twitter")


def run(quick: bool, seed: int, folder: Path, data: str | None, minutes: float = MINUTES) -> Outcome:
    """Equal error rate on pairs of unseen symbols, of the learned distance and of distances without learning."""
    table = _digits() if quick else lamina.open(data) if data else emoji()
    how: dict[str, Any] = {"steps": 3, "batch": 16} if quick else {"minutes": minutes}
    fit = lamina.fit(table, task="verify", run=folder / "net", seed=seed, show=False, **how)
    score = fit.score()
    numbers: Number = {"learned distance: equal error rate %": 100 * score.value}
    numbers |= {f"{n}: equal error rate %": 100 * v for n, v in score.baselines.items() if n != "a coin"}
    numbers["learned distance: pairs told rightly %"] = 100 * score.numbers["pair_accuracy"]
    numbers["test pairs"] = float(score.rows)
    return Outcome(numbers, (fit,))


def emoji() -> Table:
    """Every symbol that both makers drew; the class is the symbol. Raises DataError that says how to bring them."""
    folders = [_assets.folder(f"emoji-datasource-{m}") / "package" for m in MAKERS]
    symbols = json.loads((folders[0] / "emoji.json").read_text(encoding="utf-8"))  # the variants are inside each symbol
    files, codes, names = [], [], []
    for symbol in sorted(s["image"] for s in symbols):
        pair = [folder / "img" / maker / "64" / symbol for folder, maker in zip(folders, MAKERS, strict=True)]
        if all(file.is_file() for file in pair):
            codes += [len(names)] * 2
            names.append(symbol.removesuffix(".png"))
            files += pair
    columns = {
        "image": Column(Field("image", "image"), Pictures.of_files(files)),
        "symbol": Column(Field("symbol", "label", tuple(names)), np.array(codes)),
    }
    called = np.array([f"{names[c]}/{MAKERS[i % 2]}.png" for i, c in enumerate(codes)], object)
    return Table(columns, "emoji", "emoji", called, "symbol", tried=len(files))


def _digits() -> Table:
    """Few digits, every class halved: enough classes to divide."""
    table = lamina.open("digits")
    rows = np.concatenate([np.flatnonzero(table["class"].values == c)[:12] for c in range(10)])
    half = np.arange(len(rows)) % 2
    names = tuple(f"{c}{h}" for c in range(10) for h in "ab")
    few = table.take(rows)
    column = Column(Field("class", "label", names), 2 * few["class"].values + half)
    return few.with_column(column).with_(split=None, split_rule="")
