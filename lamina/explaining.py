"""explaining: from a run and an input to explanations, and to their files; what `lamina explain` and run.explain do."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina import _saved
from lamina.core import catalog, config
from lamina.core.check import within
from lamina.core.errors import DataError, LaminaError, SettingError, unknown
from lamina.data import _encoding
from lamina.data._asked import NAMED, is_file, opened
from lamina.data._batches import Batches
from lamina.data._store import shared
from lamina.data._table import TEST, Column, Field, Table
from lamina.explain._draw import pixels
from lamina.explain._method import Explanation, Question
from lamina.tasks._task import Batch

if TYPE_CHECKING:
    from lamina.trained import Trained

ALL = "all"
FIRST = (
    "gradcam",
    "columns",
    "integrated_gradients",
    "occlusion",
    "saliency",
)  # the first that fits is taken when none is named
EXPLAINED = ("label", "labels", "number", "sentence")  # kinds of answer
TRANSLATED = ("attention",)  # what explains a sentence
ALONE = ("dream",)  # takes long and is asked for by name
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

    source: a picture file, a text, a row (a dict, or its JSON), or the position of a row among the test rows. label: the class to explain
    instead of the most probable one. data: the data the run learned from, when it came from memory or has moved. settings:
    fields of the method's Config. Raises LaminaError.
    """
    if settings and method in (None, ALL):
        raise SettingError(f"{next(iter(settings))} is a setting of one method; name the method.")
    if method not in (None, ALL):
        catalog.find("explain", method)
    output = _output(trained, label)
    table = functools.cache(lambda: _learned_from(trained, data))
    name, batch = _batch(trained, source, table, trained.plan.inputs)
    question = Question(output, trained.plan.inputs, table, shared(), trained.plan.recipe.seed)
    if method not in (None, ALL):
        return name, [_one(trained, batch, question, str(method), settings)], []
    found, left = [], []
    first = TRANSLATED if trained.plan.target.kind == "sentence" else FIRST
    for each in first if method is None else [m for m in catalog.names("explain") if m not in ALONE]:
        try:
            found.append(_one(trained, batch, question, each, {}))
        except LaminaError as error:
            left.append((each, str(error)))
        if found and method is None:
            return name, found, []
    if not found:
        raise SettingError(left[0][1])
    return name, found, left


def dream(
    trained: Trained,
    label: str | None = None,
    start: Any = None,
    layer: str = "",
    side: int | None = None,
    **settings: Any,
) -> Explanation:
    """A picture changed until the net sees more of a class, or of what a layer looks for, in it.

    start: a picture file or the position of a test row; an even picture when not given. side: pixels of the shorter side, for
    nets that take pictures of any size. settings: fields of dream's Config. Raises LaminaError.
    """
    module: ModuleType = catalog.find("explain", "dream")
    image = next((f for f in trained.plan.inputs if f.kind == "image"), None)
    if image is None:
        raise SettingError("dream needs a net that reads pictures, and this one reads columns.")
    if not label and not layer and start is None and trained.plan.target.classes:
        raise SettingError("name what to dream of: a class, a layer, or a picture to start from.")
    if label and layer:
        raise SettingError(f"--class (={label}) and --layer (={layer}) are two aims; choose one.")
    if start is None and len(trained.plan.inputs) > 1:
        raise SettingError("this net reads columns beside the picture; start from a test row.")
    shape = image.shape
    if side is not None:
        within("side", side, 16, 2048)
        if not module.takes_any_size(trained.net):
            raise SettingError(
                f"side (={side}) must be left out: this net takes pictures of {shape[1]}x{shape[2]} alone."
            )
        shape = (shape[0], *(round(n * side / min(shape[1:])) for n in shape[1:]))
    if start is None:
        batch = {
            "image": module.even(shape, trained.net, trained.plan.recipe.seed).to(next(trained.net.parameters()).device)
        }
    else:
        wanted = tuple(replace(f, shape=shape) if f is image else f for f in trained.plan.inputs)
        _, batch = _batch(trained, start, functools.cache(lambda: _learned_from(trained, None)), wanted)
    question = Question(_output(trained, label), trained.plan.inputs, seed=trained.plan.recipe.seed)
    made = config.from_json(module.Config, {"layer": layer, **settings})
    return module.explain(trained.task, trained.net, batch, question, made)


def _one(trained: Trained, batch: Batch, question: Question, name: str, settings: dict[str, Any]) -> Explanation:
    module: ModuleType = catalog.find("explain", name)
    return module.explain(trained.task, trained.net, batch, question, config.from_json(module.Config, settings))


def _output(trained: Trained, label: str | None) -> int | None:
    if trained.plan.target.kind not in EXPLAINED:
        raise SettingError(
            f"explanations are of labels and numbers, and of translations; this net answers {trained.plan.target.kind}."
        )
    if label is None:
        return None
    classes = trained.plan.target.classes
    if not classes:
        raise SettingError(
            f"{trained.plan.target.name} is a {trained.plan.target.kind} and has no class '{label}'; leave the class out."
        )
    if label not in classes:
        raise unknown("class", label, classes)
    return classes.index(label)


