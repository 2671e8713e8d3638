"""What is shipped: a trained net with everything that answering needs, and ten test rows with their answers.

A form is one file of this room: SUFFIX; refusal(parcel), "" when it can carry the net; write(parcel, path), which ends in
parity(path, parcel). No torch is imported here, so that a shipped file that needs none is asked without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

from lamina.core import catalog, config
from lamina.core.errors import RunError, SettingError, ShipError
from lamina.core.run import Run
from lamina.data._pictures import Pictures
from lamina.data._running import Windows
from lamina.data._table import TEST, Column, Field, Table

if TYPE_CHECKING:
    from torch import nn

    from lamina.judge.score import Score
    from lamina.tasks._task import Task
    from lamina.train.plan import Plan

EXAMPLES = "examples.safetensors"  # in a run's folder
STRINGS = ("text", "sentence")  # kinds whose values are texts
COUNT = 10  # test rows that go along
PREPROCESSING = {
    "crop": "pictures are resized to cover the frame (bicubic, antialiased) and cropped around its centre; transparent pixels over white",
    "stretch": "pictures are stretched to the frame (bicubic, antialiased); transparent pixels over white",
}


@dataclass(frozen=True)
class Parcel:
    """A trained net and what is told of it."""

    plan: Plan
    task: Task
    net: nn.Module
    score: Score
    source: str
    """name of the data"""
    licence: str
    """of the data"""
    examples: Table
    outputs: dict[str, np.ndarray]
    """what the net gives for the examples (Task.output): "probabilities" (rows, classes), "answer" (rows,)"""
    int8: Any = None
    """rows for whole numbers of 8 bits (ship._int8.Wish); None: full precision"""

    def about(self) -> dict[str, Any]:
        """Plain values that every form carries: question, inputs, classes, score, source, licence."""
        from lamina import __version__

        score = self.score.to_json() | {"mistakes": [], "signature": _without_folder(self.score.signature)}
        return {
            "lamina": __version__,
            "task": self.plan.task,
            "net": self.plan.net,
            "inputs": [_plain(f) for f in self.plan.inputs],
            "target": _plain(self.plan.target),
            "threshold": self.task.threshold,
            "preprocessing": PREPROCESSING[next((f.fit for f in self.plan.inputs if f.kind == "image"), "crop")],
            "score": _finite(score),
            "source": self.source,
            "licence": self.licence,
        }


def _plain(field: Field) -> dict[str, Any]:
    values = {"name": field.name, "kind": field.kind, "classes": list(field.classes), "shape": list(field.shape)}
    values |= {} if field.fit == "crop" else {"fit": field.fit}
    return values | ({"tokens": config.to_json(field.tokens)} if field.tokens else {})


def _without_folder(signature: str) -> str:
    """A signature whose data is named without the folder it lay in."""
    source, mark, rest = signature.removeprefix("[").partition(" #")
    return f"[{Path(source).name}{mark}{rest}" if mark else signature


def _finite(value: Any) -> Any:
    """Plain values with None for what JSON has no word for."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def kept(table: Table, inputs: Sequence[Field]) -> bytes:
    """Ten test rows, evenly spread, as safetensors: what a run keeps for shipping. Pictures have the size of the frame."""
    rows = table.rows(TEST)
    few = table.take(rows[np.unique(np.linspace(0, len(rows) - 1, COUNT).astype(int))])
    values = {}
    for i, field in enumerate(inputs):
        column = few.conform([field])[field.name].values
        if isinstance(column, Pictures):
            column = column.pack(field.shape, None, field.fit).transpose(0, 2, 3, 1)
        elif field.kind == "image":
            column = column.transpose(0, 2, 3, 1)
        elif field.kind in STRINGS:
            column = as_bytes(column)
        elif isinstance(column, Windows):
            column = column.at(np.arange(len(column)))
        values[f"{i}"] = np.ascontiguousarray(column)
    return safetensors.numpy.save(values, {"names": json.dumps([str(n) for n in few.names])})


def of_arrays(arrays: Sequence[np.ndarray], inputs: Sequence[Field], names: Sequence[str]) -> Table:
    """A table of columns as a Table holds them; pictures are uint8 (rows, height, width, channels) of the frame's size."""
    columns = {}
    for field, values in zip(inputs, arrays, strict=True):
        held = (
            Pictures(values, None) if field.kind == "image" else of_bytes(values) if field.kind in STRINGS else values
        )
        columns[field.name] = Column(field, held)
    return Table(columns, "examples", "memory", np.array(names, object))


def as_bytes(texts: np.ndarray) -> np.ndarray:
    """uint8 (rows, bytes of the longest text) of texts in UTF-8; behind the end of each stands 255, which UTF-8 never has."""
    lines = [text.encode("utf-8", "surrogatepass") for text in texts]
    most = max(1, max(map(len, lines), default=0))
    return np.frombuffer(b"".join(line.ljust(most, b"\xff") for line in lines), np.uint8).reshape(len(lines), most)


def of_bytes(values: np.ndarray) -> np.ndarray:
    """The inverse of as_bytes. Raises UnicodeDecodeError."""
    lines = [row.tobytes().partition(b"\xff")[0].decode("utf-8", "surrogatepass") for row in values]
    return np.array([*lines, None], object)[:-1]


