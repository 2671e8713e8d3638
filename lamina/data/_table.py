"""Table: named, typed columns of equal length, their split, and where they came from.

Every source reads into a Table and everything behind it sees only Tables. A Field is a column without its values: it is
saved with a trained net, and `Table.conform(fields)` codes new data exactly as the training data was coded.

kind        values of the column                                        missing
image       Pictures (rows), uint8 once packed                          never: a bad file is left out and listed in `bad`
number      float64 (rows,)                                             NaN
date        float64 (rows,) seconds since 1970-01-01                    NaN
label       int64 (rows,) position in field.classes                     -1
labels      uint8 (rows, classes), 1 where the label holds              never: an empty list is no label
boxes       object (rows,) of float32 (n, 5): x0 y0 x1 y1 as shares in  None; (0, 5) is a picture without objects
            [0, 1] of the picture (after EXIF rotation), position in field.classes
mask        Masks (rows): a class per pixel, position in field.classes; never: 255 is a pixel of no known class
            uint8 once packed
picture     Pictures (rows), or Floats (depth): a picture as target     never
same        int64 (rows, 2), whom the two pictures of the row show;     -1
            the same where both codes are equal (_pairs.py)
tags        object (rows,) of int16 (words,), position in field.classes never: of a row without words ()
itself      int64 (rows,) of zeros: a target that is the row itself    never
captions    object (rows,) of tuples of str: sentences about the row    ()
text        object (rows,) of str                                       ""
sentence    object (rows,) of str; of a pair that translates           ""
running     Windows (rows) over a long text, or int64 (rows, tokens)    never
identifier  object (rows,) of str; kept for naming rows, never learned  ""
group       object (rows,) of str; rows of one value stay in one split  ""
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamina.core.errors import DataError, unknown
from lamina.data._tokens import Tokens

TRAIN, VALIDATION, TEST = 0, 1, 2
SPLITS = ("train", "validation", "test")
IGNORE = 255  # the code of a pixel of no known class
INPUT_KINDS = ("image", "number", "label", "date", "running", "sentence", "text")


@dataclass(frozen=True)
class Field:
    """What a column is, without its values."""

    name: str
    kind: str
    classes: tuple[str, ...] = ()
    """names of a label or labels column, in the order of their codes"""
    shape: tuple[int, ...] = ()
    """image, mask, picture: (channels, height, width) in which the net sees it; text, running: (tokens,), the most that are read;
    () until chosen"""
    fit: str = "crop"
    """how it comes to that shape: crop (cover the frame, cut what is beyond) or stretch (all of it, each side by itself)"""
    tokens: Tokens | None = None
    """text, running: what it is cut into; None until chosen"""


@dataclass(frozen=True)
class Column:
    """A field and its values, one per row."""

    field: Field
    values: Any

    def take(self, rows: np.ndarray) -> Column:
        """The column at these rows."""
        values = self.values[rows] if isinstance(self.values, np.ndarray) else self.values.take(rows)
        return Column(self.field, values)

    def missing(self) -> np.ndarray:
        """bool (rows,): where there is no value."""
        if self.field.kind in ("number", "date"):
            return np.isnan(self.values)
        if self.field.kind == "label":
            return self.values < 0
        if self.field.kind == "captions":
            return np.array([not sentences for sentences in self.values], bool)
        if self.field.kind == "same":
            return (self.values < 0).any(1)
        if self.field.kind in ("text", "identifier", "sentence", "group"):
            return self.values == ""
        if self.field.kind == "boxes":
            return np.array([v is None for v in self.values], bool)
        return np.zeros(len(self.values), bool)


@dataclass(frozen=True)
class Bad:
    """Something in the data that was left out: where it stands (file or row) and what is wrong with it."""

    where: str
    why: str


@dataclass(frozen=True)
class Reading:
    """How to read; every source takes one."""

    target: str | None = None
    """column to be learned; of a folder the class"""
    ignore: tuple[str, ...] = ()
    """columns to leave out"""
    query: str | None = None
    """SQL that selects the rows of an SQLite file"""
    sheet: str | None = None
    """sheet of an Excel file; the first one when not given"""
    kinds: dict[str, str] = field(default_factory=dict)
    """column -> kind, instead of the kind that would be found"""
    split_by: str | None = None
    """column whose rows of one value stay in one split; of a date the latest rows are the test"""
    only: tuple[str, ...] = ()
    """columns to read; all of them when empty"""
    tokens: str | None = None
    """what texts are cut into: characters bytes words pairs"""
    vocabulary: int | None = None
    """different tokens at most"""
    context: int | None = None
    """tokens of a running text that the net sees at once"""


@dataclass(frozen=True)
class Table:
    """Columns of equal length with a split; never changed in place (see `with_`)."""

    columns: dict[str, Column]
    source: str
    """path or description of where it came from"""
    reader: str
    """the file of lamina/data that read it"""
    names: np.ndarray
    """object (rows,): what a person calls the row: a file name, or "row 12" """
    target: str | None = None
    split: np.ndarray | None = None
    """int8 (rows,): 0 train, 1 validation, 2 test; None when the data brings none"""
    split_rule: str = ""
    licence: str = "not stated"
    notes: tuple[str, ...] = ()
    """what the reader found out or decided, one sentence each"""
    bad: tuple[Bad, ...] = ()
    tried: int = 0
    """rows or files looked at, the bad ones included"""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> Column:
        if name not in self.columns:
            raise unknown(f"column in {self.source}", name, self.columns)
        return self.columns[name]

    def with_(self, **changes: Any) -> Table:
        """A table with some attributes replaced."""
        return Table(**{**self.__dict__, **changes})  # as dataclasses.replace, in a tenth of the time

    def with_column(self, column: Column) -> Table:
        """A table with one column added or replaced."""
        return self.with_(columns={**self.columns, column.field.name: column})

    def noted(self, *sentences: str) -> Table:
        """A table with more notes."""
        return self.with_(notes=self.notes + sentences)

    def take(self, rows: np.ndarray) -> Table:
        """The table at these rows (integer positions or a bool mask)."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        columns = {name: column.take(rows) for name, column in self.columns.items()}
        split = None if self.split is None else self.split[rows]
        return self.with_(columns=columns, names=self.names[rows], split=split)

    def rows(self, split: int) -> np.ndarray:
        """int64: positions of the rows of a split, in order."""
        if self.split is None:
            raise DataError(f"{self.source} is not split yet.")
        return np.flatnonzero(self.split == split)

    @property
    def inputs(self) -> list[Field]:
        """Fields a net can learn from: all but the target, of a kind in INPUT_KINDS."""
        return [c.field for n, c in self.columns.items() if n != self.target and c.field.kind in INPUT_KINDS]

    def conform(self, fields: Sequence[Field]) -> Table:
        """Code the columns as `fields` (saved with a net) say: same classes, same order, same picture shape.

        A category that training never saw becomes missing (-1), a column of texts that is not there empty, where another one
        is. Raises DataError naming the missing column.
        """
        columns, names = dict(self.columns), {f.name for f in fields if f.kind == "text"}
        for wanted in fields:
            if wanted.name not in columns and wanted.name in names and names & self.columns.keys():
                columns[wanted.name] = Column(wanted, np.full(len(self), "", object))
            if wanted.name not in columns:
                raise unknown(f"column in {self.source} that the net needs:", wanted.name, self.columns)
            columns[wanted.name] = _recode(columns[wanted.name], wanted, self.source)
        return self.with_(columns=columns)

    def fingerprint(self) -> str:
        """sha256 over kinds, split and values: tells whether two tables are the same data."""
        digest = hashlib.sha256()
        for name in sorted(self.columns):
            column = self.columns[name]
            digest.update(f"{name}:{column.field.kind}:{column.field.classes}".encode())
            if not isinstance(column.values, np.ndarray):
                digest.update(column.values.fingerprint().encode())
            elif column.field.kind == "boxes":
                for boxes in column.values:
                    digest.update(b"none" if boxes is None else f"{len(boxes)}:".encode() + boxes.tobytes())
            elif column.field.kind == "tags":
                for codes in column.values:
                    digest.update(f"{len(codes)}:".encode() + codes.tobytes())
            elif column.field.kind == "captions":
                digest.update(repr(column.values.tolist()).encode("utf-8", "surrogatepass"))
            elif column.values.dtype == object:
                digest.update("\x00".join(column.values.tolist()).encode("utf-8", "surrogatepass"))
            else:
                digest.update(np.ascontiguousarray(column.values).tobytes())
        digest.update(b"" if self.split is None else self.split.tobytes())
        return digest.hexdigest()


