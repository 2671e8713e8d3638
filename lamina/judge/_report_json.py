"""report.json: every figure of the report as plain values, with the signature of what they were measured on."""

from __future__ import annotations

import math
from typing import Any

from lamina.core.run import Run
from lamina.judge import _closer
from lamina.train.plan import Plan

VERSION = 1
NOT_FIGURES = ("step", "seconds_left", "saved", "event", "time")


def numbers(run: Run, config: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Of a run with score.json; a figure that is not finite is None."""
    score = run.read_json("score.json")
    known, reports = _closer.read(run), run.history("report")
    last = reports[-1] if reports else {}
    return _finite(
        {
            "version": VERSION,
            "signature": score["signature"],
            "score": {k: v for k, v in score.items() if k not in ("signature", "complete")},
            "complete": score["complete"],
            "data": {k: config.get(k) for k in ("source", "fingerprint", "licence", "rows", "split_rule")},
            "plan": {"task": plan.task, "net": plan.net, "minutes": plan.recipe.minutes, "options": plan.options},
            "learning": {
                "training": [_figures(r) for r in reports],
                "validation": [_figures(r) for r in run.history("validation")],
            },
            "cost": {**_closer.of_training(known.pop("cost"), plan, last, config), "seconds": last.get("seconds")},
            "reliance": known,
            "machine": config.get("machine", {}),
        }
    )


def _figures(entry: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in entry.items() if k not in NOT_FIGURES}


def _finite(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
