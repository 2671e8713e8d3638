"""captions: pictures with one or more sentences each: a CSV, TSV or JSON lines with a column of paths and one of captions; COCO captions.

Rows of one picture become one row with several sentences. Columns caption, sentence or comment (also caption_1, caption_2 ...); of JSON lines
a list of sentences too. COCO: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}, https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data._pictures import SUFFIXES, Pictures, inspect
from lamina.data._table import Bad, Column, Field, Reading, Table

NAMED = re.compile(r"^(captions?|sentences?|comments?)([ _]?(\d+|text))?$", re.IGNORECASE)
SPLIT = ("split", "subset")
MOST_BAD = 200
HEAD = 1 << 16  # bytes that tell what a file is


def claims(source: Any) -> bool:
    """Claims tables with one column of pictures and columns of captions, and COCO captions."""
    if not isinstance(source, Path) or not source.is_file():
        return False
    name = source.name.lower()
    try:
        with open(source, encoding="utf-8-sig", errors="replace") as file:
            head = file.read(HEAD) if name.endswith((".csv", ".tsv", ".jsonl", ".ndjson", ".json")) else ""
    except OSError:
        return False
    if name.endswith(".json"):
        return '"caption"' in head and ('"annotations"' in head or '"image_id"' in head)
    if name.endswith((".jsonl", ".ndjson")):
        first = next((line for line in head.splitlines() if line.strip()), "")
        try:
            row = json.loads(first)
        except ValueError:
            return False
        return isinstance(row, dict) and _columns({str(k): v for k, v in row.items()}) is not None
    lines = [line for line in head.splitlines() if line.strip()][:2]
    if len(lines) < 2:
        return False
    import csv

    delimiter = max(",;\t|", key=lines[0].count)
    names, values = (next(csv.reader([line], delimiter=delimiter)) for line in lines)
    return _columns(dict(zip(names, values, strict=False))) is not None


def read(source: Any, reading: Reading) -> Table:
    """Columns image and caption (kind captions, the target). Raises DataError when nothing can be used."""
    if source.name.lower().endswith(".json"):
        found, splits = _coco(source), {}
        rows = [(file, text, f"annotation {i}") for i, (file, text) in enumerate(found)]
        return _gathered(source, rows, splits, [_folder_of(source, found)])
    frame, names = _frame(source)
    known = _columns({str(k): v for k, v in frame.iloc[0].items()}) if len(frame) else None
    if known is None or (reading.target and reading.target not in known[1]):
        from lamina.data import table  # another column shall be learned

        return table.read(source, reading)
    image, texts = known
    split = next((c for c in frame.columns if str(c).lower() in SPLIT), None)
    rows, splits = [], {}
    for number, (_, row) in enumerate(frame.iterrows()):
        file = str(row[image]).strip()
        if split is not None:
            splits[file] = str(row[split]).strip().lower()
        for column in texts:
            value = row[column]
            several = value if isinstance(value, list | tuple) else [value]
            rows += [(file, v if isinstance(v, str) else "", str(names[number])) for v in several]
    return _gathered(source, rows, splits, [source.parent])


def _columns(row: dict[str, Any]) -> tuple[str, list[str]] | None:
    """The picture column and the caption columns of a first row; None when they are not there."""
    images = [k for k, v in row.items() if isinstance(v, str) and v.strip().lower().endswith(SUFFIXES)]
    texts = [k for k in row if NAMED.match(k.strip()) and k not in images]
    return (images[0], texts) if len(images) == 1 and texts else None


def _frame(source: Path) -> tuple[Any, np.ndarray]:
    """The frame of a table and what its rows are called."""
    from lamina.data import table

    if source.name.lower().endswith(table.TEXT):
        frame, _, names, _ = table._text(source)
        return frame, names
    frame, _ = table._other(source, source.name.lower(), Reading())
    return frame, np.array([f"row {i + 1}" for i in range(len(frame))], object)


def _coco(source: Path) -> list[tuple[str, str]]:
    try:
        content = json.loads(source.read_text(encoding="utf-8"))
        files = {image["id"]: str(image["file_name"]) for image in content["images"]}
        return [
            (files.get(a["image_id"], f"picture {a['image_id']}"), str(a["caption"])) for a in content["annotations"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{source} is no COCO captions file: {type(error).__name__} {str(error)[:60]}.") from None


def _folder_of(source: Path, found: list[tuple[str, str]]) -> Path:
    """Where the pictures of a COCO file lie: beside it, in images/, or in a folder that its name ends with (captions_train2017)."""
    stem = source.stem.partition("captions_")[2]
    near = [source.parent, source.parent / "images", source.parent.parent, source.parent.parent / "images"]
    near += [base / stem for base in near] if stem else []
    return next((place for place in near if any((place / file).is_file() for file, _ in found[:100])), source.parent)


def _gathered(source: Path, rows: list[tuple[str, str, str]], splits: dict[str, str], folders: list[Path]) -> Table:
    """A row per picture; what cannot be used is named by file and row."""
    from lamina.data.table import SPLIT_NAMES

    texts: dict[str, list[str]] = {}
    bad: list[Bad] = []
    for file, text, where in rows:
        told = " ".join(text.split())
        if not told or told.lower() in ("nan", "none"):
            bad.append(Bad(where, f"the caption of {file} is empty"))
        else:
            texts.setdefault(file, []).append(told)
    root = folders[0].resolve()
    files = list(texts)
    why = ["" if (root / f).resolve().is_relative_to(root) else f"leads out of {root.name}/" for f in files]
    why = [w or ("" if (root / f).is_file() else "does not exist") for f, w in zip(files, why, strict=True)]
    there = [i for i, w in enumerate(why) if not w]
    for i, wrong in zip(there, inspect([root / files[i] for i in there]), strict=True):
        why[i] = wrong
    bad += [Bad(f, w) for f, w in zip(files, why, strict=True) if w]
    good = [f for f, w in zip(files, why, strict=True) if not w]
    if not good:
        raise DataError(
            f"{source} has no picture with a caption; {bad[0].where}: {bad[0].why}." if bad else f"{source} is empty."
        )
    columns = {
        "image": Column(Field("image", "image"), Pictures.of_files([root / f for f in good])),
        "caption": Column(Field("caption", "captions"), packed([texts[f] for f in good])),
    }
    count = sum(len(texts[f]) for f in good)
    made = Table(
        columns, str(source), "captions", np.array(good, object), "caption", bad=tuple(bad[:MOST_BAD]), tried=len(rows),
        notes=(f"{count:,} sentences for {len(good):,} pictures.",),
    )  # fmt: skip
    if splits and all(splits.get(f) in SPLIT_NAMES for f in good):
        made = made.with_(split=np.array([SPLIT_NAMES[splits[f]] for f in good], np.int8), split_rule="column split")
    return made


def packed(texts: list[list[str]]) -> np.ndarray:
    """object (rows,) of tuples of sentences."""
    values = np.empty(len(texts), object)
    values[:] = [tuple(t) for t in texts]
    return values
