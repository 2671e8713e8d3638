"""Leaks: columns that hold the answer, columns that are only known after it, identifiers, and the same person on both sides.

Kaufman 2012, https://doi.org/10.1145/2382577.2382579, names the kinds.
"""

from __future__ import annotations

import re

import numpy as np

from lamina.data import _columns
from lamina.data._table import TEST, TRAIN, Column, Table
from lamina.judge import _quick
from lamina.judge._finding import Finding, counted, named, rows_of

TELLS = 0.98  # accuracy, or share of the variance, with which a column gives the answer away
BINS = 48
FILLED = 0.98  # share of a class's rows in which a column holds a value, while it hardly holds one in the others
HARDLY = 0.02
GROUP = re.compile(
    r"(^|[_\s.-])(id|uuid|person|patient|subject|customer|client|user|author|speaker|writer|document|doc|player|family|household|device|"
    r"account|session|machine|sensor|store|shop|hospital|site|group|ticket|employee|student|pupil|animal|worker|member|vin|plate)([_\s.-]|id$|$)",
    re.IGNORECASE,
)  # fmt: skip
TOGETHER = 0.5  # of the rows of test that share a group with train
ALIKE = 0.05  # by which answers within a group agree more than by chance, from which on it matters


def find(table: Table) -> list[Finding]:
    """What gives a table's answer away. The target must be set."""
    return [*_answers(table), *_filled(table), *_next(table), *_groups(table), *_backwards(table), *_identifiers(table)]


def _plain(table: Table) -> list[tuple[str, Column]]:
    return [
        (n, c) for n, c in table.columns.items() if n != table.target and c.field.kind in ("number", "date", "label")
    ]


def _answers(table: Table) -> list[Finding]:
    """Columns that alone tell the target."""
    target, found = table[table.target or ""], []
    if len(table) < 50 or target.field.kind not in ("label", "number"):
        return []
    for name, column in _plain(table):
        told = tells(column, target)
        if told < TELLS:
            continue
        how = f"{told:.1%} of the rows" if target.field.kind == "label" else f"{told:.1%} of its variance"
        text = f"{name} alone tells {target.field.name} ({how})."
        todo = f"Is it known before the answer is? Else --ignore {name}."
        found.append(Finding("answer in a column", text, todo, True, columns=(name,), numbers={"told": told}))
    return found


