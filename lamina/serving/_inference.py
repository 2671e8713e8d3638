"""Inference: the Open Inference Protocol v2 over REST, so that clients of Triton, KServe and others ask without change.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md. Inputs are the columns of the
net, one row per position of the first axis: pictures UINT8 (rows, height, width, 1|3), numbers FP32 or FP64, dates FP64, texts and
categories BYTES. The binary extension is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lamina import __version__
from lamina.data._table import Field
from lamina.serving import _rows
from lamina.serving._errors import Refused
from lamina.serving._model import Model
from lamina.serving._rows import Row

TYPES = {"image": "UINT8", "number": "FP64", "date": "FP64"}  # else BYTES
TAKEN = {
    "image": ("UINT8",),
    "number": ("FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8"),
    "date": ("FP64", "INT64"),
}


def routes() -> list[Route]:
    """The addresses of the protocol."""
    from lamina.serving._app import guarded

    found = [
        Route("/v2", guarded(_server)),
        Route("/v2/health/live", guarded(_live)),
        Route("/v2/health/ready", guarded(_ready)),
    ]
    for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        found += [
            Route(base, guarded(_model)),
            Route(f"{base}/ready", guarded(_model_ready)),
            Route(f"{base}/infer", guarded(_infer), methods=["POST"]),
        ]
    return found


async def _server(request: Request) -> Response:
    return JSONResponse({"name": "lamina", "version": __version__, "extensions": []})


async def _live(request: Request) -> Response:
    return JSONResponse({"live": True})


async def _ready(request: Request) -> Response:
    ready = request.app.state.lamina.ready
    return JSONResponse({"ready": ready}, 200 if ready else 503)


def _found(request: Request) -> Any:
    if request.path_params.get("version", "1") != "1":
        raise Refused(404, "there is version 1 alone.")
    return request.app.state.lamina.find(request.path_params["model"])


async def _model_ready(request: Request) -> Response:
    return JSONResponse({"name": _found(request).model.name, "ready": True})


async def _model(request: Request) -> Response:
    return JSONResponse(metadata(_found(request).model))


def metadata(model: Model) -> dict[str, Any]:
    """What the protocol tells of a model."""
    inputs = [
        {
            "name": f.name,
            "datatype": TYPES.get(f.kind, "BYTES"),
            "shape": [-1, -1, -1, -1] if f.kind == "image" else [-1],
        }
        for f in model.inputs
    ]
    if model.task == "classify":
        outputs = [{"name": "probabilities", "datatype": "FP32", "shape": [-1, len(model.target.classes)]}]
        outputs += [{"name": "answer", "datatype": "BYTES", "shape": [-1]}]
    elif model.task == "regress":
        outputs = [{"name": "answer", "datatype": "FP64", "shape": [-1]}]
    else:
        outputs = [{"name": "answer", "datatype": "BYTES", "shape": [-1]}]
    return {
        "name": model.name,
        "versions": ["1"],
        "platform": f"lamina_{model.task}",
        "inputs": inputs,
        "outputs": outputs,
    }


async def _infer(request: Request) -> Response:
    from lamina.serving._app import answered, deadline

    state = request.app.state.lamina
    gatherer = _found(request)
    gatherer.admit()
    if "inference-header-content-length" in request.headers:
        raise Refused(400, "binary tensors are not taken; send their values as JSON.")
    value = _rows.strict(request.scope["lamina.body"])
    rows = _read(value, gatherer.model.inputs, state.settings.pixels)
    found, _ = await answered(gatherer, rows, deadline(request, state.settings))
    outputs = _outputs(gatherer.model, [answer for _, answer in found])
    wanted = value.get("outputs")
    if wanted is not None:
        names = [o.get("name") if isinstance(o, dict) else None for o in wanted] if isinstance(wanted, list) else [None]
        known = {o["name"]: o for o in outputs}
        if not all(isinstance(name, str) and name in known for name in names):
            raise Refused(400, f"the outputs are {', '.join(known)}.")
        outputs = [known[name] for name in names]
    told = {"model_name": gatherer.model.name, "model_version": "1", "outputs": outputs}
    return JSONResponse({**told, "id": value["id"]} if isinstance(value.get("id"), str) else told)


def _read(value: Any, inputs: Sequence[Field], pixels: int) -> list[Row]:
    """Rows of the request's tensors. Raises Refused (400)."""
    tensors = value.get("inputs") if isinstance(value, dict) else None
    if not isinstance(tensors, list) or not all(isinstance(t, dict) for t in tensors):
        raise Refused(400, "send {'inputs': [{'name', 'shape', 'datatype', 'data'}, ...]}.")
    given = {str(t.get("name")): t for t in tensors}
    if given.keys() != {f.name for f in inputs} or len(given) != len(tensors):
        raise Refused(400, f"the inputs are {', '.join(f.name for f in inputs)[:200]}, each once.")
    columns = [_column(given[f.name], f, pixels) for f in inputs]
    if len({len(c) for c in columns}) != 1 or not 1 <= len(columns[0]) <= _rows.MOST_ROWS:
        raise Refused(400, f"every input must have the same number of rows, 1 to {_rows.MOST_ROWS:,}.")
    named = zip(*columns, strict=True)
    return [Row(f"row {i}", dict(zip([f.name for f in inputs], row, strict=True))) for i, row in enumerate(named)]


