"""Does mirroring keep the class? Asked of the training pictures, before pictures are mirrored in training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lamina.data._pictures import Pictures
from lamina.data._table import TRAIN, Table

ROWS = 2_500
SIDE = 16  # pixels; neighbours are found on small pictures
KEEPS = 0.6  # mirrored over plain accuracy, from which on mirroring is taken to keep the class (digits 0.41, Fashion-MNIST 0.78)


def augmentation(table: Table) -> tuple[str, str]:
    """Name of the augmentation for the pictures of a table, and why."""
    column = next(c for c in table.columns.values() if isinstance(c.values, Pictures))
    target = table[table.target or ""]
    height, width = column.field.shape[1:]
    written = min(height, width) <= 64 and column.field.shape[0] == 1
    if target.field.kind != "label":
        return "shift", "Augmentation: pictures are shifted at random."
    ratio = kept(column.values, column.field.shape, target.values, table.rows(TRAIN))
    if ratio >= KEEPS:
        return (
            "flip",
            f"Augmentation: pictures are shifted and mirrored (mirrored ones keep {ratio:.0%} of a nearest-neighbour vote).",
        )
    name = "affine" if written else "shift"
    how = "shifted, turned and scaled a little" if written else "shifted"
    return (
        name,
        f"Augmentation: pictures are {how}, not mirrored (mirrored ones keep only {ratio:.0%} of a nearest-neighbour vote).",
    )


def kept(pictures: Pictures, shape: tuple[int, ...], codes: np.ndarray, rows: np.ndarray, seed: int = 0) -> float:
    """Accuracy of nearest neighbours on mirrored pictures over that on plain ones; 0 when the plain one is no better than chance."""
    chosen = np.random.default_rng(seed).permutation(rows)[:ROWS]
    small = (shape[0], SIDE, SIDE)
    if len(chosen) < 20:
        return 0.0
    packed = torch.from_numpy(np.array(pictures.take(chosen).pack(small if shape[1] > SIDE else shape))).float()
    code = torch.from_numpy(codes[chosen])
    ask = max(1, len(chosen) // 5)
    known, known_code = _unit(packed[ask:]), code[ask:]
    right = [
        float((known_code[(_unit(x) @ known.T).argmax(1)] == code[:ask]).float().mean())
        for x in (packed[:ask], packed[:ask].flip(3))
    ]
    chance = float(torch.bincount(code).max()) / len(code)
    return right[1] / right[0] if right[0] > 1.1 * chance else 0.0


def _unit(image: Tensor) -> Tensor:
    x = image.flatten(1)
    x = x - x.mean(1, keepdim=True)
    return x / (x.norm(dim=1, keepdim=True) + 1e-6)
