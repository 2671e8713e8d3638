"""Measure Lamina's speed against its peers in the same run: python bench/speed.py PART ... [--repeats 5]

    cnn resnet20 resnet18 mlp ensemble    training, each peer in its own process and environment (bench/peers), alternating
    augment                               crop and flip of a batch, against Pillow sample by sample
    engine                                what the engine takes beside its updates
    share                                 floating-point operations a second, against plain matrix products (lamina bench)
    digits                                seconds of the whole command to 97 and 98 %, against Keras' own MNIST example

cnn and digits need --fashion FOLDER with the four IDX files of Fashion-MNIST; resnet20, resnet18 and share need --pictures
FOLDER, made by bench/peers/data.py. Every figure is the median over repeats, a ratio that of the ratios within a repeat, with
the least and the most. Threads are bound by --threads (1); pin the command to as many cores. Each part replaces its own section
of bench/results/speed.md and its raw numbers in speed.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
sys.path.insert(0, str(HERE / "peers"))
import environments  # noqa: E402

SECONDS = 4.0  # that a peer trains in a repeat, about
SLOW = 5.0  # times slower than Lamina: measured once, with few steps, and said so
KERAS = [("keras_peer", "--backend", b) for b in ("tensorflow", "jax", "torch")]
PEERS: dict[str, list[tuple[str, ...]]] = {
    "cnn": [("torch_loop",), ("torch_tuned",), *KERAS, ("lightning_peer",), ("skorch_peer",), ("fastai_peer",)],
    "resnet20": [("torch_loop",), ("torch_tuned",), *KERAS],
    "resnet18": [("torch_loop",), ("torch_tuned",)],
    "mlp": [("torch_loop",), ("torch_tuned",), ("keras_peer", "--backend", "tensorflow")],
    "ensemble": [("torch_loop",)],
}
LOW = {"torch_tuned", "keras_peer"}  # that are measured in bfloat16 too
TITLES = {
    "cnn": "Small CNN on 28x28 (conv 32, conv 64, pool, dense 128), batch 128",
    "resnet20": "ResNet-20 on 32x32x3, batch 128, crop and flip",
    "resnet18": "ResNet-18 at 224x224 from JPEG files of 640x480, batch 32",
    "mlp": "MLP 10-64-64-1, batch 64",
    "ensemble": "64 nets MLP 10-64-64-1 trained together, batch 64, against one after the other",
    "augment": "Crop and flip of 128 pictures of 32x32x3",
    "engine": "What the engine takes beside the updates: log, health, weight average, saving every 30 s",
    "share": "Share of the float32 matrix-product rate that an update reaches",
    "digits": "5,000 digits: the whole command, from the start of the process",
}


def run(command: list[str], limit: float = 600.0) -> dict[str, Any] | str:
    """The JSON object on the last line that a command prints, or one line that says why there is none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return f"not done within {limit:.0f} s"
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().split("\n")
    try:
        return json.loads(lines[-1])
    except ValueError:
        return lines[-1][:200]


