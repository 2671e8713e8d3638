"""onnx: one ONNX file with preprocessing and answer inside, for any program with onnxruntime; asked without torch.

Inputs, one tensor per column: pictures uint8 (rows, height, width, 1 or 3) of any size; numbers float32 (rows,), NaN where
missing; dates float64 (rows,), seconds since 1970; categories as text (rows,), any other text is a missing one. Outputs:
"probabilities" float32 (rows, classes) and "answer", the name of the most probable class, or "chosen" bool (rows, classes);
of numbers "answer" float64 (rows,). Format: https://onnx.ai; classes, score, source and licence are JSON in its metadata.

Pictures of the frame's size answer as the run does, to 1e-5. Others are resized inside: over 200 crops of real photographs
pixels differed from Lamina's own by 0.002 levels of 255 on average, and by 3 at most (bench/resize.py).
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.core import config
from lamina.core.answers import told
from lamina.core.errors import SettingError, ShipError
from lamina.core.run import replace
from lamina.data._asked import tables
from lamina.data._pictures import Pictures
from lamina.data._table import Field, Table
from lamina.ship import _parcel
from lamina.ship._parcel import Parcel

if TYPE_CHECKING:
    from lamina.judge.score import Score

SUFFIX = ".onnx"
CLOSE = 1e-5  # largest difference of probabilities, and of numbers as a share of the largest
MOST_BYTES = 2**31 - 2**24  # of weights; a protobuf ends at 2 GiB
TASKS = ("classify", "regress")
KINDS = ("image", "number", "date", "label")
PIXELS = 1 << 24  # of pictures that are asked at once
NEEDED = ("onnx", "onnxscript", "onnxruntime")


def refusal(parcel: Parcel) -> str:
    """Why ONNX cannot carry a net; "" when it can."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return f"{missing[0]} is not installed; pip install 'lamina[ship]'"
    if parcel.plan.task not in TASKS:
        return f"it answers {parcel.plan.task}, and there is {' and '.join(TASKS)}"
    kinds = [f.kind for f in parcel.plan.inputs if f.kind not in KINDS]
    if kinds:
        return f"its input is {kinds[0]}, and there is {', '.join(KINDS)}"
    size = sum(t.numel() * t.element_size() for t in parcel.net.state_dict().values())
    return f"its weights have {size:,} bytes, and a file can hold {MOST_BYTES:,}" if size > MOST_BYTES else ""


def write(parcel: Parcel, path: Path) -> None:
    """Write the file, read it anew, ask it the examples, and write it again with the figures. Raises ShipError and RunError."""
    from lamina.ship import _graph

    model = _graph.exported(parcel)
    replace(path, _graph.described(model, parcel, {}))
    figures = parity(path, parcel)
    replace(path, _graph.described(model, parcel, figures))
    if parity(path, parcel) != figures or figures["largest_difference"] > CLOSE:
        raise ShipError(
            f"the file answers otherwise than the run, by {figures['largest_difference']:.2g}; it was not kept."
        )
    if figures["same_answers"] < figures["rows"]:
        raise ShipError(f"the file gives {figures['same_answers']} of {figures['rows']} answers; it was not kept.")


def parity(path: Path, parcel: Parcel) -> dict[str, Any]:
    """The file, read anew, asked the examples beside the run: rows, same_answers, largest_difference, bit_equal."""
    return _parcel.compared(parcel, load(path).outputs(parcel.examples))


class Asked:
    """An ONNX file that answers through onnxruntime."""

    def __init__(self, path: Path, session: Any, content: dict[str, Any]) -> None:
        self.path, self.session, self.content = path, session, content
        """where it lies; onnxruntime's session; everything that the file says of itself, plain values"""
        self.names = {f["name"]: f["input"] for f in content["inputs"]}
        fields = [{k: v for k, v in f.items() if k != "input"} for f in content["inputs"]]
        self.inputs = tuple(config.from_json(Field, f) for f in fields)
        self.target = config.from_json(Field, content["target"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels, in the order of their codes; () when a number is answered."""
        return self.target.classes

    def ask(self, *sources: Any) -> Any:
        """Answers (core.answers) for a file, folder, table, row (a dict) or array; a list unless one row was asked.

        Raises DataError when nothing can be read.
        """
        return _parcel.one_or_all(self.answers(*sources)[0])

    def answers(self, *sources: Any) -> tuple[list[tuple[str, Any]], list[tuple[str, str]]]:
        """(name of the row, answer) in the order asked, and (where, why) of what could not be read. Raises DataError."""
        found: list[tuple[str, Any]] = []
        bad: list[tuple[str, str]] = []
        for table in tables(sources, [*self.inputs, self.target]):
            said = told(self.outputs(table), self.classes, self.content["threshold"])
            found += zip((str(n) for n in table.names), said, strict=True)
            bad += [(b.where, b.why) for b in table.bad]
        return found, bad

    def outputs(self, table: Table) -> dict[str, np.ndarray]:
        """What the file gives for a table: "probabilities" (rows, classes) or "answer" (rows,)."""
        name = "probabilities" if self.classes else "answer"
        parts = [self.session.run([name], given)[0] for given in self._given(table.conform(self.inputs))]
        return {name: np.concatenate(parts)}

    def _given(self, table: Table) -> Iterator[dict[str, np.ndarray]]:
        """What the session is given: pictures in files one by one, since their sizes differ; else many rows at once."""
        pictures = next((table[f.name].values for f in self.inputs if f.kind == "image"), None)
        several = pictures is None or pictures.array is not None
        area = 1 if pictures is None or pictures.array is None else int(np.prod(pictures.array.shape[1:]))
        step = max(1, min(1024, PIXELS // area)) if several else 1
        for start in range(0, len(table), step):
            part = table.take(np.arange(start, min(start + step, len(table))))
            yield {self.names[f.name]: _raw(part[f.name].values, f) for f in self.inputs}

    def score(self, on: Any = None) -> Score:
        """The score on the test rows, as measured after training. Raises SettingError for other data."""
        from lamina.judge.score import Score

        if on is not None:
            raise SettingError(f"{self.path.name} tells the score of its training; score other data with its run.")
        return Score(**self.content["score"])

    def __repr__(self) -> str:
        return f"Asked({str(self.path)!r}, {self.content['task']}, {self.content['net']})"


def _raw(values: Any, field: Field) -> np.ndarray:
    """Values of a column as the file takes them."""
    if isinstance(values, Pictures):
        side = max(field.shape[1:])
        return np.ascontiguousarray(values.array) if values.array is not None else values.open(0, side)[None]
    if field.kind == "label":
        return np.array([*field.classes, ""], object)[values]
    return values.astype(np.float32 if field.kind == "number" else np.float64)


def load(path: str | Path) -> Asked:
    """Open an ONNX file that Lamina wrote. Raises ShipError."""
    path = Path(path)
    if importlib.util.find_spec("onnxruntime") is None:
        raise ShipError(f"{path} needs onnxruntime, which is not installed; pip install 'lamina[ship]'.")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        content = json.loads(session.get_modelmeta().custom_metadata_map["lamina"])
        return Asked(path, session, content)
    except Exception as error:  # onnxruntime fails on damaged files in more ways than can be listed
        why = "it has no metadata of Lamina" if isinstance(error, KeyError) else " ".join(str(error).split())[:120]
        raise ShipError(f"{path} is no ONNX file of Lamina, or damaged ({why}).") from None
