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

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from lamina.core.errors import ShipError
from lamina.data._batches import DAY
from lamina.data._decode import KERNEL
from lamina.data._table import Field
from lamina.ship._parcel import Parcel
from lamina.tasks._task import Batch

INSIDE = "lamina/"  # begins the names that are neither input nor output
OPSET = 20


class Cover(nn.Module):
    """image (B, H, W, 1 or 3) uint8 of any size -> (B, channels, height, width) float of whole numbers from 0 to 255.

    As lamina.data._decode.fit, whose box and rounding it follows.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.channels, self.height, self.width = channels, height, width

    def forward(self, image: Tensor) -> Tensor:
        sides = torch.stack([torch.scalar_tensor(size, dtype=torch.float64) for size in image.shape[1:]])
        size, given = sides[:2], sides[2]
        frame = torch.tensor([self.height, self.width], dtype=torch.float64)
        box = (size / frame).amin(0) * frame  # the largest of the frame's proportions, height and width
        near = box.round()
        whole = ((box - near).abs().amax(0) < 1e-6) & (near.amin(0) >= KERNEL) & (given == self.channels)
        start = (size - box) / 2
        start, most = torch.where(whole, torch.floor(start + 1e-6), start), torch.where(whole, near, size)
        x = self._coloured(image.float(), given)
        least = torch.where(whole, start, torch.zeros_like(start))
        down, across = (
            _weights(image.shape[i + 1], start[i], box[i], side, least[i], least[i] + most[i])
            for i, side in enumerate((self.height, self.width))
        )
        return _byte(down @ _byte(x @ across.T))

    def _coloured(self, x: Tensor, given: Tensor) -> Tensor:
        """(B, H, W, 1|3) -> (B, channels, H, W); grey is ITU-R 601-2 luma in 16 bits, as Pillow makes it."""
        place = torch.stack([torch.zeros_like(given), torch.floor(given / 2), given - 1]).long()
        x = x.index_select(3, place).permute(0, 3, 1, 2)  # one channel serves as all three
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
    """One tensor per input column, raw -> probabilities and the code of the answer, or which are chosen; or the number."""

    def __init__(self, parcel: Parcel) -> None:
        super().__init__()
        self.net, self.task, self.inputs = copy.deepcopy(parcel.net).cpu().eval(), parcel.task, parcel.plan.inputs
        shape = next((f.shape for f in self.inputs if f.kind == "image"), None)
        self.cover = Cover(*shape) if shape else None

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        batch: Batch = {}
        numbers, categories = [], []
        for field, values in zip(self.inputs, given, strict=True):
            if field.kind == "image":
                assert self.cover
                batch["image"] = self.cover(values)
            elif field.kind == "label":
                categories.append(values)
            else:
                numbers.append(_date_numbers(values) if field.kind == "date" else values.unsqueeze(1))
        if numbers:
            batch["numbers"] = torch.cat(numbers, 1)
        if categories:
            batch["categories"] = torch.stack(categories, 1)
        output = self.task.output(self.net, self.task.prepare(batch, training=False))
        if "answer" in output:
            return (output["answer"],)
        p = output["probabilities"]
        return p, p.argmax(1) if self.task.threshold is None else p >= self.task.threshold


def exported(parcel: Parcel) -> onnx.ModelProto:
    """The net of a parcel as an ONNX model. Raises ShipError when torch cannot trace it."""
    inputs = parcel.plan.inputs
    example = tuple(_example(f) for f in inputs)
    axes = {"image": {0: "rows", 1: "height", 2: "width", 3: "channels"}}
    shapes = (tuple(axes.get(f.kind, {0: "rows"}) for f in inputs),)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells which operators of other packages are not there
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            program = torch.onnx.export(
                Whole(parcel).eval(), example, dynamo=True, opset_version=OPSET, dynamic_shapes=shapes, verbose=False,
                input_names=[f"input {i}" for i in range(len(inputs))], output_names=outputs(parcel),
            )  # fmt: skip
    except Exception as error:  # tracing fails in more ways than can be listed
        why = " ".join(str(error.__cause__ or error).split())[:200]
        raise ShipError(f"onnx cannot carry this net: torch cannot trace it ({why}).") from None
    finally:
        logger.setLevel(level)
    assert program
    model = program.model_proto
    _named(model, parcel)
    return model


def outputs(parcel: Parcel) -> list[str]:
    """Names of what the file gives."""
    if not parcel.plan.target.classes:
        return ["answer"]
    return ["probabilities", "answer" if parcel.task.threshold is None else "chosen"]


def input_names(parcel: Parcel) -> list[str]:
    """The columns' own names; one that is an output's name too is told apart."""
    taken = {"answer", "probabilities", "chosen"}
    return [f"{f.name} (input)" if f.name in taken else f.name for f in parcel.plan.inputs]


def _example(field: Field) -> Tensor:
    if field.kind == "image":
        return torch.zeros(3, 40, 50, 3, dtype=torch.uint8)
    return torch.zeros(3, dtype={"number": torch.float32, "date": torch.float64}.get(field.kind, torch.int64))


def _named(model: onnx.ModelProto, parcel: Parcel) -> None:
    """Name inputs as the columns; let categories come in, and the answer go out, as text; drop what tells of this machine."""
    graph = model.graph
    names = dict(zip([i.name for i in graph.input], input_names(parcel), strict=True))
    outside = {o.name: o.name for o in graph.output}
    encoders = []
    for given, field in zip(graph.input, parcel.plan.inputs, strict=True):
        if field.kind == "label":
            wanted, names[given.name] = names[given.name], f"{given.name} code"
            codes = {"keys_strings": field.classes, "values_int64s": range(len(field.classes)), "default_int64": -1}
            encoders.append((wanted, names[given.name], codes))
    told = parcel.plan.target.kind == "label"
    if told:
        outside["answer"] = "answer code"
    _renamed(graph, {**names, **outside})
    for wanted, code, attributes in reversed(encoders):
        node = helper.make_node("LabelEncoder", [wanted], [code], domain="ai.onnx.ml", **attributes)
        graph.node.insert(0, node)
        given = next(i for i in graph.input if i.name == code)
        given.CopyFrom(helper.make_tensor_value_info(wanted, TensorProto.STRING, ["rows"]))
    if told:
        classes = parcel.plan.target.classes
        text = {"keys_int64s": range(len(classes)), "values_strings": classes}
        graph.node.append(helper.make_node("LabelEncoder", ["answer code"], ["answer"], domain="ai.onnx.ml", **text))
        given = next(o for o in graph.output if o.name == "answer code")
        given.CopyFrom(helper.make_tensor_value_info("answer", TensorProto.STRING, ["rows"]))
    if told or encoders:
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


def described(model: onnx.ModelProto, parcel: Parcel, figures: dict[str, Any]) -> bytes:
    """The file's bytes: the model with everything told of it under the key "lamina". Raises ShipError."""
    about = parcel.about()
    for field, name in zip(about["inputs"], input_names(parcel), strict=True):
        field["input"] = name
    told = {**about, "format": 1, "torch": torch.__version__, "outputs": outputs(parcel), "parity": figures}
    helper.set_model_props(model, {"lamina": json.dumps(told, ensure_ascii=False)})
    model.producer_name, model.producer_version = "lamina", about["lamina"]
    model.doc_string = f"{about['task']} {about['target']['name']}, {about['net']}; {about['score']['signature']}"
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
