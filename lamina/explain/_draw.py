"""Pictures of explanations: heat over the grey picture with a colour scale, horizontal bars, tiles with captions.

Heat is drawn the stronger, the larger it is, so that the picture stays visible where there is none: Red for, blue against.
"""

from __future__ import annotations

import functools
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, DIM, LINE, PAPER = (32, 36, 44), (96, 102, 112), (216, 220, 226), (255, 255, 255)
FOR, AGAINST = (204, 51, 51), (46, 98, 190)
ONE_WAY = (
    (0.0, (72, 26, 118)),
    (0.35, (178, 42, 110)),
    (0.65, (240, 104, 52)),
    (1.0, (255, 226, 94)),
)  # small .. large
SIDE = 336  # pixels of the longer side of a picture
GAP = 20
WIDE = 900  # pixels to which a picture grows for its title
TITLE, TEXT, SMALL = 22, 14, 12
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
BARS = 20  # most that are drawn
SYSTEM = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "segoeui.ttf", "Arial Unicode.ttf", "arial.ttf",
          "NotoSansCJK-Regular.ttc", "msgothic.ttc", "PingFang.ttc")  # fonts of Linux, Windows and macOS, in this order  # fmt: skip
LOUD = 99.5  # percentile of the pixels' heat that has the full colour: single pixels would leave all others pale


@dataclass(frozen=True)
class Heat:
    """What is said beside the heat."""

    about: str
    """one line under the title"""
    unit: str
    """of the colour scale"""
    signed: bool = False
    """heat below zero means something"""
    smooth: bool = False
    """heat varies slowly: drawn without visible pixels"""


@dataclass(frozen=True)
class Bars:
    """A list of bars from a zero line."""

    unit: str
    names: list[str]
    values: list[float]
    spreads: list[float] | None = None
    """half a width of an interval for each bar"""


def strongest(heat: np.ndarray) -> str:
    """Where the largest heat is, in words."""
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    return f"Strongest at row {y}, column {x} of {heat.shape[0]}x{heat.shape[1]} pixels."


def font(size: int, text: str = "") -> Font:
    """The font that comes with Pillow; for a text with signs that it lacks, the first of the system's that has them all."""
    for number in range(1 + len(SYSTEM)):
        if all(_has(number, sign) for sign in set(text)):
            return _font(number, size) or _own(size)
    return _own(size)


@functools.cache
def _own(size: int) -> Font:
    return ImageFont.load_default(size)


@functools.cache
def _font(number: int, size: int) -> Font | None:
    """0: Pillow's own; then those of SYSTEM, None where one is not installed."""
    try:
        return ImageFont.truetype(SYSTEM[number - 1], size) if number else _own(size)
    except (OSError, ImportError):
        return None


@functools.cache
def _has(number: int, sign: str) -> bool:
    """Whether a font draws a sign otherwise than one that no font has."""
    one: Any = _font(number, SMALL)
    return one is not None and (sign.isspace() or bytes(one.getmask(sign)) != bytes(one.getmask("\U0010fffe")))


