"""Pictures of recipes as PNG: planes cut by a net's answers, and curves with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from lamina.explain._draw import DIM, INK, LINE, PAPER, font

COLOURS = ((46, 98, 190), (204, 51, 51), (36, 138, 82), (178, 110, 20), (120, 64, 160), (90, 90, 90))
SIDE, GAP, TITLE = 320, 24, 30
WIDE, HIGH = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 44, 50


@dataclass(frozen=True)
class Curve:
    """Points joined by a line, or only marked; low and high shade an interval."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    dots: bool = False


@dataclass(frozen=True)
class Plane:
    """What a net answers in the plane, and the points that it learned from."""

    title: str
    answers: np.ndarray
    """int (side, side): the class at every place, the first row at the lowest y"""
    points: np.ndarray
    """(points, 2) in the box"""
    codes: np.ndarray
    box: tuple[float, float, float, float]
    """x from, x to, y from, y to"""


def grid(box: tuple[float, float, float, float], side: int = 120) -> np.ndarray:
    """(side * side, 2) places of the box, row by row from the lowest y."""
    x, y = np.linspace(box[0], box[1], side), np.linspace(box[2], box[3], side)
    return np.stack([np.tile(x, side), np.repeat(y, side)], 1)


def planes(given: Sequence[Plane], path: Path) -> Path:
    """Planes beside each other; returns the path."""
    canvas = Image.new("RGB", (len(given) * (SIDE + GAP) + GAP, SIDE + TITLE + 2 * GAP), PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, plane in enumerate(given):
        left, top = GAP + number * (SIDE + GAP), GAP + TITLE
        pale = np.array([[(c + 3 * 255) // 4 for c in colour] for colour in COLOURS], np.uint8)
        area = Image.fromarray(pale[plane.answers[::-1]]).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        canvas.paste(area, (left, top))
        x0, x1, y0, y1 = plane.box
        for (x, y), code in zip(plane.points, plane.codes, strict=True):
            px, py = left + SIDE * (x - x0) / (x1 - x0), top + SIDE * (1 - (y - y0) / (y1 - y0))
            draw.ellipse((px - 3, py - 3, px + 3, py + 3), fill=COLOURS[int(code)], outline=PAPER)
        draw.rectangle((left, top, left + SIDE, top + SIDE), outline=LINE)
        draw.text((left, top - TITLE), plane.title, INK, font(15))
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path)
    return path


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers in a range, six at most: multiples of 1, 2, 2.5 or 5 times a power of ten."""
    least = (high - low) / 5 or 1.0
    power = 10 ** math.floor(math.log10(least))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= least)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def curves(
    given: Sequence[Curve], path: Path, title: str, x: str, y: str,
    limits: tuple[float, float] | None = None, log: bool = False,
) -> Path:  # fmt: skip
    """Curves over one pair of axes (log: x by factors), with a legend; returns the path."""
    finite = [v for c in given for part in (c.y, c.low or (), c.high or ()) for v in part if math.isfinite(v)]
    low, high = limits or (min(finite), max(finite))
    across = [math.log(v) if log else v for c in given for v in c.x]
    first, last = min(across), max(across)
    canvas = Image.new("RGB", (2 * WIDE, 2 * HIGH), PAPER)  # drawn twice as large, for smooth lines
    draw = ImageDraw.Draw(canvas, "RGBA")

    def place(u: float, v: float) -> tuple[float, float]:
        u, v = (math.log(u) if log else u), min(max(v, low), high)
        share = (u - first) / (last - first or 1), (v - low) / (high - low or 1)
        return (2 * (LEFT + share[0] * (WIDE - LEFT - RIGHT)), 2 * (HIGH - BOTTOM - share[1] * (HIGH - TOP - BOTTOM)))

    for value in _ticks(low, high):
        at = place(given[0].x[0], value)[1]
        draw.line((2 * LEFT, at, 2 * (WIDE - RIGHT), at), LINE, 2)
        draw.text((2 * LEFT - 12, at), f"{value:.3g}", DIM, font(24), anchor="rm")
    for value in sorted({v for c in given if not c.dots for v in (c.x if len(c.x) <= 8 else (c.x[0], c.x[-1]))}):
        draw.text((place(value, low)[0], 2 * (HIGH - BOTTOM) + 10), f"{value:.4g}", DIM, font(24), anchor="ma")
    ends = [place(c.x[-1], c.y[-1])[1] for c in given if not c.dots and math.isfinite(c.y[-1])]
    bottom = (
        bool(ends)
        and min(ends) < 2 * TOP + 40 + 34 * len(given)
        and max(ends) < 2 * (HIGH - BOTTOM) - 40 - 34 * len(given)
    )
    legend = 2 * (HIGH - BOTTOM) - 16 - 34 * len(given) if bottom else 2 * TOP + 8  # where no curve ends
    for number, curve in enumerate(given):
        colour, points = COLOURS[number % len(COLOURS)], [place(u, v) for u, v in zip(curve.x, curve.y, strict=True)]
        if curve.low is not None and curve.high is not None:
            edge = [place(u, v) for u, v in zip(curve.x, curve.high, strict=True)]
            edge += [place(u, v) for u, v in zip(curve.x, curve.low, strict=True)][::-1]
            draw.polygon(edge, (*colour, 40))
        if not curve.dots:
            draw.line(points, colour, 5, joint="curve")
        for px, py in points if curve.dots or len(points) <= 12 else ():
            draw.ellipse((px - 7, py - 7, px + 7, py + 7), fill=colour)
        draw.text((2 * (WIDE - RIGHT) - 12, legend + 34 * number), curve.name, colour, font(26), anchor="ra")
    draw.text((2 * LEFT, 12), title, INK, font(30))
    draw.text((WIDE + LEFT - RIGHT, 2 * HIGH - 36), x, DIM, font(24), anchor="ma")
    draw.text((2 * LEFT, 52), y, DIM, font(22))
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.resize((WIDE, HIGH), Image.Resampling.LANCZOS).save(path)
    return path
