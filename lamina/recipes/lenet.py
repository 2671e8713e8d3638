"""LeNet: 2,600 weights that make 100,000 connections, counted by the program, and what they read.

LeCun 1990, https://yann.lecun.com/exdb/publis/pdf/lecun-90c.pdf: 4@24x24, average pooling, 12@8x8, 12@4x4, ten answers; trained on
7,291 zip-code digits, 5.0 % of 2,007 test digits wrong. Command: lamina recipe lenet. 5,000 digits of MNIST that come with Lamina. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path

import torch

import lamina
from lamina.nets import _count
from lamina.nets import lenet as net
from lamina.recipes._recipe import Outcome, percent, some

SYSTEMS = ("S04",)
SEEDS = 5
HISTORY = {
    "": "one of the first nets that read real mail (1990)",
    "weights": "2,578; the lectures round to 2,600",
    "connections": "98,442; the lectures round to 100,000",
    "error % of lenet/1990": "5.0 on 2,007 zip-code digits, 3.4 on 2,711 digits of both kinds (1990)",
    "error % of lenet/1998": "0.95 on 10,000 digits after 60,000 training digits (1998)",
}


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Both counts, and the error of the nets of 1990 and 1998 on the test rows."""
    table = lamina.open(data or "digits")
    table = some(table, 200, seed) if quick else table
    built = net.Net(net.Config(**net.SIZES["1990"]))
    numbers = {
        "weights": float(_count.weights(built)),
        "connections": float(_count.connections(built, torch.zeros(1, 1, 28, 28))),
    }
    how = {"steps": 3, "batch": 16} if quick else {"epochs": 30}
    runs = [
        lamina.fit(table, run=folder / size, net=f"lenet/{size}", seed=seed, show=False, **how)
        for size in ("1990", "1998")
    ]
    for size, run_ in zip(("1990", "1998"), runs, strict=True):
        numbers[f"error % of lenet/{size}"] = 100 - percent(run_)
    return Outcome(numbers, tuple(runs))
