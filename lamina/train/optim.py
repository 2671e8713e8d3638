"""Optimisers by name, and the learning rate over a budget.

sgd: Nesterov momentum 0.9 (Sutskever 2013). adamw: Loshchilov 2017, https://arxiv.org/abs/1711.05101.
rows: of nets that say `rows = True`, whatever is asked: Adagrad, row by row, on sparse gradients.
muon: Jordan 2024, https://kellerjordan.github.io/posts/muon: momentum made orthogonal, for weight matrices; AdamW for the rest. The
answer layer belongs to it, but not where words are read. Vectors of many words learn by AdamW at muon's rate or 0.02, all else at a
tenth of it: a Transformer's loss of translations after 900 updates is 2.93, 3.10 with these vectors by muon; of an LSTM with attention
after 1.5 minutes 2.78, 2.96. The King James Bible by its 67 characters: 2.34 bits after half a minute by muon, 2.54 by AdamW.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from lamina.core.errors import unknown

LARGEST = 2048  # rows and columns of a matrix for muon: one of 4096 x 4096 costs 2e12 operations an update
SIGNS = 1000  # tokens of which muon learns the vectors, too: characters, bytes
WORDS = 2e-2  # the highest rate of vectors of words
SMALL = 1 << 13  # numbers of a weight: a gradient of more is better taken as it comes than zeroed and added to
STACKED = 1 << 18  # numbers of a matrix: larger ones gain nothing by being multiplied together


def rate(schedule: str, progress: float) -> float:
    """Learning rate as a share of the highest, for progress in [0, 1] of the budget.

    one_cycle rises over the first fifth and falls linearly to 0 (Smith 2018); cosine
    (Loshchilov 2016), linear and constant warm up for 5 %.
    """
    progress = min(1.0, max(0.0, progress))
    if schedule == "one_cycle":
        return 0.1 + 0.9 * progress / 0.2 if progress < 0.2 else (1 - progress) / 0.8
    warm = min(1.0, (progress + 0.002) / 0.05)
    if schedule == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * progress))
    return warm * (1 - progress) if schedule == "linear" else warm


@torch.no_grad()
def excess(grads: list[Tensor], most: float) -> Tensor:
    """The common norm of gradients over the `most` that it may be, at least 1: what optimisers divide them by."""
    norm = torch.linalg.vector_norm
    total = norm(grads[0]) if len(grads) == 1 else norm(torch.stack(torch._foreach_norm(grads)))  # type: ignore[attr-defined]
    return ((total + 1e-6) / most).clamp_(min=1.0)


@dataclass
class Group:
    """Weights that are updated alike."""

    weights: list[nn.Parameter]
    decay: float


class Optimizer:
    """Updates weights by their gradients. Not torch's class: importing what that needs takes 1.5 seconds of a training."""

    STATE: ClassVar[tuple[str, ...]] = ()
    """tensors that are kept, each as large as its weight"""
    low = False
    """products may be in bfloat16"""
    over: Tensor | None = None
    """what gradients are divided by as they are used: fused updates do it on their way"""

    def __init__(self, groups: list[Group], lr: float) -> None:
        self.groups, self.lr = groups, lr
        self.weights = [w for group in groups for w in group.weights]
        self.state = [{name: torch.zeros_like(w) for name in self.STATE} for w in self.weights]
        self._of = {id(w): kept for w, kept in zip(self.weights, self.state, strict=True)}

    @torch.no_grad()
    def step(self, share: float, over: Tensor | None = None) -> None:
        """One update with `share` of the highest learning rate, of gradients divided by `over`; weights without a gradient stay."""
        self.over = over
        for group in self.groups:
            weights = [w for w in group.weights if w.grad is not None]
            if weights:
                kept = [self._of[id(w)] for w in weights]
                grads = [w.grad for w in weights if w.grad is not None]
                self.update(weights, grads, kept, share * self.lr, group.decay)

    def zero(self) -> None:
        """Forget the gradients; those of flattened weights are views of one vector, which stays."""
        for weight in self.weights:
            if weight.dim() == 1 and weight.grad is not None:
                weight.grad.zero_()
            else:
                weight.grad = None

    def update(
        self, weights: list[Any], grads: list[Tensor], kept: list[dict[str, Tensor]], lr: float, decay: float
    ) -> None:
        """Change weights in place; `kept` is the state of each."""
        raise NotImplementedError

    def align(self) -> None:
        """Lay the state out as the weights lie, which fused updates take for granted."""
        for weight, kept in zip(self.weights, self.state, strict=True):
            for name, value in kept.items():
                if value.shape == weight.shape and value.stride() != weight.stride():
                    kept[name] = torch.empty_like(weight).copy_(value)


