"""What is to be learned: the target column found, typed for the task, checked; rows without it left out; the split made."""

from __future__ import annotations

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _alike, _columns, _pairs
from lamina.data._pictures import Pictures
from lamina.data._table import SPLITS, TEST, TRAIN, VALIDATION, Column, Field, Table

PLACED = ("boxes", "same", "captions")  # kinds that are brought only to be learned
CAPTIONED = ("caption", "retrieve")  # tasks that learn texts as sentences about a picture
PAIRED = "verify"  # the task that compares pictures of classes in pairs
USUAL = ("target", "label", "class", "y", "outcome", "response")
BAD_SHARE = 0.1  # of the files or rows; over it training stops
SMALL = 2_000  # rows; below it a fifth is the test split, from it on a tenth
FEW = 20  # whole numbers of fewer values, each in ten rows or more, are labels


def with_target(table: Table, target: str | None, task: str | None = None) -> Table:
    """The table with its target chosen, typed, checked and every row of it known.

    Raises DataError for a target that is missing (nearest name), constant, all missing or an identifier.
    """
    if len(table.bad) > BAD_SHARE * max(1, table.tried):
        first = table.bad[0]
        raise DataError(
            f"{len(table.bad)} of {table.tried} files or rows of {table.source} are bad, more than {BAD_SHARE:.0%}; "
            f"the first: {first.where}: {first.why}; mend or remove them."
        )
    if target:
        table = table.with_(target=table[target].field.name)
    elif table.target is None:
        table = _guess(table)
    column = table[table.target or ""]
    if column.field.kind == "identifier" and task is None:
        raise DataError(
            f"column '{column.field.name}' of {table.source} is an identifier: every row has its own; choose another --target."
        )
    known = ~column.missing()
    if not known.any():
        raise DataError(
            f"target column '{column.field.name}' of {table.source} has no value in any row; choose another --target."
        )
    if not known.all():
        table = table.take(known).noted(f"{int((~known).sum())} rows without a {column.field.name} are left out.")
    return _checked(_typed(table, task), task)


def _guess(table: Table) -> Table:
    by_lower = {name.lower(): name for name in table.columns}
    placed = [n for n, c in table.columns.items() if c.field.kind in PLACED]
    named = next((by_lower[n] for n in USUAL if n in by_lower), placed[0] if placed else None)
    can = [n for n, c in table.columns.items() if c.field.kind in ("label", "labels", "number")]
    if named is None and (not can or all(c.field.kind == "image" for c in table.columns.values())):
        raise DataError(
            f"{table.source} has nothing to learn: no class folders and no target column; name one with --target."
        )
    chosen = named or can[-1]
    why = "by its name" if named else "the last column that can be learned; --target names another"
    return table.with_(target=chosen).noted(f"Target: {chosen} ({why}).")


def _typed(table: Table, task: str | None) -> Table:
    """Whole numbers of few values are labels; --task decides otherwise."""
    column = table[table.target or ""]
    values = column.values
    if task in CAPTIONED and column.field.kind in ("text", "identifier", "label", "captions"):
        return table.with_column(_captioned(column))
    if task == "regress":
        return table.with_column(_columns.as_number(column))
    if column.field.kind == "number":
        whole = bool((values == np.round(values)).all())
        distinct = len(np.unique(values))
        if task == "classify" or (whole and distinct <= FEW and len(values) >= 10 * distinct):
            table = table.with_column(_columns.as_label(column))
            if task is None:
                table = table.noted(
                    f"{column.field.name} holds {distinct} whole numbers: learned as labels (--task regress otherwise)."
                )
    elif column.field.kind in ("identifier", "text", "date"):
        table = table.with_column(_columns.as_label(column))
    return table


def _captioned(column: Column) -> Column:
    """Texts, or labels, as sentences about the row, one each."""
    if column.field.kind == "captions":
        return column
    names = column.field.classes
    texts = [names[v] if v >= 0 else "" for v in column.values] if names else column.values.tolist()
    values = np.empty(len(texts), object)
    values[:] = [(text,) if text else () for text in texts]
    return Column(Field(column.field.name, "captions"), values)