def _recode(column: Column, wanted: Field, source: str) -> Column:
    found = column.field
    if found.kind != wanted.kind:
        raise DataError(
            f"column '{found.name}' in {source} holds {found.kind} values, but the net learned {wanted.kind} values."
        )
    if found.kind == "label":
        code = {name: i for i, name in enumerate(wanted.classes)}
        codes = np.array([code.get(name, -1) for name in found.classes] + [-1], np.int64)
        return Column(wanted, codes[column.values])
    if found.kind == "labels":
        position = {name: i for i, name in enumerate(found.classes)}
        values = np.zeros((len(column.values), len(wanted.classes)), np.uint8)
        for i, name in enumerate(wanted.classes):
            if name in position:
                values[:, i] = column.values[:, position[name]]
        return Column(wanted, values)
    if found.kind == "tags" and found.classes != wanted.classes:
        code = {name: i for i, name in enumerate(wanted.classes)}
        codes = np.array([code.get(name, -1) for name in found.classes], np.int16)
        values = np.empty(len(column.values), object)
        values[:] = [codes[own] for own in column.values]
        return Column(wanted, values)
    if found.kind == "mask" and found.classes != wanted.classes:
        code = {name: i for i, name in enumerate(wanted.classes)}
        codes = np.full(256, IGNORE, np.uint8)
        codes[: len(found.classes)] = [code.get(name, IGNORE) for name in found.classes]
        return Column(wanted, column.values.recoded(codes))
    if found.kind == "boxes" and found.classes != wanted.classes:
        return Column(wanted, _recoded_boxes(column, wanted))
    return Column(wanted, column.values)


def _recoded_boxes(column: Column, wanted: Field) -> np.ndarray:
    """Boxes with the classes of `wanted`; those of a class that training never saw are left out."""
    code = {name: i for i, name in enumerate(wanted.classes)}
    codes = np.array([code.get(name, -1) for name in column.field.classes], np.float32)
    values = np.empty(len(column.values), object)
    for i, boxes in enumerate(column.values):
        if boxes is not None:
            new = boxes.copy()
            new[:, 4] = codes[boxes[:, 4].astype(int)] if len(boxes) else 0
            values[i] = new[new[:, 4] >= 0]
    return values
