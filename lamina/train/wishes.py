"""Wishes: what a person asks for, and the task that was asked for with its settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lamina.core import catalog, config
from lamina.core.errors import SettingError, unknown
from lamina.data._table import Field, Table
from lamina.tasks._task import Task
from lamina.train.recipe import Recipe

LEARNED = ("number", "label", "labels", "date", "identifier", "text")  # kinds that may become the target's kind


@dataclass(frozen=True)
class Wishes:
    """What a person asked for; everything else is chosen."""

    task: str | None = None
    """name, or name/kind such as paint/colour, of a task; from the kind of the target when not given"""
    net: str | None = None
    """name or name/size of a net"""
    net_settings: dict[str, str] = field(default_factory=dict)
    """settings of the net's Config as texts"""
    task_settings: dict[str, str] = field(default_factory=dict)
    """settings of the task's Config as texts"""
    device: str = "auto"
    """auto, cpu, cuda or mps"""
    recipe: Recipe = field(default_factory=Recipe)


def task_of(name: str, target: Field, options: dict[str, Any]) -> Task:
    """A task by name, for a target."""
    return task_class(name)(target, options)


def task_class(name: str) -> type[Task]:
    """The Task of a file of the room tasks, or of a module of the user's own."""
    module = catalog.find("tasks", name)
    own = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Task) and c.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise SettingError(f"{module.__name__} must hold one Task, not {len(own)}.")
    return own[0]


def task_asked(wishes: Wishes) -> tuple[str | None, dict[str, Any]]:
    """Name of the task that was asked for, and its settings: those of its kind (paint/colour), and wished ones.

    Raises NameUnknown for kinds and settings that do not exist.
    """
    name, _, kind = (wishes.task or "").partition("/")
    if not name:
        if wishes.task_settings:
            raise SettingError(f"--task.{next(iter(wishes.task_settings))} needs a --task.")
        return None, {}
    module = catalog.find("tasks", name)
    kinds = getattr(module, "SIZES", {})
    if kind and kind not in kinds:
        raise unknown(f"kind of {name}", kind, kinds)
    if not hasattr(module, "Config"):
        if wishes.task_settings:
            raise SettingError(f"task {name} has no settings; leave --task.{next(iter(wishes.task_settings))} out.")
        return name, {}
    given = {**kinds.get(kind, {}), **parsed(name, wishes.task_settings, "tasks")}
    return name, config.to_json(module.Config(**given))


def arranged(table: Table, wishes: Wishes) -> Table:
    """The table as the task that was asked for wants it: with a target that the task makes, or the column of a kind it learns."""
    name, settings = task_asked(wishes)
    return table if name is None else rearranged(table, name, settings, wishes.recipe.seed)


def rearranged(table: Table, name: str, settings: dict[str, Any], seed: int) -> Table:
    """`arranged`, for a task by name with its settings or options."""
    kind = task_class(name)
    table = kind.arrange(table, settings, seed)
    fitting = [n for n, c in table.columns.items() if c.field.kind in kind.target_kind]
    if fitting and (table.target is None or table[table.target].field.kind not in (*kind.target_kind, *LEARNED)):
        table = table.with_(target=fitting[0])
    return table


def parsed(name: str, texts: dict[str, str], room: str = "nets") -> dict[str, Any]:
    """Wished settings of a net or task."""
    module, flag = catalog.find(room, name), f"--{catalog.SINGULAR[room]}."
    known = {s.name: s for s in config.settings(module.Config)}
    for key in texts:
        if key not in known:
            raise unknown("setting", f"{flag}{key}", [f"{flag}{k}" for k in known])
    return {k: config.parse(v, known[k], flag) for k, v in texts.items()}
