"""What a run remembers of its data, and finding the same data again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from lamina.core import config, device
from lamina.core.errors import DataError, RunError
from lamina.data import _target, sniff
from lamina.data._table import SPLITS, Reading, Table
from lamina.train import plan as planning
from lamina.train.plan import Plan

CONFIG_VERSION = 1


def described(table: Table, plan: Plan, reading: Reading) -> dict[str, Any]:
    """The config.json of a run on a table whose split is set."""
    counts = [int((table.split == s).sum()) for s in range(3)]  # type: ignore[union-attr]
    return {
        "version": CONFIG_VERSION,
        "plan": plan.to_json(),
        "source": str(Path(table.source).absolute()) if Path(table.source).exists() else table.source,
        "reader": table.reader,
        "reading": config.to_json(reading),
        "licence": table.licence,
        "fingerprint": table.fingerprint(),
        "rows": dict(zip(SPLITS, counts, strict=True)),
        "split_rule": table.split_rule,
        "notes": list(table.notes),
        "bad": [[b.where, b.why] for b in table.bad[:100]],
        "machine": device.machine(),
    }


def same_table(saved: dict[str, Any], plan: Plan, source: Any) -> Table:
    """The table of a saved run, read again and checked to be the same data."""
    if source is None and saved["reader"] == "memory":
        raise RunError("this run learned from data in memory; resume it from Python: lamina.resume(run, data).")
    reading = config.from_json(Reading, saved["reading"])
    if source is None:  # a name such as digits stays what it was, whatever folder of that name has come to be
        table = sniff.open(saved["source"], reading, None if Path(saved["source"]).is_absolute() else saved["reader"])
    else:
        table = source if isinstance(source, Table) else sniff.open(source, reading)
    table = planning.rearranged(table, plan.task, plan.options, plan.recipe.seed)
    wanted = saved["reading"].get("target") if plan.target.name not in table.columns else plan.target.name
    table = _target.divided(_target.with_target(table, wanted or table.target, plan.task), plan.recipe.seed, plan.task)
    if table.fingerprint() != saved["fingerprint"]:
        raise DataError(f"{saved['source']} has changed since the run began; train anew.")
    wanted = {f.name for f in plan.inputs} | {plan.target.name}
    table = table.with_(columns={n: c for n, c in table.columns.items() if n in wanted})
    for field in (*plan.inputs, plan.target):
        table = table.with_column(replace(table[field.name], field=field))
    return table
