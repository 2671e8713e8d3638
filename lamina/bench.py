"""bench: what this machine can do, and the share of it that the training of a net reaches; where the time of an update goes."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table as Grid
from torch.utils.flop_counter import FlopCounterMode

from lamina.api import Prepared, prepare
from lamina.core import device
from lamina.data._batches import Batches
from lamina.data._table import TRAIN, Table
from lamina.show import fields
from lamina.train import plan as planning
from lamina.train.plan import Wishes
from lamina.train.step import Feed, Step
from lamina.train.ways import choose

SECONDS = 0.4  # for each measurement
SIDES = (128, 512, 2048, 8192)  # of the matrices: the largest whose product takes less than SECONDS / 5
COPIED = 1 << 28  # bytes, more than any cache holds
FEW = 2  # rows of an update that is nearly all overhead


@dataclass(frozen=True)
class Rates:
    """What a device can do at most, as measured by plain products and copies."""

    float32: float
    """floating-point operations a second of float32 matrix products; a multiplication and an addition are two"""
    bfloat16: float
    """the same of bfloat16"""
    bandwidth: float
    """bytes a second read and written by a copy"""


@dataclass(frozen=True)
class Update:
    """Seconds of the parts of a weight update, medians.

    `overhead` is what an update of FEW rows takes, part of the others: Python and the starting of kernels, and a little work.
    """

    data: float
    forward: float
    backward: float
    optimizer: float
    overhead: float
    whole: float
    """as the engine runs it, data included"""
    rows: int
    operations: int
    """floating-point operations of matrix products and convolutions, forward and backward"""


def median_seconds(work: Callable[[], Any], where: torch.device, seconds: float = SECONDS) -> float:
    """Median time of `work`, of at least 5 runs after one that warms up."""
    times: list[float] = []
    begin = None
    while begin is None or len(times) < 5 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        work()
        if where.type != "cpu":
            torch.accelerator.synchronize()
        if begin is None:
            begin = time.perf_counter()
        else:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def matrix_rate(kind: torch.dtype, where: torch.device) -> float:
    """Floating-point operations a second of square matrix products."""
    best = 0.0
    for side in SIDES:
        a, b = (torch.randn(side, side, device=where).to(kind) for _ in range(2))
        if best and 2 * side**3 / best > SECONDS / 5:
            break
        best = 2 * side**3 / median_seconds(lambda a=a, b=b: a @ b, where)
    return best


def rates(where: torch.device) -> Rates:
    """Measure a device with the threads that are set."""
    source = torch.ones(COPIED // 4, device=where)
    target = torch.empty_like(source)
    copied = 2 * COPIED / median_seconds(lambda: target.copy_(source), where)
    return Rates(matrix_rate(torch.float32, where), matrix_rate(torch.bfloat16, where), copied)


def operations(work: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products and convolutions of `work`, forward and backward."""

    def backward(grad: Any, x: Any, weight: Any, *rest: Any, out_shape: Any = None) -> int:
        transposed, wanted = rest[4], rest[7]  # torch counts every group of a grouped one as a whole
        return 2 * math.prod(x if transposed else grad) * math.prod(weight[1:]) * sum(wanted[:2])

    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: backward}) as counter:
        work()
    return counter.get_total_flops()


def update(prepared: Prepared, where: torch.device) -> Update:
    """Time the parts of the weight updates of a plan, run in the fastest way; sets the number of threads."""
    plan, table = prepared.plan, prepared.table
    task, net = planning.build(plan, table, where)
    net.train()
    train = table.take(table.rows(TRAIN))
    feed = Feed(task, Batches(train, plan.inputs, plan.target, where), plan.recipe)
    way = choose(net, lambda trial: Step(task, trial, plan.recipe), feed, 1.0, torch.get_num_threads())[0].way
    step, batch = Step(task, net, plan.recipe), feed(0)
    count = operations(
        lambda: task.loss(net, batch).backward()
    )  # those that the net's layers stand for, in whatever way they run
    way.apply(step)
    numbers = iter(range(1_000_000))

    def timed(work: Callable[[], Any]) -> float:
        return median_seconds(work, where)

    def both() -> None:
        for p in step.learned:
            p.grad = None
        task.loss(net, batch).backward()

    forward = timed(lambda: task.loss(net, batch))
    little, few = Step(task, copy.deepcopy(net), plan.recipe), {k: v[:FEW] for k, v in batch.items()}
    return Update(
        data=timed(lambda: feed(next(numbers))),
        forward=forward,
        backward=timed(both) - forward,
        optimizer=timed(lambda: step.update(0.0)),
        overhead=timed(lambda: little(few, 10, 0.0)),
        whole=timed(lambda: step(feed(next(numbers)), 10, 0.0)),
        rows=len(batch["target"]),
        operations=count,
    )


def bench(table: Table, wishes: Wishes, console: Console | None = None) -> dict[str, Any]:
    """Print what the machine can do and what the training of the planned net reaches; returns the numbers."""
    console = console or Console(highlight=False)
    device.keep_freed_memory()
    prepared = prepare(table, wishes)
    plan, where = prepared.plan, device.choose(wishes.device)
    allowed = torch.get_num_threads()
    made = update(prepared, where)
    used = torch.get_num_threads()
    most = rates(where)
    torch.set_num_threads(allowed)
    reached = made.operations / made.whole
    here = device.machine()
    console.print(
        fields([
            ("machine", f"{here['accelerator'] or here['processor']}, {used} of {here['cores']} cores used, torch {here['torch']}"),
            ("products", f"float32 {most.float32 / 1e9:,.0f} GFLOP/s, bfloat16 {most.bfloat16 / 1e9:,.0f} GFLOP/s"),
            ("memory", f"{most.bandwidth / 1e9:,.0f} GB/s"),
            ("net", f"{plan.net}, batches of {made.rows}"),
            ("update", f"{1e3 * made.whole:,.2f} ms, {made.rows / made.whole:,.0f} rows/s"),
            ("reached", f"{reached / 1e9:,.1f} GFLOP/s, {reached / most.float32:.0%} of the float32 products"),
        ])
    )  # fmt: skip
    grid = Grid(box=None, padding=(0, 2))
    for name in ("part", "ms", "share"):
        grid.add_column(name, justify="left" if name == "part" else "right")
    for name, seconds in (("data", made.data), ("forward", made.forward), ("backward", made.backward),
                          ("optimizer", made.optimizer), ("Python, of all these", made.overhead)):  # fmt: skip
        grid.add_row(name, f"{1e3 * seconds:,.2f}", f"{seconds / made.whole:.0%}")
    console.print(grid)
    return {"machine": here, "net": plan.net, "rates": asdict(most), "update": asdict(made)}
