"""What every method of this room shares: the question, the explanation it returns, and the score that is explained.

A method is a file with a frozen dataclass Config and `explain(task, net, batch, question, config) -> Explanation`. The batch holds one
row, prepared by the task. The score of a class is its logit, not its probability, which is flat where the net is sure (Simonyan 2013,
section 3); of several members the mean, and the mean over both mirrorings where the task answers from both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.answers import Labels, Number
from lamina.core.errors import SettingError
from lamina.data._batches import Batches
from lamina.data._table import Field, Table
from lamina.tasks._task import Batch, Task, inputs

VALUES = 3 << 20  # input values that are computed at a time
MOST_ROWS = 64  # that are computed at a time with gradients


@dataclass(frozen=True)
class Question:
    """What is to be explained, and what a method may look at beside the net."""

    output: int | None = None
    """position of the class whose score is explained; None: the most probable one"""
    inputs: tuple[Field, ...] = ()
    """the columns that the net takes, in their order; names are made up when there are none"""
    table: Callable[[], Table] | None = None
    """gives the table that the net learned from, split; called by the methods that need it alone"""
    cache: Path | None = None
    """folder of packed pictures of that table"""
    seed: int = 0
    """what is drawn at random follows from it"""


@dataclass(frozen=True)
class Explanation:
    """What a method found: arrays for programs, a picture for people, a sentence for both."""

    method: str
    about: str
    """what is explained: "class cat, 98.2 %", "price 1,250" """
    arrays: dict[str, np.ndarray]
    """by name; float32 (positions of rows int64), finite; each method's docstring gives names and shapes"""
    picture: Image.Image
    summary: str
    """the finding in one sentence"""
    page: str = ""
    """of a text: the picture as HTML, in any script; "" where there is none"""
    names: tuple[str, ...] = ()
    """of a text: the words that entries of the arrays are of"""


@dataclass(frozen=True)
class About:
    """The answer that is explained."""

    output: int
    """its position among the net's outputs"""
    name: str
    """of the class, or of the target column"""
    target: str
    """name of the target column"""
    value: float
    """probability of the class, or the number answered"""
    is_number: bool

    def __str__(self) -> str:
        if self.is_number:
            return f"{self.name} {self.value:,.6g}"
        return f"{self.target} {self.name}, {100 * self.value:.1f} %"


@torch.no_grad()
def about(task: Task, net: nn.Module, batch: Batch, question: Question) -> About:
    """What is explained of a batch of one row. Raises SettingError when the task's answer is neither labels nor a number."""
    rows = next(iter(batch.values())).shape[0]
    if rows != 1:
        raise SettingError(f"one row is explained at a time, not {rows}.")
    answer = task.answer(net, batch)[0]
    if isinstance(answer, Number):
        if question.output not in (None, 0):
            raise SettingError(f"{task.target.name} is a number and has no classes; leave the class out.")
        return About(0, task.target.name, task.target.name, answer.value, True)
    if not isinstance(answer, Labels):
        kind = type(answer).__name__
        raise SettingError(f"explanations are for answers that are labels or a number; this task answers with {kind}.")
    output = task.target.classes.index(next(iter(answer.probabilities))) if question.output is None else question.output
    if not 0 <= output < len(task.target.classes):
        raise SettingError(f"class {output} is not there; {task.target.name} has {len(task.target.classes)} classes.")
    name = task.target.classes[output]
    return About(output, name, task.target.name, answer.probabilities[name], False)


@torch.no_grad()
def told(task: Task, net: nn.Module, batch: Batch, what: About) -> np.ndarray:
    """float64 (rows,): the probability of the class, or the number answered, of every row of a batch."""
    found = []
    for part in parts(batch):
        answers = task.answer(net, part)
        found += [a.value if isinstance(a, Number) else a.probabilities[what.name] for a in answers]
    return np.array(found, np.float64)


def scores(task: Task, net: nn.Module, batch: Batch) -> Tensor:
    """(rows, outputs) float: logits, or the scaled number, with gradients. Raises SettingError for a net that gives another shape."""
    both = mirrored(task, batch)
    if both:
        batch = {name: torch.cat([v, v.flip(3) if name == "image" else v]) for name, v in batch.items()}
    given = net(*inputs(net, batch)).float()
    given = given.mean(1) if given.dim() == 3 else given
    if given.dim() != 2 or given.shape[1] != task.outputs:
        raise SettingError(f"the net gives {tuple(given.shape)} where (rows, {task.outputs}) can be explained.")
    first, second = given.chunk(2) if both else (given, given)
    return (first + second) / 2 if both else given


