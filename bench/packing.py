"""How long packing takes: python bench/packing.py PHOTOGRAPHS [--count 10000] [--repeats 5]

PHOTOGRAPHS is a folder with large photographs (those measured: Debian's mate-backgrounds, folder nature). Random crops of
them are saved as JPEGs of 640x480 (quality 90) in a temporary folder. Each repeat packs them to 224x224 into a new store,
opens the store again, and decodes the same files by Lamina's decoder on the same threads, throwing the pixels away: in full
size, and shrunk as packing does it. The parts alternate; the ratio is taken within a repeat. Results go into bench/results.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lamina.core.device import cores, machine
from lamina.data import _index
from lamina.data._decode import decode, fit
from lamina.data._pictures import SUFFIXES, Pictures
from lamina.data._threads import in_threads

SIZE, FRAME = (640, 480), (3, 224, 224)
AGAIN = """
import sys, time
from pathlib import Path
from lamina.data._pictures import Pictures
paths = sorted(Path(sys.argv[1]).iterdir())
start = time.perf_counter()
Pictures.of_files(paths).pack((3, 224, 224), Path(sys.argv[2]))
print(1e3 * (time.perf_counter() - start))
"""


def make(photographs: Path, folder: Path, count: int) -> list[Path]:
    """JPEGs of random crops, at least SIZE large."""
    random = np.random.default_rng(0)
    images = [Image.open(p).convert("RGB") for p in sorted(photographs.rglob("*")) if p.suffix.lower() in SUFFIXES]
    images = [i for i in images if i.width >= 2 * SIZE[0] and i.height >= 2 * SIZE[1]]
    if not images:
        raise SystemExit(f"{photographs} has no photograph of {2 * SIZE[0]}x{2 * SIZE[1]} pixels or more.")
    folder.mkdir()

    def one(number: int) -> Path:
        image, zoom = images[number % len(images)], zooms[number]
        width, height = int(SIZE[0] * zoom), int(SIZE[1] * zoom)
        left, top = int(places[number, 0] * (image.width - width)), int(places[number, 1] * (image.height - height))
        path = folder / f"{number:05d}.jpg"
        crop = image.crop((left, top, left + width, top + height)).resize(SIZE, Image.Resampling.BICUBIC)
        crop.save(path, quality=90)
        return path

    zooms, places = random.uniform(1, 2, count), random.random((count, 2))
    return in_threads(one, range(count))


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of processor time."""
    start, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - processor


def measure(files: list[Path], store: Path, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Name of the part -> seconds of each repeat."""
    found: dict[str, list[tuple[float, float]]] = {"pack": [], "full": [], "shrunk": [], "again": []}
    for _ in range(repeats):
        shutil.rmtree(store, ignore_errors=True)
        found["full"].append(seconds(lambda: in_threads(lambda p: decode(p) is None, files)))
        found["pack"].append(seconds(lambda: Pictures.of_files(files).pack(FRAME, store)))
        found["shrunk"].append(seconds(lambda: in_threads(lambda p: decode(p, FRAME[1]) is None, files)))
        command = [sys.executable, "-c", AGAIN, str(files[0].parent), str(store)]
        again = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1e3
        found["again"].append((again, again))
        print({name: [round(v, 3) for v in values[-1]] for name, values in found.items()}, flush=True)
    return found


def parts(files: list[Path]) -> list[tuple[str, float]]:
    """Where the time goes: milliseconds a picture of each part alone, on one core; median of five."""
    few = files[:200]
    pixels = [decode(p, FRAME[1]) for p in few]
    packed = np.empty(FRAME, np.uint8)

    def place(number: int) -> None:
        packed[:] = fit(pixels[number], *FRAME[1:], 3).transpose(2, 0, 1)

    works: dict[str, Callable[[int], object]] = {
        "read and hash": lambda i: _index.read(str(few[i])),
        "decode, full size": lambda i: decode(few[i]),
        "decode, shrunk by two": lambda i: decode(few[i], FRAME[1]),
        "resize and reorder": place,
    }
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(5):
        for name, work in works.items():
            found[name].append(seconds(lambda work=work: [work(i) for i in range(len(few))])[1] / len(few) * 1e3)
    return [(name, statistics.median(values)) for name, values in found.items()]


def report(count: int, found: dict[str, list[tuple[float, float]]], alone: list[tuple[str, float]]) -> list[str]:
    """The lines of the results."""
    names = {
        "pack": "packing to 224x224 (hash, decode, resize, checksums, sync)",
        "full": "the decoder alone, full size",
        "shrunk": "the decoder alone, shrunk by two as packing does it",
    }
    lines = ["| work | median s | pictures a second | processor s |", "|---|---|---|---|"]
    for name, what in names.items():
        wall, processor = (statistics.median(v) for v in zip(*found[name], strict=True))
        lines.append(f"| {what} | {wall:.2f} | {count / wall:,.0f} | {processor:.2f} |")
    lines += ["", "| packing against | ratio, median (least to most) | of processor time |", "|---|---|---|"]
    for name in ("full", "shrunk"):
        ratios = [sorted(p[k] / d[k] for p, d in zip(found["pack"], found[name], strict=True)) for k in (0, 1)]
        wall, processor = (f"{statistics.median(r):.2f} ({r[0]:.2f} to {r[-1]:.2f})" for r in ratios)
        lines.append(f"| {names[name]} | {wall} | {processor} |")
    again = sorted(1e3 * v[0] for v in found["again"])
    lines += [
        "",
        f"Second opening, a process of its own: {statistics.median(again):.0f} ms ({again[0]:.0f} to {again[-1]:.0f}).",
    ]
    lines += ["", "| one core, each part alone | ms a picture |", "|---|---|"]
    return lines + [f"| {name} | {value:.3f} |" for name, value in alone]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = make(options.photographs, Path(folder) / "photographs", options.count)
        size = sum(p.stat().st_size for p in files) / len(files) / 1e3
        Pictures.of_files(files[:64]).pack(FRAME)  # torch is loaded
        found = measure(files, Path(folder) / "store", options.repeats)
        alone = parts(files)
    here = machine()
    about = f"{here['processor']}, {cores()} cores, torch {here['torch']}, lamina {here['lamina']}, {time.strftime('%Y-%m-%d')}"
    about = f"{options.count:,} JPEGs of {SIZE[0]}x{SIZE[1]} ({size:.0f} kB each), {options.repeats} repeats; {about}"
    lines = [*report(options.count, found, alone), "", f"Measured by `python bench/packing.py` on {about}.", ""]
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "packing.md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
