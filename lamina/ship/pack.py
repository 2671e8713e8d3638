"""pack: one safetensors file with everything: weights, settings, preprocessing, classes, score, and ten examples with answers.

Its metadata are "lamina", a JSON object that names everything, and "sha256" over that and all tensors: "net.*" are the
weights, "example.N" the values of input N, "answer.*" what the net gave for them. lamina.load(FILE) needs nothing else and
runs no code from it. The format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from lamina.core import catalog, device
from lamina.core.errors import LaminaError, ShipError
from lamina.core.run import replace
from lamina.data._batches import Batches
from lamina.data._table import Table
from lamina.ship import _opened, _parcel
from lamina.ship._parcel import Parcel
from lamina.ship._shipped import Shipped
from lamina.train import evaluate

SUFFIX = ".safetensors"
FORMAT = 1


def refusal(parcel: Parcel) -> str:
    """Why a pack cannot carry a net; "" when it can."""
    for room, name in (("nets", parcel.plan.net), ("tasks", parcel.plan.task)):
        if name not in catalog.names(room):
            return f"{name} comes from outside Lamina, and a pack holds no code"
    return ""


def write(parcel: Parcel, path: Path) -> None:
    """Write the file, read it anew, ask it the examples, and write it again with the figures. Raises ShipError and RunError."""
    replace(path, _bytes(parcel, {}))
    figures = parity(path, parcel)
    replace(path, _bytes(parcel, figures))
    if parity(path, parcel) != figures or not figures["bit_equal"]:
        raise ShipError(
            f"{path.name} answers otherwise than the run, by {figures['largest_difference']:.2g}; it was not kept."
        )


def parity(path: Path, parcel: Parcel) -> dict[str, Any]:
    """The file, read anew, asked the examples beside the run: rows, same_answers, largest_difference, bit_equal."""
    pack = load(path, str(next(parcel.net.parameters()).device))
    return _parcel.compared(parcel, pack.outputs(pack.examples))


def _bytes(parcel: Parcel, figures: dict[str, Any]) -> bytes:
    plan = parcel.plan
    content = {
        "format": FORMAT,
        **parcel.about(),
        "torch": torch.__version__,
        "options": plan.options,
        "net_config": plan.net_config,
        "device": plan.device,
        "examples": [str(name) for name in parcel.examples.names],
        "parity": figures,
    }
    tensors = {f"net.{k}": v.detach().cpu().contiguous() for k, v in parcel.net.state_dict().items()}
    for i, field in enumerate(plan.inputs):
        tensors[f"example.{i}"] = torch.from_numpy(np.array(_parcel.column_values(parcel.examples, field)))
    tensors |= {f"answer.{k}": torch.from_numpy(v.copy()) for k, v in parcel.outputs.items()}
    text = json.dumps(content, ensure_ascii=False)
    return _ordered(safetensors.torch.save(tensors, {"lamina": text, "sha256": digest(text, tensors)}))


def _ordered(content: bytes) -> bytes:
    """The same file with its metadata in one order: safetensors writes them in any, and equal packs shall be equal bytes."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    told = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    told += b" " * (-len(told) % 8)
    return len(told).to_bytes(8, "little") + told + content[end:]


def digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """sha256 over the JSON text and every tensor's name, type, shape and bytes, by name."""
    made = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        made.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode("utf-8", "surrogatepass"))
        made.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return made.hexdigest()


class Pack(Shipped):
    """A trained net out of a file: it answers exactly as its run."""

    def __init__(self, path: Path, content: dict[str, Any], found: _opened.Found) -> None:
        super().__init__(path, content, found.inputs, found.task.target)
        self.task, self.net, self.examples = found.task, found.net, found.examples

    def answers(self, *sources: Any) -> evaluate.Asked:
        return evaluate.asked(self.task, self.net, self.inputs, *sources)

    def outputs(self, table: Table) -> dict[str, np.ndarray]:
        """What the net gives for a table: "probabilities" (rows, classes) or "answer" (rows,)."""
        where = next(self.net.parameters()).device
        return evaluate.outputs(self.task, self.net, Batches(table, self.inputs, None, where))


def load(path: str | Path, wanted: str | None = None) -> Pack:
    """Open a pack on a device (that of its training when it is there, when None).

    No code of the file is run, no other file opened. Raises ShipError when it is damaged, unknown, too large, or answers
    its first example otherwise than when it was shipped.
    """
    path = Path(path)
    text, tensors, signed = _opened.read(path)
    if digest(text, tensors) != signed:
        raise ShipError(f"{path} is damaged: its sha256 is not the one written in it.")
    try:
        content = _opened.parsed(text, FORMAT)
        found = _opened.built(content, tensors)
    except LaminaError as error:
        raise ShipError(f"{path}: {error}") from None
    found.net.to(device.choose(wanted) if wanted else _device(content["device"]))
    pack = Pack(path, content, found)
    _opened.check_first(pack.outputs, found, path)
    return pack


def _device(name: str) -> torch.device:
    """The device of the training; the machine's own where that is not there."""
    try:
        return device.choose(name)
    except LaminaError:
        return device.choose("auto")