def _binned(column: Column) -> np.ndarray:
    """int (rows,) bins: 0 for missing."""
    if column.field.kind == "label":
        return column.values + 1
    known = ~np.isnan(column.values)
    distinct = np.unique(column.values[known])
    if len(distinct) <= BINS:
        edges = distinct[1:]
    else:
        edges = np.unique(np.quantile(column.values[known], np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.where(known, 1 + np.digitize(column.values, edges), 0)


def tells(column: Column, target: Column) -> float:
    """How well bins of one column, learned on even rows, tell the target of odd rows: accuracy, or share of the variance.

    0.0 where the commonest class alone is nearly as good, and where the column has a value of its own in most rows.
    """
    bins = _binned(column).astype(int)
    if column.field.kind == "label" and len(np.unique(bins)) > 0.5 * len(bins):
        return 0.0
    if target.field.kind == "label":
        codes = target.values
        counts = np.zeros((bins.max() + 1, codes.max() + 1), int)
        np.add.at(counts, (bins[::2], codes[::2]), 1)
        right = float((counts.argmax(1)[bins[1::2]] == codes[1::2]).mean())
        if (near := _nearest(column)) is not None:
            right = max(right, float((codes[::2][near] == codes[1::2]).mean()))
        commonest = np.bincount(codes).max() / len(codes)
        return right if right - commonest > 0.5 * (1 - commonest) else 0.0
    order = _quick.ranks(target.values).numpy().astype(float)  # ranks: no row outweighs the others
    spread = float(np.var(order[1::2]))
    sums, count = (
        np.bincount(bins[::2], order[::2], bins.max() + 1),
        np.bincount(bins[::2], minlength=bins.max() + 1),
    )
    means = np.where(count > 0, sums / np.maximum(count, 1), order[::2].mean())
    error = float(np.square(order[1::2] - means[bins[1::2]]).mean())
    if (near := _nearest(column)) is not None:
        error = min(error, float(np.square(order[1::2] - order[::2][near]).mean()))
    return max(0.0, 1 - error / max(spread, 1e-12))


def _nearest(column: Column) -> np.ndarray | None:
    """Of every odd row the even row (its place among these) with the nearest value; None for categories and many gaps."""
    values = column.values
    if column.field.kind == "label" or np.isnan(values[::2]).all():
        return None
    order = np.argsort(values[::2], kind="stable")  # gaps come last
    known = values[::2][order][: int((~np.isnan(values[::2])).sum())]
    above = np.searchsorted(known, np.nan_to_num(values[1::2], nan=np.inf)).clip(max=len(known) - 1)
    below = np.maximum(above - 1, 0)
    with np.errstate(invalid="ignore"):
        lower = np.abs(values[1::2] - known[below]) <= np.abs(known[above] - values[1::2])
    return order[np.where(lower, below, above)]


def _filled(table: Table) -> list[Finding]:
    """Columns that hold a value (or one other than 0) for one class only: filled in once the answer was known."""
    target, found = table[table.target or ""], []
    if target.field.kind != "label" or len(table) < 50:
        return []
    codes = target.values
    for name, column in _plain(table):
        states = [("holds a value", ~column.missing())]
        if column.field.kind == "number":
            states.append(("is not 0", ~column.missing() & (column.values != 0)))
        for what, held in states:
            count = np.bincount(codes, minlength=len(target.field.classes))
            shares = np.bincount(codes, held, len(count)) / np.maximum(count, 1)
            full, empty = (count >= 5) & (shares >= FILLED), (count >= 5) & (shares <= HARDLY)
            told = full.any() and empty.any() and ((full | empty) | (count == 0)).all()
            if told:
                names = " or ".join(target.field.classes[i] for i in np.flatnonzero(full)[:4])
                text = f"{name} {what} only where {target.field.name} is {names}: it is filled in once the answer is known."
                found.append(
                    Finding("column from the future", text, f"Leave it out: --ignore {name}.", True, columns=(name,))
                )
                break
    return found


def _next(table: Table) -> list[Finding]:
    """Number columns that equal the target of a later row, in the order of the rows or of a date."""
    target, found = table[table.target or ""], []
    if target.field.kind != "number" or len(table) < 50:
        return []
    dates = [c for c in table.columns.values() if c.field.kind == "date" and not c.missing().any()]
    order = np.argsort(dates[0].values, kind="stable") if dates else np.arange(len(table))
    values = target.values[order]
    if len(np.unique(values)) < 20:
        return []
    for name, column in _plain(table):
        if column.field.kind != "number":
            continue
        own = column.values[order]
        for later in (1, 2, 3, 7, 12, 24):
            if later >= len(own) // 2:
                break
            same = np.isclose(own[:-later], values[later:], rtol=1e-6, atol=0)
            if same.mean() > 0.9:
                text = f"{name} is the {target.field.name} of {counted(later, 'row')} later in {same.mean():.0%} of the rows: it is not known yet when the answer is wanted."
                found.append(
                    Finding("column from the future", text, f"Leave it out: --ignore {name}.", True, columns=(name,))
                )
                break
    return found


def together(column: Column) -> np.ndarray:
    """int (rows,) group of each row by the value of a column; -1 where it is missing."""
    if column.field.kind == "label":
        return column.values
    missing = column.missing()
    keys = np.unique(column.values.astype(str), return_inverse=True)[1].reshape(-1)
    return np.where(missing, -1, keys)


def _groups(table: Table) -> list[Finding]:
    """Columns that name a person, document or thing of which rows lie on both sides of the split."""
    found = []
    if table.split is None:
        return []
    for name, column in table.columns.items():
        if name == table.target or column.field.kind not in ("identifier", "label", "number", "text"):
            continue
        if not GROUP.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)) or (
            column.field.kind == "number" and not _whole(column.values)
        ):
            continue
        group = together(column)
        distinct = len(np.unique(group[group >= 0]))
        if distinct < 10 or distinct > 0.8 * len(table) or len(table) / distinct > 0.2 * len(table):
            continue
        known = set(group[table.rows(TRAIN)].tolist()) - {-1}
        rows = [int(r) for r in table.rows(TEST) if int(group[r]) in known]
        if len(rows) < TOGETHER * len(table.rows(TEST)) or _agreement(group, table[table.target or ""]) < ALIKE:
            continue
        text = f"{len(rows):,} of {len(table.rows(TEST)):,} test rows share their {name} with train rows ({counted(distinct, 'value')}): the score holds for known ones, not for new ones."
        found.append(Finding("same group on both sides", text, f"Keep each on one side: --split-by {name}.", True,
                             **rows_of(table, rows), columns=(name,), numbers={"rows": len(rows), "groups": distinct}))  # fmt: skip
    return found


