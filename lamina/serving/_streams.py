"""Streams: texts that a net writes, piece by piece, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from lamina.core.errors import LaminaError
from lamina.serving._errors import Refused
from lamina.serving._model import Model

MOST = 2  # texts that are written at once
LONGEST = 10_000  # tokens of a text
AHEAD = 64  # pieces that are written before the client took them
KNOWN = {
    "start": str,
    "length": int,
    "temperature": (int, float),
    "top_k": int,
    "top_p": (int, float),
    "seed": int,
    "stop": str,
}


def wishes(value: Any) -> dict[str, Any]:
    """The arguments of lamina.writing.write out of JSON. Raises Refused (400)."""
    if not isinstance(value, dict):
        raise Refused(400, f"send an object of {', '.join(KNOWN)}.")
    for name, given in value.items():
        if name not in KNOWN:
            raise Refused(400, f"'{name[:40]}' is not known; there is {', '.join(KNOWN)}.")
        if not isinstance(given, KNOWN[name]) or isinstance(given, bool):
            raise Refused(400, f"'{name}' is of a wrong type.")
    if value.get("length", 1) > LONGEST:
        raise Refused(400, f"'length' must be at most {LONGEST:,} tokens.")
    return value


@dataclass
class Streams:
    """The texts that are being written."""

    running: int = 0
    last: float = math.inf
    """time.monotonic() up to which the server lives"""

    async def begin(self, model: Model, wished: dict[str, Any], until: float) -> AsyncIterator[bytes]:
        """Events "data: {"text": ...}", and at the end one with {"end": why}. Raises Refused (400, 503)."""
        if self.running >= MOST:
            raise Refused(503, f"{MOST} texts are being written; come again later.", 2)
        from lamina.writing import write

        try:
            pieces = write(model.opened, **wished)
        except LaminaError as error:
            raise Refused(400, str(error)) from None
        self.running += 1
        return self._events(pieces, until)

    def end(self, within: float) -> None:
        """Let the texts that are being written end in so many seconds; what they were until then is told."""
        self.last = time.monotonic() + within

    async def _events(self, pieces: Any, until: float) -> AsyncIterator[bytes]:
        loop, line = asyncio.get_running_loop(), asyncio.Queue()
        room, stopped = threading.Semaphore(AHEAD), threading.Event()

        def tell(told: dict[str, str]) -> bool:
            while not stopped.is_set():
                if room.acquire(timeout=0.5):
                    with contextlib.suppress(RuntimeError):  # the loop is closed
                        loop.call_soon_threadsafe(line.put_nowait, told)
                        return True
                    return False
            return False

        def produce() -> None:
            why = "done"
            try:
                for piece in pieces:
                    if not tell({"text": piece}):
                        return
                    if time.monotonic() > min(until, self.last):
                        why = "deadline" if time.monotonic() > until else "the server ends"
                        break
            except LaminaError as error:
                why = str(error)
            except Exception:  # the client is told that it broke off
                why = "it failed inside"
            tell({"end": why})

        threading.Thread(target=produce, daemon=True).start()
        try:
            while True:
                told = await line.get()
                room.release()
                yield f"data: {json.dumps(told, ensure_ascii=False)}\n\n".encode("utf-8", "replace")
                if "end" in told:
                    return
        finally:
            stopped.set()
            self.running -= 1
