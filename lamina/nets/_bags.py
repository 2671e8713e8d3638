"""Sums of rows of a table by bags, equal rows put together, and the windows of a text: gradients of tables without a row per use.

Letters: N places, D width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

FEW = 1 << 16  # different values that a sort by counting takes at once


def sums(table: Tensor, members: Tensor, shares: Tensor | None = None, begin: Tensor | None = None) -> Tensor:
    """table (R, D); members int64 and shares float (none: 1), (bags, members) or flat with each bag's begin -> (bags, D)."""
    if begin is None:
        begin = torch.arange(0, members.numel(), members.shape[1], device=members.device)
        members, shares = members.flatten(), None if shares is None else shares.flatten()
    return torch.embedding_bag(table, members, begin, False, 0, False, shares)[0]


def products(table: Tensor, members: Tensor, begin: Tensor, bag: Tensor, given: Tensor) -> Tensor:
    """table[members] times given[bag] (bags, D), a number per member; `begin` of the bags, `bag` of each member, in order."""
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(given, table, members, begin, bag, 0)


def order(values: Tensor) -> Tensor:
    """Places of values in [0, 2 ** 32) (N,) in rising order, equal ones as they stood. On a processor sorted by counting: 6 times as fast."""
    if values.device.type != "cpu":
        return values.argsort(stable=True)
    numbers = values.numpy()
    found = numbers.astype(np.uint16).argsort(kind="stable")  # by the lower 16 bits
    if len(numbers) and numbers.max() >= FEW:
        found = found[(numbers >> 16).astype(np.uint16)[found].argsort(kind="stable")]
    return torch.from_numpy(found)


def places(mask: Tensor) -> Tensor:
    """Where a mask is True, as it lies in memory, int64. On a processor by numpy: 8 times as fast."""
    if mask.device.type != "cpu":
        return mask.flatten().nonzero().flatten()
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def alike(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """values (N,) -> their order, the different ones in it, and where in it each of them begins."""
    found = order(values)
    ordered = values.index_select(0, found)
    first = torch.ones_like(ordered, dtype=torch.bool)
    torch.ne(ordered[1:], ordered[:-1], out=first[1:])
    begin = places(first)
    return found, ordered.index_select(0, begin), begin


class Block:
    """tokens (N,) with the window of each: `around` (N, 2 window + 1), itself in the middle, and `held`, 1.0 for its neighbours.

    `rows` are its different words; `order` brings equal ones together, each beginning at `begin`.
    """

    def __init__(self, tokens: Tensor, reach: Tensor, window: int) -> None:
        self.tokens, self.wide = tokens, 2 * window + 1
        self.offsets = torch.arange(-window, window + 1, device=tokens.device)
        self.around = self.beside(tokens)
        apart = self.offsets.abs()
        held = (self.around > 0) & (apart <= (reach * (tokens > 0))[:, None])
        held[:, window] = False
        self.held = held.float()
        self.order, self.rows, self.begin = alike(tokens)

    def which(self) -> Tensor:
        """The row of each word (N,)."""
        new = torch.zeros_like(self.order).index_fill_(0, self.begin[1:], 1)
        return torch.empty_like(new).index_copy_(0, self.order, new.cumsum(0))

    def beside(self, values: Tensor) -> Tensor:
        """values (N,) -> those of the words around each (N, 2 window + 1); 0 beyond the ends."""
        return F.pad(values, (self.wide // 2, self.wide // 2)).unfold(0, self.wide, 1).contiguous()

    def turned(self, shares: Tensor) -> Tensor:
        """What each word gives to those around it, from what it takes of them; both (N, 2 window + 1)."""
        padded = F.pad(shares, (0, 0, self.wide // 2, self.wide // 2))
        return padded.as_strided(shares.shape, (self.wide, self.wide - 1), self.wide - 1).contiguous()

    def per_word(self, values: Tensor, shares: Tensor | None = None) -> Tensor:
        """values (N, D), each times its share (N,) -> their sums over places of the same word (rows, D)."""
        return sums(values, self.order, None if shares is None else shares[self.order], self.begin)

    def per_neighbour(self, values: Tensor, shares: Tensor) -> Tensor:
        """values (N, D) times shares (N, 2 window + 1) of the words around -> their sums over places of the same word (rows, D)."""
        places = (self.order[:, None] + self.offsets).clamp_(0, len(values) - 1)
        given = self.turned(shares).index_select(0, self.order)
        return sums(values, places.flatten(), given.flatten(), self.begin * self.wide)
