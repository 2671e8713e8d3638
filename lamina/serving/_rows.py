"""Rows: what was sent, as JSON, as a form with files, or as the bytes of one file, becomes values for the columns of a net.

A value of a picture column is the content of a picture file (base64 in JSON) or its pixels as lists; nothing that is sent is ever
taken for the name of a file. JSON is read strictly: NaN, infinities and lone surrogates are refused (RFC 8259, section 8.2).
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.core.errors import DataError, LaminaError, unknown
from lamina.data import _decode
from lamina.data._asked import Sent
from lamina.data._columns import MISSING
from lamina.data._pictures import Pictures
from lamina.data._table import Bad, Column, Field, Table
from lamina.serving._errors import Refused

MOST_ROWS = 1024  # of a request
DEEP = 32  # of JSON inside JSON
EASY = 1 << 16  # pixels
TEXTS = ("running", "sentence")  # kinds of column that a net reads as one text


@dataclass(frozen=True)
class Row:
    """What one row was given: column -> value; pictures as bytes or uint8 (height, width, 1|3)."""

    name: str
    values: dict[str, Any]

    @property
    def light(self) -> bool:
        """Whether its pictures are decoded in a few hundred microseconds."""
        return all(v.pixels <= EASY for v in self.values.values() if isinstance(v, Encoded))


class Encoded(bytes):
    """The content of a picture file."""

    pixels: int
    """how many its header promises"""
    decoded: np.ndarray | None = None
    """its pixels, where they were decoded already"""


def strict(content: bytes) -> Any:
    """The value of a JSON text. Raises Refused (400)."""

    def constant(word: str) -> Any:
        raise Refused(400, f"JSON has no {word}; leave a missing value out, or send null.")

    try:
        value = json.loads(content.decode("utf-8"), parse_constant=constant)
        _plain(value, 0)
    except UnicodeDecodeError as error:
        raise Refused(400, f"the JSON is not UTF-8, from byte {error.start} on.") from None
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"that is no JSON: {str(error)[:100] or 'it is nested too deep'}.") from None
    return value


def _plain(value: Any, depth: int) -> None:
    """Refuse what JSON can be written with and no text or number is. Raises Refused (400)."""
    if depth > DEEP:
        raise Refused(400, f"the JSON is nested more than {DEEP} deep.")
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise Refused(400, "a text holds half a character (a lone surrogate).") from None
    elif isinstance(value, float) and not math.isfinite(value):
        raise Refused(400, "a number is too large for 64 bits.")
    elif isinstance(value, int) and abs(value) > 2**63:
        raise Refused(400, "a whole number is too large for 64 bits.")
    elif isinstance(value, dict):
        for key, part in value.items():
            _plain(key, depth + 1)
            _plain(part, depth + 1)
    elif isinstance(value, list) and not (value and all(type(part) in (int, float) for part in value)):
        for part in value:
            _plain(part, depth + 1)
    elif isinstance(value, list) and not all(math.isfinite(part) for part in value if type(part) is float):
        raise Refused(400, "a number is too large for 64 bits.")


def of_json(value: Any, inputs: Sequence[Field], pixels: int) -> tuple[list[Row], bool]:
    """Rows of {column: value}, of a list of these, or of one value where the net has one column; and whether it was one row.

    Raises Refused.
    """
    one = not isinstance(value, list) or _is_pixels(value)
    rows = [value] if one else value
    if not 1 <= len(rows) <= MOST_ROWS:
        raise Refused(400, f"{len(rows):,} rows were sent; send 1 to {MOST_ROWS:,}.")
    return [Row(f"row {i}", _row(row, inputs, pixels)) for i, row in enumerate(rows)], one


def _is_pixels(value: Any) -> bool:
    """Whether lists of lists of numbers: one picture, not several rows."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)


