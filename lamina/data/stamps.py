"""stamps: scenes with exact truth: real cut-out photographs (Tux Paint stamps, Debian) pasted on real photographs.

2,750 scenes of 256x256 pixels with one to five objects of nine classes; boxes and masks are those of the visible pixels. Train,
validation and test scenes share neither cut-outs nor photographs. Everything is keyed by (SEED, row) and made once (about two
minutes of one core), below $LAMINA_HOME/made or ~/.cache/lamina/made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from lamina.data import _assets, _made
from lamina.data._dense import Masks
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Field, Reading, Table

SEED, VERSION = 0, 1
SIDE = 256
ROWS = (2_000, 250, 500)  # train, validation, test
FOLDERS = {
    "bird": "animals/birds", "fish": "animals/fish", "flower": "plants/flowers", "fruit": "food/fruit",
    "insect": "animals/insects", "mammal": "animals/mammals", "sign": "town/roadsigns", "tool": "household/tools",
    "vegetable": "food/vegetables",
}  # fmt: skip
CLASSES = tuple(FOLDERS)
DRAWN = ("cartoon", "toys", "plastic")  # folders of cut-outs that are no photographs
STAMPS = "tuxpaint-stamps-default", "usr/share/tuxpaint/stamps"
GROUNDS = {
    "lomiri-wallpapers-16.04": ("Bridge", "Dragonfly", "Picture_1A", "aitzgorri", "free_", "greentock", "life_",
                                "picosdeeuropa", "sunset"),
    "mate-backgrounds": ("Aqua", "Blinds", "Dune", "GreenMeadow", "RainDrops", "Storm", "Wood"),
}  # fmt: skip
"""photographs without an object of these classes in them"""
SMALLEST, LARGEST = 24, 150  # pixels of the longer side of an object
MOST = 5  # objects in a scene
COVERED = 0.35  # share of an object that later ones may cover


@dataclass(frozen=True)
class Cutout:
    """A photograph with alpha, and its class."""

    code: int
    image: Image.Image


def claims(source: Any) -> bool:
    """Claims the name "stamps", unless a file or folder has that name."""
    return isinstance(source, Path) and str(source) == "stamps" and not source.exists()


def read(source: Any, reading: Reading) -> Table:
    """Columns image, boxes (the target), mask and sentence; fixed split. Raises DataError that says how to bring what is missing."""
    _assets.folder(STAMPS[0])
    path = _made.folder(f"stamps-{VERSION}-{SEED}", _make)
    boxes, truth = _made.read(path)
    pictures, masks = (_made.files(path, kind, len(boxes)) for kind in ("image", "mask"))
    columns = {
        "image": Column(Field("image", "image"), Pictures.of_files(pictures)),
        "boxes": Column(Field("boxes", "boxes", CLASSES), boxes),
        "mask": Column(Field("mask", "mask", ("ground", *CLASSES)), Masks.of_files(masks)),
        "sentence": Column(Field("sentence", "text"), truth["sentence"].astype(object)),
    }
    licence = "; ".join(_assets.ASSETS[n].licence for n in _assets.NEEDED["stamps"])
    names = np.array([f"scene {i}" for i in range(len(boxes))], object)
    note = f"Cut-out photographs pasted on photographs, made from seed {SEED}; cut-outs and photographs of the splits are disjoint."
    return Table(
        columns, "stamps", "stamps", names, reading.target or "boxes", truth["split"], "the fixed split of the cut-outs", licence, (note,),
        tried=len(boxes),
    )  # fmt: skip


def cutouts() -> list[tuple[Path, str, int]]:
    """(file, class, split) of every cut-out that is used; a quarter of each class is test, a tenth validation."""
    root = _assets.folder(STAMPS[0]) / STAMPS[1]
    found = []
    for code, (name, place) in enumerate(FOLDERS.items()):
        files = sorted(p for p in (root / place).rglob("*.png") if not set(p.relative_to(root).parts) & set(DRAWN))
        order = np.random.default_rng([SEED, 1, code]).permutation(len(files))
        found += [(files[i], name, split) for i, split in zip(order, _splits(len(files)), strict=True)]
    return found


def _splits(count: int) -> list[int]:
    test, validation = math.ceil(count / 4), max(1, count // 10)
    return [2] * test + [1] * validation + [0] * (count - test - validation)


def _make(aside: Path) -> None:
    cuts: list[list[Cutout]] = [[], [], []]
    for file, name, split in cutouts():
        with Image.open(file) as image:
            cut = image.convert("RGBA")
        cut = cut.crop(Image.fromarray(np.asarray(cut.getchannel("A")) > 127).getbbox())
        cut.thumbnail((2 * LARGEST, 2 * LARGEST), Image.Resampling.LANCZOS)
        cuts[split].append(Cutout(CLASSES.index(name), cut))
    grounds = _grounds()
    split = np.repeat(np.arange(3, dtype=np.int8), ROWS)

    def draw(row: int) -> _made.Scene:
        return scene(np.random.default_rng([SEED, 2, row]), cuts[split[row]], grounds[split[row]])

    writer = _made.Writer(aside)
    writer.add(draw, sum(ROWS))
    writer.finish(split=split)


def _grounds() -> list[list[Image.Image]]:
    """Photographs per split, their shorter side at most three scenes long."""
    files = []
    for package, names in GROUNDS.items():
        root = _assets.folder(package)
        files += [next(p for p in sorted(root.rglob(f"{name}*.jpg"))) for name in names]
    found: list[list[Image.Image]] = [[], [], []]
    order = np.random.default_rng([SEED, 3]).permutation(len(files))
    for i, split in zip(order, _splits(len(files)), strict=True):
        with Image.open(files[i]) as image:
            image.draft("RGB", (3 * SIDE, 3 * SIDE))
            ground = image.convert("RGB")
        scale = 3 * SIDE / min(ground.size)
        if scale < 1:
            ground = ground.resize(
                (round(ground.width * scale), round(ground.height * scale)), Image.Resampling.BICUBIC
            )
        found[split].append(ground)
    return found


def scene(random: np.random.Generator, cuts: list[Cutout], grounds: list[Image.Image]) -> _made.Scene:
    """One scene: image, mask (class + 1, 0 is ground), instances (1, 2, ...), boxes and a sentence."""
    image = _window(random, grounds[random.integers(len(grounds))])
    mask, instances = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    own = {c: [cut for cut in cuts if cut.code == c] for c in {cut.code for cut in cuts}}
    sides = sorted(np.exp(random.uniform(math.log(SMALLEST), math.log(LARGEST), random.integers(1, MOST + 1))))
    areas, codes = [0], [-1]
    for side in reversed(sides):
        code = int(random.choice(sorted(own)))
        stamp = _turned(random, own[code][random.integers(len(own[code]))].image, side)
        alpha = np.asarray(stamp.getchannel("A")) > 127
        place = _place(random, alpha, instances, areas)
        if place is None or alpha.sum() < 0.1 * SMALLEST**2:
            continue
        x, y = place
        image.paste(stamp, (x, y), stamp)
        part = slice(y, y + alpha.shape[0]), slice(x, x + alpha.shape[1])
        mask[part][alpha], instances[part][alpha] = code + 1, len(areas)
        areas.append(int(alpha.sum()))
        codes.append(code)
    boxes = [(*_bounds(instances == i), codes[i]) for i in range(1, len(areas))]
    array = np.array(boxes, np.float32).reshape(-1, 5)
    return {
        "image": np.asarray(image),
        "mask": mask,
        "instances": instances,
        "boxes": array,
        "sentence": sentence(array),
    }


def _bounds(seen: np.ndarray) -> tuple[float, float, float, float]:
    found = _made.bounds(seen)
    assert found is not None, "no object is covered by more than COVERED"
    return found


def _window(random: np.random.Generator, ground: Image.Image) -> Image.Image:
    """A random square of a photograph, mirrored one time in two, a little brighter or darker."""
    side = int(random.uniform(min(SIDE, *ground.size), min(ground.size)))
    x, y = (int(random.integers(0, length - side + 1)) for length in ground.size)
    image = ground.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (x, y, x + side, y + side))
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return ImageEnhance.Brightness(image).enhance(random.uniform(0.7, 1.15))


def _turned(random: np.random.Generator, stamp: Image.Image, side: float) -> Image.Image:
    """A cut-out in its size, mirrored one time in two, turned by up to 20 degrees, a little brighter or darker."""
    scale = side / max(stamp.size)
    stamp = stamp.resize(
        (max(1, round(stamp.width * scale)), max(1, round(stamp.height * scale))), Image.Resampling.LANCZOS
    )
    if random.random() < 0.5:
        stamp = stamp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    stamp = stamp.rotate(random.uniform(-20, 20), Image.Resampling.BICUBIC, expand=True)
    alpha = stamp.getchannel("A")
    stamp = ImageEnhance.Brightness(stamp).enhance(random.uniform(0.75, 1.2))
    stamp.putalpha(alpha)
    return stamp


def _place(
    random: np.random.Generator, alpha: np.ndarray, instances: np.ndarray, areas: list[int]
) -> tuple[int, int] | None:
    """x, y of the upper left corner where a stamp covers no other one too far; None when twelve tries found none."""
    height, width = alpha.shape
    if height > SIDE or width > SIDE:
        return None
    for _ in range(12):
        x, y = int(random.integers(0, SIDE - width + 1)), int(random.integers(0, SIDE - height + 1))
        under = instances[y : y + height, x : x + width]
        left = np.bincount(instances.reshape(-1), minlength=len(areas)) - np.bincount(
            under[alpha], minlength=len(areas)
        )
        if all(left[i] >= (1 - COVERED) * areas[i] for i in range(1, len(areas))):
            return x, y
    return None


def sentence(boxes: np.ndarray) -> str:
    """What a person would say of a scene: its objects, the largest first, and where they are."""
    if not len(boxes):
        return "nothing but the background."
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    parts = [_phrase(boxes[i], float(area[i])) for i in np.argsort(-area, kind="stable")]
    told = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{told}."


def _phrase(box: np.ndarray, area: float) -> str:
    size = "large " if area > 0.15 else "small " if area < 0.02 else ""
    name = f"{size}{CLASSES[int(box[4])]}"
    row, column = (int(min(2, 3 * (box[i] + box[i + 2]) / 2)) for i in (1, 0))
    down, right = ("upper ", "", "lower ")[row], ("left", "middle", "right")[column]
    where = f"{down}{right}" if column != 1 else ("top", "middle", "bottom")[row]
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name} {'in' if where == 'middle' else 'at'} the {where}"
