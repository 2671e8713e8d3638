"""What every recipe gives, and how several seeds of it become one table beside history.

A recipe is one public file of this room. Its docstring names the source, the command, the machine, the time and the result;
SYSTEMS are the rows of the source lectures that it makes again; HISTORY says what was measured then, by the name of the number
("" for the whole); SEEDS is how often it is run by default; and

    run(quick, seed, folder, data) -> Outcome

trains by the product's own words. quick: about a second on few rows of the digits that come with Lamina, to see that it runs.
folder: where its runs and pictures go. data: a path instead of the data that it usually takes, or None. A recipe whose fits last as
long as they are given takes `minutes`; one that draws all seeds together has overview(numbers, folder) -> paths.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

import lamina
from lamina.core.errors import SettingError
from lamina.data import _assets
from lamina.data._batches import Batches
from lamina.data._store import shared
from lamina.data._table import TRAIN, Table
from lamina.data._target import divided
from lamina.measures.interval import of_mean

Number = dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """What one seed of a recipe measured, the runs that it trained, and the pictures that it drew."""

    numbers: Number
    """name with its unit -> what was measured; the names are the same for every seed"""
    trained: tuple[Any, ...] = ()
    pictures: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Made:
    """All seeds of a recipe."""

    name: str
    systems: tuple[str, ...]
    numbers: dict[str, list[float]]
    """one value a seed"""
    seconds: list[float]
    outcomes: list[Outcome] = field(default_factory=list)

    def rows(self, history: dict[str, str]) -> list[tuple[str, str, str]]:
        """(name, measured with its interval over seeds, history) of every number."""
        return [(name, measured(name, values), history.get(name, "")) for name, values in self.numbers.items()]


def make(
    module: ModuleType, quick: bool, seeds: int, folder: Path, data: str | None, say: Callable[[str], None],
    minutes: float | None = None,
) -> Made:  # fmt: skip
    """Run a recipe with the seeds 0, 1 ...; `say` is told how far it is; `minutes` of each fit. Raises LaminaError."""
    name = module.__name__.rpartition(".")[2]
    if minutes is not None and "minutes" not in inspect.signature(module.run).parameters:
        raise SettingError(f"recipe {name} has no time of its own to be changed; leave --minutes out.")
    how = {"minutes": minutes} if minutes is not None else {}
    if seeds < 1:
        raise SettingError(f"--seeds must be 1 or more, not {seeds}.")
    outcomes, seconds = [], []
    for seed in range(seeds):
        start = time.monotonic()
        outcome = module.run(quick, seed, folder / f"seed-{seed}", data, **how)
        seconds.append(time.monotonic() - start)
        outcomes.append(outcome)
        told = ", ".join(f"{n} {shown(value)}" for n, value in list(outcome.numbers.items())[:4])
        say(f"seed {seed}: {told} ({seconds[-1]:,.1f} s)")
    numbers = {n: [o.numbers[n] for o in outcomes] for n in outcomes[0].numbers}
    if hasattr(module, "overview"):
        outcomes[0] = replace(outcomes[0], pictures=(*outcomes[0].pictures, *module.overview(numbers, folder)))
    return Made(name, tuple(module.SYSTEMS), numbers, seconds, outcomes)


def shown(value: float) -> str:
    """A number in four digits."""
    return f"{value:,.0f}" if abs(value) >= 1e4 or value == int(value) else f"{value:,.4g}"


def measured(name: str, values: list[float]) -> str:
    """Mean and 95 % interval over seeds, of a share (name %) within 0 and 100; a number that is the same for all stands alone."""
    mean, low, high = of_mean(values)
    if name.endswith("%"):
        low, high = max(0.0, low), min(100.0, high)
    if len(set(values)) == 1:
        return f"{shown(mean)}" + (f" ({len(values)} seeds)" if len(values) > 1 else " (1 seed)")
    return f"{shown(mean)} ({shown(low)} to {shown(high)}, {len(values)} seeds)"


def clothes(quick: bool, seed: int, data: str | None, rows: int) -> Table:
    """So many training pictures of Fashion-MNIST, or of the data that is named; quick: a few digits.

    Raises DataError that says how to bring what is missing.
    """
    if quick:
        return some(lamina.open("digits"), 100, seed)
    path = Path(data) if data else _assets.folder("dataset-fashion-mnist") / "usr/share/datasets/fashion-mnist"
    table = divided(lamina.open(path))
    return some(table, min(rows, len(table.rows(TRAIN))), seed)


def pair(runs: dict[str, Any], numbers: Number, what: str) -> None:
    """Add the accuracy of two runs of the same seed and rows, and the second's minus the first's: a paired difference."""
    (a, first), (b, second) = runs.items()
    numbers |= {f"{a}, accuracy %": percent(first), f"{b}, accuracy %": percent(second)}
    numbers[f"{what}, points"] = percent(second) - percent(first)


def some(table: Table, rows: int, seed: int, split: int = TRAIN) -> Table:
    """The table with only so many rows of a split, classes evenly where there are classes; the other splits stay."""
    places, column = table.rows(split), table[table.target or ""]
    order = np.random.default_rng([seed, 11]).permutation(places)
    if column.field.kind == "label":
        rank = np.empty(len(order))
        for code in np.unique(column.values[order]):
            own = column.values[order] == code
            rank[own] = np.arange(own.sum())
        order = order[np.argsort(rank, kind="stable")]
    keep = np.sort(np.concatenate([np.flatnonzero(table.split != split), order[:rows]]))
    return table.take(keep)


def few_digits(rows: int, seed: int) -> Table:
    """So many digits of each split, classes evenly."""
    table = lamina.open("digits")
    for split in range(3):
        table = some(table, rows, seed, split)
    return table


def packed(table: Table, **how: Any) -> Table:
    """The table, its pictures packed into the store as a training with these settings wants them: minutes then count for learning."""
    prepared = lamina.look(table, **how)
    fields, target = prepared.plan.inputs, prepared.plan.target
    for split in range(3):
        Batches(prepared.table.take(prepared.table.rows(split)), fields, target, torch.device("cpu"), shared())
    return table


def percent(run: Any) -> float:
    """The accuracy of a trained run on its test rows, in percent."""
    return 100 * run.score().numbers["accuracy"]
