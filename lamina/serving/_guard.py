"""Guard: what is checked before a request is looked at: host, origin, token, and length.

A page of another origin could ask a server on this machine through the browser of who sits at it, and by DNS rebinding even
read the answers: so Host must be an address or a known name, and Origin, where there is one, this server's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
import ipaddress
import json
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from lamina.core.errors import SettingError
from lamina.serving._errors import Refused
from lamina.serving._metrics import Metrics

OPEN = ("/healthz", "/readyz")  # asked without a token
HEARD = 2.0  # seconds that a body which is too long may still come
SHORTEST = 16  # characters of a token
PLAIN = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))  # headers of every answer
WRITTEN = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: Any, metrics: Metrics, names: Sequence[str], token: str | None, body: int) -> None:
        self.app, self.metrics, self.body = app, metrics, body
        self.names = {n.lower() for n in (*names, "localhost", socket.gethostname())}
        self.known = functools.lru_cache(256)(self._known)
        self.token = token.encode() if token else None
        self.draining = False

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = scope["lamina.headers"] = dict(scope["headers"])
        status, begun = 500, time.monotonic()

        async def counted(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *PLAIN]
                if self.draining or status == 413:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            self.admit(scope, headers)
            scope["lamina.body"] = await self._body(receive)
            await self.app(scope, receive, counted)
        except Refused as refused:
            await answer(counted, refused.status, {"error": refused.why}, refused.again, more=refused.status == 413)
            if refused.status == 413:
                await _heard(receive)
                await send({"type": "http.response.body", "body": b""})
        finally:
            self.metrics.request(scope.get("lamina.address", "other"), status, time.monotonic() - begun)

    def admit(self, scope: dict[str, Any], headers: dict[bytes, bytes]) -> None:
        """Raises Refused for a request that is not answered, by its head."""
        host = headers.get(b"host", b"").decode("latin-1")
        if not self.known(host):
            raise Refused(421, "this server does not go by that name; lamina serve --name NAME adds one.")
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower() not in (
            f"http://{host}".lower(),
            f"https://{host}".lower(),
        ):
            raise Refused(403, "pages of other origins are not answered.")
        if headers.get(b"sec-fetch-site") == b"cross-site" and scope["method"] != "GET":
            raise Refused(403, "pages of other origins are not answered.")
        if self.token and scope["path"] not in OPEN and not (scope["method"] == "GET" and scope["path"] == "/"):
            given = headers.get(b"authorization", b"")
            scheme, _, word = given.partition(b" ")
            if not (hmac.compare_digest(word, self.token) and scheme.lower() == b"bearer"):
                raise Refused(401, "a token is needed: Authorization: Bearer TOKEN.")
        if headers.get(b"content-encoding", b"identity") not in (b"identity", b""):
            raise Refused(415, "bodies are taken as they are, not compressed.")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            raise Refused(400, "Content-Length is no number.")
        if int(length[:19]) > self.body:
            raise Refused(413, f"a body may have {self.body:,} bytes.")

    def _known(self, host: str) -> bool:
        name = (
            host.lower().rpartition(":")[0]
            if host.rpartition(":")[2].isdigit() and not host.endswith("]")
            else host.lower()
        )
        try:
            ipaddress.ip_address(name.strip("[]"))
            return True
        except ValueError:
            return name in self.names

    async def _body(self, receive: Any) -> bytes:
        """The whole body, no longer than allowed; that it comes in time sees _patient.py to. Raises Refused (413)."""
        parts, held = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "the request broke off.")
            parts.append(message.get("body", b""))
            held += len(parts[-1])
            if held > self.body:
                raise Refused(413, f"a body may have {self.body:,} bytes.")
            if not message.get("more_body"):
                return b"".join(parts)


async def _heard(receive: Any) -> None:
    """Let a client say what nobody reads, for a while: one whose connection closes while it sends never sees why."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HEARD):
            while (await receive()).get("more_body"):
                pass


async def answer(send: Send, status: int, value: Any, again: int | None = None, more: bool = False) -> None:
    """Send JSON. `more`: the caller ends the answer."""
    body, headers = error(status, value, again)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": more})


def error(status: int, value: Any, again: int | None = None) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Body and headers of an answer in JSON."""
    body = WRITTEN(value).encode("utf-8", "replace")
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"retry-after", str(again).encode())] if again else []
    headers += [(b"www-authenticate", b"Bearer")] if status == 401 else []
    return body, headers


def permitted(address: str, token: str | None, insecure: bool) -> None:
    """Raises SettingError where a server would answer other machines unasked."""
    if token is not None and len(token) < SHORTEST:
        raise SettingError(f"--token must have {SHORTEST} characters or more.")
    try:
        loopback = address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        raise SettingError(
            f"--address must be an address such as 127.0.0.1 or 0.0.0.0, not '{address[:60]}'."
        ) from None
    if not loopback and not token and not insecure:
        raise SettingError(
            f"{address} can be reached by other machines: give --token TOKEN, or --insecure to answer everybody."
        )
