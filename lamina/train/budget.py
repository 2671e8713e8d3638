"""Budget: how many weight updates fit, measured on this machine and measured again while they run."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from lamina.train._state import Progress
from lamina.train.recipe import Recipe

VALIDATION_SHARE = 0.06  # of the time
VALIDATIONS = 100  # at most, in a whole training


@dataclass
class Clock:
    """Seconds since the command began, and when everything must be done; a resumed run counts on."""

    started: float
    """time.monotonic() of the command's begin, moved back by what was used before an interruption"""
    limit: float = math.inf
    """seconds allowed in all"""
    reserve: float = 0.0
    """seconds kept for baselines and the report"""
    tests: float = 0.0
    """rows that are scored at the end per validation row: it takes so many times the seconds of a validation"""
    features: float = 0.0
    """seconds that the features of the validation rows took, where they are computed once: a validation goes without, not the end"""
    final: float = 0.0
    """seconds that the test rows take at the end beyond scoring them as the validation rows are: whole translations"""
    scoring: float = 0.0
    """seconds kept for scoring the test rows"""

    def seconds(self) -> float:
        """Seconds used."""
        return time.monotonic() - self.started

    def left(self) -> float:
        """Seconds left for training."""
        return self.limit - self.reserve - self.scoring - self.seconds()


class Budget:
    """Plans the remaining steps of a Progress: exactly for epochs and steps, by measured speed when minutes limit it."""

    def __init__(self, recipe: Recipe, rows: int) -> None:
        self.recipe, self.rows = recipe, rows
        self.step_seconds = 0.0
        self.validation_seconds = 0.0
        self._timed = 0.0, 0.0  # seconds of a validation and of an update when validation was last timed

    def most_steps(self) -> int:
        """Steps that epochs or steps allow."""
        if self.recipe.steps:
            return self.recipe.steps
        return max(1, math.ceil((self.recipe.epochs or 1e9) * self.rows / (self.recipe.batch or 1)))

    def begin(self, progress: Progress, clock: Clock, step_seconds: float, validation_seconds: float) -> None:
        """Plan a fresh training from the measured seconds of an update and of a validation."""
        self.observe(clock, step_seconds, validation_seconds)
        batch = self.recipe.batch or 1
        timed = self.recipe.minutes is not None
        fits = max(1, int(clock.left() / step_seconds / (1 + VALIDATION_SHARE))) if timed else self.most_steps()
        progress.remaining = min(self.most_steps(), fits)
        one_pass = max(1, round(self.rows / batch))
        rare = math.ceil(progress.remaining / VALIDATIONS)
        # The steps between validations depend on counts alone for a budget in epochs or steps, so that it can be repeated.
        cheap = 0 if not timed else math.ceil(self.validation_seconds / (VALIDATION_SHARE * step_seconds))
        progress.every = max(1, min(max(one_pass, rare, cheap), progress.remaining))

    def observe(self, clock: Clock, step_seconds: float | None = None, validation_seconds: float | None = None) -> None:
        """Take in a new measurement (newer ones count for half)."""
        if step_seconds is not None:
            self.step_seconds += 0.5 * (step_seconds - self.step_seconds) if self.step_seconds else step_seconds
        if validation_seconds is not None:
            self.validation_seconds = validation_seconds
            self._timed = validation_seconds, self.step_seconds
        elif self._timed[1]:  # slower updates mean slower scoring, as long as they are
            self.validation_seconds = self._timed[0] * max(1.0, self.step_seconds / self._timed[1])
        clock.scoring = clock.tests * (self.validation_seconds + clock.features) + clock.final

    def replan(self, progress: Progress, clock: Clock) -> None:
        """Fit the remaining steps to the time left; does nothing without minutes."""
        if self.recipe.minutes is None or not progress.remaining or not self.step_seconds:
            return
        left = clock.left()
        if left <= self.step_seconds:
            progress.remaining = 0
            return
        per_step = self.step_seconds + self.validation_seconds / progress.every
        fits = int((left - self.validation_seconds) / per_step)
        progress.remaining = max(0, min(fits, self.most_steps() - progress.step))

    @staticmethod
    def advance(progress: Progress) -> None:
        """One step done: move the fraction so that it reaches 1 with the last one."""
        progress.fraction += (1 - progress.fraction) / max(1, progress.remaining)
        progress.remaining -= 1
        progress.step += 1
