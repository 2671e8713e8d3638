"""texts: class folders of text files, one text a file, with or without train, val and test folders around them.

Files end in .txt, .text, .md or .rst, or have no ending. A folder with text files of its own, or of programs, is running text (text).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _encoding, folder, voc, yolo_labels
from lamina.data._table import Bad, Column, Field, Reading, Table

SUFFIXES = (".txt", ".text", ".md", ".rst", "")
ABOUT = ("readme", "license", "licence", "copying", "notice", "changelog", "authors", "sha256sums", "md5sums")
LOOKED = 200  # files of a folder that are looked at


def claims(source: Any) -> bool:
    """Claims a folder whose texts all lie in two or more folders, and that holds nothing else that is read; text files to ask about."""
    if not isinstance(source, Path):
        return False
    try:
        if not source.is_dir() or any(_is_text(p) for p in source.iterdir() if p.is_file()):
            return False
        if sum(p.is_dir() and not p.name.startswith(".") for p in source.iterdir()) < 2:
            return False
        found = (path for path, why in folder._walk(source, source.resolve()) if not why and not _about(path))
        first = list(itertools.islice(found, LOOKED))
    except OSError:
        return False
    texts = sum(_is_text(path) for path in first)
    return texts > 0.9 * len(first) and texts > 0 and not (voc.claims(source) or yolo_labels.claims(source))


def read(source: Any, reading: Reading) -> Table:
    """Column "text", and column "class" from class folders; split from train, val and test folders.

    Raises DataError when no text can be read, and for class folders that hold none.
    """
    if isinstance(source, Path) and source.is_file():
        return of_files({source.name: source}, str(source))
    found = {folder._shown(p.relative_to(source)): (p, why) for p, why in folder._walk(source, source.resolve())}
    names = [n for n in sorted(found, key=folder.natural) if _is_text(found[n][0])]
    places = folder._places(str(source), names)
    bad = [Bad(n, found[n][1] or folder.NO_CLASS) for n in names if found[n][1] or not places[n][1]]
    left = {b.where for b in bad}
    other = len(found) - len(names)
    table = of_files({n: found[n][0] for n in names if n not in left}, str(source), bad)
    from_file = [places[str(name)] for name in table.names]
    if None not in (splits := [split for split, _ in from_file]):
        table = table.with_(split=np.array(splits, np.int8), split_rule="the train, val and test folders")
    table = table.noted(*([f"{other:,} other files passed over."] if other else []))
    return folder._labelled(table, [str(label) for _, label in from_file])


def of_files(files: dict[str, Path], source: str, bad: Sequence[Bad] = ()) -> Table:
    """A table of column "text", a row a file by its name. Raises DataError when none can be read."""
    listed, encodings = list(bad), Counter()
    texts: dict[str, str] = {}
    for name, path in files.items():
        try:
            raw = path.read_bytes()
            if not raw.strip():
                raise DataError(f"{name} is empty.")
            if _encoding.is_binary(raw) and not raw.startswith(tuple(mark for mark, _ in _encoding.MARKS)):
                raise DataError(f"{name} is binary, not text.")
            text, encoding = _encoding.decoded(raw, name)
        except (OSError, DataError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error).removeprefix(f"{name} ").rstrip(".")
            listed.append(Bad(name, why or "cannot be read"))
            continue
        texts[name] = text
        encodings[encoding] += 1
    if not texts:
        first = f"; the first: {listed[0].where} {listed[0].why}" if listed else ""
        raise DataError(f"{source} holds no text that can be read{first}.")
    values = np.array([*texts.values(), None], object)[:-1]
    names = np.array([*texts, None], object)[:-1]
    notes = (f"Texts in {_encoding.told(encodings)}.",)
    columns = {"text": Column(Field("text", "text"), values)}
    return Table(columns, source, "texts", names, notes=notes, bad=tuple(listed), tried=len(files) + len(bad))


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not _about(path) and not path.name.startswith(".")


def _about(path: Path) -> bool:
    return path.stem.lower() in ABOUT
