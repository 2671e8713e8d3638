"""A trained run: scores, answers, explains, reports and ships."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
from torch import nn

from lamina.core import device
from lamina.core.errors import DataError, RunError
from lamina.core.run import Run
from lamina.data import _asked as asked
from lamina.data._batches import Batches
from lamina.data._store import shared
from lamina.data._table import TEST, VALIDATION, Field, Table
from lamina.judge import _closer, _report_json, _rows, _worst, report, score
from lamina.judge.score import Score
from lamina.ship import _parcel as parcel
from lamina.train import evaluate
from lamina.train import plan as planning
from lamina.train.budget import Clock
from lamina.train.plan import Plan

FITTED = "fitted.json"  # options that were found after training
CLOSER = 0.1  # of the time used, that checks may take beside it
CLOSING = 0.6  # seconds that must be left behind the checks of the data, to write the report again


class Trained:
    """A run whose best net can be scored, asked and reported on."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.config = run.read_json("config.json")
        if not run.has("best.safetensors"):
            raise RunError(f"{run.path} has no trained net yet; `lamina train --resume {run.path}` goes on with it.")
        self.plan = Plan.from_json(self.config["plan"])
        self._net: nn.Module | None = None
        if run.has(FITTED):
            self.plan = replace(self.plan, options={**self.plan.options, **run.read_json(FITTED)})
        self.task = planning.task_of(self.plan.task, self.plan.target, self.plan.options)

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.run.path

    @property
    def net(self) -> nn.Module:
        """The best net, in its answering mode."""
        if self._net is None:
            net = planning.net_of(self.plan.net, self.plan.net_config)
            try:
                net.load_state_dict(safetensors.torch.load(self.run.read("best.safetensors")))
            except (safetensors.SafetensorError, RuntimeError) as error:
                raise RunError(
                    f"{self.path / 'best.safetensors'} does not fit its config: {error}".split("\n")[0]
                ) from None
            self._net = net.to(device.choose(self.plan.device)).eval()
        return self._net

    def finish(self, table: Table, complete: bool) -> None:
        """Calibration, score on the test rows, and the report; not complete: training was stopped and can go on."""
        seed = self.plan.recipe.seed
        self._fit_options(table)
        signature = self.signature(table, "test")
        made, rows = score.measured(self.task, self.net, table, seed, signature, shared())
        self.run.write_json("score.json", {**made.to_json(), "complete": complete})
        self.run.write(_rows.FILE, _rows.kept(rows, table.rows(TEST)))
        self.run.write(parcel.EXAMPLES, parcel.kept(table, self.plan.inputs))
        drawn = _worst.kept(self.task, self.net, table, made)
        if drawn:
            self.run.write(_worst.FILE, drawn)
        if samples := self.task.samples(self.net, table):
            self.run.write_json("samples.json", samples)
        self._write_report(table)

    def _write_report(self, table: Table) -> None:
        self.run.write("report.html", report.page(self.run, self.config, table, self.plan).encode())
        self.run.write_json("report.json", _report_json.numbers(self.run, self.config, self.plan))

    def look_closer(self, table: Table, clock: Clock) -> None:
        """Slices, labels and cost, and checks of the data, in the time that is left; the report is written again with them."""
        end = clock.limit - CLOSING
        if clock.seconds() > end:
            return
        kept = _rows.read(self.run)
        found = _closer.look(self.task, table, kept, kept.get("place", table.rows(TEST)))
        where = next(self.net.parameters()).device
        rows = _closer.first_rows(table, self.task, where)
        self.run.write_json(_closer.COST, _closer.cost(self.task, self.net, rows, end - clock.seconds()))
        found["data"] = _closer.of_data(table, min(end - clock.seconds(), CLOSER * clock.seconds()))
        self.run.write_json(_closer.CLOSER, found)
        self._write_report(table)

    def _fit_options(self, table: Table) -> None:
        """What is fitted on the validation rows after training; the plan stays as it was, for a run that goes on."""
        self.plan = Plan.from_json(self.config["plan"])
        self.task = planning.task_of(self.plan.task, self.plan.target, self.plan.options)
        rows = table.take(table.rows(VALIDATION))
        device_ = next(self.net.parameters()).device
        fitted = self.task.fitted(
            lambda: evaluate.statistics(
                self.task, self.net, Batches(rows, table.inputs, self.task.target, device_, shared())
            )
        )
        self.run.write_json(FITTED, fitted)
        self.plan = replace(self.plan, options={**self.plan.options, **fitted})
        self.task = planning.task_of(self.plan.task, self.plan.target, self.plan.options)

    def score(self, on: Any = None) -> Score:
        """The score on the test rows of its data, as measured after training; or on all rows of other data.

        Raises DataError when a column or a class of the other data does not fit.
        """
        if on is None:
            if not self.run.has("score.json"):
                raise RunError(
                    f"{self.path} was stopped before it was scored; go on with `lamina train --resume {self.path}`."
                )
            return Score(**self.run.read_json("score.json"))
        target = self.plan.target
        table = asked.opened(on, [*self.plan.inputs, target])
        if target.name not in table.columns:  # a target that the task makes of the rows: pairs of photographs
            table = table.with_(split=np.full(len(table), TEST, np.int8))
            table = planning.rearranged(table, self.plan.task, self.plan.options, self.plan.recipe.seed)
        table = table.conform([*self.plan.inputs, target])
        known = ~table[target.name].missing()
        if not known.any():
            raise DataError(
                f"no row of {table.source} has a {target.name} that the net knows ({', '.join(target.classes[:8])})."
            )
        table = table.with_(target=target.name).take(known)
        seed = self.plan.recipe.seed
        return score.measure_on(self.task, self.net, table, self.plan.inputs, seed, self.signature(table, "all rows"))

    def signature(self, table: Table, split: str) -> str:
        """What a score of these rows is signed with: data, split, seed, precision, versions."""
        ways = self.run.history("ways")
        precision = ways[-1]["measured"][0].get("precision", "float32") if ways else "float32"
        return score.signature(table, self.plan.recipe.seed, split, precision)

    def ask(self, *sources: Any) -> Any:
        """Answers (core.answers) for a file, folder, table, row (a dict) or array; a list unless one row was asked.

        Raises DataError when nothing can be read.
        """
        return parcel.one_or_all(self.answers(*sources)[0])

    def answers(self, *sources: Any) -> evaluate.Asked:
        """(name of the row, answer) in the order asked, and (where, why) of what could not be read. Raises DataError."""
        return evaluate.asked(self.task, self.net, self.plan.inputs, *sources)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels, in the order of their codes; () when a number is answered."""
        return self.plan.target.classes

    @property
    def columns(self) -> tuple[tuple[Field, ...], Field]:
        """The columns that it reads, and the one that it answers."""
        return self.plan.inputs, self.plan.target

    def explain(
        self, source: Any, method: str | None = None, *, label: str | None = None, data: Any = None, **settings: Any
    ) -> Any:
        """Why it answers as it does: an Explanation (picture, arrays, sentence); with method="all" a list of all that fit.

        source: a picture file, a row (a dict), or a position among the test rows. label: the class to explain. data: what the run
        learned from, when it came from memory. settings: fields of the method's Config. Raises LaminaError.
        """
        from lamina import explaining

        _, found, _ = explaining.explain(self, source, method, label, data, **settings)
        return found if method == explaining.ALL else found[0]

    def write(self, start: str = "", length: int = 500, **how: Any) -> Iterator[str]:
        """Pieces of a text that goes on after `start`; `how`: temperature, top_k, top_p, seed, stop. Raises SettingError."""
        from lamina import writing

        return writing.write(self, start, length, **how)

    def check(self, data: Any = None, deep: bool = False) -> Any:
        """How a net that labels pictures stands worse pictures and attacks: a Check. Raises LaminaError.

        data: what the run learned from, when it came from memory. deep: on all test rows, and attacks by one pixel.
        """
        from lamina import checking

        return checking.check(self, data, deep)

    def ship(self, to: str = "pack", out: str | Path | None = None, **how: Any) -> Path:
        """Write the trained net as one file (`lamina list exports`), checked to answer alike; its path. Raises LaminaError.

        how: int8=True, of onnx, in whole numbers of 8 bits, refused where over 1 % of the score is lost, but with anyway=True;
        data, what the run learned from, when it came from memory.
        """
        from lamina import shipping

        return shipping.ship(self, to, out, **how)

    def report(self) -> Path:
        """Path of the report, one HTML file. Raises RunError when the run is not finished."""
        if not self.run.has("report.html"):
            raise RunError(f"{self.path} has no report yet; go on with `lamina train --resume {self.path}`.")
        return self.path / "report.html"

    def __repr__(self) -> str:
        return f"Trained({str(self.path)!r}, {self.plan.task}, {self.plan.net})"
