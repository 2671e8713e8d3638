"""folder: class folders of pictures, with or without train, val and test folders around them; or loose pictures to ask about."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data._pictures import SUFFIXES, Pictures, inspect
from lamina.data._table import TEST, TRAIN, VALIDATION, Bad, Column, Field, Reading, Table

SPLIT_FOLDERS = {
    "train": TRAIN, "training": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "dev": VALIDATION,
    "test": TEST, "testing": TEST,
}  # fmt: skip
JUNK = ("thumbs.db", "desktop.ini", "icon\r", "__macosx")
DEPTH = 6  # folders below the one given


def claims(source: Any) -> bool:
    """Claims a folder that holds pictures, a picture file, or a list of paths of files."""
    if isinstance(source, list | tuple):
        return bool(source) and all(isinstance(p, Path | str) for p in source)
    if not isinstance(source, Path):
        return False
    if source.is_file():
        return source.suffix.lower() in SUFFIXES
    return source.is_dir() and next((p for p in _files(source) if p.suffix.lower() in SUFFIXES), None) is not None


def read(source: Any, reading: Reading) -> Table:
    """Column "image", and column "class" where class folders tell it; split from train, val and test folders.

    Raises DataError when no picture can be read.
    """
    if isinstance(source, list | tuple) or source.is_file():
        files = [Path(p) for p in source] if isinstance(source, list | tuple) else [source]
        return _loose(files, str(files[0]) if len(files) == 1 else f"{len(files)} files", [str(f) for f in files])
    found = list(_files(source))
    files = [p for p in found if p.suffix.lower() in SUFFIXES]
    others = Counter(p.suffix.lower() or p.name for p in found if p.suffix.lower() not in SUFFIXES)
    names = [p.relative_to(source).as_posix() for p in files]
    notes = [f"{sum(others.values())} other files passed over ({', '.join(sorted(others)[:5])})."] if others else []
    places = [_place(Path(n).parts) for n in names]
    if all(label is None for _, label in places):
        return _loose(files, str(source), names).noted(*notes)
    if any(split is None for split, _ in places) and any(split is not None for split, _ in places):
        stray = next(n for n, (split, _) in zip(names, places, strict=True) if split is None)
        raise DataError(f"{source} has train, val or test folders, but {stray} is in none of them; move or remove it.")
    bad = [Bad(n, "is in no class folder") for n, (_, label) in zip(names, places, strict=True) if label is None]
    keep = [i for i, (_, label) in enumerate(places) if label is not None]
    table = _loose([files[i] for i in keep], str(source), [names[i] for i in keep])
    by_name = dict(zip(names, places, strict=True))
    labels = [str(by_name[n][1]) for n in table.names]
    classes = tuple(sorted({label for _, label in places if label is not None}, key=natural))
    code = {name: i for i, name in enumerate(classes)}
    column = Column(Field("class", "label", classes), np.array([code[label] for label in labels], np.int64))
    splits = [by_name[n][0] for n in table.names]
    split = None if splits[0] is None else np.array(splits, np.int8)
    rule = "the train, val and test folders" if split is not None else ""
    table = table.with_column(column).with_(target="class", split=split, split_rule=rule, tried=len(files))
    return table.with_(bad=(*table.bad, *bad)).noted(*notes)


def natural(text: str) -> list[tuple[int, int | str]]:
    """Key of the natural order: img2 before img10."""
    return [(0, int(part)) if part.isdigit() else (1, part.lower()) for part in re.split(r"(\d+)", text) if part]


def _place(parts: tuple[str, ...]) -> tuple[int | None, str | None]:
    """(split, class) from the folders a file is in; None where there is none."""
    folders = parts[:-1]
    split = SPLIT_FOLDERS.get(folders[0].lower()) if folders else None
    if split is not None:
        folders = folders[1:]
    return split, folders[0] if folders else None


def _files(folder: Path) -> Iterator[Path]:
    """Files below a folder in natural order; dot-folders, junk and links that lead out of it passed over."""
    root = folder.resolve()

    def walk(at: Path, depth: int) -> Iterator[Path]:
        try:
            entries = sorted(at.iterdir(), key=lambda p: natural(p.name))
        except PermissionError:
            raise DataError(f"{at} cannot be read: permission denied.") from None
        for path in entries:
            if path.name.startswith(".") or path.name.lower() in JUNK:
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                continue
            if path.is_dir() and depth < DEPTH:
                yield from walk(path, depth + 1)
            elif path.is_file():
                yield path

    return walk(folder, 0)


def _loose(files: list[Path], source: str, names: list[str]) -> Table:
    """A table of pictures alone; those that do not decode are listed as bad."""
    wrong = inspect(files)
    bad = tuple(Bad(n, w) for n, w in zip(names, wrong, strict=True) if w)
    good = [i for i, w in enumerate(wrong) if not w]
    if not good:
        first = f"; the first: {bad[0].where} {bad[0].why}" if bad else ""
        raise DataError(f"{source} holds no picture that can be read{first}.")
    columns = {"image": Column(Field("image", "image"), Pictures.of_files([files[i] for i in good]))}
    return Table(columns, source, "folder", np.array([names[i] for i in good], object), bad=bad, tried=len(files))
