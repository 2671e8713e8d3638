"""One weight update: micro-batches, gradient clipping, and going on with smaller ones when memory runs out."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from lamina.core.device import seed
from lamina.core.errors import TrainingError
from lamina.data._augment import named, uniform
from lamina.data._batches import Batches
from lamina.data._sequences import bucketed, window_for
from lamina.tasks._task import Batch, Task
from lamina.train.harden import grown, worse
from lamina.train.optim import excess, optimizers, rate
from lamina.train.recipe import Recipe

SHUFFLED, BUCKETS = 1 << 41, 1 << 40  # added to rows: their order hangs on other numbers than how they are changed does
AHEAD = 32  # batches of numbers, categories or running text that are gathered at once
TOKENS = 1 << 18  # of them, at most


class Step:
    """Updates a net's weights by one batch. Its `micro_batch` may shrink; the effective batch never does."""

    def __init__(self, task: Task, net: nn.Module, recipe: Recipe) -> None:
        self.task, self.net, self.recipe = task, net, recipe
        self.micro_batch = recipe.micro_batch or recipe.batch or 2
        self.low = False
        """products in bfloat16"""
        self.lowered = 1.0
        """factor on the learning rate after a roll-back"""
        self.progress = 0.0
        """share of the budget that is used"""
        self.optimizers = optimizers(recipe.optimizer, net, recipe.lr or 0.0, recipe.weight_decay or 0.0)
        self.learned = [p for p in net.parameters() if p.requires_grad]
        self.updated = [w for o in self.optimizers for w in o.weights]
        """the net's weights, but many of them in one vector"""
        drawn = [] if recipe.weights else net.modules()  # statistics that came with weights are not forgotten
        self.norms = [m for m in drawn if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self.sentences: list[str] = []

    def __call__(self, batch: Batch, number: int, progress: float) -> Tensor:
        """Update the weights by a prepared batch; `number` of the step keys dropout. Returns the batch's mean loss, detached."""
        for norm in self.norms if number < 10 else ():
            norm.momentum = max(0.1, 1 / (number + 1))  # the first batches' statistics count, not 0 and 1
        self.progress = progress
        while True:
            seed(self.recipe.seed * 1_000_003 + number, self.learned[0].device)
            try:
                loss = self._gradients(batch)
                break
            except RuntimeError as error:
                self._halve(error)
        self.update(progress)
        return loss

    def update(self, progress: float) -> None:
        """Change the weights by their gradients; `progress` in [0, 1] of the budget sets the learning rate."""
        grads = [w.grad for w in self.updated if w.grad is not None and not w.grad.is_sparse]
        over = excess(grads, self.recipe.clip) if self.recipe.clip and grads else None
        for optimizer in self.optimizers:
            optimizer.low = self.low
            optimizer.step(rate(self.recipe.schedule, progress) * self.lowered, over)

    def align(self) -> None:
        """After the weights were laid out anew."""
        for optimizer in self.optimizers:
            optimizer.align()

    def _gradients(self, batch: Batch) -> Tensor:
        rows = len(batch["target"])
        for optimizer in self.optimizers:
            optimizer.zero()
        parts = -(-rows // self.micro_batch)
        if parts == 1:
            loss = self._loss(batch)
            loss.backward()
            return loss.detach()
        total = torch.zeros((), device=batch["target"].device)
        split = {name: values.tensor_split(parts) for name, values in batch.items()}
        for i in range(parts):
            part = {name: values[i] for name, values in split.items()}
            loss = self._loss(part) * (len(part["target"]) / rows)
            loss.backward()
            total += loss.detach()
        return total

    def _loss(self, batch: Batch) -> Tensor:
        with torch.autocast(self.learned[0].device.type, torch.bfloat16) if self.low else nullcontext():
            if self.recipe.harden:
                batch = worse(self.task, self.net, batch, grown(self.recipe.harden, self.progress))
            return self.task.loss(self.net, batch)

    def _halve(self, error: RuntimeError) -> None:
        """Half the micro-batch after an out-of-memory error; any other error is raised again."""
        text = str(error)
        if (
            not isinstance(error, torch.OutOfMemoryError)
            and "can't allocate memory" not in text
            and "not enough memory" not in text
        ):
            raise error
        if self.micro_batch <= 3:
            raise TrainingError(
                f"not enough memory even for {self.micro_batch} rows at a time; choose a smaller net."
            ) from error
        self.micro_batch = -(-self.micro_batch // 2)
        self.sentences.append(
            f"Memory ran out: going on with micro-batches of {self.micro_batch}, same effective batch."
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class Order:
    """Which rows a step sees: passes of shuffled rows end to end, cut into batches of one size; keyed by (seed, pass).

    `lengths` (rows,) of sequences, or (rows, 2) of two: batches hold rows of like lengths.
    """

    def __init__(self, rows: int, batch: int, seed: int, lengths: np.ndarray | None = None) -> None:
        self.rows, self.batch, self.seed, self.lengths = rows, batch, seed, lengths
        self.window = 0 if lengths is None else window_for(lengths, batch)
        self._shuffled: dict[int, Tensor] = {}

    def __call__(self, step: int, steps: int = 1) -> tuple[Tensor, Tensor]:
        """Rows and their pass, int64 (steps x batch,) each, of steps from one on, counted from 0."""
        start, stop = step * self.batch, (step + steps) * self.batch
        first, last = start // self.rows, (stop - 1) // self.rows
        self._shuffled = {p: o for p, o in self._shuffled.items() if p >= first}
        if first == last:  # most steps, ten times as fast
            here = slice(start - first * self.rows, stop - first * self.rows)
            return self._pass(first)[here], torch.full((stop - start,), first)
        place = torch.arange(start, stop)
        order = torch.cat([self._pass(p) for p in range(first, last + 1)])
        return order[place - first * self.rows], place // self.rows

    def _pass(self, number: int) -> Tensor:
        if number not in self._shuffled:
            every = torch.arange(self.rows)
            keys = uniform(self.seed, torch.full_like(every, number), every + SHUFFLED, 2).double()
            order = torch.argsort(keys[:, 0] + keys[:, 1] / (1 << 24), stable=True)
            self._shuffled[number] = order if self.lengths is None else self._alike(order, number)
        return self._shuffled[number]

    def _alike(self, order: Tensor, number: int) -> Tensor:
        def shuffled(count: int) -> Tensor:
            every = torch.arange(count)
            return torch.argsort(
                uniform(self.seed, torch.full_like(every, number), every + BUCKETS, 1)[:, 0], stable=True
            )

        assert self.lengths is not None
        return bucketed(order, self.lengths, self.batch, -number * self.rows % self.batch, self.window, shuffled)


class Feed:
    """Training batches: gathered, changed at random, prepared; the same for a step however often it is asked.

    Of numbers, categories and running text, which nothing changes, up to AHEAD batches are gathered at once: a batch of the mlp of 64
    rows took 75 us of 860 alone, one of a GPT of 12 x 64 tokens 590 us of 17,000.
    """

    def __init__(self, task: Task, batches: Batches, recipe: Recipe) -> None:
        self.task, self.batches, self.recipe = task, batches, recipe
        self.augment = named(recipe.augment)
        self.order = Order(len(batches), recipe.batch or 2, recipe.seed, batches.lengths)
        tokens = self.order.batch * max(1, batches.window)
        self.many = min(AHEAD, max(1, TOKENS // tokens)) if batches.plain and not task.changes else 0
        self._gathered: tuple[int, list[Batch]] = (-1, [])

    def _ahead(self, step: int) -> Batch:
        begun = step - step % self.many
        if self._gathered[0] != begun:
            many = self.batches.draw(*self.order(begun, self.many), self.recipe.seed)
            parts = [values.split(self.order.batch) for values in many.values()]
            self._gathered = begun, [dict(zip(many, part, strict=True)) for part in zip(*parts, strict=True)]
        return dict(self._gathered[1][step - begun])

    def __call__(self, step: int) -> Batch:
        if self.many:
            return self.task.prepare(self._ahead(step), training=True)
        rows, passes = self.order(step)
        batch = self.batches.draw(rows, passes, self.recipe.seed)
        if self.batches.streams:
            self.batches.ahead(self.order(step + 1)[0])
        if "image" in batch or self.task.changes:
            key = (self.recipe.seed, passes.to(self.batches.device), rows.to(self.batches.device))
            batch = self.task.change(batch, self.augment, *key)
        return self.task.prepare(batch, training=True)
