"""layers: what every layer makes of the input, and the filters of the first one. Zeiler and Fergus 2013, https://arxiv.org/abs/1311.2901

Maps are drawn channel by channel, vectors as a strip of units; each channel has its own scale, red above zero and blue below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import nn

from lamina.core.check import within
from lamina.explain import _draw
from lamina.explain._method import Explanation, Question, about, array
from lamina.explain._taps import Seen, recording, untouched
from lamina.nets._row import RowEncoder
from lamina.tasks._task import Batch, Task, inputs

ACROSS = 12  # channels or filters in a line
TILE = 60  # pixels
STRIP, MOST_ROWS = 512, 16  # units of a vector, and vectors of a layer, at most


@dataclass(frozen=True)
class Config:
    """How much of a deep net is drawn; the arrays hold all of it."""

    layers: int = 24
    """layers at most, spread evenly over the net"""


def explain(task: Task, net: nn.Module, batch: Batch, question: Question, config: Config) -> Explanation:
    """Per layer without layers inside, by its path in the net: its output for the row, such as (channels, height, width) or (units,).

    A layer that is called again has "call 2" behind its path. Layers that change nothing in the answering mode are left out.

    filters (count, channels, height, width): weights of the first layer, when that looks at pixels.
    """
    within("layers", config.layers, 2, 1000)
    with untouched(net) as inner, torch.no_grad():
        what = about(task, inner, batch, question)
        with recording(inner, _is_layer) as seen:
            inner(*inputs(inner, batch))
    seen = [s for s in seen if s.given.is_floating_point() and s.given.shape[0] == 1]
    arrays: dict[str, np.ndarray] = {}
    for s in seen:
        calls = sum(1 for name in arrays if name.partition(" ")[0] == (s.name or "net"))
        arrays[f"{s.name or 'net'}{f' call {calls + 1}' if calls else ''}"] = array(s.given[0])
    filters = _filters(inner, batch)
    lines = []
    if filters is not None:
        shown = [(_signed(f), "") for f in filters[: 2 * ACROSS]]
        more = f", {2 * ACROSS} shown" if len(filters) > 2 * ACROSS else ""
        heading = f"first layer: {len(filters)} filters of {filters.shape[2]}x{filters.shape[3]}{more}"
        lines += [(heading if not i else "", shown[i : i + ACROSS]) for i in range(0, len(shown), ACROSS)]
    chosen = np.unique(np.linspace(0, len(seen) - 1, min(config.layers, len(seen))).astype(int))
    lines += [_line(seen[i]) for i in chosen]
    start = (
        [("input", [(_draw.enlarged(_draw.pixels(array(batch["image"][0])), 2 * TILE), "")])]
        if "image" in batch
        else []
    )
    left_out = f"{len(chosen)} of {len(seen)}" if len(chosen) < len(seen) else f"all {len(seen)}"
    said = f"what {left_out} layers make of this input; red above zero, blue below, each with its own scale"
    picture = _draw.tiles([*start, *lines], f"Layers: {what}", said)
    dead = [s.name for s in seen if not s.given.any()]
    summary = f"{len(seen)} layers" + (f"; nothing but zeros in {', '.join(dead[:3])}." if dead else ".")
    arrays |= {"filters": filters} if filters is not None else {}
    return Explanation("layers", str(what), arrays, picture, summary)


def _is_layer(module: nn.Module) -> bool:
    """Whether a module is the innermost one and changes something in the answering mode."""
    if isinstance(module, RowEncoder):
        return True
    return not (any(True for _ in module.children()) or isinstance(module, nn.Identity | nn.Dropout | nn.Dropout2d))


def _filters(net: nn.Module, batch: Batch) -> np.ndarray | None:
    """Weights of the first layer that sees the pixels: a convolution, or a product whose width is that of the picture."""
    if "image" not in batch:
        return None
    shape = batch["image"].shape[1:]
    for module in net.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.Conv2d) and weight is not None:
            return array(weight)
        if isinstance(module, nn.Linear) and weight is not None:
            pixels = shape.numel()
            if weight.shape[1] in (pixels, 2 * pixels):  # a row encoder adds a flag for gaps to each pixel
                return array(weight[:, :pixels]).reshape(-1, *shape)
            return None
    return None


def _line(seen: Seen) -> tuple[str, list[tuple[Image.Image, str]]]:
    given = array(seen.given[0])
    kind, shape = type(seen.module).__name__, "x".join(str(n) for n in given.shape)
    heading = f"{seen.name}  {kind}  {shape}, {given.min():.3g} to {given.max():.3g}"
    if given.ndim == 3:
        return heading, [(_signed(c[None]), "") for c in given[:ACROSS]]
    rows = given.reshape(given.shape[0] if given.ndim == 2 else 1, -1)
    return heading, [(_strip(rows[:MOST_ROWS, :STRIP]), "")]


def _signed(values: np.ndarray) -> Image.Image:
    """A tile from (channels, height, width): three channels as a colour picture around grey, else the mean in red and blue."""
    largest = float(np.abs(values).max()) or 1.0
    if len(values) == 3:
        return _draw.enlarged(_draw.pixels(0.5 + values / (2 * largest)), TILE, smooth=False)
    mean = values.mean(0)
    largest = float(np.abs(mean).max()) or 1.0
    return _draw.enlarged(Image.fromarray(_draw.over_white(mean / largest)), TILE, smooth=False)


def _strip(values: np.ndarray) -> Image.Image:
    """A strip from (rows, units): members, or tokens, below each other."""
    largest = float(np.abs(values).max()) or 1.0
    wide = ACROSS * (TILE + 10) - 10
    image = Image.fromarray(_draw.over_white(values / largest))
    return image.resize((wide, max(TILE // 3, 5 * len(values))), Image.Resampling.NEAREST)
