"""Freezing g: features that stay as they are while the answer learns, computed once where nothing changes the pictures.

g is `features` and what stands before it in the net: its weights get no gradient, and its normalisations keep the statistics
that they came with (evaluation mode). Only the answer, `classifier`, then sees the rows more than once.
Yosinski 2014, https://arxiv.org/abs/1411.1792
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lamina.core.device import memory
from lamina.core.errors import SettingError
from lamina.data._batches import Batches
from lamina.data._table import TRAIN, Table
from lamina.nets._pyramid import Pyramid
from lamina.nets._row import RowEncoder
from lamina.nets._trunk import Trunk
from lamina.tasks._task import COMPUTED, Task, inputs
from lamina.train.evaluate import batch_rows, mode
from lamina.train.recipe import Recipe

TAKES = ("features",)  # of Answer, below
PART = 8_192  # rows whose numbers are normalised at once: ranks compare each with all knots
SHARE = 0.2  # of the memory that kept features may take
PATIENCE = 0.5  # of the time left that computing them may take
ANSWERS = ("classifier", "heads")  # parts of a net behind its features that need nothing but them
FEW = 50  # rows a class, under which g stays frozen by default; a guess that is not measured yet
FEW_NUMBERS = 500  # rows, where there are no classes
# Recipes, for what a wish leaves open: of an answer over frozen features, and of a whole net that begins with weights.
ANSWER = {
    "optimizer": "adamw",
    "lr": 5e-3,
    "weight_decay": 0.03,
    "schedule": "one_cycle",
    "average": 0.03,
    "epochs": 100.0,
}
GENTLY = 0.5  # of muon's rate, for weights that came: detect on stamps, one pass, mAP 6.1 % at 0.01, 4.2 at 0.02
FINE = {
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.03,
    "schedule": "one_cycle",
    "average": 0.03,
    "epochs": 20.0,
}


def decided(recipe: Recipe, table: Table) -> tuple[str, str]:
    """ "none" or "features", and why: as wished, or by the amount of data where weights were given."""
    if recipe.freeze != "auto" or not recipe.weights:
        return recipe.freeze.replace("auto", "none"), ""
    target, rows = table[table.target or ""].field, len(table.rows(TRAIN))
    classes = len(target.classes) if target.kind in ("label", "labels") else 0
    few = rows < FEW * classes if classes else rows < FEW_NUMBERS
    told = f"{rows:,} rows for {classes} classes" if classes else f"{rows:,} rows"
    if few:
        return "features", f"{told} are too few to train all weights: the features stay frozen, only the answer learns."
    return "none", f"{told} are enough to train all weights: nothing is frozen; --freeze features is faster."


def parts(net: nn.Module) -> list[nn.Module]:
    """The modules of g: `features` and all that stand before it. Raises SettingError for a net without."""
    found: list[nn.Module] = []
    for name, module in net.named_children():
        if hasattr(module, "features"):  # where a net builds on another
            return [*found, *parts(module)]
        found.append(module)
        if name == "features":
            return found
    raise SettingError(f"{type(net).__module__} has no `features` that could be frozen; leave --freeze out.")


def freeze(net: nn.Module) -> None:
    """Let g stay as it is: no gradients, and evaluation mode whenever `mode` is set."""
    for part in parts(net):
        part.frozen = True  # type: ignore[assignment]  # read by evaluate.mode
        part.requires_grad_(False)
    if not any(p.requires_grad for p in net.parameters()):
        raise SettingError("nothing is left to learn with --freeze features: the net has no weights behind them.")


class Answer(nn.Module):
    """features (batch, ...) as `classifier` takes them -> what the whole net answers; it shares the net's own layer."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.classifier: nn.Module = net.classifier  # type: ignore[assignment]

    def forward(self, features: Tensor) -> Tensor:
        return self.classifier(features)


