"""The page of `lamina layers`: one HTML file, with no script and no other file, of what each layer of a net answers to."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from lamina.core.errors import SettingError
from lamina.data._table import TRAIN
from lamina.explain import _draw
from lamina.explain._features import PARTS, Feature, Layer, layers_of, look, survey
from lamina.explain._method import Question, array, batches_of, needs_table, rows_of
from lamina.explain._taps import untouched
from lamina.tasks._task import Batch, Task

SAMPLE = 512  # training pictures that are looked through
LAYERS, FEATURES, SHOWN = 6, 6, 6
TILE = 64  # pixels of a patch
MAPS = 24  # channels of a layer that are drawn
MOST_BYTES = 5_000_000
QUALITIES = (90, 75, 55, 35)


def page(task: Task, net: nn.Module, question: Question, about: dict[str, Any]) -> str:
    """The page as HTML text, under MOST_BYTES. `about`: title, net and score of the run, texts. Raises SettingError."""
    table = needs_table("layers", question)
    rows = rows_of(table, TRAIN, SAMPLE)
    batches = batches_of(task, net, table, rows, question)
    if batches.image_shape is None:
        raise SettingError("layers draws what nets see in pictures, and this run reads none; try lamina explain.")
    parts = [
        task.prepare(batches.get(torch.arange(s, min(s + PARTS, len(rows)))), training=False)
        for s in range(0, len(rows), PARTS)
    ]
    pictures: Batch = _joined(parts)
    example = {k: v[:1] for k, v in pictures.items()}
    with untouched(net) as inner:
        names = layers_of(inner, example, LAYERS)
        if not names:
            raise SettingError("this net has no layer that gives maps; try lamina explain.")
        best = survey(inner, parts, names)
        layers = [look(inner, n, best[n], pictures, example, FEATURES, SHOWN) for n in names]
    titles = [str(table.names[row]) for row in rows]
    text = ""
    for quality in QUALITIES:
        text = _rendered(layers, array(pictures["image"]), titles, about, quality)
        if len(text.encode()) < MOST_BYTES:
            return text
    raise SettingError(
        f"the page would have {len(text):,} bytes, more than {MOST_BYTES:,}; the pictures are too large."
    )


def _joined(parts: Sequence[Batch]) -> Batch:
    """Batches end to end; texts of other lengths are padded with 0."""

    def padded(values: list[torch.Tensor]) -> torch.Tensor:
        most = max(v.shape[-1] for v in values)
        same = all(v.shape[1:] == values[0].shape[1:] for v in values)
        return torch.cat(values if same else [nn.functional.pad(v, (0, most - v.shape[-1])) for v in values])

    return {name: padded([part[name] for part in parts]) for name in parts[0]}


def _rendered(
    layers: Sequence[Layer], images: np.ndarray, titles: list[str], about: dict[str, Any], quality: int
) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    drawn = [_layer(layer, images, titles, lambda image: _uri(image, quality)) for layer in layers]
    text = template.render(
        about=about,
        layers=drawn,
        example=_uri(_tile(images[0], 96), quality),
        sampled=len(titles),
        example_name=titles[0],
    )
    return text.encode("utf-8", "replace").decode()


def _layer(layer: Layer, images: np.ndarray, titles: list[str], uri: Callable[[Image.Image], str]) -> dict[str, Any]:
    maps = [
        _draw.enlarged(Image.fromarray(_draw.over_white(m / (np.abs(m).max() or 1.0))), TILE, smooth=False)
        for m in layer.maps[:MAPS]
    ]
    side = images.shape[2]
    return {
        "name": layer.name,
        "kind": layer.kind,
        "shape": " × ".join(str(n) for n in layer.shape),
        "sees": layer.sees,
        "whole": layer.sees >= side,
        "maps": _strip(maps, 12, uri),
        "channels": layer.shape[0],
        "drawn": min(MAPS, layer.shape[0]),
        "features": [_feature(feature, images, titles, uri) for feature in layer.features],
    }


def _feature(
    feature: Feature, images: np.ndarray, titles: list[str], uri: Callable[[Image.Image], str]
) -> dict[str, Any]:
    patches, patterns = [], []
    for row, window, pattern in zip(feature.rows, feature.windows, feature.patterns, strict=True):
        top, bottom, left, right = window
        cut = (slice(None), slice(top, bottom), slice(left, right))
        patches.append(_tile(images[row][cut], TILE))
        own = pattern[cut]
        patterns.append(_tile(0.5 + own / (2 * (np.abs(own).max() or 1.0)), TILE))
    strongest = images[feature.rows[0]]
    largest = float(np.abs(feature.falls).max()) or 1.0
    grey = strongest.mean(0)
    heat = Image.fromarray(_draw.coloured((feature.falls / largest).clip(-1, 1), grey, True))
    names = list(dict.fromkeys(titles[row] for row in feature.rows))
    return {
        "channel": feature.channel,
        "strength": f"{feature.strength:.3g}",
        "share": f"{100 * feature.share:.0f} %",
        "patches": uri(_row(patches)),
        "patterns": uri(_row(patterns)),
        "covered": uri(_row([_tile(strongest, TILE), _draw.enlarged(heat, TILE)])),
        "fall": f"{100 * float(feature.falls.max()):.0f} %",
        "names": ", ".join(names),
    }


def _tile(image: np.ndarray, side: int) -> Image.Image:
    """A square tile from (channels, height, width) in [0, 1], what is missing at the sides transparent grey."""
    made = _draw.enlarged(_draw.pixels(image), side)
    tile = Image.new("RGB", (side, side), (128, 128, 128))
    tile.paste(made, ((side - made.width) // 2, (side - made.height) // 2))
    return tile


def _row(tiles: Sequence[Image.Image], gap: int = 2) -> Image.Image:
    return _montage(tiles, len(tiles), gap)


def _strip(tiles: Sequence[Image.Image], across: int, uri: Callable[[Image.Image], str]) -> str:
    return uri(_montage(tiles, across, 2))


def _montage(tiles: Sequence[Image.Image], across: int, gap: int) -> Image.Image:
    """Tiles side by side, so many in a line."""
    wide, high = max(t.width for t in tiles), max(t.height for t in tiles)
    lines, across = -(-len(tiles) // across), min(across, len(tiles))
    made = Image.new(
        "RGBA", (across * (wide + gap) - gap, lines * (high + gap) - gap)
    )  # what is left free is transparent
    for i, tile in enumerate(tiles):
        made.paste(tile, (i % across * (wide + gap), i // across * (high + gap)))
    return made


def _uri(image: Image.Image, quality: int) -> str:
    """A picture inside a data address."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
