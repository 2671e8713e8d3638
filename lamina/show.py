"""What a person sees: the plan, one progress line, the result. rich on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from lamina.core.figures import PER_CLASS, shown
from lamina.judge.score import Score, interval_shown

if TYPE_CHECKING:
    from torch import nn

    from lamina.api import Prepared
    from lamina.core.run import Run
    from lamina.train.engine import Report
    from lamina.trained import Trained

PLAIN_EVERY = 5.0  # seconds between lines in a log file
BAR = 24  # characters


class Display:
    """Prints what training has to say; made by the command line and by lamina.fit."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=False)
        self.live: Live | None = None
        self.cell: Any = None  # the notebook's output that is written over
        self.printed = 0.0
        self.begun = False
        self.rate, self.each, self.timed = "rows/s", 1, True

    def say(self, sentence: str, style: str = "yellow") -> None:
        """One sentence, above the progress line."""
        self.console.print(Text(f"  {sentence}", style=style), soft_wrap=True)

    def plan(self, prepared: Prepared, net: nn.Module, constant: float, run: Run) -> None:
        """The plan, before training."""
        table, plan = prepared.full, prepared.plan
        self.rate = "images/s" if any(f.kind == "image" for f in plan.inputs) else "rows/s"
        if window := next((f.shape[0] for f in plan.inputs if f.kind == "running"), 0):
            self.rate, self.each = "tokens/s", window
        self.timed = plan.recipe.minutes is not None
        weights = sum(p.numel() for p in net.parameters())
        recipe = plan.recipe
        better = prepared_name(plan)
        rows = [
            ("data", data_line(prepared)),
            ("split", split_line(prepared)),
            ("question", question_line(plan)),
            *(
                [("baseline", f"always the same answer: {shown(better, constant)} {better} on validation")]
                if math.isfinite(constant)
                else []
            ),
            ("net", f"{plan.net}, {weights:,} weights{_settings(plan.net_config)}"),
            (
                "recipe",
                f"{recipe.optimizer}, highest rate {recipe.lr:g}, {recipe.schedule}, batches of {recipe.batch}, seed {recipe.seed}",
            ),
            ("until", until_line(plan)),
            ("run", str(run.path)),
        ]
        self.console.print(fields(rows))
        notes = [*table.notes, *plan.why]
        self.console.print()
        self.console.print(fields([("-", note) for note in notes[:12]], "dim"))
        for bad in table.bad[:5]:
            self.console.print(Text(f"  left out {bad.where}: {bad.why}", style="yellow"))
        if len(table.bad) > 5:
            self.say(f"and {len(table.bad) - 5} more; `lamina look` lists them.")

    def report(self, report: Report) -> None:
        """The progress line, and what health has to say."""
        if not self.begun and report.passes_left:
            how = (
                "About {:.3g} passes fit into the time."
                if self.timed
                else "That is {:.3g} passes over the training rows."
            )
            self.say(how.format(report.passes + report.passes_left), "dim")
        self.begun = True
        for sentence in report.sentences:
            self.say(sentence)
        if self.console.is_jupyter:
            self._notebook(self._line(report, bar=True).plain.strip())
        elif self.console.is_terminal:
            if self.live is None:
                self.live = Live(console=self.console, auto_refresh=False)
                self.live.start()
            self.live.update(self._line(report, bar=True), refresh=True)
        elif time.monotonic() - self.printed >= PLAIN_EVERY or report.fraction >= 1:
            self.printed = time.monotonic()
            self.console.print(self._line(report, bar=False), soft_wrap=True)

    def _notebook(self, line: str) -> None:
        """One output of the cell, written over; rich's own would need ipywidgets."""
        from IPython.display import display  # pyright: ignore[reportMissingImports]  # there in every notebook

        shown_ = {"text/plain": line}
        if self.cell is None:
            self.cell = display(shown_, raw=True, display_id=True)
        else:
            self.cell.update(shown_, raw=True)

    def _line(self, report: Report, bar: bool) -> Text:
        """Where training stands; with a bar as long as it has room, and on one line of a terminal of 80 columns."""
        best = "" if report.best is None else f"{report.name} {shown(report.name, report.best)} best  "
        line = Text(f"  pass {report.passes:.1f}  loss {report.loss:.3f}  ")
        line.append(best, "bold")
        line.append(f"{self.each * report.rows_per_second:,.0f} {self.rate}  ")
        waiting, left = f"data {report.waiting:.0%}  ", f"{clock(report.seconds_left)} left"
        room = self.console.width - len(line) - len(waiting) - len(left) if bar else 0
        line.append(waiting if room >= 0 else "", "dim").append(left, "dim")
        if room > 4:
            size = min(BAR, room - 2)
            done = round(size * report.fraction)
            line = Text("  ").append("━" * done, "green").append("━" * (size - done), "grey37").append(line)
        return line

    def end(self) -> None:
        """Training is over."""
        if self.live:
            self.live.stop()
        self.live = self.cell = None

    def result(self, trained: Trained, seconds: float, stopped: bool) -> None:
        """Score against baselines, worst mistakes, where everything lies, what to try next."""
        path = trained.path
        if stopped:
            self.say(f"Stopped and saved; this is the best so far. Go on with: lamina train --resume {path}")
        self.console.print()
        self.score(trained.score())
        self.console.print(
            fields([("took", f"{clock(seconds)}, scoring included"), ("report", str(path / "report.html"))])
        )
        asked = trained.task.given or ('"TEXT"' if any(f.tokens for f in trained.columns[0]) else "FILE")
        first = f'write {path} --start "TEXT"' if hasattr(trained.task, "write") else f"ask {path} {asked}"
        self.console.print(
            Text(f"  next: lamina {first}    lamina score {path} --on DATA    lamina report {path}", style="dim"),
            soft_wrap=True,
        )

    def score(self, made: Score) -> None:
        """The score, its baselines and the five worst mistakes."""
        line = Text("  ").append(f"{made.name} {shown(made.name, made.value)}", "bold green")
        self.console.print(line.append(f"  on the test rows ({interval_shown(made)})"), soft_wrap=True)
        rows = [(name, shown(made.name, value)) for name, value in made.baselines.items()]
        others = [(k.replace("_", " "), shown(k, v)) for k, v in made.numbers.items()
                  if k != made.name and not k.startswith(PER_CLASS)]  # fmt: skip
        classes = made.by_class()
        self.console.print(
            fields(
                [
                    *(
                        (title, "   ".join(f"{n} {v}" for n, v in told))
                        for title, told in (("against", rows), ("also", others))
                        if told
                    ),
                    *(
                        [(f"{classes[0][0]} of", "   ".join(f"{n} {shown('map', v)}" for _, n, v in classes))]
                        if classes
                        else []
                    ),
                ]
            )
        )
        if made.mistakes:
            told = [f"\n    {mistake_line(mistake)}" for mistake in made.mistakes[:5]]
            self.console.print(Text("  worst mistakes", "dim").append("".join(told), "not dim"), soft_wrap=True)
        self.console.print(Text(f"  {made.signature}", style="dim"), soft_wrap=True)


