"""Parts: a picture of any size answered a part at a time, with a border around each that is thrown away."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PART, BORDER = 128, 8  # pixels of a part's sides, and of the border


def in_parts(answer: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, times: int, channels: int) -> np.ndarray:
    """uint8 (height, width, c) -> (times height, times width, channels), made of `answer` of each part."""
    height, width = pixels.shape[:2]
    made = np.empty((times * height, times * width, channels), np.uint8)
    for top in range(0, height, PART):
        for left in range(0, width, PART):
            y, x = max(0, top - BORDER), max(0, left - BORDER)
            found = answer(pixels[y : top + PART + BORDER, x : left + PART + BORDER])
            found = found[times * (top - y) :, times * (left - x) :][: times * PART, : times * PART]
            made[times * top : times * top + found.shape[0], times * left : times * left + found.shape[1]] = found
    return made
