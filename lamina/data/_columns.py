"""From the raw values of a column to its kind and codes: number, label, labels, date, text, identifier, image.

A column is typed by what nearly all of its values are (MOST); the others are listed as bad, with row, and become missing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data._pictures import SUFFIXES, Pictures
from lamina.data._table import Bad, Column, Field
from lamina.data.folder import natural

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("", "na", "n/a", "nan", "null", "none", "?", "-", ".", "#n/a", "<na>", "missing")
MOST = 0.95
UNIQUE = 0.5  # text of more distinct values than this share of the rows is no category
MOST_CLASSES = 10_000
MOST_BAD = 20  # rows listed per column
WORDS = 3.5  # words per value, from which on text is text
ID_NAME = re.compile(
    r"(^|[_\s.])(id|uuid|guid|key|index|rownames?|rownum|order|pid|nr|no)$|id$|^unnamed: 0$", re.IGNORECASE
)
NUMBER = re.compile(r"^[^\d.,+-]{0,3}([+-]?[\d.,' ]*\d)\s*(%|[^\d\s]{1,3})?$")
DATE = re.compile(
    r"^\d{4}-\d{1,2}-\d{1,2}([T ]\d{1,2}:\d{2}.*)?$|^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}( \d{1,2}:\d{2}.*)?$|^\d{4}/\d{1,2}/\d{1,2}"
)


@dataclass
class Typed:
    """A typed column (None: left out), with what there is to say about it."""

    column: Column | None
    notes: list[str] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    gone: np.ndarray | None = None
    """bool (rows,): rows that cannot be used at all (pictures that are not there)"""


def typed(
    series: pd.Series, names: np.ndarray, *, kind: str | None = None, folder: Path | None = None, target: bool = False
) -> Typed:
    """Type one column. `names` of the rows appear in messages; `folder` is where relative picture paths start.

    kind: instead of what would be found. target: kept even when constant or without values.
    """
    import pandas as pd

    name = str(series.name)
    if pd.api.types.is_datetime64_any_dtype(series):
        found = _date(name, series, names)
    elif pd.api.types.is_bool_dtype(series):
        found = Typed(_label(name, series.astype("object")))
    elif pd.api.types.is_numeric_dtype(series):
        found = _label_or_number(name, series, names, kind, target)
    else:
        found = _of_texts(name, series, names, kind, folder, target)
    if found.column is None or target or kind:
        return found
    return _useful(found, len(series))


def _useful(found: Typed, rows: int) -> Typed:
    """Leave out a column that says nothing."""
    column = found.column
    assert column is not None
    name, kind = column.field.name, column.field.kind
    missing = column.missing()
    if missing.all():
        return Typed(None, [*found.notes, f"{name}: no value in any row, left out."], found.bad)
    if kind in ("number", "date", "label") and rows > 1:
        known = column.values[~missing]
        if (known == known[0]).all() and not missing.any():
            return Typed(None, [*found.notes, f"{name}: always the same value, left out."], found.bad)
    if kind == "identifier":
        found.notes.append(f"{name}: an identifier (nearly every row has its own), left out.")
    return found


def _label_or_number(name: str, series: pd.Series, names: np.ndarray, kind: str | None, target: bool) -> Typed:
    if kind in ("label", "identifier", "text"):
        return Typed(_label(name, series) if kind == "label" else _plain(name, series, kind))
    values = series.to_numpy(np.float64, na_value=np.nan)
    infinite = np.isinf(values)
    bad = [Bad(str(names[i]), f"{name} is {values[i]}") for i in np.flatnonzero(infinite)[:MOST_BAD]]
    notes = [f"{name}: {int(infinite.sum())} infinite values count as missing."] if infinite.any() else []
    values = np.where(infinite, np.nan, values)
    if kind is None and _counts_rows(name, values):
        return Typed(_plain(name, series, "identifier"))
    return Typed(Column(Field(name, "number"), values), notes, bad)


def _counts_rows(name: str, values: np.ndarray) -> bool:
    """Whole numbers that are all different and named as an identifier, or that just count the rows."""
    if len(values) < 10 or np.isnan(values).any() or (values != np.round(values)).any():
        return False
    steps = np.diff(values)
    return bool((steps == 1).all()) or (bool(ID_NAME.search(name)) and len(np.unique(values)) == len(values))


def _of_texts(
    name: str, series: pd.Series, names: np.ndarray, kind: str | None, folder: Path | None, target: bool
) -> Typed:
    values = series.to_numpy(object)
    if kind == "labels" or any(isinstance(v, list | tuple | np.ndarray | set) for v in values[:1000]):
        return Typed(_labels(name, values, ","))
    texts, missing = _texts(values)
    known = texts[~missing]
    if kind is None:
        kind = _kind(name, known, target)
    if kind == "number":
        return _number(name, texts, missing, names)
    if kind == "date":
        import pandas as pd

        return _date(name, pd.Series(_with_none(texts, missing), name=name), names)
    if kind == "image":
        return _image(name, texts, missing, names, folder)
    if kind.startswith("labels"):
        return Typed(
            _labels(name, np.where(missing, "", texts), kind[-1]),
            [f"{name}: several labels per row, separated by '{kind[-1]}'."],
        )
    if kind == "label":
        import pandas as pd

        return Typed(_label(name, pd.Series(_with_none(texts, missing), dtype=object)))
    return Typed(Column(Field(name, kind), np.where(missing, "", texts).astype(object)))


def _texts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values as stripped text (object array), and where they are missing."""
    import pandas as pd

    absent = pd.isna(values)
    texts = np.array([("" if a else str(v).strip()) for v, a in zip(values, absent, strict=True)], object)
    return texts, absent | np.array([t.lower() in MISSING for t in texts], bool)


