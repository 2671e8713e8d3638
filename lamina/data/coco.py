"""coco: objects in pictures as COCO's JSON names them, beside or inside the folder of pictures. https://cocodataset.org/#format-data

A JSON file, or a folder with JSON files in it or in its folder annotations; files named after train, val and test are the
splits. Boxes that mark a crowd are left out, and their number is said.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _objects
from lamina.data._objects import Item
from lamina.data._table import TEST, TRAIN, VALIDATION, Bad, Reading, Table

HEAD = 1 << 16  # bytes at both ends of a file in which its keys are looked for
KEYS = ("images", "annotations", "categories")
WORDS = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}


def claims(source: Any) -> bool:
    """Claims a JSON file with images, annotations and categories, and a folder that has one."""
    if not isinstance(source, Path):
        return False
    try:
        return bool(_files(source))
    except OSError:
        return False


def _files(source: Path) -> list[Path]:
    """The JSON files of a source that are COCO's."""
    if source.is_file():
        return [source] if _is_coco(source) else []
    if not source.is_dir():
        return []
    places = [source, source / "annotations", *sorted(p for p in source.iterdir() if p.is_dir() and p.name in WORDS)]
    return [p for place in places if place.is_dir() for p in sorted(place.glob("*.json")) if _is_coco(p)]


def _is_coco(path: Path) -> bool:
    if path.suffix.lower() != ".json":
        return False
    with open(path, "rb") as file:
        ends = file.read(HEAD)
        size = os.fstat(file.fileno()).st_size
        if size > HEAD:
            file.seek(max(HEAD, size - HEAD))
            ends += file.read()
    return (
        ends.lstrip()[:1] == b"{" and b'"caption"' not in ends and sum(f'"{key}"'.encode() in ends for key in KEYS) >= 2
    )


def read(source: Any, reading: Reading) -> Table:
    """Columns image and boxes. Raises DataError, with file and row, for what is no COCO and for classes that are not in its list."""
    files, items, notes, crowds = _files(source), [], [], 0
    classes: dict[str, int] = {}
    bad: list[Bad] = []
    if not files:
        raise DataError(f"{source} has no JSON file with {', '.join(KEYS)}.")
    for file in files:
        content = _content(file)
        split = _split(file) if len(files) > 1 else None
        if len(files) > 1 and split is None:
            notes.append(f"{file.name} is named after none of {', '.join(WORDS)} and is left out.")
        elif "annotations" not in content:
            notes.append(f"{file.name} holds no annotations and is left out.")
        else:
            own, left = _items(file, content, split, classes, bad)
            items += own
            crowds += left
    if crowds:
        notes.append(f"{crowds:,} boxes mark a crowd and are left out.")
    return _objects.table(str(source), "coco", items, list(classes), bad, notes)


def _content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is no JSON ({str(error)[:80]}); is it whole?") from None
    for key in ("images", "categories"):
        if not isinstance(content.get(key), list):
            raise DataError(f"{file} has no list '{key}', which COCO's files have.")
    return content


def _split(file: Path) -> int | None:
    """The split that a file is named after, or its folder."""
    for text in (file.stem, file.parent.name):
        found = next((WORDS[w] for w in re.findall(r"[a-z]+", text.lower()) if w in WORDS), None)
        if found is not None:
            return found
    return None


def _items(
    file: Path, content: dict, split: int | None, classes: dict[str, int], bad: list[Bad]
) -> tuple[list[Item], int]:
    """The pictures of a file with their boxes, and how many boxes mark a crowd; names of classes join `classes`."""
    try:
        code = {}
        for category in sorted(content["categories"], key=lambda c: c["id"]):
            code[category["id"]] = classes.setdefault(str(category["name"]), len(classes))
        roots, items = _roots(file), {}
        for i, entry in enumerate(content["images"]):
            path = _found(roots, str(entry["file_name"]))
            if path is None:
                bad.append(Bad(f"{file.name} image {i}", f"its picture {entry['file_name']} is not there"))
            size = (
                (float(entry["width"]), float(entry["height"])) if entry.get("width") and entry.get("height") else None
            )
            items[entry["id"]] = Item(path or Path(), str(entry["file_name"]), f"{file.name} image {i}", split, size)
        crowds = 0
        for i, entry in enumerate(content["annotations"]):
            where, item = f"{file.name} annotation {i}", items.get(entry["image_id"])
            if item is None:
                bad.append(Bad(where, f"is of the picture {entry['image_id']}, which is not in the file"))
            elif entry.get("iscrowd"):
                crowds += 1
            elif entry["category_id"] not in code:
                known = ", ".join(map(str, list(code)[:8]))
                raise DataError(
                    f"{file}: annotation {i} has the class {entry['category_id']}, which is not in its list ({known})."
                )
            else:
                x, y, width, height = (float(v) for v in entry["bbox"])
                item.boxes.append((x, y, x + width, y + height, code[entry["category_id"]]))
                item.rows.append(where)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{file} is not as COCO writes it ({type(error).__name__}: {str(error)[:60]}).") from None
    there = [item for item in items.values() if item.path != Path()]
    return [_sized(item) for item in there], crowds


def _sized(item: Item) -> Item:
    """The item with the picture's own size where its file gives none."""
    if item.size is None:
        from lamina.data._decode import header

        height, width, _ = header(str(item.path))
        item.size = (width, height)
    return item


def _roots(file: Path) -> list[Path]:
    """Folders in which the pictures of a file may lie."""
    words = [w for w in re.findall(r"[a-z]+\d*", file.stem.lower()) if w.rstrip("0123456789") in WORDS]
    near = [file.parent, file.parent.parent]
    inside = ["", "images", *words, *(f"images/{w}" for w in words)]
    return [place / name for place in near for name in inside]


def _found(roots: list[Path], name: str) -> Path | None:
    return next((root / name for root in roots if (root / name).is_file()), None)


def write(made: Table, folder: Path) -> list[Path]:
    """Write a table's pictures into FOLDER/images and a JSON file for each split; their paths. Raises DataError."""
    pictures, column = _objects.columns_of(made)
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(column.field.classes)]
    files = []
    for split, rows in _objects.parts(made):
        images: list[dict] = []
        annotations: list[dict] = []
        for row in rows.tolist():
            name, width, height = _objects.put(pictures, row, folder / "images")
            images.append({"id": row + 1, "file_name": name, "width": width, "height": height})
            for box in column.values[row].astype(np.float64).tolist():
                x0, y0, x1, y1 = (round(v * side, 3) for v, side in zip(box[:4], (width, height) * 2, strict=True))
                sides = [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)]
                annotations.append({"id": len(annotations) + 1, "image_id": row + 1, "category_id": int(box[4]) + 1,
                                    "bbox": sides, "area": round(sides[2] * sides[3], 3), "iscrowd": 0})  # fmt: skip
        files.append(folder / f"{split}.json")
        content = {"images": images, "annotations": annotations, "categories": categories}
        files[-1].write_text(json.dumps(content), encoding="utf-8")
    return files
