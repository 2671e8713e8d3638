"""Measure nets of pictures against a plain PyTorch loop, decoding included: python bench/seeing.py [PART ...] [--repeats 5]

    resnet18    classes, 224x224, from JPEG files of 640x480 (--pictures FOLDER, made by bench/peers/data.py)
    unet        a class per pixel, 128x128, from the made source stamps: JPEG and PNG files of 256x256
    ssd         boxes, 128x128, from stamps
    memory      the most memory that a detection run on the frames of doom takes, scoring and report included

Training: pictures a second from the first file that is opened to the last update of --passes passes over --rows pictures, without
the ways to run an update that Lamina tries first (a second, or a few updates). Lamina decodes once, the plain loop in each pass, by a
DataLoader of two workers with Pillow transforms sample by sample (bench/peers/seeing_torch.py). Answering: from files to answers, each
picture seen once (of nets that learned mirrored pictures of classes Lamina otherwise asks about both), masks in the size of the file,
where the plain loop's have the net's. Both sides run the same net and loss, each in a process of its own, in turn. The figures are
medians over repeats, ratios those within a repeat, with the least and the most. Threads are bound by --threads; pin the command to as
many cores. results/seeing.md takes the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "peers"))
WORKS: dict[str, dict[str, Any]] = {
    "resnet18": {"task": "classify", "net": "resnet/18", "settings": {"stem": "large"}, "side": 224, "batch": 32, "optimizer": "sgd"},
    "unet": {"task": "segment", "net": "unet", "settings": {}, "side": 128, "batch": 16, "optimizer": "adamw"},
    "ssd": {"task": "detect", "net": "ssd", "settings": {"features": "resnet9/long"}, "side": 128, "batch": 16, "optimizer": "adamw"},
}  # fmt: skip
TITLES = {"resnet18": "ResNet-18 at 224x224", "unet": "U-Net at 128x128", "ssd": "SSD at 128x128"}
TRIED = 0.5  # seconds in which ways to run an update are tried, as the engine does
WARM = 2  # batches before the time is taken


def table_of(work: str, rows: int, pictures: Path | None):
    """So many training rows of the work's data as a Table."""
    import numpy as np

    import lamina
    from lamina.data._table import TEST, TRAIN, VALIDATION
    from lamina.data._target import divided, with_target

    if work == "resnet18":
        table = lamina.open(str(pictures))
    else:
        table = lamina.open("stamps").with_(target="mask" if work == "unet" else "boxes")
        keep = ("image", table.target)
        table = table.with_(columns={k: v for k, v in table.columns.items() if k in keep})
    table = divided(with_target(table, table.target, None))
    train = table.rows(TRAIN)
    chosen = train[np.linspace(0, len(train) - 1, min(rows, len(train))).astype(int)]
    few = np.concatenate([table.rows(s)[:20] for s in (VALIDATION, TEST)])
    return table.take(np.sort(np.concatenate([chosen, few])))


def built(work: str, table: Any, augment: str = "flip"):
    """Plan, table, task and net of Lamina."""
    import torch

    from lamina.api import prepare
    from lamina.train import plan as planning
    from lamina.train.plan import Wishes
    from lamina.train.recipe import Recipe
    from lamina.train.wishes import task_class

    how = WORKS[work]
    task_class(how["task"]).side = how["side"]
    planning.SIDES = tuple(sorted({how["side"], *planning.SIDES}, reverse=True))
    recipe = Recipe(
        steps=1_000_000, batch=how["batch"], optimizer=how["optimizer"], lr=1e-3, augment=augment, weights="none"
    )
    settings = {k: str(v) for k, v in how["settings"].items()}
    prepared = prepare(table, Wishes(how["task"], how["net"], settings, {}, "cpu", recipe))
    task, net = planning.build(prepared.plan, prepared.table, torch.device("cpu"))
    return prepared.plan, prepared.table, task, net


def training(side: str, options: argparse.Namespace) -> dict[str, float]:
    """Pictures a second of one side."""
    import torch

    from lamina.core.device import keep_freed_memory
    from lamina.data._batches import Batches
    from lamina.data._table import TRAIN
    from lamina.train.step import Feed, Step
    from lamina.train.ways import choose

    if side == "lamina":
        keep_freed_memory()
    torch.set_num_threads(options.threads)
    plan, table, task, net = built(options.parts[0], table_of(options.parts[0], options.rows, options.pictures))
    train = table.take(table.rows(TRAIN))
    steps = options.passes * len(train) // WORKS[options.parts[0]]["batch"]
    if side == "plain":
        import seeing_torch

        return seeing_torch.training(options.parts[0], train, task, net, plan, steps)
    net.train()
    with tempfile.TemporaryDirectory() as store:
        start = time.perf_counter()
        feed = Feed(task, Batches(train, plan.inputs, plan.target, torch.device("cpu"), Path(store)), plan.recipe)
        begun = time.perf_counter()
        best = choose(net, lambda other: Step(task, other, plan.recipe), feed, TRIED, options.threads)[0]
        start += time.perf_counter() - begun
        step = Step(task, net, plan.recipe)
        best.way.apply(step)
        for number in range(steps):
            loss = step(feed(number), number, 0.5)
        assert bool(loss.isfinite())
        seconds = time.perf_counter() - start
    return {"pictures_per_second": steps * plan.recipe.batch / seconds}


