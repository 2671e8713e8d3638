"""The loop. `fit` is a generator of Reports: stopping is leaving the for, and what looks on (progress line, search) reads it.

It keeps a budget, validates the averaged weights, keeps the best, saves before it says that it saved, resumes to the same
bits, and watches the health of what it trains. Everything that a later step depends on is in the saved state or is keyed by
(seed, pass, row, step).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

import torch
from torch import Tensor, nn

from lamina.core.errors import TrainingError
from lamina.core.run import Run
from lamina.data._batches import Batches
from lamina.data._store import shared
from lamina.data._table import TEST, TRAIN, VALIDATION, Table
from lamina.tasks._task import Task
from lamina.train import _state, compiled, freeze
from lamina.train._report import Report
from lamina.train.budget import Budget, Clock
from lamina.train.evaluate import batch_rows, mode, statistics
from lamina.train.health import Health
from lamina.train.recipe import Recipe
from lamina.train.step import Feed, Step
from lamina.train.ways import Way, choose

TICK = 0.4  # seconds between reports
SAVE = 20.0  # seconds between saves
SAVE_VALIDATED = 1.0  # seconds between saves at validations; a state between them is made again when a run is resumed
CHOOSE = 2.0  # seconds until the way to run an update may be chosen again; doubled each time
FINAL, AGAIN = 32, (0.3, 0.6, 0.85)  # rows that are scored as at the end, and when again, where that takes its own time
UNKNOWN = 0.2  # of the time, at most, that is kept for it while the net knows nothing and answers at length
SCORED = 256  # validation rows that are scored to see how long scoring takes


def fit(
    task: Task,
    net: nn.Module,
    table: Table,
    recipe: Recipe,
    run: Run,
    *,
    clock: Clock | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Report]:
    """Train `net` in place on the table's train rows and yield a Report about every TICK seconds and at every validation.

    Continues from the newest intact state of `run`, if it has one. Afterwards `run` holds best.safetensors: the averaged
    weights of the best validation. `stop` is asked after every report and ends the training early, saved.
    Raises TrainingError when the loss is not finite twice, RunError when the run cannot be written.
    """
    training = _Training(task, net, table, recipe, run, clock or Clock(time.monotonic()))
    training.begin_or_resume()
    while training.progress.remaining > 0 and not stop():
        losses = training.steps()
        if not bool(losses.isfinite().all()) or not training.finite():
            training.roll_back(losses)
            continue
        score = training.validate() if training.due() else None
        saved = training.save_when_due(score is not None)
        yield training.report(losses, score, saved)
    if training.validated_step != training.progress.step:  # stopped between validations
        score = training.validate()
        training.save()
        yield training.report(torch.zeros(0), score, True)
    elif training.saved_step != training.progress.step:
        training.save()


class _Training:
    """The parts of a training and what is done with them; `fit` is the order in which it is done."""

    def __init__(self, task: Task, net: nn.Module, table: Table, recipe: Recipe, run: Run, clock: Clock) -> None:
        self.task, self.whole, self.recipe, self.run, self.clock = task, net, recipe, run, clock
        device, store = next(net.parameters()).device, shared()
        train = table.take(table.rows(TRAIN))
        inputs, target = table.inputs, table[table.target or ""].field
        self.names = train.names
        self.train = Batches(train, inputs, target, device, store)
        self.validation = Batches(table.take(table.rows(VALIDATION)), inputs, target, device, store)
        self.tests, self.again = len(table.rows(TEST)), list(AGAIN)
        self.net, reused, each = freeze.once(task, net, recipe, (self.train, self.validation), clock.left())
        clock.features = each * len(self.validation)
        self.note = reused or self.train.note(recipe.batch or 1)
        self.feed = Feed(task, self.train, recipe)
        self.step = Step(task, self.net, recipe)
        self.budget = Budget(recipe, len(self.train))
        self.health = Health()
        self.progress = _state.Progress(micro_batch=self.step.micro_batch)
        self.validated_step = -1
        self.saved_at, self.saved_step = time.monotonic(), -1
        self.speed, self.waiting = 0.0, 0.0
        self.threads, self.way_seconds = torch.get_num_threads(), math.inf
        self.chosen_at, self.choose_after = time.monotonic(), CHOOSE

    def begin_or_resume(self) -> None:
        mode(self.net, True)
        self.average = _state.Average(self.net, 0.0)
        progress, sentences = _state.restore(self.run, self.net, self.average, self.step)
        for sentence in [*sentences, *([self.note] if self.note else [])]:
            self.health.add(sentence, sentence)
        if progress is None:
            left = self.clock.left()
            seconds = self.choose_way(min(1.0, 0.02 * left) if math.isfinite(left) else 1.0)
            self.budget.begin(self.progress, self.clock, seconds, self.time_scoring())
            self.progress.horizon = (self.recipe.average or 0.0) * self.progress.remaining
            self.save()
        else:
            self.progress = progress
            Way(**progress.way).apply(self.step)
            self.validated_step = progress.step
            self.clock.started = min(self.clock.started, time.monotonic() - progress.seconds)
            self.run.rewind_log(progress.step)
            self.run.log(event="resumed", step=progress.step)
        self.average.horizon = self.progress.horizon

    def choose_way(self, seconds: float, now: Way | None = None) -> float:
        """Take the fastest way to run an update on this machine: its seconds."""

        def step(net: nn.Module) -> Step:
            return Step(self.task, net, self.recipe)

        measured = choose(self.net, step, self.feed, seconds, self.threads, now, self.recipe.minutes)
        measured[0].way.apply(self.step)
        self.progress.way = asdict(measured[0].way)
        self.way_seconds, self.chosen_at = measured[0].seconds, time.monotonic()
        self.run.log(event="ways", step=self.progress.step, measured=[m.to_json() for m in measured])
        return measured[0].seconds

    def choose_again(self, seconds: float) -> None:
        """When time counts and updates take much longer than measured, another program has come: choose threads anew."""
        self.way_seconds = min(self.way_seconds, seconds)
        waited = time.monotonic() - self.chosen_at
        if self.recipe.minutes is None or waited < self.choose_after or seconds < 2 * self.way_seconds:
            return
        self.choose_after *= 2
        self.budget.step_seconds = self.choose_way(
            min(0.5, 0.02 * max(0.0, self.clock.left())), Way(**self.progress.way)
        )

    def time_scoring(self) -> float:
        """Seconds of a pass over the validation rows, from one batch of them."""
        rows = min(len(self.validation), SCORED, batch_rows(self.validation) if self.validation.window else SCORED)
        few = self.validation.first(rows)
        statistics(self.task, self.average.net, few)
        start = time.perf_counter()
        statistics(self.task, self.average.net, few)
        seconds = (time.perf_counter() - start) * len(self.validation) / rows
        self.time_final()
        self.clock.final = min(self.clock.final, max(0.0, UNKNOWN * self.clock.left()))
        return seconds

    def time_final(self) -> None:
        """Keep time for the test rows where the task scores them otherwise than others, such as by whole translations."""
        if type(self.task).final is Task.final or self.recipe.minutes is None:
            return
        self.average.catch_up()
        few, seconds = self.validation.first(min(len(self.validation), FINAL)), []
        for final in (False, True):
            start = time.perf_counter()
            statistics(self.task, self.average.net, few, final)
            seconds.append(time.perf_counter() - start)
        self.clock.final = max(0.0, seconds[1] - seconds[0]) * self.tests / len(few)

    def steps(self) -> Tensor:
        """Weight updates until the next report or validation: their losses."""
        progress, losses = self.progress, []
        until_validation = progress.every - progress.step % progress.every
        ticks = max(1, int(TICK / self.budget.step_seconds)) if self.budget.step_seconds else 1
        count = min(ticks, until_validation, progress.remaining)
        start, fetching = time.perf_counter(), 0.0
        for _ in range(count):
            fetched = time.perf_counter()
            batch = self.feed(progress.step)
            fetching += time.perf_counter() - fetched
            losses.append(self.step(batch, progress.step, progress.fraction))
            self.budget.advance(progress)
            self.average.update(progress.step)
        stacked = torch.stack(losses).cpu()
        seconds = time.perf_counter() - start
        if self.again and progress.fraction >= self.again[0]:
            self.again.pop(0)
            self.time_final()
        self.budget.observe(self.clock, step_seconds=seconds / count)
        self.choose_again(seconds / count)
        self.budget.replan(progress, self.clock)
        self.speed, self.waiting = count * self.feed.order.batch / seconds, fetching / seconds
        if progress.first_loss is None:
            progress.first_loss = float(stacked[0])
            self.health.first_loss(progress.first_loss, self.task.loss_at_start())
        return stacked

    def finite(self) -> bool:
        """Whether every weight and statistic is a finite number."""
        values = [t for t in self.net.state_dict().values() if t.is_floating_point() and t.numel()]
        ends = [end.float() for t in values for end in torch.aminmax(t)]  # NaN where one value is; 0.35 ms against 4.0
        return bool(torch.stack(ends).isfinite().all())

    def roll_back(self, losses: Tensor) -> None:
        """After a loss or weight that is not finite: the last good state with a tenth of the rate, once."""
        wrong = (~losses.isfinite()).nonzero()
        step = self.progress.step - len(losses) + (int(wrong[0]) if len(wrong) else len(losses) - 1)
        rows = self.feed.order(step)[0][:5]
        named = ", ".join(str(self.names[i]) for i in rows.tolist())
        what = f"The loss is not finite at step {step} (rows {named} ...)"
        if self.progress.rolled_back:
            raise TrainingError(
                f"{what}, again after going back with a lower rate; look at these rows, or try a lower --lr."
            )
        used = self.clock.seconds()
        progress, _ = _state.restore(self.run, self.net, self.average, self.step)
        assert progress is not None, "a state is saved before the first step"
        self.progress = progress
        self.step.align()
        progress.rolled_back, progress.lowered, self.step.lowered = 1, 0.1, 0.1
        progress.seconds = used
        self.save()
        self.run.log(event="rolled back", step=progress.step, at=step, rows=[str(self.names[i]) for i in rows.tolist()])
        self.health.add("nan", f"{what}: went back to step {progress.step} with a tenth of the learning rate.")

    def due(self) -> bool:
        """Whether it is time to validate: every so many steps, but not just before the end."""
        step, every, remaining = self.progress.step, self.progress.every, self.progress.remaining
        return remaining <= 0 or (step % every == 0 and remaining > every // 3)

    def validate(self) -> float:
        """Score the averaged weights on the validation rows; keep them when they are the best. Returns the score."""
        start, progress = time.perf_counter(), self.progress
        self.average.catch_up()
        rows = statistics(self.task, self.average.net, self.validation)
        self.task.settle(self.average.net, rows)
        numbers = {**self.task.finish(rows), "loss": float(rows["loss"].mean())}
        self._look(numbers["loss"])
        score = numbers[self.task.better]
        if self._is_better(numbers):
            progress.best, progress.best_step, progress.best_scores, progress.stale = score, progress.step, numbers, 0
            self._keep_best(numbers)
        else:
            progress.stale += 1
        if self.recipe.patience and progress.stale >= self.recipe.patience:
            progress.remaining = 0
        self.validated_step = progress.step
        self.budget.observe(self.clock, validation_seconds=time.perf_counter() - start)
        self.run.log(
            event="validation", step=progress.step, passes=self._passes(), **{k: _plain(v) for k, v in numbers.items()}
        )
        return score

    def _look(self, validation_loss: float) -> None:
        """Health, on the training batch of this step."""
        batch = self.feed(self.progress.step)
        self.health.activations(self.average.net, batch)
        self.health.gradients(self.net)
        with torch.no_grad():
            training_loss = float(self.task.loss(self.average.net, batch))
        self.health.gap(training_loss, validation_loss, self.progress.fraction)
        self.health.learning(validation_loss, self.task.loss_at_start(), self.progress.fraction)

    def _is_better(self, numbers: dict[str, float]) -> bool:
        best, chooses = self.progress.best_scores, self.task.chooses
        if not best or math.isnan(best[chooses]) or self.recipe.harden:
            return True  # pictures that are not attacked would choose the net that is hardened least
        sign = -1 if chooses == "loss" or self.task.lower_is_better else 1
        return (sign * numbers[chooses], -numbers["loss"]) > (sign * best[chooses], -best["loss"])

    def _keep_best(self, numbers: dict[str, float]) -> None:
        config = self.run.read("config.json").decode() if self.run.has("config.json") else "{}"
        metadata = {"lamina": config, "validation": json.dumps(numbers), "step": str(self.progress.step)}
        # of a frozen g only the answer is averaged
        weights = {**self.whole.state_dict(), **self.average.net.state_dict()}
        self.run.write("best.safetensors", _state.to_bytes(weights, metadata))

    def save_when_due(self, validated: bool) -> bool:
        due = SAVE_VALIDATED if validated and self.progress.remaining else 0.0 if validated else SAVE
        if time.monotonic() - self.saved_at < due:
            return False
        self.save()
        return True

    def save(self) -> None:
        self.progress.seconds = self.clock.seconds()
        self.progress.micro_batch = self.step.micro_batch
        _state.save(self.run, self.progress, self.net, self.average, self.step)
        self.saved_at, self.saved_step = time.monotonic(), self.progress.step

    def _passes(self) -> float:
        return self.progress.step * self.feed.order.batch / len(self.train)

    def report(self, losses: Tensor, score: float | None, saved: bool) -> Report:
        progress = self.progress
        for sentence in self.step.sentences:
            self.health.add(sentence, sentence)
        if why := compiled.failed(self.net):
            self.health.add("compiled", f"Compiled code cannot be made here, so going on without it: {why}")
        made = Report(
            step=progress.step,
            passes=self._passes(),
            passes_left=progress.remaining * self.feed.order.batch / len(self.train),
            fraction=progress.fraction if progress.remaining > 0 else 1.0,
            loss=float(losses.mean()) if len(losses) else math.nan,
            name=self.task.better,
            score=score,
            best=progress.best,
            rows_per_second=self.speed,
            waiting=self.waiting,
            seconds=self.clock.seconds(),
            seconds_left=progress.remaining
            * (self.budget.step_seconds + self.budget.validation_seconds / progress.every),
            saved=saved,
            sentences=self.health.say(),
        )
        self.run.log(event="report", **{k: _plain(v) for k, v in asdict(made).items() if v is not None and v != []})
        return made


def _plain(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value
