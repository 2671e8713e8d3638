"""What a net answered for every test row, kept with the run: comparisons of runs, slices and selective answers need no second pass."""

from __future__ import annotations

import numpy as np
import safetensors.numpy

from lamina.core.run import Run

FILE = "rows.safetensors"
MOST = 20_000_000  # numbers of all statistics together, over which only the losses are kept


def kept(rows: dict[str, np.ndarray], places: np.ndarray) -> bytes:
    """The file of the statistics of the test rows, whose positions in the table are `places`."""
    plain = {k: v for k, v in rows.items() if v.dtype.kind in "biuf" and len(v) == len(places)}
    if sum(v.size for v in plain.values()) > MOST:
        plain = {"loss": plain["loss"]} if "loss" in plain else {}
    made = {k: np.ascontiguousarray(v) for k, v in plain.items()}
    return safetensors.numpy.save({**made, "place": places.astype(np.int64)})


def read(run: Run) -> dict[str, np.ndarray]:
    """Statistics by name, and "place"; {} for a run of an older Lamina."""
    return dict(safetensors.numpy.load(run.read(FILE))) if run.has(FILE) else {}


def right(rows: dict[str, np.ndarray]) -> np.ndarray | None:
    """bool (rows,): which were answered rightly, where a row has one label; else None."""
    if "probabilities" not in rows or rows["target"].ndim != 1 or rows["probabilities"].ndim != 2:
        return None
    return rows["probabilities"].argmax(1) == rows["target"]
