"""Dropout: AlexNet with half of the inputs of its dense layers dropped in training, and with none.

Krizhevsky 2012, https://doi.org/10.1145/3065386, section 4.2; Hinton 2012, https://arxiv.org/abs/1207.0580. 2,000 pictures of
Fashion-MNIST, so that a net of this size can learn them by heart; the same seed and rows for both. Command: lamina recipe dropout,
after lamina fetch fashion. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lamina
from lamina.recipes._recipe import Number, Outcome, clothes, pair

SYSTEMS = ("S05", "S06")
SEEDS = 5
HISTORY = {
    "": "without dropout AlexNet over-fits substantially (Krizhevsky 2012); 16.4 % top-5 error on ImageNet 2012, ZFNet 11.7 % in 2013",
    "gain of dropout, points": "6 points of top-1 error in Hinton 2012, section 5 (48.6 to 42.4 % on ImageNet 2010)",
}


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Accuracy of both, and the gain by seed; nothing else holds the net back: no augmentation, no smoothing."""
    table, numbers = clothes(quick, seed, data, 2_000), Number()
    how: dict[str, Any] = {"steps": 2, "batch": 16} if quick else {"epochs": 20}
    how |= {"augment": "none", "smoothing": 0.0, "net": "alexnet", "seed": seed, "show": False}
    runs = {
        name: lamina.fit(table, run=folder / name.replace(" ", "-"), net_settings={"dropout": share}, **how)
        for name, share in (("no dropout", 0.0), ("dropout of a half", 0.5))
    }
    pair(runs, numbers, "gain of dropout")
    return Outcome(numbers, tuple(runs.values()))
