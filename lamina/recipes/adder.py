"""A net that adds: numbers of up to three digits, read and written as characters, tested on pairs that it never saw.

Zaremba and Sutskever 2014, https://arxiv.org/abs/1410.4615, section 3.2. The sum is written from its last digit on, as by hand.
A Transformer and a sequence-to-sequence net without attention learn from 20,000 of a million pairs. Command: lamina recipe adder.
Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import lamina
from lamina.data import parallel
from lamina.data._table import TEST, Reading
from lamina.recipes._recipe import Outcome

SYSTEMS = ("S94",)
SEEDS = 3
HISTORY = {"": "an LSTM adds numbers of nine digits with 99 % of the characters right (Zaremba 2014, abstract)"}
PAIRS, ASKED = 20_000, 1_000
NETS = {
    "transformer": ("translator", {"width": 128, "depth": 2}),
    "seq2seq": ("seq2seq", {"attention": "none", "reverse": True}),
}


def written(rows: int, seed: int, path: Path) -> Path:
    """So many different sums as lines `12+345 TAB 753`."""
    random = np.random.default_rng([seed, 23])
    lines: dict[str, None] = {}
    while len(lines) < rows:
        a, b = (int(random.integers(10 ** int(random.integers(1, 4)))) for _ in range(2))
        lines[f"{a}+{b}\t{str(a + b)[::-1]}"] = None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """The share of unseen sums that are right in every digit."""
    path = Path(data) if data else written(120 if quick else PAIRS, seed, folder / "sums.tsv")
    table = parallel.read(path, Reading(tokens="characters"))
    rows = table.rows(TEST)[: 20 if quick else ASKED]
    asked, wanted = (table[name].values[rows].tolist() for name in ("source", "translation"))
    numbers, runs = {}, []
    for name, (net, settings) in NETS.items():
        small = {"width": 16, "depth": 1} if quick else {}
        how: dict[str, Any] = {"steps": 2} if quick else {"minutes": 4.0, "epochs": 60}
        run_ = lamina.fit(
            table,
            run=folder / name,
            net=net,
            net_settings=settings | small,
            batch=16 if quick else 64,
            seed=seed,
            show=False,
            **how,
        )
        told = [answer.text for _, answer in run_.answers(*asked)[0]]
        numbers[f"{name}: sums right, %"] = 100 * float(np.mean([a == b for a, b in zip(told, wanted, strict=True)]))
        runs.append(run_)
    numbers["sums asked"] = float(len(asked))
    return Outcome(numbers, tuple(runs))
