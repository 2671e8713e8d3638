"""What every peer's script shares: the command line, the clock of the steps and the line that is printed.

Nothing here imports a framework: threads are set in the environment before the peer's own import.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

BATCHES = {"cnn": 128, "resnet20": 128, "resnet18": 32, "mlp": 64, "ensemble": 64}
PRECISIONS = ("float32", "bfloat16")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Number(Protocol):
    """A loss of any framework: what float() takes."""

    def __float__(self) -> float: ...


def parser(peer: str, precisions: tuple[str, ...] = PRECISIONS) -> argparse.ArgumentParser:
    """The options that all peers have; a script adds its own."""
    options = argparse.ArgumentParser(prog=f"{peer}.py")
    options.add_argument("work", choices=list(BATCHES))
    options.add_argument("--data", type=Path, help="folder of the work's data (mlp needs none)")
    options.add_argument("--steps", type=positive, default=100, help="training steps that are timed")
    options.add_argument("--warmup", type=positive, default=20, help="training steps before them")
    options.add_argument("--threads", type=int, default=1, help="threads of the main process")
    options.add_argument("--precision", choices=precisions, default="float32")
    return options


def positive(text: str) -> int:
    """The number of an option that must be at least 1; the clock starts after a step."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number of at least 1")
    return int(text)


def limit_threads(threads: int) -> None:
    """Bound the thread pools that read the environment; call it before the peer's framework is imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)


def cpu_seconds() -> float:
    """User and system seconds of this process and its children, the running ones (10 ms steps) and the ended ones."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    for children in Path("/proc/self/task").glob("*/children"):
        seconds += sum(_seconds_of(int(number)) for number in children.read_text().split())
    return seconds


def _seconds_of(number: int) -> float:
    try:
        line = Path(f"/proc/{number}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    fields = line.rpartition(")")[2].split()  # after the name: the state is field 3 of proc(5), utime field 14
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS_PER_SECOND


@dataclass
class Clock:
    """Times the steps after the warm-up: tick(loss) once after each step, until it answers True."""

    warmup: int
    steps: int
    taken: int = 0
    first: Number | None = None
    last: Number | None = None
    started: tuple[float, float] = (0.0, 0.0)
    wall: float = 0.0
    cpu: float = 0.0

    def start(self) -> None:
        """Begin to time; tick calls it when the warm-up is over (or at once when there is none)."""
        self.started = (time.perf_counter(), cpu_seconds())

    def stop(self) -> None:
        """End timing."""
        self.wall, self.cpu = time.perf_counter() - self.started[0], cpu_seconds() - self.started[1]

    def tick(self, loss: Number) -> bool:
        """Count one step; True when all timed steps are done. The loss is read once at the start and at the end only."""
        self.taken += 1
        if self.taken == 1:
            self.first = float(loss)
        if self.taken == self.warmup:
            self.start()
        if self.taken >= self.warmup + self.steps:
            self.last = float(loss)
            self.stop()
            return True
        return False


@dataclass
class Line:
    """What a peer prints: one JSON object on its last line."""

    peer: str
    options: argparse.Namespace
    versions: dict[str, str]
    notes: list[str] = field(default_factory=list)
    more: dict[str, float] = field(default_factory=dict)

    def print(self, clock: Clock) -> None:
        """Print the rates of the timed steps."""
        batch = BATCHES[self.options.work]
        steps_per_second = clock.steps / clock.wall
        record: dict[str, Any] = {
            "peer": self.peer,
            "work": self.options.work,
            "precision": self.options.precision,
            "threads": self.options.threads,
            "rows_per_second": round(steps_per_second * batch, 2),
            "steps_per_second": round(steps_per_second, 4),
            "cpu_seconds_per_step": round(clock.cpu / clock.steps, 7),
            "loss_first": None if clock.first is None else round(float(clock.first), 5),
            "loss_last": None if clock.last is None else round(float(clock.last), 5),
            "versions": {"python": sys.version.split()[0], **self.versions},
            "note": "; ".join(self.notes),
            **self.more,
        }
        sys.stdout.flush()
        print("\n" + json.dumps(record), flush=True)
