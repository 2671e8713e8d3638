"""Task: one question that can be asked of data. The engine knows nothing else of what is learned.

A task is built from the target's Field and plain options (JSON), both saved with the net, so that a trained net scores and
answers exactly as it did when it was trained.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lamina.core.answers import told
from lamina.core.errors import SettingError
from lamina.data._augment import Augment
from lamina.data._batches import Batches
from lamina.data._table import Column, Field, Table

Batch = dict[str, Tensor]
COMPUTED = "computed"  # in a batch whose "image" holds features of a frozen trunk
AUXILIARY = 0.3  # weight of the loss of a further answer (Szegedy 2014, section 5)


class Task:
    """What every task gives; a new one overrides what differs."""

    better: str = "accuracy"
    """the number of `finish` that chooses the best net"""
    lower_is_better: bool = False
    phases: ClassVar[tuple[str, ...]] = ("all",)
    """submodules that take turns in learning; "all" is the whole net"""
    target_kind: ClassVar[tuple[str, ...]] = ()
    """kinds of column it learns"""
    reads: ClassVar[str] = ""
    """what data it learns from, in words; "" where the kinds of column tell"""
    net: ClassVar[dict[str, str]] = {}
    """default net per kind of input: image, row (numbers and categories), both"""
    by_name: ClassVar[bool] = False
    """whether it is taken only when it is asked for, whatever the target"""
    whole: ClassVar[bool] = False
    """whether the target lies in places of the picture: pictures are stretched to the net's shape, not cropped"""
    side: ClassVar[int] = 0
    """pixels a side that pictures have on a processor; 0 where the plan shall choose"""
    recipe: ClassVar[dict[str, Any]] = {}
    """fields of Recipe that it wants otherwise than usual with this kind of input"""
    cut_into: ClassVar[str] = ""
    """what texts are cut into where nothing else is asked for; "" where the net says"""
    weights: ClassVar[str] = ""
    """weights that its nets begin with where they are on this machine and nothing else is asked for"""
    answers: ClassVar[str] = ""
    """what its nets say of themselves by ANSWERS, such as boxes; "" for nets that say nothing"""
    pictures: ClassVar[int] = 1
    """picture columns that a row may have"""
    changes: ClassVar[bool] = False
    """whether `change` is asked for rows without pictures, too"""
    mistakes: ClassVar[bool] = True
    """whether a single row is answered rightly or wrongly, as `told` says"""
    given: ClassVar[str] = ""
    """what it is asked about, as the command line shows it; "" for FILE, or "TEXT" where it reads texts"""
    question: str = ""
    """what is asked, in words; "" where the target's kind tells"""

    def __init__(self, target: Field, options: dict[str, Any]) -> None:
        self.target, self.options = target, options

    @classmethod
    def choose(cls, table: Table) -> dict[str, Any]:
        """Options found in the training rows of the table: class weights, scale of the target."""
        return {}

    @classmethod
    def arrange(cls, table: Table, settings: dict[str, Any], seed: int) -> Table:
        """The table as the task wants it, before target and split are settled: a target made of the input, say."""
        return table

    @classmethod
    def usual(cls, settings: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
        """`net` and `recipe` as these settings of the task's Config want them."""
        return cls.net, cls.recipe

    @classmethod
    def settled(cls, table: Table, settings: dict[str, Any]) -> dict[str, Any]:
        """Options: the settings of the task's Config, and what is found in the table."""
        return {**settings, **cls.choose(table)}

    @classmethod
    def frame(cls, sizes: np.ndarray, most: int) -> tuple[int, int] | None:
        """Height and width in which the net sees pictures of these sizes (rows, 2), `most` a side; None where the plan chooses."""
        return None

    @property
    def hints(self) -> dict[str, Any]:
        """Settings of the net that suit the task, where its Config has them."""
        return {}

    @classmethod
    def completed(cls, table: Table) -> Column:
        """The target column, its field filled with what is chosen from the training rows: tokens, a shape."""
        return table[table.target or ""]

    @property
    def outputs(self) -> int:
        """Numbers that the net must give per row."""
        raise NotImplementedError

    @property
    def chooses(self) -> str:
        """The number on the validation rows that chooses the best net: `better`, or "loss" where that is steadier."""
        return self.options.get("choose") or self.better

    def prepare(self, batch: Batch, training: bool) -> Batch:
        """Turn stored values into what the net takes: pictures of 0 to 255 -> float in [0, 1]."""
        known = "image" not in batch or COMPUTED in batch
        return batch if known else {**batch, "image": batch["image"].float() / 255}

    def change(self, batch: Batch, augment: Augment, seed: int, passes: Tensor, rows: Tensor) -> Batch:
        """A training batch whose pictures (stored values) are changed at random, keyed by (seed, pass, row), the target with them."""
        image = augment(batch["image"], seed, passes, rows)
        if not augment.mixes:
            return {**batch, "image": image}
        image, share = augment.mix(image, seed, passes, rows)
        return {**batch, "image": image, "share": share, "other": batch["target"].flip(0)}

    def loss(self, net: nn.Module, batch: Batch, phase: str = "all") -> Tensor:
        """Mean loss over the rows of a prepared batch."""
        raise NotImplementedError

    def score(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Statistics per row of a prepared batch; `finish` turns those of all rows into numbers."""
        raise NotImplementedError

    def scored(self, output: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`score` of a prepared batch, out of what a shipped file gave for it (`exact`); without the loss, which that does not tell."""
        return {**output, "target": batch["target"], "loss": torch.zeros(len(batch["target"]))}

    def final(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Like `score`, once, on the test rows: what takes too long for every validation comes here."""
        return self.score(net, batch)

    def signature(self) -> str:
        """What it takes to repeat the numbers beside data, seed and versions; "" for nothing."""
        return ""

    def samples(self, net: nn.Module, table: Table) -> list[tuple[str, str]]:
        """(title, text) of what the report shows of a net's own making; [] where that is nothing."""
        return []

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        """Numbers from the statistics of all rows."""
        raise NotImplementedError

    def interval(self, rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
        """95 % interval of one of these numbers."""
        raise NotImplementedError

    def settle(self, net: nn.Module, rows: dict[str, np.ndarray]) -> None:
        """After a validation: put into the net (and `rows`) what is chosen by it, such as a threshold."""

    def fitted(self, validated: Callable[[], dict[str, np.ndarray]]) -> dict[str, Any]:
        """Options that the best net's statistics of the validation rows tell after training, such as a temperature."""
        return {}

    def curves(self, rows: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        """Curves for the report, plain values: title, x, y, percent, lines of {name, x, y}, mark (x, y, text), about."""
        return []

    threshold: float | None = None
    """labels from this probability on are chosen; None where the most probable one is"""

    def output(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """What `answers_of` makes answers of, by name, one entry per row of a prepared batch: "probabilities" or "answer"."""
        raise NotImplementedError

    asks: ClassVar[dict[str, str]] = {}
    """what a graph of it is given beside the inputs, by name: tokens (rows, length) int64, row (rows,) float or one () float"""
    own_size: int = 0
    """how many times larger than a picture of any size its answer is; 0 where pictures are made to fit the net's frame"""

    def exact(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """`output` of a prepared batch with nothing of it rounded."""
        return self.output(net, batch)

    def graph(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """What a file that runs without Lamina gives for a prepared batch, by name: `exact`, and the answer where it is more.

        The batch has what `asks` names too, and "raw" (rows, channels, height, width) where there is one picture, as it came.
        """
        return self.exact(net, batch)

    def steps(self, net: nn.Module) -> dict[str, Any]:
        """Where an answer takes many steps of the graph: how they are taken, plain values; {} where it takes one."""
        return {}

    def answer(self, net: nn.Module, batch: Batch) -> list[Any]:
        """One answer (core.answers) per row of a prepared batch."""
        output = {name: tensor.cpu().numpy() for name, tensor in self.output(net, batch).items()}
        return self.answers_of(output)

    def answers_of(self, output: dict[str, np.ndarray]) -> list[Any]:
        """One answer (core.answers) per row of what `output` gave."""
        return told(output, self.target.classes, self.threshold)

    def asked(
        self, net: nn.Module, sources: tuple[Any, ...], fields: tuple[Field, ...] = ()
    ) -> list[tuple[str, Any]] | None:
        """(name, answer) for what a person asks, where the task reads it by itself; None: it is read as a table."""
        return None

    def placed(self, net: nn.Module, table: Table, inputs: Sequence[Field]) -> list[Any] | None:
        """One answer per row of a table that is asked about, in the size of its picture; None: those of `answer` do."""
        return None

    def loss_at_start(self) -> float | None:
        """Loss of a net that knows nothing (ln(classes)); None when there is no such rule."""
        return None

    def told(self, rows: dict[str, np.ndarray], i: int) -> dict[str, Any]:
        """What is said of row i of the statistics: its "target" and "answer" as plain values; where equal, it is no mistake.

        "said": what stands beside the answer.
        """
        classes = self.target.classes
        if "answer" in rows:
            return {"target": float(rows["target"][i]), "answer": float(rows["answer"][i])}
        p, target = rows["probabilities"][i], rows["target"][i]
        if self.target.kind == "labels":
            return {
                "target": [c for c, t in zip(classes, target, strict=True) if t],
                "answer": [c for c, q in zip(classes, p, strict=True) if q >= 0.5],
            }
        return {
            "target": classes[int(target)],
            "answer": classes[int(p.argmax())],
            "probability": round(float(p.max()), 4),
        }

    def shown(self, net: nn.Module, batch: Batch) -> list[list[np.ndarray]] | None:
        """Per row of a prepared batch with targets what is given, the truth and the answer as uint8 (height, width, 3); None:
        answers are no pictures."""
        return None

    def seen(self, batch: Batch) -> list[list[np.ndarray]] | None:
        """Per row of a batch that was changed for training the picture and its target as uint8 (height, width, 3); None: targets are
        no pictures."""
        return None

    @property
    def reasons(self) -> list[str]:
        """What was chosen for the data and why, a sentence each."""
        return []

    def constant(self, train: Batches, test: Batches) -> float | None:
        """`better` on test rows of the best answer that looks at no input; None: that of judge.baseline fits the task."""
        return None

    def baselines(self, train: Batches, validation: Batches, test: Batches) -> dict[str, float] | None:
        """Name -> `better` on the test rows of simple answers; None: those of judge.baseline fit the task."""
        return None


def inputs(net: nn.Module, batch: Batch) -> list[Tensor | None]:
    """What the net takes from the batch, in the order of its TAKES; a picture serves as numbers, pixel by pixel."""
    takes = sys.modules[type(net).__module__].TAKES
    if takes == ("numbers", "categories") and "image" in batch:
        return [batch["image"].flatten(1), None]
    if "image" in takes and "image" not in batch:
        raise SettingError("this net takes pictures and the data has none; try --net mlp.")
    if "tokens" in takes and "tokens" not in batch:
        raise SettingError("this net reads texts and the data has none; try --net mlp.")
    return [batch.get(name) for name in takes]


def mean_loss(net: nn.Module, batch: Batch, losses: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Mean over rows and members of losses(output, target), and the loss of what the net left beside its output.

    Rows that were blended with others count by their shares (arXiv:1710.09412, eq. 1): exact where the loss is linear in the
    target; a square has the gradients of the blended target.
    """

    def mean(output: Tensor) -> Tensor:
        own = losses(output, batch["target"])
        if "share" in batch:
            share = batch["share"].view(-1, *[1] * (own.dim() - 1))
            own = torch.lerp(losses(output, batch["other"]), own, share)
        return own.mean()

    return whole_loss(net, net(*inputs(net, batch)).float(), mean)


def whole_loss(net: nn.Module, output: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """loss(output), and the loss of what the net left beside its output in training.

    `net.auxiliary` is a list of further answers of the output's kind (side heads), each of which counts AUXILIARY;
    `net.penalty` is a number that the net asks to be added. Both are taken away, so that no graph outlives the step.
    """
    total, beside = loss(output), vars(net)
    for further in beside.pop("auxiliary", []):
        total = total + AUXILIARY * loss(further)
    penalty = beside.pop("penalty", None)
    return total if penalty is None else total + penalty
