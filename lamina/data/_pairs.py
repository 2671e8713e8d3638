"""Pairs of pictures, the same or not: made from class folders, with the classes of the test apart, or divided so that none is on two sides.

A column of kind "same" holds per row whom the two pictures show, as two codes; they are the same where the codes are equal. The codes of
those that the train rows show come first, from 0: a net may learn to tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lamina.core.errors import DataError
from lamina.data._pictures import Pictures
from lamina.data._table import SPLITS, TEST, TRAIN, VALIDATION, Column, Field, Table

SECOND = "image 2"
SAME = "same"
MOST = {VALIDATION: 3_000, TEST: 6_000}  # pairs, half of them the same
SHARE = {TEST: 0.2, VALIDATION: 0.16}  # of the identities
LEAST = 6  # identities: two each for train, validation and test


def of_classes(table: Table, seed: int) -> Table:
    """Pairs of a table of one picture column and a label: those of one class are the same.

    The classes are divided, not the rows (an open set), unless the data's own split keeps them apart. Every train picture is in one or two pairs;
    of validation and test as many different pairs as same ones are drawn, at most MOST. Raises DataError.
    """
    image, target = _picture_of(table), table[table.target or ""]
    codes = np.asarray(target.values, np.int64)
    split, rule, note = table.split, table.split_rule, ""
    if split is not None and not _apart(codes, split):
        split, note = None, f" The data's own split has {target.field.name} in train and test; it is divided anew."
    if split is None:
        by_class = drawn(np.unique(codes), seed, table.source, target.field.name)
        split = np.array([by_class[c] for c in codes.tolist()], np.int8)
        rule = f"{target.field.name} by {target.field.name}: none of the validation and test pairs is in train, drawn by seed {seed}"
    random = np.random.default_rng([seed, 11])
    first, second, parts = [], [], []
    for part in (TRAIN, VALIDATION, TEST):
        rows = np.flatnonzero(split == part)
        if not len(rows):
            continue
        pairs = (
            _all_of(codes, rows, random) if part == TRAIN else _some_of(codes, rows, table.names, MOST[part], random)
        )
        first, second = [*first, *pairs[0]], [*second, *pairs[1]]
        parts += [part] * len(pairs[0])
    a, b, parts = np.array(first, np.int64), np.array(second, np.int64), np.array(parts, np.int8)
    if not len(a):
        raise DataError(
            f"{table.source} holds no {target.field.name} with two pictures; there is no pair to learn from."
        )
    counted = [len(np.unique(codes[split == part])) for part in range(3)]
    said = ", ".join(f"{n:,} {name}" for n, name in zip(counted, SPLITS, strict=True))
    note = f"Verification: pairs of the same or another {target.field.name} ({said}).{note}"
    made = paired(table, image, a, b, np.stack([codes[a], codes[b]], 1), target.field.name)
    return coded(made.with_(split=parts, split_rule=rule or "the split that comes with the data").noted(note))


def every(table: Table, seed: int) -> Table:
    """Pairs drawn from all rows of a table of one picture column and a label, to score them. Raises DataError."""
    codes = np.asarray(table[table.target or ""].values, np.int64)
    a, b = _some_of(codes, np.arange(len(codes)), table.names, MOST[TEST], np.random.default_rng([seed, 11]))
    if not a:
        raise DataError(f"{table.source} holds no class with two pictures beside another class; there is no pair.")
    first, second = np.array(a, np.int64), np.array(b, np.int64)
    who = np.stack([codes[first], codes[second]], 1)
    return paired(table, _picture_of(table), first, second, who, table.target or "class")


def paired(table: Table, image: Column, a: np.ndarray, b: np.ndarray, who: np.ndarray, about: str) -> Table:
    """A table whose rows are the pairs of rows `a` and `b` of another one."""
    names = np.array([f"{table.names[i]} ~ {table.names[k]}" for i, k in zip(a, b, strict=True)], object)
    pictures: Pictures = image.values
    pictures.hashes()  # once, not for every pair
    columns = {
        image.field.name: Column(image.field, pictures.take(a)),
        SECOND: Column(Field(SECOND, "image", shape=image.field.shape), pictures.take(b)),
        SAME: Column(Field(SAME, "same"), who),
    }
    return table.with_(columns=columns, names=names, target=SAME, split=None, split_rule="").noted(
        f"A pair is the same when both show the same {about}."
    )


def divided(table: Table, seed: int) -> Table:
    """A table of pairs with the identities of validation and test apart from those of train; pairs across are left out.

    A split that the data brings is kept. Raises DataError when too few identities are there to be divided.
    """
    column = table[table.target or ""]
    who = column.values
    if table.split is not None and all((table.split == s).any() for s in range(3)):
        again = np.isin(who[table.split == TEST], who[table.split == TRAIN]).any(1).mean()
        note = f"{again:.0%} of the test pairs show someone whom train pairs show: it is no open set." if again else ""
        return coded(
            table.with_(split_rule=table.split_rule or "the split that comes with the data").noted(
                *filter(None, [note])
            )
        )
    if table.split is not None and len(set(table.split.tolist())) > 1:
        raise DataError(
            f"{table.source} brings a split without all of train, validation and test; pairs need all three, or none."
        )
    part = drawn(np.unique(who), seed, table.source, "identity")
    ends = np.array([[part[c] for c in pair] for pair in who.tolist()], np.int8)
    inside = ends[:, 0] == ends[:, 1]
    rule = f"identity by identity: none of the validation and test pairs is in train, drawn by seed {seed}"
    table = table.with_(split=ends[:, 0].copy(), split_rule=rule)
    if not inside.all():
        table = table.take(inside).noted(
            f"{int((~inside).sum()):,} pairs of a picture of train and one of another split are left out."
        )
    for split, name in enumerate(SPLITS):
        ends = table[table.target or ""].values[table.rows(split)]
        equal = ends[:, 0] == ends[:, 1]
        if not equal.any() or equal.all():
            lacks = "same" if not equal.any() else "different"
            raise DataError(
                f"{table.source} leaves no {lacks} pair for {name} when those that it shows are kept apart; bring more pairs, "
                "or a column split with train, validation and test."
            )
    return coded(table)


def coded(table: Table) -> Table:
    """The codes anew: those that train pairs show from 0 on, the others behind them."""
    column = table[table.target or ""]
    known = np.unique(column.values[table.rows(TRAIN)])
    others = np.setdiff1d(column.values, known)
    order = np.concatenate([known, others])
    ranks = np.argsort(order, kind="stable")
    values = ranks[np.searchsorted(order[ranks], column.values)]
    return table.with_column(Column(column.field, values.astype(np.int64)))


def drawn(people: np.ndarray, seed: int, source: str, about: str) -> dict[int, int]:
    """Identity -> split, at least two each. Raises DataError below LEAST identities."""
    if len(people) < LEAST:
        raise DataError(
            f"{source} shows {len(people)} of {about}; to tell unseen ones apart needs at least {LEAST}: two to learn from, two "
            "that choose the threshold, two to score."
        )
    order = np.random.default_rng([seed, 7]).permutation(people)
    part, start = dict.fromkeys(people.tolist(), TRAIN), 0
    for split, share in SHARE.items():
        count = max(2, round(share * len(people)))
        part.update(dict.fromkeys(order[start : start + count].tolist(), split))
        start += count
    return part


def together(edges: Sequence[tuple[int, int]], nodes: int) -> np.ndarray:
    """int64 (nodes,): the smallest node that each is joined to, directly or by others (union-find)."""
    root = list(range(nodes))

    def find(node: int) -> int:
        while root[node] != node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    for a, b in edges:
        low, high = sorted((find(a), find(b)))
        root[high] = low
    return np.array([find(n) for n in range(nodes)], np.int64)


def _picture_of(table: Table) -> Column:
    images = [c for c in table.columns.values() if isinstance(c.values, Pictures)]
    if len(images) != 1:
        raise DataError(f"{table.source} has {len(images)} picture columns; pairs are made from a table with one.")
    return images[0]


def _all_of(codes: np.ndarray, rows: np.ndarray, random: np.random.Generator) -> tuple[list[int], list[int]]:
    """Every row with the next of its class in a drawn order; one that is alone with a row of another class."""
    a: list[int] = []
    b: list[int] = []
    for own in _groups(codes, rows):
        order = random.permutation(own)
        if len(own) > 1:
            pairs = len(own) if len(own) > 2 else 1
            a, b = [*a, *order[:pairs].tolist()], [*b, *np.roll(order, -1)[:pairs].tolist()]
        else:
            others = rows[codes[rows] != codes[own[0]]]
            if len(others):
                a, b = [*a, int(own[0])], [*b, int(random.choice(others))]
    return a, b


def _some_of(
    codes: np.ndarray, rows: np.ndarray, names: np.ndarray, most: int, random: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Same pairs spread evenly over the classes, and for each one a different pair that begins with the same picture.

    Its other picture has the name, without folders, of the same pair's other one where another class has such a picture: of
    symbols drawn by two makers both kinds of pair are then one picture of each maker.
    """
    same = list(_spread([_same(own, random) for own in _groups(codes, rows)], most // 2))
    last = [str(n).rsplit("/", 1)[-1] for n in names]
    by_name: dict[str, list[int]] = {}
    for row in rows.tolist():
        by_name.setdefault(last[row], []).append(row)
    a: list[int] = []
    b: list[int] = []
    for x, y in same:
        pool = by_name[last[y]] if len(by_name[last[y]]) > 1 else rows.tolist()
        other = _another(pool, codes, int(codes[x]), random)
        other = _another(rows.tolist(), codes, int(codes[x]), random) if other is None else other
        if other is not None:
            a, b = [*a, x, x], [*b, y, other]
    return a, b


def _another(pool: list[int], codes: np.ndarray, own: int, random: np.random.Generator) -> int | None:
    """A drawn row of another class; None where there is none."""
    for _ in range(50):
        found = pool[int(random.integers(len(pool)))]
        if codes[found] != own:
            return found
    return next((row for row in pool if codes[row] != own), None)


def _apart(codes: np.ndarray, split: np.ndarray) -> bool:
    """Whether train, validation and test have rows, and no class is in two of them."""
    own = [set(codes[split == part].tolist()) for part in range(3)]
    return all(own) and not (own[0] & own[1] or own[0] & own[2] or own[1] & own[2])


def _groups(codes: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    order = rows[np.argsort(codes[rows], kind="stable")]
    return iter(np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)) if len(order) else iter(())


def _same(own: np.ndarray, random: np.random.Generator) -> Callable[[], Iterator[tuple[int, int]]]:
    """Different pairs of rows of one class, in drawn order."""

    def pairs() -> Iterator[tuple[int, int]]:
        if len(own) <= 40:
            a, b = np.triu_indices(len(own), 1)
            for i in random.permutation(len(a)):
                yield int(own[a[i]]), int(own[b[i]])
            return
        seen: set[tuple[int, int]] = set()
        while len(seen) < len(own) * 10:
            x, y = sorted(int(v) for v in random.choice(own, 2, replace=False))
            if (x, y) not in seen:
                seen.add((x, y))
                yield x, y

    return pairs


def _spread(makers: list[Callable[[], Iterator[tuple[int, int]]]], most: int) -> Iterator[tuple[int, int]]:
    """One of each in turn until there are `most` or all are used up."""
    left, count = [make() for make in makers], 0
    while left and count < most:
        still = []
        for each in left:
            pair = next(each, None)
            if pair is not None and count < most:
                count += 1
                still.append(each)
                yield pair
        left = still
