"""What damaged and forged packs do: python bench/mutate.py [--count 10000] [--seed 0]

Two small packs are made (digits with lenet/1990; a table of numbers, categories, dates and gaps with mlp) and mutated: bits
flipped, bytes cut off, added, zeroed and exchanged, the header edited, tensors exchanged; and, with the sha256 made anew as
one would who means harm: settings of any size and type, other names, other shapes. Each file is opened and asked its ten
examples in a process of its own kind that may take 1 GiB. Results go into bench/results/mutate.md.
"""

from __future__ import annotations

import argparse
import collections
import copy
import json
import os
import resource
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch

import lamina
from lamina.core.device import machine
from lamina.core.errors import LaminaError
from lamina.ship import pack

HANG = 5  # seconds
EXTRA = 1 << 30  # bytes that opening may take beside what the process holds
VALUES = (0, -1, 1, 2, 7, 2**20, 2**31, 2**63, 10**30, 1e308, -0.5, 1.5, None, True, "", "x", "os", "os.path", "../x", [], [0],
          [1] * 50, [10**9], [2**19] * 9, [[1]], {}, {"a": 1}, float("nan"), float("inf"), "resnet", "regress")  # fmt: skip


def frame(rows: int = 300) -> pd.DataFrame:
    """A table of numbers, a category, dates and gaps, made by a seed; its target follows from them."""
    random = np.random.default_rng(0)
    made = pd.DataFrame({
        "age": random.normal(40, 12, rows).round(1),
        "town": random.choice(["Ulm", "Bonn", "Jena"], rows),
        "seen": pd.Timestamp("2020-03-01") + pd.to_timedelta(random.integers(0, 900 * 86_400, rows), unit="s"),
    })  # fmt: skip
    made["class"] = np.where(made["age"] + 9 * (made["town"] == "Ulm") + random.normal(0, 3, rows) > 42, "old", "young")
    made.loc[::7, "age"] = np.nan
    made.loc[::11, "town"] = None
    return made


def make(folder: Path) -> list[Path]:
    """The two packs."""
    digits = lamina.open("digits").take(np.arange(0, 5000, 10))
    common: dict[str, Any] = {"steps": 20, "show": False}
    first = lamina.fit(digits, net="lenet/1990", run=folder / "digits", **common)
    settings = {"width": 16, "members": 2}
    second = lamina.fit(frame(), target="class", net="mlp", net_settings=settings, run=folder / "table", **common)
    return [first.ship(), second.ship()]


def damaged(content: bytes, random: np.random.Generator) -> tuple[str, bytes]:
    """The bytes of a file changed as disks, networks and editors do."""
    data = bytearray(content)
    header = 8 + int.from_bytes(content[:8], "little")
    kind = str(random.choice(["bits", "header bits", "cut", "longer", "zeros", "blocks", "header text", "length"]))
    if kind in ("bits", "header bits"):
        for _ in range(random.integers(1, 9)):
            data[random.integers(0, header if kind == "header bits" else len(data))] ^= 1 << random.integers(0, 8)
    elif kind == "cut":
        del data[random.integers(0, len(data)) :]
    elif kind == "longer":
        data += random.bytes(int(random.integers(1, 500)))
    elif kind == "zeros":
        start = int(random.integers(0, len(data)))
        data[start : start + 64] = bytes(len(data[start : start + 64]))
    elif kind == "blocks":
        a, b = sorted(int(v) for v in random.integers(0, len(data) - 32, 2))
        data[a : a + 16], data[b : b + 16] = data[b : b + 16], data[a : a + 16]
    elif kind == "length":
        data[:8] = struct.pack("<Q", int(random.choice([0, 1, 2**20, 2**31, 2**62])) + int(random.integers(0, 99)))
    else:
        places = [i for i in range(8, header) if chr(data[i]).isalnum()]
        for place in random.choice(places, 3):
            data[place] = random.choice(list(b"0123456789abz"))
    return kind, bytes(data)


def _paths(value: Any, path: tuple = ()) -> list[tuple]:
    found = [path] if path else []
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in items:
            found += _paths(part, (*path, key))
    return found


def _edited(content: dict, random: np.random.Generator) -> None:
    paths = [p for p in _paths(content) if p[0] not in ("score", "parity", "lamina", "torch")]
    first = sorted({p[0] for p in paths}) + ["net_config"] * 6 + ["inputs", "target", "options"]
    top = first[random.integers(0, len(first))]
    paths = [p for p in paths if p[0] == top and (len(p) > 1 or random.random() < 0.3)] or [(top,)]
    path = paths[random.integers(0, len(paths))]
    holder: Any = content
    for key in path[:-1]:
        holder = holder[key]
    if random.random() < 0.15:
        del holder[path[-1]]
    elif isinstance(holder, list) and random.random() < 0.2:
        holder.append(copy.deepcopy(holder[path[-1]]))
    else:
        holder[path[-1]] = copy.deepcopy(VALUES[random.integers(0, len(VALUES))])


