"""Balanced brackets: learned from texts at most four deep, asked of texts five to eight deep, by a recurrent net and a bag of words.

Gers and Schmidhuber 2001, https://doi.org/10.1109/72.963769 (LSTM learns context-free languages beyond the lengths it saw). Wrong texts
are balanced ones with two brackets of one kind exchanged, so that counts tell nothing. Command: lamina recipe brackets. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import lamina
from lamina.data._table import TEST, TRAIN, VALIDATION, Table
from lamina.recipes import _texts
from lamina.recipes._recipe import Outcome, pair

SYSTEMS = ("S94",)
SEEDS = 3
HISTORY = {"": "an LSTM trained on a^n b^n of n up to 10 is right up to 118 and more (Gers 2001, table 3)"}
PAIRS = 14  # of brackets in a text
SEEN, DEEPER = (2, 4), (5, 8)  # depths of training and test


def balanced(depth: tuple[int, int], random: np.random.Generator) -> str:
    """PAIRS pairs of brackets whose deepest place lies in `depth`."""
    while True:
        steps, level, deepest = [], 0, 0
        left = PAIRS
        while left or level:
            up = left and (not level or (level < depth[1] and random.random() < 0.5))
            level += 1 if up else -1
            left -= bool(up)
            deepest = max(deepest, level)
            steps.append("(" if up else ")")
        if deepest >= depth[0]:
            return "".join(steps)


def broken(text: str, random: np.random.Generator) -> str:
    """The text with an opening and a closing bracket exchanged so that it is balanced no more."""
    while True:
        i, j = (int(random.choice([k for k, c in enumerate(text) if c == kind])) for kind in "()")
        made = list(text)
        made[i], made[j] = made[j], made[i]
        if (np.cumsum([1 if c == "(" else -1 for c in made]) < 0).any():
            return "".join(made)


def texts(counts: tuple[int, int, int], seed: int) -> Table:
    """So many training, validation (both shallow) and test texts (deeper), half of them broken."""
    random = np.random.default_rng([seed, 29])
    made, labels, split = [], [], []
    for part, count in zip((TRAIN, VALIDATION, TEST), counts, strict=True):
        for i in range(count):
            text = balanced(DEEPER if part == TEST else SEEN, random)
            made.append(broken(text, random) if i % 2 else text)
            labels.append(i % 2)
            split.append(part)
    return _texts.of_texts(made, np.array(labels), ("balanced", "broken"), np.array(split), "brackets")


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Accuracy on texts deeper than any that was seen."""
    table = texts((60, 20, 20) if quick else (8000, 800, 1000), seed)
    how: dict[str, Any] = {"steps": 3, "batch": 16} if quick else {"epochs": 25}
    runs, numbers = {}, {}
    for net, settings in (
        ("bag_of_words", {"ngrams": 2}),
        ("rnn", {"both": False, "pool": "max", "unknown": 0.0, "dropout": 0.0}),
    ):
        small = {"embedded": 4, "width": 4} if quick and net == "rnn" else {}
        runs[net] = lamina.fit(
            table,
            run=folder / net,
            net=net,
            net_settings=settings | small,
            tokens="characters",
            seed=seed,
            show=False,
            **how,
        )
    pair(runs, numbers, "rnn over bag_of_words")
    return Outcome(numbers, tuple(runs.values())[::-1])
