"""Sequences: rows of tokens as batches, padded to the longest row of each; passes whose batches hold rows of like length.

Letters: B rows of a batch, T tokens of its longest row.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lamina.data._ragged import Ragged
from lamina.data._tokens import PADDING

WASTE = 0.04  # share of padding below which no larger windows are tried
WINDOWS = (8, 16, 32, 64, 128, 256, 512, 1024)  # batches whose rows are sorted together
TOKENS = 1 << 15  # of a batch that is scored
ROWS = 512  # of a batch that is scored


class Sequences:
    """Ragged rows on a device."""

    def __init__(self, ragged: Ragged, device: torch.device) -> None:
        self.device, self.lengths = device, ragged.lengths
        """where the tokens lie; int64 (rows,): tokens of each row"""
        self.flat = torch.from_numpy(ragged.flat).to(device)
        self.offsets = torch.from_numpy(ragged.offsets).to(device)

    def __len__(self) -> int:
        return len(self.lengths)

    def get(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B, T) int64, PADDING behind the end of each row, and mask (B, T) bool, True where there is a token."""
        places = rows.to(self.device)
        start, stop = self.offsets[places], self.offsets[places + 1]
        place = torch.arange(int((stop - start).max()), device=self.device)
        mask = place < (stop - start)[:, None]
        tokens = self.flat[(start[:, None] + place).clamp(max=len(self.flat) - 1)].long()
        return tokens.masked_fill_(~mask, PADDING), mask

    def first(self, rows: int) -> Sequences:
        """The first rows, sharing memory."""
        few = copy.copy(self)
        few.lengths = self.lengths[:rows]
        return few

    def parts(self) -> list[Tensor]:
        """The rows in parts to be scored one by one: shortest first, so that padding is little; int64 each."""
        order, found, start = np.argsort(self.lengths, kind="stable"), [], 0
        while start < len(order):
            stop = min(len(order), start + ROWS)
            while stop > start + 1 and (stop - start) * self.lengths[order[stop - 1]] > TOKENS:
                stop = start + (stop - start + 1) // 2
            found.append(torch.from_numpy(order[start:stop]))
            start = stop
        return found


def waste(lengths: np.ndarray, batches: Sequence[Tensor]) -> float:
    """Share of the tokens of these batches (int64 rows each) that is padding; lengths (rows,), or (rows, sequences of a row)."""
    lengths = lengths.reshape(len(lengths), -1)
    whole = sum(len(rows) * int(lengths[rows.numpy()].max(0).sum()) for rows in batches)
    return 1 - sum(int(lengths[rows.numpy()].sum()) for rows in batches) / whole


def window_for(lengths: np.ndarray, batch: int) -> int:
    """The fewest batches to be sorted together with which less than WASTE of the tokens is padding."""
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(lengths)))
    for window in WINDOWS:
        made = bucketed(order, lengths, batch, 0, window, torch.arange)
        if window * batch >= len(lengths) or waste(lengths, made.split(batch)) < WASTE:
            return window
    return WINDOWS[-1]


def bucketed(
    order: Tensor, lengths: np.ndarray, batch: int, head: int, window: int, shuffled: Callable[[int], Tensor]
) -> Tensor:
    """A pass (rows,) int64 laid out anew so that every batch holds rows of like length.

    The first `head` rows complete the last batch of the pass before: they and the last ones, which begin a batch of the next
    pass, are the shortest rows, so that batches across passes waste little. Between them the rows of `window` batches at a
    time are sorted by length, and the batches lie in the order of shuffled(count), a permutation.
    """
    rows = len(order)
    count = (rows - head) // batch  # whole batches
    if count < 2:
        return order
    length = torch.from_numpy(lengths.reshape(rows, -1))[order]
    edge = torch.zeros(rows, dtype=torch.bool)
    edge[torch.argsort(length.sum(1), stable=True)[: rows - count * batch]] = True
    edges, inner, length = order[edge], order[~edge], length[~edge]
    groups, number = max(1, round(count / window)), torch.arange(len(inner)) // batch
    group = number * groups // count
    place = torch.argsort(group * (int(length.max()) + 1) + length[:, 0], stable=True)
    if length.shape[1] > 1:
        size = torch.bincount(group)[group] // batch  # batches of the group
        strips = size.double().sqrt().round().long()
        strip = (number - number[torch.searchsorted(group, group)]) * strips // size
        place = place[torch.argsort((group * count + strip) * (int(length.max()) + 1) + length[place, 1], stable=True)]
    inner = inner[place]
    inner = inner.view(count, batch)[shuffled(count)].flatten()
    return torch.cat([edges[:head], inner, edges[head:]])
