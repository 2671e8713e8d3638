"""Patient: uvicorn for clients that are slow, or many: a head, and a body, must come within some seconds, and all who wait are let in at once."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, cast

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST = 1 << 16  # bytes of a head
ATTACH_FILTER = 26  # Linux' SO_ATTACH_FILTER, which socket does not name


class _Refused:
    """Stands for what answers a request where there was no need for it."""

    response_complete, message_event = True, asyncio.Event()


REFUSED: Any = _Refused()


def protocol(seconds: float, linger: float, refusal: Callable[[bytes, dict[str, Any]], bytes | None]) -> type:
    """A class of connections. `linger`: seconds in which a connection that was just accepted may send its first request.

    `refusal`: by url and head (ASGI's scope) the answer to a request that came at once and is not let in; None for any other.
    """

    class Patient(HttpToolsProtocol):
        """One connection."""

        _late: asyncio.TimerHandle | None = None
        _head, _whole = True, False
        """whether a head is coming, and whether a request came whole; one that comes at once needs no timer"""
        _fresh = False
        """whether the request began with what came last, which may hold the end of another one too"""
        _held = 0
        _body: list[bytes] | None = None
        """what came behind a head that nobody was told of yet"""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._late = self.loop.call_later(seconds, self._cut)

        def _cut(self) -> None:
            self._late = None
            if self.transport is not None and not self.transport.is_closing():
                self.transport.abort() if hasattr(self.transport, "abort") else self.transport.close()

        def shutdown(self) -> None:
            """The server ends. A request may be on its way: the first of a connection that was just accepted, or the next one."""
            if self.cycle is None or self.cycle.response_complete:
                self.loop.call_later(linger, super().shutdown)
            else:
                super().shutdown()

        def data_received(self, data: bytes) -> None:
            self._fresh = False
            super().data_received(data)
            if self._body is not None and not self.transport.is_closing():  # there is more to come of it
                try:
                    self._begin()
                except (httptools.HttpParserError, UnicodeDecodeError):
                    self.send_400_response("Invalid HTTP request received.")
                    return
            if self._whole and self.cycle is not None and (self.cycle is REFUSED or not self.cycle.response_complete):
                return
            if self._head:
                self._held += 0 if self._fresh else len(data)
            if self._late is None:
                self._late = self.loop.call_later(seconds, self._cut)
            if self._held > MOST:
                self._calm()
                self._cut()

        def on_message_begin(self) -> None:
            self._head = self._fresh = True
            self._whole, self._held, self._body = False, 0, None
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._head = False
            self._calm()
            free, parser = self.cycle is None or self.cycle.response_complete, cast(Any, self.parser)
            if free and not self.expect_100_continue and not parser.should_upgrade():
                self._body = []
            else:
                super().on_headers_complete()

        def _begin(self) -> None:
            """Let a request in whose head and body, as far as it came, were held."""
            held, self._body = self._body, None
            super().on_headers_complete()
            for part in held or []:
                super().on_body(part)

        def on_body(self, body: bytes) -> None:
            if self._body is None:
                super().on_body(body)
            else:
                self._body.append(body)

        def on_message_complete(self) -> None:
            self._whole = True
            self._calm()
            if self._body is not None:
                scope, parser = cast(dict[str, Any], self.scope), cast(Any, self.parser)
                scope["method"] = parser.get_method().decode("ascii")
                told = refusal(self.url, scope) if parser.should_keep_alive() else None
                if told:
                    self._body, self.cycle = None, REFUSED
                    self.transport.write(told)
                    self.on_response_complete()
                    return
                self._begin()
            super().on_message_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._calm()
            super().connection_lost(exc)

        def _calm(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Patient


def _deafen(listening: socket.socket) -> None:
    """Let nobody new come to a listening socket, on Linux: a filter drops what asks for a connection (socket(7), SO_ATTACH_FILTER).

    Who comes between the last one that is let in and the end of listening would be cut off; who is not heard tries again and is
    refused, which tells that nothing was begun.
    """
    if sys.platform == "linux":
        nothing = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))  # BPF: return 0 bytes of the packet
        with contextlib.suppress(OSError):
            listening.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(nothing)))


class Server(uvicorn.Server):
    """uvicorn's server. uvloop lets one connection in per turn of its loop: of 160 new ones the last would wait for a second.

    `alone`: no other process listens at its sockets, which may become deaf when it ends.
    """

    def __init__(self, config: uvicorn.Config, alone: bool) -> None:
        super().__init__(config)
        self._alone = alone

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        self._coming: set[asyncio.Task] = set()
        own = not isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop)
        self._listening = list(sockets or []) if own else []
        await super().startup(sockets=[] if own else sockets)
        for listening in self._listening:
            listening.listen(self.config.backlog)
            asyncio.get_running_loop().add_reader(listening, self._enter, listening)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen no more, and wait for what runs; who has come and was not let in yet still is, where the loop lets this class do it."""
        for listening in self._listening:
            asyncio.get_running_loop().remove_reader(listening)
            if self._alone:
                _deafen(listening)
            self._enter(listening)
        await super().shutdown(sockets)

    def _enter(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            for _ in range(self.config.backlog):
                line, _ = listening.accept()
                line.setblocking(False)
                task = loop.create_task(loop.connect_accepted_socket(self._protocol, line))
                self._coming.add(task)
                task.add_done_callback(self._coming.discard)
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # no more files may be open
            loop.remove_reader(listening)
            loop.call_later(1, self._again, listening)

    def _again(self, listening: socket.socket) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(listening, self._enter, listening)

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        return kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
