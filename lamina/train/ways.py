"""Ways to run a weight update that agree to rounding: the fastest on this machine is measured and taken.

One of them rounds more: products in bfloat16 with weights in float32 (Micikevicius 2017, arXiv:1710.03740). It is tried where
a matrix product says that the machine has units for it and a time was asked for: a budget in epochs or steps can be repeated, which
a choice by the clock would spoil. A score that was learned so says it in its signature.

What each gave for the recipes of Lamina on 2 cores of an AMD EPYC without AVX-512 or bfloat16 units:
channels last 1.3 to 1.75 times contiguous; two threads 1.6 times one on an idle machine, and 1/40 of it when another program
holds a core; keeping freed memory (core.device) up to 1.5; convolutions by tiles (winograd.py) 1.4 for resnet/18 at 224x224. Compiled
code (compiled.py) is tried for nets that gain by it; those of pictures lose (0.8 to 1.08 times the speed).
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from lamina.core.device import bfloat16_pays, cores
from lamina.train import compiled, winograd
from lamina.train.step import Feed, Step

USUAL = 1.25  # times as fast as the usual way another one must be, so that noise does not choose
TRIES = 3  # updates at least that trying a way takes
PAID = 1.05  # the same for compiled code, once it is made
REPEATED = 2.0  # the same for a budget in epochs or steps, which should end in the same bits when it is run again


@dataclass(frozen=True)
class Way:
    """How the weight updates run; part of the saved state, so that a resumed run ends in the same bits."""

    threads: int = 0
    """threads of the processor; 0: as many as it has cores"""
    channels_last: bool = True
    """pictures and the weights of convolutions lie channel by channel of a pixel"""
    precision: str = "float32"
    """of products: float32 or bfloat16"""
    winograd: bool = False
    """convolutions of many channels learn by tiles, with a quarter of the multiplications"""
    compiled: bool = False
    """the net learns by code that is compiled for it"""

    def __str__(self) -> str:
        layout = "channels last" if self.channels_last else "contiguous"
        tiles = ", Winograd's convolution" if self.winograd else ""
        made = ", compiled" if self.compiled else ""
        return f"{self.threads} thread{'s' if self.threads > 1 else ''}, {layout}, {self.precision}{tiles}{made}"

    def apply(self, step: Step) -> None:
        """Set threads, the memory format of the step's net and what is kept of it, and the precision."""
        torch.set_num_threads(self.threads or cores())
        wanted = torch.channels_last if self.channels_last else torch.contiguous_format
        for parameter in step.net.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=wanted)
        step.align()
        step.low = self.precision == "bfloat16"
        winograd.turn(step.net, self.winograd)
        compiled.turn(step.net, self.compiled)


def _threads(most: int) -> list[int]:
    """Numbers of threads worth a try; the last one is the usual."""
    return sorted({1, most // 2, most} - {0}) if most >= 8 else sorted({1, most})


@contextmanager
def _kept_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Measured:
    """A way and the seconds of a weight update."""

    way: Way
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self.way), "seconds": float(f"{self.seconds:.4g}")}


def choose(
    net: nn.Module,
    make_step: Callable[[nn.Module], Step],
    feed: Feed,
    seconds: float,
    threads: int,
    now: Way | None = None,
    minutes: float | None = None,
) -> list[Measured]:
    """Every way with its seconds per update on a copy of the net, the chosen one first; takes about `seconds`.

    `threads` is the most that may be used; `now`: another number of threads may be taken, and the rest stays; `minutes` of a
    budget in which compiled code may pay: making it takes its own time.
    """
    usual = USUAL if feed.recipe.minutes else REPEATED
    trial = copy.deepcopy(net)
    step, where = make_step(trial), next(net.parameters()).device
    weights = [p for p in net.parameters() if p.dim() == 4]
    layouts, precisions = (bool(weights), _precisions(feed, where)) if now is None else (False, [now.precision])
    last = any(not p.is_contiguous() for p in weights) or layouts  # 1 x 1 weights lie both ways
    counts = _threads(threads) if where.type == "cpu" else [threads]
    tiles = any(map(winograd.suits, net.modules())) if now is None else now.winograd
    share = seconds / (len(counts) + layouts + len(precisions) - 1 + (tiles and now is None))
    with _kept_threads():
        best, others = _measure(Way(counts[0], last, precisions[0], tiles), step, feed, share), []

        def against(way: Way, gain: float, limit: float) -> None:
            """Take a way that is at least `gain` times as fast; one that is over `limit` times as slow is given up early."""
            nonlocal best
            other = _measure(way, step, feed, share, limit=limit * best.seconds)
            taken = gain * other.seconds < best.seconds and not compiled.failed(step.net)
            best, other = (other, best) if taken else (best, other)
            others.append(other)

        for count in counts[1:]:
            against(replace(best.way, threads=count), 1 / usual, usual)
        cheap = TRIES * best.seconds < share  # else what usually wins is taken unseen: nets of seconds an update
        if now is None and tiles:
            if not winograd.used(step.net):  # the pictures are too small
                best = replace(best, way=replace(best.way, winograd=False))
            elif cheap:
                against(replace(best.way, winograd=False), usual, 1.0)
        if layouts and cheap:
            against(replace(best.way, channels_last=False), usual, 1.0)
        for precision in precisions[1:]:
            against(replace(best.way, precision=precision), usual, 1.0)
        again = now is None or (now.compiled and now.threads == best.way.threads)
        if again and compiled.suits(net, feed.order.lengths is None, where, minutes):
            against(replace(best.way, compiled=True), PAID, 1.0)
    return [best, *others]


def _precisions(feed: Feed, where: torch.device) -> list[str]:
    """Those worth a try, or the one that was asked for."""
    if feed.recipe.precision != "auto":
        return [feed.recipe.precision]
    return ["float32", "bfloat16"] if feed.recipe.minutes and bfloat16_pays(where) else ["float32"]


def _measure(way: Way, step: Step, feed: Feed, seconds: float, limit: float = math.inf) -> Measured:
    """The median of as many updates as fit in `seconds`, 2 to 20, after one that warms up; given up when over `limit`."""
    way.apply(step)
    if way.compiled:
        step(feed(0), 0, 0.0)
    times: list[float] = []
    begin = time.perf_counter()
    for number in range(21):
        start = time.perf_counter()
        loss = step(feed(number), number, 0.0)
        if loss.device.type != "cpu":
            torch.accelerator.synchronize()
        times.append(time.perf_counter() - start)
        if times[-1] > (4 if number == 0 else 2) * limit or (number >= 2 and time.perf_counter() - begin > seconds):
            break
    return Measured(way, statistics.median(times[1:] or times))
