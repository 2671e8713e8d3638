"""Made sources: scenes drawn once from a seed and kept in a folder: picture, masks, boxes, what else is true of them.

FOLDER/image/N.jpg, FOLDER/KIND/N.png (masks: grey values are codes), FOLDER/truth.npz. A folder is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
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


class Writer:
    """Writes scenes into a folder as they come; all have the same masks, texts and numbers."""

    def __init__(self, aside: Path) -> None:
        self.aside = aside
        self.rest: list[Scene] = []

    def add(self, draw: Callable[[int], Scene], count: int) -> None:
        """Draw and write the next scenes, numbered 0 .. count - 1 for `draw`."""
        first = len(self.rest)

        def one(row: int) -> Scene:
            scene = draw(row)
            masks = [k for k, v in scene.items() if getattr(v, "ndim", 0) == 2 and v.dtype == np.uint8]
            for kind in ("image", *masks):
                folder = self.aside / kind
                folder.mkdir(exist_ok=True)
                name = f"{first + row:05}"
                if kind == "image":
                    Image.fromarray(scene[kind]).save(folder / f"{name}.jpg", quality=QUALITY)
                else:
                    Image.fromarray(scene[kind]).save(folder / f"{name}.png")
            return {k: v for k, v in scene.items() if k not in ("image", *masks)}

        self.rest += in_threads(one, range(count))

    def finish(self, **more: np.ndarray) -> None:
        """Write truth.npz: boxes, what else the scenes hold, and `more` as it is."""
        boxes = [s.pop("boxes") for s in self.rest]
        truth = {"boxes": np.concatenate(boxes), "counts": np.array([len(b) for b in boxes])}
        truth |= {name: np.array([s[name] for s in self.rest]) for name in self.rest[0]}
        np.savez_compressed(self.aside / "truth.npz", **truth, **more)  # type: ignore[arg-type]


def files(path: Path, kind: str, rows: int) -> list[Path]:
    """The files of a kind, image or a mask's, in the order of rows."""
    return [path / kind / f"{row:05}.{'jpg' if kind == 'image' else 'png'}" for row in range(rows)]


def read(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Boxes as the column holds them, and everything else of truth.npz."""
    with np.load(path / "truth.npz", allow_pickle=False) as file:
        truth = {name: file[name] for name in file.files}
    counts = truth.pop("counts")
    parts = np.split(truth.pop("boxes").astype(np.float32), np.cumsum(counts)[:-1])
    boxes = np.empty(len(counts), object)
    boxes[:] = parts
    return boxes, truth


def bounds(mask: np.ndarray) -> tuple[float, float, float, float] | None:
    """x0 y0 x1 y1 of the True pixels of a mask (h, w) as shares of its sides; None when there is none."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(ys):
        return None
    height, width = mask.shape
    return xs[0] / width, ys[0] / height, (xs[-1] + 1) / width, (ys[-1] + 1) / height
