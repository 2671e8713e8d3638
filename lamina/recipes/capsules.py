"""Capsules: two digits on top of each other, both named, by capsules with dynamic routing and by a convolutional net.

Sabour 2017, https://arxiv.org/abs/1710.09829, section 6 (MultiMNIST: digits that overlap by 80 %). 4,000 pairs of the digits that come
with Lamina, laid over each other with a shift of up to 4 pixels; digits of the test are in no training pair. Command:
lamina recipe capsules. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import lamina
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Field, Table
from lamina.recipes._recipe import Outcome

SYSTEMS = ("S11",)
SEEDS = 3
HISTORY = {
    "": "CapsNet 5.2 % classification error on MultiMNIST, the convolutional baseline with more weights 8.1 % (Sabour 2017, table 1)",
    "capsnet: both digits right, %": "94.8",
    "cnn: both digits right, %": "91.9",
}
PAIRS = (3_400, 200, 400)  # train, validation, test
SHIFT = 4  # pixels


def pairs(counts: tuple[int, ...], seed: int) -> Table:
    """Pictures 32x32 of two different digits laid over each other, and both labels."""
    digits = lamina.open("digits")
    code, images = digits["class"].values, digits["image"].values.array[..., 0]
    random = np.random.default_rng([seed, 17])
    made = np.zeros((sum(counts), 32, 32, 1), np.uint8)
    labels = np.zeros((sum(counts), 10), np.uint8)
    split = np.repeat(np.arange(3, dtype=np.int8), counts)
    for row in range(len(made)):
        rows = digits.rows(int(split[row]))
        first = random.choice(rows)
        second = random.choice(rows[code[rows] != code[first]])
        for one in (first, second):
            y, x = random.integers(0, SHIFT + 1, 2)
            place = made[row, y : y + 28, x : x + 28, 0]
            np.maximum(place, images[one], out=place)
            labels[row, code[one]] = 1
    columns = {
        "image": Column(Field("image", "image"), Pictures.of_array(made)),
        "digits": Column(Field("digits", "labels", tuple("0123456789")), labels),
    }
    names = np.array([f"pair {i}" for i in range(len(made))], object)
    return Table(
        columns,
        "pairs of digits",
        "memory",
        names,
        "digits",
        split,
        "digits of the splits are disjoint",
        tried=len(made),
    )


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """The share of test pairs whose two longest capsules, or most probable labels, are the two digits; what capsules rebuild."""
    table = pairs((60, 10, 20) if quick else PAIRS, seed)
    how: dict[str, Any] = {"steps": 2, "batch": 16} if quick else {"epochs": 12}
    small = {"filters": 8, "types": 1} if quick else {}
    numbers, runs = {}, []
    for net, settings in (("capsnet", small), ("cnn", {})):
        run_ = lamina.fit(
            table, run=folder / net, net=net, net_settings=settings, seed=seed, show=False, augment="none", **how
        )
        numbers[f"{net}: both digits right, %"] = 100 * both(run_, table)
        runs.append(run_)
    return Outcome(numbers, tuple(runs), (rebuilt(runs[0], table, folder / "rebuilt.png"),))


def both(run_: Any, table: Table) -> float:
    """The share of test rows whose two most probable labels are the right ones."""
    test = table.take(table.rows(2))
    right = 0
    for answer, labels in zip(run_.ask(test), test["digits"].values, strict=True):
        likely = list(answer.probabilities)[:2]
        right += {int(name) for name in likely} == set(np.flatnonzero(labels).tolist())
    return right / len(test)


@torch.no_grad()
def rebuilt(run_: Any, table: Table, path: Path) -> Path:
    """Ten test pairs, and below each what its two longest capsules hold, one red, one green."""
    test = table.take(table.rows(2)[:10])
    image = torch.from_numpy(test["image"].values.array).permute(0, 3, 1, 2).float() / 255
    vectors, logits = run_.net.capsules(image)
    two = logits.topk(2, 1).indices
    side = int((run_.net.rebuilt(vectors, two[:, 0]).shape[1]) ** 0.5)
    parts = [run_.net.rebuilt(vectors, two[:, i]).view(-1, side, side) for i in range(2)]
    colour = torch.stack([*parts, torch.zeros_like(parts[0])], 3)
    given = image[:, 0, :side, :side, None].expand(-1, -1, -1, 3)
    sheet = torch.cat([torch.cat(list(given), 1), torch.cat(list(colour), 1)], 0)
    picture = Image.fromarray((sheet.clamp(0, 1) * 255).byte().numpy())
    picture.resize((3 * picture.width, 3 * picture.height), Image.Resampling.NEAREST).save(path)
    return path
