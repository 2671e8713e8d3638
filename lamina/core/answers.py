"""Kinds of answer that a net gives: plain values, JSON-able, printable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Labels:
    """Names with probabilities in [0, 1], most probable first; of several labels, `chosen` are those over the threshold."""

    probabilities: dict[str, float]
    chosen: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "answer": list(self.chosen) if len(self.chosen) != 1 else self.chosen[0],
            "probabilities": self.probabilities,
        }

    def __str__(self) -> str:
        return "  ".join(f"{name} {100 * p:.1f} %" for name, p in list(self.probabilities.items())[:3])


@dataclass(frozen=True)
class Number:
    """A value in the units of the target column."""

    value: float

    def to_json(self) -> dict[str, Any]:
        return {"answer": self.value}

    def __str__(self) -> str:
        return f"{self.value:,.6g}"


def told(output: dict[str, np.ndarray], classes: Sequence[str], threshold: float | None = None) -> list[Any]:
    """One answer per row of what a net gave: "probabilities" (rows, classes), or "answer" (rows,) in units of the target.

    threshold: every label from this probability on is chosen, instead of the most probable one.
    """
    if "answer" in output:
        return [Number(value) for value in output["answer"].tolist()]
    return [_labels(row, classes, threshold) for row in output["probabilities"]]


def _labels(probabilities: np.ndarray, classes: Sequence[str], threshold: float | None) -> Labels:
    order = [int(i) for i in (-probabilities).argsort(kind="stable")]
    named = {classes[i]: float(probabilities[i]) for i in order}
    if threshold is None:
        return Labels(named, (classes[order[0]],))
    return Labels(named, tuple(name for name, p in named.items() if p >= threshold))
