"""Intervals of a number: Wilson's for a rate, the bootstrap over rows for anything else, Student's for a mean over seeds.

Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953; Efron 1979, https://doi.org/10.1214/aos/1176344552
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Z95 = 1.959964
# Student's t at 97.5 % for 1, 2 ... 30 degrees of freedom (1908, https://doi.org/10.1093/biomet/6.1.1).
T95 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604, 2.1448, 2.1314,
       2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423)  # fmt: skip


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


def of_mean(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its 95 % interval by Student's t; of one value the interval is not a number."""
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return mean, float("nan"), float("nan")
    half = (T95[n - 2] if n <= len(T95) + 1 else Z95) * float(np.std(values, ddof=1)) / np.sqrt(n)
    return mean, mean - half, mean + half
