"""Plots of the report as inline SVG, drawn in the colours of the page (CSS classes), so that they follow light and dark.

Every text goes through Markup.format, which escapes it: names come from data. Plots with axes are 430 wide, so that their
letters stay readable on a phone; rows of bars and dots use percentages and keep their letters at any width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup, escape

WIDE, HIGH = 430, 230
LEFT, RIGHT, TOP, BOTTOM = 48, 20, 12, 38  # margins around the axes
MOST_POINTS = 300  # of a curve; more are not visible


@dataclass(frozen=True)
class Curve:
    """Points of one line; a point that is not finite leaves a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "one"
    """CSS class: one (accent), two (grey)"""
    marked: tuple[float, float] | None = None
    """a point to stress"""
    mark: str = ""
    """what is written beside it"""


@dataclass(frozen=True)
class Axes:
    """Where data lies on the paper."""

    x: tuple[float, float]
    y: tuple[float, float]
    labels: tuple[str, str] = ("", "")
    percent: tuple[bool, bool] = (False, False)
    high: int = field(default=HIGH)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Paper coordinates of a point."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (WIDE - LEFT - RIGHT), self.high - BOTTOM - up * (self.high - TOP - BOTTOM)

    def draw(self) -> Markup:
        """Grid lines, ticks and labels."""
        parts = []
        for value in ticks(*self.y):
            _, y = self.at(self.x[0], value)
            text = tick_shown(value, self.y[1], self.percent[1])
            parts.append(
                Markup('<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>').format(LEFT, WIDE - RIGHT, y=y)
            )
            parts.append(Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(LEFT - 7, y + 4, text))
        for value in ticks(*self.x):
            x, _ = self.at(value, self.y[0])
            text = tick_shown(value, self.x[1], self.percent[0])
            parts.append(
                Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                    x, self.high - BOTTOM + 16, text
                )
            )
        below = Markup('<text x="{}" y="{}" text-anchor="end">{}</text>')
        parts.append(below.format(WIDE - RIGHT, self.high - 5, self.labels[0]))
        return Markup("").join(parts)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers inside [low, high], at most `most` of them and as many as that allows."""
    power = 10 ** math.floor(math.log10((high - low) / most))
    for step in (power, 2 * power, 2.5 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [round(i * step, 12) for i in range(first, last + 1)]
    return [low, high]


def tick_shown(value: float, largest: float, percent: bool = False) -> str:
    """A number short enough for an axis that goes up to `largest`: 0.25, 1500, 40k, 3M."""
    if percent:
        return f"{100 * value:.4g} %"
    size, letter = next(((s, x) for s, x in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if largest >= max(s, 1e4)), (1.0, ""))
    return f"{value / size:.4g}{letter if value else ''}"


def spread(values: Sequence[float], zero: bool = False) -> tuple[float, float] | None:
    """Least and largest finite value with a little air, from 0 when asked; None when there is none."""
    known = np.asarray([v for v in values if v is not None], float)
    known = known[np.isfinite(known)]
    if not len(known):
        return None
    low, high = float(known.min()), float(known.max())
    low = min(0.0, low) if zero else low
    if high - low < 1e-9 * max(1.0, abs(high)):
        return (low - 0.05 * (abs(low) or 1), high + 0.05 * (abs(high) or 1))
    air = 0.06 * (high - low)
    return (low if zero else low - air, high + air)


def svg(name: str, body: Markup, high: int = HIGH) -> Markup:
    """A picture with a name for those who cannot see it."""
    frame = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return frame.format(WIDE, high, name, body)


def curves(name: str, lines: Sequence[Curve], percent: bool = False, zero: bool = False) -> Markup | None:
    """Lines over passes; None when no line has a finite point."""
    lines = [line for line in lines if np.isfinite(np.asarray(line.y, float)).any()]
    x, y = spread([v for line in lines for v in line.x]), spread([v for line in lines for v in line.y], zero)
    if x is None or y is None:
        return None
    last = max(max(line.x) for line in lines)
    axes = Axes(
        (0.0, last or 1.0),
        (y[0], min(y[1], 1.0) if percent and y[1] > 1 > y[0] else y[1]),
        ("passes", ""),
        (False, percent),
    )
    body = [axes.draw(), *(_line(axes, line) for line in lines), *(_marked(axes, line) for line in lines)]
    return svg(name, Markup("").join(body))


def lines(found: dict[str, Any]) -> Markup:
    """Curves that a task draws (Task.curves): lines in axes of their own, a point marked; shares are drawn from 0 to 1."""
    made = [
        Curve(line["name"], line["x"], line["y"], style="one" if i == 0 else "two")
        for i, line in enumerate(found["lines"])
    ]
    if found.get("percent"):
        axes = Axes((0.0, 1.0), (0.0, 1.0), (found["x"], ""), (True, True), high=300)
        (x1, y1), (x2, y2) = axes.at(0, 0), axes.at(1, 1)
        diagonal = Markup(
            '<line class="two line" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke-dasharray="4 4"/>'
        )
        body = [axes.draw(), diagonal.format(x1, y1, x2, y2)]
    else:
        x = spread([v for line in made for v in line.x]) or (0.0, 1.0)
        y = spread([v for line in made for v in line.y], zero=True) or (0.0, 1.0)
        axes = Axes(x, y, (found["x"], ""), high=300)
        body = [axes.draw()]
    body += [_line(axes, line) for line in made]
    if found.get("mark"):
        *place, text = found["mark"]
        body.append(_marked(axes, Curve("", (), (), marked=(place[0], place[1]), mark=str(text))))
    name = Markup('<text x="{}" y="{}">{}</text>').format(LEFT, TOP, found.get("y", ""))
    return svg(found["title"], Markup("").join([*body, name]), axes.high)


def _line(axes: Axes, line: Curve) -> Markup:
    chosen = np.unique(np.linspace(0, len(line.x) - 1, min(len(line.x), MOST_POINTS)).astype(int))
    path, pen, dots = [], "M", []
    for i in chosen:
        if not (math.isfinite(line.y[i]) and math.isfinite(line.x[i])):
            pen = "M"
            continue
        x, y = axes.at(line.x[i], line.y[i])
        path.append(f"{pen}{x:.1f} {y:.1f}")
        dots.append(Markup('<circle class="{} fill" cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(line.style, x, y))
        pen = "L"
    drawn = Markup('<path class="{} line" d="{}"/>').format(line.style, "".join(path))
    return drawn + Markup("").join(dots) if len(path) <= 12 else drawn


def _marked(axes: Axes, line: Curve) -> Markup:
    if line.marked is None or not all(math.isfinite(v) for v in line.marked):
        return Markup("")
    x, y = axes.at(*line.marked)
    anchor = "end" if x > WIDE / 2 else "start"
    above = y - 11 if y > TOP + 24 else y + 22
    dot = Markup('<circle class="{} mark" cx="{:.1f}" cy="{:.1f}" r="5"/>').format(line.style, x, y)
    return dot + Markup('<text class="strong" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, above, anchor, line.mark
    )


def histogram(name: str, values: np.ndarray, label: str) -> Markup | None:
    """Bars of equal width over the finite values; None when there are none."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    counts, edges = np.histogram(known, bins=min(40, max(5, int(len(known) ** 0.5))))
    axes = Axes((float(edges[0]), float(edges[-1])), (0.0, 1.06 * float(counts.max())), (label, ""))
    bars = []
    for count, (start, stop) in zip(counts, pairwise(edges), strict=True):
        (x, y), (right, bottom) = axes.at(float(start), float(count)), axes.at(float(stop), 0.0)
        bar = Markup('<rect class="one fill" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
        bars.append(bar.format(x, y, max(0.5, right - x - 1), bottom - y))
    return svg(name, axes.draw() + Markup("").join(bars))


def reliability(calibration: dict) -> Markup | None:
    """Confidence against the share of right answers; on the diagonal both are equal. None without bins."""
    bins = list(zip(*(calibration.get(k, ()) for k in ("confidence", "accuracy", "share")), strict=False))
    bins = [b for b in bins if all(v is not None and math.isfinite(v) for v in b)]
    if not bins:
        return None
    low = math.floor(10 * min(min(c, a) for c, a, _ in bins)) / 10
    axes = Axes((min(low, 0.9), 1.0), (min(low, 0.9), 1.0), ("confidence of the answers", ""), (True, True), high=300)
    (x1, y1), (x2, y2) = axes.at(axes.x[0], axes.y[0]), axes.at(1, 1)
    diagonal = Markup('<line class="two line" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke-dasharray="4 4"/>')
    points = [(*axes.at(c, a), 3 + 13 * math.sqrt(s), axes.at(c, c)[1]) for c, a, s in bins]
    gaps = [
        Markup('<line class="one thin" x1="{x:.1f}" x2="{x:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(y, d, x=x)
        for x, y, _, d in points
    ]
    dots = [
        Markup('<circle class="one glass" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(x, y, r)
        for x, y, r, _ in points
    ]
    return svg("Calibration", Markup("").join([axes.draw(), diagonal.format(x1, y1, x2, y2), *gaps, *dots]), axes.high)


def dot(place: float, low: float, high: float, style: str = "one") -> Markup:
    """A dot with its interval on a track; places in [0, 1]. NaN draws what is known."""
    parts = [Markup('<line class="grid" x1="0" x2="100%" y1="14" y2="14"/>')]
    if math.isfinite(low) and math.isfinite(high):
        span = Markup('<line class="{} wide" x1="{:.2f}%" x2="{:.2f}%" y1="14" y2="14"/>')
        parts.append(span.format(style, 100 * low, 100 * high))
    if math.isfinite(place):
        parts.append(Markup('<circle class="{} fill" cx="{:.2f}%" cy="14" r="5.5"/>').format(style, 100 * place))
    return _strip(parts, 28)


def bar(shares: Sequence[tuple[float, str]], text: str = "") -> Markup:
    """Parts of a bar end to end: (length in [0, 1], CSS class)."""
    parts, start = [], 0.0
    for length, style in shares:
        if not math.isfinite(length) or length <= 0:
            continue
        rect = Markup('<rect class="{} fill" x="{:.2f}%" y="4" width="{:.2f}%" height="12"/>')
        parts.append(rect.format(style, 100 * start, 100 * length))
        start += length
    return _strip(parts, 20, text)


def _strip(parts: Sequence[Markup], high: int, text: str = "") -> Markup:
    title = Markup("<title>{}</title>").format(escape(text)) if text else Markup("")
    return Markup('<svg class="strip" width="100%" height="{}" aria-hidden="true">{}{}</svg>').format(
        high, title, Markup("").join(parts)
    )
