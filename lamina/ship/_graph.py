"""The graph of an ONNX file: raw input, preprocessing, the net and its answer as one torch module, and its export.

Pictures are resized by two products with matrices that hold the weights of Pillow's bicubic kernel, antialiased
(https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c), across first, then down: whatever runs
products runs it. Pictures of the frame's size pass unchanged. Letters: B rows, H height, W width, C channels.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from lamina.core.errors import ShipError
from lamina.data._batches import DAY, Batches
from lamina.data._decode import KERNEL
from lamina.data._table import Table
from lamina.data._tokens import PADDING, START
from lamina.ship import _parcel, _skip
from lamina.ship._parcel import Parcel
from lamina.tasks._task import Batch

INSIDE = "lamina/"  # begins the names that are neither input nor output
OPSET = 20
TOKENS = "tokens"  # name of the input of texts: (rows, length) int64, PADDING behind the end of each
TEXTS = ("text", "sentence", "running")  # kinds of column that come as tokens


class Cover(nn.Module):
    """image (B, H, W, 1 or 3) uint8 of any size -> (B, channels, height, width) float of whole numbers from 0 to 255.

    As lamina.data._decode.fit, whose box and rounding it follows; `stretched`: as its stretch, all of the picture.
    """

    def __init__(self, channels: int, height: int, width: int, stretched: bool = False) -> None:
        super().__init__()
        self.channels, self.height, self.width, self.stretched = channels, height, width, stretched

    def forward(self, image: Tensor) -> Tensor:
        sides = torch.stack([torch.scalar_tensor(size, dtype=torch.float64) for size in image.shape[1:]])
        size, given = sides[:2], sides[2]
        x = self.coloured(image.float(), given)
        if self.stretched:
            start = least = torch.zeros_like(size)
            box = most = size
        else:
            start, box, least, most = self._box(size, given)
        down, across = (
            _weights(image.shape[i + 1], start[i], box[i], side, least[i], least[i] + most[i])
            for i, side in enumerate((self.height, self.width))
        )
        return _byte(down @ _byte(x @ across.T))

    def _box(self, size: Tensor, given: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Where the box of the frame's proportions starts and how large it is; the first pixel that counts, and how many do."""
        frame = torch.tensor([self.height, self.width], dtype=torch.float64)
        box = (size / frame).amin(0) * frame  # the largest of the frame's proportions, height and width
        near = box.round()
        whole = ((box - near).abs().amax(0) < 1e-6) & (near.amin(0) >= KERNEL) & (given == self.channels)
        start = (size - box) / 2
        start, most = torch.where(whole, torch.floor(start + 1e-6), start), torch.where(whole, near, size)
        return start, box, torch.where(whole, start, torch.zeros_like(start)), most

    def coloured(self, x: Tensor, given: Tensor) -> Tensor:
        """(B, H, W, 1|3) -> (B, channels, H, W); grey is ITU-R 601-2 luma in 16 bits, as Pillow makes it."""
        place = torch.stack([torch.zeros_like(given), torch.floor(given / 2), given - 1]).long()
        x = x.permute(0, 3, 1, 2).index_select(1, place)  # one channel serves as all three; whole planes are copied
        if self.channels == 3:
            return x
        red, green, blue = x.unbind(1)
        return torch.floor((red * 19_595 + green * 38_470 + blue * 7_471 + 32_768) / 65_536).unsqueeze(1)


def _remainder(value: Tensor, by: float) -> Tensor:
    return value - torch.floor(value / by) * by


def _byte(x: Tensor) -> Tensor:
    return torch.floor(x + 0.5).clamp(0, 255)


def _weights(size: Any, start: Tensor, box: Tensor, out: int, least: Tensor, most: Tensor) -> Tensor:
    """(out, size) float: what each pixel of the input gives to each of the output; none before `least` and from `most` on."""
    scale = box / out
    centre = start + (torch.arange(out, dtype=torch.float64) + 0.5) * scale
    place = torch.arange(size, dtype=torch.float64)
    d = ((place + 0.5 - centre.unsqueeze(1)) / scale.clamp(min=1.0)).abs()  # (out, size)
    near, far = (1.5 * d - 2.5) * d * d + 1, ((2.5 - 0.5 * d) * d - 4) * d + 2  # Keys 1981, a = -1/2
    weight = torch.where(d < 1, near, far) * ((d < 2) & (place >= least) & (place < most))
    return (weight / weight.sum(1, keepdim=True)).float()


