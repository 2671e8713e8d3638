"""embed: which words are alike? A vector per word, learned from running text: nearest words, sums and differences of words."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.answers import Text
from lamina.core.errors import DataError
from lamina.data import text
from lamina.data._batches import Batches
from lamina.data._table import Reading, Table
from lamina.data._tokens import FIRST
from lamina.measures.interval import bootstrap
from lamina.nets.word2vec import GROUP
from lamina.tasks._task import Batch, Task
from lamina.tasks._vectors import Vectors, shown

CONTEXT, VOCABULARY = 896, 200_000  # words of a row; different ones, unless asked otherwise
SHOWN = 12  # words in the report whose neighbours are shown


class Embed(Task):
    """Rows are stretches of a running text cut into words; the net foresees neighbours (nets/word2vec.py). Asked for by name."""

    better = "pair_loss"
    lower_is_better = True
    by_name = True
    target_kind = ("running",)
    answers = "vectors"
    mistakes = False
    given = "WORD"
    net: ClassVar[dict[str, str]] = {"running": "word2vec"}
    question = "Which words are alike?"
    recipe: ClassVar[dict[str, Any]] = {
        "optimizer": "adamw", "lr": 0.1, "weight_decay": 0.0, "schedule": "linear", "clip": None, "batch": 8, "smoothing": 0.0,
        "average": 0.0, "augment": "none", "epochs": 5.0, "patience": None,
    }  # fmt: skip

    @classmethod
    def arrange(cls, table: Table, settings: dict[str, Any], seed: int) -> Table:
        """The text cut into words, where that was not asked for. Raises DataError for what is no running text."""
        column = table[table.target or ""] if table.target else None
        if table.reader != "text" or column is None or column.field.tokens is None:
            raise DataError(
                f"embed learns words from running text, and {table.source} is none; name a text or a folder."
            )
        if column.field.tokens.kind == "words":
            return table
        reading = Reading(tokens="words", vocabulary=VOCABULARY, context=2)
        held = np.diff(text.read(Path(table.source), reading)["text"].values.coded.ends).min()
        return text.read(Path(table.source), replace(reading, context=max(2, min(CONTEXT, int(held) - 1))))

    @property
    def outputs(self) -> int:
        return len(self.target.tokens or ())

    def loss(self, net: nn.Module, batch: Batch, phase: str = "all") -> Tensor:
        """Mean loss of a pair; its gradient is that of the sum over pairs times 1, so that a block of any size learns alike."""
        loss, pairs = net.losses(batch["tokens"].flatten())  # type: ignore[operator]
        mean = loss.sum() / pairs.sum().clamp(min=1)
        return _Whole.apply(mean, pairs.sum().clamp(min=1))  # type: ignore[return-value]

    def score(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        tokens = batch["tokens"]
        rows = F.pad(tokens, (0, -tokens.shape[1] % GROUP))
        loss, pairs = (part.view(rows.shape).sum(1) for part in net.losses(rows.flatten(), 0))  # type: ignore[operator]
        return {"nats": loss.double(), "pairs": pairs, "loss": loss / pairs.clamp(min=1)}

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        return {"pair_loss": float(rows["nats"].sum() / max(1.0, rows["pairs"].sum()))}

    def interval(self, rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
        return bootstrap(
            lambda at: self.finish({k: rows[k][at] for k in ("nats", "pairs")})[self.better],
            len(rows["nats"]),
            seed,
            200,
        )

    def vectors(self, net: nn.Module) -> Vectors:
        """The words and the vectors that were learned."""
        words = (self.target.tokens or ()).vocabulary  # type: ignore[union-attr]
        return Vectors(tuple(words), net.near.detach()[FIRST:].float().cpu().numpy())  # type: ignore[union-attr, index]

    def samples(self, net: nn.Module, table: Table) -> list[tuple[str, str]]:
        """The nearest words of common ones of four letters or more."""
        vectors = self.vectors(net)
        common = [word for word in vectors.words[:2000] if len(word) >= 4 and word.isalpha()][:SHOWN]
        return [("Nearest words", "\n".join(f"{word}: {shown(vectors.nearest(word))}" for word in common))]

    def asked(
        self, net: nn.Module, sources: tuple[Any, ...], fields: tuple[Any, ...] = ()
    ) -> list[tuple[str, Any]] | None:
        """Words, or sums of words such as "king - man + woman"; the answer are the nearest words."""
        wrong = next((s for s in sources if not isinstance(s, str)), None)
        if wrong is not None:
            raise DataError(f"this net tells what words are near to a word; {type(wrong).__name__} is none.")
        vectors = self.vectors(net)
        return [(source, Text(shown(vectors.nearest(source)))) for source in sources]

    def output(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The mean vector of the words of each row."""
        return {"vectors": net(batch["tokens"]).mean(1)}

    def answers_of(self, output: dict[str, np.ndarray]) -> list[Any]:
        return [Text(f"a vector of {len(row)} numbers") for row in output["vectors"]]

    def told(self, rows: dict[str, np.ndarray], i: int) -> dict[str, Any]:
        return {"target": "", "answer": ""}

    def constant(self, train: Batches, test: Batches) -> float | None:
        return math.nan  # no answer without an input

    def baselines(self, train: Batches, validation: Batches, test: Batches) -> dict[str, float] | None:
        return {}


class _Whole(torch.autograd.Function):
    """A mean whose gradient is that of the sum."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, count: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(count)
        return mean.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad * ctx.saved_tensors[0], None
