"""Polynomial: one of degree 9 through ten noisy points of a sine goes wild between them; stopping early holds it.

Bishop 2006, Pattern Recognition and Machine Learning, section 1.1 (sin 2 pi x, ten points, noise of standard deviation 0.3).
Command: lamina recipe polynomial. Least squares for degrees 0 to 9 in numpy as the reference, and the degree-9 polynomial as a net
of one layer (net perceptron over the powers), trained long and stopped early. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.polynomial import legendre

import lamina
from lamina.data._columns import as_number
from lamina.data._table import TEST, TRAIN, VALIDATION, Table
from lamina.recipes import _draw
from lamina.recipes._recipe import Outcome

SYSTEMS = ("S74",)
SEEDS = 10
HISTORY = {
    "": "degree 9 passes through all ten points and misses the sine between them (Bishop 2006, figure 1.4)",
    "degree 3, test error": "about 0.3, the noise (figure 1.5)",
    "degree 9, train error": "0 (figure 1.5)",
    "degree 9, test error": "about 1, off the scale of figure 1.5",
}
NOISE = 0.3
POINTS, CHECKED, TESTED = 10, 10, 100


def drawn(rows: int, seed: int, part: int) -> tuple[np.ndarray, np.ndarray]:
    """x (rows,) in [0, 1] and sin 2 pi x with noise."""
    random = np.random.default_rng([seed, part])
    x = np.linspace(0, 1, rows) if part == TRAIN else random.uniform(0, 1, rows)
    return x, np.sin(2 * np.pi * x) + NOISE * random.standard_normal(rows)


def powers(x: np.ndarray, degree: int = 9) -> np.ndarray:
    """(rows, degree): Legendre polynomials of 2 x - 1, which span the powers and do not look alike."""
    return legendre.legvander(2 * x - 1, degree)[:, 1:]


def asked(run_: Any, x: np.ndarray) -> np.ndarray:
    """What a trained net answers for x (rows,)."""
    return np.array([answer.value for answer in run_.ask(_columns(x))])


def _columns(x: np.ndarray) -> dict[str, np.ndarray]:
    return {f"p{i + 1}": column for i, column in enumerate(powers(x).T)}


def error(a: np.ndarray, b: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean((a - b) ** 2)))


def table_of(parts: list[tuple[np.ndarray, np.ndarray]]) -> Table:
    """The powers as columns, y as the target, the three parts as the split."""
    x, y = (np.concatenate([p[i] for p in parts]) for i in range(2))
    table = lamina.open({**_columns(x), "y": y}, target="y")
    split = np.repeat(np.array([TRAIN, VALIDATION, TEST], np.int8), [len(p[0]) for p in parts])
    return table.with_column(as_number(table["y"])).with_(split=split, split_rule="drawn one after the other")


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Errors (root mean square) of least squares by degree, and of the net at its best validation and at its end."""
    parts = [drawn(rows, seed, part) for part, rows in enumerate((POINTS, CHECKED, TESTED))]
    (x, y), _, (tested, wanted) = parts
    fits = [np.linalg.lstsq(legendre.legvander(2 * x - 1, d), y, rcond=None)[0] for d in range(10)]
    errors = [[error(legendre.legval(2 * u - 1, fit), v) for fit in fits] for u, v in ((x, y), (tested, wanted))]
    numbers = {f"degree {d}, {what} error": errors[i][d] for d in (1, 3, 9) for i, what in enumerate(("train", "test"))}
    how = {"net": "perceptron", "seed": seed, "batch": POINTS, "lr": 0.05, "schedule": "constant", "weight_decay": 0.0,
           "optimizer": "adamw", "average": 0.0, "clip": 1e9, "patience": 10_000, "show": False}  # fmt: skip
    long = lamina.fit(table_of(parts), run=folder / "long", steps=20 if quick else 4_000, **how)
    history = long.run.history("validation")
    numbers["net, stopped early: test error"] = error(asked(long, tested), wanted)
    numbers["net, stopped early: train error"] = error(asked(long, x), y)
    numbers["net, validation error at its best"] = min(h["rmse"] for h in history)
    numbers["net, validation error at its end"] = history[-1]["rmse"]
    return Outcome(numbers, (long,), (_picture(folder, long, fits, parts), _learning(folder, history)))


def _picture(folder: Path, long: Any, fits: list[np.ndarray], parts: list) -> Path:
    at = np.linspace(0, 1, 200)
    lines = [("the sine", np.sin(2 * np.pi * at)), ("degree 3", legendre.legval(2 * at - 1, fits[3])),
             ("degree 9", legendre.legval(2 * at - 1, fits[9])),
             ("degree 9, stopped early", asked(long, at))]  # fmt: skip
    given = [_draw.Curve(name, at.tolist(), values.tolist()) for name, values in lines]
    given.append(_draw.Curve("ten points", parts[0][0].tolist(), parts[0][1].tolist(), dots=True))
    return _draw.curves(given, folder / "sine.png", "Ten points of a sine", "x", "y", (-2.0, 2.0))


def _learning(folder: Path, history: list[dict]) -> Path:
    steps = [h["step"] for h in history]
    curve = _draw.Curve("validation rows", steps, [h["rmse"] for h in history])
    return _draw.curves(
        [curve], folder / "stopping.png", "Learning degree 9 by gradients", "updates", "error", log=True
    )
