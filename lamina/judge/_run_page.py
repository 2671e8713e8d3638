"""The page of `lamina check RUN`: worse rows, attacks, what more rows would bring, shuffled labels. No network, no script."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from lamina.core.figures import PERCENT, shown
from lamina.judge import _plots
from lamina.measures.interval import wilson

DRAWN = ("noise", "FGSM", "PGD")  # attacks within the largest change of a pixel that have a line


def page(found: dict[str, Any], pictures: Image.Image | None, title: str, strengths: tuple[str, ...]) -> str:
    """One HTML text of what Check.to_json gives; names from the data are escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    here = Path(__file__)
    report = here.with_name("report.html").read_text(encoding="utf-8")
    clean = found["clean"]
    interval = wilson(round(clean * found["rows"]), found["rows"]) if clean is not None else None
    attacked = found["attacked"]
    text = environment.from_string(here.with_name("check_run.html").read_text(encoding="utf-8")).render(
        title=title,
        style=Markup(report.split("<style>")[1].split("</style>")[0]),
        found=found,
        worst=min(((name, shares[-1]) for name, shares in found["worse"].items()), key=lambda w: w[1], default=None),
        percent=lambda value: shown("accuracy", value),
        interval=interval and [shown("accuracy", v) for v in interval],
        strengths=strengths,
        radii=list(attacked.get("PGD", {})),
        lengths=list(attacked.get("PGD L2", {})),
        plot=_attacks(clean or 0.0, attacked) if attacked else None,
        least={k: "more than was tried" if v is None else f"{v:.3g}" for k, v in found["least"].items()},
        sheet=_uri(pictures),
        curve=_curve(found["learning"]) if found["learning"] else None,
        points=_points(found["learning"]) if found["learning"] else [],
    )
    return text.encode("utf-8", "replace").decode()


def _uri(picture: Image.Image | None) -> str:
    if picture is None:
        return ""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _attacks(clean: float, attacked: dict[str, dict[str, float]]) -> Markup:
    lines = []
    for name in DRAWN:
        x, y = [0.0, *map(float, attacked[name])], [clean, *attacked[name].values()]
        marked = None if name == "FGSM" else (x[-2], y[-2])
        lines.append(_plots.Curve(name, x, y, "one" if name == "PGD" else "two", marked, name))
    axes = _plots.Axes(
        (0.0, lines[0].x[-1]), (0.0, 1.0), ("largest change of a pixel, as a share of its range", ""), (False, True)
    )
    body = [axes.draw(), *(_plots._line(axes, line) for line in lines), *(_plots._marked(axes, line) for line in lines)]
    return _plots.svg("Share of right answers against the size of the change", Markup("").join(body))


def _curve(learning: dict[str, Any]) -> Markup:
    """Measured points and the interval of twice the rows, over the rows' logarithm to the base 2."""
    x, percent = [math.log2(n) for n in learning["rows"]], learning["name"] in PERCENT
    ahead = x[-1] + 1
    values = [*learning["values"], learning["low"], learning["high"]]
    low, high = _plots.spread(values) or (0.0, 1.0)
    axes = _plots.Axes(
        (x[0] - 0.3, ahead + 0.3), (low, min(high, 1.0) if percent else high), ("", ""), (False, percent)
    )
    body = [_plots._line(axes, _plots.Curve("measured", x, learning["values"]))]
    (a, top), (_, bottom) = axes.at(ahead, learning["high"]), axes.at(ahead, learning["low"])
    body.append(
        Markup('<line class="one line" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(a, top, a, bottom)
    )
    told = shown(learning["name"], learning["twice"])
    body.append(_plots._marked(axes, _plots.Curve("", (), (), marked=(ahead, learning["twice"]), mark=told)))
    for n, place in zip([*learning["rows"], 2 * learning["rows"][-1]], [*x, ahead], strict=True):
        across, _ = axes.at(place, low)
        body.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{:,}</text>').format(across, axes.high - 20, n)
        )
    body.append(
        Markup('<text x="{}" y="{}" text-anchor="middle">training rows</text>').format(_plots.WIDE / 2, axes.high - 4)
    )
    name = learning["name"].replace("_", " ")
    frame = _frame(axes, percent)
    return _plots.svg(f"{name} against training rows", Markup("").join([frame, *body]))


def _frame(axes: _plots.Axes, percent: bool) -> Markup:
    """Grid lines and ticks upwards alone."""
    parts = []
    for value in _plots.ticks(*axes.y):
        _, y = axes.at(axes.x[0], value)
        text = _plots.tick_shown(value, axes.y[1], percent)
        line = Markup(
            '<line class="grid" x1="{}" y1="{:.1f}" x2="{}" y2="{:.1f}"/><text x="{}" y="{:.1f}" text-anchor="end">{}</text>'
        )
        parts.append(line.format(_plots.LEFT, y, _plots.WIDE - _plots.RIGHT, y, _plots.LEFT - 6, y + 4, text))
    return Markup("").join(parts)


def _points(learning: dict[str, Any]) -> list[tuple[str, str]]:
    return [(f"{n:,}", shown(learning["name"], v)) for n, v in zip(learning["rows"], learning["values"], strict=True)]