def pixels(image: np.ndarray) -> Image.Image:
    """A colour picture from (1|3, height, width) in [0, 1]; of other channel counts their mean is grey."""
    array = image if image.shape[0] in (1, 3) else image.mean(0, keepdims=True)
    return Image.fromarray(
        (array.clip(0, 1) * 255).round().astype(np.uint8).repeat(3 // len(array), 0).transpose(1, 2, 0)
    )


def enlarged(image: Image.Image, side: int, smooth: bool | None = None) -> Image.Image:
    """The longer side becomes `side`; small pictures keep their pixels visible unless `smooth`."""
    factor = side / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    smooth = max(image.size) > side / 2 if smooth is None else smooth
    return image.resize(size, Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)


def coloured(strength: np.ndarray, grey: np.ndarray, signed: bool) -> np.ndarray:
    """uint8 (..., 3): strength in [-1, 1] as colour over grey in [0, 1], the more opaque the stronger."""
    size = np.abs(strength).clip(0, 1)
    if signed:
        colour = np.where((strength > 0)[..., None], FOR, AGAINST).astype(float)
    else:
        places, colours = [p for p, _ in ONE_WAY], np.array([c for _, c in ONE_WAY], float)
        colour = np.stack([np.interp(size, places, colours[:, i]) for i in range(3)], -1)
    opaque = (0.92 * size**0.75)[..., None]
    under = (70 + 165 * grey[..., None]).repeat(3, -1)
    return (opaque * colour + (1 - opaque) * under).round().astype(np.uint8)


def over_white(strength: np.ndarray) -> np.ndarray:
    """uint8 (..., 3): strength in [-1, 1] from blue over white to red."""
    size = np.abs(strength).clip(0, 1)[..., None] ** 0.75
    colour = np.where((strength > 0)[..., None], FOR, AGAINST)
    return (size * colour + (1 - size) * 255).round().astype(np.uint8)


def heat(image: np.ndarray, values: np.ndarray, title: str, said: Heat) -> Image.Image:
    """The picture (channels, height, width) in [0, 1], beside it heat (height, width) over the grey picture, and the scale."""
    largest = float(np.abs(values).max() if said.smooth else np.percentile(np.abs(values), LOUD)) or float(
        np.abs(values).max()
    )
    left = enlarged(pixels(image), SIDE)
    field = Image.fromarray((values / (largest or 1.0)).astype(np.float32))
    field = field.resize(left.size, Image.Resampling.BICUBIC if said.smooth else Image.Resampling.NEAREST)
    grey = np.asarray(left.convert("L"), np.float32) / 255
    right = Image.fromarray(coloured(np.asarray(field).clip(-1, 1), grey, said.signed))
    bar_width, numbers = 16, 64
    wide, top = 2 * left.width + bar_width + numbers + 4 * GAP, _top()
    canvas, draw = _canvas(wide, top + left.height + SMALL + GAP + 4, title, said.about)
    canvas.paste(left, (GAP, top))
    canvas.paste(right, (2 * GAP + left.width, top))
    x, high = 3 * GAP + 2 * left.width, left.height
    ramp = np.linspace(1, -1 if said.signed else 0, high)[:, None].repeat(bar_width, 1)
    canvas.paste(Image.fromarray(coloured(ramp, np.full(ramp.shape, 0.5), said.signed)), (x, top))
    for place, number in ((0.0, largest), (0.5, 0.0), (1.0, -largest)) if said.signed else ((0.0, largest), (1.0, 0.0)):
        draw.text((x + bar_width + 6, top + place * (high - 1)), f"{number:.3g}", INK, font(SMALL), "lm")
    draw.text((canvas.width - GAP, top + high + SMALL + 2), said.unit, DIM, font(SMALL), "rm")
    return canvas


def bars(groups: Sequence[Bars], title: str, about: str) -> Image.Image:
    """Groups of horizontal bars below each other, at most BARS of each; the names stand on the left, the values at the bars."""
    row, label, length, number = 24, 230, 380, 80
    high = sum(row * (min(len(g.names), BARS) + 1) + GAP for g in groups)
    canvas, draw = _canvas(label + length + number + 3 * GAP, _top() + high + GAP // 2, title, about)
    top = _top()
    for group in groups:
        more = f"  ({BARS} of {len(group.names)} columns)" if len(group.names) > BARS else ""
        draw.text((GAP, top), f"{group.unit}{more}", DIM, font(SMALL, group.unit))
        top += row
        names, values = group.names[:BARS], group.values[:BARS]
        low, high_value = min([0.0, *values]), max([0.0, *values])
        scale = (length - number * (low < 0)) / ((high_value - low) or 1.0)
        zero = label + 2 * GAP + (number if low < 0 else 0) - low * scale
        for i, (name, value) in enumerate(zip(names, values, strict=True)):
            middle = top + row // 2
            end = zero + value * scale
            draw.text((label + GAP, middle), shortened(name, label, TEXT), INK, font(TEXT, name), "rm")
            draw.rectangle((min(zero, end), middle - 8, max(zero, end), middle + 8), FOR if value >= 0 else AGAINST)
            if group.spreads is not None:
                spread = group.spreads[i] * scale
                draw.line((end - spread, middle, end + spread, middle), INK, 2)
                end += spread if value >= 0 else -spread
            draw.text(
                (end + (6 if value >= 0 else -6), middle),
                signed(value),
                INK,
                font(SMALL),
                "lm" if value >= 0 else "rm",
            )
            top += row
        draw.line((zero, top - row * len(names), zero, top), INK, 1)
        top += GAP
    return canvas


def tiles(lines: Sequence[tuple[str, Sequence[tuple[Image.Image, str]]]], title: str, about: str) -> Image.Image:
    """Lines of small pictures, each with a caption below; a heading stands above each line."""
    gap, below = 10, SMALL + 6
    heights = [
        (TEXT + 10 if heading else 0) + max(i.height for i, _ in line) + (below if any(c for _, c in line) else 0) + gap
        for heading, line in lines
    ]
    wide = max(sum(i.width + gap for i, _ in line) for _, line in lines) + 2 * GAP - gap
    canvas, draw = _canvas(wide, _top() + sum(heights) + GAP // 2, title, about)
    top = _top()
    for (heading, line), height in zip(lines, heights, strict=True):
        draw.text((GAP, top), shortened(heading, canvas.width - 2 * GAP, TEXT), INK, font(TEXT, heading))
        x, y = GAP, top + (TEXT + 10 if heading else 0)
        for image, caption in line:
            canvas.paste(image, (x, y))
            draw.text(
                (x, y + image.height + 3), shortened(caption, image.width + gap - 2, SMALL), DIM, font(SMALL, caption)
            )
            x += image.width + gap
        top += height
    return canvas


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], title: str, about: str) -> Image.Image:
    """A table of texts; the first row stands apart."""
    most, line = 150, TEXT + 12
    widths = [
        min(most, max(int(font(TEXT, row[i]).getlength(row[i])) for row in (head, *rows)) + 1) for i in range(len(head))
    ]
    canvas, draw = _canvas(sum(widths) + GAP * (len(head) + 1), _top() + line * (len(rows) + 1) + GAP, title, about)
    for j, row in enumerate((head, *rows)):
        x, y = GAP, _top() + j * line
        for text, width in zip(row, widths, strict=True):
            draw.text((x, y), shortened(text, width, TEXT), INK if j else DIM, font(TEXT, text))
            x += width + GAP
        if j < 2:
            draw.line((GAP, y + line - 5, x - GAP, y + line - 5), LINE, 1)
    return canvas


def shortened(text: str, width: int, size: int) -> str:
    """The text, its middle cut out where it is wider than so many pixels: names often differ at their end."""
    text = " ".join(text.split())
    drawn = font(size, text)
    if drawn.getlength(text) <= width:
        return text

    def cut(letters: int) -> str:
        return f"{text[: letters - letters // 2]}...{text[len(text) - letters // 2 :]}"

    return cut(max(0, bisect(range(len(text)), width, key=lambda letters: drawn.getlength(cut(letters))) - 1))


def signed(value: float) -> str:
    """A number with its sign, short: +0.0123, -3,640."""
    return f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+.3g}"


def _top() -> int:
    """Where the content begins under title and about."""
    return GAP + TITLE + 8 + TEXT + 16


def _canvas(wide: int, high: int, title: str, about: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    needed = max(font(TITLE, title).getlength(title), font(TEXT, about).getlength(about)) + 2 * GAP + 2
    wide = max(wide, min(WIDE, int(needed)))
    canvas = Image.new("RGB", (wide, high), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((GAP, GAP - 4), shortened(title, wide - 2 * GAP, TITLE), INK, font(TITLE, title))
    draw.text((GAP, GAP + TITLE + 6), shortened(about, wide - 2 * GAP, TEXT), DIM, font(TEXT, about))
    return canvas, draw
