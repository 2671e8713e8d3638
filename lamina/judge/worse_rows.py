"""worse_rows: texts and columns made worse as hands and instruments make them, in the three strengths of corruptions.

Typing errors as in Belinkov 2017, https://arxiv.org/abs/1711.02173: in a share of the words one letter is left out, doubled, swapped
with the next, or becomes its neighbour on the keyboard. Words left out, as a hurried writer does. Numbers moved by normal noise, a
share of their own standard deviation. Cells of columns missing. A table's other columns stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from lamina.data._table import Column, Field, Table

KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
TEXTS, NUMBERS, CELLS = ("text",), ("number",), ("number", "date", "label")


def mistyped(text: str, share: float, random: np.random.Generator) -> str:
    """One typing error in a share of the words of two letters and more; the rest, white space included, stays."""
    return re.sub(r"[^\W\d_]{2,}", lambda word: _slip(word[0], random) if random.random() < share else word[0], text)


def _slip(word: str, random: np.random.Generator) -> str:
    at, kind = int(random.integers(len(word) - 1)), int(random.integers(4))
    before, here, after = word[:at], word[at], word[at + 1 :]
    if kind == 0:
        return before + after
    if kind == 1:
        return before + here + here + after
    if kind == 2:
        return before + after[0] + here + after[1:]
    row = next((r for r in KEYS if here.lower() in r), "")
    if not row:
        return before + after  # a letter of another alphabet
    beside = row[max(0, row.index(here.lower()) - 1) : row.index(here.lower()) + 2].replace(here.lower(), "")
    other = beside[int(random.integers(len(beside)))]
    return before + (other.upper() if here.isupper() else other) + after


def shortened(text: str, share: float, random: np.random.Generator) -> str:
    """A share of the words left out, never all of them."""
    words = re.findall(r"\S+\s*", text)
    kept = [w for w in words if random.random() >= share]
    return "".join(kept or words[:1])


def _typing(column: Column, share: float, random: np.random.Generator) -> np.ndarray:
    return np.array([mistyped(str(text), share, random) for text in column.values], object)


def _hurry(column: Column, share: float, random: np.random.Generator) -> np.ndarray:
    return np.array([shortened(str(text), share, random) for text in column.values], object)


def _noise(column: Column, share: float, random: np.random.Generator) -> np.ndarray:
    """Of values without spread or known rows none."""
    values = np.asarray(column.values, np.float64)
    known = values[~np.isnan(values)]
    return values + share * (known.std() if len(known) else 0.0) * random.standard_normal(len(values))


def _gone(column: Column, share: float, random: np.random.Generator) -> np.ndarray:
    values, gone = np.array(column.values), random.random(len(column.values)) < share
    values[gone] = -1 if column.field.kind == "label" else np.nan
    return values


CHANGES: dict[str, tuple[tuple[str, ...], Callable[..., np.ndarray], tuple[float, float, float]]] = {
    "typing errors": (TEXTS, _typing, (0.05, 0.15, 0.3)),
    "words left out": (TEXTS, _hurry, (0.1, 0.25, 0.5)),
    "noise of numbers": (NUMBERS, _noise, (0.1, 0.3, 1.0)),
    "cells missing": (CELLS, _gone, (0.1, 0.3, 0.6)),
}
"""name -> kinds of the columns, what does it, and its strengths: mild, clear, strong"""


def changes(inputs: Sequence[Field]) -> list[str]:
    """Names of the changes that columns of these kinds can have."""
    kinds = {f.kind for f in inputs}
    return [name for name, (of, *_) in CHANGES.items() if kinds & set(of)]


def worse(table: Table, inputs: Sequence[Field], name: str, strength: int, seed: int) -> Table:
    """The rows with the inputs changed so; strength 0, 1 or 2. The same seed draws the same changes; the table stays as it is."""
    of, change, shares = CHANGES[name]
    random, table = np.random.default_rng([seed, list(CHANGES).index(name), strength]), table.conform(inputs)
    for field in inputs:
        if field.kind in of:
            column = table[field.name]
            table = table.with_column(Column(column.field, change(column, shares[strength], random)))
    return table
