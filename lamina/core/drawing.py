"""Drawing of answers on pictures: rectangles with names. Colours differ by name and are the same in every picture."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Sequence

import numpy as np

LEAST = 320  # pixels of the longer side; smaller pictures are enlarged before names are written on them


def colour(name: str) -> tuple[int, int, int]:
    """The colour of a name."""
    mixed = zlib.crc32(name.encode())
    hue, light = (mixed % 360) / 360, (0.75, 0.95, 0.55)[mixed // 360 % 3]
    red, green, blue = (round(255 * v) for v in colorsys.hsv_to_rgb(hue, 0.9, light))
    return red, green, blue


def rectangles(
    pixels: np.ndarray,
    sides: Sequence[Sequence[float]],
    texts: Sequence[str],
    names: Sequence[str],
    dashed: bool = False,
) -> np.ndarray:
    """uint8 (height, width, 1|3) -> (h, w, 3) with rectangles (x0 y0 x1 y1 as shares) and their texts, coloured by name.

    Pictures smaller than LEAST are enlarged by a whole number. `dashed` draws broken lines, for what is true beside what is
    answered.
    """
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    times = max(1, LEAST // max(image.size))
    image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    draw, thick = ImageDraw.Draw(image), max(2, max(image.size) // 250)
    font = ImageFont.load_default(max(11, max(image.size) // 34))
    for side, text, name in zip(sides, texts, names, strict=True):
        x0, y0, x1, y1 = (value * length for value, length in zip(side, image.size * 2, strict=True))
        x1, y1 = max(x1 - 1, x0 + 1), max(y1 - 1, y0 + 1)
        if dashed:
            _dashes(draw, (x0, y0, x1, y1), thick)
            continue
        draw.rectangle((x0, y0, x1, y1), outline=colour(name), width=thick)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        wide, high = right - left + 4, bottom - top + 4
        x = min(max(0.0, x0), max(0, image.width - wide))
        y = y0 - high if y0 >= high else y0
        draw.rectangle((x, y, x + wide, y + high), fill=colour(name))
        draw.text((x + 2 - left, y + 2 - top), text, fill="white", font=font)
    return np.asarray(image)


def underlined(pixels: np.ndarray, text: str) -> np.ndarray:
    """uint8 (height, width, 3) with a text below it, in as many lines as it needs."""
    import textwrap

    from PIL import Image, ImageDraw, ImageFont

    height, width = pixels.shape[:2]
    size = max(13, width // 26)
    font = ImageFont.load_default(size)
    lines = textwrap.wrap(text, max(8, int(1.85 * width / size)))
    canvas = Image.new("RGB", (width, height + len(lines) * (size + 5) + 8), "white")
    canvas.paste(Image.fromarray(pixels), (0, 0))
    for i, line in enumerate(lines):
        ImageDraw.Draw(canvas).text((5, height + 3 + i * (size + 5)), line, "black", font)
    return np.asarray(canvas)


def _dashes(draw: object, box: tuple[float, float, float, float], thick: int) -> None:
    """A white broken line on a black one."""
    x0, y0, x1, y1 = box
    draw.rectangle(box, outline="black", width=thick)  # type: ignore[attr-defined]
    step = 4 * thick
    for begin in np.arange(x0, x1, 2 * step):
        for y in (y0, y1):
            draw.line((begin, y, min(begin + step, x1), y), fill="white", width=thick)  # type: ignore[attr-defined]
    for begin in np.arange(y0, y1, 2 * step):
        for x in (x0, x1):
            draw.line((x, begin, x, min(begin + step, y1)), fill="white", width=thick)  # type: ignore[attr-defined]
