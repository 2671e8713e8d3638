"""Gather: rows of many requests wait in a bounded queue and are answered together by one thread, which the net never shares.

A row that finds the thread idle is answered at once, unless the last batch had several: then others are waited for, `wait` seconds
at most. A row whose deadline passes while it waits is not computed. A model that is replaced answers what it was given.

A batch that takes no more than QUICK seconds is answered where the requests are read, with what came in one turn of the loop:
two threads of Python would only wait for each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from lamina.core.errors import LaminaError
from lamina.serving import _rows
from lamina.serving._errors import Refused
from lamina.serving._metrics import Metrics
from lamina.serving._model import Model
from lamina.serving._rows import Row

QUICK = 0.02  # seconds that no request may be read, since a batch is answered


@dataclass
class Waiting:
    """What one request waits for."""

    work: Any
    """a Row that may be gathered, or a function to be called with the model"""
    future: asyncio.Future
    deadline: float
    """time.monotonic()"""


class Gatherer:
    """The queue before one model."""

    def __init__(self, model: Model, executor: Executor, metrics: Metrics, most: int, wait: float) -> None:
        self.model, self.executor, self.metrics, self.most, self.wait = model, executor, metrics, most, wait
        self.queue: deque[Waiting] = deque()
        self.row_seconds, self.last = max(model.row_seconds, 1e-5), 1
        self.coming = 0
        """requests that came whole and were let in, and are not in the queue yet (expect)"""
        self._some, self._closed = asyncio.Event(), False
        self._pump = asyncio.get_running_loop().create_task(self._run())

    def admit(self) -> None:
        """Raises Refused (503) where the queue is full; it is asked before a request is decoded."""
        if len(self.queue) + self.coming >= self.most:
            self.metrics.add("lamina_refused_total", model=self.model.name, why="full")
            again = math.ceil(len(self.queue) * self.row_seconds)
            raise Refused(503, f"{self.most} requests wait already; come again later.", max(1, again))

    def expect(self) -> None:
        """Keep a place for a request that came whole, until what answers it begins; there are no others in between."""
        self.coming += 1
        asyncio.get_running_loop().call_soon(self._came)

    def _came(self) -> None:
        self.coming -= 1

    async def ask(self, work: Row | Callable[[Model], Any], deadline: float) -> Any:
        """The answer (and notes) of a row, or what a function of the model returns. Raises Refused (503, 504), LaminaError."""
        self.admit()
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.queue.append(Waiting(work, future, deadline))
        self._some.set()
        late = loop.call_later(deadline - time.monotonic(), _late, future)
        try:
            return await future
        finally:
            late.cancel()

    async def close(self) -> None:
        """Answer what waits, and end."""
        self._closed = True
        self._some.set()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pump

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self.queue:
                if self._closed:
                    return
                self._some.clear()
                await self._some.wait()
                continue
            several = self.last > 1 and len(self.queue) < min(self.last, self.model.sizes[-1])
            if self._most() or (several and self.wait and not self._closed):
                await asyncio.sleep(0 if self._most() else self.wait)
            part = self._next()
            if not part:
                continue
            begun, works = time.monotonic(), [w.work for w in part]
            if len(part) <= self._most() and all(isinstance(w, Row) and w.light for w in works):
                found = _answered(self.model, works)
            else:
                found = await loop.run_in_executor(self.executor, _answered, self.model, works)
            self.last, seconds = len(part), time.monotonic() - begun
            self.row_seconds += 0.1 * (seconds / len(part) - self.row_seconds)
            self.metrics.batch(self.model.name, len(part), seconds)
            for waiting, answer in zip(part, found, strict=True):
                if waiting.future.done():
                    continue
                if isinstance(answer, BaseException):
                    waiting.future.set_exception(answer)
                else:
                    waiting.future.set_result(answer)

    def _most(self) -> int:
        """Rows that are answered without a thread; 0 where one takes too long for that."""
        return int(QUICK / self.row_seconds) if self.model.light else 0

    def _next(self) -> list[Waiting]:
        """The requests whose turn it is: several rows, or one other."""
        now, part = time.monotonic(), []
        most = self.model.fitting(min(len(self.queue), self._most() or len(self.queue)))
        while self.queue and len(part) < most:
            first = self.queue[0]
            if first.future.done() or first.deadline <= now:
                self.queue.popleft()
            elif isinstance(first.work, Row):
                part.append(self.queue.popleft())
            else:
                return part or [self.queue.popleft()]
        return part


def _late(future: asyncio.Future) -> None:
    if not future.done():
        future.set_exception(Refused(504, "the deadline passed before there was an answer."))


def _answered(model: Model, works: list[Any]) -> list[Any]:
    """Per piece of work its answer, or the exception that it raised; in the thread of the model."""
    if len(works) == 1 and not isinstance(works[0], Row):
        return [_tried(works[0], model)]
    found: list[Any] = [None] * len(works)
    kinds: dict[tuple, list[tuple[int, Any]]] = {}
    for i, row in enumerate(works):
        table = _tried(model.read, row)
        if isinstance(table, BaseException):
            found[i] = table
        else:
            kinds.setdefault(model.kind(table), []).append((i, table))
    for part in kinds.values():
        answers = _tried(model.together, [table for _, table in part])
        for place, (i, table) in enumerate(part):
            found[i] = answers if isinstance(answers, BaseException) else (answers[place], model.notes(table))
    return found


def _tried(function: Callable[..., Any], *given: Any) -> Any:
    try:
        return function(*given)
    except LaminaError as error:
        return error if isinstance(error, Refused) else Refused(400, _rows.said(error))
    except Exception as error:  # of one request, which shall not end the thread
        return error
