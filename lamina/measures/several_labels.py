"""Measures of answers that are any number of labels per row."""

from __future__ import annotations

import numpy as np

from lamina.measures.interval import bootstrap

LOWER_IS_BETTER = {"log_loss"}
THRESHOLD = 0.5


def finish(rows: dict[str, np.ndarray]) -> dict[str, float]:
    """Numbers of several labels per row.

    rows: "probabilities" (n, classes) in [0, 1], "target" (n, classes) of 0 and 1, "loss" (n,) in nats.
    Returns micro_f1, macro_f1 (over labels that occur or are answered), exact (share of rows with all labels right), log_loss.
    """
    answer, target = rows["probabilities"] >= THRESHOLD, rows["target"] > 0
    both, either = (answer & target).sum(0), answer.sum(0) + target.sum(0)
    here = either > 0
    return {
        "micro_f1": float(2 * both.sum() / max(1, either.sum())),
        "macro_f1": float((2 * both[here] / either[here]).mean()) if here.any() else 0.0,
        "exact": float((answer == target).all(1).mean()),
        "log_loss": float(rows["loss"].mean()),
    }


def interval(rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval over rows of one of finish's numbers."""
    return bootstrap(lambda at: finish({k: v[at] for k, v in rows.items()})[name], len(rows["loss"]), seed, draws=200)
