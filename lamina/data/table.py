"""table: CSV and TSV (delimiter, decimal comma, encoding found), Parquet, JSON lines, Excel, SQLite."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lamina.core.errors import DataError, unknown
from lamina.data import _columns
from lamina.data._table import Bad, Reading, Table

if TYPE_CHECKING:
    import pandas as pd

TEXT = (".csv", ".tsv", ".tab", ".csv.gz", ".tsv.gz")
LINES = (".jsonl", ".ndjson", ".json")
SHEETS = (".xlsx", ".xlsm", ".xls")
BASES = (".sqlite", ".sqlite3", ".db")
ALL = (*TEXT, *LINES, *SHEETS, *BASES, ".parquet", ".pq")
SPLIT_NAMES = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2}
SAMPLE = 200  # lines that tell the dialect
RAGGED = 0.1  # share of lines with too many fields that are left out; more is an error


def claims(source: Any) -> bool:
    """Claims files by their suffix."""
    return isinstance(source, Path) and source.is_file() and source.name.lower().endswith(ALL)


def read(source: Any, reading: Reading) -> Table:
    """One row per row of the file; columns typed by their values. Raises DataError naming file and row."""
    name = source.name.lower()
    try:
        if name.endswith(TEXT):
            frame, notes, names, bad = _text(source)
        else:
            frame, notes = _other(source, name, reading)
            first = 2 if name.endswith(SHEETS) else 1
            names, bad = np.array([f"row {i + first}" for i in range(len(frame))], object), []
    except PermissionError:
        raise DataError(f"{source} cannot be read: permission denied.") from None
    return of_frame(frame, reading, str(source), "table", names, notes=notes, bad=bad, folder=source.parent)


def of_frame(
    frame: pd.DataFrame,
    reading: Reading,
    source: str,
    reader: str,
    names: np.ndarray,
    *,
    notes: list[str] | None = None,
    bad: list[Bad] | None = None,
    folder: Path | None = None,
) -> Table:
    """A table of a frame's columns, typed. Raises DataError on columns of one name, no rows, unknown target or ignored column."""
    frame = frame.set_axis([str(c) for c in frame.columns], axis=1)
    twice = sorted({c for c in frame.columns if list(frame.columns).count(c) > 1})
    if twice:
        raise DataError(f"{source} has two columns named '{twice[0]}'; rename one.")
    if not len(frame):
        raise DataError(f"{source} has columns ({', '.join(frame.columns[:6])}) but no rows.")
    for name in (*reading.ignore, *([reading.target] if reading.target else [])):
        if name not in frame.columns:
            raise unknown(f"column in {source}", name, frame.columns)
    columns, notes, bad = {}, list(notes or []), list(bad or [])
    split = _split(frame)
    gone = np.zeros(len(frame), bool)
    for name in frame.columns:
        if (
            name in reading.ignore
            or name == (split[0] if split else None)
            or (reading.only and name not in reading.only)
        ):
            continue
        is_target = name == reading.target
        found = _columns.typed(
            cast("pd.Series", frame[name]), names, kind=reading.kinds.get(name), folder=folder, target=is_target
        )
        notes += found.notes
        bad += found.bad
        gone |= False if found.gone is None else found.gone
        if found.column is not None:
            columns[name] = found.column
    if reading.ignore:
        notes.append(f"Left out as asked: {', '.join(reading.ignore)}.")
    table = Table(columns, source, reader, names, reading.target, notes=tuple(notes), bad=tuple(bad), tried=len(frame))
    if split:
        table = table.with_(split=split[1], split_rule=f"column {split[0]}")
    return table.take(~gone) if gone.any() else table


def _split(frame: pd.DataFrame) -> tuple[str, np.ndarray] | None:
    """A column named split or subset that holds nothing but names of splits."""
    for name in frame.columns:
        if name.lower() in ("split", "subset"):
            texts = frame[name].astype(str).str.lower()
            if texts.isin(SPLIT_NAMES).all():
                return name, texts.map(SPLIT_NAMES).to_numpy(np.int8)
    return None