def _learned_from(trained: Trained, data: Any) -> Table:
    if data is None and trained.config["reader"] == "memory":
        raise DataError("this run learned from data in memory; give that as data= in Python.")
    return _saved.same_table(trained.config, trained.plan, data)


def _batch(trained: Trained, source: Any, table: Any, inputs: Sequence[Field]) -> tuple[str, Batch]:
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
    elif isinstance(source, str) and inputs[0].kind == "sentence":
        found, name = _sentence(source, inputs[0]), "sentence"
    else:
        found = opened(source, [*trained.plan.inputs, trained.plan.target])
        if len(found) != 1:
            why = f": {found.bad[0].where} {found.bad[0].why}" if found.bad else ""
            raise DataError(
                f"{found.source} holds {len(found)} rows that can be read{why}; one is explained at a time."
            )
        name = "row" if isinstance(source, dict) else Path(str(found.names[0])).stem
    device = next(trained.net.parameters()).device
    return name, trained.task.prepare(Batches(found, inputs, None, device).slice(0, 1), training=False)


def _sentence(text: str, field: Field) -> Table:
    """One sentence, or the file of one, as a table of that column. Raises DataError."""
    lines = _encoding.content(Path(text)).splitlines() if is_file(text) else [text]
    if len(lines) != 1 or not lines[0].strip():
        raise DataError(
            f"{text[:NAMED]!r} holds {len(lines)} lines; one sentence of a word or more is explained at a time."
        )
    values = np.array([lines[0].strip(), None], object)[:-1]
    columns = {field.name: Column(field, values)}
    return Table(columns, "the sentence that is asked about", "parallel", np.array(["sentence"], object), tried=1)


def _row(text: str) -> dict[str, Any]:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f'the row is not JSON: {error.msg} at character {error.pos}; write {{"column": value}}.'
        ) from None


def save(explanations: Sequence[Explanation], folder: Path) -> list[Path]:
    """Write METHOD.png, METHOD.NAME.npy for each array, and of a text METHOD.html and METHOD.words.json, into a folder; returns the
    paths of the pictures.

    Raises DataError when the folder cannot be written.
    """
    pictures = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for found in explanations:
            path = folder / f"{found.method}.png"
            found.picture.save(path)
            if found.page:
                path.with_suffix(".html").write_text(found.page, encoding="utf-8")
                path.with_suffix(".words.json").write_text(json.dumps(found.names), encoding="utf-8")
            for name, values in found.arrays.items():
                np.save(folder / f"{found.method}.{_safe(name)}.npy", values, allow_pickle=False)
            pictures.append(path)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror}; name another folder with --out.") from None
    return pictures


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:100] or "input"


def show(run: str, input: str, method: str | None, label: str | None, out: str | None) -> list[str]:
    """The whole of `lamina explain`: explain, write, and what to print, a line each."""
    from lamina import api

    trained = api.load_run(run)
    name, found, left = explain(trained, input, method, label)
    folder = Path(out) if out else trained.path / "explanations" / _safe(name)
    pictures = save(found, folder)
    lines = [f"{e.method:20} {e.about}: {e.summary}\n{'':20} {p}" for e, p in zip(found, pictures, strict=True)]
    return lines + [f"{each:20} left out: {why}" for each, why in left]


def show_dream(run: str, out: str | None, side: str | None, **wishes: Any) -> list[str]:
    """The whole of `lamina dream`: dream, write, and what to print; the dream also alone, without a frame."""
    from lamina import api

    if side is not None and not side.isdecimal():
        raise SettingError(f"--side must be a whole number of pixels, not '{side}'.")
    trained = api.load_run(run)
    found = dream(trained, side=int(side) if side else None, **wishes)
    folder = (
        Path(out)
        if out
        else trained.path / "explanations" / f"dream-{_safe(wishes['layer'] or found.about.split(',')[0])}"
    )
    framed = save([found], folder)[0]
    alone = folder / "dream-alone.png"
    pixels(found.arrays["image"]).save(alone)
    return [found.summary, str(framed), str(alone)]


def layers_page(trained: Trained, data: Any = None) -> str:
    """One HTML page of what each layer of a run's net answers to. Raises LaminaError."""
    from lamina.explain import _page
    from lamina.train.plan import task_class

    plan = trained.plan
    table = functools.cache(lambda: _learned_from(trained, data))
    question = Question(None, plan.inputs, table, shared(), plan.recipe.seed)
    target = plan.target.name
    about = {
        "title": trained.path.name,
        "net": plan.net,
        "question": task_class(plan.task).question or f"{plan.task} {target}",
        "score": str(trained.score()) if trained.run.has("score.json") else "not scored yet",
    }
    return _page.page(trained.task, trained.net, question, about)


def show_layers(run: str, out: str | None) -> list[str]:
    """The whole of `lamina layers`: the page is written into the run's folder, or as `out`; its path."""
    from lamina import api
    from lamina.core.run import replace

    trained = api.load_run(run)
    path = Path(out) if out else trained.path / "layers.html"
    if path.is_dir():
        raise SettingError(f"{path} is a folder; name a file with --out.")
    replace(path, layers_page(trained).encode())
    return [str(path.absolute())]


COMMANDS = {"explain": show, "dream": show_dream, "layers": show_layers}