def _checked(table: Table, task: str | None) -> Table:
    column = table[table.target or ""]
    field, where = column.field, table.source
    if len(table) == 1:
        raise DataError(f"{where} has 1 row ({table.names[0]}); learning needs at least 10.")
    if field.kind == "number":
        if np.ptp(column.values) == 0:
            raise DataError(
                f"target column '{field.name}' of {where} is always {column.values[0]:g}; there is nothing to learn."
            )
    elif field.kind == "label" and task != PAIRED:
        _check_classes(table)
    elif field.kind == "labels" and (np.ptp(column.values, axis=0) == 0).all():
        raise DataError(
            f"target column '{field.name}' of {where} holds the same labels in every row; there is nothing to learn."
        )
    elif field.kind == "boxes" and not any(len(boxes) for boxes in column.values):
        raise DataError(f"target column '{field.name}' of {where} holds no box in any row; there is nothing to learn.")
    if len(table) < 10:
        raise DataError(f"{where} has {len(table)} rows; learning needs at least 10.")
    return table


def _check_classes(table: Table) -> None:
    column = table[table.target or ""]
    field, where = column.field, table.source
    count = np.bincount(column.values, minlength=len(field.classes))
    used = np.flatnonzero(count)
    thing = "picture" if any(isinstance(c.values, Pictures) for c in table.columns.values()) else "row"
    if len(used) == 1:
        raise DataError(
            f"{where} has one class ('{field.classes[used[0]]}'); learning to tell apart needs two or more."
        )
    if len(used) > 0.5 * len(table) and len(table) >= 10:
        raise DataError(
            f"target column '{field.name}' of {where} has {len(used)} values in {len(table)} rows: an identifier or free text, "
            "not a class; choose another --target."
        )
    for code in used:
        if count[code] == 1:
            row = table.names[int(np.flatnonzero(column.values == code)[0])]
            raise DataError(
                f"class '{field.classes[code]}' of {where} has one {thing} ({row}); add more, or remove it."
            )
    if table.split is not None and (table.split == TRAIN).any():
        _check_split_classes(table)


def _check_split_classes(table: Table) -> None:
    column = table[table.target or ""]
    learned = set(column.values[table.rows(TRAIN)].tolist())
    for split in (VALIDATION, TEST):
        rows = table.rows(split)
        new = [i for i in rows if column.values[i] not in learned]
        if new:
            name = column.field.classes[int(column.values[new[0]])]
            raise DataError(
                f"class '{name}' is in the {SPLITS[split]} split of {table.source} ({table.names[new[0]]}) but not in train; "
                "add training rows of it, or remove it."
            )


def divided(table: Table, seed: int = 0, task: str | None = None) -> Table:
    """The table with train, validation and test rows: those it brings, the rest drawn by (seed), classes evenly.

    Pairs are divided by whom they show; for the task verify a table of classes becomes one of pairs.

    Rows whose pictures are bit-equal stay on the same side. A split that comes with the data is never changed; what it
    lacks is taken from train.
    """
    kind = table[table.target or ""].field.kind
    if kind == "same" or (kind == "label" and task == PAIRED):
        return _pairs.divided(table, seed) if kind == "same" else _pairs.of_classes(table, seed)
    rows = np.arange(len(table))
    split = np.zeros(len(table), np.int8) if table.split is None else table.split.copy()
    has = [bool((split == s).any()) for s in range(3)]
    if table.split is not None and all(has):
        return table.with_(split_rule=table.split_rule or "the split that comes with the data")
    if table.split is not None and not has[TRAIN]:
        raise DataError(f"{table.source} has no train rows; the split column or folders name only others.")
    share = 0.2 if len(table) < SMALL else 0.1
    parts, random, group = [], np.random.default_rng([seed, 7]), _groups(table)
    if not has[TEST]:
        _draw(table, group, split, TEST, share, random)
        parts.append(f"{share:.0%} test")
    if not has[VALIDATION]:
        _draw(table, group, split, VALIDATION, share if share < 0.2 else 0.16, random)
        parts.append("validation")
    brought = " the data's own, and" if table.split is not None else ""
    given = f"{brought} {' and '.join(parts)} drawn from the {'train rows' if brought else 'rows'}, classes evenly, seed {seed}"
    assert len(rows) == len(split)
    sets = {int(same[0]): len(same) for same in group.values()}
    if sets and any(f.kind == "text" for f in table.inputs):
        thread = " or of one thread" if any(c.field.kind == "group" for c in table.columns.values()) else ""
        many = f"{len(sets):,} groups, each" if len(sets) > 1 else "one group, all"
        told = f"{sum(sets.values()):,} rows are nearly the same as others{thread}: {many} on one side of the split."
        table = table.noted(told)
    return table.with_(split=split, split_rule=given.strip())


