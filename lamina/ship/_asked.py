"""Asked: an ONNX file of Lamina that answers through onnxruntime. No torch is imported here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core import config
from lamina.core.answers import Mask, Picture, Text, told
from lamina.core.errors import DataError
from lamina.core.parts import in_parts
from lamina.data._asked import is_file, tables
from lamina.data._pictures import Pictures
from lamina.data._ragged import pack
from lamina.data._running import Windows
from lamina.data._table import Field, Table
from lamina.data._tokens import PADDING, START, Tokens
from lamina.ship import _steps
from lamina.ship._shipped import Shipped

PIXELS = 1 << 24  # of pictures that are asked at once
ROWS = 64  # texts that are asked at once
LARGEST = (
    1 << 22
)  # pixels of an answer in the picture's own size; a larger one is answered in its proportions with so many
PLAIN = ("image", "number", "date")  # kinds of column whose values need no other code than their own
SAID = ("answer", "chosen", "token")  # outputs that are made of others, where there are others


class Asked(Shipped):
    """An ONNX file that answers through onnxruntime."""

    def __init__(self, path: Path, session: Any, content: dict[str, Any]) -> None:
        fields = [{k: v for k, v in f.items() if k != "input"} for f in content["inputs"]]
        inputs = tuple(config.from_json(Field, f) for f in fields)
        super().__init__(path, content, inputs, config.from_json(Field, content["target"]))
        self.session, self.names = session, {f["name"]: f["input"] for f in content["inputs"]}
        """onnxruntime's session; the name in the file of each input"""
        self.steps = content.get("steps", {})
        """how many steps make an answer; {} where one does"""

    @cached_property
    def tokens(self) -> Tokens:
        """What the texts of its inputs are cut into."""
        return next((f.tokens for f in self.inputs if f.tokens), None) or Tokens("bytes")

    @cached_property
    def given(self) -> list[str]:
        """Outputs of the file that answers are made of."""
        names = self.content.get("outputs") or (["probabilities"] if self.classes else ["answer"])
        return [n for n in names if n not in SAID] or ["answer"]

    def answers(self, *sources: Any) -> tuple[list[tuple[str, Any]], list[tuple[str, str]]]:
        if self.steps:
            return self._texts(sources), []
        found: list[tuple[str, Any]] = []
        bad: list[tuple[str, str]] = []
        for table in tables(sources, [*self.inputs, self.target], self.inputs):
            found += zip((str(n) for n in table.names), self._said(table), strict=True)
            bad += [(b.where, b.why) for b in table.bad]
        return found, bad

    def _said(self, table: Table) -> list[Any]:
        """An answer per row of a table."""
        if self.given[0] in ("mask", "picture", "values"):
            return [self._placed(pixels) for pixels in self._pictures(table)]
        output = self.outputs(table)
        if self.target.kind == "captions":
            known = self.target.tokens or self.tokens
            return [Text(known.decode(row.tolist())) for row in output["answer"]]
        return told(output, self.classes, self.content["threshold"])

    def outputs(self, table: Table) -> dict[str, np.ndarray]:
        """What the file gives for a table, by name, an entry per row: "probabilities" (rows, classes), "answer" (rows,) and so on."""
        given = self._at_once(table)
        if given:
            return dict(zip(self.given, self.session.run(self.given, given), strict=True))
        return self._run(table.conform(self.inputs), self.given)

    def _at_once(self, table: Table) -> dict[str, np.ndarray] | None:
        """What the session is given for a row that needs no more than to be handed over: a small net answers in a tenth of a millisecond."""
        given = {}
        for field in self.inputs:
            column = table.columns.get(field.name)
            if len(table.names) != 1 or column is None or column.field.kind != field.kind or field.kind not in PLAIN:
                return None
            if field.kind == "image" and column.values.array is None:
                return None
            given[self.names[field.name]] = raw(column.values, field)
        return given

    def _run(self, table: Table, names: list[str]) -> dict[str, np.ndarray]:
        parts = [self.session.run(names, given) for given in self._given(table)]
        columns = parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts, strict=True)]
        found = dict(zip(names, columns, strict=True))
        if self.target.kind == "sentence":
            found["first"] = found.pop("next")
        return found

    def _given(self, table: Table) -> Iterator[dict[str, np.ndarray]]:
        """What the session is given: pictures in files one by one, since their sizes differ; else many rows at once."""
        own = [table[f.name].values for f in self.inputs if f.kind == "image"]
        area = sum(math.prod(p.array.shape[1:]) for p in own if p.array is not None)
        step = 1 if any(p.array is None for p in own) else max(1, min(1024, PIXELS // max(1, area)))
        step = min(step, ROWS) if any(f.tokens for f in self.inputs) else step
        for start in range(0, len(table), step):
            part = table.take(np.arange(start, min(start + step, len(table)))) if step < len(table) else table
            known = [f for f in self.inputs if f.kind not in ("text", "sentence", "running")]
            given = {self.names[f.name]: raw(part[f.name].values, f) for f in known}
            yield {**given, **self._tokens(part)}

    def _tokens(self, table: Table) -> dict[str, np.ndarray]:
        """Tokens of the texts, and what the first step is given beside them."""
        running = next((table[f.name].values for f in self.inputs if f.kind == "running"), None)
        if running is not None:
            ids = running.at(np.arange(len(running))) if isinstance(running, Windows) else running
            return {**self._going(len(ids), 0.0), "tokens": ids.astype(np.int64)}
        fields = [f for f in self.inputs if f.kind in ("text", "sentence")]
        if not fields:
            return {}
        ragged = pack([table[f.name].values for f in fields], self.tokens, [f.shape[0] for f in fields])
        ids = np.full((len(ragged), int(ragged.lengths.max())), PADDING, np.int64)
        for i in range(len(ragged)):
            ids[i, : len(ragged.row(i))] = ragged.row(i)
        begin = {"before": np.full((len(ids), 1), START)} if self.steps else {}
        return {**begin, "tokens": ids}

    def _going(self, rows: int, draw: float) -> dict[str, np.ndarray]:
        temperature = np.array(self.steps["temperature"], np.float32)
        return {"temperature": temperature, "draw": np.full(rows, draw, np.float32)}

    def _pictures(self, table: Table) -> Iterator[np.ndarray]:
        """uint8 (height, width, 1|3) per row, in its own size up to LARGEST."""
        values = table.conform(self.inputs)[self.inputs[0].name].values
        for row in range(len(table)):
            yield _bounded(values.open(row))

    def _placed(self, pixels: np.ndarray) -> Any:
        """The answer in the size of a picture, or so many times larger."""
        name = self.names[self.inputs[0].name]

        def answer(part: np.ndarray) -> np.ndarray:
            return self.session.run(["answer"], {name: np.ascontiguousarray(part)[None]})[0][0]

        times = self.content["own_size"]
        if times:
            channels = self.inputs[0].shape[0]
            pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))[..., :channels]
            return Picture(in_parts(answer, pixels, times, self.target.shape[0]))
        found = answer(pixels)
        return Mask(found, self.classes) if self.given[0] == "mask" else Picture(found)

    def _texts(self, sources: Sequence[Any]) -> list[tuple[str, Any]]:
        """(name, text) for texts and files: of sentences, one a line, their translations; of other texts how they go on."""
        sentences, found = self.target.kind == "sentence", []
        for number, source in enumerate(sources):
            if not isinstance(source, str | Path):
                raise DataError(f"this net reads texts; {type(source).__name__} is none.")
            try:
                content = Path(source).read_bytes().decode("utf-8", "replace") if is_file(source) else str(source)
            except OSError as error:
                raise DataError(f"{source} cannot be read: {error.strerror}.") from None
            if not sentences:
                name = str(source) if is_file(source) else f"text {number + 1}"
                found.append((name, Text(_steps.written(self._draw, self.tokens, content, self.steps))))
            elif is_file(source):
                found += [(f"line {i + 1}", self._translated(t)) for i, t in enumerate(content.splitlines())]
            else:
                found.append((content[:40], self._translated(content)))
        return found

    def _draw(self, seen: np.ndarray, number: float) -> int:
        return int(self.session.run(["token"], {**self._going(1, number), "tokens": seen})[0][0])

    def _translated(self, text: str) -> Text:
        ids = np.array([[START, *self.tokens.encode(text).tolist()[: self.inputs[0].shape[0]]]])

        def step(written: np.ndarray) -> np.ndarray:
            given = {"tokens": ids.repeat(len(written), 0), "before": written}
            return self.session.run(["next"], given)[0]

        known = self.target.tokens or self.tokens
        return Text(known.decode(_steps.translated(step, ids.shape[1], self.steps)))


def raw(values: Any, field: Field) -> np.ndarray:
    """Values of a column as the file takes them."""
    if isinstance(values, Pictures):
        side = max(field.shape[1:])
        return np.ascontiguousarray(values.array) if values.array is not None else values.open(0, side)[None]
    if field.kind == "label":
        return np.array([*field.classes, ""], object)[values]
    with np.errstate(over="ignore"):  # beyond float32 is infinite, as in training
        return values.astype(np.float32 if field.kind == "number" else np.float64)


def _bounded(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    if height * width <= LARGEST:
        return pixels
    from PIL import Image

    scale = (LARGEST / (height * width)) ** 0.5
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    made = np.asarray(image.resize((int(scale * width), int(scale * height)), Image.Resampling.BICUBIC))
    return made.reshape(*made.shape[:2], -1)
