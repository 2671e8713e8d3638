"""Temperature: one number that makes probabilities neither too sure nor too modest (Guo 2017, arXiv:1706.04599, section 4.2).

It is applied to the probabilities that are answered, after members and mirrorings are averaged: p ** (1 / T), so that they sum
to 1 again. The order of the classes, and with it accuracy, stays.
"""

from __future__ import annotations

import math

import numpy as np

FEW = 100  # validation rows below which none is fitted
LEAST, MOST = 0.05, 20.0
STEPS = 40  # of the golden section: the interval of ln T is 1e-8 of what it was
SURE = 2.0  # standard errors by which the loss must fall


def fit(rows: dict[str, np.ndarray]) -> float:
    """The temperature in [LEAST, MOST] with the least log loss over the rows; 1.0 where another is not surely better.

    rows: "probabilities" (n, classes) in [0, 1]; "target" (n,) codes of the one label, or (n, classes) 0 and 1 of several.
    """
    probabilities, target = rows["probabilities"].astype(np.float64), rows["target"]
    if len(target) < FEW:
        return 1.0
    low, high, golden = math.log(LEAST), math.log(MOST), (math.sqrt(5) - 1) / 2
    inner = [high - golden * (high - low), low + golden * (high - low)]
    found = [losses(probabilities, target, math.exp(x)).mean() for x in inner]
    for _ in range(STEPS):
        if found[0] < found[1]:
            high, inner[1], found[1] = inner[1], inner[0], found[0]
            inner[0] = high - golden * (high - low)
            found[0] = losses(probabilities, target, math.exp(inner[0])).mean()
        else:
            low, inner[0], found[0] = inner[0], inner[1], found[1]
            inner[1] = low + golden * (high - low)
            found[1] = losses(probabilities, target, math.exp(inner[1])).mean()
    best = math.exp((low + high) / 2)
    gain = losses(probabilities, target, 1.0) - losses(probabilities, target, best)
    return round(best, 6) if gain.mean() > SURE * gain.std() / math.sqrt(len(gain)) else 1.0


def losses(probabilities: np.ndarray, target: np.ndarray, temperature: float) -> np.ndarray:
    """(n,) log loss of each row, in nats, of probabilities that were made sharper (T < 1) or softer (T > 1)."""
    logs = np.log(probabilities.clip(1e-12)) / temperature
    if target.ndim == 1:
        logs -= logs.max(1, keepdims=True)
        return np.log(np.exp(logs).sum(1)) - logs[np.arange(len(target)), target]
    others = np.log((1 - probabilities).clip(1e-12)) / temperature
    return (np.logaddexp(logs, others) - np.where(target > 0, logs, others)).mean(1)
