"""serve: the process of `lamina serve`: opens the models, listens, swaps models whose files change, and ends without losing a request.

SIGTERM or Ctrl-C: /readyz says no, answers ask for their connections to be closed, what was accepted is answered, then the process
ends. SIGHUP, or another content of a model's file, opens it anew beside the old one; a file that cannot be opened changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import multiprocessing
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.core import device
from lamina.core.check import within
from lamina.core.errors import LaminaError, SettingError
from lamina.serving._guard import Guard, permitted

LOG = logging.getLogger("lamina.serving")
NEEDED = ("starlette", "uvicorn", "httptools", "python_multipart")
LINGER = 0.25  # seconds in which connections that stay open are told to close
DRAIN = 30  # seconds that accepted requests may still take
CONNECTIONS = 2048
BACKLOG = 2048


@dataclass(frozen=True)
class Options:
    """What is served and how."""

    models: tuple[str, ...]
    """paths of packs, ONNX files and runs, or NAME=PATH"""
    address: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    insecure: bool = False
    names: tuple[str, ...] = ()
    workers: int = 1
    queue: int = 256
    batch: int = 64
    wait_ms: float = 2.0
    deadline: float = 30.0
    body_mb: float = 32.0
    pixels: int = 25_000_000
    seconds: float = 20.0
    watch: bool = True


def checked(options: Options) -> Options:
    """The options, a token made where one is asked for without a word. Raises SettingError."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingError(f"{missing[0]} is not installed; pip install 'lamina[serve]'.")
    permitted(options.address, options.token, options.insecure)
    within("--port", options.port, 0, 65_535)
    within("--workers", options.workers, 1, 64)
    within("--queue", options.queue, 1, 1 << 20)
    within("--batch", options.batch, 1, 64)
    return options


def show(words: dict[str, Any]) -> None:
    """The whole of `lamina serve`."""
    token = words.pop("token")
    if token == "":
        token = os.environ.get("LAMINA_TOKEN") or secrets.token_urlsafe(24)
        if "LAMINA_TOKEN" not in os.environ:
            sys.stderr.write(f"token: {token}\n")
    given: dict[str, Any] = {k: v for k, v in words.items() if v is not None}
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    options = checked(Options(token=token, **given))
    from lamina.serving._model import named

    named(options.models)
    listening = bound(options)
    host = f"[{options.address}]" if ":" in options.address else options.address
    where = f"http://{host}:{listening.getsockname()[1]}/"
    with listening:
        if options.workers == 1:
            run(serve(options, listening, lambda _: _tell(f"{where} is ready; Ctrl-C ends it.")))
        else:
            _several(options, listening, where)


