"""What shipped files and the server reach: python bench/ship.py [--quick] PART... (latency throughput overload malformed sigterm swaps cold; all).

Each part enters its figures into bench/results/ship.json, and ship.md is written anew from it. All of it runs on this machine, client and
server on the same cores, traffic on loopback alone; every loop is bounded. Peers have an environment of their own (bench/peers).
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "ship.json"
QUICK = "--quick" in sys.argv
sys.path.insert(0, str(HERE / "peers"))


def models(folder):
    """A lenet of the digits as pack and ONNX file, and a picture."""
    import lamina

    home = Path(os.environ.get("LAMINA_HOME") or Path.home() / ".cache" / "lamina") / "bench-ship"
    if not (home / "lenet" / "score.json").exists():
        lamina.fit("digits", net="lenet", epochs=1 if QUICK else 5, show=False, run=home / "lenet")
    run = lamina.load(home / "lenet")
    table = lamina.open("digits")
    made = io.BytesIO()
    Image.fromarray(table["image"].values.open(0)[..., 0]).save(made, "PNG")
    (folder / "digit.png").write_bytes(made.getvalue())
    return run.ship("pack", folder / "lenet"), run.ship("onnx", folder / "lenet"), folder / "digit.png"


class Server:
    """A server in a process of its own on a free port."""

    def __init__(self, words, port=None):
        self.port = port or free()
        self.process = subprocess.Popen(
            [str(w).replace("PORT", str(self.port)) for w in words], stderr=subprocess.DEVNULL, start_new_session=True
        )
        until = time.monotonic() + 90
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.02)
        self.end()
        raise RuntimeError(f"{Path(words[1]).name} did not start")

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        with contextlib.suppress(ProcessLookupError):  # what a peer leaves behind of its own processes
            os.killpg(self.process.pid, signal.SIGKILL)


def free():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def lamina_server(file, *more):
    port = free()
    return Server([sys.executable, "-m", "lamina", "serve", file, "--port", port, *more], port)


def request(body, kind="image/png", path="/ask"):
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode(
            "latin-1"
        )
        + body
    )


def form(picture):
    """A picture as browsers send it."""
    head = b'--x\r\nContent-Disposition: form-data; name="content"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    return head + picture.read_bytes() + b"\r\n--x--\r\n"


async def once(reader, writer, sent):
    """(status, body, whether the connection closes) of a request on an open connection."""
    writer.write(sent)
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
    return int(lines[0].split()[1]), await reader.readexactly(length), "connection: close" in lines


async def clients(port, count, seconds, sent, least=0):
    """Clients that ask without pause on connections that stay open: (status, seconds) of every answer, and what broke off."""
    found, lost, end = [], [], time.perf_counter() + seconds

    async def one():
        line = None
        while time.perf_counter() < end:
            begun = time.perf_counter()
            try:
                if line is None:
                    line = await asyncio.open_connection("127.0.0.1", port)
                status, _, closes = await asyncio.wait_for(once(*line, sent), 30)
                found.append((status, time.perf_counter() - begun))
                if closes:
                    line[1].close()
                    line = None
                if status == 503:
                    await asyncio.sleep(least)
            except ConnectionRefusedError:
                return
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                lost.append(repr(error))
                line = None
        if line:
            line[1].close()

    await asyncio.gather(*[one() for _ in range(count)])
    return found, lost


def latency(folder):
    """p50 of one picture in process."""
    import lamina

    pack, onnx, _ = models(folder)
    import onnxruntime

    rows = lamina.open("digits").take(np.arange(1))
    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    given = {"image": np.asarray(rows["image"].values.array)}
    opened = {"pack": lamina.load(pack), "onnx": lamina.load(onnx)}
    ways = {name: (lambda o=o: o.outputs(rows)) for name, o in opened.items()}
    ways["onnxruntime by hand"] = lambda: session.run(["probabilities"], given)
    times = {name: [] for name in ways}
    for turn in range(30 if QUICK else 1000):  # in turns, so that what else the machine does meets all alike
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if turn >= 10:
                times[name].append(time.perf_counter() - begun)
    return {name: round(1e3 * statistics.median(t), 4) for name, t in times.items()}


def throughput(folder):
    """Answers a second with 32 clients, in turns."""
    import environments

    _, onnx, picture = models(folder)
    environments.PACKAGES["serve"] = (
        "fastapi",
        "python-multipart",
        "litserve",
        "uvicorn",
        "onnxruntime==1.31.1",
        "numpy==2.4.6",
        "pillow==13.0.0",
    )
    environments.IMPORTS["serve"] = "import fastapi, litserve, onnxruntime"
    environments.ENVIRONMENT_OF["serve_peer"] = "serve"
    sent = request(form(picture), "multipart/form-data; boundary=x")  # LitServe takes no other bytes
    seconds, found = 2 if QUICK else 10, {}
    kinds = ["lamina serve", "fastapi", "litserve"]
    for _ in range(1 if QUICK else 5):
        for kind in kinds:
            try:
                if kind == "lamina serve":
                    server = lamina_server(onnx)
                else:
                    port = free()
                    server = Server(
                        [environments.python_of("serve_peer"), HERE / "peers" / "serve_peer.py", kind, onnx, port], port
                    )
            except (RuntimeError, environments.PeerMissing) as error:
                found[kind] = [str(error)[:200]]
                continue
            with server:
                asyncio.run(clients(server.port, 32, seconds / 4, sent))
                told, lost = asyncio.run(clients(server.port, 32, seconds, sent))
                good = sum(status == 200 for status, _ in told)
                found.setdefault(kind, []).append(round(good / seconds, 1))
                assert not lost or kind != "lamina serve", lost[:3]
    return {k: statistics.median(v) if not isinstance(v[0], str) else v[0] for k, v in found.items()}


def overload(folder):
    """Five times as many clients as the queue holds: how fast refusals come, what becomes of the accepted, and the memory."""
    _, onnx, picture = models(folder)
    with lamina_server(onnx, "--queue", "32") as server:

        def memory():
            text = Path(f"/proc/{server.process.pid}/status").read_text()
            return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS"))) // 1024

        sent = request(picture.read_bytes())
        asyncio.run(clients(server.port, 160, 1, sent))
        before = memory()
        told, lost = asyncio.run(clients(server.port, 160, 3 if QUICK else 60, sent))
        refused = [s for status, s in told if status == 503]
        return {
            "answered": sum(status == 200 for status, _ in told), "refused": len(refused), "lost": len(lost),
            "other": sum(status not in (200, 503) for status, _ in told), "memory_mb": [before, memory()],
            "refusal_ms_p50": round(1e3 * statistics.median(refused), 1) if refused else None,
            "refusal_ms_p99": round(1e3 * float(np.quantile(refused, 0.99)), 1) if refused else None,
        }  # fmt: skip


def malformed(folder):
    """Damaged requests of every form: statuses, and the slowest answer."""
    _, onnx, picture = models(folder)
    random, count = np.random.default_rng(0), 300 if QUICK else 10_000
    row = json.dumps({"image": [[0, 255] * 14] * 28}).encode()
    sent = form(picture)
    kinds = [(picture.read_bytes(), "image/png"), (row, "application/json"), (sent, "multipart/form-data; boundary=x")]
    statuses, slowest, broke = {}, 0.0, 0

    async def run(port):
        nonlocal slowest, broke
        line = None
        for i in range(count):
            content, kind = kinds[i % 3]
            body = bytearray(content)
            for _ in range(1 + i % 7):
                at = int(random.integers(len(body)))
                choice = i % 4
                if choice == 0:
                    body[at] = int(random.integers(256))
                elif choice == 1:
                    del body[at : at + int(random.integers(1, 40))]
                else:
                    body[at:at] = random.choice([b"\\ud800", b"NaN", b"[[", b"\xff", b"1e999", b"\x00", b'"', b"{}"])
            sent = bytearray(request(bytes(body), kind))
            if i % 11 == 0:  # the head too
                sent[int(random.integers(sent.index(b"\r\n\r\n")))] = int(random.integers(256))
            begun = time.perf_counter()
            try:
                line = line or await asyncio.open_connection("127.0.0.1", port)
                status, _, closes = await asyncio.wait_for(once(*line, bytes(sent)), 5 if i % 11 else 0.2)
                statuses[status] = statuses.get(status, 0) + 1
                slowest = max(slowest, time.perf_counter() - begun)
            except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError, IndexError):
                closes, broke = True, broke + (i % 11 != 0)
            if closes or i % 11 == 0:
                if line:
                    line[1].close()
                line = None
        return await once(*(await asyncio.open_connection("127.0.0.1", port)), request(picture.read_bytes()))

    with lamina_server(onnx) as server:
        last = asyncio.run(run(server.port))
        alive = server.process.poll() is None and last[0] == 200
    return {
        "requests": count,
        "statuses": dict(sorted(statuses.items())),
        "slowest_s": round(slowest, 3),
        "hung_or_broke": broke,
        "alive": alive,
    }


def sigterm(folder):
    """Servers that are ended under load: requests whose answer never came."""
    _, onnx, picture = models(folder)
    lost, answered, codes = 0, 0, []

    async def run(server, wait):
        nonlocal lost, answered
        asking = asyncio.create_task(clients(server.port, 8, 20, request(picture.read_bytes())))
        await asyncio.sleep(wait)
        server.process.send_signal(signal.SIGTERM)
        told, broke = await asking
        answered, lost = answered + len(told), lost + len(broke)

    for i in range(3 if QUICK else 100):
        with lamina_server(onnx) as server:
            asyncio.run(run(server, 0.1 + 0.005 * (i % 40)))
            codes.append(server.process.wait(40))
    return {"sigterms": len(codes), "answered": answered, "lost": lost, "exit_codes": sorted(set(codes))}


def swaps(folder):
    """A model's file replaced under load: requests whose answer never came."""
    _, onnx, picture = models(folder)
    content, count = onnx.read_bytes(), 3 if QUICK else 20

    async def run(server):
        asking = asyncio.create_task(clients(server.port, 8, 600, request(picture.read_bytes())))
        for number in range(count):
            aside = onnx.with_suffix(".part")
            aside.write_bytes(content)
            os.replace(aside, onnx)
            server.process.send_signal(signal.SIGHUP)
            until = time.monotonic() + 30
            while await swapped(server.port) <= number and time.monotonic() < until:
                await asyncio.sleep(0.05)
        done = await swapped(server.port)
        server.process.send_signal(signal.SIGTERM)
        told, broke = await asking
        return {"swaps": done, "answered": len(told), "lost": len(broke), "refused": sum(s != 200 for s, _ in told)}

    with lamina_server(onnx) as server:
        return asyncio.run(run(server))