def _whole(values: np.ndarray) -> bool:
    known = values[~np.isnan(values)]
    return bool(len(known)) and bool((known == np.round(known)).all())


def _agreement(group: np.ndarray, target: Column) -> float:
    """How much more the answers of neighbours within a group agree than those of any two rows, as a share of what is possible."""
    order = np.argsort(group, kind="stable")
    beside = (group[order][1:] == group[order][:-1]) & (group[order][1:] >= 0)
    if not beside.any() or target.field.kind not in ("label", "number"):
        return 0.0
    values = target.values[order]
    if target.field.kind == "label":
        share = np.square(np.bincount(values) / len(values)).sum()
        return float(((values[1:] == values[:-1])[beside].mean() - share) / max(1e-9, 1 - share))
    ranks = np.argsort(np.argsort(values, kind="stable")).astype(float)
    return float(1 - np.square(ranks[1:] - ranks[:-1])[beside].mean() / (2 * np.var(ranks)))


def _backwards(table: Table) -> list[Finding]:
    """A table with dates whose train rows are later than test rows, where the answer drifts with time."""
    if table.split is None or not len(table.rows(TEST)):
        return []
    found = []
    for name, column in table.columns.items():
        if column.field.kind != "date" or name == table.target or column.missing().mean() > 0.1:
            continue
        train, test = column.values[table.rows(TRAIN)], column.values[table.rows(TEST)]
        later = float((train > np.nanmedian(test)).mean())
        if later < 0.1 or len(np.unique(column.values)) < 20:
            continue
        text = f"{later:.0%} of the train rows are later than half of the test rows (by {name}): the score says how it fills gaps in the past, not how it foretells."
        todo = f"Where it shall foretell: --split-by {name}, and the latest rows are the test."
        found.append(Finding("time running backwards", text, todo, False, columns=(name,), numbers={"later": later}))
    return found[:1]


def _numbers_rows(name: str, values: np.ndarray) -> bool:
    """Different whole numbers without a gap, or in a column that is named as an identifier."""
    if np.isnan(values).any() or not _whole(values) or len(values) < 50 or len(np.unique(values)) < len(values):
        return False
    return bool(np.ptp(values) == len(values) - 1) or bool(_columns.ID_NAME.search(name))


def _identifiers(table: Table) -> list[Finding]:
    """Columns in which nearly every row has its own value, or a number of its own."""
    found = []
    for name, column in table.columns.items():
        if column.field.kind == "number" and name != table.target and _numbers_rows(name, column.values):
            text = f"{name} numbers the rows: every row has its own whole number ({', '.join(f'{v:.0f}' for v in column.values[:3])}, ...)."
            todo = f"What it tells is the order in which rows were written down: --ignore {name}."
            found.append(Finding("identifier", text, todo, True, columns=(name,)))
        if column.field.kind != "identifier" or name == table.target:
            continue
        values = column.values[~column.missing()]
        if len(values) and len(set(values.tolist())) > 0.9 * len(values):
            text = f"{name} is an identifier: nearly every row has its own ({named(table.with_(names=values), range(len(values)))})."
            found.append(Finding("identifier", text, "It is not learned from; nothing to do.", False, columns=(name,)))
    return found
