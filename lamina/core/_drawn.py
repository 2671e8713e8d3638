"""Drawing of answers that have places: colours of classes, masks over pictures, depth as colours, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

GAP = 4  # pixels between pictures that stand side by side
STRENGTH = 0.55  # of a mask's colour over the picture
HEAT = np.array([(13, 8, 60), (84, 15, 109), (158, 40, 100), (219, 80, 59), (249, 142, 9), (252, 226, 120)], np.float64)


def colours(classes: int) -> np.ndarray:
    """uint8 (256, 3): colours of so many classes that differ well, the first one dark, white where there is none."""
    made = np.full((256, 3), 255, np.uint8)
    for i in range(min(classes, 255)):
        hue, light = (i * 0.618034) % 1.0, (0.95, 0.7, 0.85)[i % 3]
        wheel = np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
        made[i] = np.round(255 * light * (0.2 + 0.8 * wheel.clip(0, 1)))
    made[0] = (45, 48, 56)
    return made


def three(pixels: np.ndarray) -> np.ndarray:
    """uint8 (height, width, 1|3) or float (height, width) -> uint8 (height, width, 3); floats from dark (least) to bright."""
    if pixels.dtype.kind == "f":
        return heat(pixels.reshape(pixels.shape[:2]))
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return pixels if pixels.shape[2] == 3 else pixels.repeat(3, 2)


def heat(values: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """float (height, width) -> uint8 (height, width, 3) between the 2nd and 98th percentile; grey where unknown."""
    known = np.isfinite(values)
    some = values[known] if known.any() else np.zeros(1)
    low = float(np.percentile(some, 2)) if low is None else low
    high = float(np.percentile(some, 98)) if high is None else high
    at = np.clip((np.where(known, values, low) - low) / max(high - low, 1e-12), 0, 1) * (len(HEAT) - 1)
    first = np.minimum(at.astype(int), len(HEAT) - 2)
    part = (at - first)[..., None]
    made = np.round((1 - part) * HEAT[first] + part * HEAT[first + 1]).astype(np.uint8)
    made[~known] = 128
    return made


def over(pixels: np.ndarray, codes: np.ndarray, classes: int) -> np.ndarray:
    """The picture uint8 (height, width, 1|3) with the colours of codes (height, width) over it."""
    painted = colours(classes)[codes].astype(np.float64)
    return np.round((1 - STRENGTH) * three(pixels) + STRENGTH * painted).astype(np.uint8)


def resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 (h, w, 1|3) -> (height, width, 3)."""
    from PIL import Image

    image = Image.fromarray(three(pixels))
    return np.asarray(
        image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)
    )


def beside(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """uint8 (height, width, 3) pictures side by side, brought to the largest height."""
    from PIL import Image

    height = max(p.shape[0] for p in pictures)
    made = []
    for i, pixels in enumerate(pictures):
        image = Image.fromarray(three(pixels))
        if image.height != height:
            image = image.resize((max(1, round(image.width * height / image.height)), height), Image.Resampling.BICUBIC)
        made += [np.full((height, GAP, 3), 255, np.uint8)] if i else []
        made.append(np.asarray(image))
    return np.concatenate(made, 1)


def save(pixels: np.ndarray, path: Path) -> Path:
    """Write uint8 (height, width, 1|3) as PNG."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(path)
    return path