async def swapped(port):
    line = await asyncio.open_connection("127.0.0.1", port)
    _, body, _ = await once(*line, b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    line[1].close()
    return int(
        next((row.split()[-1] for row in body.decode().splitlines() if row.startswith("lamina_swaps_total{")), 0)
    )


def cold(folder):
    """Seconds of a whole `lamina ask FILE picture`, a new process each time."""
    pack, onnx, picture = models(folder)
    found = {}
    for name, file in (("pack", pack), ("onnx", onnx)):
        times = []
        for _ in range(2 if QUICK else 11):
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-m", "lamina", "ask", file, picture], check=True, capture_output=True)
            times.append(time.perf_counter() - begun)
        found[name] = round(statistics.median(times), 3)
    return found


PARTS = {f.__name__: f for f in (latency, throughput, overload, malformed, sigterm, swaps, cold)}


def page(told):
    """ship.md out of the figures."""
    lines = [
        "# Shipped files and the server",
        "",
        "Written by `python bench/ship.py`; medians; client and server share the cores named.",
        "",
    ]
    for name, entry in told.items():
        lines += [
            f"## {name}",
            "",
            (PARTS[name].__doc__ or "").strip(),
            "",
            f"{entry['cores']} core(s), load {entry['load']} when it began{'; quick' if entry['quick'] else ''}.",
            "",
        ]
        lines += [
            "| what | found |",
            "|---|---|",
            *[f"| {k.replace('_', ' ')} | {v} |" for k, v in entry["found"].items()],
            "",
        ]
    return "\n".join(lines)


def main():
    wanted = [w for w in sys.argv[1:] if w in PARTS] or list(PARTS)
    for name in wanted:
        load = round(os.getloadavg()[0], 1)
        with tempfile.TemporaryDirectory() as folder:
            found = PARTS[name](Path(folder))
        told = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        told[name] = {"cores": len(os.sched_getaffinity(0)), "load": load, "quick": QUICK, "found": found}
        RESULTS.write_text(json.dumps(told, indent=1) + "\n")
        RESULTS.with_suffix(".md").write_text(page(told))
        print(name, json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