def _text(path: Path) -> tuple[pd.DataFrame, list[str], np.ndarray, list[Bad]]:
    import pandas as pd

    content, encoding = _decoded(path)
    if not content.strip():
        raise DataError(f"{path} is empty.")
    sample = [line for line in content[:200_000].splitlines()[: SAMPLE + 1] if line.strip()]
    delimiter = _delimiter(sample)
    rows = list(csv.reader(sample, delimiter=delimiter))
    header = _has_header(rows)
    if header:
        twice = sorted({c for c in rows[0] if c and rows[0].count(c) > 1})
        if twice:
            raise DataError(f"{path} has two columns named '{twice[0]}'; rename one.")
    comma = delimiter != "," and _decimal_comma(rows[1:])
    bad: list[Bad] = []
    width = max(len(rows[0]), 1)
    ragged: list[int] = []

    def too_long(fields: list[str]) -> None:
        ragged.append(len(fields))

    options: dict[str, Any] = {"sep": delimiter, "decimal": "," if comma else ".", "header": 0 if header else None,
                               "na_values": [""], "keep_default_na": False, "skip_blank_lines": True, "index_col": False}  # fmt: skip
    try:
        frame = pd.read_csv(io.StringIO(content), engine="c", low_memory=False, **options)
    except (pd.errors.ParserError, ValueError) as error:
        line = re.search(r"line (\d+), saw (\d+)", str(error))
        frame = pd.read_csv(io.StringIO(content), engine="python", on_bad_lines=too_long, **options)  # type: ignore[call-overload]
        if len(ragged) > RAGGED * (len(frame) + len(ragged)):
            where = f"row {line[1]} has {line[2]} fields" if line else f"{len(ragged)} rows have more fields"
            raise DataError(f"{path}: {where} where the header has {width}; mend the file or its quotes.") from None
        where = f"row {line[1]}" if line else "some rows"
        bad = [Bad(where, f"{n} fields where the header has {width}") for n in ragged]
    if not header:
        frame.columns = [f"c{i}" for i in range(frame.shape[1])]
    named = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}[delimiter]
    notes = [f"Read as text in {encoding}, fields separated by {named}{', decimal comma' if comma else ''}"
             f"{'' if header else ', no header (columns are named c0, c1 ...)'}."]  # fmt: skip
    first = 2 if header else 1
    return frame, notes, np.array([f"row {i + first}" for i in range(len(frame))], object), bad


def _decoded(path: Path) -> tuple[str, str]:
    """The text of a file and its encoding. Raises DataError for bytes that are no text."""
    import gzip
    import zlib

    raw = path.read_bytes()
    if path.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} is truncated or damaged ({error}).") from None
    for bom, name in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if raw.startswith(bom):
            try:
                return raw.decode(name), f"{'UTF-8' if name == 'utf-8-sig' else 'UTF-16'} with a byte order mark"
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path} begins as {name} but breaks off at byte {error.start}; save it anew as UTF-8."
                ) from None
    if b"\x00" in raw[:10_000]:
        raise DataError(f"{path} is not text: it holds zero bytes; save it as CSV in UTF-8.")
    try:
        return raw.decode("utf-8"), "UTF-8"
    except UnicodeDecodeError:
        pass
    from charset_normalizer import from_bytes

    control = sum(b < 9 or 13 < b < 32 for b in raw[:10_000])
    best = None if control > 0.02 * min(len(raw), 10_000) else from_bytes(raw[:200_000]).best()
    if best is None:
        raise DataError(f"{path} is not text in any encoding that could be found; save it as CSV in UTF-8.")
    western = best.encoding in ("cp1250", "cp1252", "latin_1", "iso8859_15", "cp1257", "cp1254", "mac_iceland", "cp775")
    encoding = "cp1252" if western else best.encoding
    return raw.decode(encoding, errors="replace"), encoding


