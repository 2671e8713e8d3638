"""Perceptron: one layer of weights learns AND and fails on XOR, and the picture shows why.

Rosenblatt 1958, https://doi.org/10.1037/h0042519; Minsky and Papert, Perceptrons, 1969: no line parts the corners of XOR.
Command: lamina recipe perceptron. Four corners with noise, 400 rows each. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import lamina
from lamina.recipes import _draw
from lamina.recipes._recipe import Outcome, percent

SYSTEMS = ("S01",)
SEEDS = 5
HISTORY = {
    "": "a weighted sum and a step function; learns AND, cannot learn XOR (1969)",
    "AND, accuracy %": "learned: 100 of the four corners",
    "XOR, accuracy %": "not learned: a line gets at most three corners of four, 75",
}
BOX = (-0.5, 1.5, -0.5, 1.5)
NOISE = 0.1  # standard deviation around a corner


def corners(rule: str, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (rows, 2) around the corners of the unit square, and whether the rule holds of their corner."""
    random = np.random.default_rng([seed, 3])
    corner = np.stack([np.arange(rows) % 2, np.arange(rows) // 2 % 2], 1)
    true = corner.all(1) if rule == "AND" else corner.sum(1) == 1
    return corner + NOISE * random.standard_normal((rows, 2)), true.astype(int)


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Accuracy on held-out rows of both rules; the picture of both lines."""
    numbers, trained, planes = {}, [], []
    for rule in ("AND", "XOR"):
        points, codes = corners(rule, 80 if quick else 400, seed)
        how = {"net": "perceptron", "net_settings": {"output": "step"}, "epochs": 2.0 if quick else 100.0, "lr": 0.02}
        run_ = lamina.fit((points, codes), run=folder / rule, seed=seed, show=False, **how)
        numbers[f"{rule}, accuracy %"] = percent(run_)
        answers = [int(answer.chosen[0]) for answer in run_.ask(_draw.grid(BOX, 60))]
        planes.append(_draw.Plane(rule, np.array(answers).reshape(60, 60), points[:120], codes[:120], BOX))
        trained.append(run_)
    return Outcome(numbers, tuple(trained), (_draw.planes(planes, folder / "lines.png"),))
