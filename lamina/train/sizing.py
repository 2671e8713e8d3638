"""Sizes that the data chooses: of pictures, and of the net that reads them in the time there is."""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from lamina.core import catalog, config
from lamina.core.errors import SettingError
from lamina.data import _pictures
from lamina.data._batches import category_counts, number_count
from lamina.data._table import TRAIN, Field, Table
from lamina.nets import resnet9
from lamina.tasks._task import Task
from lamina.train import reading
from lamina.train.recipe import Recipe

NATIVE = 64  # pictures of one size up to this many pixels keep it
SIDES = (224, 160, 128, 96, 64, 48, 32)
PASSES = 20  # that must fit before a wider net is taken: on Fashion-MNIST 6 of the wider equalled 14 of the usual
BESIDE, BESIDE_ROW = 3.0, 6e-5  # seconds that starting, scoring and reporting take, and more a row of the table
LARGE = 10_000  # rows of a table from which on dropout and ranks cost more than they give (diamonds: 26 % of the error)


def picture_shape(
    pictures: _pictures.Pictures, rows: int, task: type[Task], wished: int | None
) -> tuple[tuple[int, int, int], str]:
    """Channels, height and width that pictures of so many rows get, and the sentence that says why."""
    sizes, channels = pictures.sizes(), pictures.channels()
    height, width = (int(v) for v in sizes[0])
    colour = "grey" if channels == 1 else "colour"
    if not wished and (sizes == sizes[0]).all() and max(height, width) <= NATIVE:
        return (channels, height, width), f"Pictures keep their {height}x{width} pixels, {colour}."
    most = wished or (224 if torch.accelerator.is_available() else task.side or (64 if rows > 5_000 else 96))
    frame = task.frame(sizes, most)
    if frame:
        how = (
            f"are stretched to {frame[0]}x{frame[1]}" if (sizes != frame).any() else f"keep their {frame[0]}x{frame[1]}"
        )
        return (channels, *frame), f"Pictures {how} pixels, {colour}."
    how = f"Pictures are {'stretched' if task.whole else 'resized and cropped'} to"
    if wished:
        return (channels, wished, wished), f"{how} {wished}x{wished}, {colour}, as asked."
    typical = float(sorted(sizes.min(1))[len(sizes) // 2])
    side = next((s for s in SIDES if s <= min(typical, most)), SIDES[-1])
    return (channels, side, side), (
        f"{how} {side}x{side}, {colour} (half of them have a shorter side of {typical:.0f} or more; "
        f"{'an accelerator' if most == 224 else 'a processor'} and {rows:,} rows allow {most})."
    )


def by_data(name: str, inputs: tuple[Field, ...], outputs: int) -> dict[str, Any]:
    """What the data says about a net's Config: outputs, channels, side, numbers, categories."""
    module = catalog.find("nets", name)
    known = {s.name: s.default for s in config.settings(module.Config)}
    image = next((f for f in inputs if f.kind == "image"), None)
    numbers, categories = number_count(inputs), category_counts(inputs)
    if image and "image" not in module.TAKES:
        numbers, categories = math.prod(image.shape), ()
    found: dict[str, Any] = {"classes": outputs, "numbers": numbers, "categories": categories}
    found |= {s: known[s] for s in getattr(module, "EARLIER", ())}  # told, or the net would be taken for an earlier one
    if image and "image" not in module.TAKES:
        found["ranked"] = False
    running = next((f for f in inputs if f.kind in ("running", "sentence")), None)
    if running and running.tokens:
        found |= {"vocabulary": len(running.tokens)}
        found |= dict.fromkeys(("length", "context"), running.shape[0]) if running.kind == "running" else {}
    found |= reading.sizes(name, module, inputs)
    if image:
        found |= {"channels": image.shape[0], "side": image.shape[1], "shape": image.shape}
        if "side" in known and image.shape[1] != image.shape[2]:
            raise SettingError(
                f"{name} takes square pictures, these are {image.shape[1]}x{image.shape[2]}; try --net resnet."
            )
    return {k: v for k, v in found.items() if k in known}


def by_default(name: str, size: str | None, table: Table, passes: float) -> dict[str, Any]:
    """SIZES of a size that was named; for one that was not, one for the data and the passes that fit."""
    image = next((f for f in table.inputs if f.kind == "image"), None)
    if size:
        return dict(catalog.find("nets", name).SIZES[size])
    if name in ("resnet9", "join") and image:
        wide = PASSES <= passes < math.inf and name == "resnet9"
        return _stages(image.shape, resnet9.SIZES["medium" if wide else "small"])
    if name == "mlp" and len(table) > LARGE:
        return {"ranked": False, "dropout": 0.0}
    return {}


def suited(name: str, inputs: tuple[Field, ...], wished: dict[str, Any]) -> dict[str, Any]:
    """What the net's file says suits pictures of this size: its `suited(shape, wished settings)`, where it has one."""
    given = getattr(catalog.find("nets", name), "suited", None)
    image = next((f for f in inputs if f.kind == "image"), None)
    return given(image.shape, wished) if given and image else {}


def _stages(shape: tuple[int, ...], size: dict[str, Any]) -> dict[str, Any]:
    """Stages until 8 pixels or fewer are left: two for 28 pixels, three for 64, four for 128."""
    first, second = size["stages"]
    more = max(0, math.ceil(math.log2(min(shape[1:]) / 40)))
    return {"stem": size["stem"], "stages": (first, second, *(second * 2 ** (i + 1) for i in range(more)))}


def passes_within(table: Table, recipe: Recipe, where: torch.device) -> float:
    """Passes of the smallest net over the training pictures that fit in the minutes, by three steps on this machine."""
    image = next((f for f in table.inputs if f.kind == "image"), None)
    if image is None or recipe.minutes is None:
        return math.inf
    stages = _stages(image.shape, resnet9.SIZES["small"])
    net = resnet9.Net(resnet9.Config(channels=image.shape[0], **stages))
    net = net.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels, times = torch.rand(64, *image.shape, device=where), []
    for _ in range(3):
        start = time.perf_counter()
        net(pixels).sum().backward()
        if where.type != "cpu":
            torch.accelerator.synchronize()
        times.append(time.perf_counter() - start)
    seconds = 60 * recipe.minutes - BESIDE - BESIDE_ROW * len(table)
    return max(0.0, seconds) / (min(times) * len(table.rows(TRAIN)) / 64)
