"""Rows that look mislabelled: confident learning (Northcutt 2021, https://arxiv.org/abs/1911.00068).

The answers must come from fits that never saw the row's own label: those of the held-out rows of a run, or crossed ones.
"""

from __future__ import annotations

import math

import numpy as np

from lamina.data._table import Table
from lamina.judge import _quick
from lamina.judge._finding import Finding, counted, rows_of

ROWS = 4_000  # of a table that are looked at without --deep
FEW = 10  # rows of a class below which it has no threshold of its own
CLEAR = 0.7  # by which the answer must be ahead of the label, to be told
OPEN = 0.1  # share of wrong answers from which on columns leave the answer open: a surprising label is no error then
CHANCE = 1.5  # times better than the commonest class must answers be, in errors, for rows to be suspected


def suspects(probabilities: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are likely mislabelled, the most likely first, and a quality in [0, 1] for every row (low: suspect).

    probabilities (rows, classes), label (rows,) codes. Threshold of a class: the mean confidence in it of its own rows (eq. 2);
    a row counts for the most probable class above its threshold (eq. 1); per pair of classes as many rows as the joint says are
    taken, those with the largest margin (prune by noise rate).
    """
    classes, every = probabilities.shape[1], np.arange(len(label))
    own = probabilities[every, label]
    count = np.bincount(label, minlength=classes)
    threshold = np.bincount(label, own, classes) / np.maximum(count, 1)
    threshold[count == 0] = np.inf
    above = np.where(probabilities >= threshold, probabilities, -1.0)
    likely = above.argmax(1)
    counts = above.max(1) >= 0
    joint = np.zeros((classes, classes))
    np.add.at(joint, (label[counts], likely[counts]), 1)
    sums = joint.sum(1, keepdims=True)
    joint = np.where(sums > 0, joint / np.maximum(sums, 1), np.eye(classes)) * count[:, None]  # calibrated (eq. 3)
    taken = np.zeros(len(label), bool)
    for given in range(classes):
        rows = np.flatnonzero(label == given)
        for other in range(classes):
            wanted = round(joint[given, other])
            if other == given or not wanted or count[given] < FEW:
                continue
            margin = probabilities[rows, other] - own[rows]
            order = rows[np.argsort(-margin, kind="stable")[:wanted]]
            taken[order[probabilities[order, other] > own[order]]] = True
    taken &= probabilities.argmax(1) != label
    rows = np.flatnonzero(taken)
    return rows[np.argsort(own[rows], kind="stable")], own


def find(table: Table, until: float = math.inf, deep: bool = False) -> list[Finding]:
    """Rows of a table that look mislabelled, by crossed answers of the quick learner. Raises OutOfTime."""
    target = table.columns.get(table.target or "")
    if target is None or target.field.kind != "label" or len(table) < 100:
        return []
    rows = np.flatnonzero(target.values >= 0)
    if len(rows) > ROWS and not deep:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:ROWS])
    some = table.take(rows)
    inputs = _quick.features(some, until=until)
    if not inputs.shape[1]:
        return []
    label = target.values[rows]
    probabilities = _quick.crossed(inputs, label, len(target.field.classes), until)
    wrong, commonest = (probabilities.argmax(1) != label).mean(), 1 - np.bincount(label).max() / len(label)
    seen = any(c.field.kind in ("image", "text") for n, c in table.columns.items() if n != table.target)
    if wrong * CHANCE > commonest or (not seen and wrong > OPEN):
        return []
    of = f"of {len(rows):,} rows that were looked at, by answers of a simple learner that never saw their label"
    return told(table, rows, probabilities, label, of, accuracy=float(1 - wrong))


def told(
    table: Table, rows: np.ndarray, probabilities: np.ndarray, label: np.ndarray, of: str, **numbers: float
) -> list[Finding]:
    """The finding about rows (positions in the table) with these answers and labels; `of`: who says so."""
    found, own = suspects(probabilities, label)
    found = found[probabilities.max(1)[found] - own[found] > CLEAR]  # near ties are ambiguous, not wrong
    if not len(found):
        return []
    classes, answer = table[table.target or ""].field.classes, probabilities.argmax(1)
    first = int(found[0])
    text = (
        f"{counted(len(found), 'label')} may be wrong ({len(found) / len(label):.1%} {of}), such as {table.names[rows[first]]}: "
        f"labelled {classes[label[first]]}, looks like {classes[answer[first]]} ({probabilities[first].max():.0%})."
    )
    answers = [classes[answer[i]] for i in found[:200]]
    told_ = {"count": len(found), "answers": answers, "labels": [classes[label[i]] for i in found[:200]], **numbers}
    return [Finding("labels that may be wrong", text, "Look at them, the first first; mend what is wrong and train again.",
                    **rows_of(table, rows[found]), numbers=told_)]  # fmt: skip
