"""Measure nets that write against PyTorch loops and Keras: python bench/write.py TEXT [--repeats 5] [--threads 1]

Training: tokens a second of weight updates of the same net by AdamW, each side in a process of its own, in turn: Lamina in the
precision and by the code that it takes here, a plain loop in float32, one by hand in mixed precision, and for the LSTM Keras on
TensorFlow in float32 (its mixed precision is slower). Writing: the GPT 6x384 at length 256, batch 1, with the cache against
reading all anew for each token. Seconds are of the processor on one thread, of the clock on several. The figures are medians
over repeats, with the least and the most; results/write.md takes them, or write_two_cores.md and so on.
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
    "LSTM 2x256, batch 32 of 64": ("char_rnn/2x256", 32, 64, 20),
    "GPT 4x128, batch 12 of 64": ("gpt/4x128", 12, 64, 100),
    "GPT 6x384, batch 12 of 256": ("gpt/6x384", 12, 256, 4),
    "GPT 12x768, batch 8 of 256": ("gpt/small", 8, 256, 2),
}
KERAS = "LSTM 2x256, batch 32 of 64"  # its work
WRITING = "writing by GPT 6x384, 256 tokens"
WRITTEN = 256
MINUTES = 10.0  # of a training: what is compiled for it, is compiled here; making that is not counted


def one_side(side: str, work: str, text: Path, threads: int) -> dict[str, float]:
    """Tokens a second of one side."""
    if side == "lamina":
        import lamina  # noqa: F401  # before torch: it sets how threads wait
    import torch

    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    sys.path.insert(0, str(HERE / "peers"))
    import write_torch

    if work == WRITING:
        return _writing(side, write_torch, clock)
    net, batch, length, steps = WORKS[work]
    if side == "lamina":
        from lamina.train import compiled

        step, built = _ours(net, batch, length, text)
        compiled.turn(built, compiled.suits(built, True, torch.device("cpu"), MINUTES))
    else:
        step = _theirs(write_torch, net, batch, length, text, side == "by hand")
    for number in range(max(2, steps // 4)):
        step(number)
    start = clock()
    for number in range(steps):
        loss = step(number)
    found = {"tokens_per_second": batch * length * steps / (clock() - start)}
    assert float(loss.detach()) > 0
    if side == "lamina" and net.startswith("gpt"):  # torch does not count those of an LSTM
        from lamina.bench import matrix_rate, operations

        compiled.turn(built, False)
        found["rate"] = matrix_rate(torch.bfloat16, torch.device("cpu"))
        found["operations"] = operations(lambda: step(0)) / (batch * length)
    return found


def _ours(net: str, batch: int, length: int, text: Path):
    import torch

    import lamina
    from lamina.api import prepare
    from lamina.core.device import bfloat16_pays, keep_freed_memory
    from lamina.data._batches import Batches
    from lamina.train import plan as planning
    from lamina.train.plan import Wishes
    from lamina.train.recipe import Recipe
    from lamina.train.step import Feed, Step

    keep_freed_memory()
    style = {"style": "gpt2"} if net.startswith("gpt") else {}
    wishes = Wishes(net=net, net_settings=style, recipe=Recipe(batch=batch, steps=1000, lr=1e-3, optimizer="adamw"))
    made = prepare(lamina.open(text, context=length), wishes)
    task, built = planning.build(made.plan, made.table, torch.device("cpu"))
    built.train()
    train = made.table.take(made.table.rows(0))
    feed = Feed(task, Batches(train, made.plan.inputs, made.plan.target, torch.device("cpu")), made.plan.recipe)
    step = Step(task, built, made.plan.recipe)
    step.low = bfloat16_pays(torch.device("cpu"))
    return lambda number: step(feed(number), number, 0.5), built


def _theirs(write_torch, net: str, batch: int, length: int, text: Path, by_hand: bool):
    import torch

    from lamina.core.device import keep_freed_memory

    if by_hand:
        keep_freed_memory()

    letters = text.read_text(encoding="utf-8")
    code = {c: i + 4 for i, c in enumerate(sorted(set(letters)))}
    ids, vocabulary = torch.tensor([code[c] for c in letters]), len(code) + 4
    sizes = {"gpt/4x128": (4, 128, 4), "gpt/6x384": (6, 384, 6), "gpt/small": (12, 768, 12)}
    made = write_torch.GPT(vocabulary, *sizes[net], length) if net in sizes else write_torch.LSTM(vocabulary, 2, 256)
    return write_torch.Loop(made, ids, batch, length, by_hand)


def _writing(side: str, write_torch, clock) -> dict[str, float]:
    import torch

    from lamina.data._tokens import END
    from lamina.nets import gpt
    from lamina.tasks._sampling import Sampling, written

    torch.manual_seed(0)
    if side == "lamina":
        net = gpt.Net(gpt.Config(**gpt.SIZES["6x384"], length=WRITTEN + 1, style="gpt2"))
        with torch.no_grad():
            net.norm.bias.fill_(1.0)
            net.embed.weight[END] = -10.0  # so it never ends

        def made(count: int) -> list[int]:
            return list(written(net, [5], Sampling(1.0), count, WRITTEN + 1))
    else:
        net = write_torch.GPT(65, 6, 384, 6, WRITTEN + 1)

        def made(count: int) -> list[int]:
            return write_torch.write(net, count, WRITTEN + 1)[1:]

    made(8)
    start = clock()
    count = len(made(WRITTEN))
    seconds = clock() - start
    assert count == WRITTEN
    return {"tokens_per_second": count / seconds}


def _keras_command(text: Path, batch: int, length: int, steps: int, threads: int) -> list[str]:
    sys.path.insert(0, str(HERE / "peers"))
    import environments

    sizes = [str(number) for number in (batch, length, 4 * steps)]
    return [str(environments.python_of("keras_peer")), str(HERE / "peers" / "write_keras.py"), str(text), *sizes, "float32", str(threads)]  # fmt: skip


def _line(work: str, found: dict[str, list[dict[str, float]]]) -> str:
    """A row of the table: tokens a second of Lamina, times as fast as each peer, share of the matrix products."""
    speeds = {side: [one["tokens_per_second"] for one in values] for side, values in found.items()}
    cells = []
    for side in ("plain", "by hand", "keras"):
        ratios = [a / b for a, b in zip(speeds["lamina"], speeds.get(side, []), strict=False)]
        cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "")
    shares = [one["tokens_per_second"] * one["operations"] / one["rate"] for one in found["lamina"] if "rate" in one]
    share = f"{100 * statistics.median(shares):.0f} %" if shares else ""
    return f"| {work} | {statistics.median(speeds['lamina']):,.0f} | {' | '.join(cells)} | {share} |"


def main() -> None:
    """Measure and write results/write.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", nargs=2, metavar=("SIDE", "WORK"), help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(one_side(*options.side, options.text, options.threads)))
        return
    from lamina.core.device import machine

    loads, lines = [os.getloadavg()[0]], []
    with tempfile.TemporaryDirectory() as store:
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "LAMINA_STORE": store}
        for work in (*WORKS, WRITING):
            peers = ["plain"] if work == WRITING else ["plain", "by hand", *(["keras"] if work == KERAS else [])]
            found: dict[str, list[dict[str, float]]] = {side: [] for side in ("lamina", *peers)}
            for _ in range(options.repeats):
                for side, kept in found.items():
                    command = [
                        sys.executable,
                        __file__,
                        str(options.text),
                        "--threads",
                        str(options.threads),
                        "--side",
                        side,
                        work,
                    ]
                    if side == "keras":
                        command = _keras_command(options.text, *WORKS[work][1:], options.threads)
                    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
                    kept.append(json.loads(done.stdout.strip().split("\n")[-1]))
                loads.append(os.getloadavg()[0])
            lines.append(_line(work, found))
            print(lines[-1], flush=True)
    here, threads = machine(), options.threads
    seconds = "processor second, one thread" if threads == 1 else f"second, {threads} threads"
    page = ["# Writing", "", f"Tokens per {seconds}. A plain float32 PyTorch loop of the same net; one by hand in mixed",
            "precision; Keras on TensorFlow. Share: Lamina's products a second of those of square bfloat16 matrices here. GPTs learn by",
            "compiled code, as in budgets from 8 minutes on; making it is not counted.", "",
            "| work | Lamina | plain loop: times as fast (least to most) | by hand | Keras | share |", "|---|---|---|---|---|---|", *lines, "",
            f"Medians of {options.repeats}, in turn; {here['processor']}, torch {here['torch']}; load {min(loads):.1f} to {max(loads):.1f}, "
            f"{time.strftime('%Y-%m-%d')}: `python bench/write.py TEXT --repeats {options.repeats} --threads {threads}`."]  # fmt: skip
    name = {1: "write.md", 2: "write_two_cores.md"}.get(threads, f"write_{threads}_cores.md")
    (HERE / "results" / name).write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
