"""list: what there is to train with, and runs with their scores; on a shelf the models of a place."""

from __future__ import annotations

import contextlib

from lamina._flags import ROOMS
from lamina.core import catalog
from lamina.core.errors import LaminaError, SettingError, unknown
from lamina.core.figures import shown
from lamina.core.run import Run


def show(what: str, place: str | None) -> None:
    """Print a line each of models at a place, of runs, or of what a room holds. Raises SettingError, NameUnknown."""
    if what == "models":
        from lamina import publishing

        if not place:
            raise SettingError("name a place: lamina list models DIR|URL.")
        publishing.show(place)
        return
    if what not in ROOMS:
        raise unknown("list", what, (*ROOMS, "models"))
    if what == "runs":
        for run in Run.all():
            print(f"{run.path.name:24} {_line(run)}")
        return
    room = {"explanations": "explain", "exports": "ship"}.get(what, what)
    found = [catalog.describe(room, name) for name in catalog.names(room)]
    for entry in found:
        print(f"{entry.name:20} {entry.summary}")
        if entry.sizes:
            print(f"{'':20} sizes: {' '.join(f'{entry.name}/{s}' for s in entry.sizes)}")
    if not found:
        print(f"no {what} yet")


def _line(run: Run) -> str:
    with contextlib.suppress(LaminaError, KeyError):
        plan = run.read_json("config.json")["plan"]
        about = f"{plan['task']} {plan['target']['name']}, {plan['net']}"
        if not run.has("score.json"):
            return f"{about}: not finished; lamina train --resume {run.path}"
        made = run.read_json("score.json")
        value, low, high = (shown(made["name"], made[part]) for part in ("value", "low", "high"))
        return f"{about}: {made['name'].replace('_', ' ')} {value} ({low} to {high})"
    return "damaged"
