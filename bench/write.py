"""Measure nets that write against a plain PyTorch loop: python bench/write.py TEXT [--repeats 5]

Training: tokens per processor second of weight updates of the same net, on one thread, each side in a process of its own, in
turn. Writing: the GPT 6x384 at length 256, batch 1, with the cache against reading all anew for each token. The figures are
medians over repeats, with the least and the most; results/write.md takes them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
WORKS = {
    "LSTM 2x256, batch 32 of 64": ("char_rnn/2x256", 32, 64, 10),
    "GPT 4x128, batch 12 of 64": ("gpt/4x128", 12, 64, 24),
    "GPT 6x384, batch 12 of 256": ("gpt/6x384", 12, 256, 2),
}
WRITING = "writing by GPT 6x384, 256 tokens"
WRITTEN = 256


def one_side(side: str, work: str, text: Path) -> dict[str, float]:
    """Tokens a processor second of one side."""
    import torch

    torch.set_num_threads(1)
    sys.path.insert(0, str(HERE / "peers"))
    import write_torch

    if work == WRITING:
        return _writing(side, write_torch)
    net, batch, length, steps = WORKS[work]
    step = _ours(net, batch, length, text) if side == "lamina" else _plain(write_torch, net, batch, length, text)
    for number in range(max(1, steps // 4)):
        step(number)
    start = time.process_time()
    for number in range(steps):
        loss = step(number)
    seconds = time.process_time() - start
    assert float(loss) > 0
    return {"tokens_per_second": batch * length * steps / seconds}


def _ours(net: str, batch: int, length: int, text: Path):
    import torch

    import lamina
    from lamina.api import prepare
    from lamina.core.device import keep_freed_memory
    from lamina.data._batches import Batches
    from lamina.train import plan as planning
    from lamina.train.plan import Wishes
    from lamina.train.recipe import Recipe
    from lamina.train.step import Feed, Step

    keep_freed_memory()
    style = {"style": "gpt2"} if net.startswith("gpt") else {}
    wishes = Wishes(net=net, net_settings=style, recipe=Recipe(batch=batch, steps=1000, lr=1e-3))
    made = prepare(lamina.open(text, context=length), wishes)
    task, built = planning.build(made.plan, made.table, torch.device("cpu"))
    built.train()
    train = made.table.take(made.table.rows(0))
    feed = Feed(task, Batches(train, made.plan.inputs, made.plan.target, torch.device("cpu")), made.plan.recipe)
    step = Step(task, built, made.plan.recipe)
    return lambda number: step(feed(number), number, 0.5)


def _plain(write_torch, net: str, batch: int, length: int, text: Path):
    import torch

    letters = text.read_text(encoding="utf-8")
    code = {c: i + 4 for i, c in enumerate(sorted(set(letters)))}
    ids, vocabulary = torch.tensor([code[c] for c in letters]), len(code) + 4
    sizes = {"gpt/4x128": (4, 128, 4), "gpt/6x384": (6, 384, 6)}
    if net in sizes:
        return write_torch.Loop(write_torch.GPT(vocabulary, *sizes[net], length), ids, batch, length)
    return write_torch.Loop(write_torch.LSTM(vocabulary, 2, 256), ids, batch, length)


def _writing(side: str, write_torch) -> dict[str, float]:
    import torch

    from lamina.nets import gpt
    from lamina.tasks._sampling import Sampling, written

    torch.manual_seed(0)
    if side == "lamina":
        net = gpt.Net(gpt.Config(**gpt.SIZES["6x384"], length=WRITTEN + 1, style="gpt2"))
        start = time.process_time()
        made = list(written(net, [5], Sampling(1.0), WRITTEN, WRITTEN + 1))
    else:
        net = write_torch.GPT(65, 6, 384, 6, WRITTEN + 1)
        start = time.process_time()
        made = write_torch.write(net, WRITTEN, WRITTEN + 1)[1:]
    return {"tokens_per_second": len(made) / (time.process_time() - start)}


def main() -> None:
    """Measure and write results/write.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", nargs=2, metavar=("SIDE", "WORK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(one_side(*options.side, options.text)))
        return
    from lamina.core.device import machine

    loads, lines = [os.getloadavg()[0]], []
    with tempfile.TemporaryDirectory() as store:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "LAMINA_STORE": store}
        for work in (*WORKS, WRITING):
            found: dict[str, list[float]] = {"lamina": [], "plain": []}
            for _ in range(options.repeats):
                for side, kept in found.items():
                    command = [sys.executable, __file__, str(options.text), "--side", side, work]
                    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
                    kept.append(json.loads(done.stdout.strip().split("\n")[-1])["tokens_per_second"])
                loads.append(os.getloadavg()[0])
            ratios = [a / b for a, b in zip(*found.values(), strict=True)]
            ours, plain = (statistics.median(values) for values in found.values())
            lines.append(
                f"| {work} | {ours:,.0f} | {plain:,.0f} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
            )
            print(lines[-1], flush=True)
    here = machine()
    page = ["# Writing", "", "Tokens per processor second, one thread, against a plain float32 PyTorch loop of the same net.", "",
            "| work | Lamina | plain loop | ratio (least to most) |", "|---|---|---|---|", *lines, "",
            f"Medians of {options.repeats}, in turn; {here['processor']}, torch {here['torch']}; load {min(loads):.1f} to {max(loads):.1f}, "
            f"{time.strftime('%Y-%m-%d')}: `python bench/write.py TEXT --repeats {options.repeats}`."]  # fmt: skip
    (HERE / "results" / "write.md").write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
