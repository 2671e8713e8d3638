"""Measures of answers that are a number per row."""

from __future__ import annotations

import numpy as np

from lamina.measures.interval import bootstrap

LOWER_IS_BETTER = {"rmse", "mae", "median_error"}


def finish(rows: dict[str, np.ndarray]) -> dict[str, float]:
    """Numbers of "answer" (n,) against "target" (n,), both in the units of the target column.

    Returns rmse, mae, median_error in those units, and r2 (1 - squared error / variance; NaN when the target is constant).
    """
    error = rows["answer"].astype(np.float64) - rows["target"]
    variance = float(np.var(rows["target"]))
    square = float((error**2).mean())
    return {
        "rmse": square**0.5,
        "mae": float(np.abs(error).mean()),
        "median_error": float(np.median(np.abs(error))),
        "r2": 1 - square / variance if variance > 0 else float("nan"),
    }


def interval(rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval over rows of one of finish's numbers."""
    return bootstrap(lambda at: finish({k: v[at] for k, v in rows.items()})[name], len(rows["target"]), seed)
