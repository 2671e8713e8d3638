"""What a reader of the loop learns at each of its turns."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Report:
    """The numbers are those of the moment it was made."""

    step: int
    """weight updates done"""
    passes: float
    """passes over the training rows"""
    passes_left: float
    """passes that are planned"""
    fraction: float
    """share of the budget used, in [0, 1]"""
    loss: float
    """mean training loss since the last report"""
    name: str
    """the number that chooses: accuracy, rmse ..."""
    score: float | None
    """that number on the validation rows, when this report validated"""
    best: float | None
    """the best one so far"""
    rows_per_second: float
    waiting: float
    """share of the time spent on gathering and changing the data"""
    seconds: float
    """since the command began"""
    seconds_left: float
    """until training ends, as planned"""
    saved: bool
    """whether a kill now would lose nothing of this report"""
    sentences: list[str] = field(default_factory=list)
    """what health and the machine have to say"""
