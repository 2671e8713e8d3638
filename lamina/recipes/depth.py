"""Depth matters: plain nets of 56 layers learn worse than those of 20, residual ones do not.

He 2015, https://arxiv.org/abs/1512.03385, figure 6 (CIFAR-10). 10,000 pictures of Fashion-MNIST, 8 channels at first, pictures
halved by the stem, the same seed and rows for all four nets. Command: lamina recipe depth, after lamina fetch fashion. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lamina
from lamina.recipes._recipe import Outcome, clothes, percent

SYSTEMS = ("S08",)
SEEDS = 3
HISTORY = {
    "": "CIFAR-10, error: plain 20 layers 9.0 %, plain 56 layers about 13 %; residual 20 layers 8.75 %, 56 layers 6.97 % (He 2015)",
    "plain: 56 minus 20 layers, points": "about -4",
    "residual: 56 minus 20 layers, points": "+1.78",
}


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Accuracy of the four nets, and 56 minus 20 layers by seed."""
    table, numbers, runs = clothes(quick, seed, data, 10_000), {}, []
    layers = (8, 14) if quick else (20, 56)
    how: dict[str, Any] = (
        {"steps": 2, "batch": 16} if quick else {"epochs": 6, "batch": 128, "optimizer": "sgd", "lr": 0.1}
    )
    for kind, shortcut in (("plain", False), ("residual", True)):
        settings = {"shortcut": shortcut, "width": 8, "stem": "half"}
        found = []
        for depth in layers:
            run_ = lamina.fit(
                table,
                run=folder / f"{kind}-{depth}",
                net=f"resnet/{depth}",
                net_settings=settings,
                seed=seed,
                show=False,
                **how,
            )
            found.append(percent(run_))
            numbers[f"{kind}, {'20' if depth == layers[0] else '56'} layers, accuracy %"] = found[-1]
            runs.append(run_)
        numbers[f"{kind}: 56 minus 20 layers, points"] = found[1] - found[0]
    return Outcome(numbers, tuple(runs))
