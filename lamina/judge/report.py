"""report: one HTML page of a finished run, which needs no network, no script and no other file."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.figures import PER_CLASS, PERCENT, shown
from lamina.core.run import Run
from lamina.data._batches import DENSE
from lamina.data._table import SPLITS, Table
from lamina.judge import _examples, _plots, _repeat, _sections, _trust, _worst
from lamina.judge._plots import Curve
from lamina.judge.score import Score
from lamina.measures import captions, pairs, retrieval
from lamina.train.plan import Plan, task_class, task_of

MOST_NAMED = 20  # things left out that are named
MOST_CLASSES = 20  # with a bar of their own
MATRIX = 12  # classes up to which the whole confusion matrix is shown
PAIRS = 15
MEANING = {
    "accuracy": "share of rows answered rightly",
    "balanced_accuracy": "mean over classes of the share found",
    "macro_f1": "precision and recall in one, mean over classes",
    "micro_f1": "precision and recall in one, over all labels",
    "exact": "share of rows with every label right",
    "auc": "chance that a row of the second class ranks above one of the first",
    "log_loss": "surprise at the true class, in nats; lower is better",
    "calibration_error": "mean gap between confidence and share of right answers; lower is better",
    "map": "mean average precision: over classes and overlaps of 0.50 to 0.95 (COCO)",
    "map_50": "the same at an overlap of 0.50",
    "map_75": "the same at an overlap of 0.75",
    "map_small": "of objects below 32 x 32 pixels",
    "map_medium": "of objects of 32 x 32 to 96 x 96 pixels",
    "map_large": "of objects over 96 x 96 pixels",
    "recall_100": "share of the objects found by 100 answers a picture, mean over overlaps",
    "rmse": "root of the mean squared error; lower is better",
    "mae": "mean absolute error; lower is better",
    "median_error": "half of the errors are smaller; lower is better",
    "bits_per_character": "surprise at the next character; lower is better",
    "bits_per_word": "surprise at the next word; lower is better",
    "perplexity": "between how many tokens it is unsure, on average; lower is better",
    "r2": "share of the variance that is explained",
    **pairs.MEANING,
    **captions.MEANING,
    **retrieval.MEANING,
}


def page(run: Run, config: dict[str, Any], table: Table, plan: Plan) -> str:
    """The report of a run with score.json, as one HTML text. `table` is the split table that the run learned from."""
    from jinja2 import Environment, StrictUndefined

    score = Score(**run.read_json("score.json"))
    reports, validations = run.history("report"), run.history("validation")
    health = list(dict.fromkeys(s for r in reports for s in r.get("sentences", ())))
    bad = [(b.where, b.why) for b in table.bad] or [(str(w), str(y)) for w, y in config.get("bad", ())]
    about = str(config.get("source") or table.source)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    text = template.render(
        title=Path(about).name or about,
        day=_day(run.history()),
        question=_question(plan),
        given=_given(plan),
        score=score,
        measured=score.name.replace("_", " "),
        shown=lambda value: shown(score.name, value),
        standing=_standing(score, plan),
        trust=_trust.sentences(score, table, plan, len(bad), health, _sections.sentences(run)),
        reliance=_sections.reliance(run, config, table, plan),
        timing=_trust.timing(reports, plan, score.complete),
        data=_data(config, table, plan, about, bad),
        learning=_learning(reports, validations, run, plan),
        health=health,
        mistakes=_examples.mistakes(score.mistakes, table, plan, _worst.read(run)),
        judged=task_class(plan.task).mistakes,
        columns=[f.name for f in _examples.shown_columns(plan)],
        inputs=len(plan.inputs),
        pictures=_examples.image_field(plan) is not None,
        kind=plan.target.kind,
        wide=plan.target.kind in DENSE,
        measures=_measures(score, plan),
        curves=[(c["title"], _plots.lines(c), c.get("about", "")) for c in score.curves],
        samples=run.read_json("samples.json") if run.has("samples.json") else [],
        seen=_examples.batch_seen(table, plan),
        settings=_repeat.settings(run, config, plan, about),
    )
    return text.encode("utf-8", "replace").decode()  # names of files may hold bytes that are no text


def _day(history: list[dict[str, Any]]) -> str:
    times = [e["time"] for e in history if "time" in e]
    return f"{datetime.fromtimestamp(times[-1]):%Y-%m-%d %H:%M}" if times else ""


def _short(name: str, most: int = 28) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _question(plan: Plan) -> str:
    target, own = plan.target, task_class(plan.task).question
    if own:
        return own
    if target.kind == "number":
        return f"How much is {target.name}?"
    names = [_short(c) for c in target.classes]
    if target.kind == "labels":
        return f"Which {target.name} hold, of {len(names)}: {', '.join(names[:6])}{' …' if len(names) > 6 else ''}?"
    if len(names) > 6:
        return f"Which {target.name} of {len(names)}: {', '.join(names[:6])} …?"
    return f"Which {target.name}: {' or '.join(filter(None, [', '.join(names[:-1]), *names[-1:]]))}?"


def _given(plan: Plan) -> str:
    image = _examples.image_field(plan)
    running = next((f for f in plan.inputs if f.kind == "running"), None)
    if running and running.tokens:
        return f"Answered from windows of {running.shape[0]} tokens ({running.tokens.kind})"
    others = [f.name for f in plan.inputs if f.kind != "image"]
    parts = []
    if image:
        channels, height, width = image.shape if len(image.shape) == 3 else (3, "?", "?")
        parts.append(f"pictures of {width} × {height} pixels, {'grey' if channels == 1 else 'in colour'}")
    if others:
        named = ", ".join(_short(n) for n in others[:6]) + (" …" if len(others) > 6 else "")
        parts.append(f"{len(others)} column{'s' if len(others) > 1 else ''}: {named}")
    return "Answered from " + (" and ".join(parts) or "nothing")


def _standing(score: Score, plan: Plan) -> dict[str, Any]:
    """The score and its baselines on one track, best first."""
    lower = task_of(plan.task, plan.target, plan.options).lower_is_better
    rows = [("this net", score.value, score.low, score.high, "one")]
    rows += [(name, math.nan if v is None else v, math.nan, math.nan, "two") for name, v in score.baselines.items()]
    rows.sort(key=lambda r: (math.isnan(r[1]), r[1] if lower else -r[1]))
    known = [v for r in rows for v in r[1:4] if math.isfinite(v)] or [0.0, 1.0]
    if score.name in PERCENT:
        start, end = math.floor(10 * min(known) - 0.2) / 10, math.ceil(10 * max(known) + 0.01) / 10
        start, end = max(0.0, start), max(min(1.0, end), *known)
    else:
        start, end = min(0.0, *known), max(known) + 0.05 * (abs(max(known)) or 1.0)
    at = [[(v - start) / ((end - start) or 1.0) for v in r[1:4]] for r in rows]
    lines = [
        {"name": r[0], "value": shown(score.name, r[1]), "own": r[4] == "one", "plot": _plots.dot(*p, style=r[4])}
        for r, p in zip(rows, at, strict=True)
    ]
    return {"lines": lines, "start": shown(score.name, start), "end": shown(score.name, end), "lower": lower}


def _data(config: dict[str, Any], table: Table, plan: Plan, about: str, bad: list[tuple[str, str]]) -> dict[str, Any]:
    counts = [int((table.split == s).sum()) for s in range(3)] if table.split is not None else [0, 0, 0]
    target = table[plan.target.name]
    return {
        "source": about,
        "reader": table.reader,
        "licence": config.get("licence") or table.licence,
        "rows": list(zip(SPLITS, (f"{c:,}" for c in counts), strict=True)),
        "rule": config.get("split_rule") or table.split_rule,
        "notes": [str(n) for n in config.get("notes") or table.notes],
        "bad": bad[:MOST_NAMED],
        "more_bad": max(0, len(bad) - MOST_NAMED),
        "target": plan.target.name,
        "classes": _class_rows(table, plan),
        "all_classes": len(plan.target.classes),
        "histogram": _plots.histogram(f"{plan.target.name} of all rows", target.values, _short(plan.target.name, 40))
        if plan.target.kind == "number"
        else None,
    }


def _class_rows(table: Table, plan: Plan) -> list[dict[str, Any]]:
    """Rows per class and split; of many classes the commonest ones."""
    target = table[plan.target.name]
    if plan.target.kind not in ("label", "labels") or table.split is None:
        return []
    counts = np.zeros((len(plan.target.classes), 3), int)
    for split in range(3):
        values = target.values[table.split == split]
        one_per_row = values.ndim == 1
        counts[:, split] = np.bincount(values[values >= 0], minlength=len(counts)) if one_per_row else values.sum(0)
    most = max(1, int(counts.sum(1).max(initial=0)))
    order = (
        np.argsort(-counts.sum(1), kind="stable")[:MOST_CLASSES] if len(counts) > MOST_CLASSES else range(len(counts))
    )
    return [
        {
            "name": plan.target.classes[i],
            "counts": [f"{c:,}" for c in counts[i]],
            "plot": _plots.bar([(c / most, s) for c, s in zip(counts[i], ("one", "two", "three"), strict=True)]),
        }
        for i in order
    ]


def _series(entries: list[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """passes and a number of the log's lines that have it."""
    pairs = [(e.get("passes"), e.get(key)) for e in entries if key in e]  # None, of JSON, becomes NaN
    numbers = np.array(pairs, float).reshape(-1, 2)
    return numbers[:, 0].tolist(), numbers[:, 1].tolist()


