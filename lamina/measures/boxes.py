"""Measures of answers that are boxes: mean average precision as COCO defines it. Lin 2014, https://arxiv.org/abs/1405.0312

Precision is averaged over 101 recalls, ten thresholds of overlap (0.50 to 0.95) and the classes that occur; at most 100 answers a
picture count. Small, medium and large are below 32 x 32, up to 96 x 96 and over 96 x 96 pixels of the picture as it was brought;
an object's area is that of its box. Equal to faster-coco-eval on the same boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lamina.measures.interval import bootstrap

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MOST = 100  # answers of a picture that count
SIZES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
Rows = dict[str, np.ndarray]


@dataclass(frozen=True)
class Matched:
    """Which answers found an object, for every size and threshold; one entry per answer, the surest of each class first."""

    kind: np.ndarray
    """(answers,) class"""
    row: np.ndarray
    """(answers,) picture"""
    hit: np.ndarray
    """bool (sizes, thresholds, answers)"""
    ignored: np.ndarray
    """bool (sizes, thresholds, answers): counts neither as right nor as wrong"""
    objects: np.ndarray
    """int (sizes, rows, classes): objects that can be found"""
    score: np.ndarray
    """(answers,)"""


def finish(rows: Rows, classes: Sequence[str] = ()) -> dict[str, float]:
    """Numbers of boxes per row.

    rows: "boxes" (n, most, 6) x0 y0 x1 y1 as shares in [0, 1], score, class, a score of 0 is no box; "target" (n, most, 5) x0 y0
    x1 y1 class, class -1 is no box; "size" (n, 2) height and width in pixels (where it is missing, 1 x 1); "loss" (n,).
    Returns map (0.50 to 0.95), map_50, map_75, map_small, map_medium, map_large, recall_100, and "map of CLASS" of each class that is
    named; NaN where there is no such object.
    """
    return _numbers(matched(rows, len(classes) or None), np.ones(len(rows["target"])), classes)


def interval(rows: Rows, name: str, seed: int = 0, classes: Sequence[str] = ()) -> tuple[float, float]:
    """95 % interval of one of finish's numbers: bootstrap over pictures."""
    found, n = matched(rows, len(classes) or None), len(rows["target"])
    if not name.startswith(("map_small", "map_medium", "map_large")):  # only these need every size of objects
        found = replace(found, hit=found.hit[:1], ignored=found.ignored[:1], objects=found.objects[:1])
    return bootstrap(lambda at: _numbers(found, np.bincount(at, minlength=n), classes)[name], n, seed, draws=200)


def threshold(rows: Rows) -> float | None:
    """The score from which on answers are best said: where the mean of precision and recall (F1) at an overlap of 0.5 is highest.

    None where no answer is right.
    """
    found = matched(rows)
    order = np.argsort(-found.score, kind="stable")
    right = found.hit[0, 0, order].cumsum()
    if not len(right) or not right[-1]:
        return None
    f1 = 2 * right / (np.arange(len(right)) + 1 + found.objects[0].sum())
    return float(found.score[order][f1.argmax()])


def matched(rows: Rows, classes: int | None = None) -> Matched:
    """Match answers with objects of the same class, the surest answer first, each with the object it overlaps most."""
    target, boxes = rows["target"].astype(np.float64), rows["boxes"].astype(np.float64)
    size = rows.get("size", np.ones((len(target), 2))).astype(np.float64)
    scale = np.concatenate([size[:, ::-1]] * 2, 1)  # width height width height
    row, place = np.nonzero(target[..., 4] >= 0)
    truth, kind = target[row, place, :4] * scale[row], target[row, place, 4].astype(int)
    count = classes or int(max(kind.max(initial=0), boxes[..., 5].max(initial=0))) + 1
    order = np.lexsort((kind, row))
    truth, truth_key = truth[order], (row * count + kind)[order]

    row, place = np.nonzero(boxes[..., 4] > 0)
    answer, score, kind = boxes[row, place, :4] * scale[row], boxes[row, place, 4], boxes[row, place, 5].astype(int)
    order = np.lexsort((place, -score, kind, row))
    row, answer, score, kind = row[order], answer[order], score[order], kind[order]
    key = row * count + kind
    rank = np.arange(len(key)) - np.searchsorted(key, key)
    kept = rank < MOST
    row, answer, score, kind, key = row[kept], answer[kept], score[kept], kind[kept], key[kept]

    low, high = np.array(list(SIZES.values())).T[:, :, None]
    outside = [(area < low) | (area > high) for area in (_area(truth), _area(answer))]
    hit = np.zeros((len(SIZES), len(OVERLAPS), len(key)), bool)
    ignored = np.zeros_like(hit)
    _match(answer, key, truth, truth_key, outside[0], hit, ignored)
    found = hit | ignored
    ignored |= ~found & outside[1][:, None]
    objects = np.zeros((len(SIZES), len(target), count), int)
    for i in range(len(SIZES)):
        inside = truth_key[~outside[0][i]]
        np.add.at(objects[i].reshape(-1), inside, 1)
    order = np.lexsort((np.arange(len(key)), -score, kind))
    return Matched(kind[order], row[order], hit[..., order], ignored[..., order], objects, score[order])


