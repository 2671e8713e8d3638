"""Measures of answers that are one label, or several, per row."""

from __future__ import annotations

import numpy as np

from lamina.measures.interval import bootstrap, wilson

LOWER_IS_BETTER = {"log_loss"}
ERROR_BINS = 15


def finish(rows: dict[str, np.ndarray]) -> dict[str, float]:
    """Numbers of one label per row.

    rows: "probabilities" (n, classes) in [0, 1], "target" (n,) int codes, "loss" (n,) in nats.
    Returns accuracy, balanced_accuracy (mean recall over the classes that occur), macro_f1, log_loss,
    calibration_error (15 bins of equal width, Guo 2017), and auc when there are two classes.
    """
    probabilities, target = rows["probabilities"], rows["target"]
    answer = probabilities.argmax(1)
    matrix = confusion(rows)
    hits, occur, named = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    here = occur > 0
    numbers = {
        "accuracy": float((answer == target).mean()),
        "balanced_accuracy": float((hits[here] / occur[here]).mean()),
        "macro_f1": float((2 * hits[here] / (occur[here] + named[here])).mean()),
        "log_loss": float(rows["loss"].mean()),
        "calibration_error": calibration(rows)["error"],
    }
    if probabilities.shape[1] == 2:
        numbers["auc"] = auc(probabilities[:, 1], target)
    return numbers


def interval(rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
    """95 % interval of one of finish's numbers: Wilson for accuracy, bootstrap over rows for the others."""
    n = len(rows["target"])
    if name == "accuracy":
        return wilson(float((rows["probabilities"].argmax(1) == rows["target"]).sum()), n)
    return bootstrap(lambda at: finish({k: v[at] for k, v in rows.items()}).get(name, np.nan), n, seed, draws=200)


def confusion(rows: dict[str, np.ndarray]) -> np.ndarray:
    """int64 (classes, classes): how often the row's class (axis 0) was answered as another (axis 1)."""
    classes = rows["probabilities"].shape[1]
    flat = rows["target"] * classes + rows["probabilities"].argmax(1)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def calibration(rows: dict[str, np.ndarray]) -> dict:
    """Confidence against accuracy in ERROR_BINS bins of equal width (Guo 2017, arXiv:1706.04599, eq. 3).

    Returns "error" and, for the bins that hold rows, "confidence", "accuracy" and "share".
    """
    confidence = rows["probabilities"].max(1)
    right = rows["probabilities"].argmax(1) == rows["target"]
    bins = np.minimum((confidence * ERROR_BINS).astype(int), ERROR_BINS - 1)
    count = np.bincount(bins, minlength=ERROR_BINS)
    full = count > 0
    mean_confidence = np.bincount(bins, confidence, ERROR_BINS)[full] / count[full]
    accuracy = np.bincount(bins, right, ERROR_BINS)[full] / count[full]
    share = count[full] / len(bins)
    error = float((share * np.abs(mean_confidence - accuracy)).sum())
    return {
        "error": error,
        "confidence": mean_confidence.tolist(),
        "accuracy": accuracy.tolist(),
        "share": share.tolist(),
    }


def auc(score: np.ndarray, target: np.ndarray) -> float:
    """Area under the ROC curve: chance that a row of class 1 scores above one of class 0, ties counting half."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    positive = int((target == 1).sum())
    negative = len(target) - positive
    if not positive or not negative:
        return float("nan")
    return float((rank[target == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))