def mirrored(task: Task, batch: Batch) -> bool:
    """Whether the task answers from both mirrorings of the picture."""
    return bool(task.options.get("mirror")) and "image" in batch


def score_gradient(task: Task, net: nn.Module, batch: Batch, images: Tensor, output: int) -> tuple[Tensor, Tensor]:
    """Of pictures (n, channels, height, width), the rest of the row as in the batch: gradients, same shape, and scores (n,)."""
    gradients, values = [], []
    for part in images.detach().split(rows_at_a_time(images)):
        x = part.clone().requires_grad_()
        score = scores(task, net, {**repeated(batch, len(x)), "image": x})[:, output]
        gradients.append(torch.autograd.grad(score.sum(), x)[0])
        values.append(score.detach())
    return torch.cat(gradients), torch.cat(values)


def repeated(batch: Batch, rows: int) -> Batch:
    """A batch of one row as one of so many equal rows, sharing memory."""
    return {name: value.expand(rows, *value.shape[1:]) for name, value in batch.items()}


def parts(batch: Batch) -> list[Batch]:
    """A batch in parts that fit in memory."""
    rows = next(iter(batch.values())).shape[0]
    size = 1024 if "image" not in batch else 4 * rows_at_a_time(batch["image"])
    return [{name: value[start : start + size] for name, value in batch.items()} for start in range(0, rows, size)]


def rows_at_a_time(images: Tensor) -> int:
    """How many of these inputs are computed at a time."""
    return max(1, min(MOST_ROWS, VALUES // max(1, images[0].numel())))


def needs_image(method: str, batch: Batch) -> Tensor:
    """The picture (1, channels, height, width). Raises SettingError when there is none."""
    if "image" not in batch:
        other = ("texts", "occlusion") if "tokens" in batch else ("columns", "columns")
        raise SettingError(f"{method} needs a picture, and this net reads {other[0]}; try {other[1]}.")
    return batch["image"]


def needs_table(method: str, question: Question) -> Table:
    """The table that the net learned from. Raises SettingError when there is none."""
    if question.table is None:
        raise SettingError(f"{method} needs the rows that the net learned from; give the data too.")
    return question.table()


def rows_of(table: Table, split: int, most: int) -> np.ndarray:
    """int64: at most so many rows of a split, spread evenly; of all rows when the table is not split."""
    rows = np.arange(len(table)) if table.split is None else table.rows(split)
    return rows[np.unique(np.linspace(0, len(rows) - 1, most).astype(int))] if len(rows) > most else rows


def batches_of(task: Task, net: nn.Module, table: Table, rows: np.ndarray, question: Question) -> Batches:
    """Those rows as tensors on the net's device, coded as the net learned them."""
    fields = question.inputs or tuple(table.inputs)
    return Batches(table.take(rows), fields, task.target, next(net.parameters()).device, question.cache)


def blurred(image: Tensor, sigma: float) -> Tensor:
    """A picture (rows, channels, height, width) blurred by a normal kernel of standard deviation sigma in pixels."""
    reach = int(3 * sigma) + 1
    kernel = torch.exp(-(torch.arange(-reach, reach + 1, device=image.device) ** 2) / (2 * sigma**2)).to(image)
    kernel = (kernel / kernel.sum()).view(1, 1, -1)
    x = image.permute(0, 1, 3, 2).flatten(0, 2).unsqueeze(1)  # every column as a line
    x = F.conv1d(F.pad(x, (reach, reach), "replicate"), kernel)
    x = x.view(*image.shape[:2], image.shape[3], image.shape[2]).permute(0, 1, 3, 2)
    y = F.conv1d(F.pad(x.flatten(0, 2).unsqueeze(1), (reach, reach), "replicate"), kernel)
    return y.view(image.shape)


def array(tensor: Tensor) -> np.ndarray:
    """float32 values on the processor."""
    return tensor.detach().float().cpu().numpy()