def _tell(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()


def bound(options: Options) -> socket.socket:
    """A socket that will listen. Raises SettingError where the port is taken."""
    family = socket.AF_INET6 if ":" in options.address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((options.address, options.port))
    except OSError as error:
        made.close()
        raise SettingError(f"{options.address}:{options.port} cannot be listened on: {error.strerror}.") from None
    made.setblocking(False)
    return made


def _several(options: Options, listening: socket.socket, where: str) -> None:
    """Processes that share the socket; one that dies is begun anew, all end together."""
    context = multiprocessing.get_context("spawn")
    ending, processes = {"now": False}, []
    hang_up = getattr(signal, "SIGHUP", None)

    def begin() -> Any:
        ready = context.Event()
        process = context.Process(target=_work, args=(options, listening, options.workers, ready))
        before = signal.signal(hang_up, signal.SIG_IGN) if hang_up else None  # it would end a process that only begins
        process.start()
        if hang_up:
            signal.signal(hang_up, before)
        return process, ready

    def stop(number: int, _: Any) -> None:
        ending["now"] = True

    def again(number: int, _: Any) -> None:
        for process, _ in processes:
            if process.is_alive():
                os.kill(process.pid, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    processes += [begin() for _ in range(options.workers)]
    if hang_up:
        signal.signal(hang_up, again)
    told, failed = False, False
    while not ending["now"] and not failed:
        for i, (process, ready) in enumerate(processes):
            process.join(0.5 / len(processes))
            if not process.is_alive() and not ending["now"]:
                failed = not ready.is_set() or process.exitcode == 2
                if failed:
                    break
                processes[i] = begin()
        if not told and all(ready.is_set() for _, ready in processes):
            told = True
            _tell(f"{where} is served by {options.workers} processes; Ctrl-C ends them.")
    for process, _ in processes:
        if process.is_alive():
            process.terminate()
    for process, _ in processes:
        process.join()
    if failed:
        raise SettingError("a process of the server ended at once; its message stands above.")


def _work(options: Options, listening: socket.socket, workers: int, ready: Any) -> None:
    """One of several processes: the cores are divided among them."""
    threads = str(max(1, device.cores() // workers))
    os.environ["OMP_NUM_THREADS"] = threads
    os.environ["LAMINA_THREADS"] = threads
    try:
        run(serve(options, listening, lambda _: ready.set()))
    except LaminaError as error:
        _tell(f"lamina: {error}")
        sys.exit(2)


def run(work: Coroutine[Any, Any, None]) -> None:
    """asyncio.run on uvloop, where that is installed: it does not exist for Windows."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


async def serve(options: Options, listening: socket.socket, ready: Callable[[Callable[[], Any]], Any]) -> None:
    """Open the models and answer until a signal, or what `ready` is given, ends it. Raises LaminaError where a model cannot be opened."""
    import uvicorn

    from lamina.serving import _app, _door, _patient
    from lamina.serving._model import named, opened

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    paths = named(options.models)
    settings = _app.Settings(options.queue, options.wait_ms / 1000, options.deadline, options.pixels)
    state = _app.State(settings)
    guard = Guard(
        _app.app(state),
        state.metrics,
        (options.address, *options.names),
        options.token,
        int(options.body_mb * 1e6),
    )
    config = uvicorn.Config(
        guard, http=_patient.protocol(options.seconds, LINGER, _door.Door(state, guard).refusal), ws="none", lifespan="off", access_log=False, log_config=None,
        proxy_headers=False, server_header=False, timeout_keep_alive=15,
        timeout_graceful_shutdown=DRAIN, limit_concurrency=CONNECTIONS, backlog=BACKLOG,
    )  # fmt: skip
    server = _patient.Server(config, alone=options.workers == 1)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    loop, ending, again = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    with _signals(loop, ending, again):
        for name, path in paths.items():  # before anybody is listened to
            model = await asyncio.to_thread(opened, name, path, options.batch)
            _announce(model)
            state.put(model)
        running = loop.create_task(server.serve([listening]))
        while not server.started and not running.done():
            await asyncio.sleep(0.005)
        state.ready = True
        ready(lambda: loop.call_soon_threadsafe(ending.set))
        watcher = loop.create_task(_watch(state, paths, options, again))
        done, _ = await asyncio.wait({running, loop.create_task(ending.wait())}, return_when=asyncio.FIRST_COMPLETED)
        state.ready, guard.draining = False, True
        state.streams.end(DRAIN - 5)
        watcher.cancel()
        if running not in done:
            await asyncio.sleep(LINGER)
        server.should_exit = True
        await running
        await state.close()
        state.executor.shutdown()
    _tell(f"Ended; requests that came were answered: {state.metrics.count('lamina_requests_total'):.0f}.")


def _announce(model: Any) -> None:
    said = f"up to {model.sizes[-1]} rows at once, to the bit as alone" if model.sizes[-1] > 1 else "row by row"
    if model.gathers and model.sizes[-1] == 1:
        said += " (several rows at once would change the last bits here)"
    _tell(f"{model.name}: {model.task} {model.target.name}, {model.net}; answers {said}")


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, ending: asyncio.Event, again: asyncio.Event) -> Any:
    numbers = [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    set_to = {number: again.set if number not in (signal.SIGTERM, signal.SIGINT) else ending.set for number in numbers}
    before = {}
    try:
        for number, action in set_to.items():
            try:
                loop.add_signal_handler(number, action)
            except (
                NotImplementedError,
                RuntimeError,
                ValueError,
            ):  # Windows, or a thread: the first one ends it there too
                with contextlib.suppress(ValueError):
                    before[number] = signal.signal(number, lambda *_, a=action: loop.call_soon_threadsafe(a))
        yield
    finally:
        for number in set_to:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.remove_signal_handler(number)
        for number, handler in before.items():
            signal.signal(number, handler)


async def _watch(state: Any, paths: dict[str, Path], options: Options, again: asyncio.Event) -> None:
    """Open a model anew after SIGHUP, or when its file is another one and has not changed for a second."""
    from lamina.serving._model import opened

    seen = {name: stamp(path) for name, path in paths.items()}
    pending: dict[str, Any] = {}
    while True:
        asked = False
        try:
            await asyncio.wait_for(again.wait(), 1.0)
            again.clear()
            asked = True
        except TimeoutError:
            if not options.watch:
                continue
        for name, path in paths.items():
            now = stamp(path)
            changed = now is not None and now != seen[name]
            steady = pending.get(name) == now
            pending[name] = now
            if not asked and not (changed and steady):
                continue
            seen[name] = now
            try:
                model = await asyncio.to_thread(opened, name, path, options.batch)
            except LaminaError as error:
                _tell(f"{name} stays as it was: {error}")
                continue
            state.put(model)
            _announce(model)


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What tells that a file is another one; None where there is none."""
    try:
        found = (path / "best.safetensors" if path.is_dir() else path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
