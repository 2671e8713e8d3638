"""yolo_labels: objects in pictures as text files with a line per box: class, middle x and y, width, height, all as shares.

A folder with data.yaml (names; train, val and test) or classes.txt, pictures in images/ and text files of the same name in
labels/, or beside the pictures. An empty file is a picture without objects; a picture without a file is left out and named.
Format: https://docs.ultralytics.com/datasets/detect/
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _objects
from lamina.data._objects import Item
from lamina.data._table import TEST, TRAIN, VALIDATION, Bad, Reading, Table

LISTS = ("classes.txt", "obj.names", "labels.txt")
WORDS = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}
HEAD = 1 << 16


def claims(source: Any) -> bool:
    """Claims a folder with data.yaml or a list of classes and text files for its pictures; or such a data.yaml."""
    if not isinstance(source, Path):
        return False
    try:
        if source.is_file():
            return source.suffix in (".yaml", ".yml") and _names_in(source) is not None
        return source.is_dir() and _classes_file(source) is not None and _has_labels(source)
    except OSError:
        return False


def _classes_file(folder: Path) -> Path | None:
    """The file that names the classes."""
    yamls = sorted(p for p in (*folder.glob("*.yaml"), *folder.glob("*.yml")) if _names_in(p) is not None)
    lists = [folder / name for name in LISTS] + [folder / "labels" / name for name in LISTS]
    return next((p for p in (*yamls, *lists) if p.is_file()), None)


def _has_labels(folder: Path) -> bool:
    return any(_label(folder, name, path) is not None for name, path in _objects.pictures_below(folder).items())


def _label(folder: Path, name: str, path: Path) -> Path | None:
    """The text file of a picture: beside it, or in labels/ where the picture is in images/."""
    parts = name.split("/")
    where = [i for i, part in enumerate(parts) if part == "images"]
    there = (
        [folder.joinpath(*parts[: where[-1]], "labels", *parts[where[-1] + 1 :]).with_name(f"{parts[-1]}.txt")]
        if where
        else []
    )
    return next((p for p in (*there, path.with_suffix(".txt")) if p.is_file()), None)


def _names_in(path: Path) -> list[str] | None:
    """The names of a data.yaml: [a, b], a list of lines, or a mapping of whole numbers; None when it has none."""
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = file.read(HEAD).splitlines()
    at = next((i for i, line in enumerate(lines) if re.match(r"names\s*:", line)), None)
    if at is None:
        return None
    first = re.sub(r"\s+#.*", "", lines[at].split(":", 1)[1]).strip()
    if first.startswith(("[", "{")):
        text = first
        while not text.endswith(("]", "}")) and at + 1 < len(lines):
            at += 1
            text += re.sub(r"\s+#.*", "", lines[at]).strip()
        entries = [part for part in text[1:-1].split(",") if part.strip()]
        return [_plain(e.split(":", 1)[1] if text[0] == "{" else e) for e in entries]
    found = []
    for line in lines[at + 1 :]:
        match = re.match(r"\s*(?:-|\d+\s*:)\s*(.+?)\s*(?:\s#.*)?$", line)
        if match is None and line.strip() and not line.lstrip().startswith("#"):
            break
        if match:
            found.append(_plain(match[1]))
    return found or None


def _plain(text: str) -> str:
    return text.strip().strip("'\"")


def read(source: Any, reading: Reading) -> Table:
    """Columns image and boxes; splits from folders named train, val and test. Raises DataError, with file and line."""
    folder = source.parent if source.is_file() else source
    named = source if source.is_file() else _classes_file(folder)
    if named is None:
        raise DataError(f"{folder} has no data.yaml and no classes.txt that names the classes.")
    in_yaml = _names_in(named) if named.suffix in (".yaml", ".yml") else None
    lines = named.read_text(encoding="utf-8").splitlines()
    classes = in_yaml if in_yaml is not None else [line.strip() for line in lines if line.strip()]
    if len(set(classes)) < len(classes):
        raise DataError(f"{named} names a class twice.")
    items: list[Item] = []
    bad: list[Bad] = []
    for name, path in _objects.pictures_below(folder).items():
        shown = path.relative_to(folder).as_posix()
        label = _label(folder, name, path)
        if label is None:
            bad.append(Bad(shown, "has no text file with its boxes (an empty one is a picture without objects)"))
            continue
        split = next((WORDS[p] for p in name.lower().split("/")[:-1] if p in WORDS), None)
        item = Item(path, shown, label.relative_to(folder).as_posix(), split)
        _read_lines(label, item, named, classes, bad)
        items.append(item)
    return _objects.table(str(source), "yolo_labels", items, classes, bad, [])


def _read_lines(label: Path, item: Item, named: Path, classes: list[str], bad: list[Bad]) -> None:
    """Add the boxes of a text file; of polygons the box around them. Raises DataError for a class that is not named."""
    for number, line in enumerate(label.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{item.where} line {number}"
        try:
            code, *values = (float(v) for v in line.split())
            if len(values) < 4 or (len(values) > 5 and len(values) % 2):
                raise ValueError
        except ValueError:
            bad.append(Bad(where, f"'{line.strip()[:40]}' is not a class and four numbers; the line is left out"))
            continue
        if code != int(code) or not 0 <= code < len(classes):
            raise DataError(
                f"{label}: line {number} has the class {code:g}, and {named.name} names {len(classes)} (0 to {len(classes) - 1})."
            )
        if len(values) > 5:
            x, y = values[::2], values[1::2]
            item.boxes.append((min(x), min(y), max(x), max(y), int(code)))
        else:
            x, y, width, height = values[:4]
            item.boxes.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2, int(code)))
        item.rows.append(where)


def write(made: Table, folder: Path) -> list[Path]:
    """Write a table as images/SPLIT, labels/SPLIT and data.yaml; paths of the text files. Raises DataError."""
    pictures, column = _objects.columns_of(made)
    files = []
    for split, rows in _objects.parts(made):
        word = "val" if split == "validation" else split
        (folder / "labels" / word).mkdir(parents=True, exist_ok=True)
        for row in rows.tolist():
            name, _, _ = _objects.put(pictures, row, folder / "images" / word)
            lines = []
            for x0, y0, x1, y1, code in column.values[row].astype(np.float64).tolist():
                lines.append(f"{int(code)} {(x0 + x1) / 2:.6f} {(y0 + y1) / 2:.6f} {x1 - x0:.6f} {y1 - y0:.6f}\n")
            files.append(folder / "labels" / word / f"{Path(name).stem}.txt")
            files[-1].write_text("".join(lines), encoding="utf-8")
    names = "".join(f"  {i}: '{name}'\n" for i, name in enumerate(column.field.classes))
    words = ["val" if split == "validation" else split for split, _ in _objects.parts(made)]
    paths = "".join(f"{word}: images/{word}\n" for word in words)
    (folder / "data.yaml").write_text(f"path: .\n{paths}names:\n{names}", encoding="utf-8")
    return files
