"""Door: requests that a full queue cannot take are refused where they are read: no task is begun for them.

A server that is asked more than it can answer has little else to do: what a refusal costs is how long the next one waits.
"""

from __future__ import annotations

from typing import Any

from lamina.core.errors import LaminaError
from lamina.serving._errors import Refused
from lamina.serving._guard import PLAIN, Guard, error


class Door:
    """Before the queues of a server."""

    def __init__(self, state: Any, guard: Guard) -> None:
        self.state, self.guard = state, guard

    def refusal(self, url: bytes, scope: dict[str, Any]) -> bytes | None:
        """The whole answer (503) to a POST that came whole and finds its queue full; None for any other, which is let in.

        `scope`: method and headers, as ASGI names them.
        """
        base, _, name = url.partition(b"?")[0].removeprefix(b"/").partition(b"/")
        if base != b"ask" or scope["method"] != "POST" or not name.isascii() or b"%" in name:
            return None
        try:
            gatherer = self.state.find(name.decode() or None)
            self.guard.admit({**scope, "path": url.decode("latin-1")}, dict(scope["headers"]))
        except LaminaError:  # the usual way says what is wrong
            return None
        try:
            gatherer.admit()
        except Refused as refused:
            self.state.metrics.request("ask", refused.status, 0.0)
            return self._written(refused)
        gatherer.expect()
        return None

    def _written(self, refused: Refused) -> bytes:
        body, headers = error(refused.status, {"error": refused.why}, refused.again)
        closing = [(b"connection", b"close")] if self.guard.draining else []
        lines = [b": ".join(header) for header in (*headers, *PLAIN, *closing)]
        return b"\r\n".join([b"HTTP/1.1 503 Service Unavailable", *lines, b"", body])
