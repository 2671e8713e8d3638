"""Plan: from a table and a few wishes to everything a training needs, with the reason for each choice."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from lamina.core import catalog, config, device
from lamina.core.errors import SettingError, unknown
from lamina.core.run import Run
from lamina.data._batches import DENSE, Batches
from lamina.data._table import TRAIN, Field, Table
from lamina.nets._weightless import weightless
from lamina.tasks._task import Task
from lamina.train import begin, compiled, freeze, mirror, reading, sizing, weights
from lamina.train.recipe import Recipe
from lamina.train.wishes import Wishes, arranged, parsed, rearranged, task_asked, task_class, task_of

__all__ = ["Plan", "Wishes", "arranged", "build", "make", "net_of", "rearranged", "task_asked", "task_class", "task_of"]

DEFAULT_MINUTES = 10.0  # the limit when no budget is given
FITTED = 5_000  # training rows, spread evenly, that input statistics are taken from
MANY = 20_000  # pictures from which on batches are larger
UPDATES = 200  # that should fit: batches are made smaller for it
RATES = {"sgd": 5e-2, "adamw": 2e-3, "muon": 2e-2}  # of an optimiser that was asked for in place of the usual one


@dataclass(frozen=True)
class Plan:
    """Everything a training needs; saved as the run's config.json."""

    task: str
    options: dict[str, Any]
    net: str
    net_config: dict[str, Any]
    inputs: tuple[Field, ...]
    target: Field
    recipe: Recipe
    device: str
    why: tuple[str, ...] = ()
    """one sentence per choice"""

    def to_json(self) -> dict[str, Any]:
        return {**config.to_json(self), "recipe": config.to_json(self.recipe)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Plan:
        """The inverse of to_json. Raises LaminaError on anything unknown."""
        fields = {k: values[k] for k in ("task", "options", "net", "net_config", "device")}
        inputs = tuple(config.from_json(Field, f) for f in values["inputs"])
        target, recipe = config.from_json(Field, values["target"]), config.from_json(Recipe, values["recipe"])
        return cls(**fields, inputs=inputs, target=target, recipe=recipe, why=tuple(values.get("why", ())))


def net_of(name: str, settings: dict[str, Any]) -> nn.Module:
    """A net by name with a saved config. Raises LaminaError on unknown names and settings."""
    module = catalog.find("nets", name)
    return module.Net(config.from_json(module.Config, catalog.saved(name, settings)))


def make(table: Table, wishes: Wishes) -> tuple[Plan, Table]:
    """Choose task, net, picture size and recipe for a table whose target is set and that is split.

    Returns the plan and the table with just the columns that are used.
    """
    target = table[table.target or ""].field
    asked, wanted = task_asked(wishes)
    task = asked or _task_name(target)
    kind = task_class(task)
    if not asked and hasattr(catalog.find("tasks", task), "Config"):
        wanted = config.to_json(catalog.find("tasks", task).Config())
    if target.kind not in kind.target_kind:
        raise SettingError(
            f"task {task} learns {kind.reads or ' or '.join(kind.target_kind) + ' columns'}; '{target.name}' of {table.source} "
            f"holds {target.kind} values."
        )
    begun = table, wishes
    wishes, given_weights, told = begin.chosen(kind, wishes, table)
    table, why = _used(table, kind, wishes.net, wishes.recipe.side)
    if given_weights:
        keep = kind.whole or bool(wishes.recipe.side)
        table, reasons = begin.as_learned(table, given_weights, wishes.recipe.freeze, keep)
        why = [w for w in why if not (reasons and w.startswith("Pictures "))] + reasons
    table = table.with_column(kind.completed(table))
    target, given = table[target.name].field, _input_kind(tuple(table.inputs))
    nets, habits = kind.usual(wanted)
    if given not in nets:
        raise SettingError(
            f"task {task} takes {' or '.join(nets)}, and {table.source} holds {given}; --ignore what is beside."
        )
    name, size, built_on = _net_for(nets[given], wishes.net or (given_weights and given_weights.net))
    built_on |= begin.built_on(name, given_weights)
    _check_answers(task, kind, name, nets[given])
    table, reasons = reading.with_tokens(table, name, wishes.recipe, kind.cut_into, given_weights)
    inputs, why = tuple(table.inputs), why + told + reasons
    given = _input_kind(inputs)
    options = kind.settled(table, wanted)
    passes = sizing.passes_within(table, wishes.recipe, device.choose(wishes.device))
    recipe, reasons = _recipe(table, wishes.recipe, given, passes, habits, name, kind.whole)
    if task == "classify":
        options["smoothing"] = recipe.smoothing
        options["mirror"] = recipe.augment.split("+")[0] == "flip" and passes > 1  # which doubles the time of scoring
    options["choose"] = "loss" if given == "row" or wishes.recipe.freeze == "features" else None
    made = task_of(task, target, options)
    why += made.reasons
    wished = {**built_on, **parsed(name, wishes.net_settings)}
    given_size = given_weights is not None and given_weights.net == name and not size
    own = given_weights.settings if given_weights and given_size else sizing.by_default(name, size, table, passes)
    settings = {**sizing.by_data(name, inputs, made.outputs), **own}
    known = {s.name for s in config.settings(catalog.find("nets", name).Config)}
    hints = {k: v for k, v in made.hints.items() if k in known and not (size and k in own)}
    settings |= {**sizing.suited(name, inputs, {**settings, **hints, **wished}), **hints, **wished}
    with weightless():  # wrong settings are told before a run begins
        net = net_of(name, settings)
    if given_weights:
        if begin.frozen_in_vain(net, begun[1].recipe, recipe):  # few rows, but nothing that could stay
            return make(begun[0], replace(begun[1], recipe=replace(begun[1].recipe, freeze="none")))
        reasons.append(weights.fitting(given_weights, net, name, target)[1].sentence(given_weights.name))
        recipe = replace(recipe, weights=given_weights.key)
    why += reasons + compiled.told(net, given == "running", device.choose(wishes.device), recipe.minutes)
    return Plan(task, options, name, settings, inputs, target, recipe, wishes.device, tuple(why)), table


def _task_name(target: Field) -> str:
    fitting = [n for n in catalog.names("tasks") if target.kind in task_class(n).target_kind]
    found = [n for n in fitting if not task_class(n).by_name]
    if not found:
        raise SettingError(f"no task learns a {target.kind} column such as '{target.name}'; choose another --target.")
    return found[0]


def _used(table: Table, task: type[Task], net: str | None, side: int | None) -> tuple[Table, list[str]]:
    """Keep target and inputs; give pictures their size."""
    table, why = reading.without_names(table, net, task.net)
    images = [f for f in table.inputs if f.kind == "image"]
    if not table.inputs:
        left = " ".join(note for note in table.notes if "left out" in note)
        raise SettingError(f"{table.source} has no column to learn from beside '{table.target}'. {left}".rstrip())
    if len(images) > task.pictures:
        raise SettingError(
            f"{table.source} has {len(images)} picture columns; leave all but {task.pictures} out with --ignore {images[-1].name}."
        )
    if len(images) < task.pictures > 1:
        raise SettingError(f"{table.source} has {len(images)} picture columns; this task compares {task.pictures}.")
    keep = {f.name for f in table.inputs} | {table.target}
    table = table.with_(columns={n: c for n, c in table.columns.items() if n in keep})
    for image in images:
        shape, reason = sizing.picture_shape(table[image.name].values, len(table), task, side)
        fit = "stretch" if task.whole else "crop"
        table = table.with_column(replace(table[image.name], field=replace(image, shape=shape, fit=fit)))
        why += [reason] if reason not in why else []
        target = table[table.target or ""]
        if target.field.kind in DENSE:
            own = replace(target.field, shape=(target.values.channels(), *shape[1:]), fit=fit)
            table = table.with_column(replace(target, field=own))
    if len(images) > 1:  # those that are compared have one shape
        shapes = [table[image.name].field.shape for image in images]
        shape = (max(s[0] for s in shapes), *(min(s[i] for s in shapes) for i in (1, 2)))
        for image in images:
            column = table[image.name]
            table = table.with_column(replace(column, field=replace(column.field, shape=shape)))
    return table, why


def _input_kind(inputs: tuple[Field, ...]) -> str:
    kinds = {f.kind for f in inputs}
    for kind in ("running", "sentence"):
        if kind in kinds:
            return kind
    if "text" in kinds:
        return "text" if kinds == {"text"} else "text_image" if "image" in kinds else "text_row"
    return "row" if "image" not in kinds else "image" if kinds == {"image"} else "both"


def _net_for(usual: str, wished: str | None) -> tuple[str, str | None, dict[str, Any]]:
    """Name, size and settings of the net; one that was wished is what the task's own net builds on, where that builds on another."""
    setting = getattr(catalog.find("nets", usual), "BUILDS_ON", None)
    if not wished or not setting or hasattr(catalog.find("nets", wished.partition("/")[0]), "BUILDS_ON"):
        return *_net_name(wished or usual), {}
    _net_name(wished)  # raises for a size that is not there
    return usual, None, {setting: wished}


def _net_name(text: str) -> tuple[str, str | None]:
    name, _, size = text.partition("/")
    module = catalog.find("nets", name)
    if size and size not in module.SIZES:
        raise unknown(f"size of {name}", size, module.SIZES)
    return name, size or None


def _check_answers(task: str, kind: type[Task], name: str, usual: str) -> None:
    """Raises SettingError when a net answers something else than the task asks."""

    def answers(net: str) -> tuple[str, ...]:
        found = getattr(catalog.find("nets", net), "ANSWERS", "")
        return (found,) if isinstance(found, str) else found

    if kind.answers not in answers(name):
        fit = [n for n in catalog.names("nets") if kind.answers in answers(n)] if kind.answers else [usual]
        asked = kind.answers or " or ".join(kind.target_kind)
        raise SettingError(
            f"task {task} asks for {asked}, which {name} does not answer; try --net {' or '.join(dict.fromkeys(fit[:4]))}."
        )


def _recipe(
    table: Table, wish: Recipe, given: str, passes: float, habits: dict[str, Any], net: str, whole: bool
) -> tuple[Recipe, list[str]]:
    """Fill in what the wish leaves open; the task (its habits) and the net's file may say what suits them."""
    rows, why = len(table.rows(TRAIN)), []
    pictures = given in ("image", "both")
    filled: dict[str, Any] = {}
    if pictures:
        batch = min(128 if rows < MANY else 256, max(16, 2 ** int(math.log2(max(2, rows / 25)))))
        while batch > 32 and passes * rows / batch < UPDATES:
            batch //= 2
        filled = {"optimizer": "muon", "lr": 0.05, "weight_decay": 0.0, "schedule": "one_cycle", "smoothing": 0.1,
                  "average": 0.03, "epochs": 20.0}  # fmt: skip
    else:
        batch = int(min(256, max(32, 2 ** round(math.log2(max(2, rows / 16))))))
        filled = {"optimizer": "adamw", "lr": 2e-3, "weight_decay": 0.03, "schedule": "constant", "smoothing": 0.0,
                  "average": 0.02, "clip": 1.0, "patience": 12, "epochs": 100.0}  # fmt: skip
    if given.startswith("text"):
        filled |= reading.recipe(catalog.find("nets", net), rows)
    filled |= habits
    usual = filled["epochs"]
    tuned = pictures and habits.get("optimizer") == "muon"  # the task says that it suits weights that came, too
    if wish.freeze == "features" or (wish.weights and not tuned):
        filled |= freeze.ANSWER if wish.freeze == "features" else freeze.FINE
        if given.startswith("text"):  # of few texts more passes
            filled |= {"epochs": max(20.0, usual), **getattr(catalog.find("nets", net), "FINE", {})}
    elif wish.weights:
        filled["lr"] *= freeze.GENTLY
    if wish.optimizer not in ("auto", filled["optimizer"]):
        filled["lr"] = RATES[wish.optimizer]
    filled["batch"] = min(habits.get("batch", filled.get("batch", batch)), rows)
    filled["minutes"] = None if wish.epochs or wish.steps else wish.minutes or DEFAULT_MINUTES
    if wish.minutes and not wish.epochs and not given.startswith("text"):
        filled["epochs"] = 10 * filled["epochs"]  # minutes were asked for: longer than the usual pays with pictures
    if wish.steps:
        filled["epochs"] = None
    augment = wish.augment
    if augment == "auto":
        augment, reason = mirror.augmentation(table) if pictures else ("none", "")
        alone = "augment" not in habits or hasattr(catalog.find("nets", net), "BUILDS_ON")
        if wish.freeze == "features" and pictures and alone:
            augment, reason = "none", "Augmentation: none, so that the features are computed once."
        elif "augment" in habits:
            augment, reason = habits["augment"], f"Augmentation: {habits['augment']}." if pictures else ""
        why += [reason] if reason else []
    if {"mixup", "cutmix"} & set(augment.split("+")) and given != "image":
        raise SettingError("mixup and cutmix blend pictures; these rows hold other inputs too, or no picture.")
    if {"mixup", "cutmix"} & set(augment.split("+")) and whole:
        raise SettingError(
            "mixup and cutmix blend whole targets; what lies in places of the picture cannot be blended so."
        )
    filled["augment"] = augment
    given_by_wish = {k: v for k, v in config.to_json(wish).items() if v is not None and v != "auto"}
    return replace(wish, **{**filled, **given_by_wish, "augment": augment}), why


def build(plan: Plan, table: Table, where: torch.device, run: Run | None = None) -> tuple[Task, nn.Module]:
    """Task and net of a plan: weights drawn by its seed, input statistics from the training rows; or those it begins with.

    `run` keeps the weights that it began with, so that resuming needs nothing else.
    """
    task = task_of(plan.task, plan.target, plan.options)
    torch.manual_seed(plan.recipe.seed)
    net = net_of(plan.net, plan.net_config)
    rows = table.rows(TRAIN)
    train = table.take(rows[np.unique(np.linspace(0, len(rows) - 1, FITTED).astype(int))])
    begin.fit_inputs(net, Batches(train, plan.inputs, None, torch.device("cpu")))
    if plan.recipe.weights:
        begin.start(net, plan.net, plan.target, plan.recipe.weights, run)
    if plan.recipe.freeze == "features":
        freeze.freeze(net)
    net = net.to(where)
    if any(f.kind == "image" for f in plan.inputs):
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.75 times the images a second on one core, resnet 32 wide
    return task, net
