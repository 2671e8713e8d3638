"""Baselines beside every score: always the same answer, a linear model, the nearest training row. Written to take seconds.

They learn from the training rows only; the ridge's strength is chosen on the validation rows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.data._batches import DENSE, Batches
from lamina.data._store import shared
from lamina.data._table import TRAIN, VALIDATION, Table
from lamina.tasks._task import Task

SIDE = 16  # pictures are compared at this many pixels a side
MOST_ROWS = 5_000  # training rows the linear model and the neighbours use
WORDS = 1_024  # places that the words of texts share
PART = 256  # rows whose pictures are in memory at once
RIDGES = (1e-3, 1e-1, 1e1)


def constant(task: Task, train: Batches, test: Batches) -> float:
    """The chosen number when every answer is the commonest label, or the mean, of the training rows."""
    own = task.constant(train, test)
    if own is not None:
        return own
    target = train.tensors["target"].cpu()
    if target.dtype == torch.int64:
        answer = F.one_hot(target, task.outputs).double().mean(0)
        commonest = (answer == answer.max()).nonzero()[0]
        outputs = F.one_hot(commonest, task.outputs).double()
    else:
        outputs = target.double().mean(0, keepdim=True).view(1, -1)
        outputs = outputs.round() if target.dtype == torch.uint8 else outputs
    return _number(task, outputs.expand(len(test), -1), test)


def always(task: Task, table: Table) -> float:
    """`constant` of a split table, on its validation rows."""
    parts = [table.take(table.rows(s)) for s in (TRAIN, VALIDATION)]
    inputs = table.inputs if task.target.kind in DENSE else []  # their simple answers look at the picture: bicubic, say
    return constant(task, *(Batches(p, inputs, task.target, torch.device("cpu"), shared()) for p in parts))


def all_of(task: Task, train: Batches, validation: Batches, test: Batches) -> dict[str, float]:
    """Name of the baseline -> the number that chooses, on the test rows."""
    own = task.baselines(train, validation, test)
    if own is not None:
        return own
    first = torch.arange(len(train))
    rows = first if len(first) <= MOST_ROWS else first[torch.linspace(0, len(first) - 1, MOST_ROWS).long()]
    x, centre, scale = _standardized(torch.cat([_features(train.get(part)) for part in rows.split(PART)]))
    inside = [((_all_features(b) - centre) / scale).clamp(-6, 6) for b in (validation, test)]
    y = _outputs(task, train.tensors["target"][rows.to(train.device)])
    return {
        "always the same": constant(task, train, test),
        "linear": _linear(task, x, y, inside, validation, test),
        "nearest neighbour": _number(task, y[_nearest(x, inside[1])], test),
    }


def _features(tensors: dict[str, Tensor]) -> Tensor:
    """(rows, features) float: small pictures, numbers with flags for missing ones, one-hot categories, words of texts."""
    parts = []
    if "image" in tensors:
        image = tensors["image"].float()
        side = min(SIDE, *image.shape[2:])
        parts.append(F.adaptive_avg_pool2d(image, side).flatten(1))
    if "numbers" in tensors:
        numbers = tensors["numbers"]
        parts += [numbers, numbers.isnan().float()]
    if "categories" in tensors:
        codes = tensors["categories"] + 1
        parts += [F.one_hot(c.clamp(max=50), 51).float() for c in codes.T]
    if "tokens" in tensors:
        places = tensors["tokens"] * 2_654_435_761 % (1 << 31) % WORDS  # hashed: Weinberger 2009, arXiv:0902.2206
        counts = torch.zeros(len(places), WORDS, device=places.device).scatter_add_(
            1, places, (tensors["tokens"] > 3).float()
        )
        counts = counts.log1p()
        parts.append(counts / counts.norm(dim=1, keepdim=True).clamp(min=1e-6))
    return torch.cat(parts, 1).cpu()


def _all_features(batches: Batches) -> Tensor:
    """_features of all rows, a part at a time: pictures that are streamed are never in memory together."""
    if not batches.streams and batches.texts is None:
        return _features(batches.tensors)
    return torch.cat([_features(batches.slice(s, s + PART)) for s in range(0, len(batches), PART)])


def _standardized(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    known = ~x.isnan()
    count = known.sum(0).clamp(min=1)
    centre = torch.where(known, x, 0).sum(0) / count
    scale = (torch.where(known, (x - centre) ** 2, 0).sum(0) / count).sqrt()
    scale = torch.where(scale > 1e-6, scale, 1.0)
    return ((x - centre) / scale).clamp(-6, 6).nan_to_num(0.0), centre, scale


def _outputs(task: Task, target: Tensor) -> Tensor:
    target = target.cpu()
    return (
        F.one_hot(target, task.outputs).double()
        if target.dtype == torch.int64
        else target.double().view(len(target), -1)
    )


def _linear(task: Task, x: Tensor, y: Tensor, inside: list[Tensor], validation: Batches, test: Batches) -> float:
    x = x.double()
    gram, mean = x.T @ x, y.mean(0)
    towards = x.T @ (y - mean)
    best: tuple[float, float] | None = None
    for ridge in RIDGES:
        strength = ridge * len(x) * torch.eye(len(gram), dtype=torch.float64)
        weights = torch.linalg.solve(gram + strength + 1e-9 * torch.eye(len(gram), dtype=torch.float64), towards)
        values = [
            _number(task, part.nan_to_num(0.0).double() @ weights + mean, b)
            for part, b in zip(inside, (validation, test), strict=True)
        ]
        sign = -1 if task.lower_is_better else 1
        if best is None or sign * values[0] > sign * best[0]:
            best = (values[0], values[1])
    assert best is not None
    return best[1]


def _nearest(known: Tensor, asked: Tensor) -> Tensor:
    asked = asked.nan_to_num(0.0)
    length = (known**2).sum(1)
    return torch.cat([(length - 2 * part @ known.T).argmin(1) for part in asked.split(1024)])


def _number(task: Task, outputs: Tensor, test: Batches) -> float:
    """The chosen number of given outputs (rows, outputs): shares of labels, or values."""
    target = test.tensors["target"].cpu().numpy()
    values = outputs.numpy()
    rows = {"target": target, "loss": np.zeros(len(target))}
    rows |= {"answer": values[:, 0]} if target.dtype == np.float64 else {"probabilities": values}
    return task.finish(rows)[task.better]