class SGD(Optimizer):
    """Nesterov momentum 0.9; decay is added to the gradient."""

    STATE = ("momentum",)

    def update(
        self, weights: list[Any], grads: list[Tensor], kept: list[dict[str, Tensor]], lr: float, decay: float
    ) -> None:
        buffers: list[Tensor | None] = [k["momentum"] for k in kept]
        sgd(weights, grads, buffers, fused=True, grad_scale=self.over, weight_decay=decay, momentum=0.9, lr=lr,
            dampening=0.0, nesterov=True, maximize=False)  # fmt: skip


class AdamW(Optimizer):
    """Betas 0.9 and 0.99; decay is apart from the gradient."""

    STATE = ("mean", "square")

    def __init__(self, groups: list[Group], lr: float) -> None:
        super().__init__(groups, lr)
        for weight, kept in zip(self.weights, self.state, strict=True):
            kept["steps"] = torch.zeros((), device=weight.device)

    def update(
        self, weights: list[Any], grads: list[Tensor], kept: list[dict[str, Tensor]], lr: float, decay: float
    ) -> None:
        means, squares, steps = ([k[name] for k in kept] for name in ("mean", "square", "steps"))
        adamw(weights, grads, means, squares, [], steps, fused=True, grad_scale=self.over, amsgrad=False, beta1=0.9,
              beta2=0.99, lr=lr, weight_decay=decay, eps=1e-8, maximize=False)  # fmt: skip


class Rows(Optimizer):
    """Adagrad with one number a row, for tables of which a step meets few rows (Duchi 2011, https://jmlr.org/papers/v12/duchi11a.html)."""

    def __init__(self, groups: list[Group], lr: float) -> None:
        super().__init__(groups, lr)
        for weight, kept in zip(self.weights, self.state, strict=True):
            kept["square"] = weight.new_zeros(len(weight))

    def update(
        self, weights: list[Any], grads: list[Tensor], kept: list[dict[str, Tensor]], lr: float, decay: float
    ) -> None:
        for weight, grad, state in zip(weights, grads, kept, strict=True):
            rows, change = _once(grad)
            mean = torch.linalg.vector_norm(change, dim=1).square_().div_(change.shape[1])
            square = state["square"].index_add_(0, rows, mean).index_select(0, rows)
            change.mul_(square.sqrt_().add_(1e-8).reciprocal_().mul_(-lr)[:, None])
            weight.scatter_add_(0, rows[:, None].expand_as(change), change)  # twice as fast as index_add_


