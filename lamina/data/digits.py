"""digits: 5,000 real handwritten digits that come with Lamina (MNIST, LeCun 1998, https://doi.org/10.1109/5.726791)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lamina.data._pictures import Pictures
from lamina.data._table import Column, Field, Reading, Table

ASSET = Path(__file__).parent / "assets" / "digits.npz"


def claims(source: Any) -> bool:
    """Claims the name "digits", unless a file or folder has that name."""
    return isinstance(source, Path) and str(source) == "digits" and not source.exists()


def read(source: Any, reading: Reading) -> Table:
    """28x28 grey pictures, classes 0 to 9, fixed split of 3,500 train, 500 validation and 1,000 test rows."""
    with np.load(ASSET, allow_pickle=False) as asset:
        image, label, split = asset["image"], asset["label"].astype(np.int64), asset["split"].astype(np.int8)
        licence, origin = str(asset["licence"]), str(asset["source"])
    columns = {
        "image": Column(Field("image", "image"), Pictures.of_array(image)),
        "class": Column(Field("class", "label", tuple("0123456789")), label),
    }
    names = np.array([f"digit {i}" for i in range(len(label))], object)
    rule = "the fixed split that comes with the digits"
    return Table(columns, "digits", "digits", names, "class", split, rule, licence, (origin + ".",), tried=len(label))