def peer(words: tuple[str, ...], part: str, options: argparse.Namespace, steps: int, low: bool) -> dict[str, Any] | str:
    """One training of a peer: what it prints."""
    name, *more = words
    try:
        python = sys.executable if name == "lamina_peer" else str(environments.python_of(name))
    except environments.PeerMissing as error:
        return str(error)
    work = "mlp" if part == "ensemble" and name != "lamina_peer" else part
    data = {
        "cnn": options.fashion,
        "resnet20": options.pictures,
        "resnet18": options.pictures and options.pictures / "photographs",
    }
    given = ["--data", str(data[part])] if part in data else []
    warmup = max(2, steps // 8)
    words = (str(HERE / "peers" / f"{name}.py"), work, *given, "--steps", str(steps), "--warmup", str(warmup), *more)
    return run([python, *words, "--threads", str(options.threads), *(["--precision", "bfloat16"] if low else [])])


def training(part: str, options: argparse.Namespace) -> tuple[list[str], Any]:
    """Rows a second of Lamina and every peer."""
    variants = [(w, low) for w in [("lamina_peer",), *PEERS[part]] for low in (False, True) if not low or w[0] in LOW]
    steps: dict[Any, int] = {}
    found: dict[Any, list[dict[str, Any]]] = {v: [] for v in variants}
    missing, pace, few = {}, 0.0, 8 if part == "resnet18" else 2_000 if part in ("mlp", "ensemble") else 24
    for variant in variants:  # how many steps fill the time
        made = peer(variant[0], part, options, 3 if variant[1] else few, variant[1])
        if isinstance(made, str):
            missing[variant] = made
            print(part, variant, made, flush=True)
            continue
        steps[variant] = max(few, round(SECONDS * made["steps_per_second"]))
        pace = pace or made["steps_per_second"]
        if variant[1] and made["steps_per_second"] * SLOW < pace:
            steps[variant] = 0
            found[variant].append(made)
        print(part, variant, made["steps_per_second"], flush=True)
    for repeat in range(options.repeats):
        for variant in [v for v in variants if steps.get(v)]:
            made = peer(variant[0], part, options, steps[variant], variant[1])
            if isinstance(made, str):
                missing[variant] = made
            else:
                found[variant].append({**made, "repeat": repeat})
                print(part, repeat, variant, made["rows_per_second"], made["cpu_seconds_per_step"], flush=True)
    if not found[variants[0]]:
        raise SystemExit(f"{part}: Lamina itself has no figure: {missing[variants[0]]}")
    nets = 64 if part == "ensemble" else 1
    own = {r["repeat"]: r for r in found[variants[0]]}
    lines = [
        "| who | precision | rows/s | processor ms a step | Lamina's rows/s over these | of processor time |",
        "|---|---|---|---|---|---|",
    ]
    for words, low in variants:
        name = "Lamina" if words[0] == "lamina_peer" else " ".join([words[0].removesuffix("_peer"), *words[2:]])
        kind = "bfloat16" if low else "float32"
        records = found[words, low]
        if not records:
            lines.append(f"| {name} | {kind} | {missing.get((words, low), 'no figure')} | | | |")
            continue
        wall, cpu = "", ""
        if "repeat" in records[0] and words[0] != "lamina_peer":
            pairs = [(own[r["repeat"]], r) for r in records if r["repeat"] in own]
            wall = spread([nets * a["steps_per_second"] / b["steps_per_second"] for a, b in pairs])
            cpu = spread([nets * b["cpu_seconds_per_step"] / a["cpu_seconds_per_step"] for a, b in pairs])
        elif words[0] != "lamina_peer":
            least = min(r["steps_per_second"] for r in own.values())
            wall = f"{least / records[0]['steps_per_second']:.0f} (once, 3 steps)"
        rate = nets if words[0] == "lamina_peer" else 1
        rows = statistics.median(r["rows_per_second"] for r in records) * rate
        ms = 1e3 * statistics.median(r["cpu_seconds_per_step"] for r in records)
        lines.append(f"| {name} | {kind} | {rows:,.1f} | {ms:,.3f} | {wall} | {cpu} |")
    waits = [float(r["note"].split("waiting for data ")[1].split(";")[0]) for r in own.values()]
    lines += ["", f"Lamina waited for data {100 * statistics.median(waits):.1f} % of the time.", *versions(found)]
    return lines, [r for records in found.values() for r in records]


def versions(found: dict[Any, list[dict[str, Any]]]) -> list[str]:
    """One line with the versions of all peers."""
    every = {f"{k} {v}" for records in found.values() for r in records for k, v in r["versions"].items()}
    return [f"Versions: {', '.join(sorted(every))}."]


def spread(values: list[float]) -> str:
    """Median, and least to most."""
    digits = 1 if statistics.median(values) >= 10 else 2
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def timed(work: Callable[[], Any], seconds: float = 1.0) -> float:
    """Median seconds of a call."""
    times, begin = [], time.perf_counter()
    work()
    while len(times) < 5 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def augment(options: argparse.Namespace) -> tuple[list[str], Any]:
    """uint8 (128, 32, 32, 3) changed by Pillow one by one, and (128, 3, 32, 32) by Lamina at once."""
    import numpy as np
    import torch
    from PIL import Image
    from samples import crop_with_padding, flip

    from lamina.core.device import keep_freed_memory
    from lamina.data._augment import named

    keep_freed_memory()
    torch.set_num_threads(options.threads)
    array = np.random.default_rng(0).integers(0, 256, (128, 32, 32, 3), np.uint8)
    tensor = torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()
    rows, change = torch.arange(128), named("flip")
    found = []
    for repeat in range(options.repeats):
        ours = timed(lambda repeat=repeat: change(tensor, repeat, torch.zeros_like(rows), rows))
        theirs = timed(lambda: np.stack([np.asarray(flip(crop_with_padding(Image.fromarray(a)))) for a in array]))
        found.append({"lamina": ours, "pillow": theirs})
    ours, theirs = (1e3 * statistics.median(f[k] for f in found) for k in ("lamina", "pillow"))
    ratio = spread([f["pillow"] / f["lamina"] for f in found])
    return ["| Lamina ms | Pillow ms | ratio |", "|---|---|---|", f"| {ours:.2f} | {theirs:.2f} | {ratio} |"], found


def engine(options: argparse.Namespace) -> tuple[list[str], Any]:
    """Processor seconds that the engine takes beside the updates and their batches, over those of these, in the same run."""
    found, lines = [], ["| work | an update and its batch, ms | the engine beside them % |", "|---|---|---|"]
    for part, steps in (("cnn", 250), ("resnet20", 75), ("mlp", 40_000)):
        made = [peer(("lamina_peer",), part, options, steps, False) for _ in range(options.repeats)]
        if wrong := next((m for m in made if isinstance(m, str)), ""):
            raise SystemExit(f"{part}: {wrong}")
        beside = [m["beside_updates"] for m in made]  # type: ignore[index]
        each = [1e3 * m["cpu_seconds_per_step"] / (1 + o) for m, o in zip(made, beside, strict=True)]  # type: ignore[index]
        print(part, each, beside, flush=True)
        found.append({part: {"beside_updates": beside, "update_ms": each}})
        lines.append(f"| {part} | {statistics.median(each):,.3f} | {spread([100 * o for o in beside])} |")
    return lines, found


def share(options: argparse.Namespace) -> tuple[list[str], Any]:
    """lamina bench on the three nets of pictures."""
    photographs = str(options.pictures / "photographs")
    works = {
        "cnn on 28x28, batch 128": [str(options.fashion), "--net", "cnn", "--batch", "128"],
        "resnet/20 on 32x32, batch 128": [str(options.pictures / "pictures32.npz"), "--net", "resnet/20", "--batch", "128"],
        "resnet/18 on 224x224, batch 32": [photographs, "--net", "resnet/18", "--net.stem", "large", "--batch", "32", "--side", "224"],
        "resnet9 of the digits": ["digits"],
    }  # fmt: skip
    lines = [
        "| net | GFLOP/s reached | of float32 products % | of bfloat16 products % | data % | forward % | backward % | optimizer % | Python % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    raw = []
    for name, words in works.items():
        found = []
        for _ in range(options.repeats):
            made = run([sys.executable, "-m", "lamina", "bench", *words, "--json"])
            if isinstance(made, str):
                raise SystemExit(f"{name}: {made}")
            found.append(made)
        raw.append({name: found})

        def middle(number: Callable[[dict, dict], float], found: list = found) -> float:
            return statistics.median(number(f["update"], f["rates"]) for f in found)

        reached = middle(lambda u, r: u["operations"] / u["whole"] / 1e9)
        parts = [
            100 * middle(lambda u, r, k=k: u[k] / u["whole"])
            for k in ("data", "forward", "backward", "optimizer", "overhead")
        ]
        of = [100 * middle(lambda u, r, k=k: u["operations"] / u["whole"] / r[k]) for k in ("float32", "bfloat16")]
        shares = " | ".join(f"{p:.1f}" for p in parts)
        lines.append(f"| {name} | {reached:.1f} | {of[0]:.0f} | {of[1]:.0f} | {shares} |")
        print(lines[-1], flush=True)
    return lines, raw


def digits(options: argparse.Namespace) -> tuple[list[str], Any]:
    """Whole commands: `lamina train digits --minutes`, and Keras' example until it has reached 98 % on the validation rows."""
    import lamina

    rows = Path(lamina.__file__).parent / "data" / "assets"
    file = next(p for p in rows.glob("*.npz"))
    ours: dict[float, list[dict[str, float]]] = {s: [] for s in options.seconds}
    theirs = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.repeats):
            for seconds in options.seconds:
                out = Path(folder) / f"{seconds}-{seed}"
                words = ["train", "digits", "--minutes", str(seconds / 60), "--seed", str(seed), "--run", str(out)]
                start = time.monotonic()
                subprocess.run([sys.executable, "-m", "lamina", *words], check=True, capture_output=True)
                whole = time.monotonic() - start
                made = json.loads((out / "score.json").read_text())
                log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
                spent = [r["seconds"] for r in log if r["event"] == "report"]
                ours[seconds].append({"whole": whole, "score": made["value"], "training": spent[-1] - spent[0]})
                print("lamina", seconds, seed, ours[seconds][-1], flush=True)
            try:
                python = str(environments.python_of("keras_mnist_example"))
            except environments.PeerMissing as error:
                theirs = [{"missing": str(error)}]
                continue
            example = [python, str(HERE / "peers" / "keras_mnist_example.py"), "--data", str(file), "--seed", str(seed)]
            made = run([*example, "--threads", str(options.threads)])
            print(made, flush=True)
            theirs.append(made)
    lines = ["| who | asked s | whole s | training s | test accuracy %, mean (least) |", "|---|---|---|---|---|"]
    for seconds, found in ours.items():
        whole, spent = (statistics.median(f[k] for f in found) for k in ("whole", "training"))
        score = [100 * f["score"] for f in found]
        lines.append(
            f"| Lamina | {seconds:g} | {whole:.1f} | {spent:.1f} | {statistics.mean(score):.2f} ({min(score):.2f}) |"
        )
    good = [t for t in theirs if isinstance(t, dict) and "whole" in t]
    if good:
        whole = statistics.median(t["whole"]["seconds"] for t in good)
        score = [100 * t["test_accuracy"] for t in good]
        lines.append(
            f"| Keras' example, {good[0]['epochs']} epochs | | {whole:.1f} | | {statistics.mean(score):.2f} ({min(score):.2f}) |"
        )
        for aim in good[0]["reached"]:
            times = [t["reached"][aim]["seconds"] for t in good if t["reached"][aim]]
            said = f"after {statistics.median(times):.1f} s (median)" if times else "never"
            lines += [
                "",
                f"Keras' example reached {float(aim):.0%} of the validation rows in {len(times)} of {len(good)} runs, {said}.",
            ]
    else:
        lines += ["", f"Keras' example has no figure: {theirs[0]}."]
    return lines, {"lamina": ours, "keras": theirs}


PARTS: dict[str, Callable[[argparse.Namespace], tuple[list[str], Any]]] = {
    **{part: lambda options, part=part: training(part, options) for part in PEERS},
    "augment": augment, "engine": engine, "share": share, "digits": digits,
}  # fmt: skip


def main() -> None:
    """Measure the parts and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=list(PARTS), metavar="PART")
    parser.add_argument("--fashion", type=Path, help="folder of Fashion-MNIST's IDX files")
    parser.add_argument("--pictures", type=Path, help="folder that bench/peers/data.py made")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, nargs="+", default=[5, 6, 8, 10], help="budgets of the part digits")
    options = parser.parse_args()
    from lamina.core.device import machine

    here = machine()
    about = f"{here['processor']}, {here['cores']} core{'s' if here['cores'] > 1 else ''}, {time.strftime('%Y-%m-%d')}"
    raw, page = RESULTS / "speed.json", RESULTS / "speed.md"
    kept = json.loads(raw.read_text()) if raw.exists() else {}
    for part in options.parts:
        lines, found = PARTS[part](options)
        command = f"python bench/speed.py {part} --repeats {options.repeats} --threads {options.threads}"
        kept[part] = {"lines": [*lines, "", f"`{command}` on {about}."], "found": found}
        raw.write_text(json.dumps(kept) + "\n")
        page.write_text(
            "\n\n".join(
                ["# Speed", *(f"## {TITLES[p]}\n\n" + "\n".join(kept[p]["lines"]) for p in TITLES if p in kept)]
            )
            + "\n"
        )
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
