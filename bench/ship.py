"""What shipped files and the server reach: python bench/ship.py [--quick] PART... (latency throughput overload malformed schema sigterm swaps cold; all).

Each part enters its figures into bench/results/ship.json, and ship.md is written anew from it. All of it runs on this machine, client and
server on the same cores, traffic on loopback alone; every loop is bounded. Peers have an environment of their own (bench/peers).
"""

from __future__ import annotations

import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "ship.json"
QUICK = "--quick" in sys.argv
sys.path.insert(0, str(HERE / "peers"))

import malformed as damage  # noqa: E402
from asking import Server, clients, form, free, lamina_server, request  # noqa: E402


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
    """Answers a second with 32 clients, in turns, and what an answer costs the server's processes."""
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
    seconds, rates, costs, missing = 2 if QUICK else 10, {}, {}, {}
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
                missing[kind] = str(error)[:200]
                continue
            with server:
                clients(server.port, 32, seconds / 4, sent)
                before = server.seconds()
                told, lost = clients(server.port, 32, seconds, sent)
                good = sum(status == 200 for status, _ in told)
                rates.setdefault(kind, []).append(good / seconds)
                costs.setdefault(kind, []).append(1e3 * (server.seconds() - before) / max(1, good))
                assert not lost or kind != "lamina serve", lost[:3]
    found = {kind: round(statistics.median(v), 1) for kind, v in rates.items()}
    found |= {f"{kind}, processor ms an answer": round(statistics.median(v), 3) for kind, v in costs.items()}
    return found | missing


def overload(folder):
    """Five times as many clients as the queue holds, who come again at once: how fast refusals come, what becomes of the accepted, and the memory."""
    _, onnx, picture = models(folder)
    with lamina_server(onnx, "--queue", "32") as server:
        sent = request(picture.read_bytes())
        clients(server.port, 160, 1, sent)
        before = server.memory()
        told, lost = clients(server.port, 160, 3 if QUICK else 60, sent)
        refused = [s for status, s in told if status == 503]
        return {
            "answered": sum(status == 200 for status, _ in told), "refused": len(refused), "lost": len(lost),
            "other": sum(status not in (200, 503) for status, _ in told), "memory_mb": [before, server.memory()],
            "refusal_ms_p50": round(1e3 * statistics.median(refused), 1) if refused else None,
            "refusal_ms_p99": round(1e3 * float(np.quantile(refused, 0.99)), 1) if refused else None,
            "refusal_ms_longest": round(1e3 * max(refused), 1) if refused else None,
        }  # fmt: skip


def malformed(folder):
    """Damaged requests of every form (a picture, JSON, a form, heads): statuses, and the slowest answer."""
    _, onnx, picture = models(folder)
    return damage.mutations(onnx, picture, 300 if QUICK else 7_000)


def schema(folder):
    """Requests that schemathesis makes out of the server's own OpenAPI document, three models behind it."""
    return damage.schema(150 if QUICK else 3_000)


class Asking:
    """Clients in a thread, while something is done to the server."""

    def __init__(self, port, seconds, sent):
        self.thread = threading.Thread(target=lambda: self.found.append(clients(port, 8, seconds, sent)))
        self.found = []
        self.thread.start()

    def end(self):
        self.thread.join()
        return self.found[0]


def sigterm(folder):
    """Servers that are ended under load: requests whose answer never came."""
    _, onnx, picture = models(folder)
    lost, answered, codes = 0, 0, []
    for i in range(3 if QUICK else 100):
        with lamina_server(onnx) as server:
            asking = Asking(server.port, 20, request(picture.read_bytes()))
            time.sleep(0.1 + 0.005 * (i % 40))
            server.process.send_signal(signal.SIGTERM)
            told, broke = asking.end()
            answered, lost = answered + len(told), lost + len(broke)
            codes.append(server.process.wait(40))
    return {"sigterms": len(codes), "answered": answered, "lost": lost, "exit_codes": sorted(set(codes))}


def swaps(folder):
    """A model's file replaced under load: requests whose answer never came."""
    _, onnx, picture = models(folder)
    content, count = onnx.read_bytes(), 3 if QUICK else 20
    with lamina_server(onnx) as server:
        asking = Asking(server.port, 600, request(picture.read_bytes()))
        for number in range(count):
            aside = onnx.with_suffix(".part")
            aside.write_bytes(content)
            os.replace(aside, onnx)
            server.process.send_signal(signal.SIGHUP)
            until = time.monotonic() + 30
            while swapped(server) <= number and time.monotonic() < until:
                time.sleep(0.05)
        done = swapped(server)
        server.process.send_signal(signal.SIGTERM)
        told, broke = asking.end()
    return {"swaps": done, "answered": len(told), "lost": len(broke), "refused": sum(s != 200 for s, _ in told)}


def swapped(server):
    return int(sum(server.counted("lamina_swaps_total").values()))


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


PARTS = {f.__name__: f for f in (latency, throughput, overload, malformed, schema, sigterm, swaps, cold)}


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
