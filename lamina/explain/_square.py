"""square: how much each word of one text looks at each word of another, as a picture."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from lamina.explain import _draw
from lamina.explain._words import Words

CELL, MOST, LABEL = 20, 32, 90  # pixels of a pair; words of a side; pixels of a name
ABOVE = 24  # pixels of the line above


def of_words(looking: Words, at: Words, shares: np.ndarray) -> np.ndarray:
    """float32 (words that look, words looked at) of shares (tokens, tokens): sums over what is looked at, means over what looks."""
    return np.array([[shares[list(a)].mean(0)[list(b)].sum() for b in at.places] for a in looking.places], np.float32)


def picture(looking: Words, at: Words, shares: np.ndarray, said: str) -> Image.Image:
    """The first MOST words of each, from white where least to blue where most is looked at; shares: of words."""
    high, wide = min(MOST, len(looking.names)), min(MOST, len(at.names))
    table = shares[:high, :wide]
    colours = _draw.over_white(-(table - table.min()) / (np.ptp(table) or 1.0))
    top = LABEL + ABOVE
    left_out = [n for n, words in ((high, looking), (wide, at)) if n < len(words.names)]
    more = f"; the first {left_out[0]} words" if left_out else ""
    size = (max(wide * CELL + LABEL + 3 * _draw.GAP, 420), high * CELL + top + _draw.GAP)
    canvas = Image.new("RGB", size, _draw.PAPER)
    names = "".join(looking.names[:high] + at.names[:wide])
    draw, small = ImageDraw.Draw(canvas), _draw.font(_draw.SMALL, names)
    draw.text((_draw.GAP, 4), said + more, _draw.DIM, small)
    for j in range(wide):
        label = Image.new("RGB", (LABEL, CELL), _draw.PAPER)
        name = _draw.shortened(at.names[j], LABEL - 6, _draw.SMALL)
        ImageDraw.Draw(label).text((2, CELL / 2), name, _draw.INK, small, "lm")
        canvas.paste(label.rotate(90, expand=True), (_draw.GAP + LABEL + j * CELL, ABOVE))
    for i in range(high):
        y = top + i * CELL
        name = _draw.shortened(looking.names[i], LABEL - 6, _draw.SMALL)
        draw.text((_draw.GAP + LABEL - 6, y + CELL / 2), name, _draw.INK, small, "rm")
        for j in range(wide):
            left = _draw.GAP + LABEL + j * CELL
            draw.rectangle((left, y, left + CELL - 1, y + CELL - 1), tuple(int(c) for c in colours[i, j]))
    return canvas
