"""Intervals of a number measured on n rows: Wilson's for a rate, the bootstrap over rows for anything else.

Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953; Efron 1979, https://doi.org/10.1214/aos/1176344552
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Z95 = 1.959964


def wilson(successes: float, n: int) -> tuple[float, float]:
    """95 % interval of a rate, inside [0, 1]; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    rate = successes / n
    centre = rate + Z95**2 / (2 * n)
    half = Z95 * np.sqrt(rate * (1 - rate) / n + Z95**2 / (4 * n**2))
    scale = 1 + Z95**2 / n
    low, high = (centre - half) / scale, (centre + half) / scale
    return (0.0 if successes <= 0 else float(low)), (1.0 if successes >= n else float(high))


def bootstrap(statistic: Callable[[np.ndarray], float], n: int, seed: int = 0, draws: int = 500) -> tuple[float, float]:
    """95 % percentile interval of statistic(rows), where rows are n positions drawn with replacement."""
    if n == 0:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    values = [statistic(random.integers(0, n, n)) for _ in range(draws)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
