"""Six lines: from handwritten digits to a trained, scored and asked net in six lines of Python.

Command: lamina recipe six_lines. 5,000 digits of MNIST (LeCun 1998, https://doi.org/10.1109/5.726791) that come with Lamina
Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import lamina
from lamina.data._table import TEST
from lamina.recipes._recipe import Outcome, percent, some

SYSTEMS = ("S03",)
SEEDS = 3
LINES = """
import lamina
table = lamina.open("digits")
run = lamina.fit(table)
print(run.score())
print(run.ask(picture))
print(run.report())
"""
HISTORY = {
    "": "a six-step digit classifier in a few lines of Keras (the lectures, 2016)",
    "lines of Python": "six steps",
    "accuracy %": "about 98 to 99 on the 60,000 digits of MNIST with the first nets of tutorials",
}


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """What the six lines do, with a seed and a place; accuracy on the test rows, and whether the picture was named rightly."""
    table = lamina.open(data or "digits")
    table = some(table, 200, seed) if quick else table
    budget = {"steps": 3, "batch": 16} if quick else {}
    run_ = lamina.fit(table, run=folder / "digits", seed=seed, show=False, **budget)
    column = next(c for c in table.columns.values() if c.field.kind == "image")
    rows = table.rows(TEST)[:: max(1, len(table.rows(TEST)) // 20)][:20]
    answers = run_.ask(np.stack([column.values.open(int(row)) for row in rows]))
    target = table[table.target or ""]
    right = [a.chosen[0] == target.field.classes[target.values[row]] for a, row in zip(answers, rows, strict=True)]
    numbers = {
        "lines of Python": float(len(LINES.strip().splitlines())),
        "accuracy %": percent(run_),
        "of 20 pictures asked, named rightly": float(sum(right)),
    }
    return Outcome(numbers, (run_,))
