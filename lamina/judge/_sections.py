"""Sections of the report that say how far a net can be relied on: slices, selective answers, suspect labels, findings, cost."""

from __future__ import annotations

import math
from typing import Any

from lamina.core.figures import shown
from lamina.core.run import Run
from lamina.data._table import Table
from lamina.judge import _check_page, _closer, _plots
from lamina.judge._trust import Sentence, clock
from lamina.train.plan import Plan

SURELY = 0.05  # by which answering less must raise the share of right answers to be worth a sentence


def reliance(run: Run, config: dict[str, Any], table: Table, plan: Plan) -> dict[str, Any]:
    """What the template's section shows; "" and [] where nothing is known."""
    known, reports = _closer.read(run), run.history("report")
    curve = known.get("selective", [])
    findings = [_closer.finding(f) for f in known.get("data", {}).get("findings", [])]
    labels = [_closer.finding(f) for f in known.get("labels", [])]
    return {
        "slices": [{**s, "plot": _plots.dot(s["share"], s["low"], s["high"]), "value": shown("accuracy", s["share"]),
                    "rest": shown("accuracy", s["others"])} for s in known.get("slices", [])],
        "selective": _selective(curve),
        "sure": [c for c in curve if c["answered"] in (1.0, 0.9, 0.8, 0.5)],
        "percent": lambda value: shown("accuracy", value),
        "labels": [_check_page._shown(f, table) for f in labels],
        "findings": [{"sentence": f.sentence, "todo": f.todo, "grave": f.grave} for f in findings],
        "left_out": known.get("data", {}).get("left_out", []),
        "looked": bool(known.get("data")),
        "cost": _cost(_closer.of_training(known["cost"], plan, reports[-1] if reports else {}, config), reports),
    }  # fmt: skip


def _selective(curve: list[dict[str, float]]) -> Any:
    if not curve:
        return None
    x = [c["answered"] for c in curve]
    line = _plots.Curve("right", x, [c["right"] for c in curve])
    low = min(c["low"] for c in curve)
    axes = _plots.Axes((0.0, 1.0), (max(0.0, low - 0.05), 1.0), ("share answered, the surest first", ""), (True, True))
    from markupsafe import Markup

    return _plots.svg(
        "Share of right answers against share answered", Markup("").join([axes.draw(), _plots._line(axes, line)])
    )


def _cost(cost: dict[str, Any], reports: list[dict[str, Any]]) -> list[tuple[str, str]]:
    last = reports[-1] if reports else {}
    found = []
    if cost:
        found.append(("size", f"{cost['weights']:,} weights, {cost['megabytes']:,.2f} MB"))
        if cost.get("operations_per_answer"):
            found.append(("one answer", f"{_short(cost['operations_per_answer'])} floating-point operations"))
        if cost.get("most_memory_megabytes"):
            found.append(("most memory", f"{cost['most_memory_megabytes']:,} MB"))
        if cost.get("most_device_memory_megabytes"):
            found.append(("of the device", f"{cost['most_device_memory_megabytes']:,} MB"))
    if found and math.isfinite(float(last.get("seconds", math.nan))):
        found.append(("training", clock(float(last["seconds"]))))
    if cost.get("training_operations_about"):
        found.append(("in training", f"about {_short(cost['training_operations_about'])} floating-point operations"))
    if "energy" in cost:
        found.append(("energy of training", _energy(**cost["energy"])))
    return found


def _energy(joules: dict[str, float], seconds: float) -> str:
    if not joules:
        return "this machine does not tell"
    parts = [f"{value / 3600:,.3g} Wh ({name})" for name, value in joules.items()]
    return f"{' and '.join(parts)} in {clock(seconds)}, whatever else ran on the machine included"


def _short(number: float) -> str:
    size, word = next(
        ((s, w) for s, w in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand")) if number >= s),
        (1.0, ""),
    )
    return f"{number / size:,.3g} {word}".strip()


def sentences(run: Run) -> list[Sentence]:
    """For the first screen: what is grave in the data, and the kind of rows that is answered worst."""
    known = _closer.read(run)
    found = [Sentence(False, f["sentence"]) for f in known.get("data", {}).get("findings", []) if f.get("grave")]
    if worst := known.get("slices", []):
        one = worst[0]
        found.append(
            Sentence(
                False,
                f"Worst where {one['text']}: {shown('accuracy', one['share'])} of {one['rows']:,} such test rows are right, {shown('accuracy', one['others'])} of the others.",
            )
        )
    curve = {c["answered"]: c for c in known.get("selective", [])}
    if curve and curve[0.8]["low"] > curve[1.0]["right"] and curve[0.8]["right"] - curve[1.0]["right"] >= SURELY:
        found.append(
            Sentence(
                True,
                f"It knows when it is unsure: of the surest 80 % of its answers {shown('accuracy', curve[0.8]['right'])} are right.",
            )
        )
    return found
