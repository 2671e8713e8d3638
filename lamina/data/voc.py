"""voc: objects in pictures as Pascal VOC's XML files name them. Everingham 2010, https://doi.org/10.1007/s11263-009-0275-4

A folder with Annotations and JPEGImages, its splits in ImageSets/Main/train.txt, val.txt and test.txt; or any folder with an
XML file for each picture. Pixels are counted from 1 and sides are inside the box, as VOC has it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from lamina.data import _objects
from lamina.data._objects import Item
from lamina.data._pictures import SUFFIXES
from lamina.data._table import TEST, TRAIN, VALIDATION, Bad, Reading, Table

LISTS = {"train": TRAIN, "val": VALIDATION, "test": TEST}
LOOKED = 3  # XML files that are looked at to tell VOC's
MOST = 1 << 24  # bytes of an XML file


def claims(source: Any) -> bool:
    """Claims a folder with XML files whose first word is annotation."""
    if not isinstance(source, Path):
        return False
    try:
        return source.is_dir() and any(_is_voc(p) for p in _files(source)[:LOOKED])
    except OSError:
        return False


def _files(source: Path) -> list[Path]:
    """The XML files of a folder: those of Annotations where there is one."""
    place = source / "Annotations"
    if place.is_dir():
        return sorted(place.glob("*.xml"))
    found = []
    for root, folders, files in os.walk(source):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        found += [Path(root) / name for name in sorted(files) if name.lower().endswith(".xml")]
    return found


def _is_voc(path: Path) -> bool:
    with open(path, "rb") as file:
        return b"<annotation" in file.read(1024)


def read(source: Any, reading: Reading) -> Table:
    """Columns image and boxes. Raises DataError; pictures without an XML file and files that cannot be read are listed in `bad`."""
    pictures = _objects.pictures_below(source)
    by_stem = {Path(name).name: path for name, path in pictures.items()}
    splits, items, notes, used = _splits(source), [], [], set()
    bad: list[Bad] = []
    found: list[tuple[Item, list[str]]] = []
    difficult = 0
    for file in _files(source):
        where = file.relative_to(source).as_posix()
        try:
            tree = _tree(file)
            path = _picture(file, tree, by_stem)
            if path is None:
                bad.append(Bad(where, f"its picture {tree.findtext('filename') or file.stem} is not there"))
                continue
            used.add(path)
            item, names, hard = _item(tree, path, where, splits.get(file.stem))
        except ValueError as error:
            bad.append(Bad(where, str(error)))
            continue
        difficult += hard
        found.append((item, names))
    bad += [
        Bad(p.relative_to(source).as_posix(), "has no XML file with its boxes")
        for p in pictures.values()
        if p not in used
    ]
    classes = sorted({name for _, names in found for name in names})
    for item, names in found:
        item.boxes = [(*box[:4], classes.index(name)) for box, name in zip(item.boxes, names, strict=True)]
        items.append(item)
    if splits:
        left = [item for item in items if item.split is None]
        items = [item for item in items if item.split is not None]
        if left:
            notes.append(f"{len(left):,} pictures are in none of the lists train, val and test and are left out.")
    if difficult:
        notes.append(f"{difficult:,} boxes are marked as difficult; they count as the others do.")
    return _objects.table(str(source), "voc", items, classes, bad, notes)


def _tree(file: Path) -> ElementTree.Element:
    """Raises ValueError that says what is wrong."""
    if file.stat().st_size > MOST:
        raise ValueError(f"has more than {MOST:,} bytes")
    try:
        tree = ElementTree.fromstring(file.read_bytes())
    except ElementTree.ParseError as error:
        raise ValueError(f"is no XML ({str(error)[:60]})") from None
    if tree.tag != "annotation":
        raise ValueError(f"holds <{tree.tag[:20]}>, not <annotation>")
    return tree


def _picture(file: Path, tree: ElementTree.Element, by_stem: dict[str, Path]) -> Path | None:
    name = tree.findtext("filename") or ""
    beside = [file.parent / name] if name.lower().endswith(SUFFIXES) else []
    beside += [file.with_suffix(suffix) for suffix in SUFFIXES]
    there = next((path for path in beside if path.is_file()), None)
    return there or by_stem.get(Path(name).stem) or by_stem.get(file.stem)


def _item(tree: ElementTree.Element, path: Path, where: str, split: int | None) -> tuple[Item, list[str], int]:
    """A picture, the class of each of its boxes, and how many are difficult. Raises ValueError."""
    size = tuple(float(tree.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    if min(size) <= 0:
        raise ValueError("does not say the picture's width and height")
    item, names, hard = Item(path, path.name, where, split, (size[0], size[1])), [], 0
    for i, thing in enumerate(tree.iter("object")):
        name = (thing.findtext("name") or "").strip()
        texts = [thing.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        if not name or None in texts:
            raise ValueError(f"has no {'name' if not name else 'box'} in object {i}")
        x0, y0, x1, y1 = (float(text or "nan") for text in texts)
        item.boxes.append((x0 - 1, y0 - 1, x1, y1, -1))
        item.rows.append(f"{where} object {i}")
        names.append(name)
        hard += (thing.findtext("difficult") or "0").strip() == "1"
    return item, names, hard


def _splits(source: Path) -> dict[str, int]:
    """Stem of a file -> split, from the lists in ImageSets/Main."""
    found: dict[str, int] = {}
    for name, split in LISTS.items():
        path = source / "ImageSets" / "Main" / f"{name}.txt"
        if path.is_file():
            found |= {line.split()[0]: split for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    return found


def write(made: Table, folder: Path) -> list[Path]:
    """Write a table as JPEGImages, Annotations and ImageSets/Main; paths of the XML files. Sides are rounded to whole pixels.

    Raises DataError.
    """
    pictures, column = _objects.columns_of(made)
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    files = []
    for split, rows in _objects.parts(made):
        for row in rows.tolist():
            name, width, height = _objects.put(pictures, row, folder / "JPEGImages")
            tree = ElementTree.Element("annotation")
            _add(tree, "filename", name)
            size = ElementTree.SubElement(tree, "size")
            for side, value in (("width", width), ("height", height), ("depth", 3)):
                _add(size, side, value)
            for box in column.values[row].astype(np.float64).tolist():
                thing = ElementTree.SubElement(tree, "object")
                _add(thing, "name", column.field.classes[int(box[4])])
                sides = ElementTree.SubElement(thing, "bndbox")
                for side, share, length, first in zip(
                    ("xmin", "ymin", "xmax", "ymax"), box, (width, height) * 2, (1, 1, 0, 0), strict=False
                ):
                    _add(sides, side, round(share * length) + first)
            files.append(folder / "Annotations" / f"{Path(name).stem}.xml")
            ElementTree.ElementTree(tree).write(files[-1], encoding="utf-8")
        names = "".join(f"{row:06}\n" for row in rows.tolist())
        (lists / f"{'val' if split == 'validation' else split}.txt").write_text(names, encoding="utf-8")
    return files


def _add(parent: ElementTree.Element, tag: str, value: Any) -> None:
    ElementTree.SubElement(parent, tag).text = str(value)
