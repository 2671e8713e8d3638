"""phone: an ExecuTorch program (.pte) for Android, iOS and small boards: one raw row in, its answer out.

Pictures come in the size of the frame, uint8 (1, height, width, channels); categories as codes. The method "forward" answers;
the method "lamina" gives JSON in UTF-8 as uint8: names of inputs and outputs, classes, preprocessing, score, source, licence.
Convolutions and dense layers run in XNNPACK where it takes them. The format: https://docs.pytorch.org/executorch
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import ShipError
from lamina.core.run import replace
from lamina.ship import _parcel, onnx, program
from lamina.ship._parcel import Parcel

SUFFIX = ".pte"
CLOSE = 1e-5
TASKS = ("classify", "regress", "verify", "segment", "paint")
KINDS = ("image", "number", "date", "label")
ROOM = 300  # bytes that are kept for the figures


def refusal(parcel: Parcel) -> str:
    """Why a phone's file cannot carry a net; "" when it can."""
    if importlib.util.find_spec("executorch") is None:
        return "executorch is not installed; pip install 'lamina[phone]'"
    if parcel.plan.task not in TASKS:
        return f"it answers {parcel.plan.task}, and there is {', '.join(TASKS)}"
    kinds = [f.kind for f in parcel.plan.inputs if f.kind not in KINDS]
    return f"its input is {kinds[0]}, and there is {', '.join(KINDS)}" if kinds else onnx.carried(parcel)


def write(parcel: Parcel, path: Path) -> None:
    """Write the file, ask it the examples, and write the figures into it. Raises ShipError and RunError."""
    parcel = onnx.exact(parcel)
    content, room = _exported(parcel)
    replace(path, content)
    figures = parity(path, parcel)
    told = room[:-ROOM] + b' "parity": ' + json.dumps(figures).encode() + b"}"
    replace(path, content.replace(room, told.ljust(len(room))))
    if parity(path, parcel) != figures or _Opened(path).about()["parity"] != figures:
        raise ShipError(f"{path.name} does not answer the same twice; it was not kept.")
    _parcel.check(figures, CLOSE)


def _exported(parcel: Parcel) -> tuple[bytes, bytes]:
    """The file's bytes, and the JSON in it, which leaves ROOM for the figures."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner  # pyright: ignore[reportMissingImports]
    from executorch.exir import to_edge_transform_and_lower  # pyright: ignore[reportMissingImports]

    from lamina.ship import _graph

    whole = _graph.Whole(parcel, framed=True).eval()
    given = _graph.given(parcel, parcel.examples.take(np.arange(1)))
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            names = list(whole.named(*given))
            about = {**_graph.about(parcel), "outputs": names, "given": [name for name, _ in whole.slots]}
            room = json.dumps(about).encode()[:-1] + b"," + b" " * ROOM
            constant = {"lamina": torch.frombuffer(bytearray(room), dtype=torch.uint8)}
            edge = to_edge_transform_and_lower(
                torch.export.export(whole, given), partitioner=[XnnpackPartitioner()], constant_methods=constant
            )
            content = bytes(edge.to_executorch().buffer)
    except Exception as error:  # lowering fails in more ways than can be listed
        raise ShipError(
            f"phone cannot carry this net: ExecuTorch refuses it ({' '.join(str(error).split())[:200]})."
        ) from None
    finally:
        logging.disable(level)
    if content.count(room) != 1:
        raise ShipError("phone cannot carry this net: its metadata are not in the file.")
    return content, room


class _Opened:
    """A file in ExecuTorch's runtime; methods point into the program, which points into the bytes."""

    def __init__(self, path: Path) -> None:
        from executorch.runtime import Runtime  # pyright: ignore[reportMissingImports]

        self.content = path.read_bytes()
        self.program = Runtime.get().load_program(self.content)
        methods: list[Any] = [self.program.load_method(name) for name in ("forward", "lamina")]
        self.forward, self.lamina = methods

    def __call__(self, *given: Any) -> list[Any]:
        return [found.clone() for found in self.forward.execute(list(given))]

    def about(self) -> dict[str, Any]:
        """What is told of the net; before the figures are written what comes before them."""
        room = self.lamina.execute([])[0].numpy().tobytes().rstrip()
        return json.loads(room if room.endswith(b"}") else room.rstrip(b",") + b"}")


def parity(path: Path, parcel: Parcel) -> dict[str, Any]:
    """The file asked the examples, one by one, in ExecuTorch's Python runtime: rows, same_answers, largest_difference, bit_equal."""
    opened = _Opened(path)
    found = program.outputs(opened, opened.about(), parcel, rows=1)
    return _parcel.compared(parcel, found)


def load(path: Path) -> Any:
    """Raises ShipError: a phone's file is for programs without Lamina."""
    raise ShipError(f"{path} is for ExecuTorch: its runtime loads it; Lamina asks packs and ONNX files.")
