"""A learner without training: fixed features and ridge regression, so that every row is answered by one that never saw its label.

Pictures: responses to patches drawn from the data, pooled over a grid (Coates 2011, https://proceedings.mlr.press/v15/coates11a.html).
Texts: log counts of words and pairs of words, weighed by rarity (Jones 1972), hashed (Weinberger 2009, arXiv:0902.2206).
Columns: ranks, missingness, categories, and random cosines of these (Rahimi 2007). The answers of K folds cost one Gram matrix.
"""

from __future__ import annotations

import math
import re
import zlib
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.data._batches import _date_numbers
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Table
from lamina.judge import _pixels
from lamina.judge._finding import in_time
from lamina.measures import temperature

PATCH, FILTERS, GRID = 6, 96, 3
WORDS = 3_000  # hashed words and pairs
CATEGORIES = 60  # of a column; others share one
COSINES = 256
FOLDS = 5
RIDGES = (1e-2, 1e-1, 1.0)  # of the mean of the Gram matrix's diagonal
SHARP = 5.0  # of scores before they are made probabilities


def features(table: Table, without: tuple[str, ...] = (), until: float = math.inf, filters: int = FILTERS) -> Tensor:
    """float32 (rows, F) of all inputs but `without`, of mean 0 and spread 1. Raises OutOfTime."""
    parts, plain, texts = [], [], []
    for name, column in table.columns.items():
        if name == table.target or name in without:
            continue
        if isinstance(column.values, Pictures):
            parts.append(of_pictures(_pixels.small(column.values), until, filters))
        elif column.field.kind in ("number", "date", "label"):
            plain.append(of_column(column))
        elif column.field.kind == "text":
            texts.append(column.values)
    if texts:
        parts.append(of_texts([" ".join(row) for row in zip(*texts, strict=True)]))
    if plain:
        rows = _scaled(torch.cat(plain, 1))
        waves = torch.randn(rows.shape[1], COSINES, generator=torch.Generator().manual_seed(0)) / math.sqrt(
            rows.shape[1]
        )
        shifts = 2 * math.pi * torch.rand(COSINES, generator=torch.Generator().manual_seed(1))
        parts += [rows, torch.cos(rows @ waves + shifts)]
    in_time(until)
    return _scaled(torch.cat(parts, 1)) if parts else torch.zeros(len(table), 0)


def _scaled(values: Tensor) -> Tensor:
    spread = values.std(0, correction=0)
    kept = spread > 1e-6
    return (values[:, kept] - values[:, kept].mean(0)) / spread[kept]


def of_column(column: Column) -> Tensor:
    """(rows, n) of a number (its rank in [-1, 1], and whether it is missing), date or category."""
    values = column.values
    if column.field.kind == "label":
        count = np.bincount(values + 1)
        common = np.sort(np.argsort(-count)[:CATEGORIES])
        place = np.searchsorted(common, values + 1).clip(max=len(common) - 1)
        place = np.where(common[place] == values + 1, place, len(common))
        return F.one_hot(torch.from_numpy(place), len(common) + 1).float()
    if column.field.kind == "date":
        return torch.nan_to_num(
            torch.cat([ranks(values)[:, None], torch.from_numpy(_date_numbers(values)[:, 1:]).float()], 1)
        )
    return torch.stack([ranks(values), torch.from_numpy(np.isnan(values)).float()], 1)


def ranks(values: np.ndarray) -> Tensor:
    """(rows,) the rank of each number in [-1, 1], ties alike; 0 where it is missing."""
    known = ~np.isnan(values)
    found = np.zeros(len(values), np.float32)
    if known.any():
        _, place, count = np.unique(values[known], return_inverse=True, return_counts=True)
        found[known] = ((np.cumsum(count) - count / 2) / known.sum())[place] * 2 - 1
    return torch.from_numpy(found)


