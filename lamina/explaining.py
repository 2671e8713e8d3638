"""explaining: from a run and an input to explanations, and to their files; what `lamina explain` and run.explain do."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.core import catalog, config
from lamina.core.errors import DataError, LaminaError, SettingError, unknown
from lamina.data._batches import Batches
from lamina.data._store import shared
from lamina.data._table import TEST, Table
from lamina.explain._method import Explanation, Question
from lamina.tasks._task import Batch

if TYPE_CHECKING:
    from lamina.api import Trained

ALL = "all"
FIRST = ("gradcam", "columns", "integrated_gradients", "saliency")  # the first that fits is taken when none is named
Left = list[tuple[str, str]]


def explain(
    trained: Trained,
    source: Any,
    method: str | None = None,
    label: str | None = None,
    data: Any = None,
    **settings: Any,
) -> tuple[str, list[Explanation], Left]:
    """The input's name, its explanations, and (method, why) of those that do not fit it when all were asked for.

    source: a picture file, a row (a dict, or its JSON), or the position of a row among the test rows. label: the class to explain
    instead of the most probable one. data: the data the run learned from, when it came from memory or has moved. settings:
    fields of the method's Config. Raises LaminaError.
    """
    if settings and method in (None, ALL):
        raise SettingError(f"{next(iter(settings))} is a setting of one method; name the method.")
    if method not in (None, ALL):
        catalog.find("explain", method)
    output = _output(trained, label)
    table = functools.cache(lambda: _learned_from(trained, data))
    name, batch = _batch(trained, source, table)
    question = Question(output, trained.plan.inputs, table, shared(), trained.plan.recipe.seed)
    if method not in (None, ALL):
        return name, [_one(trained, batch, question, str(method), settings)], []
    found, left = [], []
    for each in FIRST if method is None else methods():
        try:
            found.append(_one(trained, batch, question, each, {}))
        except LaminaError as error:
            left.append((each, str(error)))
        if found and method is None:
            return name, found, []
    if not found:
        raise SettingError(left[0][1])
    return name, found, left


def methods() -> list[str]:
    """Names of all methods."""
    return catalog.names("explain")


def _one(trained: Trained, batch: Batch, question: Question, name: str, settings: dict[str, Any]) -> Explanation:
    module: ModuleType = catalog.find("explain", name)
    return module.explain(trained.task, trained.net, batch, question, config.from_json(module.Config, settings))


def _output(trained: Trained, label: str | None) -> int | None:
    if label is None:
        return None
    classes = trained.plan.target.classes
    if not classes:
        raise SettingError(f"{trained.plan.target.name} is a number and has no class '{label}'; leave the class out.")
    if label not in classes:
        raise unknown("class", label, classes)
    return classes.index(label)


def _learned_from(trained: Trained, data: Any) -> Table:
    from lamina import api

    if data is None and trained.config["reader"] == "memory":
        raise DataError("this run learned from data in memory; give it to run.explain as data=.")
    return api._same_table(trained.config, trained.plan, data)


def _batch(trained: Trained, source: Any, table: Any) -> tuple[str, Batch]:
    """Name and prepared batch of the one row that is asked for."""
    if isinstance(source, str) and source.isdecimal() and not Path(source).exists():
        source = int(source)
    if isinstance(source, str) and source.lstrip().startswith("{"):
        source = _row(source)
    if isinstance(source, int):
        rows = table().rows(TEST)
        if not 0 <= source < len(rows):
            raise DataError(f"test row {source} is not there; the run has {len(rows):,} test rows, from 0.")
        found = table().take(rows[source : source + 1])
        name = f"test-{source}"
    else:
        found = trained._table(source)
        if len(found) != 1:
            why = f": {found.bad[0].where} {found.bad[0].why}" if found.bad else ""
            raise DataError(
                f"{found.source} holds {len(found)} rows that can be read{why}; one is explained at a time."
            )
        name = "row" if isinstance(source, dict) else Path(str(found.names[0])).stem
    device = next(trained.net.parameters()).device
    return name, trained.task.prepare(Batches(found, trained.plan.inputs, None, device).slice(0, 1), training=False)


def _row(text: str) -> dict[str, Any]:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f'the row is not JSON: {error.msg} at character {error.pos}; write {{"column": value}}.'
        ) from None


def save(explanations: Sequence[Explanation], folder: Path) -> list[Path]:
    """Write METHOD.png, and METHOD.NAME.npy for each array, into a folder; returns the paths of the pictures.

    Raises DataError when the folder cannot be written.
    """
    pictures = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for found in explanations:
            path = folder / f"{found.method}.png"
            found.picture.save(path)
            for name, values in found.arrays.items():
                np.save(folder / f"{found.method}.{_safe(name)}.npy", values, allow_pickle=False)
            pictures.append(path)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror}; name another folder with --out.") from None
    return pictures


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:100] or "input"


def show(path: str, source: str, method: str | None, label: str | None, out: str | None) -> list[str]:
    """The whole of `lamina explain`: explain, write, and what to print, a line each."""
    from lamina import api

    trained = api.load(path)
    name, found, left = explain(trained, source, method, label)
    folder = Path(out) if out else trained.path / "explanations" / _safe(name)
    pictures = save(found, folder)
    lines = [f"{e.method:20} {e.about}: {e.summary}\n{'':20} {p}" for e, p in zip(found, pictures, strict=True)]
    return lines + [f"{each:20} left out: {why}" for each, why in left]
