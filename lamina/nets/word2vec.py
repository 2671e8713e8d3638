"""word2vec: a vector per word, from the words that stand near it. Mikolov 2013, https://arxiv.org/abs/1301.3781 and https://arxiv.org/abs/1310.4546

skipgram: a word foresees its neighbours; cbow: the mean of its neighbours foresees it. output negative: true neighbours against
`negatives` drawn words (eq. 4 of the second); hierarchical: yes or no at every fork of a Huffman tree (eq. 3). Common words are
left out by chance (eq. 5). A block of text is computed as products of matrices: a chunk of words against the stretch around it,
of which the window is a band, and GROUP words against noise that they share (Ji 2016, https://arxiv.org/abs/1604.04661): no row is
fetched once per pair. Gradients are of the rows that were met alone. Letters: N words, C chunks, c words of one, D width, K noise.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.check import within
from lamina.core.errors import unknown
from lamina.nets._text import SPECIAL

TAKES = ("tokens",)
ANSWERS = "vectors"
SIZES: dict[str, dict] = {"100": {"width": 100}, "300": {"width": 300}}
MODELS, OUTPUTS = ("skipgram", "cbow"), ("negative", "hierarchical")
CHUNK, GROUP, NOISE = 32, 128, 32  # words of a chunk; words that share noise words; how many
FORKS = 40  # of a path in the tree, at most
POWER = 0.75  # of a word's count as noise


@dataclass(frozen=True)
class Config:
    """Sizes of word2vec."""

    vocabulary: int = 1000
    """different words"""
    width: int = 100
    """numbers of a vector"""
    model: str = "skipgram"
    """skipgram or cbow"""
    output: str = "negative"
    """negative (sampling) or hierarchical (softmax)"""
    window: int = 5
    """neighbours on each side, at most; how many is drawn for every word"""
    negatives: int = 5
    """noise words against each true one"""
    sample: float = 1e-3
    """share of the text from which on a word is left out by chance; 0: none is"""


class Net(nn.Module):
    """tokens (B, T) int64 -> (B, T, 2 D): each word's vector, and its vector as a neighbour. Raises SettingError, NameUnknown."""

    rows = True
    """its tables are updated row by row (train/optim.py)"""
    count: Tensor
    keep: Tensor
    noise: Tensor
    path: Tensor
    turn: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        for name, known in (("model", MODELS), ("output", OUTPUTS)):
            if getattr(config, name) not in known:
                raise unknown(name, getattr(config, name), known)
        within("net.window", config.window, 1, CHUNK)
        within("net.negatives", config.negatives, 1, 64)
        within("net.sample", config.sample, 0, 1)
        self.config, size = config, (config.vocabulary, config.width)
        self.near = nn.Parameter((torch.rand(size) - 0.5) / config.width)
        self.out = nn.Parameter(torch.zeros(size))
        self.register_buffer("count", torch.ones(config.vocabulary))
        self.register_buffer("keep", torch.ones(config.vocabulary))
        self.register_buffer("noise", torch.linspace(0, 1, config.vocabulary + 1, dtype=torch.float64)[1:])
        forks = FORKS if config.output == "hierarchical" else 0
        self.register_buffer("path", torch.zeros(config.vocabulary, forks, dtype=torch.int32))
        self.register_buffer("turn", torch.full((config.vocabulary, forks), -1, dtype=torch.int8))
        if forks:
            self.fit_counts(self.count)

    @torch.no_grad()
    def fit_counts(self, count: Tensor) -> None:
        """How often each word (vocabulary,) stands in the training text: what is left out, what is noise, the tree."""
        count = count.double().clone()
        count[:SPECIAL] = 0
        share = count / count.sum().clamp(min=1)
        sample = self.config.sample
        kept = (share / sample).sqrt().add(1) * sample / share.clamp(min=1e-12) if sample else torch.ones_like(share)
        weight = count.clamp(min=1e-3).pow(POWER)
        weight[:SPECIAL] = 0
        self.count.copy_(count)
        self.keep.copy_(kept.clamp(max=1))
        self.noise.copy_(weight.cumsum(0) / weight.sum())
        if self.path.shape[1]:
            path, turn = huffman(count.clamp(min=0.5).tolist())
            self.path.copy_(path)
            self.turn.copy_(turn)

    def forward(self, tokens: Tensor) -> Tensor:
        if not self.path.shape[1]:
            return torch.cat([self.near[tokens], self.out[tokens]], -1)
        used = (self.turn[tokens] >= 0).unsqueeze(-1)
        forks = self.out[self.path[tokens].long()] * used
        return torch.cat([self.near[tokens], forks.sum(-2) / used.sum(-2).clamp(min=1)], -1)

    def losses(self, tokens: Tensor, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """tokens (N,) in the order of the text -> sum of the losses of each word's pairs, and number of its pairs, (N,) each.

        With gradients of few rows (sparse) for both tables. seed: of windows and noise; None: torch's own state goes on, and
        common words are left out. N becomes a multiple of GROUP.
        """
        random = None if seed is None else torch.Generator(tokens.device).manual_seed(seed)
        tokens = tokens.where(tokens >= SPECIAL, 0)
        if seed is None:
            tokens = tokens[torch.rand(len(tokens), device=tokens.device) < self.keep[tokens] * (tokens > 0)]
        tokens = F.pad(tokens, (0, -len(tokens) % GROUP if len(tokens) else GROUP))
        reach = torch.randint(1, self.config.window + 1, tokens.shape, generator=random, device=tokens.device)
        drawn = torch.rand(len(tokens) // GROUP, NOISE, generator=random, device=tokens.device, dtype=torch.float64)
        noise = torch.searchsorted(self.noise, drawn).clamp(max=self.config.vocabulary - 1)
        return _Block.apply(self.near, self.out, self, tokens, reach, noise)  # type: ignore[return-value]


class _Block(torch.autograd.Function):
    """All pairs of a block: losses forwards, rows of gradients backwards, both computed at once."""

    @staticmethod
    def forward(ctx: Any, near: Tensor, out: Tensor, net: Net, tokens: Tensor, reach: Tensor, noise: Tensor) -> Any:  # type: ignore[override]
        with torch.no_grad():
            kind = _hierarchical if net.path.shape[1] else _cbow if net.config.model == "cbow" else _skipgram
            loss, pairs, *grads = kind(near, out, net, tokens, reach, noise)
        ctx.save_for_backward(*grads)
        ctx.sizes = near.shape, out.shape
        ctx.mark_non_differentiable(pairs)
        return loss, pairs

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Any:  # type: ignore[override]
        """`given` must be the same for every word: the block is learned as a sum."""
        rows, values, others, changes = ctx.saved_tensors
        share = given[0].flatten()[0]
        made = [
            torch.sparse_coo_tensor(at[None], change * share, size, check_invariants=False)
            for at, change, size in ((rows, values, ctx.sizes[0]), (others, changes, ctx.sizes[1]))
        ]
        return (*made, None, None, None, None)


def _band(tokens: Tensor, reach: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Words around each chunk (C, c + 2 window), and which of them are neighbours of its words (C, c, c + 2 window) float."""
    around = F.pad(tokens, (window, window)).unfold(0, CHUNK + 2 * window, CHUNK)
    place = torch.arange(CHUNK + 2 * window, device=tokens.device)
    apart = (place[None, :] - place[:CHUNK, None] - window).abs()
    near = (apart <= reach.view(-1, CHUNK, 1)) & (apart > 0)
    near &= (around > 0).unsqueeze(1) & (tokens.view(-1, CHUNK, 1) > 0)
    return around, near.float()


def _against_noise(given: Tensor, noise: Tensor, weight: Tensor, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """given (N, D), weight (N,) of each noise word: losses (N,), gradients of given (N, D) and of noise (groups, K, D)."""
    grouped, other = given.view(-1, GROUP, given.shape[1]), out[noise.flatten()].view(*noise.shape, -1)
    likely = torch.bmm(grouped, other.transpose(1, 2)).sigmoid_()  # (groups, GROUP, K)
    weight = weight.view(-1, GROUP, 1)
    loss = (1 - likely).clamp_(min=1e-7).log_().sum(2, keepdim=True).mul_(-weight)
    grad = likely.mul_(weight)
    return loss.flatten(), torch.bmm(grad, other).flatten(0, 1), torch.bmm(grad.transpose(1, 2), grouped)


def _skipgram(near: Tensor, out: Tensor, net: Net, tokens: Tensor, reach: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    around, band = _band(tokens, reach, net.config.window)
    given = near[tokens]  # (N, D)
    own, other = given.view(-1, CHUNK, given.shape[1]), out[around.flatten()].view(*around.shape, -1)
    likely = torch.bmm(own, other.transpose(1, 2)).sigmoid_()  # (C, c, c + 2 window)
    pairs = band.sum(2).flatten()
    loss = likely.clamp(min=1e-7).log_().mul_(band).sum(2).flatten().neg_()
    grad = likely.sub_(1).mul_(band)
    of_own, of_other = torch.bmm(grad, other), torch.bmm(grad.transpose(1, 2), own)
    more, of_given, of_noise = _against_noise(given, noise, pairs * (net.config.negatives / NOISE), out)
    rows = torch.cat([around.flatten(), noise.flatten()])
    changes = torch.cat([of_other.flatten(0, 1), of_noise.flatten(0, 1)])
    return loss + more, pairs, tokens, of_own.flatten(0, 1).add_(of_given), rows, changes


def _cbow(near: Tensor, out: Tensor, net: Net, tokens: Tensor, reach: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    around, band = _band(tokens, reach, net.config.window)
    count = band.sum(2, keepdim=True)
    share, pairs = band / count.clamp(min=1), (count > 0).float().flatten()
    given = torch.bmm(share, near[around.flatten()].view(*around.shape, -1)).flatten(0, 1)  # (N, D)
    target = out[tokens]
    likely = (given * target).sum(1).sigmoid()
    grad = ((likely - 1) * pairs)[:, None]
    more, of_given, of_noise = _against_noise(given, noise, pairs * (net.config.negatives / NOISE), out)
    of_given = (of_given + grad * target).view(-1, CHUNK, given.shape[1])
    of_near = torch.bmm(share.transpose(1, 2), of_given).flatten(0, 1)
    rows, changes = torch.cat([tokens, noise.flatten()]), torch.cat([grad * given, of_noise.flatten(0, 1)])
    return more - likely.clamp(min=1e-7).log() * pairs, pairs, around.flatten(), of_near, rows, changes


def _hierarchical(
    near: Tensor, out: Tensor, net: Net, tokens: Tensor, reach: Tensor, noise: Tensor
) -> tuple[Tensor, ...]:
    window, count = net.config.window, len(tokens)
    around, band = _band(tokens, reach, window)
    if net.config.model == "cbow":
        many = band.sum(2, keepdim=True)
        share, pairs = band / many.clamp(min=1), (many > 0).float().flatten()
        given = torch.bmm(share, near[around.flatten()].view(*around.shape, -1)).flatten(0, 1)  # (N, D)
        loss, of_given, rows, changes = _along_paths(given, tokens, pairs > 0, out, net)
        of_near = torch.bmm(share.transpose(1, 2), of_given.view(-1, CHUNK, given.shape[1])).flatten(0, 1)
        return loss, pairs, around.flatten(), of_near, rows, changes
    chunk, place, beside = band.nonzero().unbind(1)  # each neighbour foresees the word
    centre, other = chunk * CHUNK + place, chunk * CHUNK + beside - window
    every = torch.ones(len(centre), dtype=torch.bool, device=tokens.device)
    found, of_given, rows, changes = _along_paths(near[tokens[other]], tokens[centre], every, out, net)
    loss = near.new_zeros(count).index_add_(0, centre, found)
    return (
        loss,
        band.sum(2).flatten(),
        tokens,
        near.new_zeros(count, near.shape[1]).index_add_(0, other, of_given),
        rows,
        changes,
    )


def _along_paths(given: Tensor, words: Tensor, known: Tensor, out: Tensor, net: Net) -> tuple[Tensor, ...]:
    """given (P, D) foresees the way to words (P,), where `known`: losses (P,), gradients of given (P, D), forks met and theirs.

    A bag is the forks of one way; sums over bags make no row per fork and pair (107 thousand of 100 numbers: 3.9 ms, not 57).
    """
    turn = net.turn[words]
    used = (turn >= 0) & known[:, None]  # (P, forks)
    length = used.sum(1)
    bag, begin = torch.arange(len(words), device=words.device).repeat_interleave(length), length.cumsum(0) - length
    rows, place = net.path[words][used].long().unique(return_inverse=True)
    if not len(rows):
        return given.new_zeros(len(given)), torch.zeros_like(given), rows, given.new_zeros(0, given.shape[1])
    way, forks = turn[used].to(given.dtype), out[rows]
    score = torch.ops.aten._embedding_bag_per_sample_weights_backward(given, forks, place, begin, bag, 0)
    loss = given.new_zeros(len(given)).index_add_(0, bag, F.softplus(score) - way * score)
    grad = score.sigmoid() - way
    of_given = F.embedding_bag(place, forks, begin, mode="sum", per_sample_weights=grad)
    order, many = place.argsort(stable=True), torch.bincount(place, minlength=len(rows))
    changes = F.embedding_bag(bag[order], given, many.cumsum(0) - many, mode="sum", per_sample_weights=grad[order])
    return loss, of_given, rows, changes


def huffman(count: list[float]) -> tuple[Tensor, Tensor]:
    """The forks on the way to each word, and which way is taken (1, 0; -1 behind the end), (words, FORKS): common words are near.

    Huffman 1952, https://doi.org/10.1109/JRPROC.1952.273898. Forks beyond FORKS are left out.
    """
    words = len(count)
    heap = [(n, i) for i, n in enumerate(count)]
    heapq.heapify(heap)
    parent, side = [0] * (2 * words), [0] * (2 * words)
    for fork in range(words, 2 * words - 1):
        (a, left), (b, right) = heapq.heappop(heap), heapq.heappop(heap)
        parent[left] = parent[right] = fork
        side[right] = 1
        heapq.heappush(heap, (a + b, fork))
    path, turn = torch.zeros(words, FORKS, dtype=torch.int32), torch.full((words, FORKS), -1, dtype=torch.int8)
    up, way = torch.tensor(parent), torch.tensor(side, dtype=torch.int8)
    at, root = torch.arange(words), 2 * words - 2
    for place in range(FORKS):
        going = at != root
        if not going.any():
            break
        turn[going, place] = way[at[going]]
        at = torch.where(going, up[at], at)
        path[going, place] = (at[going] - words).int()
    return path, turn


def loss_of_nothing(config: Config) -> float:
    """The loss of a pair for vectors of zero, with noise: nats."""
    return (1 + config.negatives) * math.log(2)


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"tokens": torch.randint(SPECIAL, 1000, (2, 16))}, (2, 16, 200)
