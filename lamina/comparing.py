"""compare RUN RUN ...: which net is better on the same test rows, how sure that is, and what differs in settings and data."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from lamina.core.errors import RunError, SettingError
from lamina.core.figures import PERCENT, shown
from lamina.core.run import Run
from lamina.data._batches import Batches
from lamina.data._store import shared
from lamina.data._table import TEST
from lamina.judge import _rows
from lamina.judge import compare as comparing
from lamina.judge.compare import Compared

NOT_SETTINGS = ("why", "target", "inputs")  # of a plan


def compare(runs: list[Any], seed: int = 0) -> dict[str, Any]:
    """Every run (Trained) against the first: {"runs", "against", "settings", "data"}, plain values. Raises SettingError, RunError."""
    if len(runs) < 2:
        raise SettingError("compare needs two runs or more.")
    first = runs[0]
    for other in runs[1:]:
        if (other.plan.task, other.plan.target.kind) != (first.plan.task, first.plan.target.kind):
            raise SettingError(
                f"{other.path} learned {other.plan.task} and {first.path} learned {first.plan.task}: they answer different questions."
            )
    scores = [run.score() for run in runs]
    if len({s.name for s in scores}) > 1:
        raise SettingError(f"the runs are judged by different numbers: {', '.join(sorted({s.name for s in scores}))}.")
    found = []
    for run, made in zip(runs[1:], scores[1:], strict=True):
        if _same_rows(first, run):
            found.append(comparing.paired(first.task, _statistics(first), _statistics(run), seed))
        else:
            before = scores[0]
            found.append(comparing.apart(made.name, *((s.value, s.low, s.high, s.rows) for s in (before, made))))
    return {
        "runs": [{"path": str(r.path), "score": s.value, "low": s.low, "high": s.high, "rows": s.rows, "signature": s.signature,
                  **_cost(r.run)} for r, s in zip(runs, scores, strict=True)],
        "against": [{**asdict(f), "sure": f.sure} for f in found],
        "settings": _differing([_flat(r.config["plan"]) for r in runs]),
        "data": _differing([{k: r.config.get(k) for k in ("source", "fingerprint", "split_rule", "rows")} for r in runs]),
    }  # fmt: skip


def _same_rows(one: Any, other: Any) -> bool:
    """Whether both runs were tested on the same rows, with the same labels."""
    if one.plan.target.classes != other.plan.target.classes:
        return False
    if one.config["fingerprint"] == other.config["fingerprint"]:
        return True
    rows = [_rows.read(r.run) for r in (one, other)]
    same_source = (
        one.config["source"] == other.config["source"] and one.config["split_rule"] == other.config["split_rule"]
    )
    return (
        same_source
        and all(rows)
        and all(np.array_equal(rows[0].get(k, ()), rows[1].get(k, ())) for k in ("place", "target"))
    )


def _statistics(trained: Any) -> dict[str, np.ndarray]:
    """Of its test rows; measured again for a run that did not keep them."""
    kept = _rows.read(trained.run)
    if set(kept) - {"place", "loss"}:
        return kept
    from lamina.explaining import _learned_from
    from lamina.train.evaluate import statistics

    table = _learned_from(trained, None)
    places = table.rows(TEST)
    device = next(trained.net.parameters()).device
    batches = Batches(table.take(places), trained.plan.inputs, trained.plan.target, device, shared())
    return {**statistics(trained.task, trained.net, batches, final=True), "place": places}


def _cost(run: Run) -> dict[str, Any]:
    reports = run.history("report")
    seconds = {"seconds": reports[-1].get("seconds")} if reports else {}
    return {**seconds, **(run.read_json("cost.json") if run.has("cost.json") else {})}


def _flat(plan: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in plan.items():
        if not before and name in NOT_SETTINGS:
            continue
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    if not before:
        found["inputs"] = [f["name"] for f in plan.get("inputs", ())]
    return found


def _differing(many: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """name -> value of each, where they are not all the same."""
    names = dict.fromkeys(name for one in many for name in one)
    found = {name: [one.get(name) for one in many] for name in names}
    return {name: values for name, values in found.items() if any(v != values[0] for v in values)}


def show(paths: list[str], as_json: bool) -> None:
    """The whole of `lamina compare RUN RUN ...`."""
    from lamina import api

    runs = [api.load_run(path) for path in paths]
    for run in runs:
        if not run.run.has("score.json"):
            raise RunError(f"{run.path} has no score yet; go on with `lamina train --resume {run.path}`.")
    found = compare(runs)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, default=str))
        return
    console = Console(highlight=False)
    name = runs[0].score().name
    grid = Grid(
        box=None,
        padding=(0, 2),
        title=f"  {name.replace('_', ' ')} on test rows",
        title_justify="left",
        title_style="bold",
    )
    for column in ("run", "score", "95 % interval", "against the first", "95 % interval", "sure"):
        grid.add_column(column, justify="left" if column in ("run", "sure") else "right", overflow="fold")
    for i, run in enumerate(found["runs"]):
        beside = (
            ["", "", ""]
            if not i
            else _against(Compared(**{k: v for k, v in found["against"][i - 1].items() if k != "sure"}))
        )
        grid.add_row(
            run["path"], shown(name, run["score"]), f"{shown(name, run['low'])} to {shown(name, run['high'])}", *beside
        )
    console.print(grid)
    for i, one in enumerate(found["against"]):
        path = found["runs"][i + 1]["path"]
        if one["p"] is not None:
            console.print(
                f"  {path}: {one['only_second']} rows right that the first gets wrong, {one['only_first']} the other way; p = {one['p']:.2g} (McNemar)"
            )
        if not one["paired"]:
            console.print(
                f"  {path} was measured on other rows: the comparison is not paired, and weaker", style="yellow"
            )
    for what in ("settings", "data"):
        if found[what]:
            console.print(f"\n  {what} that differ", style="bold")
            for key, values in found[what].items():
                console.print(f"    {key}: " + " | ".join(str(v)[:60] for v in values), style="dim")


def _against(one: Compared) -> list[str]:
    def signed(value: float) -> str:
        size = f"{100 * abs(value):.1f} points" if one.name in PERCENT else shown(one.name, abs(value))
        return f"{'-' if value < 0 else '+'}{size}"

    return [signed(one.difference), f"{signed(one.low)} to {signed(one.high)}", "yes" if one.sure else "no"]
