"""occlusion: how much the score falls when a part of the input is covered. Zeiler and Fergus 2013, https://arxiv.org/abs/1311.2901

A square of one colour is moved over the picture (section 4.2); many covered pictures are computed at a time. The heat of a pixel is the mean
fall of the score over all squares that cover it. Of a text, words are made unknown (Li 2016, https://arxiv.org/abs/1612.08220).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import unknown
from lamina.data._tokens import UNKNOWN
from lamina.explain import _draw, _words
from lamina.explain._method import Explanation, Question, about, array, needs_image, repeated, rows_at_a_time, scores
from lamina.explain._taps import untouched
from lamina.nets._blocks import Standardize
from lamina.tasks._task import Batch, Task

COVERS = ("mean", "black", "grey", "white")


@dataclass(frozen=True)
class Config:
    """The square and its way."""

    patch: int = 0
    """side of the square in pixels; 0: a quarter of the shorter side"""
    stride: int = 0
    """pixels between two squares; 0: a quarter of the square's side"""
    cover: str = "mean"
    """colour of the square: mean (of the training pictures), black, grey, white"""
    words: int = 1
    """of a text: words in a row that are made unknown at a time"""


def explain(task: Task, net: nn.Module, batch: Batch, question: Question, config: Config) -> Explanation:
    """heat (height, width): mean fall of the score when a square covers the pixel; falls (places down, places across): by square.

    Of a text: falls (words,), the mean fall of the score over all runs of words that hold the word. Negative where covering raises
    the score. Raises SettingError without a picture or text and for settings out of range.
    """
    if "tokens" in batch and "image" not in batch:
        return _of_text(task, net, batch, question, config)
    image = needs_image("occlusion", batch)
    height, width = image.shape[2:]
    patch = config.patch or max(1, round(min(height, width) / 4))
    stride = config.stride or max(1, patch // 4)
    within("patch", patch, 1, min(height, width))
    within("stride", stride, 1, patch, "A larger one leaves gaps.")
    downs, acrosses = _starts(height, patch, stride), _starts(width, patch, stride)
    with untouched(net) as inner, torch.no_grad():
        what = about(task, inner, batch, question)
        colour = _colour(config.cover, image, inner)
        score = scores(task, inner, batch)[0, what.output]
        heat, count = (torch.zeros(height, width, device=image.device) for _ in range(2))
        places = [(y, x) for y in downs for x in acrosses]
        falls: list[float] = []
        for start in range(0, len(places), rows_at_a_time(image)):
            some = places[start : start + rows_at_a_time(image)]
            covered = image.repeat(len(some), 1, 1, 1)
            for i, (y, x) in enumerate(some):
                covered[i, :, y : y + patch, x : x + patch] = colour
            given = scores(task, inner, {**repeated(batch, len(some)), "image": covered})[:, what.output]
            for (y, x), fall in zip(some, (score - given).tolist(), strict=True):
                heat[y : y + patch, x : x + patch] += fall
                count[y : y + patch, x : x + patch] += 1
                falls.append(fall)
    heat = array(heat / count)
    said = _draw.Heat(
        f"fall of the score of {what.name} when a {patch}x{patch} square covers the place",
        "fall of the score",
        signed=True,
    )
    picture = _draw.heat(array(image[0]), heat, f"Occlusion: {what}", said)
    arrays = {"heat": heat, "falls": array(torch.tensor(falls).view(len(downs), len(acrosses)))}
    return Explanation("occlusion", str(what), arrays, picture, _draw.strongest(heat))


def _of_text(task: Task, net: nn.Module, batch: Batch, question: Question, config: Config) -> Explanation:
    words = _words.words_of("occlusion", batch, question)
    count, tokens = len(words.names), batch["tokens"]
    within("words", config.words, 1, count, "The text has no more.")
    runs = range(count - config.words + 1)
    covered = tokens.repeat(len(runs), 1)
    for start in runs:
        covered[start, [p for own in words.places[start : start + config.words] for p in own]] = UNKNOWN
    with untouched(net) as inner, torch.no_grad():
        what = about(task, inner, batch, question)
        score = scores(task, inner, batch)[0, what.output]
        parts = [
            scores(task, inner, {**repeated(batch, len(part)), "tokens": part})[:, what.output]
            for part in covered.split(_words.rows_at_a_time(tokens))
        ]
    fall = array(score - torch.cat(parts))
    falls = np.zeros(count, np.float32)
    held = np.zeros(count, np.float32)
    for start in runs:
        falls[start : start + config.words] += fall[start]
        held[start : start + config.words] += 1
    falls /= held
    title, run = f"Occlusion: {what}", "a word is" if config.words == 1 else f"{config.words} words in a row are"
    said = f"fall of the score of {what.name} when {run} made unknown"
    picture = _words.picture(words, falls, title, said, "fall of the score")
    page = _words.page(words, falls, title, said)
    summary = _words.strongest(words, falls)
    return Explanation("occlusion", str(what), {"falls": falls}, picture, summary, page, words.names)


def _starts(length: int, patch: int, stride: int) -> list[int]:
    """Where squares begin along an axis; the last one may reach beyond the edge, so that every pixel is covered."""
    return [i * stride for i in range(1 + math.ceil((length - patch) / stride))]


def _colour(name: str, image: Tensor, net: nn.Module) -> Tensor:
    """(channels, 1, 1) of the square."""
    if name not in COVERS:
        raise unknown("cover", name, COVERS)
    if name == "mean":
        fitted = next((m.mean for m in net.modules() if isinstance(m, Standardize)), image.mean((0, 2, 3)))
        return fitted.view(-1, 1, 1)
    value = {"black": 0.0, "grey": 0.5, "white": 1.0}[name]
    return torch.full((image.shape[1], 1, 1), value, device=image.device)