def _delimiter(sample: list[str]) -> str:
    """The delimiter that gives the most fields, the same number on nearly every line."""
    best, most = ",", 1.0
    for delimiter in ",;\t|":
        counts = [len(row) for row in csv.reader(sample, delimiter=delimiter)]
        usual = max(set(counts), key=counts.count)
        agree = counts.count(usual) / len(counts)
        if usual > 1 and agree >= 0.7 and usual * agree > most:
            best, most = delimiter, usual * agree
    return best


def _has_header(rows: list[list[str]]) -> bool:
    """The first row names columns unless one of its fields is a number; x1 and V1 are names, though EUR 1 is a number elsewhere."""
    fields = [f.strip() for f in rows[0]]
    return len(rows) < 2 or not any(_columns._value(f, ".") is not None and not f[:1].isalpha() for f in fields)


def _decimal_comma(rows: list[list[str]]) -> bool:
    comma = sum(bool(re.fullmatch(r"[+-]?\d+,\d+", f.strip())) for row in rows for f in row)
    point = sum(bool(re.fullmatch(r"[+-]?\d+\.\d+", f.strip())) for row in rows for f in row)
    return comma > point


def _other(path: Path, name: str, reading: Reading) -> tuple[pd.DataFrame, list[str]]:
    import pandas as pd

    if name.endswith(LINES):
        return pd.DataFrame(_json_rows(path)), []
    if name.endswith(SHEETS):
        return _sheet(path, reading)
    if name.endswith(BASES):
        return _query(path, reading)
    try:
        return pd.read_parquet(path), []
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a Parquet file that can be read: {str(error).splitlines()[0][:100]}.") from None


def _json_rows(path: Path) -> list[dict[str, Any]]:
    text, _ = _decoded(path)
    if path.suffix.lower() == ".json":
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise DataError(f"{path} is not JSON: {error}.") from None
        if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
            raise DataError(f"{path} must hold a list of objects, one per row.")
        return rows
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error}).") from None
        if not isinstance(row, dict):
            raise DataError(f'{path}, line {number}: must be an object such as {{"a": 1}}, not {line[:30]}.')
        rows.append(row)
    return rows


def _sheet(path: Path, reading: Reading) -> tuple[pd.DataFrame, list[str]]:
    import pandas as pd

    try:
        book = pd.ExcelFile(path)
    except ImportError as error:
        raise DataError(f"{path} needs a package that is not installed: {error}") from None
    except Exception as error:  # openpyxl fails on damaged files in many ways
        raise DataError(f"{path} is not an Excel file that can be read ({str(error)[:80]}).") from None
    with book:
        if reading.sheet and reading.sheet not in book.sheet_names:
            raise unknown(f"sheet in {path}", reading.sheet, [str(s) for s in book.sheet_names])
        chosen = reading.sheet or str(book.sheet_names[0])
        others = [str(s) for s in book.sheet_names if s != chosen]
        notes = [f"Sheet '{chosen}'; there are others: {', '.join(others)} (--sheet)."] if others else []
        return pd.read_excel(book, sheet_name=chosen), notes


def _query(path: Path, reading: Reading) -> tuple[pd.DataFrame, list[str]]:
    import pandas as pd

    query, notes = reading.query, []
    try:
        base = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            tables = [
                r[0]
                for r in base.execute(
                    "select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%'"
                )
            ]
            if query is None:
                if len(tables) != 1:
                    raise DataError(
                        f'{path} holds {len(tables)} tables ({", ".join(tables[:8])}); choose rows with --query "select ...".'
                    )
                quoted = tables[0].replace('"', '""')
                query, notes = f'select * from "{quoted}"', [f"Table '{tables[0]}'."]
            if not re.match(r"^\s*(select|with)\b", query, re.IGNORECASE):
                raise DataError(f"--query must be a SELECT, not '{query[:40]}'.")
            cursor = base.execute(query)
            names = [d[0] for d in cursor.description]
            return pd.DataFrame(cursor.fetchall(), columns=names), notes
        finally:
            base.close()
    except sqlite3.Error as error:
        raise DataError(f"{path} cannot answer the query: {error}.") from None