def _date_numbers(seconds: Tensor) -> Tensor:
    """(B,) seconds since 1970 -> (B, 6), as lamina.data._batches; plain numbers would be exported as float32."""
    turn, year_days = torch.tensor([2 * torch.pi, 365.2425], dtype=torch.float64)
    day = seconds / DAY
    year, week = turn * day / year_days, turn * (day + 4) / 7
    parts = [day, torch.sin(year), torch.cos(year), torch.sin(week), torch.cos(week), _remainder(seconds, DAY) / 3600]
    return torch.stack(parts, 1).float()


class Whole(nn.Module):
    """One tensor per slot, raw -> what the task's graph gives, in the order of its names."""

    def __init__(self, parcel: Parcel, framed: bool = False) -> None:
        """framed: pictures come in the size of the frame, in its channels."""
        super().__init__()
        self.framed = framed
        self.net, self.task = copy.deepcopy(parcel.net).cpu().eval(), parcel.task
        self.slots = slots(parcel)
        images = [f for f in parcel.plan.inputs if f.kind == "image"]
        self.frames = nn.ModuleList(Cover(*f.shape, stretched=f.fit == "stretch") for f in images)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.named(*given).values())

    def named(self, *given: Tensor) -> dict[str, Tensor]:
        """The same by name."""
        batch: Batch = {}
        numbers, categories, images = [], [], 0
        for (name, kind), values in zip(self.slots, given, strict=True):
            if kind == "image":
                frame = self.frames[images]
                assert isinstance(frame, Cover)
                images += 1
                colours = torch.scalar_tensor(values.shape[3], dtype=torch.float64)
                raw = values.permute(0, 3, 1, 2).float() if self.framed else frame.coloured(values.float(), colours)
                if len(self.frames) == 1:
                    batch["raw"] = raw
                key = "image" if images == 1 else f"image {images}"
                batch[key] = raw if self.task.own_size or self.framed else frame(values)
            elif kind == "label":
                categories.append(values)
            elif kind in ("number", "date"):
                numbers.append(_date_numbers(values) if kind == "date" else values.unsqueeze(1))
            else:
                batch[name] = values
                if name == TOKENS:
                    batch["mask"] = values != PADDING
        if numbers:
            batch["numbers"] = torch.cat(numbers, 1)
        if categories:
            batch["categories"] = torch.stack(categories, 1)
        return self.task.graph(self.net, self.task.prepare(batch, training=False))


def slots(parcel: Parcel) -> list[tuple[str, str]]:
    """(name, kind) of what a graph is given: a tensor per column, one of tokens for all texts, and what the task asks for.

    The columns' own names; one that has another meaning here too is told apart.
    """
    kept = {"answer", "probabilities", "chosen", TOKENS, *parcel.task.asks}
    found: list[tuple[str, str]] = []
    for field in parcel.plan.inputs:
        if field.kind not in TEXTS:
            found.append((f"{field.name} (input)" if field.name in kept else field.name, field.kind))
        elif (TOKENS, "tokens") not in found:
            found.append((TOKENS, "tokens"))
    return [*found, *parcel.task.asks.items()]


def example(kind: str) -> Tensor:
    """Something that can stand in a slot."""
    if kind == "image":
        return torch.zeros(3, 40, 50, 3, dtype=torch.uint8)
    if kind == "tokens":
        return torch.full((3, 6), START)
    kinds = {"number": torch.float32, "row": torch.float32, "one": torch.float32, "date": torch.float64}
    return torch.zeros([] if kind == "one" else 3, dtype=kinds.get(kind, torch.int64))


def axes(name: str, kind: str) -> dict[int, str]:
    """What may be of any size, by name."""
    if kind == "image":
        return {0: "rows", 1: f"height of {name}", 2: f"width of {name}", 3: f"channels of {name}"}
    return {} if kind == "one" else {0: "rows", 1: f"length of {name}"} if kind == "tokens" else {0: "rows"}


def exported(parcel: Parcel) -> onnx.ModelProto:
    """The net of a parcel as an ONNX model. Raises ShipError when torch cannot trace it."""
    whole = Whole(parcel).eval()
    first = tuple(example(kind) for _, kind in whole.slots)
    shapes = (tuple(axes(name, kind) for name, kind in whole.slots),)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells which operators of other packages are not there
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            names = list(whole.named(*first))
            program = torch.onnx.export(
                whole, first, dynamo=True, opset_version=OPSET, dynamic_shapes=shapes, verbose=False,
                input_names=[f"input {i}" for i in range(len(first))], output_names=names,
            )  # fmt: skip
    except Exception as error:  # tracing fails in more ways than can be listed
        why = " ".join(str(error.__cause__ or error).split())[:200]
        raise ShipError(f"onnx cannot carry this net: torch cannot trace it ({why}).") from None
    finally:
        logger.setLevel(level)
    assert program
    model = program.model_proto
    pictures = [given.name for given, (_, kind) in zip(model.graph.input, whole.slots, strict=True) if kind == "image"]
    for i, (picture, frame) in enumerate(zip(pictures, whole.frames, strict=True)):
        assert isinstance(frame, Cover)
        _skip.skip(model.graph, f"frames.{i}", picture, (frame.channels, frame.height, frame.width))
    _named(model, parcel, whole.slots)
    return model


