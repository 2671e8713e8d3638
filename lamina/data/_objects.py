"""Objects in pictures: what the readers of COCO, VOC and YOLO files share: checking boxes, finding pictures, writing them back.

A box that has no area or lies outside its picture is left out and named in `bad`; one that reaches over the border is cut and
noted. Sides are pixels until `table` makes shares of the picture of them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from lamina.core.errors import DataError
from lamina.data._pictures import SUFFIXES, Pictures, inspect
from lamina.data._table import SPLITS, Bad, Column, Field, Table

OVER = 1.0  # pixels by which a box may reach over the border unsaid
PROPORTION = 0.02  # by which width over height of a picture may differ from what its file says


@dataclass
class Item:
    """A picture and what its file says of it."""

    path: Path
    name: str
    where: str
    """file and row of its boxes"""
    split: int | None = None
    size: tuple[float, float] | None = None
    """width and height for which the boxes are given; None: in shares of the picture"""
    boxes: list[tuple[float, float, float, float, int]] = field(default_factory=list)
    """x0 y0 x1 y1 and the code of the class"""
    rows: list[str] = field(default_factory=list)
    """where each box stands"""


def table(
    source: str, reader: str, items: Sequence[Item], classes: Sequence[str], bad: Sequence[Bad], notes: Sequence[str]
) -> Table:
    """The table of pictures and their boxes; pictures that cannot be read join those that are bad.

    Raises DataError when no picture can be read.
    """
    listed, notes = list(bad), list(notes)
    wrong = inspect([item.path for item in items])
    listed += [Bad(item.name, why) for item, why in zip(items, wrong, strict=True) if why]
    good = [item for item, why in zip(items, wrong, strict=True) if not why]
    sizes = Pictures.of_files([item.path for item in good]).sizes()
    kept: list[Item] = []
    boxes: list[np.ndarray] = []
    cut: list[str] = []
    for item, (height, width) in zip(good, sizes.tolist(), strict=True):
        own = item.size
        if own and (min(own) <= 0 or abs(own[0] * height / (own[1] * width) - 1) > PROPORTION):
            said = f"its boxes are for {own[0]:g}x{own[1]:g} pixels, and the picture has {width}x{height}"
            listed.append(Bad(item.name, f"{said} ({item.where})"))
            continue
        kept.append(item)
        boxes.append(_checked(item, (width, height), listed, cut))
    if not kept:
        first = f"; the first: {listed[0].where} {listed[0].why}" if listed else ""
        raise DataError(f"{source} holds no picture with boxes that can be read{first}.")
    if cut:
        notes.append(
            f"{len(cut)} boxes reach over the border of their picture and are cut there (the first: {cut[0]})."
        )
    values = np.empty(len(kept), object)
    values[:] = boxes
    columns = {
        "image": Column(Field("image", "image"), Pictures.of_files([item.path for item in kept])),
        "boxes": Column(Field("boxes", "boxes", tuple(classes)), values),
    }
    names = np.array([item.name for item in kept], object)
    made = Table(columns, source, reader, names, "boxes", notes=tuple(notes), bad=tuple(listed),
                 tried=len(items) + len(bad) + sum(len(item.boxes) for item in items))  # fmt: skip
    splits = [item.split for item in kept]
    if None in splits:
        return made
    return made.with_(split=np.array(splits, np.int8), split_rule="the split that comes with the data")


def _checked(item: Item, size: tuple[int, int], bad: list[Bad], cut: list[str]) -> np.ndarray:
    """float32 (n, 5) of the boxes of a picture of this width and height, as shares; what is wrong goes into bad or cut."""
    found = []
    width, height = item.size or (1.0, 1.0)
    for (x0, y0, x1, y1, code), where in zip(item.boxes, item.rows, strict=True):
        sides = np.array([x0 / width, y0 / height, x1 / width, y1 / height])
        said = f"{x0:g} {y0:g} {x1:g} {y1:g}"
        inside = sides.clip(0, 1)
        if not np.isfinite(sides).all() or x1 <= x0 or y1 <= y0:
            bad.append(Bad(where, f"its box ({said}) has no area; the box is left out"))
        elif inside[2] <= inside[0] or inside[3] <= inside[1]:
            bad.append(Bad(where, f"its box ({said}) lies outside the picture; the box is left out"))
        else:
            if (np.abs(sides - inside) * np.array(size * 2)).max() > OVER:
                cut.append(where)
            found.append([*inside, code])
    return np.array(found, np.float32).reshape(-1, 5)


def pictures_below(folder: Path) -> dict[str, Path]:
    """Relative path without its suffix -> picture, of all pictures below a folder."""
    found = {}
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                path = Path(root) / name
                found[path.relative_to(folder).with_suffix("").as_posix()] = path
    return found


def parts(made: Table) -> list[tuple[str, np.ndarray]]:
    """Name and rows of each split that a table has; all rows as "train" where it has none."""
    if made.split is None:
        return [("train", np.arange(len(made)))]
    return [(name, made.rows(i)) for i, name in enumerate(SPLITS) if len(made.rows(i))]


def columns_of(made: Table) -> tuple[Pictures, Column]:
    """The pictures and the boxes of a table. Raises DataError when it lacks one."""
    pictures = [c.values for c in made.columns.values() if c.field.kind == "image"]
    boxes = [c for c in made.columns.values() if c.field.kind == "boxes"]
    if not pictures or not boxes:
        raise DataError(f"{made.source} has no {'pictures' if not pictures else 'boxes'} to write.")
    return pictures[0], boxes[0]


def put(pictures: Pictures, row: int, folder: Path) -> tuple[str, int, int]:
    """Write the picture of a row into a folder, a file as it is: its name, width and height."""
    folder.mkdir(parents=True, exist_ok=True)
    height, width = (int(v) for v in pictures.take(np.array([row])).sizes()[0])
    if pictures.paths is not None:
        source = Path(pictures.paths[row])
        name = f"{row:06}{source.suffix.lower()}"
        shutil.copyfile(source, folder / name)
        return name, width, height
    name, pixels = f"{row:06}.png", pictures.open(row)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(folder / name)
    return name, width, height
