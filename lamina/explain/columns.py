"""columns: what each column of a table does to the answer of this row, and what the score would be without it.

This row: the column's value is replaced by those of training rows; the effect is the answer less the mean of the answers then
(Robnik-Sikonja 2008, prediction difference analysis, https://doi.org/10.1109/TKDE.2007.190734). Overall: the column is shuffled
among rows, and the score falls by its importance (Breiman 2001, section 10, https://doi.org/10.1023/A:1010933404324).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.data._table import TEST, TRAIN
from lamina.explain import _columns, _draw
from lamina.explain._method import (
    About,
    Explanation,
    Question,
    about,
    batches_of,
    needs_table,
    parts,
    repeated,
    rows_of,
    told,
)
from lamina.explain._taps import untouched
from lamina.tasks._task import Batch, Task


@dataclass(frozen=True)
class Config:
    """How much is drawn."""

    draws: int = 100
    """training rows whose values replace those of this row"""
    rows: int = 1000
    """test rows at most among which columns are shuffled"""
    repeats: int = 5
    """shuffles of each column"""


def explain(task: Task, net: nn.Module, batch: Batch, question: Question, config: Config) -> Explanation:
    """effect (columns,): answer less the mean answer with the column replaced, in probability or units of the target.

    importance (columns,): by how much the score is worse with the column shuffled, mean over repeats; spread (columns,): standard
    deviation over them. Columns in the order of the net's inputs. Raises SettingError without columns or without training data.
    """
    for name in ("draws", "rows", "repeats"):
        within(name, getattr(config, name), 1, 1_000_000)
    columns = _columns.columns(batch, question)
    table = needs_table("columns", question)
    with untouched(net) as inner, torch.no_grad():
        what = about(task, inner, batch, question)
        background = batches_of(task, inner, table, rows_of(table, TRAIN, config.draws), question).tensors
        effect = np.array([_effect(task, inner, batch, what, column, background) for column in columns])
        held_out = batches_of(task, inner, table, rows_of(table, TEST, config.rows), question)
        tested = task.prepare(held_out.slice(0, len(held_out)), training=False)
        falls = np.array(list(_falls(task, inner, tested, columns, config.repeats, question.seed)))
    importance, spread = falls.mean(1), falls.std(1)
    arrays = {"effect": effect, "importance": importance, "spread": spread}
    picture = _picture(columns, batch, what, task, arrays)
    first, most = int(np.abs(effect).argmax()), int(importance.argmax())
    summary = (
        f"{_columns.shown(columns[first], batch)} moves this answer most; overall {columns[most].name} matters most."
    )
    return Explanation("columns", str(what), {k: v.astype(np.float32) for k, v in arrays.items()}, picture, summary)


def _effect(task: Task, net: nn.Module, batch: Batch, what: About, column: _columns.Part, background: Batch) -> float:
    rows = next(iter(background.values())).shape[0]
    changed = _replaced(repeated(batch, rows), background, column)
    return what.value - float(told(task, net, changed, what).mean())


def _falls(
    task: Task, net: nn.Module, tested: Batch, columns: list[_columns.Part], repeats: int, seed: int
) -> Iterator[list[float]]:
    """Per column, by how much the number that the task is judged by is worse after each shuffle."""
    rows = tested["target"].shape[0]
    sign = 1 if task.lower_is_better else -1
    before = _number(task, net, tested)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(rows, generator=generator).to(tested["target"].device) for _ in range(repeats)]
    for column in columns:
        shuffled = ({k: v[order] for k, v in tested.items() if k != "target"} for order in orders)
        yield [sign * (_number(task, net, _replaced(tested, other, column)) - before) for other in shuffled]


def _number(task: Task, net: nn.Module, batch: Batch) -> float:
    found = [{k: v.cpu().numpy() for k, v in task.score(net, part).items()} for part in parts(batch)]
    return float(task.finish({k: np.concatenate([f[k] for f in found]) for k in found[0]})[task.better])


def _replaced(batch: Batch, other: Batch, column: _columns.Part) -> Batch:
    """The batch with the column's values of the other one, row by row."""
    changed: dict[str, Tensor] = dict(batch)
    for name, places in (("numbers", column.numbers), ("categories", column.categories)):
        if places:
            changed[name] = batch[name].clone()
            changed[name][:, list(places)] = other[name][:, list(places)]
    return changed


def _picture(
    columns: list[_columns.Part], batch: Batch, what: About, task: Task, found: dict[str, np.ndarray]
) -> _draw.Image.Image:
    effect, importance = found["effect"], found["importance"]
    points = 1.0 if what.is_number else 100.0
    unit = f"effect on {what.name} of this row" + ("" if what.is_number else ", in points of probability")
    order = np.argsort(-np.abs(effect), kind="stable")
    this = _draw.Bars(
        unit, [_columns.shown(columns[i], batch) for i in order], [points * float(effect[i]) for i in order]
    )
    order = np.argsort(-importance, kind="stable")
    verb = "rise" if task.lower_is_better else "fall"
    overall = _draw.Bars(
        f"{verb} of the {task.better.replace('_', ' ')} of the test rows when the column is shuffled",
        [columns[i].name for i in order],
        [float(importance[i]) for i in order],
        [float(found["spread"][i]) for i in order],
    )
    return _draw.bars([this, overall], f"Columns: {what}", "what each does to this answer, and to the score overall")