def _once(grad: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that a sparse gradient has, each once, and their values; those that come so already are not sorted again."""
    rows, values = grad._indices()[0], grad._values()
    if bool((rows[1:] > rows[:-1]).all()):
        return rows, values
    rows, place = rows.unique(return_inverse=True)
    return rows, values.new_zeros(len(rows), values.shape[1]).index_add_(0, place, values)


class Muon(Optimizer):
    """Momentum whose matrix is replaced by the nearest orthogonal one, by five Newton-Schulz steps.

    Takes weights of two or more axes; a convolution counts as (outputs, everything else).
    """

    STATE = ("momentum",)

    def update(
        self, weights: list[Any], grads: list[Tensor], kept: list[dict[str, Tensor]], lr: float, decay: float
    ) -> None:
        momenta = [state["momentum"] for state in kept]
        if self.over is not None:
            torch._foreach_div_(grads, self.over)  # type: ignore[attr-defined]
        torch._foreach_mul_(momenta, 0.9)  # type: ignore[attr-defined]
        torch._foreach_add_(momenta, grads)  # type: ignore[attr-defined]
        for alike in _alike(weights):
            sums = [grads[i].add(momenta[i], alpha=0.9).flatten(1) for i in alike]
            changes = orthogonal(torch.stack(sums), self.low) if len(sums) > 1 else orthogonal(sums[0], self.low)[None]
            scale = max(1.0, sums[0].shape[0] / sums[0].shape[1]) ** 0.5
            for i, change in zip(alike, changes, strict=True):
                weights[i].mul_(1 - lr * decay).add_(change.reshape(weights[i].shape), alpha=-lr * scale)


def _alike(weights: list[Any]) -> list[list[int]]:
    """Places of matrices of one shape that are small enough to gain by being multiplied together; others alone."""
    sets: dict[tuple[int, ...], list[int]] = {}
    for i, weight in enumerate(weights):
        rows, columns = weight.shape[0], weight[0].numel()
        sets.setdefault((rows, columns) if weight.numel() <= STACKED else (i,), []).append(i)
    return list(sets.values())


def orthogonal(matrix: Tensor, low: bool = False, steps: int = 5) -> Tensor:
    """The orthogonal matrix nearest to each (.., rows, columns), its singular values within 0.7 to 1.2 of 1 (quintic Newton-Schulz).

    x becomes a x + b (x x') x + c (x x')^2 x. All of these factors are polynomials of the first x x' and are multiplied in its
    smaller space: 10 products of it with x become 2, and a convolution of 512 channels takes a third of the time on one core.
    low: products in bfloat16, one after the other: products of the first would grow by their rounding where x is of low rank.
    With units for them 2.3 times as fast for 1024 x 256; eight of 128 x 128 together take 1.6 ms, one after the other 4.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x / (torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True) + 1e-7)
    plus = torch.baddbmm if x.dim() == 3 else torch.addmm
    if low:
        x = x.bfloat16()
        for _ in range(steps):
            gram = x @ x.mT
            x = plus(x, plus(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x.mT if tall else x
    gram = x @ x.mT
    factor = whole = torch.eye(gram.shape[-1], dtype=x.dtype, device=x.device).expand_as(gram)
    for step in range(steps):
        gram = factor @ gram @ factor if step else gram
        factor = plus(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        whole = factor @ whole if step else factor
    x = whole @ x
    return x.mT if tall else x


def flatten(params: list[nn.Parameter]) -> nn.Parameter:
    """One vector in whose memory these weights lie from now on, and their gradients in its own; convolutions stay apart.

    Updating many small tensors is mostly calling: a step of an MLP 10-64-64-1 takes 0.75 ms with it and 0.94 without.
    """
    whole = nn.Parameter(torch.cat([p.detach().flatten() for p in params]))
    whole.grad = torch.zeros_like(whole)
    start = 0
    for p in params:
        stop = start + p.numel()
        p.data, p.grad = whole.data[start:stop].view(p.shape), whole.grad[start:stop].view(p.shape)
        start = stop
    return whole


def optimizers(name: str, net: nn.Module, lr: float, weight_decay: float) -> list[Optimizer]:
    """The optimisers of a net, with the highest learning rate.

    Only matrices decay, and not those of modules that say `decays = False`. Small weights that are no convolutions are flattened.
    """
    tables = {p for m in net.modules() if getattr(m, "rows", False) for p in m.parameters(recurse=False)}
    if tables:
        dense = [p for p in net.parameters() if p.requires_grad and p not in tables]
        assert not dense, "a net that learns row by row has no other weights"
        return [Rows([Group([p for p in net.parameters() if p in tables], 0.0)], lr)]
    learned = [p for p in net.parameters() if p.requires_grad]
    spared = {id(p) for m in net.modules() if not getattr(m, "decays", True) for p in m.parameters(recurse=False)}
    matrices = [p for p in learned if p.dim() > 1 and id(p) not in spared]
    vectors = [p for p in learned if p.dim() <= 1 or id(p) in spared]
    if name == "sgd":
        return [SGD(_groups(matrices, vectors, weight_decay), lr)]
    if name == "adamw":
        return [AdamW(_groups(matrices, vectors, weight_decay), lr)]
    if name == "muon":
        read = {id(m.weight) for m in net.modules() if isinstance(m, nn.Embedding)}
        words = [p for p in matrices if id(p) in read and len(p) > SIGNS]
        ends = [p for p in matrices[-1:] if not read]  # the answer layer of pictures
        taken = {id(p) for p in (*words, *ends)}
        inner = [p for p in matrices if id(p) not in taken and min(p.shape[0], p[0].numel()) <= LARGEST]
        taken = {id(p) for p in (*words, *inner)}
        parts = [
            (AdamW, _groups([p for p in matrices if id(p) not in taken], vectors, weight_decay), 0.1 * lr),
            (AdamW, _groups(words, [], weight_decay), min(lr, WORDS)),
            (Muon, [Group(inner, weight_decay)] if inner else [], lr),
        ]
        return [kind(groups, highest) for kind, groups, highest in parts if groups]
    raise unknown("optimizer", name, ("sgd", "adamw", "muon"))


def _groups(decaying: list[nn.Parameter], others: list[nn.Parameter], decay: float) -> list[Group]:
    """Weights that decay and that do not, small ones flattened that have fewer than four axes (ways.py lays those out anew)."""
    groups = []
    for part, share in [(decaying, decay), (others, 0.0)] if decay else [([*decaying, *others], 0.0)]:
        flat = [p for p in part if p.dim() < 4 and p.numel() <= SMALL]
        apart = [p for p in part if p.dim() >= 4 or p.numel() > SMALL]
        if part:
            groups.append(Group([*([flatten(flat)] if flat else []), *apart], share))
    return groups