def _row(row: Any, inputs: Sequence[Field], pixels: int) -> dict[str, Any]:
    if not isinstance(row, dict):
        if len(inputs) != 1:
            raise Refused(400, f"a row is an object of {', '.join(f.name for f in inputs)[:200]}.")
        row = {inputs[0].name: row}
    known = [f.name for f in inputs]
    for name in row:
        if name not in known:
            raise Refused(400, f"{unknown('column of this net:', name[:60], known)}"[:400].rstrip("?.") + ".")
    missing = [f.name for f in inputs if f.name not in row]
    if missing:
        raise Refused(400, f"the net needs {', '.join(missing)[:200]}; send null where a value is not known.")
    return {f.name: _value(row[f.name], f, pixels) for f in inputs}


def _value(value: Any, field: Field, pixels: int) -> Any:
    if field.kind == "image":
        return _picture(value, field, pixels)
    if field.kind in (*TEXTS, "text"):
        if not isinstance(value, str):
            raise Refused(400, f"'{field.name}' must be a text.")
        return Sent(value)
    if value is not None and not isinstance(value, str | int | float):
        raise Refused(400, f"'{field.name}' must be a number, a text or null.")
    return value


def _picture(value: Any, field: Field, pixels: int) -> Any:
    """The content of a file, its size looked at, or pixels. Raises Refused."""
    if isinstance(value, str):
        try:
            value = base64.b64decode(value.partition("base64,")[2] or value, validate=True)
        except (binascii.Error, ValueError):
            raise Refused(
                400, f"'{field.name}' must be a picture file in base64, or its pixels as lists of 0 to 255."
            ) from None
    if isinstance(value, bytes):
        return checked(value, pixels)
    try:
        array = np.asarray(value)
    except ValueError:
        raise Refused(400, f"the pixels of '{field.name}' are not a rectangle.") from None
    if array.dtype.kind not in "iuf" or array.ndim not in (2, 3) or not array.size:
        raise Refused(400, f"'{field.name}' must be a picture file in base64, or its pixels as lists of 0 to 255.")
    if array.shape[0] * array.shape[1] > pixels:
        raise Refused(413, f"the picture has more pixels than the limit of {pixels:,}.")
    try:
        made = Pictures.of_array(array[None]).array
    except DataError as error:
        raise Refused(400, str(error)) from None
    assert made is not None
    return made[0]


def checked(content: bytes, pixels: int) -> Encoded:
    """The content of a picture file whose header promises no more pixels than allowed. Raises Refused (400, 413).

    A small PNG is decoded at once: to look at its header takes half the time of that.
    """
    found = Encoded(content)
    found.decoded = _decode.small_png(content, min(EASY, pixels))
    try:
        height, width, _ = _decode.header(content) if found.decoded is None else found.decoded.shape
    except DataError as error:
        raise Refused(413 if "more pixels" in str(error) else 400, str(error)) from None
    if height * width > pixels:
        raise Refused(413, f"the picture has {height:,} x {width:,} pixels; at most {pixels:,} are taken.")
    found.pixels = height * width
    return found


def of_file(name: str, content: bytes, inputs: Sequence[Field], pixels: int) -> list[Row]:
    """The row of a file: a picture, or a text, for a net of one column. Raises Refused."""
    if not content:
        raise Refused(400, "the file is empty (0 bytes).")
    if len(inputs) != 1 or inputs[0].kind not in ("image", "text", *TEXTS):
        kinds = ", ".join(f"{f.name} ({f.kind})" for f in inputs)
        raise Refused(415, f"this net reads {kinds[:200]}; send them as JSON, or as fields of a form.")
    if inputs[0].kind == "image":
        return [Row(name, {inputs[0].name: checked(content, pixels)})]
    try:
        return [Row(name, {inputs[0].name: Sent(content.decode("utf-8"))})]
    except UnicodeDecodeError as error:
        raise Refused(400, f"the text is not UTF-8, from byte {error.start} on.") from None


