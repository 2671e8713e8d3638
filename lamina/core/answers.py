"""Kinds of answer that a net gives: plain values, JSON-able, printable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
