"""findings: what is odd about a table before anything is learned: duplicates across splits, telling columns, rare classes."""

from __future__ import annotations

import numpy as np

from lamina.data._pictures import Pictures
from lamina.data._table import SPLITS, TEST, TRAIN, VALIDATION, Column, Table
from lamina.judge import _texts

TELLS = 0.98  # accuracy, or rank correlation, with which a single column gives the answer away
BINS = 32
RARE = 20  # rows of a class below which its score says little


def findings(table: Table) -> list[str]:
    """One sentence per finding about a table whose target is set and that is split."""
    return [*_duplicates(table), *_texts.about(table), *_telling(table), *_rare(table), *_gaps(table)]


def _row_keys(table: Table) -> np.ndarray:
    """Per row a key that is equal when all inputs are equal."""
    parts = []
    for name, column in table.columns.items():
        if name == table.target or column.field.kind in ("identifier", "text", "running", "sentence", "group"):
            continue
        values = column.values.hashes() if isinstance(column.values, Pictures) else column.values
        parts.append(
            np.unique(values, return_inverse=True, axis=0 if getattr(values, "ndim", 1) == 2 else None)[1].reshape(-1)
        )
    if not parts:
        return np.arange(len(table))
    return np.unique(np.stack(parts, 1), axis=0, return_inverse=True)[1].reshape(-1)


def _duplicates(table: Table) -> list[str]:
    """Rows of the test or validation split whose inputs are also in train."""
    assert table.split is not None
    keys, found = _row_keys(table), []
    known: dict[int, int] = {}
    for row in table.rows(TRAIN):
        known.setdefault(int(keys[row]), int(row))
    pictures = any(isinstance(c.values, Pictures) for c in table.columns.values())
    if not pictures and len(np.unique(keys)) < 0.9 * len(keys):
        return []  # a few coarse columns: equal rows are to be expected
    for split in (VALIDATION, TEST):
        rows = [int(r) for r in table.rows(split) if int(keys[r]) in known]
        if rows:
            pair = f"{table.names[rows[0]]} = {table.names[known[int(keys[rows[0]])]]}"
            found.append(
                f"{len(rows)} {SPLITS[split]} rows are in train too (such as {pair}): the score would flatter."
            )
    return found


def _telling(table: Table) -> list[str]:
    """Columns that alone tell the target: leaked answers, or a question that needs no net."""
    target = table[table.target or ""]
    found = []
    for field in table.inputs:
        column = table[field.name]
        if field.kind not in ("label", "number", "date") or len(table) < 50:
            continue
        told = _told(column, target)
        if told >= TELLS:
            how = f"{told:.1%} of the rows" if target.field.kind == "label" else f"a rank correlation of {told:.3f}"
            found.append(
                f"{field.name} alone tells {target.field.name} ({how}): is it known before the answer is? Else --ignore {field.name}."
            )
    return found


def _told(column: Column, target: Column) -> float:
    """How well bins of one column, learned on even rows, tell the target of odd rows."""
    if target.field.kind == "number":
        return abs(_rank_correlation(column, target)) if column.field.kind in ("number", "date") else 0.0
    if target.field.kind != "label":
        return 0.0
    if column.field.kind == "label":
        bins = column.values + 1
    else:
        edges = (
            np.unique(np.nanquantile(column.values, np.linspace(0, 1, BINS + 1)[1:-1]))
            if not np.isnan(column.values).all()
            else []
        )
        bins = np.where(np.isnan(column.values), 0, 1 + np.digitize(column.values, edges))
    bins, codes = bins.astype(int), target.values
    counts = np.zeros((bins.max() + 1, codes.max() + 1), int)
    np.add.at(counts, (bins[::2], codes[::2]), 1)
    right = (counts.argmax(1)[bins[1::2]] == codes[1::2]).mean()
    commonest = np.bincount(codes).max() / len(codes)
    return float(right) if right - commonest > 0.5 * (1 - commonest) else 0.0


def _rank_correlation(column: Column, target: Column) -> float:
    known = ~np.isnan(column.values)
    if known.sum() < 50 or np.ptp(column.values[known]) == 0:
        return 0.0
    ranks = [np.argsort(np.argsort(v[known], kind="stable")) for v in (column.values, target.values)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _rare(table: Table) -> list[str]:
    target = table[table.target or ""]
    if target.field.kind != "label":
        return []
    count = np.bincount(target.values[table.rows(TRAIN)], minlength=len(target.field.classes))
    rare = [target.field.classes[i] for i in np.flatnonzero(count < RARE)]
    return (
        [
            f"{len(rare)} of {len(count)} classes have under {RARE} training rows ({', '.join(rare[:5])}): their answers will be weak."
        ]
        if rare
        else []
    )


def _gaps(table: Table) -> list[str]:
    shares = {f.name: float(table[f.name].missing().mean()) for f in table.inputs}
    empty = [f"{n} {s:.0%}" for n, s in shares.items() if s > 0.5]
    return [f"Mostly missing: {', '.join(empty[:8])}."] if empty else []