def _with_none(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """A copy with None where a value is missing."""
    copied = values.copy()
    copied[missing] = None
    return copied


def _kind(name: str, known: np.ndarray, target: bool) -> str:
    """The kind of a column of texts, from its values that are there."""
    if not len(known):
        return "text"
    sample = known if len(known) <= 5_000 else known[np.linspace(0, len(known) - 1, 5_000).astype(int)]
    if _share(sample, lambda t: t.lower().endswith(SUFFIXES)) >= MOST:
        return "image"
    if _share(sample, lambda t: bool(DATE.match(t))) >= MOST:
        return "date"
    if _share(sample, lambda t: _value(t, ".") is not None) >= MOST:
        return "number"
    if _share(sample, lambda t: t.startswith("[") and t.endswith("]")) >= MOST:
        return "labels,"
    distinct = len(set(known.tolist()))
    for separator in "|;":
        if _share(sample, lambda t, s=separator: s in t) > 0.1:
            parts = {p.strip() for t in sample for p in t.split(separator)}
            if len(parts) <= max(3, min(0.5 * len(set(sample.tolist())), 200)):
                return f"labels{separator}"
    words = float(np.mean([len(t.split()) for t in sample]))
    if (
        distinct > UNIQUE * len(known)
        and len(known) >= 10
        and not (target and words < WORDS and distinct < 0.9 * len(known))
    ):
        return "text" if words >= WORDS else "identifier"
    return "label" if distinct <= MOST_CLASSES else "identifier"


def _share(values: np.ndarray, test: Any) -> float:
    return sum(1 for v in values if test(v)) / len(values)


def _value(text: str, decimal: str) -> float | None:
    """The number a text writes: 1,234.5  1.234,5  $12  12 %  or None."""
    match = NUMBER.match(text)
    if not match:
        try:
            return float(text)
        except ValueError:
            return None
    digits = match[1].replace(" ", "").replace("'", "")
    other = "," if decimal == "." else "."
    if other in digits and not re.match(rf"^[+-]?\d{{1,3}}(\{other}\d{{3}})+(\{decimal}\d+)?$", digits):
        return None
    try:
        return float(digits.replace(other, "").replace(decimal, "."))
    except ValueError:
        return None


def _number(name: str, texts: np.ndarray, missing: np.ndarray, names: np.ndarray) -> Typed:
    values = np.full(len(texts), np.nan)
    bad: list[Bad] = []
    for i in np.flatnonzero(~missing):
        value = _value(texts[i], ".")
        if value is None or not np.isfinite(value):
            bad.append(Bad(str(names[i]), f"{name} is '{texts[i][:40]}', not a number"))
        else:
            values[i] = value
    notes = [f"{name}: {len(bad)} values are no numbers and count as missing."] if bad else []
    return Typed(Column(Field(name, "number"), values), notes, bad[:MOST_BAD])


def _date(name: str, series: pd.Series, names: np.ndarray) -> Typed:
    import pandas as pd

    notes: list[str] = []
    if not pd.api.types.is_datetime64_any_dtype(series):
        texts = [t for t in series.tolist() if isinstance(t, str) and t]
        first = next((t for t in texts if re.match(r"^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}", t)), None)
        day_first = first is not None and (
            "." in first or any(int(re.split(r"[./-]", t)[0]) > 12 for t in texts if re.match(r"^\d{1,2}[./-]", t))
        )
        if first is not None:
            notes.append(f"{name}: dates such as {first} are read {'day' if day_first else 'month'} first.")
        parsed = pd.to_datetime(series, errors="coerce", dayfirst=day_first, format="mixed", utc=True)
    else:
        parsed = pd.to_datetime(series, utc=True)
    unread = series.notna().to_numpy() & parsed.isna().to_numpy()
    bad = [Bad(str(names[i]), f"{name} is '{series.iloc[i]}', not a date") for i in np.flatnonzero(unread)[:MOST_BAD]]
    since = parsed.dt.as_unit("us") - pd.Timestamp(0, tz="UTC").as_unit("us")  # nanoseconds end in the year 2262
    seconds = since.dt.total_seconds().to_numpy(np.float64, na_value=np.nan)
    return Typed(Column(Field(name, "date"), seconds), notes, bad)


def _label(name: str, series: pd.Series) -> Column:
    """Codes of the distinct values, in natural order."""
    import pandas as pd

    codes, values = pd.factorize(series, use_na_sentinel=True)
    classes = [_class_name(v) for v in values]
    order = sorted(range(len(classes)), key=lambda i: natural(classes[i]))
    place = np.empty(len(order) + 1, np.int64)
    place[order] = np.arange(len(order))
    place[-1] = -1
    return Column(Field(name, "label", tuple(classes[i] for i in order)), place[np.asarray(codes)])


def _class_name(value: Any) -> str:
    return str(int(value)) if isinstance(value, float | np.floating) and float(value).is_integer() else str(value)


def _labels(name: str, values: np.ndarray, separator: str) -> Column:
    rows = [_parts(v, separator) for v in values]
    classes = tuple(sorted({p for row in rows for p in row}, key=natural))
    code = {c: i for i, c in enumerate(classes)}
    held = np.zeros((len(rows), len(classes)), np.uint8)
    for i, row in enumerate(rows):
        held[i, [code[p] for p in row]] = 1
    return Column(Field(name, "labels", classes), held)


def _parts(value: Any, separator: str) -> list[str]:
    if isinstance(value, list | tuple | np.ndarray | set):
        return [str(v) for v in value]
    text = "" if value is None or isinstance(value, float) else str(value).strip()
    if text.startswith("[") and text.endswith("]"):
        try:
            return [str(v) for v in json.loads(text.replace("'", '"'))]
        except ValueError:
            text = text[1:-1]
    used = next((s for s in "|;" if s in text), separator)
    return [p.strip() for p in text.split(used) if p.strip()]


def _plain(name: str, series: pd.Series, kind: str) -> Column:
    return Column(
        Field(name, kind),
        np.array(
            ["" if v is None or (isinstance(v, float) and np.isnan(v)) else _class_name(v) for v in series.tolist()],
            object,
        ),
    )


def _image(name: str, texts: np.ndarray, missing: np.ndarray, names: np.ndarray, folder: Path | None) -> Typed:
    """Paths of pictures that exist; relative ones start at `folder` and may not leave it."""
    from lamina.data._pictures import inspect

    root = (folder or Path.cwd()).resolve()
    paths, why = [], [""] * len(texts)
    for i, text in enumerate(texts):
        path = root / text
        paths.append(path)
        if missing[i]:
            why[i] = f"{name} is empty"
        elif not Path(text).is_absolute() and not path.resolve().is_relative_to(root):
            why[i] = f"{name} '{text}' leads out of {root.name}/"
        elif not path.is_file():
            why[i] = f"{name} '{text}' does not exist"
    there = [i for i, w in enumerate(why) if not w]
    if not there:
        raise DataError(
            f"none of the pictures of column '{name}' can be found; the first: {names[0]}: {why[0]}; paths start at {root}."
        )
    for i, wrong in zip(there, inspect([paths[i] for i in there]), strict=True):
        why[i] = f"{name} '{texts[i]}' {wrong}" if wrong else ""
    bad = [Bad(str(names[i]), w) for i, w in enumerate(why) if w]
    gone = np.array([bool(w) for w in why])
    return Typed(Column(Field(name, "image"), Pictures.of_files(paths)), [], bad, gone)


def as_label(column: Column) -> Column:
    """A number, text, date or identifier column as labels, one class per distinct value."""
    import pandas as pd

    if column.field.kind in ("label", "labels"):
        return column
    missing = column.missing()
    return _label(column.field.name, pd.Series(_with_none(column.values.astype(object), missing), dtype=object))


def as_number(column: Column) -> Column:
    """A label or text column as numbers. Raises DataError with the first value that is none."""
    field_ = column.field
    if field_.kind == "number":
        return column
    if field_.kind == "date":
        return Column(Field(field_.name, "number"), column.values)
    if field_.kind == "label":
        values = np.array([_value(c, ".") for c in field_.classes] + [np.nan], object)
        wrong = next((c for c in field_.classes if _value(c, ".") is None), None)
        codes = column.values
    else:
        texts = column.values if field_.kind in ("text", "identifier") else []
        values = np.array([_value(t, ".") if t else np.nan for t in texts] + [np.nan], object)
        wrong = next((t for t in texts if t and _value(t, ".") is None), None)
        codes = np.arange(len(texts))
    if wrong is not None or field_.kind == "labels":
        raise DataError(
            f"column '{field_.name}' cannot be learned as a number: it holds {wrong!r}; choose another --target or --task classify."
        )
    return Column(Field(field_.name, "number"), values[codes].astype(np.float64))