def _column(tensor: dict[str, Any], field: Field, pixels: int) -> list[Any]:
    shape, kind, data = tensor.get("shape"), tensor.get("datatype"), tensor.get("data")
    taken = TAKEN.get(field.kind, ("BYTES",))
    if kind not in taken:
        raise Refused(400, f"'{field.name}' must be {' or '.join(taken)}.")
    if not isinstance(shape, list) or not shape or not all(type(s) is int and 0 < s < 1 << 31 for s in shape):
        raise Refused(400, f"the shape of '{field.name}' must be whole numbers over 0.")
    if not isinstance(data, list):
        raise Refused(400, f"the data of '{field.name}' must be a list.")
    if field.kind == "image":
        return _pictures(shape, data, field, pixels)
    flat = (
        data
        if not any(isinstance(d, list) for d in data)
        else [v for d in data for v in (d if isinstance(d, list) else [d])]
    )
    if len(flat) != math.prod(shape) or math.prod(shape[1:]) != 1:
        raise Refused(400, f"'{field.name}' must have one value per row, and its shape says {shape[:8]}.")
    return [_rows._value(v, field, pixels) for v in flat]


def _pictures(shape: list[int], data: list[Any], field: Field, pixels: int) -> list[Any]:
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise Refused(400, f"'{field.name}' must have the shape (rows, height, width, 1 or 3).")
    if shape[1] * shape[2] > pixels:
        raise Refused(413, f"the picture has more pixels than the limit of {pixels:,}.")
    try:
        array = np.asarray(data)
    except ValueError:
        raise Refused(400, f"the data of '{field.name}' are not a rectangle.") from None
    if array.dtype.kind not in "iu" or array.size != math.prod(shape) or not 0 <= array.min() <= array.max() <= 255:
        raise Refused(400, f"the data of '{field.name}' must be {math.prod(shape):,} whole numbers of 0 to 255.")
    return list(array.reshape(shape).astype(np.uint8))


def _outputs(model: Model, answers: list[Any]) -> list[dict[str, Any]]:
    rows, told = len(answers), [answer.to_json() for answer in answers]
    if model.task == "regress":
        return [{"name": "answer", "datatype": "FP64", "shape": [rows], "data": [t["answer"] for t in told]}]
    if model.task == "classify":
        classes = model.target.classes
        shares = [t["probabilities"][c] for t in told for c in classes]
        names = [t["answer"] if isinstance(t["answer"], str) else "|".join(t["answer"]) for t in told]
        return [
            {"name": "probabilities", "datatype": "FP32", "shape": [rows, len(classes)], "data": shares},
            {"name": "answer", "datatype": "BYTES", "shape": [rows], "data": names},
        ]
    import json

    return [
        {
            "name": "answer",
            "datatype": "BYTES",
            "shape": [rows],
            "data": [json.dumps(t, ensure_ascii=False) for t in told],
        }
    ]