def of_texts(texts: list[str]) -> Tensor:
    """(rows, WORDS)"""
    counts = torch.zeros(len(texts), WORDS)
    for i, text in enumerate(texts):
        words = re.findall(r"\w+|[!?$%]", text.lower()[:20_000])
        both = words + [f"{a} {b}" for a, b in pairwise(words)]
        places = torch.tensor([zlib.crc32(w.encode()) % WORDS for w in both], dtype=torch.long)
        counts[i].index_add_(0, places, torch.ones(len(places)))
    rare = torch.log((1 + len(texts)) / (1 + (counts > 0).sum(0)))
    return F.normalize(counts.log1p() * rare, dim=1)


def of_pictures(packed: np.ndarray, until: float = math.inf, filters: int = FILTERS) -> Tensor:
    """(rows, 2 * filters * GRID * GRID) of uint8 (rows, channels, height, width)."""
    random = np.random.default_rng(0)
    rows, channels, height, width = packed.shape
    kernel = []
    while len(kernel) < filters:
        row, y, x = random.integers(rows), random.integers(height - PATCH + 1), random.integers(width - PATCH + 1)
        patch = packed[row, :, y : y + PATCH, x : x + PATCH].astype(np.float32)
        kernel.append((patch - patch.mean()) / (patch.std() + 10))
    weight = torch.from_numpy(np.stack(kernel)) / (PATCH * PATCH * channels)
    step = 2
    found = []
    for start in range(0, rows, 128):
        in_time(until)
        image = torch.from_numpy(packed[start : start + 128]).float()
        mean = F.avg_pool2d(image.mean(1, keepdim=True), PATCH, step)
        spread = (F.avg_pool2d(image.square().mean(1, keepdim=True), PATCH, step) - mean.square()).clamp(min=0).sqrt()
        answer = F.conv2d(image, weight, stride=step) / (spread + 10)  # every patch of the kernel has mean 0
        strong = torch.cat([F.relu(answer - 0.25), F.relu(-answer - 0.25)], 1)
        found.append(F.adaptive_avg_pool2d(strong, GRID).flatten(1).sqrt())
    return torch.cat(found)


def crossed(rows: Tensor, codes: np.ndarray, classes: int, until: float = math.inf, seed: int = 0) -> np.ndarray:
    """(rows, classes) probabilities; each row's come from a fit on the other folds. `rows` as `features` gives them."""
    fold = np.random.default_rng([seed, 11]).permutation(len(codes)) % FOLDS
    wanted = F.one_hot(torch.from_numpy(codes), classes).float() - 1 / classes
    rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)
    parts = [torch.from_numpy(np.flatnonzero(fold == k)) for k in range(FOLDS)]
    grams, sums = [], []
    for part in parts:
        in_time(until)
        grams.append(rows[part].T @ rows[part])
        sums.append(rows[part].T @ wanted[part])
    gram, total = sum(grams), sum(sums)
    assert isinstance(gram, Tensor) and isinstance(total, Tensor)
    scale = float(gram.diagonal().mean())
    best, least = None, math.inf
    for ridge in RIDGES:
        scores = torch.zeros(len(rows), classes)
        for part, own, aim in zip(parts, grams, sums, strict=True):
            in_time(until)
            square = gram - own
            square.diagonal().add_(ridge * scale)
            factor = torch.linalg.cholesky_ex(square).L
            scores[part] = rows[part] @ torch.cholesky_solve(total - aim, factor)
        probabilities = (SHARP * scores).softmax(1).double().numpy()
        loss = temperature.losses(probabilities, codes, found := _softness(probabilities, codes)).mean()
        if loss < least:
            best, least = probabilities ** (1 / found), loss
    assert best is not None
    return best / best.sum(1, keepdims=True)


def _softness(probabilities: np.ndarray, codes: np.ndarray) -> float:
    tried = np.exp(np.linspace(math.log(0.05), math.log(5.0), 25))
    return float(min(tried, key=lambda t: temperature.losses(probabilities, codes, t).mean()))
