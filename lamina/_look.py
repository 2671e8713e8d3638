"""look: what data is, what would be done with it and how long that takes, in a few lines and a picture; nothing is trained."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.text import Text

from lamina.api import Prepared, prepare
from lamina.core import device
from lamina.data._batches import Batches
from lamina.data._pictures import Pictures
from lamina.data._sequences import waste
from lamina.data._store import shared
from lamina.data._table import TRAIN, Table
from lamina.judge.findings import findings
from lamina.judge.sheet import sheet
from lamina.show import clock, data_line, fields, question_line, split_line, until_line
from lamina.train import evaluate, freeze
from lamina.train import plan as planning
from lamina.train.plan import Wishes
from lamina.train.step import Feed, Order, Step
from lamina.train.ways import choose

MEASURED = 2_000  # training rows on which the speed is measured
FROZEN = 200  # where their features are computed first
MOST = 60.0  # seconds that this may take


def look(table: Table, wishes: Wishes, console: Console | None = None) -> Prepared:
    """Print what was found and what would be done; write a picture of the data into ./runs. Returns the plan."""
    console = console or Console(highlight=False)
    prepared = prepare(table, wishes)
    plan, full = prepared.plan, prepared.full
    seconds, weights = speed(prepared)
    batch = plan.recipe.batch or 1
    rows = len(full.rows(TRAIN))
    per_pass = seconds * rows / batch
    fits = f"a pass over {rows:,} rows takes {clock(per_pass) if per_pass >= 1 else f'{per_pass:.2f} s'}"
    if plan.recipe.minutes:
        passes = min(60 * plan.recipe.minutes / per_pass, plan.recipe.epochs or np.inf)
        fits += f"; about {passes:,.{0 if passes >= 10 else 1}f} passes in {clock(min(60 * plan.recipe.minutes, passes * per_pass))}"
    padded = padding_line(prepared)
    lines = [
        ("data", data_line(prepared)),
        ("columns", columns_line(full)),
        ("target", target_line(full)),
        ("split", split_line(prepared)),
        ("question", question_line(plan)),
        ("net", f"{plan.net}, {weights:,} weights"),
        ("time", fits),
        *([("padding", padded)] if padded else []),
        ("until", until_line(plan)),
        ("licence", full.licence),
    ]
    console.print(fields(lines))
    console.print()
    console.print(fields([("-", sentence) for sentence in (*full.notes, *plan.why)], "dim"))
    console.print(fields([("!", sentence) for sentence in findings(prepared.table)], "yellow"))
    for bad in full.bad:
        console.print(Text(f"  left out {bad.where}: {bad.why}", style="yellow"))
    path = Path("runs") / f"look-{re.sub('[^A-Za-z0-9._-]+', '-', Path(full.source).name) or 'data'}.png"
    path.parent.mkdir(exist_ok=True)
    sheet(full).save(path)
    console.print(fields([("picture", str(path)), ("next", "lamina train with the same words")]))
    return prepared


def speed(prepared: Prepared) -> tuple[float, int]:
    """Seconds of one weight update, measured on a sample, and the number of weights."""
    plan, table = prepared.plan, prepared.table
    where = device.choose(plan.device)
    few = table.take(table.rows(TRAIN)[: FROZEN if plan.recipe.freeze == "features" else MEASURED])
    task, net = planning.build(plan, few, where)
    weights, batches = sum(p.numel() for p in net.parameters()), Batches(few, plan.inputs, plan.target, where)
    net, *_ = freeze.once(task, net, plan.recipe, [batches], MOST)
    evaluate.mode(net, True)
    feed = Feed(task, batches, plan.recipe)
    seconds = choose(net, lambda copy: Step(task, copy, plan.recipe), feed, 0.5, torch.get_num_threads())[0].seconds
    return seconds, weights


def padding_line(prepared: Prepared) -> str:
    """How much of what a pass over the texts computes is padding; "" where there are no texts."""
    plan, table = prepared.plan, prepared.table
    lengths = Batches(table.take(table.rows(TRAIN)), plan.inputs, plan.target, torch.device("cpu"), shared()).lengths
    if lengths is None:
        return ""
    rows, batch = len(lengths), min(plan.recipe.batch or 1, len(lengths))
    order = Order(rows, batch, plan.recipe.seed, lengths)
    batches = [order(step)[0] for step in range(rows // batch)]
    mixed = torch.randperm(rows, generator=torch.Generator().manual_seed(0))[: len(batches) * batch].split(batch)
    return (
        f"{100 * waste(lengths, batches):.1f} % of the tokens of a pass ({lengths.sum():,} tokens; "
        f"{100 * waste(lengths, mixed):.0f} % if batches were drawn at random)"
    )


def columns_line(table: Table) -> str:
    """How many columns of each kind; of pictures their sizes."""
    kinds = Counter(
        {"label": "category"}.get(c.field.kind, c.field.kind) for n, c in table.columns.items() if n != table.target
    )
    text = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    pictures = next((c.values for c in table.columns.values() if isinstance(c.values, Pictures)), None)
    if pictures is None:
        return text
    sizes = pictures.sizes()
    low, high = sizes.min(0), sizes.max(0)
    span = f"{low[0]}x{low[1]}" if (low == high).all() else f"from {low[0]}x{low[1]} to {high[0]}x{high[1]}"
    return f"{text} of {span} pixels, {'grey' if pictures.channels() == 1 else 'colour'}"


def target_line(table: Table) -> str:
    """The target's classes with their counts, or its range."""
    column = table[table.target or ""]
    if column.field.kind == "running":
        return "the token after each of the text"
    if column.field.kind == "number":
        low, middle, high = np.quantile(column.values, [0, 0.5, 1])
        return f"{column.field.name}: {low:,.6g} to {high:,.6g}, median {middle:,.6g}"
    if column.field.kind == "itself":
        return "none: the rows are learned for their own sake"
    if column.field.kind == "sentence":
        low, middle, high = np.quantile([len(text.split()) for text in column.values], [0, 0.5, 1])
        return f"{column.field.name}: sentences of {low:,.0f} to {high:,.0f} words, median {middle:,.0f}"
    if column.field.kind == "same":
        same = int((column.values[:, 0] == column.values[:, 1]).sum())
        return f"{column.field.name}: {same:,} pairs are the same, {len(column.values) - same:,} different"
    if column.field.kind == "captions":
        return f"{column.field.name}: {sum(map(len, column.values)):,} sentences for {len(column.values):,} rows"
    if column.field.kind == "picture":
        return f"{column.field.name}: a picture"
    if column.field.kind == "mask":
        return f"{column.field.name}: a class of {len(column.field.classes)} per pixel"
    if column.field.kind == "labels":
        held = column.values.sum(0)
    else:
        boxes, tags = (column.field.kind == kind for kind in ("boxes", "tags"))
        parts = [b[:, 4].astype(int) if boxes else b for b in column.values] if boxes or tags else column.values
        codes = np.concatenate(parts) if boxes or tags else column.values
        held = np.bincount(codes, minlength=len(column.field.classes))
    shown = ", ".join(f"{n} {int(held[i]):,}" for i, n in enumerate(column.field.classes[:12]))
    return f"{column.field.name}: {shown}{', ...' if len(held) > 12 else ''}"
