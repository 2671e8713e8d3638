"""Auxiliary heads: GoogLeNet with side heads that answer from the middle in training, and without.

Szegedy 2014, https://arxiv.org/abs/1409.4842, section 5. 4,000 pictures of Fashion-MNIST, 22 layers with a quarter of the channels,
no batch normalisation as in the paper's net, the same seed and rows for both. Command: lamina recipe auxiliary, after lamina fetch
fashion. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lamina
from lamina.recipes._recipe import Number, Outcome, clothes, pair

SYSTEMS = ("S07",)
SEEDS = 3
HISTORY = {
    "": "6.7 % top-5 error on ImageNet 2014 (Szegedy 2014)",
    "gain of side heads, points": "about 0.5, and one head does what two do (Szegedy 2014, section 5)",
}


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Accuracy of both, and the gain by seed."""
    table, numbers = clothes(quick, seed, data, 4_000), Number()
    how: dict[str, Any] = {"steps": 2, "batch": 16} if quick else {"epochs": 8}
    how |= {"net": "googlenet", "seed": seed, "show": False}
    settings = {"stem": "half", "width": 4 if quick else 16, "norm": "none"}
    runs = {
        name: lamina.fit(table, run=folder / name.replace(" ", "-"), net_settings={**settings, "auxiliary": on}, **how)
        for name, on in (("no side heads", False), ("two side heads", True))
    }
    pair(runs, numbers, "gain of side heads")
    return Outcome(numbers, tuple(runs.values()))
