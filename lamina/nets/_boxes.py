"""Boxes in plain torch: overlap, suppression of doubles, codes against default boxes. What detectors share.

Boxes are x0 y0 x1 y1. Letters: B batch, N boxes or places, M objects of a picture (class -1: none), K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TAKEN = 256  # answers of a picture that suppression looks at
MOST = 64  # answers of a picture that are given
LEAST = 0.01  # score under which a box is no answer
SAME = 0.5  # overlap from which two boxes of a class are the same object


def area(boxes: Tensor) -> Tensor:
    """boxes (..., 4) -> (...)."""
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of all pairs: (..., N, 4) and (..., M, 4) -> (..., N, M)."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    common = sides[..., 0] * sides[..., 1]
    return common / (area(a) + area(b) - common).clamp(min=1e-9)


def complete_overlap(a: Tensor, b: Tensor) -> Tensor:
    """Overlap of pairs (..., 4) less their distance and difference of proportions: CIoU (Zheng 2019, arXiv:1911.08287, eq. 10)."""
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    common = sides[..., 0] * sides[..., 1]
    share = common / (area(a) + area(b) - common).clamp(min=1e-9)
    around = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    apart = ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2).square().sum(-1)
    shapes = [torch.atan((x[..., 2] - x[..., 0]) / (x[..., 3] - x[..., 1]).clamp(min=1e-6)) for x in (a, b)]
    shape = 0.4052847 * (shapes[0] - shapes[1]).square()  # 4 / pi^2
    weight = (shape / (1 - share + shape).clamp(min=1e-6)).detach()
    return share - apart / around.square().sum(-1).clamp(min=1e-9) - weight * shape


def suppressed(boxes: Tensor, scores: Tensor, same: float = SAME) -> Tensor:
    """bool (B, N): which boxes (B, N, 4) stay when each removes the less sure ones that overlap it by more than `same`.

    scores (B, N), the surest first. Greedy suppression, for the whole batch at once: a box stays when no box that stays
    before it overlaps it. Repeating this from all boxes settles at least one more box a time, and is done when nothing changes.
    """
    before = torch.ones(boxes.shape[1], boxes.shape[1], device=boxes.device).triu(1)
    doubles = (overlap(boxes, boxes) > same).float() * before  # (B, N, N): row suppresses column

    def again(stays: Tensor) -> Tensor:
        return (scores > 0) & ~(torch.einsum("bn,bnm->bm", stays.float(), doubles) > 0)

    stays = scores > 0
    if torch.compiler.is_exporting():  # a loop in the graph
        return _repeated(again, stays)
    while not bool(((now := again(stays)) == stays).all()):
        stays = now
    return stays


def _repeated(again: Callable[[Tensor], Tensor], first: Tensor) -> Tensor:
    """again(again(... first)) until nothing changes, for a graph."""

    def step(now: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        made = again(now)
        return made, (made != now).any()

    return torch.while_loop(lambda _, goes: goes.clone(), step, (first, torch.ones((), dtype=torch.bool)))[0]  # type: ignore[attr-defined]


def answers(boxes: Tensor, scores: Tensor, same: float = SAME) -> Tensor:
    """boxes (B, N, 4) or (B, N, K, 4) as shares, scores (B, N, K) in [0, 1] -> (B, MOST, 6): x0 y0 x1 y1 score class, the surest first.

    Doubles of the same class are suppressed; where a picture has fewer answers, all six are 0.
    """
    kinds = scores.shape[2]
    flat = torch.where(scores >= LEAST, scores, 0).flatten(1)
    taken = min(TAKEN, flat.shape[1])
    score, place = _surest(flat, taken)
    kind = place % kinds
    each = boxes.flatten(1, 2) if boxes.dim() == 4 else boxes
    at = place if boxes.dim() == 4 else place // kinds
    box = each.gather(1, at[..., None].expand(-1, -1, 4)).clamp(0, 1)
    score = torch.where(area(box) > 0, score, 0)
    stays = suppressed(box + 2 * kind[..., None], score, same)  # classes lie apart
    score = torch.where(stays, score, 0)
    score, order = _surest(score, taken)
    found = torch.cat([box, kind[..., None].to(box.dtype)], 2).gather(1, order[..., None].expand(-1, -1, 5))
    found = torch.cat([found[..., :4], score[..., None], found[..., 4:]], 2) * (score > 0)[..., None]
    found = found[:, :MOST]
    return torch.nn.functional.pad(found, (0, 0, 0, MOST - found.shape[1]))


def _surest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest `count` of (B, N) and their places, of equal ones the first; a graph has no stable sort, but its topk is one."""
    if torch.compiler.is_exporting():
        return scores.topk(count, 1)
    values, places = scores.sort(dim=1, descending=True, stable=True)
    return values[:, :count], places[:, :count]


def coded(boxes: Tensor, defaults: Tensor) -> Tensor:
    """Boxes (..., 4) as differences from default boxes (..., 4): centre by its size, logarithm of the size (Ren 2015, eq. 2)."""
    centre, size = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-4)
    own, width = (defaults[..., :2] + defaults[..., 2:]) / 2, defaults[..., 2:] - defaults[..., :2]
    return torch.cat([(centre - own) / width * 10, (size / width).log() * 5], -1)


def decoded(codes: Tensor, defaults: Tensor) -> Tensor:
    """The inverse of `coded`."""
    own, width = (defaults[..., :2] + defaults[..., 2:]) / 2, defaults[..., 2:] - defaults[..., :2]
    centre, size = own + codes[..., :2] / 10 * width, width * (codes[..., 2:] / 5).clamp(-6, 4).exp()
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def assigned(boxes: Tensor, objects: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Class (B, N) from 1, box (B, N, 4) and overlap (B, N) of the object (B, M, 5) that each box (N, 4) or (B, N, 4) is nearest to.

    Of the boxes (N, 4), which are the same for all pictures, each object has the one that overlaps it most: an overlap of 2 and more.
    """
    there = objects[..., 4] >= 0  # (B, M)
    shared = overlap(boxes.expand(len(objects), -1, -1), objects[..., :4])  # (B, N, M)
    shared = torch.where(there[:, None], shared, -1.0)
    if boxes.dim() == 2:
        best = torch.zeros_like(shared).scatter_(1, shared.argmax(1)[:, None], 2.0)
        shared = shared + best * there[:, None]
    most, which = shared.max(2)
    kind = objects[..., 4].gather(1, which).long() + 1
    return kind, objects[..., :4].gather(1, which[..., None].expand(-1, -1, 4)), most


def hardest(surprise: Tensor, mine: Tensor, others: Tensor, times: int) -> Tensor:
    """bool (B, N): `mine`, and for each of them the `times` others with the largest surprise (B, N); ten where there is none of mine."""
    rank = torch.where(others, surprise, -1.0).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return mine | (others & (rank < (times * mine.sum(1, keepdim=True)).clamp(min=10)))


def grid(side: int, stride: int, sizes: list[tuple[float, float]]) -> Tensor:
    """Default boxes (side / stride squared x len(sizes), 4) as shares, row by row: around each cell's centre, width and height."""
    cells = -(-side // stride)
    centre = (torch.arange(cells, dtype=torch.float32) + 0.5) / cells
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    middle = torch.stack([x, y], -1).view(-1, 1, 2)
    half = torch.tensor(sizes, dtype=torch.float32).view(1, -1, 2) / 2
    return torch.cat([middle - half, middle + half], -1).view(-1, 4)
