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
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "ship.json"
QUICK = "--quick" in sys.argv
sys.path.insert(0, str(HERE / "peers"))

import malformed as damage  # noqa: E402
from asking import Server, clients, form, free, lamina_server, request  # noqa: E402

from lamina.core.device import machine  # noqa: E402


def home():
    return Path(os.environ.get("LAMINA_HOME") or Path.home() / ".cache" / "lamina") / "bench-ship"


def models(folder):
    """A lenet of the digits as pack and ONNX file, and a picture."""
    run, table = lenet()
    made = io.BytesIO()
    Image.fromarray(table["image"].values.open(0)[..., 0]).save(made, "PNG")
    (folder / "digit.png").write_bytes(made.getvalue())
    return run.ship("pack", folder / "lenet"), run.ship("onnx", folder / "lenet"), folder / "digit.png"


def lenet():
    """(run, its data): the digits."""
    import lamina

    if not (home() / "lenet" / "score.json").exists():
        lamina.fit("digits", net="lenet", epochs=1 if QUICK else 5, show=False, run=home() / "lenet")
    return lamina.load(home() / "lenet"), lamina.open("digits")


def resnet18():
    """(run, its data): 60 pictures of noise at 224 x 224, one update; without mirroring, which would ask the net twice."""
    import lamina

    for number in range(60):
        path = home() / "noise" / f"{number % 2}" / f"{number}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (224, 224, 3), np.uint8)
            Image.fromarray(pixels).save(path)
    table = lamina.open(home() / "noise")
    if not (home() / "resnet18" / "score.json").exists():
        lamina.fit(
            table, net="resnet/18", steps=1, batch=8, side=224, augment="none", show=False, run=home() / "resnet18"
        )
    return lamina.load(home() / "resnet18"), table


def latency(folder):
    """Milliseconds (p50) of one picture in process, by every form of lenet (28 x 28) and resnet/18 (224 x 224), beside onnxruntime used by
    hand: the bare net as torch exports it, the pixels divided and the softmax taken in numpy. How long a net takes does not depend
    on what it learned: resnet/18 made one update on pictures of noise."""
    found = {}
    for make, turns in ((lenet, 1000), (resnet18, 100)):
        ways = forms(folder, make)
        times = {name: [] for name in ways}
        for turn in range(
            10 + (turns // 20 if QUICK else turns)
        ):  # in turns: what else the machine does meets all alike
            for name, way in ways.items():
                begun = time.perf_counter()
                way()
                if turn >= 10:
                    times[name].append(time.perf_counter() - begun)
        told = {name: 1e3 * statistics.median(t) for name, t in times.items()}
        found |= {f"{make.__name__}, {name}": round(value, 3) for name, value in told.items()}
        fastest = min((name for name in told if name != BY_HAND), key=told.__getitem__)
        found[f"{make.__name__}, {fastest} / {BY_HAND}"] = round(told[fastest] / told[BY_HAND], 2)
    return found


BY_HAND = "onnxruntime by hand"


def forms(folder, make):
    """What answers one picture, by name: the forms of a run, and onnxruntime by hand."""
    import onnxruntime
    import torch

    import lamina

    run, table = make()
    row = lamina.load(run.ship("pack", folder / "a")).examples.take(np.arange(1))
    pixels = np.asarray(row["image"].values.array)
    small = run.ship("onnx", folder / "int8", int8=True, anyway=True, data=table)
    opened = {name: lamina.load(run.ship(name, folder / "a")) for name in ("pack", "onnx")} | {
        "int8": lamina.load(small)
    }
    program = torch.export.load(run.ship("program", folder / "a")).module()

    def by_program():
        with torch.inference_mode():
            return [t.numpy() for t in program(torch.from_numpy(pixels))]

    net, shape = run.net.cpu().eval(), run.plan.inputs[0].shape
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            net, (torch.zeros(2, *shape),), folder / "bare.onnx", dynamo=False, input_names=["x"], output_names=["y"],
            dynamic_axes={"x": {0: "rows"}, "y": {0: "rows"}},
        )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    bare = onnxruntime.InferenceSession(folder / "bare.onnx", options, providers=["CPUExecutionProvider"])

    def by_hand():
        logits = bare.run(["y"], {"x": pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255})[0]
        shares = np.exp(logits - logits.max(1, keepdims=True))
        return shares / shares.sum(1, keepdims=True)

    with torch.no_grad():
        wanted = net(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255).softmax(1).numpy()
    assert np.allclose(by_hand(), wanted, atol=1e-4)
    return {**{n: lambda o=o: o.outputs(row) for n, o in opened.items()}, "program": by_program, BY_HAND: by_hand}


def throughput(folder):
    """Answers a second with 32 clients, in turns, and what an answer costs the server's processes; with one process that answers, and two."""
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
    kinds = [f"{name}{more}" for more in ("", ", 2 workers") for name in ("lamina serve", "fastapi", "litserve")]
    for _ in range(1 if QUICK else 5):
        for kind in kinds:
            try:
                name, _, more = kind.partition(",")
                if name == "lamina serve":
                    server = lamina_server(onnx, *(["--workers", 2] if more else []))
                else:
                    port = free()
                    peer = [environments.python_of("serve_peer"), HERE / "peers" / "serve_peer.py"]
                    server = Server([*peer, name, onnx, port, *([2] if more else [])], port)
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
                assert not lost or name != "lamina serve", lost[:3]
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
    lost, answered, codes = [], 0, []
    for i in range(3 if QUICK else 100):
        with lamina_server(onnx) as server:
            asking = Asking(server.port, 20, request(picture.read_bytes()))
            time.sleep(0.1 + 0.005 * (i % 40))
            server.process.send_signal(signal.SIGTERM)
            told, broke = asking.end()
            answered, lost = answered + len(told), lost + broke
            codes.append(server.process.wait(40))
    how = {"lost_how": sorted(set(lost))} if lost else {}
    return {"sigterms": len(codes), "answered": answered, "lost": len(lost), **how, "exit_codes": sorted(set(codes))}


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


TORCH = [sys.executable, "-c", "import torch"]


def cold(folder):
    """Seconds of a whole `lamina ask FILE picture`, a new process each time; Python keeps what it compiled, as where Lamina is installed."""
    pack, onnx, picture = models(folder)
    found, known = {}, {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    ask = [sys.executable, "-m", "lamina", "ask"]
    for name, words in (("pack", [*ask, pack, picture]), ("onnx", [*ask, onnx, picture]), ("import torch", TORCH)):
        times = []
        subprocess.run(words, check=True, capture_output=True, env=known)
        for _ in range(2 if QUICK else 11):
            begun = time.perf_counter()
            subprocess.run(words, check=True, capture_output=True, env=known)
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
            f"{entry['cores']} core(s){entry.get('machine', '')}, load {entry['load']} when it began{'; quick' if entry['quick'] else ''}.",
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
        here = f", {machine()['processor']}, torch {machine()['torch']}, onnxruntime {version('onnxruntime')}"
        cores = len(os.sched_getaffinity(0))
        told[name] = {"cores": cores, "machine": here, "load": load, "quick": QUICK, "found": found}
        RESULTS.write_text(json.dumps(told, indent=1) + "\n")
        RESULTS.with_suffix(".md").write_text(page(told))
        print(name, json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
