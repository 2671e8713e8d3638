"""The six lines: open, look, fit and load; training from the plan to the report, and going on with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from lamina import _saved, pretrained
from lamina.core import device, energy
from lamina.core.errors import RunError, SettingError, unknown
from lamina.core.run import Run
from lamina.data import _split_by, _target, sniff
from lamina.data._table import TEST, VALIDATION, Reading, Table
from lamina.judge import _closer, baseline
from lamina.ship import _parcel as parcel
from lamina.train import engine, weights
from lamina.train import plan as planning
from lamina.train.budget import Clock
from lamina.train.plan import Plan, Wishes
from lamina.train.recipe import Recipe
from lamina.trained import Trained

FINISHING = 2.0  # seconds kept for baselines and the report


def open(source: Any = "digits", **how: Any) -> Table:
    """Read a folder, file or Python object as a Table. `how` are the fields of Reading: target, ignore, query, sheet, kinds.

    Raises DataError with file and row.
    """
    return sniff.open(source, _build(Reading, how, "option of open"))


def _build(cls: type, values: dict[str, Any], what: str) -> Any:
    known = [f.name for f in fields(cls)]
    for name in values:
        if name not in known:
            raise unknown(what, name, known)
    return cls(**values)


@dataclass(frozen=True)
class Prepared:
    """A table with its split and the plan for it: what `look` shows and `fit` carries out."""

    table: Table
    plan: Plan
    full: Table
    """the table before columns that are not used were left out"""


def prepare(table: Table, wishes: Wishes) -> Prepared:
    """Target, split and plan for a table. Raises DataError and SettingError."""
    table, task = planning.arranged(table, wishes), planning.task_asked(wishes)[0]
    split = _target.divided(_target.with_target(table, table.target, task), wishes.recipe.seed, task)
    plan, used = planning.make(split, wishes)
    return Prepared(used, plan, split)


def look(source: Any = "digits", **settings: Any) -> Prepared:
    """What `fit` would do with the same arguments, without training."""
    table, wishes, _ = _wishes(source, settings)
    return prepare(table, wishes)


def fit(source: Any = "digits", minutes: float | None = None, *, show: bool = True, **settings: Any) -> Trained:
    """Train on a Table, path or Python object inside `minutes`, score it on the test rows, and return the trained run.

    settings: fields of Recipe (epochs, batch, lr, seed ...), of Reading (target, ignore ...), task, net ("resnet/20"),
    net_settings ({"width": 32}), device, run (folder). Raises LaminaError.
    """
    begun = time.monotonic()
    table, wishes, folder = _wishes(source, {"minutes": minutes, **settings})
    from lamina.show import Display

    display = Display() if show else None
    how = {f.name: settings[f.name] for f in fields(Reading) if f.name in settings}
    reading = Reading(**{"target": table.target, **how})
    return train(table, wishes, folder, begun=begun, display=display, reading=reading)


def _wishes(source: Any, settings: dict[str, Any]) -> tuple[Table, Wishes, Path | None]:
    names = {cls: {f.name for f in fields(cls)} for cls in (Recipe, Reading)}
    known = [*names[Recipe], *names[Reading], "task", "task_settings", "net", "net_settings", "device", "run"]
    for name in settings:
        if name not in known:
            raise unknown("setting", name, known)
    recipe = Recipe(**{k: v for k, v in settings.items() if k in names[Recipe]})
    how = {k: v for k, v in settings.items() if k in names[Reading]}
    net_settings = {k: str(v) for k, v in settings.get("net_settings", {}).items()}
    own = {k: str(v) for k, v in settings.get("task_settings", {}).items()}
    wishes = Wishes(
        settings.get("task"), settings.get("net"), net_settings, own, settings.get("device", "auto"), recipe
    )
    table = source if isinstance(source, Table) else open(source, **how)
    if isinstance(source, Table) and how.get("target"):
        table = table.with_(target=table[how["target"]].field.name)
    if isinstance(source, Table) and how.get("split_by"):
        table = _split_by.arranged(table, how["split_by"])
    folder = settings.get("run")
    return table, wishes, Path(folder) if folder else None


def train(
    table: Table,
    wishes: Wishes,
    folder: Path | None = None,
    *,
    begun: float | None = None,
    display: Any = None,
    stop: Callable[[], bool] = lambda: False,
    reading: Reading | None = None,
) -> Trained:
    """Plan, train, score and report: the whole of `lamina train`. `begun` is the time.monotonic() that minutes count from."""
    begun = time.monotonic() if begun is None else begun
    prepared = prepare(table, wishes)
    saved = _saved.described(
        prepared.full, prepared.plan, reading or Reading(target=table.target)
    )  # before the run's folder is there: see `source`
    run = Run.create(folder, Path(table.source).name or "run")
    with run.held():
        run.write_json("config.json", saved)
        return _train(run, prepared.table, prepared.plan, begun, display, stop, fresh=prepared)


def resume(
    path: str | Path,
    source: Any = None,
    *,
    begun: float | None = None,
    display: Any = None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Go on with a run that was stopped or killed, to the bits it would have ended in. `source` only for data from memory."""
    run = Run.open(path)
    begun = time.monotonic() if begun is None else begun
    with run.held():
        saved = run.read_json("config.json")
        plan = Plan.from_json(saved["plan"])
        if run.has("score.json") and run.read_json("score.json").get("complete"):
            raise RunError(f"{run.path} is finished; `lamina score {run.path}` shows its score.")
        table = _saved.same_table(saved, plan, source)
        for key in ("threads", "torch", "processor"):
            here = device.machine()[key]
            if key != "threads" and here != saved["machine"][key] and display:
                display.say(f"{key} is {here} and was {saved['machine'][key]}: the bits may differ.")
        torch.set_num_threads(saved["machine"]["threads"])
        return _train(run, table, plan, begun, display, stop)