def _finite(entry: dict[str, Any], key: str) -> bool:
    return entry.get(key) is not None and math.isfinite(entry[key])


def _learning(reports: list[dict], validations: list[dict], run: Run, plan: Plan) -> dict[str, Any]:
    task = task_of(plan.task, plan.target, plan.options)
    sign = -1 if task.chooses == "loss" or task.lower_is_better else 1
    usable = [v for v in validations if _finite(v, task.chooses) and _finite(v, "passes")]
    kept = max(usable, key=lambda v: (sign * v[task.chooses], -(v.get("loss") or 0)), default=None)
    score, loss = (
        None if kept is None else (kept["passes"], kept[k] if _finite(kept, k) else math.nan)
        for k in (task.better, "loss")
    )
    told = f"kept: {shown(task.better, score[1])}" if score else ""
    losses = [
        Curve("training", *_series(reports, "loss"), style="two"),
        Curve("validation", *_series(validations, "loss"), marked=loss),
    ]
    scores = [Curve("validation", *_series(validations, task.better), marked=score, mark=told)]
    speed = _series(reports, "rows_per_second")
    last = reports[-1] if reports else {}
    facts = [
        ("passes over the training rows", f"{last['passes']:.1f}" if "passes" in last else "-"),
        ("weight updates", f"{last['step']:,}" if "step" in last else "-"),
        ("validations", f"{len(validations)}"),
        ("net kept", f"of pass {kept['passes']:.1f}" if kept else "-"),
        ("chosen by", f"validation {task.chooses.replace('_', ' ')}"),
        ("speed", f"{np.median(speed[1]):,.0f} rows/s" if speed[1] else "-"),
        ("waiting for data", f"{100 * last['waiting']:.0f} % of the time" if "waiting" in last else "-"),
    ]
    facts += [
        (e["event"], f"at update {e.get('step', 0):,}")
        for e in run.history()
        if e.get("event") in ("resumed", "rolled back")
    ]
    return {
        "loss": _plots.curves("Loss over passes", losses),
        "score": _plots.curves(f"{task.better} on validation rows", scores, percent=task.better in PERCENT),
        "name": task.better.replace("_", " "),
        "speed": _plots.curves("Rows per second", [Curve("speed", *speed, style="two")], zero=True),
        "facts": facts,
        "smoothing": plan.options.get("smoothing") or 0,
    }