def once(
    task: Task, net: nn.Module, recipe: Recipe, all_rows: Sequence[Batches], seconds: float
) -> tuple[nn.Module, str, float]:
    """The net that learns, what to say, and the seconds that the features of a row took: of a frozen net the answer alone, and in
    the batches features instead of inputs.

    Numbers of tables are normalised in the batches, which no step changes: 87 of 980 us of a small net's update on one EPYC core.

    The net itself, "" and 0 when nothing is frozen, pictures are changed at random, the net has other parts behind its features,
    or `seconds` or the memory do not suffice.
    """
    _normalise(net, all_rows)
    trunk = next((m for m in net.children() if isinstance(m, Trunk | Pyramid)), None)
    if (
        recipe.freeze != "features"
        or recipe.augment != "none"
        or recipe.harden
        or not (trunk or _suits(net))
        or "target" not in all_rows[0].tensors
    ):
        return net, "", 0.0
    start, mode_before = time.perf_counter(), net.training
    net.eval()
    for rows in all_rows:
        values = _computed(task, net, trunk, rows, start + PATIENCE * seconds)
        if values is None:
            mode(net, mode_before)
            return (
                net,
                "Computing the features of all rows once would take too long or too much memory; they are made anew.",
                0.0,
            )
        rows.tensors["features"] = values
    for rows in all_rows:
        rows.tensors = {k: v for k, v in rows.tensors.items() if k in ("features", "target", "size")}
        rows.streams = {}
        if trunk:  # which takes features in the place of pictures
            rows.tensors["image"] = rows.tensors.pop("features")
            rows.tensors[COMPUTED] = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    count, took = sum(len(rows) for rows in all_rows), time.perf_counter() - start
    learner = net if trunk else Answer(net)
    mode(net, mode_before)
    told = f"g is frozen: its features of {count:,} rows were computed once, in {took:.1f} s, and are reused."
    return learner, told, took / max(1, count)


@torch.no_grad()
def _normalise(net: nn.Module, all_rows: Sequence[Batches]) -> None:
    """Put into the batches what the net's only row encoder makes of their numbers."""
    encoders = [m for m in net.modules() if isinstance(m, RowEncoder)]
    for rows in all_rows:
        if len(encoders) == 1 and "numbers" in rows.tensors:
            rows.tensors["numbers"] = torch.cat(
                [encoders[0].encode(part) for part in rows.tensors["numbers"].split(PART)]
            )


def _suits(net: nn.Module) -> bool:
    names = [name for name, _ in net.named_children()]
    behind = names[names.index("features") + 1 :] if "features" in names else ["no features"]
    return "classifier" in behind and set(behind) <= set(ANSWERS) and not getattr(net, "loss_name", "")


@torch.no_grad()
def _computed(task: Task, net: nn.Module, trunk: Trunk | Pyramid | None, rows: Batches, until: float) -> Tensor | None:
    """What reaches `classifier` for every row, or what the trunk gives, or None when it would last beyond `until` or not fit into memory."""
    seen: list[Tensor] = []
    classifier: nn.Module = trunk or net.classifier  # type: ignore[assignment]
    handle = classifier.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    size, whole = batch_rows(rows), torch.empty(0)
    try:
        for first in range(0, len(rows), size):
            begun = time.perf_counter()
            batch = task.prepare(rows.slice(first, first + size), training=False)
            if trunk:
                values = trunk.flat(batch["image"]) if isinstance(trunk, Pyramid) else trunk(batch["image"])
            else:
                net(*inputs(net, batch))
                values = seen.pop()
            if not first:
                need = values[0].numel() * values.element_size() * len(rows)
                if need > SHARE * (memory() or 1 << 62):
                    return None
                whole = torch.empty(len(rows), *values.shape[1:], dtype=values.dtype, device=values.device)
            whole[first : first + size] = values
            left = (len(rows) - first) / size - 1
            if time.perf_counter() + left * (time.perf_counter() - begun) > until:
                return None
    finally:
        handle.remove()
    return whole
