"""masks: a folder of pictures beside a folder of masks of the same names: palette or grey codes, or one colour per class."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _beside
from lamina.data._decode import header
from lamina.data._dense import Masks, is_coloured, raw
from lamina.data._pictures import inspect
from lamina.data._table import IGNORE, Column, Field, Reading, Table
from lamina.data._threads import in_threads

NAMES = (
    (("images", "image", "imgs", "img", "photos", "pictures", "jpegimages"),
     ("masks", "mask", "labels", "label", "annotations", "annotation", "segmentations", "segmentation", "segmentationclass", "gt")),
)  # fmt: skip
LISTS = ("classes.txt", "classes.csv", "labels.txt", "label_colors.txt", "colors.txt", "class_dict.csv", "codes.txt")
MOST = 254  # classes; and different values in masks
SOFT = 64  # different values from which on a list of classes must name them


def claims(source: Any) -> bool:
    """Claims a folder with images/ and masks/ (labels/, annotations/ ...) that hold pictures, itself or in train, val, test."""
    return _beside.claims(source, NAMES)


def read(source: Path, reading: Reading) -> Table:
    """Columns image and mask (the target); a list of classes (classes.txt) names codes or colours.

    A mask of another size than its picture, of a colour that is not listed, or that is missing: named, its row left out.
    Raises DataError when no pair is left, and for masks of too many values.
    """
    found = _beside.matched(source, _beside.folders(source, NAMES), "mask")
    listed = _listed(source)
    seen = in_threads(lambda i: _look(found.firsts[i], found.seconds[i]), range(len(found.firsts)))
    picture_wrong = inspect(found.firsts)
    coloured = any(is_coloured(p) for p, (_, why) in zip(found.seconds, seen, strict=True) if not why)
    values, codes, classes = _coding(source, [v for v, why in seen if not why], coloured, listed, found.seconds)
    known, wrong = set(values) | ({IGNORE} if not coloured else set()), []
    for own, why in seen:
        strange = sorted(set(own) - known) if not why else []
        named = (
            f"holds {_named(strange[0], coloured)}, which is no class of {', '.join(classes[:4])} ..."
            if strange
            else ""
        )
        wrong.append(why or named)
    kept, tried = found.sound(source, picture_wrong, wrong, "picture with a mask")
    masks = Masks.of_files(kept.seconds, values, codes)
    return kept.table(source, "masks", Column(Field("mask", "mask", tuple(classes)), masks), tried)


def _look(picture: Path, mask: Path) -> tuple[list[int], str]:
    """Values of a mask, and what is wrong with it beside its picture."""
    try:
        found = raw(mask)
        height, width, _ = header(str(picture))
    except DataError as error:
        return [], str(error).removeprefix(f"{mask} ").rstrip(".")
    except Exception:  # the picture is damaged, and said so elsewhere
        return np.unique(found)[: MOST + 2].tolist(), ""
    if found.shape != (height, width):
        return [], f"is {found.shape[1]}x{found.shape[0]} pixels, and its picture {width}x{height}"
    return np.unique(found)[: MOST + 2].tolist(), ""


def _coding(
    source: Path, seen: list[list[int]], coloured: bool, listed: list[tuple[str, int | None]], files: list[Path]
) -> tuple[list[int], list[int], list[str]]:
    """Values of the files, the code of each, and the names of the classes. Raises DataError."""
    if listed:
        with_colours = [(n, c) for n, c in listed if c is not None]
        if coloured and not with_colours:
            raise DataError(
                f"{source} has masks in colours, and its list of classes names none; write NAME R G B per line."
            )
        chosen = [(n, c if coloured and c is not None else i) for i, (n, c) in enumerate(listed)]
        return [v for _, v in chosen], list(range(len(chosen))), [n for n, _ in chosen]
    values = sorted({v for own in seen for v in own})
    most = max(range(len(seen)), key=lambda i: len(seen[i]), default=0)
    if len(values) > SOFT:
        raise DataError(
            f"masks of {source} hold {len(values)} or more different values (such as {files[most].name}); masks need one per class: "
            "save them as PNG, not as JPEG, or name the classes in classes.txt."
        )
    if not coloured and len(values) > 2 and IGNORE in values:
        values.remove(IGNORE)
    return values, list(range(len(values))), [_named(v, coloured) for v in values]


def _named(value: int, coloured: bool) -> str:
    return f"#{value:06x}" if coloured else str(value)


def _listed(source: Path) -> list[tuple[str, int | None]]:
    """(name, colour as 0xRRGGBB or None) per line of a list of classes: "name", "3 name", "name 255 0 0", "name,#ff0000".

    Raises DataError for a line without a name and a name that is there twice.
    """
    path = next((source / name for name in LISTS if (source / name).is_file()), None)
    if path is None:
        return []
    found: list[tuple[str, int | None]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        words = [w for w in re.split(r"[\s,;:]+", line.strip()) if w]
        if not words or (number == 1 and {"name", "r", "g", "b"} & {w.lower() for w in words}):
            continue
        colour, texts, numbers = None, [], []
        for word in words:
            if re.fullmatch(r"#[0-9a-fA-F]{6}", word):
                colour = int(word[1:], 16)
            elif word.isdecimal():
                numbers.append(int(word))
            else:
                texts.append(word)
        if len(numbers) >= 3:
            red, green, blue = numbers[-3:]
            colour = red << 16 | green << 8 | blue
        if not texts:
            raise DataError(f"{path} line {number} names no class: '{line.strip()[:40]}'; write NAME, or NAME R G B.")
        found.append((" ".join(texts), colour))
    twice = next((n for i, (n, _) in enumerate(found) if n in [m for m, _ in found[:i]]), None)
    if twice:
        raise DataError(f"{path} names the class '{twice}' twice.")
    if len(found) > MOST:
        raise DataError(f"{path} names {len(found)} classes; a mask can hold {MOST}.")
    return found
