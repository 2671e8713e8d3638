"""Describe: what the models take and answer, for people (the page, /docs) and for programs (OpenAPI 3.1)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from lamina import __version__
from lamina.core.figures import shown
from lamina.data._table import Field
from lamina.serving._model import Model

HERE = Path(__file__).parent
SHARED = HERE.parent / "ship" / "page"
ABOUT = {
    "image": "a picture file in base64, or its pixels as lists of 0 to 255",
    "number": "a number, or null",
    "date": "a date as text, such as 2024-05-01 12:00, or null",
    "running": "a text that is gone on with",
    "sentence": "a sentence",
    "text": "a text",
}
WISHES: dict[str, Any] = {
    "type": "object", "additionalProperties": False,
    "properties": {
        "start": {"type": "string"}, "length": {"type": "integer", "minimum": 1, "maximum": 10_000}, "temperature": {"type": "number", "minimum": 0},
        "top_k": {"type": "integer", "minimum": 1}, "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "seed": {"type": "integer"},
        "stop": {"type": "string"},
    },
}  # fmt: skip
SCHEMAS: dict[str, dict[str, Any]] = {
    "image": {"oneOf": [{"type": "string", "contentEncoding": "base64"}, {"type": "array"}]},
    "number": {"type": ["number", "null"]},
    "date": {"type": ["string", "null"]},
}


def plain(model: Model) -> dict[str, Any]:
    """What the page needs to know of a model."""
    fields = [
        {"name": f.name, "kind": f.kind, "classes": list(f.classes)[:2000], "shape": list(f.shape)}
        for f in model.inputs
    ]
    return {"name": model.name, "task": model.task, "inputs": fields, "writes": model.writes, "line": line(model)}


def line(model: Model) -> str:
    """One line: task, target, net, score."""
    try:
        score = model.opened.score()
        value, low, high = (shown(score.name, part) for part in (score.value, score.low, score.high))
        told = f"; {score.name.replace('_', ' ')} {value} ({low} to {high})"
    except Exception:  # a run that was not scored
        told = ""
    return f"{model.task} {model.target.name}, {model.net}{told}"


def page(models: Sequence[Model]) -> tuple[str, str]:
    """HTML of the page to try the models, and its Content-Security-Policy."""
    style = (SHARED / "style.css").read_text(encoding="utf-8")
    script = "\n".join(p.read_text(encoding="utf-8") for p in (SHARED / "panel.js", HERE / "page.js"))
    told = [plain(m) for m in models]
    title = models[0].name if len(models) == 1 else f"{len(models)} models"
    html = _filled(
        "page.html", title=title, style=Markup(style), script=Markup(script), models=told, data=embedded(told)
    )
    policy = (
        f"default-src 'none'; connect-src 'self'; img-src data: blob:; script-src '{_hash(script)}'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


def docs(models: Sequence[Model]) -> tuple[str, str]:
    """HTML that tells how to ask, and its Content-Security-Policy."""
    style = (SHARED / "style.css").read_text(encoding="utf-8")
    told = [
        plain(m)
        | {
            "fields": [{"name": f.name, "kind": f.kind, "about": _about(f)} for f in m.inputs],
            "curl": _curl(m),
            "answer": json.dumps(_answer_example(m), ensure_ascii=False, indent=1),
        }
        for m in models
    ]
    return _filled(
        "docs.html", style=Markup(style), models=told
    ), "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def embedded(value: Any) -> Markup:
    """JSON that can stand inside <script>."""
    text = json.dumps(value, ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _filled(name: str, **values: Any) -> str:
    environment = Environment(autoescape=True, trim_blocks=True)
    return environment.from_string((HERE / name).read_text(encoding="utf-8")).render(**values)


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _about(field: Field) -> str:
    if field.kind == "label":
        shown = ", ".join(field.classes[:8]) + (" ..." if len(field.classes) > 8 else "")
        return f"one of {shown}; or null"
    return ABOUT.get(field.kind, field.kind)


def _curl(model: Model) -> str:
    if model.writes:
        return (
            f'curl -N -d \'{{"start": "In the"}}\' -H "Content-Type: application/json" http://HOST/write/{model.name}'
        )
    if len(model.inputs) == 1 and model.inputs[0].kind == "image":
        return f'curl --data-binary @photo.jpg -H "Content-Type: image/jpeg" http://HOST/ask/{model.name}'
    row = {f.name: _example(f) for f in model.inputs}
    return f"curl -d '{json.dumps(row, ensure_ascii=False)}' -H \"Content-Type: application/json\" http://HOST/ask/{model.name}"


def _example(field: Field) -> Any:
    return {
        "number": 1.5,
        "date": "2024-05-01 12:00",
        "image": "iVBORw0KGgo...",
        "label": next(iter(field.classes), None),
    }.get(field.kind, "a text")


def _answer_example(model: Model) -> Any:
    classes = model.target.classes
    if model.task == "classify" and classes:
        even = [0.9, *[round(0.1 / max(1, len(classes) - 1), 3)] * (len(classes) - 1)]
        return {"answer": classes[0], "probabilities": dict(list(zip(classes, even, strict=True))[:4])}
    if model.task == "regress":
        return {"answer": 12.5}
    if model.task == "detect":
        sides = {"left": 0.1, "top": 0.2, "right": 0.5, "bottom": 0.9}
        return {"answer": [classes[0]], "boxes": [{"class": classes[0], "score": 0.9, **sides}]}
    if model.task == "segment":
        return {"answer": {classes[0]: 1.0}, "size": [2, 2], "classes": list(classes)[:4], "runs": [[0, 4]]}
    return {"answer": "..."}


def _row_schema(model: Model) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for f in model.inputs:
        if f.kind == "label" and len(f.classes) <= 1000:
            properties[f.name] = {"type": ["string", "number", "null"], "examples": list(f.classes)[:8]}
        else:
            properties[f.name] = SCHEMAS.get(f.kind, {"type": "string"})
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _answer_schema(model: Model) -> dict[str, Any]:
    number, share = {"type": "number"}, {"type": "number", "minimum": 0, "maximum": 1}
    kinds: dict[str, dict[str, Any]] = {
        "classify": {"answer": {}, "probabilities": {"type": "object", "additionalProperties": share}},
        "regress": {"answer": number},
        "detect": {"answer": {"type": "array"}, "boxes": {"type": "array", "items": {"type": "object"}}},
        "segment": {"answer": {"type": "object"}, "size": {"type": "array"}, "runs": {"type": "array"}},
        "verify": {"answer": {"type": "string"}, "distance": number, "threshold": number},
    }
    return {"type": "object", "properties": kinds.get(model.task, {"answer": {}}), "required": ["answer"]}


def _post(
    name: str, about: str, content: dict[str, Any], refused: dict[str, Any], kind: str = "application/json"
) -> dict[str, Any]:
    good = {"description": about, "content": {kind: {"schema": {}}}}
    return {
        "summary": about,
        "operationId": name,
        "requestBody": {"required": True, "content": content},
        "responses": {"200": good, **refused},
    }


def _tensors(model: Model) -> dict[str, Any]:
    """What the Open Inference Protocol takes: a tensor per column."""
    shape, data = {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1}, {"type": "array"}
    named: dict[str, Any] = {
        "name": {"enum": [f.name for f in model.inputs]},
        "datatype": {"type": "string"},
        "shape": shape,
        "data": data,
    }
    tensor = {"type": "object", "properties": named, "required": list(named)}
    inputs = {"type": "array", "items": tensor, "minItems": len(model.inputs), "maxItems": len(model.inputs)}
    return {"type": "object", "properties": {"id": {"type": "string"}, "inputs": inputs}, "required": ["inputs"]}


def openapi(models: Sequence[Model]) -> dict[str, Any]:
    """OpenAPI 3.1 of the server, the models' own columns and answers in it."""
    error = {
        "description": "refused",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    refused = {code: error for code in ("400", "401", "403", "404", "405", "413", "415", "421", "503", "504")}
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {
        "Error": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    }
    for model in models:
        row, answer = (
            {"$ref": f"#/components/schemas/{model.name}.Row"},
            {"$ref": f"#/components/schemas/{model.name}.Answer"},
        )
        schemas |= {f"{model.name}.Row": _row_schema(model), f"{model.name}.Answer": _answer_schema(model)}
        content: dict[str, Any] = {
            "application/json": {"schema": {"oneOf": [row, {"type": "array", "items": row}]}},
            "multipart/form-data": {"schema": {"type": "object"}},
        }
        if len(model.inputs) == 1 and model.inputs[0].kind in ("text", "sentence", "running"):
            content |= {"text/plain": {"schema": {"type": "string"}}}
        if len(model.inputs) == 1 and model.inputs[0].kind == "image":
            content |= {"image/*": {"schema": {"type": "string", "contentMediaType": "image/*"}}}
        several = {
            "type": "object",
            "properties": {"answers": {"type": "array", "items": answer}},
            "required": ["answers"],
        }
        good = {"description": line(model), "content": {"application/json": {"schema": {"anyOf": [answer, several]}}}}
        paths[f"/ask/{model.name}"] = {
            "post": {"summary": line(model), "operationId": f"ask_{model.name}", "requestBody": {"required": True, "content": content},
                     "responses": {"200": good, **refused}}
        }  # fmt: skip
        paths[f"/v2/models/{model.name}/infer"] = {
            "post": _post(
                f"infer_{model.name}",
                "the Open Inference Protocol",
                {"application/json": {"schema": _tensors(model)}},
                refused,
            )
        }
        if model.writes:
            wish = {"application/json": {"schema": WISHES}}
            paths[f"/write/{model.name}"] = {
                "post": _post(f"write_{model.name}", "a text, in events", wish, refused, "text/event-stream")
            }
    for path in ("/healthz", "/readyz", "/metrics", "/v2"):
        paths[path] = {
            "get": {"operationId": path.strip("/"), "responses": {"200": {"description": "told"}, **refused}}
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lamina", "version": __version__, "description": "Trained nets; see /docs."},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }
