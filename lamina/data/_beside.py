"""Folders that stand beside each other and hold files of the same names: pictures, and what belongs to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data._pictures import SUFFIXES, Pictures
from lamina.data._table import Bad, Column, Field, Table

ENDINGS = (
    "_mask",
    "-mask",
    "_label",
    "_labels",
    "_gt",
    "_seg",
    "_depth",
    "_target",
)  # that a partner's name may have more
SPLIT_NAMES = {
    "train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2, "testing": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Two:
    """Two folders beside each other, and the split that they are of."""

    split: int | None
    first: Path
    second: Path


def claims(source: Any, names: Sequence[tuple[Sequence[str], Sequence[str]]]) -> bool:
    """Whether a source is a folder with two folders named so that hold pictures, itself or in train, val and test."""
    try:
        return isinstance(source, Path) and bool(folders(source, names))
    except OSError:
        return False


def folders(source: Path, names: Sequence[tuple[Sequence[str], Sequence[str]]]) -> list[Two]:
    """The two folders of a source, or those of each of its train, val and test folders; [] where there are none.

    names: pairs of (names that the first may have, names of the second), in small letters.
    """
    if not source.is_dir():
        return []
    own = _two(source, names, None)
    if own:
        return [own]
    parts = sorted(p for p in source.iterdir() if p.is_dir() and p.name.lower() in SPLIT_NAMES)
    found = [_two(part, names, SPLIT_NAMES[part.name.lower()]) for part in parts]
    return [two for two in found if two]


def _two(folder: Path, names: Sequence[tuple[Sequence[str], Sequence[str]]], split: int | None) -> Two | None:
    there = {p.name.lower(): p for p in folder.iterdir() if p.is_dir()}
    for firsts, seconds in names:
        first = next((there[n] for n in firsts if n in there), None)
        second = next((there[n] for n in seconds if n in there), None)
        if first and second and _files(first, SUFFIXES) and _files(second, (*SUFFIXES, ".npy")):
            return Two(split, first, second)
    return None


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    found = (p for p in folder.rglob("*") if p.name.lower().endswith(tuple(suffixes)) and not p.name.startswith("."))
    return sorted(p for p in found if p.is_file())


@dataclass(frozen=True)
class Matched:
    """Files that belong together, in order, with their names and splits, and what was left out."""

    firsts: list[Path]
    seconds: list[Path]
    names: list[str]
    splits: np.ndarray | None
    """int8, one per pair; None where folders tell none"""
    bad: tuple[Bad, ...]
    notes: tuple[str, ...]

    def sound(self, source: Path, first: Sequence[str], second: Sequence[str], what: str) -> tuple[Matched, int]:
        """The pairs of which nothing is wrong, and how many were tried; what is wrong with a file ("" for nothing) is noted.

        Raises DataError, naming `what` is wanted, when none is left.
        """
        bad, good = list(self.bad), []
        for i, (own, other) in enumerate(zip(first, second, strict=True)):
            if own or other:
                name = self.names[i] if own else self.seconds[i].relative_to(source).as_posix()
                bad.append(Bad(name, own or other))
            else:
                good.append(i)
        if not good:
            raise DataError(f"{source} holds no {what} that can be read; the first: {bad[0].where} {bad[0].why}.")
        firsts, seconds, names = ([of[i] for i in good] for of in (self.firsts, self.seconds, self.names))
        splits = None if self.splits is None else self.splits[good]
        return Matched(firsts, seconds, names, splits, tuple(bad), self.notes), len(self.names) + len(self.bad)

    def table(self, source: Path, kind: str, second: Column, tried: int) -> Table:
        """Columns image, of the first files, and `second`, the target."""
        columns = {"image": Column(Field("image", "image"), Pictures.of_files(self.firsts)), second.field.name: second}
        return Table(
            columns, str(source), kind, np.array(self.names, object), second.field.name, self.splits,
            "" if self.splits is None else "the train, val and test folders", notes=self.notes, bad=self.bad, tried=tried,
        )  # fmt: skip


def matched(source: Path, twos: Sequence[Two], what: str) -> Matched:
    """Pairs of files of the same name, whatever their suffix. `what` the second is, in a word. Raises DataError when there is none."""
    firsts, seconds, names, splits, bad, alone = [], [], [], [], [], []
    for two in twos:
        partner: dict[str, Path] = {}
        for path in _files(two.second, (*SUFFIXES, ".npy")):
            key = path.relative_to(two.second).with_suffix("").as_posix()
            partner[next((key.removesuffix(e) for e in ENDINGS if key.lower().endswith(e)), key)] = path
            partner.setdefault(key, path)
        used = set()
        for path in _files(two.first, SUFFIXES):
            key, name = path.relative_to(two.first).with_suffix("").as_posix(), path.relative_to(source).as_posix()
            if key not in partner:
                bad.append(Bad(name, f"has no {what} named {Path(key).name} in {two.second.relative_to(source)}/"))
                continue
            used.add(partner[key])
            firsts.append(path)
            seconds.append(partner[key])
            names.append(name)
            splits.append(SPLIT_NAMES.get(key.split("/")[0].lower()) if two.split is None else two.split)
        alone += [p for p in set(partner.values()) if p not in used]
    if not firsts:
        raise DataError(
            f"{source} holds no picture with a {what} of the same name; the first: {bad[0].where} {bad[0].why}."
        )
    notes = (
        (f"{len(alone)} files have no picture of their name ({sorted(p.name for p in alone)[0]}).",) if alone else ()
    )
    known = np.array(splits, np.int8) if None not in splits else None
    return Matched(firsts, seconds, names, known, tuple(bad), notes)