def answering(side: str, options: argparse.Namespace) -> dict[str, float]:
    """Pictures a second of one side, from files to answers."""
    import torch

    from lamina.core.device import keep_freed_memory
    from lamina.data._table import TRAIN
    from lamina.train import evaluate

    if side == "lamina":
        keep_freed_memory()
    torch.set_num_threads(options.threads)
    plan, table, task, net = built(options.parts[0], table_of(options.parts[0], options.rows, options.pictures), "none")
    column = next(c for c in table.columns.values() if c.field.kind == "image")
    files = [Path(p) for p in column.values.take(table.rows(TRAIN)).paths]
    net.eval()
    if side == "plain":
        import seeing_torch

        return seeing_torch.answering(options.parts[0], files, task, net, plan)
    evaluate.asked(task, net, plan.inputs, *files[: 2 * WARM])
    start = time.perf_counter()
    answers, bad = evaluate.asked(task, net, plan.inputs, *files)
    assert len(answers) == len(files) and not bad
    return {"pictures_per_second": len(files) / (time.perf_counter() - start)}


def detection(options: argparse.Namespace) -> dict[str, float]:
    """Peak memory of `lamina train doom --net ssd`."""
    import lamina

    with tempfile.TemporaryDirectory() as folder:
        made = lamina.fit("doom", net="ssd", steps=options.steps, run=Path(folder) / "run", show=False)
        frames = made.score().rows
        left = lamina.open("doom")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kilobytes on Linux
    return {"gigabytes": peak, "frames": float(len(left)), "test": float(frames)}


def child(words: list[str], options: argparse.Namespace) -> dict[str, float]:
    """What one side prints, in a process of its own."""
    keys = ("threads", "rows", "passes", "steps", "pictures")
    more = [w for k in keys if getattr(options, k) is not None for w in (f"--{k}", str(getattr(options, k)))]
    bound = {n: str(options.threads) for n in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    done = subprocess.run([sys.executable, __file__, *words, *more], capture_output=True, text=True, check=False,
                          env={**os.environ, **bound})  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr.strip()[-800:]}")
    return json.loads(done.stdout.strip().split("\n")[-1])


def against(part: str, options: argparse.Namespace) -> tuple[list[str], Any]:
    """Both sides in turn, training and answering."""
    lines, found = [], {}
    for kind in ("training", "answering"):
        pairs = []
        for repeat in range(options.repeats):
            order = ("lamina", "plain") if repeat % 2 == 0 else ("plain", "lamina")
            got = {side: child([part, "--one", side, "--kind", kind], options) for side in order}
            pairs.append({side: v["pictures_per_second"] for side, v in got.items()})
            print(part, kind, pairs[-1], flush=True)
        ratios = [p["lamina"] / p["plain"] for p in pairs]
        ours, theirs = (statistics.median(p[side] for p in pairs) for side in ("lamina", "plain"))
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {TITLES[part]} | {kind} | {ours:,.1f} | {theirs:,.1f} | {spread} |")
        found[kind] = pairs
    return lines, found


def page(kept: dict[str, Any]) -> str:
    """results/seeing.md."""
    lines = [
        "# Seeing",
        "",
        "Pictures a second, decoding included, of Lamina and of a plain PyTorch loop with the same net. Keras is not beside them:",
        "keras.applications has none of the three (its smallest ResNet has 50 layers).",
        "",
    ]
    lines += ["| net | | Lamina | plain loop | ratio |", "|---|---|---|---|---|"]
    lines += [line for part in TITLES if part in kept for line in kept[part]["lines"]]
    lines += ["", *(kept["memory"]["lines"] if "memory" in kept else [])]
    return "\n".join([*lines, "", *(f"{part}: {kept[part]['about']}" for part in kept)]) + "\n"


def main() -> None:
    """Measure the parts and write the results; or one side of one part, which is printed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*WORKS, "memory"], default=[*WORKS, "memory"], metavar="PART")
    parser.add_argument("--pictures", type=Path, help="folder of class folders of photographs")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=512, help="pictures")
    parser.add_argument("--passes", type=int, default=3, help="passes over them in training")
    parser.add_argument("--steps", type=int, default=60, help="updates of the run whose memory is measured")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of seeing.md and seeing.json")
    parser.add_argument("--one", choices=("lamina", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=("training", "answering", "memory"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        made = detection(options) if options.kind == "memory" else globals()[options.kind](options.one, options)
        print(json.dumps(made))
        return
    from lamina.core.device import machine

    here = machine()
    cores = f"{here['cores']} core{'s' if here['cores'] > 1 else ''}"
    about = f"{here['processor']}, {cores}, torch {here['torch']}, {time.strftime('%Y-%m-%d')}."
    raw = options.out / "seeing.json"
    kept = json.loads(raw.read_text()) if raw.exists() else {}
    for part in options.parts:
        if part == "memory":
            made = child(["memory", "--one", "lamina", "--kind", "memory"], options)
            line = f"A detection run on {made['frames']:,.0f} frames of doom takes {made['gigabytes']:.2f} GB at most (the target is 4)."
            lines, found = [line], made
        elif part == "resnet18" and options.pictures is None:
            raise SystemExit("resnet18 needs --pictures FOLDER, made by bench/peers/data.py.")
        else:
            lines, found = against(part, options)
        command = f"`python bench/seeing.py {part} --repeats {options.repeats} --threads {options.threads} --rows {options.rows} --passes {options.passes}`"
        kept[part] = {"lines": lines, "found": found, "about": f"{command} on {about}"}
        print("\n".join(lines), flush=True)
        raw.write_text(json.dumps(kept) + "\n")
        (options.out / "seeing.md").write_text(page(kept))


if __name__ == "__main__":
    main()
