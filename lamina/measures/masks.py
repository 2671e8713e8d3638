"""Measures of masks, from the confusion matrix of the pixels of each picture.

Intersection over union of a class: pixels that are of it and answered so, over those that are or are answered so (Everingham
2015, section 4.2.1, https://doi.org/10.1007/s11263-014-0733-5). Sums run over all pictures, then the mean over classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SAMPLES = 1_000  # of pictures, drawn with replacement


def confusion(target: np.ndarray, answer: np.ndarray, classes: int) -> np.ndarray:
    """int64 (classes, classes): pixels of each target class (rows) answered as each class (columns); other targets do not count."""
    known = target < classes
    pairs = target[known].astype(np.int64) * classes + answer[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def overlaps(matrix: np.ndarray) -> np.ndarray:
    """(..., classes, classes) -> (..., classes): intersection over union, NaN of a class that is neither there nor answered."""
    both = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    either = matrix.sum(-1) + matrix.sum(-2) - both
    with np.errstate(invalid="ignore", divide="ignore"):
        return both / either


def mean_overlap(matrix: np.ndarray) -> np.ndarray:
    """(..., classes, classes) -> (...): mean over the classes that are there or answered."""
    found = overlaps(matrix)
    there = ~np.isnan(found)
    return np.where(there, found, 0).sum(-1) / np.maximum(1, there.sum(-1))


def right(matrix: np.ndarray) -> np.ndarray:
    """(..., classes, classes) -> (...): share of the pixels that are answered right."""
    return np.trace(matrix, axis1=-2, axis2=-1) / np.maximum(1, matrix.sum((-2, -1)))


def finish(rows: dict[str, np.ndarray], classes: Sequence[str]) -> dict[str, float]:
    """mean_iou, pixel_accuracy, and "iou of CLASS" of each class, from "confusion" (rows, classes, classes)."""
    whole = rows["confusion"].sum(0)
    found = {"mean_iou": float(mean_overlap(whole)), "pixel_accuracy": float(right(whole))}
    return found | {f"iou of {name}": float(v) for name, v in zip(classes, overlaps(whole), strict=True)}


def interval(rows: dict[str, np.ndarray], name: str, classes: Sequence[str], seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval over pictures."""
    matrix = rows["confusion"].astype(np.float64)
    count, size = len(matrix), matrix.shape[1]
    random = np.random.default_rng([seed, 11])
    weights = random.multinomial(count, np.full(count, 1 / count), SAMPLES).astype(np.float64)
    sums = (weights @ matrix.reshape(count, -1)).reshape(SAMPLES, size, size)
    if name.startswith("iou of "):
        values = overlaps(sums)[:, list(classes).index(name.removeprefix("iou of "))]
    else:
        values = mean_overlap(sums) if name == "mean_iou" else right(sums)
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)
