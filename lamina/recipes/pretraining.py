"""Pretraining: hidden words of mails without labels first, then few labels: what that gains over the labels alone.

Devlin 2018, https://arxiv.org/abs/1810.04805; Dai and Le 2015, https://arxiv.org/abs/1511.01432 (the gain is largest where labels are few). The
mails of SpamAssassin (or --data FOLDER of texts with labels): a BERT learns hidden words of all training mails, without their
labels; then 100, 500 and all of the labels, and half as many labelled mails to choose the net. From scratch: the same net and time
for labels, byte pairs of those mails alone. Test mails are seen by neither. The net that learned hidden words is one for all seeds,
which draw the labelled mails, their order and the weights from scratch. Command: lamina recipe pretraining, after lamina fetch spam.
Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lamina
from lamina.data._table import TRAIN, VALIDATION
from lamina.data._target import divided
from lamina.data._unlabelled import unlabelled
from lamina.recipes import _texts
from lamina.recipes._recipe import Outcome, percent, some

SYSTEMS = ("S59", "S95")
SEEDS = 3
HISTORY = {
    "": "pretraining on unlabelled reviews cuts the error of an LSTM from 13.5 to 7.2 % (Dai and Le 2015, table 2)"
}
ROWS = (100, 500, 0)  # labelled rows; 0: all
LONGEST, VOCABULARY = 32, 3000  # tokens of a column; different ones
PRETRAIN, LABELS = 12.0, 0.5  # minutes: once, and of each fit on labels


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Accuracy on held-out mails with and without pretraining, paired, by the number of labelled mails."""
    table = lamina.open(data) if data else _texts.sentences(160, seed) if quick else _texts.mails()
    table = divided(table, 0)
    words: dict[str, Any] = {"longest": LONGEST, "vocabulary": 400 if quick else VOCABULARY}
    common: dict[str, Any] = {"seed": seed, "show": False}
    small = {"net_settings": {"width": 16, "depth": 1, "heads": 2} if quick else {"width": 64, "depth": 2, "heads": 2}}
    how: dict[str, Any] = {"steps": 3, "batch": 16} if quick else {"minutes": PRETRAIN, "epochs": 200}
    learned = folder.parent / "hidden-words"
    texts = unlabelled(table, "mask")
    masked = (
        lamina.load(learned)
        if (learned / "score.json").exists()
        else lamina.fit(texts, task="mask", run=learned, **small, **words, **common, **how)
    )
    numbers = {"hidden words: accuracy %": 100 * masked.score().value}
    runs = []
    for rows in (40,) if quick else ROWS:
        count = rows or len(table.rows(TRAIN))
        few = some(some(table, count, seed), max(20, count // 2), seed, VALIDATION)
        told = f"{rows} labels" if rows else "all labels"
        how = {"steps": 3, "batch": 16} if quick else {"minutes": LABELS}
        tuned = lamina.fit(
            few, run=folder / f"tuned-{rows}", weights=str(masked.path), freeze="none", longest=LONGEST, **common, **how
        )
        drawn = lamina.fit(few, run=folder / f"scratch-{rows}", net="bert", **small, **words, **common, **how)
        numbers[f"{told}, from scratch: accuracy %"] = percent(drawn)
        numbers[f"{told}, pretrained: accuracy %"] = percent(tuned)
        numbers[f"{told}, gain: points"] = percent(tuned) - percent(drawn)
        runs += [tuned, drawn]
    return Outcome(numbers, tuple(runs))