def _train(
    run: Run,
    table: Table,
    plan: Plan,
    begun: float,
    display: Any,
    stop: Callable[[], bool],
    fresh: Prepared | None = None,
) -> Trained:
    where, threads = device.choose(plan.device), torch.get_num_threads()
    task, net = planning.build(plan, table, where, run)
    limit = 60 * plan.recipe.minutes if plan.recipe.minutes else float("inf")
    tests = 1 + len(table.rows(TEST)) / len(table.rows(VALIDATION))  # and the validation rows once more, to calibrate
    clock = Clock(begun, limit, min(0.2 * limit, FINISHING), tests)
    if display and fresh:
        display.plan(fresh, net, baseline.always(task, table), run)
    meter = energy.Meter(accelerator=energy.of_accelerator(where.index or 0) if where.type == "cuda" else None)
    for report_ in engine.fit(task, net, table, plan.recipe, run, clock=clock, stop=stop):
        meter.read()
        if display:
            display.report(report_)
    run.write_json(_closer.ENERGY, meter.to_json())
    if display:
        display.end()
    trained = Trained(run)
    trained.finish(table, complete=not stop())  # with the threads that were fastest in training
    if not stop():
        trained.look_closer(table, clock)
    torch.set_num_threads(threads)
    if display:
        display.result(trained, clock.seconds(), stopped=stop())
    return trained


def load(path: str | Path) -> Any:
    """Open a run (its folder, or its name in ./runs), a shipped file, or "imagenet". Raises RunError, ShipError, SettingError."""
    if not Path(path).exists() and str(path).split("/")[0] == weights.IMAGENET:
        return pretrained.Pretrained(str(path))
    return parcel.load(path) if Path(path).is_file() else Trained(Run.open(path))


def load_run(path: str | Path) -> Trained:
    """A run by its folder. Raises RunError, and SettingError for a file that was shipped."""
    if Path(path).is_file():
        raise SettingError(f"{path} is a shipped file; name the run's folder.")
    return Trained(Run.open(path))