def mistake_line(mistake: dict) -> str:
    """ "cat/7.jpg: is cat, answered dog (93 %)"."""
    sure = f" ({100 * mistake['probability']:.0f} %)" if "probability" in mistake else ""
    sure = f" ({mistake['said']})" if "said" in mistake else sure
    values = [
        f"{v:,.6g}" if isinstance(v, float) else ", ".join(v) or "none" if isinstance(v, list) else v
        for v in (mistake["target"], mistake["answer"])
    ]
    if values[0] == "":  # pictures: there is no word for what is right
        return f"{mistake['name']}: {values[1]}"
    return f"{mistake['name']}: is {values[0]}, answered {values[1]}{sure}"


def fields(rows: list[tuple[str, str]], style: str = "") -> Padding:
    """Two columns: a dim name and its text."""
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(name, Text(text, style))
    return Padding(grid, (0, 0, 0, 2))


def data_line(prepared: Prepared) -> str:
    """What the data is, in one line."""
    table, inputs = prepared.full, prepared.plan.inputs
    running = next((f for f in inputs if f.kind == "running"), None)
    if running and running.tokens:
        name = Path(table.source).name
        return f"{name}: {len(table):,} windows of {running.shape[0]} tokens over a text ({running.tokens.kind})"
    kinds: dict[str, int] = {}
    for f in inputs:
        kinds[{"label": "category"}.get(f.kind, f.kind)] = kinds.get({"label": "category"}.get(f.kind, f.kind), 0) + 1
    images = "x".join(str(s) for s in next((f.shape[1:] for f in inputs if f.kind == "image"), ()))
    parts = [
        f"{n} {k} column{'s' if n > 1 else ''}" if k != "image" else f"pictures ({images})" for k, n in kinds.items()
    ]
    bad = f", {len(table.bad)} bad ones left out" if table.bad else ""
    two = table.source.split(",") if any(f.kind == "sentence" for f in inputs) else [table.source]  # FILE,FILE
    name = " and ".join(Path(part).name for part in two) or table.source
    return f"{name}: {len(table):,} rows, {', '.join(parts)}{bad}"


def split_line(prepared: Prepared) -> str:
    """Rows per split and the rule."""
    split = prepared.full.split
    assert split is not None
    counts = [f"{int((split == i).sum()):,} {n}" for i, n in enumerate(("train", "validation", "test"))]
    return f"{' / '.join(counts)} ({prepared.full.split_rule})"


def question_line(plan) -> str:  # noqa: ANN001
    """What is asked."""
    from lamina.train.plan import task_class

    target, own = plan.target, task_class(plan.task).question
    if own:
        return f"{plan.task}: {own}"
    if target.kind == "number":
        return f"{plan.task}: how much is {target.name}?"
    some = ", ".join(target.classes[:6]) + (", ..." if len(target.classes) > 6 else "")
    which = "which labels" if target.kind == "labels" else "which"
    return f"{plan.task}: {which} {target.name} of {len(target.classes)} ({some})?"


def until_line(plan) -> str:  # noqa: ANN001
    """When training ends."""
    recipe = plan.recipe
    parts = []
    if recipe.minutes:
        seconds = 60 * recipe.minutes
        parts.append(f"{clock(seconds)} at most, scoring included")
    if recipe.epochs:
        parts.append(f"{recipe.epochs:g} passes")
    if recipe.steps:
        parts.append(f"{recipe.steps:,} updates")
    if recipe.patience:
        parts.append(f"{recipe.patience} validations without a better one")
    return "; or ".join(parts) + "; then the best net is scored on the test rows"


def prepared_name(plan) -> str:  # noqa: ANN001
    """The number that chooses."""
    from lamina.train.plan import task_of

    return task_of(plan.task, plan.target, plan.options).better


def _settings(values: dict) -> str:
    shown_ = {
        k: v for k, v in values.items() if k not in ("classes", "numbers", "categories", "channels", "side", "shape")
    }
    return "".join(f", {k} {','.join(map(str, v)) if isinstance(v, list | tuple) else v}" for k, v in shown_.items())


def clock(seconds: float) -> str:
    """Seconds as people read them: 0:09, 12:30, 1:02:03."""
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
