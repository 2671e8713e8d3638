"""Measures of pairs that are the same or not, told apart by a distance: equal error rate, ROC, accuracy at a threshold.

The protocol is that of Huang 2007 (http://vis-www.cs.umass.edu/lfw/): the threshold is chosen on other pairs. Pairs share what they
compare, so the interval draws identities, not pairs (the pigeonhole bootstrap, Owen 2007, https://doi.org/10.1214/07-AOAS122).
"""

from __future__ import annotations

import numpy as np

from lamina.measures.interval import bootstrap

LOWER_IS_BETTER = {"eer", "false_accepts", "false_rejects"}
MEANING = {
    "eer": "equal error rate: at the distance where as many different pairs are accepted as same ones rejected; lower is better",
    "auc": "chance that a same pair is nearer than a different one",
    "pair_accuracy": "mean of the shares of same and of different pairs that are told rightly, at the threshold",
    "false_accepts": "share of different pairs that are called the same, at the threshold; lower is better",
    "false_rejects": "share of same pairs that are called different, at the threshold; lower is better",
    "found_at_1_percent": "share of same pairs accepted at the distance where 1 % of the different ones are",
}
DRAWS = 200
FEW = 10  # identities


def roc(rows: dict[str, np.ndarray], weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances, rising, and the shares of different and of same pairs that are at most so far apart; the first is -inf.

    rows: "distance" (n,), "target" (n,) 1 for same; weights (n,) count a pair more than once. Equal distances are one step.
    """
    distance, same = rows["distance"], rows["target"] == 1
    weights = np.ones(len(distance)) if weights is None else weights
    order = np.argsort(distance, kind="stable")
    last = np.append(np.flatnonzero(np.diff(distance[order])), len(order) - 1)
    steps = []
    for wanted in (~same, same):
        share = np.cumsum(np.where(wanted, weights, 0.0)[order])
        steps.append(np.append(0.0, share[last] / (share[-1] or np.nan)))
    return np.append(-np.inf, distance[order][last]), steps[0], steps[1]


def equal_error(accepts: np.ndarray, found: np.ndarray) -> float:
    """Where the share of different pairs accepted equals that of same pairs rejected, between the steps of a ROC."""
    gap = accepts + found - 1  # rises from -1 to 1
    if np.isnan(gap).any():
        return float("nan")
    at = int(np.argmax(gap >= 0))
    before = at - 1
    part = -gap[before] / (gap[at] - gap[before])
    return float(accepts[before] + part * (accepts[at] - accepts[before]))


def threshold(rows: dict[str, np.ndarray]) -> float:
    """The distance up to which pairs are called the same so that pair_accuracy is highest; between two distances."""
    distance, accepts, found = roc(rows)
    at = int(np.argmax(found - accepts)) if np.isfinite(found - accepts).all() else 0
    if at == 0:
        return float(distance[1]) - 1e-6
    return float((distance[at] + distance[min(at + 1, len(distance) - 1)]) / 2)


def finish(rows: dict[str, np.ndarray], weights: np.ndarray | None = None) -> dict[str, float]:
    """Numbers of pairs: see MEANING. rows: "distance", "target" (1 same, 0 different), "threshold" (n,), the same in all rows."""
    distance, accepts, found = roc(rows, weights)
    at = int(np.searchsorted(distance, rows["threshold"][0], "right")) - 1
    few = int(np.searchsorted(accepts, 0.01, "right")) - 1
    return {
        "eer": equal_error(accepts, found),
        "auc": float(np.trapezoid(found, accepts)),
        "pair_accuracy": float((found[at] + 1 - accepts[at]) / 2),
        "false_accepts": float(accepts[at]),
        "false_rejects": float(1 - found[at]),
        "found_at_1_percent": float(found[few]),
    }


def interval(rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of one of finish's numbers; "who" (n, 2): whom the two pictures of a pair show.

    Identities are drawn with replacement; a pair counts as often as both of its identities were drawn. Of fewer than FEW identities
    pairs are drawn instead: that interval speaks for these identities alone.
    """
    _, who = np.unique(rows["who"], return_inverse=True)
    who = who.reshape(-1, 2)
    people = int(who.max(initial=-1)) + 1
    if not people:
        return float("nan"), float("nan")
    if people < FEW:
        return bootstrap(lambda at: finish({k: v[at] for k, v in rows.items()})[name], len(who), seed, DRAWS)
    random, values = np.random.default_rng(seed), []
    for _ in range(DRAWS):
        times = np.bincount(random.integers(0, people, people), minlength=people).astype(float)
        weights = np.where(who[:, 0] == who[:, 1], times[who[:, 0]], times[who[:, 0]] * times[who[:, 1]])
        values.append(finish(rows, weights)[name])
    values = [v for v in values if np.isfinite(v)]
    if not values:
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
