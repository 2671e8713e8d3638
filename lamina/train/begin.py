"""How a training begins with weights: which, the pictures as they learned them, and a copy in the run so that resuming needs no source."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import safetensors.torch
import torch
from torch import nn

from lamina.core import catalog, device
from lamina.core.errors import SettingError
from lamina.core.run import Run
from lamina.data._batches import Batches
from lamina.data._table import Field, Table
from lamina.nets._blocks import Standardize
from lamina.nets._row import RowEncoder
from lamina.tasks._task import Task
from lamina.train import freeze, weights
from lamina.train.recipe import Recipe
from lamina.train.wishes import Wishes

START = "start.safetensors"  # in a run's folder: the weights that its net began with
NONE = "none"  # --weights none: begin at nothing, where a task would begin with weights
PART = 1 << 24  # tokens of a running text that are counted at a time
# Why a processor leaves them as they are: yolo on stamps, 2 minutes, mAP 14.8 %; all weights, one pass, which takes 5, 6.1 %
SLOW = "The features stay as ImageNet's pictures made them, which takes a processor a fraction of the time; --freeze none lets them learn."
NATIVE = 64  # pixels of a side: smaller pictures keep their size, whatever the weights learned from


def chosen(kind: type[Task], wishes: Wishes, table: Table) -> tuple[Wishes, weights.Source | None, list[str]]:
    """The wishes with weights and freezing settled, the weights, and why. Raises SettingError and RunError."""
    wishes, why = usual(kind, wishes)
    given = wanted(wishes.net, wishes.recipe, wishes.net_settings)
    frozen, reason = freeze.decided(wishes.recipe, table)
    wishes = replace(wishes, recipe=replace(wishes.recipe, freeze=frozen))
    return wishes, given, [*([reason] if reason else []), *why]


def frozen_in_vain(net: nn.Module, asked: Recipe, recipe: Recipe) -> bool:
    """Whether features shall stay by the amount of data alone, of a net that has none apart from its answer.

    Raises SettingError where it was asked for.
    """
    if recipe.freeze != "features":
        return False
    try:
        freeze.parts(net)
    except SettingError:
        if asked.freeze == "features":
            raise
        return True
    return False


def built_on(net: str, given: weights.Source | None) -> dict[str, str]:
    """Settings of a net that builds on another: the one that published weights are of."""
    setting = getattr(catalog.find("nets", net), "BUILDS_ON", None)
    return {setting: given.sized} if setting and given and given.is_imagenet else {}


def wanted(net: str | None, recipe: Recipe, settings: dict[str, str]) -> weights.Source | None:
    """The weights that a recipe names, for the net that was asked for, or for the one that it builds on by its size or settings.

    Raises SettingError and RunError.
    """
    if not recipe.weights:
        return None
    name, _, size = (net or "").partition("/")
    built = _built_on(net or "", settings)
    if built is not None:
        name, _, size = built.partition("/") if built else (name, "", "")
    return weights.source(recipe.weights, name or None, size or None)


def usual(kind: type[Task], wishes: Wishes) -> tuple[Wishes, list[str]]:
    """The wishes with the weights that the task begins with where nothing else was asked for and they are on this machine; and why."""
    recipe, built = wishes.recipe, _built_on(wishes.net or kind.net.get("image", ""), wishes.net_settings)
    if recipe.weights or not kind.weights or built is None or (built and not hasattr(_net(built), "PRETRAINED")):
        return replace(wishes, recipe=replace(recipe, weights=None if recipe.weights == NONE else recipe.weights)), []
    try:
        weights.source(kind.weights, *(part or None for part in built.partition("/")[::2]))
    except SettingError as error:
        return wishes, [f"The features begin at nothing, and learn slower for it: {error}"]
    frozen, why = recipe.freeze, []
    if frozen == "auto":
        slow = device.choose(wishes.device).type == "cpu"
        frozen, why = ("features", [SLOW]) if slow else ("none", [])
    return replace(wishes, recipe=replace(recipe, weights=kind.weights, freeze=frozen)), why


def _built_on(net: str, settings: dict[str, str]) -> str | None:
    """The net that a net builds on, as it was asked for; "" where that is open, and None for a net that builds on none.

    A size that names features without published weights leaves them open: it is there for nets that begin at nothing.
    """
    name, _, size = net.partition("/")
    module = catalog.find("nets", name) if name else None
    setting = getattr(module, "BUILDS_ON", "")
    if module is None or not setting:
        return None
    of_size = module.SIZES.get(size, {}).get(setting, "")
    return settings.get(setting) or (of_size if of_size and hasattr(_net(of_size), "PRETRAINED") else "")


def _net(sized: str) -> ModuleType:
    return catalog.find("nets", sized.partition("/")[0])


def as_learned(table: Table, given: weights.Source, frozen: str, keep: bool) -> tuple[Table, list[str]]:
    """The table with pictures in the channels, and where it pays in the size, that the weights learned from; and why.

    `keep` the size: it was asked for, or the target lies in places of the picture, whose size the task chooses.
    """
    image = next((f for f in table.inputs if f.kind == "image"), None)
    if image is None or not given.shape:
        return table, []
    native = min(image.shape[1:]) <= NATIVE and given.is_imagenet
    same = not keep and (frozen == "features" or not given.is_imagenet) and not native
    shape = given.shape if same else (given.shape[0], *image.shape[1:])
    channels, how = "grey" if shape[0] == 1 else "colour", "as" if same else "the colours as"
    why = f"Pictures come to {shape[1]}x{shape[2]}, {channels}, {how} the weights learned them."
    return table.with_column(replace(table[image.name], field=replace(image, shape=shape))), [why]


def start(net: nn.Module, net_name: str, target: Field, named: str, run: Run | None) -> None:
    """Put the weights that are named into the net, from the run where it has them; else it keeps them."""
    if run and run.has(START):
        weights.into(net, safetensors.torch.load(run.read(START)))
        return
    taken, _ = weights.fitting(weights.source(named, net_name), net, net_name, target)
    weights.into(net, taken)
    if run:
        run.write(START, safetensors.torch.save({k: v.contiguous() for k, v in taken.items()}))


def fit_inputs(net: nn.Module, batches: Batches) -> None:
    """Give every input normalisation of the net the statistics of the training rows."""
    for module in net.modules():
        if isinstance(module, Standardize) and "image" in batches.tensors:
            image = batches.tensors["image"].float() / 255
            module.fit(image.mean((0, 2, 3)), image.std((0, 2, 3)))
        elif hasattr(module, "fit_tokens") and batches.texts is not None:
            module.fit_tokens(batches.texts.get(rows)[0] for rows in batches.texts.parts())  # type: ignore[operator]
        elif hasattr(module, "fit_counts") and batches.running:
            coded = next(iter(batches.running.values())).coded
            count = np.zeros(len(coded.tokens), np.int64)
            for start in range(0, coded.ends[0], PART):
                part = np.asarray(coded.ids[start : min(start + PART, coded.ends[0])])
                count += np.bincount(part, minlength=len(count))
            module.fit_counts(torch.from_numpy(count))  # type: ignore[operator]
        elif isinstance(module, RowEncoder) and module.numbers:
            numbers = batches.tensors.get("numbers")
            module.fit(numbers if numbers is not None else batches.tensors["image"].float().flatten(1) / 255)