def _area(box: np.ndarray) -> np.ndarray:
    return (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])


def _match(
    answer: np.ndarray,
    key: np.ndarray,
    truth: np.ndarray,
    truth_key: np.ndarray,
    outside: np.ndarray,
    hit: np.ndarray,
    ignored: np.ndarray,
) -> None:
    """Fill hit and ignored. Answers and objects are in the order of their key (picture and class), answers the surest first."""
    first, last = np.searchsorted(truth_key, key), np.searchsorted(truth_key, key, "right")
    mine = np.repeat(np.arange(len(key)), last - first)
    start = np.repeat(np.cumsum(last - first) - (last - first), last - first)
    other = np.repeat(first, last - first) + np.arange(len(mine)) - start
    overlap = _overlap(answer[mine], truth[other])
    near = overlap >= OVERLAPS[0] - 1e-9
    mine, other, overlap = mine[near], other[near], overlap[near]
    thresholds = np.minimum(OVERLAPS, 1 - 1e-10)
    cuts = np.flatnonzero(np.diff(key[mine])) + 1
    for pairs in np.split(np.arange(len(mine)), cuts) if len(mine) else []:
        candidates: dict[int, list[tuple[int, float]]] = {}
        for d, g, value in zip(mine[pairs].tolist(), other[pairs].tolist(), overlap[pairs].tolist(), strict=True):
            candidates.setdefault(d, []).append((g, value))
        sizes = outside[:, np.unique(other[pairs])]
        if (sizes == sizes[:, :1]).all():  # objects of one size: one matching serves all sizes
            for t, threshold in enumerate(thresholds):
                for d, g in _pairs(candidates, threshold, None):
                    hit[:, t, d], ignored[:, t, d] = ~outside[:, g], outside[:, g]
            continue
        for i in range(len(outside)):
            for t, threshold in enumerate(thresholds):
                for d, g in _pairs(candidates, threshold, outside[i]):
                    hit[i, t, d], ignored[i, t, d] = not outside[i, g], outside[i, g]


def _pairs(
    candidates: dict[int, list[tuple[int, float]]], threshold: float, outside: np.ndarray | None
) -> list[tuple[int, int]]:
    """(answer, object) of one picture and class: objects that count are preferred to those that do not."""
    taken: set[int] = set()
    found = []
    for d, near in candidates.items():
        best, most = -1, threshold
        for counts in (True, False) if outside is not None else (True,):
            for g, value in near:
                if g not in taken and value >= most and (outside is None or outside[g] != counts):
                    best, most = g, value
            if best >= 0:
                break
        if best >= 0:
            taken.add(best)
            found.append((d, best))
    return found


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of pairs of boxes (n, 4)."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    common = sides.clip(0).prod(1)
    return common / np.maximum(_area(a) + _area(b) - common, 1e-12)


def _table(found: Matched, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision at RECALLS (sizes, thresholds, classes, recalls) and the recall reached (sizes, thresholds, classes).

    weights: how often each picture counts. NaN for a class without objects.
    """
    sizes, classes = found.objects.shape[0], found.objects.shape[2]
    precision = np.full((sizes, len(OVERLAPS), classes, len(RECALLS)), np.nan)
    recall = np.full((sizes, len(OVERLAPS), classes), np.nan)
    there = np.einsum("arc,r->ac", found.objects, weights)
    weight = weights[found.row].astype(np.float64)
    bounds = np.searchsorted(found.kind, np.arange(classes + 1))
    for c in range(classes):
        part = slice(bounds[c], bounds[c + 1])
        right = (found.hit[..., part] * weight[part]).cumsum(-1)
        wrong = (~(found.hit[..., part] | found.ignored[..., part]) * weight[part]).cumsum(-1)
        for i in np.flatnonzero(there[:, c]):
            precision[i, :, c], recall[i, :, c] = 0, 0
            if right.shape[-1]:
                reached = right[i] / there[i, c]
                share = right[i] / (right[i] + wrong[i] + np.spacing(1))
                share = np.maximum.accumulate(share[:, ::-1], 1)[:, ::-1]
                recall[i, :, c] = reached[:, -1]
                for t in range(len(OVERLAPS)):
                    at = np.searchsorted(reached[t], RECALLS, "left")
                    inside = at < len(share[t])
                    precision[i, t, c, inside] = share[t][at[inside]]
    return precision, recall


def _numbers(found: Matched, weights: np.ndarray, classes: Sequence[str] = ()) -> dict[str, float]:
    precision, recall = _table(found, weights)
    mean = {name: _mean(of_size) for name, of_size in zip(SIZES, precision, strict=False)}
    return {
        "map": mean["all"],
        "map_50": _mean(precision[0, 0]),
        "map_75": _mean(precision[0, 5]),
        **{f"map_{name}": value for name, value in mean.items() if name != "all"},
        "recall_100": _mean(recall[0]),
        **{f"map of {name}": float(precision[0, :, i].mean()) for i, name in enumerate(classes)},
    }


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
