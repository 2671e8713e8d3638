"""Squeeze and excitation: a residual net whose blocks weigh their channels, against the same net without.

Hu 2017, https://arxiv.org/abs/1709.01507, table 4 (CIFAR-10) and the winner of ImageNet 2017. 10,000 pictures of Fashion-MNIST, 20
layers, the same seed and rows for both. Command: lamina recipe squeeze, after lamina fetch fashion. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lamina
from lamina.recipes._recipe import Number, Outcome, clothes, pair

SYSTEMS = ("S09",)
SEEDS = 5
HISTORY = {
    "": "CIFAR-10, error: ResNet-110 6.37 %, with squeeze and excitation 5.21 % (Hu 2017); winner of ImageNet 2017 with 2.25 % top-5",
    "gain, points": "+1.16 for 110 layers on CIFAR-10",
}


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Accuracy of both, and the gain by seed."""
    table, numbers = clothes(quick, seed, data, 10_000), Number()
    how: dict[str, Any] = {"steps": 2, "batch": 16} if quick else {"epochs": 6}
    how |= {"net_settings": {"blocks": "1,1,1", "width": 8}} if quick else {"net_settings": {"width": 8}}
    nets = {"resnet/20": "resnet/20", "senet/20": "senet/20"}
    runs = {
        n: lamina.fit(table, run=folder / n.replace("/", "-"), net=net, seed=seed, show=False, **how)
        for n, net in nets.items()
    }
    pair(runs, numbers, "gain")
    return Outcome(numbers, tuple(runs.values()))
