"""Opening a pack that may be damaged or made with evil intent: everything is checked before memory is taken or a net is built.

The settings are bounded; the net is built without memory first (torch's meta device), stopped as soon as it has more parts
than the file has tensors, and compared with them: only then it is built. No name from the file is imported but those of
files of lamina/nets and lamina/tasks.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration

from lamina.core import catalog, config
from lamina.core.errors import LaminaError, ShipError, unknown
from lamina.data._batches import DENSE
from lamina.data._table import INPUT_KINDS, Field, Table
from lamina.data._tokens import MOST_TOKENS, Tokens
from lamina.nets._weightless import weightless
from lamina.ship import _parcel
from lamina.tasks._task import Task
from lamina.train import plan as planning

MOST_BYTES = 1 << 35  # of a file
MOST_HEADER = 1 << 24  # bytes of names and settings
MOST_NUMBER = 1 << 20  # a whole number among the settings of a net or task
MOST_NAMES = 10_000  # classes, columns, entries of a list
MOST_SIDE = 1024  # pixels of the frame's sides
MOST_EXAMPLES = 100
SPARE = 1 << 26  # bytes that a net may hold beside its weights
CLOSE = 1e-2  # how far the first example's answer may lie from the one written, as on another machine
CLASSED = ("label", "labels", "boxes", "mask", "tags")  # kinds whose values are of classes
DTYPES = {
    "image": torch.uint8,
    "number": torch.float64,
    "date": torch.float64,
    "label": torch.int64,
    "running": torch.int64,
    "sentence": torch.uint8,
    "text": torch.uint8,
}
TYPES: dict[str, type | tuple[type, ...]] = {
    "task": str, "options": dict, "net": str, "net_config": dict, "inputs": list, "target": dict, "device": str,
    "threshold": (float, type(None)), "score": dict, "source": str, "licence": str, "examples": list, "parity": dict,
}  # fmt: skip
SCORE: dict[str, type | tuple[type, ...]] = {
    "name": str, "value": (float, int), "low": (float, int), "high": (float, int), "rows": int, "numbers": dict,
    "baselines": dict, "signature": str, "mistakes": list, "confusion": list, "calibration": dict, "complete": bool,
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What a pack holds, checked and built."""

    task: Task
    net: nn.Module
    inputs: tuple[Field, ...]
    examples: Table
    outputs: dict[str, np.ndarray]
    """what the net gave for the examples when it was shipped"""


def read(path: Path) -> tuple[str, dict[str, Tensor], str]:
    """JSON text, tensors and sha256 of a file. Raises ShipError."""
    try:
        if not path.is_file():
            raise ShipError(f"{path} is not a file.")
        if not 8 < path.stat().st_size <= MOST_BYTES:
            raise ShipError(f"{path} is no pack: it has {path.stat().st_size:,} bytes.")
        content = path.read_bytes()
    except OSError as error:
        raise ShipError(f"{path} cannot be read: {error.strerror}.") from None
    length = int.from_bytes(content[:8], "little")
    if length > min(MOST_HEADER, len(content) - 8):
        raise ShipError(f"{path} is no pack, or damaged: its header would have {length:,} bytes.")
    try:
        header = json.loads(content[8 : 8 + length])
        metadata = header["__metadata__"]
        text, signed = metadata["lamina"], metadata["sha256"]
        tensors = safetensors.torch.load(content)
    except Exception as error:  # damage shows in more ways than can be listed
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        raise ShipError(f"{path} is no pack of Lamina, or damaged ({why}).") from None
    if not isinstance(text, str) or not isinstance(signed, str):
        raise ShipError(f"{path} is no pack of Lamina: its metadata are not texts.")
    return text, tensors, signed


