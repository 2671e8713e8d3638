"""vectors: the word vectors of a net as text in the format of word2vec, and beside it a TSV for a projector and an .npy.

A line with the number of words and of numbers, then a word and its numbers a line: https://code.google.com/archive/p/word2vec/.
NAME.vec is accompanied by NAME.tsv, NAME.words.tsv and NAME.npy. lamina.load(FILE) answers what is near to a word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.answers import Text
from lamina.core.errors import DataError, ShipError
from lamina.ship._parcel import Parcel, one_or_all
from lamina.tasks._vectors import Vectors, export, read_text, shown, write_text

SUFFIX = ".vec"


def refusal(parcel: Parcel) -> str:
    """Why a file of vectors cannot carry a net; "" when it can."""
    return "" if hasattr(parcel.task, "vectors") else f"its task is {parcel.plan.task}, which has no vectors of words"


def write(parcel: Parcel, path: Path) -> None:
    """Write the files and read the text anew. Raises ShipError."""
    vectors: Vectors = parcel.task.vectors(parcel.net)  # type: ignore[attr-defined]
    write_text(vectors, path)
    export(vectors, path.parent, path.name.removesuffix(".part").removesuffix(SUFFIX))
    if not parity(path, parcel)["bit_equal"]:
        raise ShipError(f"{path.name} holds other vectors than the net; it was not kept.")


def parity(path: Path, parcel: Parcel) -> dict[str, Any]:
    """The file read anew beside the net's vectors: rows, same_answers, largest_difference, bit_equal."""
    wanted: Vectors = parcel.task.vectors(parcel.net)  # type: ignore[attr-defined]
    found = read_text(path)
    equal = found.words == wanted.words and bool(np.array_equal(found.values, wanted.values))
    apart = (
        float(np.abs(found.values - wanted.values).max(initial=0))
        if found.values.shape == wanted.values.shape
        else np.inf
    )
    same = sum(a == b for a, b in zip(found.words, wanted.words, strict=False))
    return {"rows": len(wanted.words), "same_answers": same, "largest_difference": apart, "bit_equal": equal}


class Loaded:
    """Vectors out of a file, of Lamina or of another program."""

    classes, columns = (), ((), None)

    def __init__(self, path: Path) -> None:
        self.path, self.vectors = path, read_text(path)

    def ask(self, *words: str) -> Any:
        """The nearest words of words, or of sums such as "king - man + woman". Raises DataError and NameUnknown."""
        return one_or_all(self.answers(*words)[0])

    def answers(self, *words: str) -> tuple[list[tuple[str, Any]], list[tuple[str, str]]]:
        """(word, nearest ones) in the order asked, and nothing that could not be read."""
        if not all(isinstance(word, str) for word in words):
            raise DataError("vectors tell what is near to a word; give words.")
        return [(word, Text(shown(self.vectors.nearest(word)))) for word in words], []


def load(path: Path) -> Loaded:
    """A file of word vectors. Raises DataError with the line that is wrong."""
    return Loaded(Path(path))
