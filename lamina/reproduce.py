"""reproduce: run a recipe with several seeds, print what it measured beside history, and record it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from lamina.core import catalog, device
from lamina.core.errors import SettingError
from lamina.core.run import Run
from lamina.recipes import _recipe, _results
from lamina.show import fields


def recipe(
    name: str, *, quick: bool = False, record: bool = False, seeds: int | None = None, data: str | None = None,
    minutes: float | None = None, out: str | None = None, console: Console | None = None,
) -> _recipe.Made:  # fmt: skip
    """Run a recipe and print its table; the runs and pictures stay in `out`. Raises LaminaError."""
    module, console = catalog.find("recipes", name), console or Console(highlight=False)
    if quick and record:
        raise SettingError("--quick only shows that a recipe runs; record the whole one.")
    folder = Path(out) if out else _free(name)
    count = seeds or (1 if quick else module.SEEDS)
    console.print(Text(f"  {catalog.describe('recipes', name).summary}", style="bold"))
    made = _recipe.make(
        module, quick, count, folder, data, lambda line: console.print(Text(f"  {line}", style="dim")), minutes
    )
    _print(made, module.HISTORY, folder, console)
    if record:
        options = "".join([f" --seeds {seeds}" if seeds else "", f" --data {shlex.quote(data)}" if data else "",
                           f" --minutes {minutes:g}" if minutes else ""])  # fmt: skip
        console.print(fields([("recorded", str(_results.record(made, f"lamina recipe {name}{options}")))]))
    return made


def _free(name: str) -> Path:
    run = Run.create(None, f"recipe-{name}")
    return run.path


def _print(made: _recipe.Made, history: dict[str, str], folder: Path, console: Console) -> None:
    grid = Grid(box=None, padding=(0, 2), header_style="dim")
    for head in ("number", "measured", "history"):
        grid.add_column(head, overflow="fold")
    for row in made.rows(history):
        grid.add_row(*(Text(part) for part in row))
    console.print()
    console.print(grid)
    machine: dict[str, Any] = device.machine()
    where = machine["accelerator"] or machine["processor"]
    rows = [("history", history[""])] if history.get("") else []
    rows.append(
        ("seconds", f"{sum(made.seconds):,.1f} in all, {len(made.seconds)} seed{'s' if len(made.seconds) > 1 else ''}")
    )
    rows.append(("machine", f"{where}, {machine['cores']} cores; lamina {machine['lamina']}, torch {machine['torch']}"))
    rows += [("picture", str(path)) for outcome in made.outcomes[:1] for path in outcome.pictures]
    rows.append(("runs", str(folder)))
    console.print()
    console.print(fields(rows))
