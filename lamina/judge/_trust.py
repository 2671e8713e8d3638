"""What a score is worth, in sentences that are computed: gain over the baselines, width, weak classes, calibration, time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.core.figures import PERCENT, shown
from lamina.data._table import TRAIN, Table
from lamina.judge.score import Score
from lamina.train.plan import Plan, task_of

MOST_SENTENCES = 4
FEW = 100  # test rows below which every number is coarse
SURE = 0.05  # calibration error up to which probabilities are taken at their word
WIDE_INTERVAL = 0.08  # of a share; wider ones are named
UNEVEN = 4  # times the rows of the rarest class in the commonest


@dataclass(frozen=True)
class Sentence:
    """One thing to know about the score."""

    good: bool
    """True for a reason to trust it"""
    text: str


def sentences(
    score: Score, table: Table, plan: Plan, bad: int, health: list[str], closer: Sequence[Sentence] = ()
) -> list[Sentence]:
    """The most important first, at most MOST_SENTENCES; `health` and `bad` are what training and reading found wrong, `closer` what
    a closer look found."""
    found = []
    if not score.complete:
        found.append(Sentence(False, "Training was stopped before its end; this is the best net so far."))
    found += _gain(score, task_of(plan.task, plan.target, plan.options).lower_is_better)
    found += [Sentence(False, text) for text in health[:1]]
    found += closer
    found += _width(score) + _weakest(score, plan) + _tail(score) + _left_out(bad) + _uneven(score, table, plan)
    calibrated = _calibrated(score)
    found += [s for s in calibrated if not s.good] + [s for s in calibrated if s.good]
    return found[:MOST_SENTENCES]


def difference(name: str, value: float) -> str:
    """How far two numbers are apart: shares in points."""
    return f"{100 * abs(value):.1f} points" if name in PERCENT else shown(name, abs(value))


def _gain(score: Score, lower: bool) -> list[Sentence]:
    known = {n: v for n, v in score.baselines.items() if v is not None and math.isfinite(v)}
    if not known or not math.isfinite(score.value):
        return []
    name = (min if lower else max)(known, key=lambda n: known[n])
    best = known[name]
    gain = best - score.value if lower else score.value - best
    worst_end = score.high if lower else score.low
    told = f"the best baseline ({name}, {shown(score.name, best)})"
    if gain <= 0:
        return [Sentence(False, f"It is no better than {told}: that one is simpler, or more time or data is needed.")]
    if not math.isfinite(worst_end) or (best <= worst_end if lower else best >= worst_end):
        apart = difference(score.name, gain)
        text = f"It is {apart} better than {told}, but that lies inside the interval: other rows could turn the order round."
        return [Sentence(False, text)]
    return [
        Sentence(
            True, f"It beats {told} by {difference(score.name, gain)}; the whole 95 % interval is better than that."
        )
    ]


def _width(score: Score) -> list[Sentence]:
    width = score.high - score.low
    if not math.isfinite(width):
        return []
    wide = width > (WIDE_INTERVAL if score.name in PERCENT else 0.4 * abs(score.value))
    if score.rows >= FEW and not wide:
        return []
    only = "Only " if score.rows < 5 * FEW else ""
    text = f"{only}{score.rows:,} test rows: the interval is {difference(score.name, width)} wide, so small differences between trainings mean nothing."
    return [Sentence(False, text)]


def recalls(score: Score, plan: Plan) -> list[tuple[str, int, float]]:
    """(class, test rows, share of them found) of the classes that occur, worst first."""
    found = []
    for i, row in enumerate(score.confusion):
        if sum(row):
            found.append((plan.target.classes[i], sum(row), row[i] / sum(row)))
    return sorted(found, key=lambda entry: entry[2])


def _weakest(score: Score, plan: Plan) -> list[Sentence]:
    by_class = recalls(score, plan)
    if len(by_class) < 2:
        return []
    name, rows, share = by_class[0]
    if share > by_class[-1][2] - 0.1:
        return []
    best, _, most = by_class[-1]
    text = f"Weakest on “{name}”: {shown('accuracy', share)} of its {rows:,} test rows are found, {shown('accuracy', most)} of “{best}”."
    return [Sentence(False, text)]


def _tail(score: Score) -> list[Sentence]:
    rmse, median = score.numbers.get("rmse"), score.numbers.get("median_error")
    if not rmse or not median or not rmse > 3 * median:
        return []
    text = f"A few large errors dominate: half of the answers are off by less than {shown('mae', median)}, while rmse is {shown('rmse', rmse)}."
    return [Sentence(False, text)]


def _left_out(bad: int) -> list[Sentence]:
    if not bad:
        return []
    one = (
        "1 file or row that could not be read was" if bad == 1 else f"{bad:,} files or rows that could not be read were"
    )
    return [Sentence(False, f"{one} left out; the score does not speak for such data.")]


def _uneven(score: Score, table: Table, plan: Plan) -> list[Sentence]:
    if plan.target.kind != "label":
        return []
    codes = table[plan.target.name].values[table.rows(TRAIN)]
    count = np.bincount(codes[codes >= 0], minlength=len(plan.target.classes))
    if not len(count) or count.max() <= UNEVEN * count.min():
        return []
    rare, common = int(count.argmin()), int(count.argmax())
    classes = plan.target.classes
    balanced = score.numbers.get("balanced_accuracy")
    look = f"; balanced accuracy is {shown('accuracy', balanced)}" if balanced is not None else ""
    text = f"Classes are uneven: {count[common]:,} training rows of “{classes[common]}”, {count[rare]:,} of “{classes[rare]}”{look}."
    return [Sentence(False, text)]


def _calibrated(score: Score) -> list[Sentence]:
    found = score.calibration
    error = found.get("error")
    if error is None or not math.isfinite(error):
        return []
    if error <= SURE:
        text = f"Its probabilities can be taken at their word: they miss the share of right answers by {100 * error:.1f} points on average."
        return [Sentence(True, text)]
    confidence, accuracy = (float(np.dot(found["share"], found[k])) for k in ("confidence", "accuracy"))
    how = "sure" if confidence > accuracy else "modest"
    if abs(confidence - accuracy) < 0.5 * error:
        return [
            Sentence(False, f"Its probabilities are off by {100 * error:.1f} points on average; see the calibration.")
        ]
    text = f"Its probabilities are too {how}: it claims {100 * confidence:.0f} % on average where {100 * accuracy:.0f} % are right."
    return [Sentence(False, text)]


@dataclass(frozen=True)
class Timing:
    """Time taken against the time allowed."""

    took: str
    allowed: str
    kept: bool
    ended: str
    """why training ended, one sentence"""


def clock(seconds: float) -> str:
    """Seconds as people read them: 0:09, 12:30, 1:02:03."""
    if not math.isfinite(seconds):
        return "-"
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def counted(number: float, one: str, many: str) -> str:
    """1 pass, 2.5 passes."""
    return f"{number:,g} {one if number == 1 else many}"


def timing(reports: list[dict[str, Any]], plan: Plan, complete: bool) -> Timing:
    """From the log's reports, each of which carries the seconds since the command began."""
    recipe, last = plan.recipe, reports[-1] if reports else {}
    seconds = float(last.get("seconds", math.nan))
    limit = 60 * recipe.minutes if recipe.minutes else math.nan
    wanted = [clock(limit)] if recipe.minutes else []
    wanted += [counted(recipe.epochs, "pass", "passes")] if recipe.epochs else []
    wanted += [counted(recipe.steps, "update", "updates")] if recipe.steps else []
    kept = complete and not seconds > limit
    return Timing(clock(seconds), " or ".join(wanted), kept, _ended(last, plan, complete, limit))


def _ended(last: dict[str, Any], plan: Plan, complete: bool, limit: float) -> str:
    recipe = plan.recipe
    passes, seconds = float(last.get("passes", 0)), float(last.get("seconds", 0))
    if not complete:
        return "Stopped by hand."
    if "seconds" not in last:
        return "Not known: the log is empty."
    if seconds > limit:
        return "It took longer than allowed."
    if recipe.epochs and passes >= recipe.epochs - 0.01:
        return f"As planned, after {counted(recipe.epochs, 'pass', 'passes')}."
    if recipe.steps and last.get("step", 0) >= recipe.steps:
        return f"As planned, after {counted(recipe.steps, 'update', 'updates')}."
    if recipe.patience and not seconds > 0.9 * limit:
        return f"Ended early: {recipe.patience} validations in a row brought nothing better."
    return "The time allowed was used." if recipe.minutes else "Training ended."