def forged(content: bytes, random: np.random.Generator) -> tuple[str, bytes]:
    """A file changed and signed anew."""
    length = int.from_bytes(content[:8], "little")
    text = json.loads(content[8 : 8 + length])["__metadata__"]["lamina"]
    tensors = safetensors.torch.load(content)
    names = sorted(tensors)
    kind = str(random.choice(["settings", "settings", "settings", "swap", "shape", "type", "drop", "add", "weights"]))
    name = names[random.integers(0, len(names))]
    if kind == "settings":
        value = json.loads(text)
        for _ in range(random.integers(1, 3)):
            _edited(value, random)
        text = json.dumps(value)
    elif kind == "swap":
        other = names[random.integers(0, len(names))]
        tensors[name], tensors[other] = tensors[other], tensors[name]
    elif kind == "shape":
        tensors[name] = tensors[name].reshape(-1)[: random.integers(0, tensors[name].numel() + 1)].clone()
    elif kind == "type":
        tensors[name] = tensors[name].to([torch.float16, torch.float64, torch.int32, torch.bool][random.integers(0, 4)])
    elif kind == "drop":
        del tensors[name]
    elif kind == "add":
        tensors[f"net.{random.integers(0, 99)}"] = torch.zeros(3)
    else:
        flat = tensors[name].reshape(-1).contiguous().view(torch.uint8)
        if len(flat):
            flat[random.integers(0, len(flat))] ^= 1 << int(random.integers(0, 8))
    return kind, safetensors.torch.save(tensors, {"lamina": text, "sha256": pack.digest(text, tensors)})


def outcome(path: Path, wanted: dict[str, np.ndarray]) -> str:
    """rejected, bit-equal, another net (opens and answers the examples otherwise), or what went wrong."""

    def hung(*_: Any) -> None:
        raise BaseException("hang")  # nothing may catch it

    signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, HANG)
    try:
        opened = pack.load(path)
        given = opened.outputs(opened.examples)
        answers = opened.ask(opened.examples)
        same = wanted.keys() == given.keys() and all(given[k].tobytes() == v.tobytes() for k, v in wanted.items())
        return "bit-equal" if same and answers else "another net"
    except LaminaError as error:
        return "rejected" if str(error).count("\n") == 0 else f"two lines: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:200]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def one(packs: list[bytes], seed: int, number: int) -> tuple[str, str, bytes, int]:
    """Mutation `number`: whether it is damage or forgery, its kind, the bytes and which pack it was."""
    random = np.random.default_rng((seed, number))
    which = int(random.integers(0, len(packs)))
    group = "damaged" if number % 2 else "forged"
    kind, content = (damaged if group == "damaged" else forged)(packs[which], random)
    return group, kind, content, which


def _work(packs: list[bytes], wanted: list[dict], numbers: range, seed: int, aside: Path) -> None:
    held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (held + EXTRA, held + EXTRA))
    with open(aside / "log.jsonl", "a") as file:
        for number in numbers:
            group, kind, content, which = one(packs, seed, number)
            (aside / "mutant.safetensors").write_bytes(content)
            begun = time.perf_counter()
            end = outcome(aside / "mutant.safetensors", wanted[which])
            file.write(json.dumps([number, group, kind, end, time.perf_counter() - begun]) + "\n")
            file.flush()


def run(paths: list[Path], count: int, seed: int, aside: Path) -> list[dict[str, Any]]:
    """Every mutation in processes that are replaced when they die: group, kind, outcome, seconds."""
    packs = [p.read_bytes() for p in paths]
    wanted = [opened.outputs(opened.examples) for opened in map(pack.load, paths)]
    log, done = aside / "log.jsonl", 0
    log.touch()
    while done < count:
        child = os.fork()
        if not child:
            try:
                _work(packs, wanted, range(done, count), seed, aside)
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        done = len(rows)
        if status:
            with open(log, "a") as file:
                group, kind, _, _ = one(packs, seed, done)
                file.write(json.dumps([done, group, kind, f"crash ({status})", 0.0]) + "\n")
            done += 1
    names = ("number", "group", "kind", "end", "seconds")
    return [dict(zip(names, json.loads(line), strict=True)) for line in log.read_text().splitlines()]


def table(rows: list[dict[str, Any]], seed: int) -> str:
    """The results as Markdown."""
    lines = [
        "| file | rejected | bit-equal | another net | anything else |",
        "|---|---|---|---|---|",
    ]
    known = ("rejected", "bit-equal", "another net")
    for group in ("damaged", "forged"):
        for kind in [*sorted({r["kind"] for r in rows if r["group"] == group}), "all"]:
            ends = collections.Counter(r["end"] for r in rows if r["group"] == group and kind in (r["kind"], "all"))
            other = ends.total() - sum(ends[k] for k in known)
            told = " | ".join(f"{ends[k]:,}" for k in known)
            lines.append(f"| {group}: {kind} | {told} | {other} |")
    times = np.array([r["seconds"] for r in rows])
    about = machine()
    lines += [
        "",
        f"Seconds to open and ask: median {np.median(times):.4f}, longest {times.max():.2f}; at most "
        f"{EXTRA >> 20} MiB could be taken. Damaged: the sha256 as it was. Forged: made anew; a sha256 tells damage, not who "
        "wrote a file, so that a forged one with other weights is another net. It opens where its first example still "
        "answers within 0.01 of what it says; no name but those of Lamina's nets and tasks is ever imported.",
        "",
        f"Measured by `python bench/mutate.py --count {len(rows)} --seed {seed}`; {about['processor']}, torch "
        f"{about['torch']}, lamina {about['lamina']}, {time.strftime('%Y-%m-%d')}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Mutate, print and write the table; 1 when a file did what none may do."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--count", type=int, default=10_000)
    flags.add_argument("--seed", type=int, default=0)
    options = flags.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = run(make(Path(folder)), options.count, options.seed, Path(folder))
    told = table(rows, options.seed)
    (Path(__file__).parent / "results" / "mutate.md").write_text(told)
    print(told)
    fine = {"damaged": ("rejected", "bit-equal"), "forged": ("rejected", "bit-equal", "another net")}
    wrong = [r for r in rows if r["end"] not in fine[r["group"]]]
    for row in wrong[:20]:
        print(row, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
