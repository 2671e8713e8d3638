"""writing: a text that a trained net writes, piece by piece; what `lamina write` and run.write do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lamina.core.check import within
from lamina.core.errors import SettingError
from lamina.data import _encoding
from lamina.tasks._sampling import Sampling

LENGTH = 500  # tokens, when none is asked for
MOST = 1 << 24


def write(
    trained: Any,
    start: str = "",
    length: int = LENGTH,
    *,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: str | None = None,
) -> Iterator[str]:
    """Pieces of text that go on after `start`: `length` tokens at most, up to the first `stop`, which is not given.

    trained: a run or a pack whose task writes. temperature: 0 takes the likeliest token, 1 draws as the net says; top_k draws
    from so many of the likeliest (0: all), top_p from those that hold this share. The same seed and start give the same text.
    Raises SettingError.
    """
    if not hasattr(trained.task, "write"):
        raise SettingError(f"{trained!r} does not write; train one on a text: lamina train book.txt.")
    within("--length", length, 1, MOST)
    if stop == "":
        raise SettingError("--stop must hold a character or more.")
    return trained.task.write(trained.net, start, length, Sampling(temperature, top_k, top_p, seed), stop)


def show(run: str, start: str, file: str | None, interactive: bool, **texts: str | None) -> None:
    """The whole of `lamina write`: prints the start and what follows as it comes; interactive goes on after every line typed."""
    from lamina import api

    trained = api.load(run)
    wishes: dict[str, Any] = {
        name: _number(name, text) if name != "stop" else text for name, text in texts.items() if text is not None
    }
    if file:
        if start:
            raise SettingError("--start and --file are two beginnings; give one.")
        start = _encoding.content(Path(file))
    if not interactive:
        _stream(start, write(trained, start, **wishes))
        return
    sys.stdout.write("Type a beginning; an empty line or Ctrl-D ends.\n")
    while line := _line():
        _stream("", write(trained, line, **wishes))


def _stream(start: str, pieces: Iterator[str]) -> None:
    _put(start)
    for piece in pieces:
        _put(piece)
    _put("\n")


def _put(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def _line() -> str:
    try:
        return input("> ")
    except EOFError:
        return ""


def _number(name: str, text: str) -> float | int:
    try:
        return float(text) if name in ("temperature", "top_p") else int(text)
    except ValueError:
        kind = "a number" if name in ("temperature", "top_p") else "a whole number"
        raise SettingError(f"--{name.replace('_', '-')} must be {kind}, not '{text}'.") from None
