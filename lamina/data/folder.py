"""folder: class folders of pictures, with or without train, val and test folders around them; or loose pictures to ask about."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data import coco, idx, masks, pairs, picture_pairs, sniff, voc, yolo_labels
from lamina.data._pictures import SUFFIXES, Pictures, inspect
from lamina.data._table import SPLITS, TEST, TRAIN, VALIDATION, Bad, Column, Field, Reading, Table

SPLIT_FOLDERS = {
    "train": TRAIN, "training": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "dev": VALIDATION,
    "test": TEST, "testing": TEST,
}  # fmt: skip
JUNK = ("thumbs.db", "desktop.ini", "icon\r", "__macosx")
SHOWN = 5  # kinds of files passed over that are named
NO_CLASS = "is in no class folder"


def claims(source: Any) -> bool:
    """Claims a folder that holds pictures, a picture file, or a list of paths of pictures; a folder that another source knows not."""
    if isinstance(source, list | tuple):
        paths = [p for p in source if isinstance(p, Path | str)]
        return len(paths) == len(source) and any(isinstance(p, Path) or _is_picture(p) for p in paths)
    if not isinstance(source, Path):
        return False
    try:
        if not source.is_dir():
            return source.is_file() and _is_picture(source)
        others = (idx, pairs, coco, voc, yolo_labels, masks, picture_pairs)
        return not any(other.claims(source) for other in others) and any(
            _is_picture(path) for path, _ in _walk(source, source.resolve())
        )
    except PermissionError:
        return True  # read says what is wrong


def read(source: Any, reading: Reading) -> Table:
    """Column "image", and column "class" where class folders tell it; split from train, val and test folders.

    Raises DataError when no picture can be read, with the nearest name when nothing is there.
    """
    if isinstance(source, list | tuple):
        files = [Path(p).expanduser() for p in source]
        names = [_shown(p) for p in files]
        return _readable(files, names, names[0] if len(files) == 1 else f"{len(files)} files", [])
    try:
        if source.is_file():
            return _readable([source], [_shown(source)], str(source), [])
        if not source.is_dir():
            raise sniff._missing(source)
        found = list(_walk(source, source.resolve()))
    except PermissionError as error:
        raise DataError(f"{error.filename} cannot be read: permission denied; change its rights.") from None
    return _of_folder(source, found)


def _of_folder(source: Path, found: list[tuple[Path, str]]) -> Table:
    """The table of a folder, from its files and what keeps each from being read."""
    others = [(path, why) for path, why in found if not _is_picture(path)]
    pictures = {_shown(path.relative_to(source)): (path, why) for path, why in found if _is_picture(path)}
    if not pictures:
        what = "holds no pictures" if others else "is empty"
        raise DataError(f"{source} {what}; put pictures into one folder per class.")
    places = _places(str(source), sorted(pictures, key=lambda name: [natural(part) for part in name.split("/")]))
    has_classes = any(label for _, label in places.values())
    notes = _passed_over(source, others) + (_without_unnamed(places) if has_classes else [])
    why = {n: pictures[n][1] or ("" if label or not has_classes else NO_CLASS) for n, (_, label) in places.items()}
    good = [n for n, w in why.items() if not w]
    table = _readable([pictures[n][0] for n in good], good, str(source), [Bad(n, w) for n, w in why.items() if w])
    splits = [places[n][0] for n in table.names]
    if None not in splits:
        table = table.with_(split=np.array(splits, np.int8), split_rule="the train, val and test folders")
    return (_labelled(table, [str(places[n][1]) for n in table.names]) if has_classes else table).noted(*notes)


def _without_unnamed(places: dict[str, tuple[int | None, str | None]]) -> list[str]:
    """Take the splits without class folders out of `places` (a test set whose answers are kept secret), and say so."""
    notes = []
    for split, part in enumerate(SPLITS):
        own = [name for name, place in places.items() if place[0] == split]
        if own and not any(places[name][1] for name in own):
            notes.append(f"The {part} folder has no class folders: its {len(own):,} pictures are left out.")
            for name in own:
                del places[name]
    return notes


def _labelled(table: Table, labels: list[str]) -> Table:
    classes = tuple(sorted(set(labels), key=natural))
    code = {name: i for i, name in enumerate(classes)}
    column = Column(Field("class", "label", classes), np.array([code[label] for label in labels], np.int64))
    return table.with_column(column).with_(target="class")


def natural(text: str) -> list[tuple[int, int | str]]:
    """Key of the natural order: img2 before img10, and of texts that differ in case alone always the same one first."""
    parts: list[tuple[int, int | str]] = []
    for part in re.split(r"(\d+)", text):
        if part:
            parts.append((0, int(part)) if part.isdecimal() else (1, part.lower()))
    return [*parts, (-1, text)]


def _places(source: str, names: list[str]) -> dict[str, tuple[int | None, str | None]]:
    """Name -> split and class, from the folders it is in; None where there is none.

    Folders named train, val or test are splits when nothing stands beside them, or when train holds folders; otherwise
    they are classes like their neighbours (bus, car, train). Raises DataError for a folder beside the splits.
    """
    folders = {name: name.split("/")[:-1] for name in names}
    first = {f[0] for f in folders.values() if f}
    split = {name: SPLIT_FOLDERS[name.lower()] for name in first if name.lower() in SPLIT_FOLDERS}
    holds_folders = {f[0] for f in folders.values() if len(f) > 1}
    if split.keys() != first and not any(split[name] == TRAIN for name in split.keys() & holds_folders):
        return {name: (None, f[0] if f else None) for name, f in folders.items()}
    stray = next((name for name, f in folders.items() if f and f[0] not in split), None)
    if stray:
        raise DataError(f"{source} has train, val or test folders, but {stray} is in none of them; move or remove it.")
    return {name: (split[f[0]] if f else None, f[1] if len(f) > 1 else None) for name, f in folders.items()}


def _walk(folder: Path, root: Path, above: tuple[str, ...] = ()) -> Iterator[tuple[Path, str]]:
    """Files below a folder, and "" or what keeps each from being read; dot-files and junk are passed over.

    Links are followed inside `root` alone. Raises PermissionError.
    """
    above = (*above, os.path.realpath(folder))
    with os.scandir(folder) as entries:
        for entry in entries:
            path, real = Path(entry.path), os.path.realpath(entry.path) if entry.is_symlink() else ""
            if entry.name.startswith(".") or entry.name.lower() in JUNK:
                continue
            if real and not Path(real).is_relative_to(root):
                yield path, "is a link that leads out of the folder"
            elif real in above:
                yield path, "is a link to a folder that it is in"
            elif entry.is_dir():
                yield from _walk(path, root, above)
            elif entry.is_file():
                yield path, ""
            else:
                yield path, "is a link to nothing" if real else "is not a file"


def _passed_over(source: Path, others: list[tuple[Path, str]]) -> list[str]:
    """What is said about files that are no pictures, and about links to folders."""
    kinds = Counter(path.suffix.lower() or path.name for path, why in others if not why)
    notes = sorted(f"{_shown(path.relative_to(source))} {why}; it is left out." for path, why in others if why)
    if len(notes) > SHOWN:
        notes[SHOWN:] = [f"{len(notes) - SHOWN:,} more links are left out."]
    if kinds:
        commonest = sorted(kinds, key=lambda kind: (-kinds[kind], kind))[:SHOWN]
        named = ", ".join(f"{kinds[kind]:,} {kind}" if len(kinds) > 1 else kind for kind in commonest)
        notes.append(f"{kinds.total():,} other files passed over ({named}{', ...' if len(kinds) > SHOWN else ''}).")
    return notes


def _is_picture(path: Path | str) -> bool:
    return str(path).lower().endswith(SUFFIXES)


def _shown(path: Path) -> str:
    """A path with '/', composed letters (macOS stores them apart), and bytes that are no UTF-8 written out."""
    return unicodedata.normalize("NFC", os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace"))


def _readable(files: list[Path], names: list[str], source: str, bad: list[Bad]) -> Table:
    """A table of pictures alone; those that do not decode join those that are bad already."""
    wrong = inspect(files)
    listed = (*bad, *(Bad(n, w) for n, w in zip(names, wrong, strict=True) if w))
    good = [i for i, w in enumerate(wrong) if not w]
    if not good:
        first = f"; the first: {listed[0].where} {listed[0].why}" if listed else ""
        raise DataError(f"{source} holds no picture that can be read{first}.")
    columns = {"image": Column(Field("image", "image"), Pictures.of_files([files[i] for i in good]))}
    found = np.array([names[i] for i in good], object)
    return Table(columns, source, "folder", found, bad=listed, tried=len(files) + len(bad))
