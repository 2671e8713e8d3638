"""Spam: mails told apart by a bag of words, a recurrent net and a transformer; and sentences in which only the order decides.

Joachims 1998 (bag of words), Hochreiter 1997 (LSTM), Vaswani 2017. 6,046 mails of SpamAssassin; mails of one thread and mails that
are nearly the same stay on one side of the split. The bag reads words with pairs of words, or pieces of words (byte pairs) with
runs of three; validation chooses. Who did it? holds the same words for both answers. Command: lamina recipe spam, after
lamina fetch spam, or with --data FOLDER of class folders of mails. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lamina
from lamina.recipes import _texts
from lamina.recipes._recipe import Outcome, pair, percent

SYSTEMS = ("S59",)
SEEDS = 3
HISTORY = {"": "no figure of the lectures; the target here is 98.5 % of the mails"}
BAGS: dict[str, dict[str, Any]] = {
    "words": {"tokens": "words", "net_settings": {"ngrams": 2}},
    "pieces": {"tokens": "pairs", "vocabulary": 8000, "net_settings": {"ngrams": 3, "buckets": 200_000}},
}


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Accuracy on held-out mails, and on sentences of held-out pairs of words, paired."""
    numbers, made = {}, {}
    sentences = _texts.sentences(200 if quick else 4000, seed)
    how: dict[str, Any] = {"steps": 3, "batch": 16} if quick else {"epochs": 12}
    for net, settings in (("bag_of_words", {"ngrams": 1}), ("rnn", {"dropout": 0.1})):
        small = {"embedded": 8, "width": 8} if quick and net == "rnn" else {}
        made[net] = lamina.fit(
            sentences, run=folder / f"order-{net}", net=net, net_settings=settings | small, seed=seed, show=False, **how
        )
    pair(
        {f"order of words, {name}": run_ for name, run_ in made.items()},
        numbers,
        "order of words, rnn over bag_of_words",
    )
    if quick:
        return Outcome(numbers, tuple(made.values()))
    table = lamina.open(data) if data else _texts.mails()
    limits: dict[str, Any] = {"seed": seed, "show": False}
    bags = {
        name: lamina.fit(table, 1.5, run=folder / f"bag-{name}", net="bag_of_words", **own, **limits)
        for name, own in BAGS.items()
    }
    chosen = max(bags, key=lambda name: _validated(bags[name]))
    runs = {"bag of words": bags[chosen]}
    for net, minutes in (("rnn", 2.5), ("transformer", 2.5)):
        runs[net] = lamina.fit(table, minutes, run=folder / net, net=net, longest=160, **limits)
    for name, run_ in runs.items():
        numbers[f"mails, {name}: accuracy %"] = percent(run_)
    for name, run_ in bags.items():
        numbers[f"mails, bag of {name}: accuracy %"] = percent(run_)
    return Outcome(numbers, (runs["bag of words"], runs["rnn"]))


def _validated(run_: Any) -> float:
    """The best number on the validation rows."""
    return max(entry["accuracy"] for entry in run_.run.history("validation"))
