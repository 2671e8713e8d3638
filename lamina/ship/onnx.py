"""onnx: one ONNX file with preprocessing and answer inside, for any program with onnxruntime; asked without torch.

Inputs, one tensor per column: pictures uint8 (rows, height, width, 1 or 3) of any size; numbers float32 (rows,), NaN where
missing; dates float64 (rows,), seconds since 1970; categories as text (rows,), any other text is a missing one. All texts are
"tokens" int64 (rows, length), 0 behind the end of each; what they are cut into stands in the metadata, and rows begin with 2.

Outputs: of labels "probabilities" float32 (rows, classes) and "answer", the name of the most probable class, or "chosen" bool;
of numbers "answer" float64 (rows,). Of two pictures "distance", "threshold" and "answer", same or different. Of masks and painted
pictures what the net gives, and "answer" in the size of the picture: uint8 codes or values (rows, height, width), or pictures.
Of detectors "boxes" (rows, 64, 6), doubles suppressed: x0 y0 x1 y1 as shares, score, class; a score of 0 is no box. Of captions
"answer" (rows, words) int64, all of the search inside. Of translations "next" (rows, vocabulary), logarithms of the probabilities of
the token after those of a further input "before"; of texts that go on the same, and the "token" that "draw" in [0, 1) draws at a
"temperature". Format: https://onnx.ai; classes, tokens, score, source and licence are JSON in its metadata.

Pictures of the frame's size answer as the run does, to 1e-5. Others are resized inside: over 200 crops of real photographs
pixels differed from Lamina's own by 0.002 levels of 255 on average, and by 3 at most (bench/resize.py).
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from lamina.core import device
from lamina.core.errors import ShipError
from lamina.core.run import replace
from lamina.ship import _parcel
from lamina.ship._asked import Asked
from lamina.ship._parcel import Parcel

SUFFIX = ".onnx"
CLOSE = 1e-5  # largest difference of probabilities, and of numbers as a share of the largest
MOST_BYTES = 2**31 - 2**24  # of weights; a protobuf ends at 2 GiB
TASKS = ("classify", "regress", "verify", "segment", "paint", "detect", "caption", "translate", "write")
KINDS = ("image", "number", "date", "label", "text", "sentence", "running")
NEEDED = ("onnx", "onnxscript", "onnxruntime")


def refusal(parcel: Parcel) -> str:
    """Why ONNX cannot carry a net; "" when it can."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return f"{missing[0]} is not installed; pip install 'lamina[ship]'"
    if parcel.int8:
        from lamina.ship import _int8

        return _int8.refusal(parcel.plan.task) or carried(parcel)
    return carried(parcel)


def carried(parcel: Parcel) -> str:
    """Why no graph can carry a net; "" when one can."""
    if parcel.plan.task not in TASKS:
        return f"it answers {parcel.plan.task}, and there is {', '.join(TASKS)}"
    kinds = [f.kind for f in parcel.plan.inputs if f.kind not in KINDS]
    if kinds:
        return f"its input is {kinds[0]}, and there is {', '.join(KINDS)}"
    why = getattr(sys.modules[type(parcel.net).__module__], "NO_GRAPH", "")
    if why:
        return f"it is {parcel.plan.net}, and in that {why}"
    size = sum(t.numel() * t.element_size() for t in parcel.net.state_dict().values())
    return f"its weights have {size:,} bytes, and a file can hold {MOST_BYTES:,}" if size > MOST_BYTES else ""


def write(parcel: Parcel, path: Path) -> None:
    """Write the file, read it anew, ask it the examples, and write it again with the figures. Raises ShipError and RunError."""
    from lamina.ship import _graph

    parcel = exact(parcel)
    model = _graph.exported(parcel)
    replace(path, _graph.described(model, parcel, {}))
    figures = parity(path, parcel)
    replace(path, _graph.described(model, parcel, figures))
    if parity(path, parcel) != figures:
        raise ShipError(f"{path.name} does not answer the same twice; it was not kept.")
    _parcel.check(figures, CLOSE)
    if parcel.int8:
        _write_int8(parcel, path)


def _write_int8(parcel: Parcel, path: Path) -> None:
    """Make the file int8, measured beside the one of full precision that lies there. Raises ShipError when it loses too much."""
    import onnx

    from lamina.ship import _graph, _int8

    plain, wish = load(path), parcel.int8
    assert wish
    model = onnx.load_from_string(_int8.quantised(path.read_bytes(), plain, wish))
    aside = path.with_name(path.name + ".int8")
    try:
        replace(aside, _graph.described(model, parcel, {}))
        small = load(aside)
        found = _int8.measured(plain, small, parcel.task, wish)
        _int8.check(found, wish.anyway)
        replace(path, _graph.described(model, parcel, parity(aside, parcel), int8=found))
    finally:
        aside.unlink(missing_ok=True)


def exact(parcel: Parcel) -> Parcel:
    """The parcel with the net's outputs not rounded, where a pack rounds them."""
    from lamina.data._batches import Batches
    from lamina.train import evaluate

    where = next(parcel.net.parameters()).device
    batches = Batches(parcel.examples, parcel.plan.inputs, None, where)
    return dataclasses.replace(parcel, outputs=evaluate.outputs(parcel.task, parcel.net, batches, exact=True))


def parity(path: Path, parcel: Parcel) -> dict[str, Any]:
    """The file, read anew, asked the examples beside the run: rows, same_answers, largest_difference, bit_equal."""
    return _parcel.compared(parcel, load(path).outputs(parcel.examples))


def load(path: str | Path) -> Asked:
    """Open an ONNX file that Lamina wrote. Raises ShipError."""
    path = Path(path)
    if importlib.util.find_spec("onnxruntime") is None:
        raise ShipError(f"{path} needs onnxruntime, which is not installed; pip install 'lamina[ship]'.")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    # no waiting at full speed for the next row: served on two cores, lenet answers 2,500 instead of 1,750 clients a second
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.intra_op_num_threads = device.threads()  # it would wait for more threads than there are cores to run them
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        content = json.loads(session.get_modelmeta().custom_metadata_map["lamina"])
        return Asked(path, session, content)
    except Exception as error:  # onnxruntime fails on damaged files in more ways than can be listed
        why = "it has no metadata of Lamina" if isinstance(error, KeyError) else " ".join(str(error).split())[:120]
        raise ShipError(f"{path} is no ONNX file of Lamina, or damaged ({why}).") from None