def parsed(text: str, version: int) -> dict[str, Any]:
    """The JSON object of a pack, its types and sizes checked. Raises ShipError."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ShipError(f"its settings are not JSON ({str(error)[:80]}).") from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != version:
        raise ShipError(f"it is of format {found!r:.40}, and this Lamina reads format {version}; update Lamina.")
    _typed(content, TYPES)
    _typed(content["score"], SCORE)
    for room, name in (("nets", content["net"]), ("tasks", content["task"])):
        if name not in catalog.names(room):
            raise unknown(catalog.SINGULAR[room], name[:60], catalog.names(room))
    _bounded(content["net_config"])
    _bounded(content["options"])
    return content


def _typed(values: dict[str, Any], types: dict[str, Any]) -> None:
    for name, kind in types.items():
        if name not in values or not isinstance(values[name], kind):
            raise ShipError(f"its '{name}' is missing or of a wrong type ({values.get(name)!r:.40}).")


def _bounded(value: Any, depth: int = 0) -> None:
    """Plain values that no net could take much time or memory for. Raises ShipError."""
    if isinstance(value, list) and all(type(part) is str for part in value):
        if (
            len(value) > MOST_TOKENS
        ):  # words of a vocabulary: the header's bytes bound them, and no net is built of texts
            raise ShipError(f"its settings list {len(value):,} words; at most {MOST_TOKENS:,} are read.")
    elif isinstance(value, dict | list):
        if depth > 3 or len(value) > MOST_NAMES:
            raise ShipError("its settings are nested too deep, or too long.")
        for part in [*value.values()] if isinstance(value, dict) else value:
            _bounded(part, depth + 1)
    elif isinstance(value, int) and abs(value) > MOST_NUMBER:
        raise ShipError(f"one of its settings is {value!r:.20}; none may be over {MOST_NUMBER:,}.")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ShipError(f"one of its settings is {value}, which is no number.")


def built(content: dict[str, Any], tensors: dict[str, Tensor]) -> Found:
    """Task, net and examples of a pack, once its tensors fit them. Raises LaminaError."""
    inputs = tuple(_field(f) for f in content["inputs"])
    target = _field(content["target"])
    if not inputs or len({f.name for f in (*inputs, target)}) <= len(inputs):
        raise ShipError("its columns have no names of their own.")
    pictures = getattr(planning.task_class(content["task"]), "pictures", 1)
    if any(f.tokens is None or len(f.shape) != 1 for f in inputs if f.kind == "text"):
        raise ShipError("one of its texts has no tokens.")
    if len({f.tokens for f in inputs if f.kind == "text"}) > 1:
        raise ShipError("its texts have different tokens.")
    if any(f.kind not in INPUT_KINDS for f in inputs) or sum(f.kind == "image" for f in inputs) > pictures:
        raise ShipError(f"a net cannot learn from its columns ({', '.join(f.kind for f in inputs)[:80]}).")
    weights = {n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")}
    try:
        kind = planning.task_class(content["task"])
        if target.kind not in kind.target_kind:
            raise ShipError(f"{content['task']} does not answer a {target.kind[:40]}.")
        task = planning.task_of(content["task"], target, content["options"])
        if task.threshold != content["threshold"]:
            raise ShipError(f"its threshold is {content['threshold']}, and this Lamina's is {task.threshold}.")
        outputs = task.hints.get("classes", task.outputs)
        if kind.answers and content["net_config"].get("classes", outputs) != outputs:
            raise ShipError(
                f"its net answers {content['net_config']['classes']!r:.20} classes, and there are {outputs}."
            )
        net = _net(content["net"], content["net_config"], weights)
    except LaminaError:
        raise
    except Exception as error:  # wrong settings show in more ways than can be listed
        raise ShipError(f"its settings do not build a net ({' '.join(str(error).split())[:100]}).") from None
    examples, outputs = _examples(content["examples"], inputs, tensors)
    return Found(task, net, inputs, examples, outputs)


def _field(values: Any) -> Field:
    if not isinstance(values, dict) or not {"name", "kind"} <= values.keys():
        raise ShipError(f"one of its columns is {values!r:.40}.")
    field = config.from_json(Field, values)
    if field.tokens:
        Tokens.from_json(config.to_json(field.tokens))
    if len(field.classes) > MOST_NAMES or not all(isinstance(c, str) for c in field.classes):
        raise ShipError(f"the classes of '{field.name[:40]}' are no names, or more than {MOST_NAMES:,}.")
    if len(set(field.classes)) < len(field.classes) or bool(field.classes) != (field.kind in CLASSED):
        raise ShipError(f"the classes of '{field.name[:40]}' are named twice, or do not fit its kind.")
    sides = field.shape
    most = MOST_NUMBER if field.kind == "text" else MOST_SIDE
    whole = all(isinstance(s, int) and not isinstance(s, bool) and 1 <= s <= most for s in sides)
    if not whole or (len(sides) == 3 and sides[0] in (1, 3)) != (field.kind in ("image", *DENSE)):
        raise ShipError(f"'{field.name[:40]}' has the shape {sides!r:.40}; pictures have at most {MOST_SIDE} a side.")
    if field.fit not in _parcel.PREPROCESSING:
        raise ShipError(
            f"'{field.name[:40]}' is fitted by {field.fit!r:.40}; there is {', '.join(_parcel.PREPROCESSING)}."
        )
    return field


def _net(name: str, settings: dict[str, Any], weights: dict[str, Tensor]) -> nn.Module:
    with _counted(len(weights)), weightless():
        empty = planning.net_of(name, settings)
    wanted = empty.state_dict()
    for key in (*wanted, *weights):
        mine, other = wanted.get(key), weights.get(key)
        if mine is None or other is None or mine.shape != other.shape or mine.dtype != other.dtype:
            said = [f"{t.dtype} {tuple(t.shape)}" if t is not None else "nothing" for t in (mine, other)]
            raise ShipError(f"{name} needs {said[0]} for '{key[:60]}', and the file has {said[1]}.")
    held = sum(t.numel() * t.element_size() for t in (*empty.parameters(), *empty.buffers()))
    there = sum(t.numel() * t.element_size() for t in weights.values())
    if held > there + SPARE:
        raise ShipError(f"{name} would take {held:,} bytes, and the file has {there:,}.")
    with torch.random.fork_rng(devices=[]):  # first weights are drawn and replaced
        net = planning.net_of(name, settings)
    net.load_state_dict(weights)
    return net.eval()


@contextlib.contextmanager
def _counted(tensors: int) -> Iterator[None]:
    """Stop this thread from building a net of more parts than a file of so many tensors can fill. Raises ShipError."""
    here, most = threading.get_ident(), {"weights": 2 * tensors + 64, "modules": 16 * tensors + 256}
    count = dict.fromkeys(most, 0)

    def counter(what: str) -> Callable[..., None]:
        def note(*_: Any) -> None:
            if threading.get_ident() == here:
                count[what] += 1
                if count[what] > most[what]:
                    raise ShipError(f"its settings ask for more than {most[what]:,} {what}; the file has {tensors:,}.")

        return note

    handles = [
        registration.register_module_parameter_registration_hook(counter("weights")),
        registration.register_module_buffer_registration_hook(counter("weights")),
        registration.register_module_module_registration_hook(counter("modules")),
    ]
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _examples(
    names: list[Any], inputs: tuple[Field, ...], tensors: dict[str, Tensor]
) -> tuple[Table, dict[str, np.ndarray]]:
    rows = len(names)
    if not 1 <= rows <= MOST_EXAMPLES or not all(isinstance(n, str) for n in names):
        raise ShipError(f"it names {rows:,} examples; there must be 1 to {MOST_EXAMPLES}.")
    arrays = []
    for i, field in enumerate(inputs):
        tensor = tensors.get(f"example.{i}")
        shape = (rows, *field.shape[1:], field.shape[0]) if field.kind == "image" else (rows, *field.shape)
        if field.kind in _parcel.STRINGS and tensor is not None:
            shape = (rows, *tensor.shape[1:2])
        if tensor is None or tuple(tensor.shape) != shape or tensor.dtype != DTYPES[field.kind]:
            raise ShipError(f"the examples of '{field.name[:40]}' are missing or of a wrong shape.")
        if field.kind == "label" and not ((tensor >= -1) & (tensor < len(field.classes))).all():
            raise ShipError(f"the examples of '{field.name[:40]}' hold a class that does not exist.")
        arrays.append(tensor.numpy())
    answers = {n.removeprefix("answer."): t.numpy() for n, t in tensors.items() if n.startswith("answer.")}
    return _parcel.of_arrays(arrays, inputs, names), answers


def check_first(outputs: Callable[[Table], dict[str, np.ndarray]], found: Found, path: Path) -> None:
    """Ask the first example. Raises ShipError when that fails, or the answer is not about the one in the file."""
    try:
        given = outputs(found.examples.take(np.array([0])))
    except Exception as error:  # a net that does not fit its inputs fails in more ways than can be listed
        raise ShipError(f"{path} cannot answer its own example ({' '.join(str(error).split())[:100]}).") from None
    for name in {*given, *found.outputs}:
        mine, told = given.get(name), found.outputs.get(name)
        if mine is None or told is None or told.shape != (len(found.examples), *mine.shape[1:]):
            raise ShipError(f"{path} answers in another shape than its examples say.")
        classes = len(found.task.target.classes)
        shape = {"probabilities": mine.shape[1:] == (classes,), "mask": mine.shape[1:2] == (classes,)}
        if mine.dtype != told.dtype or not shape.get(name, True):
            raise ShipError(f"{path} has {classes:,} classes and answers {mine.shape[1:]} of {mine.dtype}.")
        scale = max(1.0, float(np.abs(told[:1]).max(initial=0))) if name in ("answer", "values") else 1.0
        if not np.allclose(mine, told[:1], rtol=0, atol=CLOSE * scale, equal_nan=True):
            raise ShipError(f"{path} answers its first example otherwise than when it was shipped.")
