"""App: the addresses of the server.

GET / a page to try the models, /docs and /openapi.json; POST /ask and /ask/MODEL; POST /write/MODEL, server-sent events; /healthz,
/readyz, /metrics; /v2/... the Open Inference Protocol (_inference.py). Errors are {"error": one sentence}.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from lamina.core.errors import LaminaError, unknown
from lamina.serving import _describe, _forms, _inference, _rows, _streams
from lamina.serving._errors import Refused
from lamina.serving._gather import Gatherer
from lamina.serving._metrics import Metrics
from lamina.serving._model import Model
from lamina.serving._rows import Row

LOG = logging.getLogger("lamina.serving")
LONGEST = 600.0  # seconds that a request may ask to wait


@dataclass
class Settings:
    """What the flags of `lamina serve` say of answering."""

    queue: int = 256
    wait: float = 0.002
    deadline: float = 30.0
    pixels: int = 25_000_000


@dataclass
class State:
    """The models of a server and their queues."""

    settings: Settings
    metrics: Metrics = field(default_factory=Metrics)
    gatherers: dict[str, Gatherer] = field(default_factory=dict)
    ready: bool = False
    executor: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "lamina-net"))
    retired: list[asyncio.Task] = field(default_factory=list)
    streams: _streams.Streams = field(default_factory=_streams.Streams)

    def put(self, model: Model) -> None:
        """Serve a model, in the place of the one of its name: that answers what it was given, and goes."""
        old = self.gatherers.get(model.name)
        self.gatherers[model.name] = Gatherer(
            model, self.executor, self.metrics, self.settings.queue, self.settings.wait
        )
        if old:
            self.metrics.add("lamina_swaps_total", model=model.name)
            self.retired = [t for t in self.retired if not t.done()]
            self.retired.append(asyncio.get_running_loop().create_task(old.close()))

    def find(self, name: str | None) -> Gatherer:
        """The queue of a model; of the only one without a name. Raises Refused (400, 404)."""
        if name is None:
            if len(self.gatherers) != 1:
                raise Refused(400, f"name a model: POST /ask/MODEL; there is {', '.join(self.gatherers)}.")
            return next(iter(self.gatherers.values()))
        if name not in self.gatherers:
            raise Refused(404, str(unknown("model", name[:60], self.gatherers)))
        return self.gatherers[name]

    async def close(self) -> None:
        """Answer what waits in every queue."""
        await asyncio.gather(*[g.close() for g in self.gatherers.values()], *self.retired)


def app(state: State) -> Callable[..., Awaitable[None]]:
    """The addresses. POST /ask is found without Starlette's router and middlewares, which take a third of such a request."""
    routes = [
        Route("/", _page),
        Route("/docs", _docs),
        Route("/openapi.json", _openapi),
        Route("/ask", ask, methods=["POST"]),
        Route("/ask/{model}", ask, methods=["POST"]),
        Route("/write/{model}", _write, methods=["POST"]),
        Route("/healthz", _alive),
        Route("/readyz", _ready),
        Route("/metrics", _metrics),
        *_inference.routes(),
    ]
    made = Starlette(routes=routes, exception_handlers={Exception: _failed, 404: _http, 405: _http})
    made.state.lamina = state

    async def addresses(scope: dict[str, Any], receive: Any, send: Any) -> None:
        base, _, name = scope["path"].removeprefix("/").partition("/")
        if base != "ask" or scope["method"] != "POST" or "/" in name or scope["path"] == "/ask/":
            await made(scope, receive, send)
            return
        scope["app"], scope["path_params"] = made, {"model": name} if name else {}
        response = await ask(Request(scope))
        await response(scope, receive, send)

    return addresses


def _error(status: int, why: str, again: int | None = None) -> JSONResponse:
    headers = {"retry-after": str(again)} if again else None
    return JSONResponse({"error": why}, status, headers)


async def _http(request: Request, error: Any) -> Response:
    said = {
        404: "there is nothing at this address; /docs tells what there is.",
        405: "this address takes another method.",
    }
    return JSONResponse({"error": said[error.status_code]}, error.status_code, getattr(error, "headers", None))


async def _failed(request: Request, error: Exception) -> Response:
    return _error(500, "it failed inside; the server's log tells why.")


