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
from lamina.nets._bags import Block, alike, places, products, sums
from lamina.nets._text import SPECIAL

TAKES = ("tokens",)
ANSWERS = "vectors"
SIZES: dict[str, dict] = {"100": {"width": 100}, "300": {"width": 300}}
MODELS, OUTPUTS = ("skipgram", "cbow"), ("negative", "hierarchical")
CHUNK, GROUP, NOISE = 32, 64, 16  # words of a chunk; words that share noise words; how many
TOP = 64  # forks next to the root
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
        if forks and not self.count.is_meta:
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
        if seed is None:
            stays = torch.rand(len(tokens), device=tokens.device) < self.keep.index_select(0, tokens)
            tokens = tokens.index_select(0, places(stays.logical_and_(tokens >= SPECIAL)))
        else:
            tokens = tokens.where(tokens >= SPECIAL, 0)
        tokens = F.pad(tokens, (0, -len(tokens) % GROUP if len(tokens) else GROUP))
        reach = torch.randint(1, self.config.window + 1, tokens.shape, generator=random, device=tokens.device)
        noise = tokens[:0] if self.path.shape[1] else self._noise(len(tokens) // GROUP, random)
        return _Gradient.apply(self.near, self.out, self, tokens, reach, noise)  # type: ignore[return-value]

    def _noise(self, groups: int, random: torch.Generator | None) -> Tensor:
        """Words (groups, NOISE) drawn by their share of the noise."""
        drawn = torch.rand(groups, NOISE, generator=random, device=self.noise.device, dtype=torch.float64)
        return torch.searchsorted(self.noise, drawn).clamp(max=self.config.vocabulary - 1)


class _Gradient(torch.autograd.Function):
    """All pairs of a block: losses forwards, rows of gradients backwards, both computed at once."""

    @staticmethod
    def forward(ctx: Any, near: Tensor, out: Tensor, net: Net, tokens: Tensor, reach: Tensor, noise: Tensor) -> Any:  # type: ignore[override]
        with torch.no_grad(), torch.autocast(near.device.type, enabled=False):  # its sums of rows know one precision
            kind = _hierarchical if net.path.shape[1] else _cbow if net.config.model == "cbow" else _skipgram
            loss, pairs, *grads = kind(near.detach(), out.detach(), net, Block(tokens, reach, net.config.window), noise)
        ctx.save_for_backward(*grads)
        ctx.sizes = near.shape, out.shape
        ctx.mark_non_differentiable(pairs)
        return loss, pairs

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Any:  # type: ignore[override]
        """`given` must be the same for every word: the block is learned as a sum."""
        rows, values, others, changes = ctx.saved_tensors
        share = float(given[0].flatten()[0])
        made = [
            torch.sparse_coo_tensor(
                at[None], change if share == 1 else change.mul_(share), size, check_invariants=False
            )
            for at, change, size in ((rows, values, ctx.sizes[0]), (others, changes, ctx.sizes[1]))
        ]
        return (*made, None, None, None, None)


def _against_noise(given: Tensor, noise: Tensor, weight: Tensor, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """given (N, D), weight (N,) of each noise word: losses (N,), gradients of given (N, D) and of noise (groups K, D)."""
    grouped = given.view(-1, GROUP, given.shape[1])
    other = out.index_select(0, noise.flatten()).view(*noise.shape, -1)
    likely = torch.bmm(grouped, other.transpose(1, 2)).sigmoid_()  # (groups, GROUP, K)
    weight = weight.view(-1, GROUP, 1)
    loss = (1 - likely).clamp_(min=1e-7).log_().sum(2, keepdim=True).mul_(-weight)
    grad = likely.mul_(weight)
    of_noise = torch.bmm(grad.transpose(1, 2), grouped)
    return loss.flatten(), torch.bmm(grad, other).flatten(0, 1), of_noise.flatten(0, 1)


def _together(rows: Tensor, changes: Tensor, noise: Tensor, of_noise: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of rows (R, D) and of noise words, each row once and in order."""
    order, every, begin = alike(torch.cat([rows, noise.flatten()]))
    return every, sums(torch.cat([changes, of_noise]), order, None, begin)


def _skipgram(near: Tensor, out: Tensor, net: Net, block: Block, noise: Tensor) -> tuple[Tensor, ...]:
    window, pairs = net.config.window, block.held.sum(1)
    given = near.index_select(0, block.tokens)  # (N, D)
    stretch = F.pad(block.tokens, (window, window)).unfold(0, CHUNK + 2 * window, CHUNK)
    other = out.index_select(0, stretch.flatten()).view(*stretch.shape, -1)
    every = torch.bmm(given.view(-1, CHUNK, given.shape[1]), other.transpose(1, 2))  # (C, c, c + 2 window)
    side = every.shape[2]
    likely = every.as_strided((len(every), CHUNK, block.wide), (CHUNK * side, side + 1, 1)).flatten(0, 1).sigmoid()
    loss = likely.clamp(min=1e-7).log_().mul_(block.held).sum(1).neg_()
    grad = likely.sub_(1).mul_(block.held)
    more, of_given, of_noise = _against_noise(given, noise, pairs * (net.config.negatives / NOISE), out)
    of_near = block.per_word(of_given.add_(sums(out, block.around, grad)))
    others = _together(block.rows, block.per_neighbour(given, grad), noise, of_noise)
    return loss + more, pairs, block.rows, of_near, *others


def _cbow(near: Tensor, out: Tensor, net: Net, block: Block, noise: Tensor) -> tuple[Tensor, ...]:
    given, share, pairs = _bags(near, block)
    each = torch.arange(len(given), device=given.device)
    likely = products(out, block.tokens, each, each, given).sigmoid_()
    grad = (likely - 1) * pairs
    more, of_given, of_noise = _against_noise(given, noise, pairs * (net.config.negatives / NOISE), out)
    of_near = block.per_neighbour(of_given.add_(sums(out, block.tokens, grad, each)), share)
    others = _together(block.rows, block.per_word(given, grad), noise, of_noise)
    return more - likely.clamp(min=1e-7).log() * pairs, pairs, block.rows, of_near, *others


def _bags(near: Tensor, block: Block) -> tuple[Tensor, Tensor, Tensor]:
    """The mean of each word's neighbours (N, D), their shares in it (N, 2 window + 1), and 1.0 where there are any (N,)."""
    count = block.held.sum(1, keepdim=True)
    share = block.held / count.clamp(min=1)
    return sums(near, block.around, share), share, (count > 0).float().flatten()


def _hierarchical(near: Tensor, out: Tensor, net: Net, block: Block, noise: Tensor) -> tuple[Tensor, ...]:
    """Each bag foresees the way to its word; without bags each word those to the words whose neighbour it is."""
    if net.config.model == "cbow":
        given, share, pairs = _bags(near, block)
        loss, of_given, rows, changes = _along_paths(
            given, block.which()[:, None], pairs[:, None], out, net, block.rows
        )
        return loss, pairs, block.rows, block.per_neighbour(of_given, share), rows, changes
    given, pairs = near.index_select(0, block.tokens), block.turned(block.held)
    loss, of_given, rows, changes = _along_paths(given, block.beside(block.which()), pairs, out, net, block.rows)
    return loss, pairs.sum(1), block.rows, block.per_word(of_given), rows, changes


def _along_paths(
    given: Tensor, words: Tensor, known: Tensor, out: Tensor, net: Net, rows: Tensor
) -> tuple[Tensor, ...]:
    """given (N, D) foresees the ways to rows[words] (N, M), where `known` (N, M): losses (N,), gradients of given (N, D), forks met, theirs.

    Where M > 1 the TOP forks next to the root, which most ways pass, are a product of matrices; other forks one product per way.
    """
    turn = net.turn.index_select(0, rows).flatten()
    used = places(turn >= 0)
    row, fork = used // FORKS, net.path.index_select(0, rows).flatten().index_select(0, used).long()
    way = turn.index_select(0, used).float()
    if words.shape[1] == 1:
        return _one_by_one(given, words, known, out, row, len(rows), fork, way)
    first = max(0, len(out) - 1 - TOP)  # forks are numbered up to the root
    top, high = out[first:-1], fork >= first
    met = given.new_zeros(len(rows), 2, len(top))
    met[row[high], 0, fork[high] - first] = 1
    met[row[high], 1, fork[high] - first] = way[high]
    passed, turned = sums(met.flatten(1), words, known).view(-1, 2, len(top)).unbind(1)  # (N, TOP)
    score = given @ top.T
    likely = score.sigmoid()
    loss = ((passed - turned) * score).sub_(likely.clamp(min=1e-30).log_().mul_(passed)).sum(1)
    grad = likely.mul_(passed).sub_(turned)
    low = ~high
    more, of_given, forks, changes = _one_by_one(given, words, known, out, row[low], len(rows), fork[low], way[low])
    every = torch.cat([forks, torch.arange(first, len(out) - 1, device=out.device)])
    return loss.add_(more), of_given.addmm_(grad, top), every, torch.cat([changes, grad.T @ given])


def _one_by_one(
    given: Tensor, words: Tensor, known: Tensor, out: Tensor, row: Tensor, rows: int, fork: Tensor, way: Tensor
) -> tuple[Tensor, ...]:
    """The same of some of the forks: `fork` lies on the way to `row`, which goes on by `way`; in the order of the rows."""
    length = torch.bincount(row, minlength=rows)
    pair = places(known > 0)
    bag, word = pair // known.shape[1], words.flatten().index_select(0, pair)
    many = length.index_select(0, word)
    ends = many.cumsum(0)
    count = int(ends[-1]) if len(ends) else 0
    if not count:
        return given.new_zeros(len(given)), torch.zeros_like(given), fork[:0], given[:0]
    at = torch.arange(count, device=ends.device)
    at += (length.cumsum(0).index_select(0, word) - ends).repeat_interleave(many)
    fork, way, bag = fork.index_select(0, at), way.index_select(0, at), bag.repeat_interleave(many)
    of_bag = torch.bincount(bag, minlength=len(given))
    begin = of_bag.cumsum(0) - of_bag
    score = products(out, fork, begin, bag, given)
    loss = given.new_zeros(len(given)).index_add_(0, bag, F.softplus(score) - way * score)
    grad = score.sigmoid_().sub_(way)
    sort, forks, first = alike(fork)
    changes = sums(given, bag.index_select(0, sort), grad.index_select(0, sort), first)
    return loss, sums(out, fork, grad, begin), forks, changes


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