def of_form(
    parts: Sequence[tuple[str, str | None, bytes]], inputs: Sequence[Field], pixels: int
) -> tuple[list[Row], bool]:
    """Rows of a form's parts (name, file name, content): a field per column is one row; files of other names are a row each."""
    fields = {f.name: f for f in inputs}
    named = [part for part in parts if part[0] in fields]
    if named and len(named) == len({p[0] for p in named}) and (len(inputs) > 1 or len(parts) == 1):
        values = {n: c if fields[n].kind == "image" else _cell(c) for n, _, c in named}
        row = _row({f.name: None for f in inputs if f.kind in ("number", "label", "date")} | values, inputs, pixels)
        return [Row(named[0][1] or "row 0", row)], True
    if not 1 <= len(parts) <= MOST_ROWS:
        raise Refused(400, f"the form has {len(parts)} parts; send 1 to {MOST_ROWS:,} files.")
    return [r for n, file, content in parts for r in of_file(file or n, content, inputs, pixels)], len(parts) == 1


def _cell(content: bytes) -> str | None:
    try:
        return content.decode("utf-8").strip() or None
    except UnicodeDecodeError:
        raise Refused(400, "a field of the form is not UTF-8.") from None


def table(rows: Sequence[Row], inputs: Sequence[Field]) -> Table:
    """The rows as a table whose columns a net can be asked with, typed as those of a file are. Raises DataError."""
    names = np.empty(len(rows), object)
    names[:] = [row.name for row in rows]
    flat = [f for f in inputs if f.kind != "image"]
    columns: dict[str, Column] = {}
    bad: tuple[Bad, ...] = ()
    if flat:
        known = plain_cells(rows, flat)
        typed = None if known else _typed([{f.name: row.values[f.name] for f in flat} for row in rows], flat)
        columns, bad = (dict(typed.columns), typed.bad) if typed else (known or {}, ())
    for field in inputs:
        if field.kind == "image":
            columns[field.name] = Column(field, _pictures([row.values[field.name] for row in rows]))
    return Table(columns, "what was sent", "memory", names, bad=bad, tried=len(rows))


def plain_cells(rows: Sequence[Row], fields: Sequence[Field]) -> dict[str, Column] | None:
    """The columns of rows of numbers and known categories: what typing a frame finds, which takes 10 ms; None for others."""
    columns = {}
    for field in fields:
        cells = [row.values[field.name] for row in rows]
        if field.name.lower() in ("split", "subset"):  # names of columns that mean something else
            return None
        if field.kind == "number" and all(type(c) in (int, float) and abs(c) < 1 << 53 for c in cells):
            columns[field.name] = Column(field, np.array(cells, np.float64))
        elif field.kind == "label" and all(
            type(c) is str and c in field.classes and c == c.strip() and c.lower() not in MISSING for c in cells
        ):
            columns[field.name] = Column(field, np.array([field.classes.index(c) for c in cells], np.int64))
        else:
            return None
    return columns


def _typed(cells: list[dict[str, Any]], fields: Sequence[Field]) -> Table:
    import pandas

    from lamina.data._table import Reading
    from lamina.data.table import of_frame

    kinds = {f.name: f.kind for f in fields}
    frame = pandas.DataFrame(cells)
    names = np.array([f"row {i}" for i in range(len(cells))], object)
    found = of_frame(frame, Reading(kinds=kinds, only=tuple(kinds)), "what was sent", "memory", names)
    if len(found) != len(cells):
        why = found.bad[0].why if found.bad else "a value cannot be read"
        raise DataError(f"what was sent cannot be read: {why}.")
    return found


def _pictures(values: list[Any]) -> Pictures:
    if all(isinstance(v, bytes) for v in values):
        return Pictures.of_bytes(values)
    if len({v.shape if isinstance(v, np.ndarray) else None for v in values}) == 1:
        return Pictures(np.stack(values), None)
    return Pictures.of_bytes([v if isinstance(v, bytes) else png(v) for v in values])


def png(pixels: np.ndarray) -> bytes:
    """The same pixels as a file, for rows that come in both forms."""
    from PIL import Image

    made = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(made, "PNG")
    return made.getvalue()


def said(error: LaminaError) -> str:
    """The sentence of an error about data that was sent."""
    return " ".join(str(error).split())[:400]
