"""Backpropagation: a hidden layer learns XOR and two spirals; told in polar coordinates, the spirals need fewer units.

Rumelhart, Hinton and Williams 1986, https://doi.org/10.1038/323533a0; two spirals: Lang and Witbrock 1988 (194 points, three
turns). Command: lamina recipe backpropagation. 800 points on two spirals of 1.5 turns.
Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import lamina
from lamina.recipes import _draw
from lamina.recipes._recipe import Outcome, percent
from lamina.recipes.perceptron import BOX, corners

SYSTEMS = ("S02",)
SEEDS = 5
HISTORY = {
    "": "hidden units find features of their own: XOR solved (Rumelhart, Hinton, Williams 1986)",
    "XOR, accuracy %": "solved with two hidden units (1986)",
    "spirals x y, accuracy %": "solved, with shortcuts, after 20,000 passes (Lang, Witbrock 1988)",
}
PLANE = (-1.1, 1.1, -1.1, 1.1)
TURNS = 1.5
HIDDEN = {"width": 16, "depth": 2, "members": 1, "dropout": 0.0, "ranked": False, "activation": "tanh"}
FEW = {**HIDDEN, "width": 4}


def spirals(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (rows, 2) on two spirals around the origin, with a little noise, and which spiral."""
    random = np.random.default_rng([seed, 5])
    code = np.arange(rows) % 2
    way = np.sqrt(random.uniform(0.01, 1, rows))
    angle = 2 * np.pi * TURNS * way + np.pi * code
    return np.stack([way * np.cos(angle), way * np.sin(angle)], 1) + 0.015 * random.standard_normal((rows, 2)), code


def polar(points: np.ndarray) -> np.ndarray:
    """(rows, 3): the radius, and sine and cosine of the angle minus what the spiral turned up to that radius."""
    radius = np.hypot(points[:, 0], points[:, 1])
    turned = np.arctan2(points[:, 1], points[:, 0]) - 2 * np.pi * TURNS * radius
    return np.stack([radius, np.sin(turned), np.cos(turned)], 1)


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Accuracy on held-out rows; XOR, spirals with 16 and 4 hidden units a layer, and with 4 in polar coordinates."""
    points, codes = spirals(120 if quick else 800, seed)
    how = {"net": "mlp", "seed": seed, "show": False, "batch": 32, "epochs": 2.0 if quick else 300.0, "patience": 1_000,
           "lr": 0.01, "schedule": "one_cycle", "weight_decay": 0.0}  # fmt: skip
    xor = lamina.fit(corners("XOR", 80 if quick else 400, seed), run=folder / "xor", net_settings={**HIDDEN, "width": 2, "depth": 1}, **how)  # fmt: skip
    wide = lamina.fit((points, codes), run=folder / "spirals", net_settings=HIDDEN, **how)
    few = lamina.fit((points, codes), run=folder / "spirals-few", net_settings=FEW, **how)
    told = lamina.fit((polar(points), codes), run=folder / "spirals-polar", net_settings=FEW, **how)
    numbers = {
        "XOR, accuracy %": percent(xor),
        "spirals x y, accuracy %": percent(wide),
        "spirals x y with 4 units a layer, accuracy %": percent(few),
        "spirals in polar coordinates with 4 units a layer, accuracy %": percent(told),
    }
    planes = []
    for title, run_, given, box in (("XOR, 2 hidden units", xor, lambda p: p, BOX), ("spirals, x y, 16 units", wide, lambda p: p, PLANE),
                                    ("x y, 4 units", few, lambda p: p, PLANE), ("polar, 4 units", told, polar, PLANE)):  # fmt: skip
        answers = np.array([int(a.chosen[0]) for a in run_.ask(given(_draw.grid(box, 60)))]).reshape(60, 60)
        shown = corners("XOR", 120, seed) if box is BOX else (points, codes)
        planes.append(_draw.Plane(title, answers, *shown, box))
    return Outcome(numbers, (xor, wide, few, told), (_draw.planes(planes, folder / "planes.png"),))