def guarded(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """A handler whose errors become answers of one sentence; what nobody foresaw is logged, and a 500."""

    async def handle(request: Request) -> Response:
        request.scope["lamina.address"] = request.scope["path"].split("/")[1][:20] or "page"
        try:
            return await handler(request)
        except Refused as refused:
            return _error(refused.status, refused.why, refused.again)
        except LaminaError as error:
            return _error(400, _rows.said(error))
        except asyncio.CancelledError:
            raise
        except Exception:
            LOG.exception("a request failed inside")
            return _error(500, "it failed inside; the server's log tells why.")

    return handle


def deadline(request: Request, settings: Settings) -> float:
    """time.monotonic() up to which a request waits: X-Deadline seconds, or the server's. Raises Refused (400)."""
    text = request.scope["lamina.headers"].get(b"x-deadline")
    if text is None:
        return time.monotonic() + settings.deadline
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 < seconds <= LONGEST:
        raise Refused(400, f"X-Deadline must be 0 to {LONGEST:g} seconds.")
    return time.monotonic() + seconds


@guarded
async def ask(request: Request) -> Response:
    """POST /ask and /ask/MODEL."""
    state: State = request.app.state.lamina
    gatherer = state.find(request.path_params.get("model"))
    gatherer.admit()
    rows, one = await _sent(request, gatherer.model, state.settings.pixels)
    found, bad = await answered(gatherer, rows, deadline(request, state.settings))
    notes = [f"{where}: {why}" for where, why in bad]
    if one and len(found) == 1:
        return JSONResponse({**found[0][1].to_json(), **({"notes": notes} if notes else {})})
    told = [{"name": name, **answer.to_json()} for name, answer in found]
    return JSONResponse({"answers": told, **({"notes": notes} if notes else {})})


async def answered(
    gatherer: Gatherer, rows: list[Row], until: float
) -> tuple[list[tuple[str, Any]], list[tuple[str, str]]]:
    """(name, answer) of rows that came together, and (where, why) of values that were not understood."""
    if len(rows) == 1 and gatherer.model.gathers:
        answer, notes = await gatherer.ask(rows[0], until)
        return [(rows[0].name, answer)], [("row 0", note.partition(": ")[2]) for note in notes]
    return await gatherer.ask(lambda model: model.answers(rows), until)


async def _sent(request: Request, model: Model, pixels: int) -> tuple[list[Row], bool]:
    """Rows of a request by its content type, and whether it was one row. Raises Refused."""
    body: bytes = request.scope["lamina.body"]
    whole = request.scope["lamina.headers"].get(b"content-type", b"").decode("latin-1")
    kind = whole.partition(";")[0].strip().lower()
    if not body:
        raise Refused(400, "the body is empty; /docs tells what this model takes.")
    if kind == "multipart/form-data":
        parts = _forms.usual(whole, body)
        parts = await _forms.any_form(request.headers, body) if parts is None else parts
        return _rows.of_form(parts, model.inputs, pixels)
    if kind in ("application/json", "text/json") or (kind.endswith("+json")):
        return _rows.of_json(_rows.strict(body), model.inputs, pixels)
    if kind.startswith(("image/", "text/plain")) or kind in ("", "application/octet-stream"):
        return _rows.of_file("file", body, model.inputs, pixels), True
    raise Refused(415, "send application/json, multipart/form-data, image/*, text/plain or application/octet-stream.")


@guarded
async def _write(request: Request) -> Response:
    state: State = request.app.state.lamina
    gatherer = state.find(request.path_params["model"])
    if not gatherer.model.writes:
        raise Refused(400, f"{gatherer.model.name} does not write; POST /ask/{gatherer.model.name} asks it.")
    wishes = _streams.wishes(_rows.strict(request.scope["lamina.body"] or b"{}"))
    pieces = await state.streams.begin(gatherer.model, wishes, deadline(request, state.settings))
    return StreamingResponse(pieces, media_type="text/event-stream")


@guarded
async def _page(request: Request) -> Response:
    state: State = request.app.state.lamina
    html, policy = _describe.page([g.model for g in state.gatherers.values()])
    return HTMLResponse(html, headers={"content-security-policy": policy, "referrer-policy": "no-referrer"})


@guarded
async def _docs(request: Request) -> Response:
    state: State = request.app.state.lamina
    html, policy = _describe.docs([g.model for g in state.gatherers.values()])
    return HTMLResponse(html, headers={"content-security-policy": policy})


@guarded
async def _openapi(request: Request) -> Response:
    return JSONResponse(_describe.openapi([g.model for g in request.app.state.lamina.gatherers.values()]))


@guarded
async def _alive(request: Request) -> Response:
    return JSONResponse({"alive": True})


@guarded
async def _ready(request: Request) -> Response:
    state: State = request.app.state.lamina
    return JSONResponse({"ready": state.ready, "models": list(state.gatherers)}, 200 if state.ready else 503)


@guarded
async def _metrics(request: Request) -> Response:
    state: State = request.app.state.lamina
    waiting = [({"model": n}, float(len(g.queue))) for n, g in state.gatherers.items()]
    exact = [({"model": n}, float(g.model.sizes[-1])) for n, g in state.gatherers.items()]
    text = state.metrics.text({"lamina_waiting": waiting, "lamina_exact_rows": exact})
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")