def _named(model: onnx.ModelProto, parcel: Parcel, wanted_names: list[tuple[str, str]]) -> None:
    """Name inputs as the columns; let categories come in, and the answer go out, as text; drop what tells of this machine."""
    graph = model.graph
    names = {given.name: name for given, (name, _) in zip(graph.input, wanted_names, strict=True)}
    outside = {o.name: o.name for o in graph.output}
    encoders = []
    labels = iter(f for f in parcel.plan.inputs if f.kind == "label")
    for given, (_, kind) in zip(graph.input, wanted_names, strict=True):
        if kind == "label":
            field = next(labels)
            wanted, names[given.name] = names[given.name], f"{given.name} code"
            codes = {"keys_strings": field.classes, "values_int64s": range(len(field.classes)), "default_int64": -1}
            encoders.append((wanted, names[given.name], codes))
    classes = {"label": parcel.plan.target.classes, "same": ("different", "same")}.get(parcel.plan.target.kind)
    if classes:
        outside["answer"] = "answer code"
    _renamed(graph, {**names, **outside})
    for wanted, code, attributes in reversed(encoders):
        node = helper.make_node("LabelEncoder", [wanted], [code], domain="ai.onnx.ml", **attributes)
        graph.node.insert(0, node)
        given = next(i for i in graph.input if i.name == code)
        given.CopyFrom(helper.make_tensor_value_info(wanted, TensorProto.STRING, ["rows"]))
    if classes:
        text = {"keys_int64s": range(len(classes)), "values_strings": classes}
        graph.node.append(helper.make_node("LabelEncoder", ["answer code"], ["answer"], domain="ai.onnx.ml", **text))
        given = next(o for o in graph.output if o.name == "answer code")
        given.CopyFrom(helper.make_tensor_value_info("answer", TensorProto.STRING, ["rows"]))
    if classes or encoders:
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))


def _renamed(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    def name(old: str) -> str:
        return names.get(old, f"{INSIDE}{old}" if old else "")

    for node in graph.node:
        node.input[:], node.output[:] = [name(n) for n in node.input], [name(n) for n in node.output]
        node.ClearField("metadata_props")  # traces with the paths of this machine
        node.ClearField("doc_string")
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _renamed(attribute.g, names)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = name(value.name)
        value.ClearField("metadata_props")


def about(parcel: Parcel) -> dict[str, Any]:
    """What is told of a graph, plain values: Parcel.about, each column with the name of its input, and how an answer is made."""
    found = parcel.about()
    names = iter(name for name, kind in slots(parcel) if kind != "tokens")
    for field in found["inputs"]:
        field["input"] = TOKENS if field["kind"] in TEXTS else next(names)
    made = {"steps": parcel.task.steps(parcel.net), "own_size": parcel.task.own_size}
    return {**found, "torch": torch.__version__, **made}


def given(parcel: Parcel, table: Table) -> tuple[Tensor, ...]:
    """What the graph is given for rows of the examples, in the order of its slots; of steps the first."""
    rows, columns = len(table), iter(f for f in parcel.plan.inputs if f.kind not in TEXTS)
    tokens = Batches(table, parcel.plan.inputs, None, torch.device("cpu")).get(torch.arange(rows)).get(TOKENS)
    found: list[Tensor] = []
    for name, kind in slots(parcel):
        if name == TOKENS:
            assert tokens is not None
            found.append(tokens)
        elif kind in ("tokens", "row", "one"):
            found.append(
                torch.full((rows, 1), START) if kind == "tokens" else torch.zeros(rows if kind == "row" else [])
            )
        else:
            values = torch.from_numpy(np.array(_parcel.column_values(table, next(columns))))
            found.append(values.float() if kind == "number" else values)
    return tuple(found)


def described(model: onnx.ModelProto, parcel: Parcel, figures: dict[str, Any], **more: Any) -> bytes:
    """The file's bytes: the model with everything told of it under the key "lamina". Raises ShipError."""
    outputs = [o.name for o in model.graph.output]
    told = {**about(parcel), "format": 1, "outputs": outputs, "parity": figures, **more}
    helper.set_model_props(model, {"lamina": json.dumps(told, ensure_ascii=False)})
    model.producer_name, model.producer_version = "lamina", told["lamina"]
    model.doc_string = f"{told['task']} {told['target']['name']}, {told['net']}; {told['score']['signature']}"
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