def column_values(table: Table, field: Field) -> np.ndarray:
    """The values of a column of such a table as an array."""
    values = table[field.name].values
    if field.kind in STRINGS:
        return as_bytes(values)
    return np.asarray(values.array) if isinstance(values, Pictures) else values


def opened(run: Run, config: dict[str, Any], plan: Plan, net: nn.Module, score: Score) -> Parcel:
    """The parcel of a run, its ten examples answered. Raises RunError."""
    import torch

    from lamina.data._batches import Batches
    from lamina.train import evaluate
    from lamina.train.plan import task_of

    content = run.read(EXAMPLES)
    arrays = safetensors.numpy.load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    names = json.loads(header["__metadata__"]["names"])
    examples = of_arrays([arrays[f"{i}"] for i in range(len(plan.inputs))], plan.inputs, names)
    task = task_of(plan.task, plan.target, plan.options)
    where = next(net.parameters(), torch.empty(0)).device
    outputs = evaluate.outputs(task, net, Batches(examples, plan.inputs, None, where))
    source = Path(config["source"]).name or config["source"]
    return Parcel(plan, task, net, score, source, config["licence"], examples, outputs)


def send(parcel: Parcel, to: str, out: str | Path) -> Path:
    """Write a parcel in a form by its name; the suffix is added where `out` has none. Returns the path.

    Raises NameUnknown, ShipError when the form cannot carry the net or answers otherwise, RunError when the disk refuses.
    """
    form = catalog.find("ship", to)
    if parcel.int8 and to != "onnx":
        raise SettingError(f"--int8 is for --to onnx, and not for {to}.")
    refusal = form.refusal(parcel)
    if refusal:
        raise ShipError(f"{to} cannot carry this net: {refusal}.")
    path = Path(out).expanduser()
    if hasattr(form, "write_folder") and str(out).endswith(("/", os.sep)):
        return _folder(parcel, form, path)
    path = path if path.suffix == form.SUFFIX else path.with_name(path.name + form.SUFFIX)
    if path.is_dir():
        raise ShipError(f"{path} is a folder; name a file with --out.")
    aside = path.with_name(path.name + ".part")
    try:
        form.write(parcel, aside)
        os.replace(aside, path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    return path


def _folder(parcel: Parcel, form: Any, path: Path) -> Path:
    """Write a form that is a folder; one of the same form gives way. Raises ShipError for a folder of other things."""
    if path.exists() and not (
        path.is_dir() and {p.name for p in path.iterdir()} <= {"index.html", *form.FILES.values()}
    ):
        raise ShipError(f"{path} holds other things; name a folder that is not there with --out.")
    aside = path.with_name(path.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        form.write_folder(parcel, aside)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(aside, path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return path


def load(path: str | Path) -> Any:
    """A shipped file, opened by the form that its name ends in: .onnx, .vec, else a pack. Raises ShipError."""
    forms = {".onnx": "onnx", ".vec": "vectors", ".pt2": "program", ".pte": "phone"}
    form = forms.get(Path(path).suffix.lower(), "pack")
    return catalog.find("ship", form).load(Path(path))


def compared(parcel: Parcel, outputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """What a form answers to the examples beside what the net answered: rows, same_answers, largest_difference, bit_equal.

    largest_difference: of probabilities; of numbers as a share of the largest. It is inf where one of the two is NaN.
    """
    wanted, told = parcel.outputs, parcel.task.answers_of
    if {k: v.shape for k, v in wanted.items()} != {k: v.shape for k, v in outputs.items()}:
        raise ShipError("the written file answers in another shape; it was not kept.")
    pairs = zip(told(wanted), told(outputs), strict=True)
    differences, equal = [0.0], True
    for name, mine in wanted.items():
        other = outputs[name]
        shares = name in ("probabilities", "mask", "picture", "boxes")
        scale = 1.0 if shares else max(1e-30, float(np.abs(mine).max(initial=0)))
        if name == "boxes":  # in any order, since scores may be next to equal
            away = np.abs(mine[:, :, None] - other[:, None]).max(3)
            apart = np.maximum(away.min(2), away.min(1))
        else:
            with np.errstate(invalid="ignore"):  # inf - inf of equal ones
                apart = np.where(mine == other, 0, np.abs(mine.astype(np.float64) - other)) / scale
        differences.append(float(np.nan_to_num(apart, nan=np.inf).max(initial=0)))
        equal = equal and mine.dtype == other.dtype and bool((mine.view(np.uint8) == other.view(np.uint8)).all())
    same = sum(a.chosen == b.chosen if hasattr(a, "chosen") else True for a, b in pairs)
    return {
        "rows": len(parcel.examples),
        "same_answers": same,
        "largest_difference": max(differences),
        "bit_equal": equal,
    }


def check(figures: dict[str, Any], close: float) -> None:
    """Raises ShipError when a form differs from the run by more than `close`, or in an answer."""
    if figures["largest_difference"] > close:
        raise ShipError(
            f"the file answers otherwise than the run, by {figures['largest_difference']:.2g}; it was not kept."
        )
    if figures["same_answers"] < figures["rows"]:
        raise ShipError(f"the file gives {figures['same_answers']} of {figures['rows']} answers; it was not kept.")


def one_or_all(found: list[tuple[str, Any]]) -> Any:
    """The answer when one row was asked, else the list of answers."""
    answers = [answer for _, answer in found]
    return answers[0] if len(answers) == 1 else answers
