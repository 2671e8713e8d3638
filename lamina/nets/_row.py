"""RowEncoder: the numbers and categories of a table row as one vector; normalisation and missing values are part of it.

Letters: B batch, N numbers, K knots.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

KNOTS = 33
SMOOTH = 3.0  # scaled values approach +-3 (Holzmueller 2024, arXiv:2407.04491, smooth clipping)
RANK_CLIP = 0.01  # ranks are kept this far from 0 and 1, so that scores stay within +-2.33


class Embedding(nn.Embedding):
    """An embedding, drawn with standard deviation 1/2; weight decay would pull rare categories to nothing, so it has none."""

    decays = False

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.5)


class RowEncoder(nn.Module):
    """numbers (B, N) float, NaN = missing, or (B, 2N) of `encode`; categories (B, columns) int64, -1 = missing -> (B, width).

    Each number gives its normal score (ranked: piecewise linear between K quantiles of the training rows) or its distance
    from the median in interquartile ranges, smoothly clipped; 0 when missing, and a flag that is 1 when missing in a column whose training rows had gaps. Each
    category gives an embedding, or with one_hot a unit vector; missing and unknown categories share code 0, which in
    training a share `unknown` of all categories is turned into, so that it is learned too.
    """

    centre: Tensor
    scale: Tensor
    gaps: Tensor
    knots: Tensor
    scores: Tensor

    def __init__(
        self,
        numbers: int,
        categories: Sequence[int] = (),
        *,
        one_hot: bool = False,
        ranked: bool = False,
        unknown: float = 0.0,
    ) -> None:
        super().__init__()
        self.numbers, self.sizes = numbers, tuple(categories)
        self.one_hot, self.ranked, self.unknown = one_hot, ranked, unknown
        knots = KNOTS if ranked else 0
        self.register_buffer("centre", torch.zeros(numbers))
        self.register_buffer("scale", torch.ones(numbers))
        self.register_buffer("gaps", torch.zeros(numbers))
        self.register_buffer("knots", torch.linspace(-3, 3, knots).repeat(numbers, 1))
        self.register_buffer("scores", torch.linspace(-3, 3, knots).repeat(numbers, 1))
        widths = [n + 1 if one_hot else min(8, n) for n in self.sizes]
        tables = [] if one_hot else [Embedding(n + 1, w) for n, w in zip(self.sizes, widths, strict=True)]
        self.embeddings = nn.ModuleList(tables)
        self.width = 2 * numbers + sum(widths)

    @torch.no_grad()
    def fit(self, numbers: Tensor) -> None:
        """Set the statistics from training rows (rows, N), missing values left out."""
        self.gaps.copy_(numbers.isnan().any(0))
        for i in range(self.numbers):
            column = numbers[:, i]
            column = column[~column.isnan()].double()
            if not len(column):
                continue
            low, middle, high = torch.quantile(column, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
            half_range = float(column.max() - column.min()) / 2
            self.centre[i], self.scale[i] = middle, (high - low) or half_range or 1.0
            if self.ranked:
                self._fit_ranks(i, (column - middle) / float(self.scale[i]))

    def _fit_ranks(self, i: int, column: Tensor) -> None:
        ranks = torch.linspace(0, 1, KNOTS, dtype=torch.float64)
        knots = torch.quantile(column, ranks)
        _, place = torch.unique(knots, return_inverse=True)
        tied = torch.zeros(KNOTS, dtype=torch.float64).index_add(0, place, ranks)
        tied = (tied / torch.bincount(place, minlength=KNOTS).clamp(min=1))[place]  # equal knots share their mean rank
        self.knots[i] = knots
        self.scores[i] = torch.special.ndtri(tied.clamp(RANK_CLIP, 1 - RANK_CLIP))

    def _scaled(self, numbers: Tensor) -> Tensor:
        z = (numbers - self.centre) / self.scale
        if not self.ranked:
            return z / (1 + (z / SMOOTH) ** 2).sqrt()
        left, right = self.knots[:, :-1], self.knots[:, 1:]
        part = ((z.unsqueeze(2) - left) / (right - left).clamp(min=1e-6)).clamp(0, 1)  # (B, N, K - 1)
        return self.scores[:, 0] + (part * self.scores.diff(dim=1)).sum(2)

    def encode(self, numbers: Tensor) -> Tensor:
        """numbers (B, N) -> (B, 2N), normalised, and a flag for each that is missing; training changes nothing in it."""
        return torch.cat([self._scaled(numbers).nan_to_num(0.0), numbers.isnan() * self.gaps], 1)

    def forward(self, numbers: Tensor | None, categories: Tensor | None = None) -> Tensor:
        parts = []
        if numbers is not None and self.numbers:
            parts.append(self.encode(numbers) if numbers.shape[1] == self.numbers else numbers)
        if categories is not None and self.sizes:
            codes = categories + 1
            if self.training and self.unknown:
                codes = codes * (torch.rand(codes.shape, device=codes.device) >= self.unknown)
            for i, size in enumerate(self.sizes):
                code = codes[:, i]
                one_hot = nn.functional.one_hot(code, size + 1).to(self.centre.dtype) if self.one_hot else None
                parts.append(self.embeddings[i](code) if one_hot is None else one_hot)
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]
