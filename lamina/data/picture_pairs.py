"""picture_pairs: folders such as input/ and target/, or noisy/ and clean/, with pictures of the same names: a picture for a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamina.core.errors import DataError
from lamina.data import _beside
from lamina.data._dense import Floats, is_deep
from lamina.data._pictures import Pictures, inspect
from lamina.data._table import Column, Field, Reading, Table

NAMES = (
    (("input", "inputs", "source", "x"), ("target", "targets", "output", "outputs", "y")),
    (("images", "image", "rgb"), ("depth", "depths")),
    (("noisy", "low", "lr", "grey", "gray", "blurred"), ("clean", "high", "hr", "colour", "color", "sharp")),
)


def claims(source: Any) -> bool:
    """Claims a folder with two folders named so that hold pictures, itself or in train, val and test."""
    return _beside.claims(source, NAMES)


def read(source: Path, reading: Reading) -> Table:
    """Columns image and picture (the target); targets .npy, 16-bit or float pictures are values such as depth.

    A picture without a partner, or that does not decode: named, its row left out. Raises DataError when no pair is left.
    """
    found = _beside.matched(source, _beside.folders(source, NAMES), "partner")
    wrong = inspect(found.firsts)
    deep = [p.suffix == ".npy" or is_deep(p) for p in found.seconds]
    if any(deep) and not all(deep):
        name = found.seconds[deep.index(not deep[0])].relative_to(source)
        raise DataError(f"{source} mixes targets of values and of 8-bit pictures ({name}); bring one kind.")
    targets = Floats if deep[0] else Pictures
    beside = _readable(found.seconds) if deep[0] else inspect(found.seconds)
    kept, tried = found.sound(source, wrong, beside, "pair of pictures")
    return kept.table(
        source, "picture_pairs", Column(Field("picture", "picture"), targets.of_files(kept.seconds)), tried
    )


def _readable(paths: list[Path]) -> list[str]:
    """Per file of values what is wrong with it."""
    found = []
    for path in paths:
        try:
            Floats.of_files([path]).open(0)
            found.append("")
        except DataError as error:
            found.append(str(error).removeprefix(f"{path} ").rstrip("."))
    return found
