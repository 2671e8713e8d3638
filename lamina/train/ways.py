"""Ways to run a weight update that agree to rounding: the fastest on this machine is measured and taken.

What each gave for the recipes of Lamina on 2 cores of an AMD EPYC without AVX-512 or bfloat16 units:
channels last 1.3 to 1.75 times contiguous; two threads 1.6 times one on an idle machine, and 1/40 of it when another program
holds a core; keeping freed memory (core.device) up to 1.5. Not tried by default because it lost: torch.compile (4 to 39
seconds to compile, 0.8 to 1.08 times the speed), bfloat16 where the processor has no units for it (1/100).
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from lamina.core.device import cores
from lamina.train.step import Feed, Step

USUAL = 1.25  # times as fast as the usual way another one must be, so that noise does not choose
REPEATED = 2.0  # the same for a budget in epochs or steps, which should end in the same bits when it is run again


@dataclass(frozen=True)
class Way:
    """How the weight updates run; part of the saved state, so that a resumed run ends in the same bits."""

    threads: int = 0
    """threads of the processor; 0: as many as it has cores"""
    channels_last: bool = True
    """pictures and the weights of convolutions lie channel by channel of a pixel"""

    def __str__(self) -> str:
        layout = "channels last" if self.channels_last else "contiguous"
        return f"{self.threads} thread{'s' if self.threads > 1 else ''}, {layout}"

    def apply(self, net: nn.Module) -> None:
        """Set threads, and the net's memory format."""
        torch.set_num_threads(self.threads or cores())
        wanted = torch.channels_last if self.channels_last else torch.contiguous_format
        for parameter in net.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=wanted)


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
    layouts: bool = True,
) -> list[Measured]:
    """Every way with its seconds per update on a copy of the net, the chosen one first; takes about `seconds`.

    `threads` is the most that may be used; without `layouts` the net keeps its memory format.
    """
    usual = USUAL if feed.recipe.minutes else REPEATED
    trial = copy.deepcopy(net)
    step = make_step(trial)
    weights = [p for p in net.parameters() if p.dim() == 4]
    layouts = layouts and bool(weights)
    last = any(not p.is_contiguous() for p in weights) or layouts  # 1 x 1 weights lie both ways
    counts = _threads(threads) if next(net.parameters()).device.type == "cpu" else [threads]
    share = seconds / (len(counts) + layouts)
    with _kept_threads():
        best, others = _measure(Way(counts[0], last), trial, step, feed, share), []
        for count in counts[1:]:
            other = _measure(Way(count, last), trial, step, feed, share, limit=usual * best.seconds)
            best, other = (other, best) if other.seconds < usual * best.seconds else (best, other)
            others.append(other)
        if layouts:
            other = _measure(Way(best.way.threads, False), trial, step, feed, share, limit=best.seconds)
            best, other = (other, best) if usual * other.seconds < best.seconds else (best, other)
            others.append(other)
    return [best, *others]


def _measure(way: Way, net: nn.Module, step: Step, feed: Feed, seconds: float, limit: float = math.inf) -> Measured:
    """The median of as many updates as fit in `seconds`, 2 to 20, after one that warms up; given up when over `limit`."""
    way.apply(net)
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
