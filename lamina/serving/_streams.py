"""Streams: texts that a net writes, piece by piece, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from lamina.core.errors import LaminaError
from lamina.serving._errors import Refused
from lamina.serving._model import Model

MOST = 2  # texts that are written at once
LONGEST = 10_000  # tokens of a text
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
    tasks: set[threading.Thread] = field(default_factory=set)

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

    async def _events(self, pieces: Any, until: float) -> AsyncIterator[bytes]:
        line: queue.Queue = queue.Queue(64)
        stopped = threading.Event()

        def produce() -> None:
            why = "done"
            try:
                for piece in pieces:
                    while not stopped.is_set():
                        try:
                            line.put({"text": piece}, timeout=0.5)
                            break
                        except queue.Full:
                            continue
                    if stopped.is_set() or time.monotonic() > until:
                        why = "deadline"
                        break
            except LaminaError as error:
                why = str(error)
            except Exception:  # the client is told that it broke off
                why = "it failed inside"
            while not stopped.is_set():
                try:
                    line.put({"end": why}, timeout=0.5)
                    return
                except queue.Full:
                    continue

        thread = threading.Thread(target=produce, daemon=True)
        thread.start()
        try:
            loop = asyncio.get_running_loop()
            while True:
                told = await loop.run_in_executor(None, line.get)
                yield f"data: {json.dumps(told, ensure_ascii=False)}\n\n".encode("utf-8", "replace")
                if "end" in told:
                    return
        finally:
            stopped.set()
            self.running -= 1
