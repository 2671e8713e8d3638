"""Made sources: scenes drawn once from a seed and kept in a folder: picture, masks, boxes, what else is true of them.

FOLDER/image/N.jpg, FOLDER/KIND/N.png (masks: grey values are codes), FOLDER/truth.npz. A folder is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from lamina.data._assets import home
from lamina.data._threads import in_threads

QUALITY = 92  # of Pillow's JPEG encoder
Scene = dict[str, Any]
"""image uint8 (h, w, 3), masks uint8 (h, w) by kind, boxes float32 (n, 5); and texts and numbers"""


def folder(name: str, make: Callable[[Path], None]) -> Path:
    """Where a made source lies; `make` fills the folder when it is asked for the first time, one process at a time."""
    path = home() / "made" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / f"{name}.lock"):
        if not path.is_dir():
            aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=".making-"))
            try:
                make(aside)
                os.replace(aside, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    shutil.rmtree(aside)
                raise
    return path


def write(aside: Path, draw: Callable[[int], Scene], rows: Iterable[int], **more: np.ndarray) -> None:
    """Draw the scenes of these rows and write them; `more` goes into truth.npz as it is."""
    rows = list(rows)
    masks = [k for k, v in draw(rows[0]).items() if k != "image" and getattr(v, "ndim", 0) == 2 and v.dtype == np.uint8]
    for kind in ("image", *masks):
        (aside / kind).mkdir()

    def one(row: int) -> Scene:
        scene = draw(row)
        Image.fromarray(scene["image"]).save(aside / "image" / f"{row:05}.jpg", quality=QUALITY)
        for kind in masks:
            Image.fromarray(scene[kind]).save(aside / kind / f"{row:05}.png")
        return {k: v for k, v in scene.items() if k not in ("image", *masks)}

    scenes = in_threads(one, rows)
    boxes = [s.pop("boxes") for s in scenes]
    truth = {"boxes": np.concatenate(boxes), "counts": np.array([len(b) for b in boxes])}
    truth |= {name: np.array([s[name] for s in scenes]) for name in scenes[0]}
    np.savez_compressed(aside / "truth.npz", **truth, **more)  # type: ignore[arg-type]


def read(path: Path) -> tuple[list[Path], np.ndarray, dict[str, np.ndarray]]:
    """Pictures' files in the order of rows, boxes as the column holds them, and everything else of truth.npz."""
    with np.load(path / "truth.npz", allow_pickle=False) as file:
        truth = {name: file[name] for name in file.files}
    counts = truth.pop("counts")
    parts = np.split(truth.pop("boxes").astype(np.float32), np.cumsum(counts)[:-1])
    boxes = np.empty(len(counts), object)
    boxes[:] = parts
    return [path / "image" / f"{row:05}.jpg" for row in range(len(counts))], boxes, truth


def bounds(mask: np.ndarray) -> tuple[float, float, float, float] | None:
    """x0 y0 x1 y1 of the True pixels of a mask (h, w) as shares of its sides; None when there is none."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(ys):
        return None
    height, width = mask.shape
    return xs[0] / width, ys[0] / height, (xs[-1] + 1) / width, (ys[-1] + 1) / height