def _measures(score: Score, plan: Plan) -> dict[str, Any]:
    found, matrix = score.calibration, score.confusion
    numbers = [(n.replace("_", " "), shown(n, v), MEANING.get(n, "")) for n, v in score.numbers.items()
               if not n.startswith(PER_CLASS)]  # fmt: skip
    recalls = _trust.recalls(score, plan)
    return {
        "numbers": numbers,
        "matrix": _matrix(matrix, plan) if 0 < len(matrix) <= MATRIX else [],
        "classes": list(plan.target.classes),
        "pairs": _pairs(matrix, plan) if len(matrix) > MATRIX else [],
        "recall": [
            {"name": n, "rows": f"{rows:,}", "value": shown("accuracy", v), "plot": _plots.bar([(v, "one")])}
            for n, rows, v in recalls[:MOST_CLASSES]
        ],
        "by_class": [
            {"measure": m, "name": n, "value": shown("map", v), "plot": _plots.bar([(v, "one")])}
            for m, n, v in score.by_class()[:MOST_CLASSES]
        ],
        "more_recall": max(0, len(recalls) - MOST_CLASSES),
        "calibration": _plots.reliability(found),
        "temperature": plan.options.get("temperature"),
        "calibration_error": f"{100 * found['error']:.1f} points" if found.get("error") is not None else "",
    }


def _matrix(matrix: list[list[int]], plan: Plan) -> list[dict[str, Any]]:
    """Rows of the confusion matrix with the share of each cell in its row."""
    return [
        {
            "name": plan.target.classes[i],
            "cells": [
                {"count": c, "share": _shade(c / max(1, sum(row)), i == k), "right": i == k} for k, c in enumerate(row)
            ],
        }
        for i, row in enumerate(matrix)
    ]


def _shade(share: float, right: bool) -> str:
    """Share of the strongest colour; the root makes rare mistakes visible."""
    return f"{share if right else share**0.5:.3f}"


def _pairs(matrix: list[list[int]], plan: Plan) -> list[dict[str, Any]]:
    cells = np.array(matrix)
    rows = cells.sum(1)
    np.fill_diagonal(cells, 0)
    order = [divmod(int(at), len(cells)) for at in np.argsort(-cells, axis=None, kind="stable")[:PAIRS]]
    name = plan.target.classes
    return [
        {
            "target": name[i],
            "answer": name[k],
            "count": f"{cells[i, k]:,}",
            "share": shown("accuracy", cells[i, k] / rows[i]),
        }
        for i, k in order
        if cells[i, k]
    ]
