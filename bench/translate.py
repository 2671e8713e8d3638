"""Translations together against one by one, and padding: python bench/translate.py FIRST,SECOND [DATA ...] [--repeats 5]

Decoding: 128 test sentences with beam 4 by a net that learned --minutes, all at once and one by one, in turn; processor time on one
thread; and how many of the sentences come out alike. Padding: the share of a pass's tokens that stand behind the end of a text, of
the two files and of each further DATA. results/translate.md takes the figures.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

NETS = {"Transformer": "translator", "LSTM with attention": "seq2seq"}
ROWS = 128
HERE = Path(__file__).parent


def decoding(data: str, net: str, minutes: float, repeats: int, folder: str) -> tuple[list[float], float, float]:
    """Times as fast of each turn, sentences a second together, and the share of sentences that are alike."""
    import lamina

    table = lamina.open(data)
    run: Any = lamina.fit(table, run=Path(folder) / net, net=net, minutes=minutes, show=False)
    field = table["source"].field
    texts = table["source"].values[table.rows(2)][:ROWS].tolist()

    def made(some: list[str]) -> tuple[float, list[str]]:
        start = time.process_time()
        answers = run.task._of_texts(run.net, some, field.tokens or run.task.tokens, field.shape[0])
        return time.process_time() - start, [str(answer.text) for answer in answers]

    ratios, rates, alike = [], [], 1.0
    for _ in range(repeats):
        together, answers = made(texts)
        each = [made([text]) for text in texts]
        ratios.append(sum(seconds for seconds, _ in each) / together)
        rates.append(len(texts) / together)
        alike = statistics.mean(one == answer for (_, (one,)), answer in zip(each, answers, strict=True))
    return ratios, statistics.median(rates), alike


def padding(data: str) -> tuple[int, float]:
    """Training rows of the data, and the share of padding in a pass over them."""
    import torch

    import lamina
    from lamina.api import prepare
    from lamina.data._batches import Batches
    from lamina.train import plan as planning
    from lamina.train.plan import Wishes
    from lamina.train.step import Feed

    made = prepare(lamina.open(data), Wishes())
    task, _ = planning.build(made.plan, made.table, torch.device("cpu"))
    train = made.table.take(made.table.rows(0))
    feed = Feed(task, Batches(train, made.plan.inputs, made.plan.target, torch.device("cpu")), made.plan.recipe)
    places = filled = 0
    for step in range(max(1, len(train) // feed.order.batch)):
        batch = feed(step)
        for name in ("tokens", "before"):
            if name in batch:
                places += batch[name].numel()
                filled += int((batch[name] != 0).sum())
    return len(train), 1 - filled / places


def main() -> None:
    """Measure and write results/translate.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", help="two files with a sentence a line, with a comma between their names")
    parser.add_argument("data", nargs="*")
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    import torch

    from lamina.core.device import machine

    torch.set_num_threads(1)
    load, lines = os.getloadavg()[0], []
    with tempfile.TemporaryDirectory() as folder:
        for title, net in NETS.items():
            ratios, rate, alike = decoding(options.pairs, net, options.minutes, options.repeats, folder)
            torch.set_num_threads(1)
            lines.append(f"| {title} | {rate:.0f} | {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) | {100 * alike:.0f} % |")  # fmt: skip
            print(lines[-1], flush=True)
    waste = []
    for data in (options.pairs, *options.data):
        rows, share = padding(data)
        waste.append(f"| {', '.join(Path(p).name for p in data.split(','))} | {rows:,} | {100 * share:.1f} % |")
        print(waste[-1], flush=True)
    here = machine()
    page = ["# Translating", "", f"{ROWS} test sentences with beam 4, all at once and one by one, processor time on one thread.", "",
            "| net | sentences a second | times as fast as one by one (least to most) | the same translation |", "|---|---|---|---|", *lines, "",
            "Padding of a pass of training.", "", "| data | training rows | padding |", "|---|---|---|", *waste, "",
            f"Medians of {options.repeats}; {here['processor']}, torch {here['torch']}; load {load:.1f}, {time.strftime('%Y-%m-%d')}: "
            f"`python bench/translate.py FIRST,SECOND [DATA ...] --repeats {options.repeats}`."]  # fmt: skip
    (HERE / "results" / "translate.md").write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
