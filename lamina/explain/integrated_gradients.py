"""integrated_gradients: shares of the score that add up. Sundararajan 2017, https://arxiv.org/abs/1703.01365

The gradient is summed along the straight line from a baseline, an input that says nothing, to the input, and multiplied by the
difference (eq. 1, by the midpoint rule). The shares add up to the difference between the two scores (completeness,
proposition 1): steps are doubled until they do within TOLERANCE. Of a table, the line runs through the encoded row, so that
categories and missing values have shares too. Of a text, it runs from the vector of unknown to the vector of each word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import SettingError, unknown
from lamina.data._tokens import FIRST, UNKNOWN
from lamina.explain import _columns, _draw, _words
from lamina.explain._method import (
    About,
    Explanation,
    Question,
    about,
    array,
    blurred,
    repeated,
    rows_at_a_time,
    score_gradient,
    scores,
)
from lamina.explain._taps import giving, recording, untouched
from lamina.nets._blocks import Standardize
from lamina.nets._row import RowEncoder
from lamina.tasks._task import Batch, Task

TOLERANCE = 0.01  # of the difference between the scores
AVERAGED = ("black", "white", "blurred", "noise")
BASELINES = ("black", "white", "mean", "blurred", "noise", "several")

Gradient = Callable[[Tensor], tuple[Tensor, Tensor]]
"""inputs (n, ...) -> gradients, same shape, and scores (n,)"""


@dataclass(frozen=True)
class Config:
    """From where and how finely the gradient is summed."""

    baseline: str = ""
    """of a picture: black (when not given), white, mean (the mean colour of the training rows), blurred, noise, or several, the mean
    over black, white, blurred and noise; of a table row always the medians and no categories"""
    steps: int = 32
    """points on the line at first"""
    most: int = 512
    """points at most"""


def explain(task: Task, net: nn.Module, batch: Batch, question: Question, config: Config) -> Explanation:
    """Of a picture: heat (height, width), shares of the score, and values (channels, height, width), the same by channel.

    Of a table: shares (columns,); of a text: shares (words,). All: gap (1,), what is missing in the sum of the shares, as a part of it. Raises SettingError
    for a net that reads neither, NameUnknown for a baseline.
    """
    within("steps", config.steps, 1, config.most)
    if "image" in batch and (config.baseline or "black") not in BASELINES:
        raise unknown("baseline", config.baseline, BASELINES)
    with untouched(net) as inner:
        what = about(task, inner, batch, question)
        if "image" in batch:
            return _of_picture(task, inner, batch, question, config, what)
        if "tokens" in batch:
            return _of_text(task, inner, batch, question, config, what)
        return _of_row(task, inner, batch, question, config, what)


def _of_picture(
    task: Task, net: nn.Module, batch: Batch, question: Question, config: Config, what: About
) -> Explanation:
    image = batch["image"]

    def gradient(images: Tensor) -> tuple[Tensor, Tensor]:
        return score_gradient(task, net, batch, images, what.output)

    name = config.baseline or "black"
    found = [
        integrate(gradient, image, baseline(n, image, net, question.seed), config)
        for n in (AVERAGED if name == "several" else (name,))
    ]
    values = torch.stack([shares for shares, _ in found]).mean(0)[0]
    gap = max(gap for _, gap in found)
    heat = array(values.sum(0))
    said = _draw.Heat(
        f"shares of the score of {what.name} (baseline: {name})",
        "share of the score",
        signed=True,
    )
    arrays = {"heat": heat, "values": array(values), "gap": array(torch.tensor([gap]))}
    summary = f"The pixels add {float(values.sum()):+.3g} to the score of the baseline, exact within {100 * gap:.2g} %."
    return Explanation(
        "integrated_gradients",
        str(what),
        arrays,
        _draw.heat(array(image[0]), heat, f"Integrated gradients: {what}", said),
        summary,
    )


def _of_row(task: Task, net: nn.Module, batch: Batch, question: Question, config: Config, what: About) -> Explanation:
    encoder = next((m for m in net.modules() if isinstance(m, RowEncoder)), None)
    if encoder is None:
        raise SettingError("integrated_gradients needs a picture, a text or table columns, and this net reads none.")
    if config.baseline:
        raise SettingError(f"baseline (={config.baseline}) is for pictures; the one of a table row is its medians.")
    with torch.no_grad(), recording(net, lambda m: m is encoder) as seen:
        scores(task, net, batch)
    point = seen[0].given
    with torch.no_grad():
        codes = torch.full_like(batch["categories"], -1) if "categories" in batch else None
        start = encoder(encoder.centre[None] if "numbers" in batch else None, codes)

    def gradient(points: Tensor) -> tuple[Tensor, Tensor]:
        x = points.clone().requires_grad_()
        with giving(encoder, x):
            score = scores(task, net, repeated(batch, len(x)))[:, what.output]
        return torch.autograd.grad(score.sum(), x)[0], score.detach()

    encoded, gap = integrate(gradient, point, start, config)
    columns = _columns.columns(batch, question)
    place = _encoded_places(encoder, columns)
    shares = torch.stack([encoded[0, rows].sum() for rows in place])
    order = torch.argsort(-shares.abs(), stable=True).tolist()
    names = [_columns.shown(columns[i], batch) for i in order]
    said = f"share of each column in the score of {what.name}, from a row of medians"
    bars = _draw.Bars("share of the score", names, [float(shares[i]) for i in order])
    arrays = {"shares": array(shares), "gap": array(torch.tensor([gap]))}
    summary = f"{columns[order[0]].name} has the largest share; the shares add up within {100 * gap:.2g} %."
    return Explanation(
        "integrated_gradients", str(what), arrays, _draw.bars([bars], f"Integrated gradients: {what}", said), summary
    )


def _of_text(task: Task, net: nn.Module, batch: Batch, question: Question, config: Config, what: About) -> Explanation:
    words, tokens = _words.words_of("integrated_gradients", batch, question), batch["tokens"]
    if config.baseline:
        raise SettingError(
            f"baseline (={config.baseline}) is for pictures; the one of a text is words that are unknown."
        )
    with torch.no_grad(), recording(net, lambda m: isinstance(m, nn.Embedding)) as seen:
        scores(task, net, batch)
    layer = next((s for s in seen if s.taken is not None and s.taken.shape == s.given.shape[:-1]), None)
    taken = None if layer is None else layer.taken
    first = None if taken is None else _first(taken, tokens)
    if layer is None or taken is None or first is None or not isinstance(layer.module, nn.Embedding):
        raise SettingError("integrated_gradients needs a vector per word, and this net has none; try occlusion.")
    point, module = layer.given, layer.module
    nothing = module.weight.detach()[UNKNOWN].expand_as(point)
    start = torch.where((taken >= FIRST)[..., None], nothing, point)

    def gradient(points: Tensor) -> tuple[Tensor, Tensor]:
        found, values = [], []
        for part in points.split(_words.rows_at_a_time(tokens)):
            x = part.clone().requires_grad_()
            with (
                giving(module, x),
                torch.backends.cudnn.flags(enabled=False),
            ):  # which has no gradients of recurrent layers here
                score = scores(task, net, repeated(batch, len(x)))[:, what.output]
            found.append(torch.autograd.grad(score.sum(), x)[0])
            values.append(score.detach())
        return torch.cat(found), torch.cat(values)

    values, gap = integrate(gradient, point, start, config)
    shares = words.summed(array(values[0].sum(-1))[first:])
    title, said = (
        f"Integrated gradients: {what}",
        f"share of each word in the score of {what.name}, from a text of unknown words",
    )
    arrays = {"shares": shares, "gap": array(torch.tensor([gap]))}
    summary = f"{_words.strongest(words, shares)} The shares add up within {100 * gap:.2g} %."
    picture = _words.picture(words, shares, title, said, "share of the score")
    page = _words.page(words, shares, title, said)
    return Explanation("integrated_gradients", str(what), arrays, picture, summary, page, words.names)


def _first(taken: Tensor, tokens: Tensor) -> int | None:
    """The place in what a layer took (1, places) at which the tokens (1, T) begin: nets put padding around them."""
    if taken.dim() != 2 or taken.shape[1] < tokens.shape[1]:
        return None
    runs = taken.unfold(1, tokens.shape[1], 1)[0]
    found = (runs == tokens).all(1).nonzero()
    return int(found[0]) if len(found) else None


def integrate(gradient: Gradient, point: Tensor, start: Tensor, config: Config) -> tuple[Tensor, float]:
    """Shares (1, ...) of the inputs in score(point) - score(start), and how much of that difference they miss, as a part of it."""
    _, (first, last) = gradient(torch.cat([start, point]))
    difference = float(last - first)
    steps = config.steps
    while True:
        total, size = torch.zeros_like(point), rows_at_a_time(point)
        for part in ((torch.arange(steps, device=point.device) + 0.5) / steps).split(size):
            line = start + part.view(-1, *[1] * (point.dim() - 1)) * (point - start)
            total += gradient(line)[0].sum(0, keepdim=True)
        shares = total / steps * (point - start)
        missing = abs(float(shares.sum()) - difference)
        gap = missing / abs(difference) if difference else float(missing > 0)
        if gap <= TOLERANCE or 2 * steps > config.most:
            return shares, gap
        steps *= 2


def baseline(name: str, image: Tensor, net: nn.Module, seed: int) -> Tensor:
    """A picture (1, channels, height, width) that says nothing; blurred: by a normal kernel of a tenth of the side."""
    if name == "black":
        return torch.zeros_like(image)
    if name == "white":
        return torch.ones_like(image)
    if name == "noise":
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(image.shape, generator=generator).to(image)
    if name == "mean":
        fitted = next((m.mean for m in net.modules() if isinstance(m, Standardize)), image.mean((0, 2, 3)))
        return fitted.view(1, -1, 1, 1).expand_as(image).clone()
    return blurred(image, max(image.shape[2:]) / 10)


def _encoded_places(encoder: RowEncoder, columns: list[_columns.Part]) -> list[list[int]]:
    """Which entries of the encoded row belong to each column: scaled numbers, flags of gaps, then the categories."""
    count = encoder.numbers
    widths = [n + 1 if encoder.one_hot else min(8, n) for n in encoder.sizes]
    starts = [2 * count + sum(widths[:i]) for i in range(len(widths))]
    return [
        [*c.numbers, *(count + i for i in c.numbers), *(starts[i] + j for i in c.categories for j in range(widths[i]))]
        for c in columns
    ]
