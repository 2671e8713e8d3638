"""Shipped: what every opened file of Lamina tells and is asked, whatever answers in it. No torch is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.core.errors import SettingError
from lamina.data._table import Field
from lamina.ship import _parcel

if TYPE_CHECKING:
    from lamina.judge.score import Score


class Shipped:
    """A file that answers; its forms give `answers`."""

    def __init__(self, path: Path, content: dict[str, Any], inputs: tuple[Field, ...], target: Field) -> None:
        self.path, self.content = path, content
        """where it lies; everything that the file says of itself, plain values"""
        self.inputs, self.target = inputs, target
        """the columns that it reads, and the one that it answers"""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels, in the order of their codes; () when a number is answered."""
        return self.target.classes

    @property
    def columns(self) -> tuple[tuple[Field, ...], Field]:
        """The columns that it reads, and the one that it answers."""
        return self.inputs, self.target

    def ask(self, *sources: Any) -> Any:
        """Answers (core.answers) for a file, folder, table, row (a dict) or array; a list unless one row was asked.

        Raises DataError when nothing can be read.
        """
        return _parcel.one_or_all(self.answers(*sources)[0])

    def answers(self, *sources: Any) -> tuple[list[tuple[str, Any]], list[tuple[str, str]]]:
        """(name of the row, answer) in the order asked, and (where, why) of what could not be read. Raises DataError."""
        raise NotImplementedError

    def score(self, on: Any = None) -> Score:
        """The score on the test rows, as measured after training. Raises SettingError for other data."""
        from lamina.judge.score import Score

        if on is not None:
            raise SettingError(f"{self.path.name} tells the score of its training; score other data with its run.")
        return Score(**self.content["score"])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {self.content['task']}, {self.content['net']})"
