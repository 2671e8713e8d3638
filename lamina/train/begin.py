"""How a training begins with weights: which, the pictures as they learned them, and a copy in the run so that resuming needs no source."""

from __future__ import annotations

from dataclasses import replace

import safetensors.torch
from torch import nn

from lamina.core.run import Run
from lamina.data._batches import Batches
from lamina.data._table import Field, Table
from lamina.nets._blocks import Standardize
from lamina.nets._row import RowEncoder
from lamina.train import weights
from lamina.train.recipe import Recipe

START = "start.safetensors"  # in a run's folder: the weights that its net began with
NATIVE = 64  # pixels of a side: smaller pictures keep their size, whatever the weights learned from


def wanted(net: str | None, recipe: Recipe) -> weights.Source | None:
    """The weights that a recipe names, for the net that was asked for. Raises SettingError and RunError."""
    name, _, size = (net or "").partition("/")
    return weights.source(recipe.weights, name or None, size or None) if recipe.weights else None


def as_learned(table: Table, given: weights.Source, frozen: str, whole: bool) -> tuple[Table, list[str]]:
    """The table with pictures in the channels, and where it pays in the size, that the weights learned from; and why.

    `whole`: the target lies in places of the picture, whose size the task chooses.
    """
    image = next((f for f in table.inputs if f.kind == "image"), None)
    if image is None or not given.shape:
        return table, []
    native = min(image.shape[1:]) <= NATIVE and given.is_imagenet
    same = not whole and (frozen == "features" or not given.is_imagenet) and not native
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
        elif isinstance(module, RowEncoder) and module.numbers:
            numbers = batches.tensors.get("numbers")
            module.fit(numbers if numbers is not None else batches.tensors["image"].float().flatten(1) / 255)