def _draw(
    table: Table, group: dict[int, np.ndarray], split: np.ndarray, part: int, share: float, random: np.random.Generator
) -> None:
    """Move `share` of all rows (at least one) from train to `part`, groups of rows that belong together as one."""
    free = np.flatnonzero(split == TRAIN)
    wanted = max(1, round(share * len(table)))
    wanted = min(wanted, max(1, len(free) // 3))
    column = table[table.target or ""]
    code = column.values if column.field.kind == "label" else np.zeros(len(table), np.int64)
    order = random.permutation(free)
    key = np.empty(len(table))  # rank within the class, spread evenly over classes
    for c in np.unique(code[free]):
        own = order[code[order] == c]
        key[own] = (np.arange(len(own)) + random.random()) / len(own)
    ranked = order[np.argsort(key[order], kind="stable")]
    left = dict(zip(*np.unique(code[free], return_counts=True), strict=True))
    goal = {c: -(-wanted * int(n) // len(free)) for c, n in left.items()}
    taken = dict.fromkeys(goal, 0)
    for limit in (max(2, wanted // 4), len(table)):  # large groups are learned from: one alone would be the whole part
        for row in ranked if not any(taken.values()) else ():
            same = group.get(row, np.array([row]))
            own = int(code[row])
            if sum(taken.values()) >= wanted or split[row] != TRAIN or left[own] <= len(same):
                continue
            if group and (taken[own] >= goal[own] or len(same) > limit):
                continue
            moved = same[split[same] == TRAIN]
            split[moved] = part
            for c, count in zip(*np.unique(code[moved], return_counts=True), strict=True):
                left[c] -= int(count)
                taken[int(c)] += int(count)


def _groups(table: Table) -> dict[int, np.ndarray]:
    """row -> all rows that belong together, where there are two or more: of one picture; of texts that are the same but for
    case and blanks, or nearly the same; of one value of a group column."""
    pictures = next((c.values for c in table.columns.values() if isinstance(c.values, Pictures)), None)
    texts = [f.name for f in table.inputs if f.kind == "text"]
    held = [c.values for c in table.columns.values() if c.field.kind == "group"]
    if pictures is None and not texts and not held:
        return {}
    keys, pairs = [*held], None
    if pictures is not None:
        keys.append(pictures.hashes())
    elif texts:
        whole = _alike_texts([table[name].values for name in texts])
        keys.append(whole)
        pairs = _alike.nearly_same(whole.tolist())
    tagged = ([f"{n} {k}" if k else "" for n, k in enumerate(row)] for row in zip(*keys, strict=True))
    number = _alike.together(len(table), tagged, pairs)
    order = np.argsort(number, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    return {int(row): same for same in parts if len(same) > 1 for row in same}


def _alike_texts(columns: list[np.ndarray]) -> np.ndarray:
    """object (rows,): what is equal for equal texts, whatever their case and blanks; "" where there is none."""
    return np.array([" ".join(" ".join(row).lower().split()) for row in zip(*columns, strict=True)] + [None], object)[
        :-1
    ]
