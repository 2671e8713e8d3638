"""Super-resolution: photographs made two and four times larger, by a net and by bicubic interpolation.

Dong 2014 (SRCNN), https://arxiv.org/abs/1501.00092; Lim 2017 (EDSR, the net), https://arxiv.org/abs/1707.02921. 27 photographs of two
Debian packages of wallpapers, 288 pixels high so that they hold detail to the pixel, in tiles of 64; no photograph is in two
splits, which follow the seed. Command: lamina recipe super_resolution, after lamina fetch stamps; with --data a folder of one's own
photographs. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

import lamina
from lamina.core import _drawn
from lamina.data import _assets
from lamina.data._batches import Batches
from lamina.data._pictures import Pictures
from lamina.data._table import TEST, Column, Field, Table
from lamina.recipes import _sheet
from lamina.recipes._recipe import Number, Outcome, packed

SYSTEMS = ("S91",)
SEEDS = 3
HISTORY = {
    "": "the picture set Set5, x2 and x4: bicubic 33.66 and 28.42 dB, SRCNN 36.66 and 30.49 dB (Dong 2014), EDSR 38.11 and 32.46 dB (Lim 2017)",
}
TIMES = (2, 4)
MINUTES = 3.5  # of each
SHOWN = 5
FOLDERS = {
    "lomiri-wallpapers-16.04": "usr/share/backgrounds",
    "mate-backgrounds": "usr/share/backgrounds/mate/nature",
}


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """PSNR and SSIM of the test tiles beside bicubic interpolation's; bicubic, net and truth side by side."""
    table = edges(8, seed) if quick else lamina.open(data) if data else photographs()
    how: dict[str, Any] = {"steps": 6, "batch": 8} if quick else {"minutes": MINUTES}
    own = {"side": 32, "tiles": 4, "shorter": 64} if quick else {}
    if not quick:
        packed(table, task=f"paint/super{TIMES[0]}", seed=seed)
    numbers: Number = {}
    runs, pictures = [], []
    for times in TIMES:
        made = lamina.fit(
            table, task=f"paint/super{times}", task_settings=own, net="edsr", net_settings={"width": 8} if quick else {},
            run=folder / f"x{times}", seed=seed, show=False, **how,
        )  # fmt: skip
        tiles = _sheet.prepared(made, table)
        simple = bicubic(made, tiles)
        for name, unit in (("psnr", "PSNR dB"), ("ssim", "SSIM")):
            numbers[f"x{times}, net: {unit}"] = made.score().numbers[name]
            numbers[f"x{times}, bicubic: {unit}"] = float(np.mean(simple[name]))
        numbers[f"x{times}: gain over bicubic, dB"] = made.score().value - float(np.mean(simple["psnr"]))
        runs.append(made)
        pictures.append(drawn(made, tiles, simple["psnr"], folder / f"x{times}.png"))
    return Outcome(numbers, tuple(runs), tuple(pictures))


def photographs() -> Table:
    """The wallpapers that are photographs. Raises DataError that says what brings them."""
    files = [p for name, place in FOLDERS.items() for p in sorted((_assets.folder(name) / place).glob("*.jpg"))]
    column = Column(Field("image", "image"), Pictures.of_files(files))
    licence = "; ".join(_assets.ASSETS[name].licence for name in FOLDERS)
    names = np.array([p.stem for p in files], object)
    return Table({"image": column}, "wallpapers", "memory", names, licence=licence, tried=len(files))


@torch.no_grad()
def bicubic(made: Any, tiles: Table) -> dict[str, np.ndarray]:
    """PSNR and SSIM of bicubic interpolation for every test tile."""
    batches = Batches(tiles.take(tiles.rows(TEST)), made.plan.inputs, made.task.target, torch.device("cpu"))
    found = []
    for start in range(0, len(batches), 64):
        batch = made.task.prepare(batches.slice(start, start + 64), training=False)
        found.append(made.task.way.statistics(batch["image"], batch))
    return {k: torch.cat([f[k] for f in found]).numpy() for k in found[0]}


def drawn(made: Any, tiles: Table, simple: np.ndarray, path: Path) -> Path:
    """Of the test photographs the tiles that bicubic interpolation does worst, one each."""
    test = tiles.rows(TEST)
    rows: dict[str, int] = {}
    for place in np.argsort(simple, kind="stable"):
        rows.setdefault(str(tiles.names[test[place]]).split(" at ")[0], int(test[place]))
    kept = np.array(list(rows.values())[:SHOWN])
    shown = [
        [_drawn.three(p) for p in (given, answer, truth)] for given, truth, answer in _sheet.shown(made, tiles, kept)
    ]
    said = [f"PSNR: bicubic {decibel(a, t):.2f} dB, net {decibel(b, t):.2f} dB" for a, b, t in shown]
    return _sheet.sheet(shown, ("bicubic", "net", "truth"), path, said)


def decibel(answer: np.ndarray, truth: np.ndarray) -> float:
    """PSNR of two uint8 pictures."""
    return float(-10 * np.log10(max(1e-10, np.mean((answer / 255.0 - truth / 255.0) ** 2))))


def edges(count: int, seed: int) -> Table:
    """Drawn pictures of 96x80 pixels full of sharp edges."""
    random, made = np.random.default_rng([seed, 23]), np.empty((count, 80, 96, 3), np.uint8)
    for row in range(count):
        image = Image.new("RGB", (96, 80))
        for _ in range(12):
            (x0, x1), (y0, y1) = (sorted(random.choice(n, 2, replace=False).tolist()) for n in (96, 80))
            ImageDraw.Draw(image).rectangle((x0, y0, x1, y1), fill=tuple(random.integers(0, 256, 3).tolist()))
        made[row] = np.asarray(image)
    column = Column(Field("image", "image"), Pictures.of_array(made))
    return Table({"image": column}, "rectangles", "memory", np.array([f"drawing {i}" for i in range(count)], object))
