"""mask: which words were hidden? Learned from texts without labels, so that a net fine-tuned with --weights RUN needs few of them.

Devlin 2018, https://arxiv.org/abs/1810.04805, section 3.1: 15 % of the tokens are foretold; of these 80 % are made unknown, 10 % another
token, 10 % stay, drawn by (seed, pass, row). Held-out rows are hidden by a key of their own text, always alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.answers import Text
from lamina.core.errors import DataError, SettingError
from lamina.data import text
from lamina.data._augment import Augment, uniform
from lamina.data._batches import Batches
from lamina.data._running import IGNORED
from lamina.data._table import Field, Reading, Table
from lamina.data._tokens import END, FIRST, START, UNKNOWN, Tokens
from lamina.data._unlabelled import unlabelled
from lamina.measures.interval import bootstrap
from lamina.tasks._nats import mean_nats
from lamina.tasks._task import Batch, Task

SHARE, HIDDEN, OTHER = 0.15, 0.8, 0.1  # of the tokens; of those
BLANK = "___"
SHOWN = 5  # words that are told for a blank
CONTEXT, VOCABULARY = 128, 8_000  # of running text that was cut into characters


@dataclass(frozen=True)
class Config:
    """What is learned beside hidden words."""

    next: bool = False
    """of running text: whether the second half of a window follows the first, or comes from elsewhere"""


class Mask(Task):
    """Hidden tokens of texts, or of windows of a running text, by a net that reads both ways (nets/bert.py). Asked for by name."""

    better = "masked_accuracy"
    by_name = True
    changes = True
    target_kind = ("running", "itself")
    reads = "texts, or running text"
    answers = "masks"
    mistakes = False
    net: ClassVar[dict[str, str]] = {"text": "bert", "running": "bert"}
    question = "Which words were hidden?"
    recipe: ClassVar[dict[str, Any]] = {
        "optimizer": "muon", "lr": 2e-2, "weight_decay": 0.01, "schedule": "one_cycle", "clip": 1.0, "batch": 32, "smoothing": 0.0,
        "average": 0.02, "augment": "none", "epochs": 10.0, "patience": None,
    }  # fmt: skip

    @classmethod
    def arrange(cls, table: Table, settings: dict[str, Any], seed: int) -> Table:
        """The texts alone; running text in byte pairs, where it was cut into characters. Raises DataError and SettingError."""
        running = next((c.field for c in table.columns.values() if c.field.kind == "running"), None)
        if running is None and settings.get("next"):
            raise SettingError(f"--task.next needs running text, and {table.source} holds single texts; leave it out.")
        if running is None:
            return unlabelled(table, "mask")
        if running.tokens is None or running.tokens.kind != "characters" or not Path(table.source).exists():
            return table
        found = Reading(tokens="pairs", vocabulary=VOCABULARY, context=2)
        held = np.diff(text.read(Path(table.source), found)["text"].values.coded.ends).min()
        return text.read(Path(table.source), replace(found, context=max(2, min(CONTEXT, int(held) - 1))))

    @classmethod
    def choose(cls, table: Table) -> dict[str, Any]:
        """How many tokens there are."""
        return {"vocabulary": max(len(f.tokens) for f in table.inputs if f.tokens is not None)}

    @property
    def chooses(self) -> str:
        return "loss"

    @property
    def outputs(self) -> int:
        return self.options["vocabulary"]

    @property
    def hints(self) -> dict[str, Any]:
        return {"per": "mask", "follows": bool(self.options.get("next"))}

    def change(self, batch: Batch, augment: Augment, seed: int, passes: Tensor, rows: Tensor) -> Batch:
        """A batch with tokens hidden by (seed, pass, row)."""
        return self._hidden(batch, seed, passes, rows)

    def prepare(self, batch: Batch, training: bool) -> Batch:
        if "chosen" in batch or "tokens" not in batch:
            return batch
        tokens = batch["tokens"]
        place = torch.arange(tokens.shape[1], device=tokens.device) * 2_862_933_555_777_941_757 + 1
        key = (tokens * place).sum(1)  # padding is 0
        return self._hidden(batch, 0, torch.zeros_like(key), key)

    def _hidden(self, batch: Batch, seed: int, passes: Tensor, rows: Tensor) -> Batch:
        """The batch with `wanted`, the tokens as they were, `chosen`, the places that are foretold, and `follows` (B,)."""
        tokens, target = batch["tokens"], batch.get("target")
        count = tokens.shape[1]
        drawn = uniform(seed, passes, rows, 3 * count + 1)
        lot, way, other = drawn[:, 1:].view(len(tokens), count, 3).unbind(2)
        follows = torch.ones(len(tokens), dtype=torch.long, device=tokens.device)
        if self.options.get("next"):
            tokens, follows = _halves(tokens, drawn[:, 0] < 0.5)
        able = tokens >= FIRST
        if target is not None and target.shape == tokens.shape:
            able = able & (target != IGNORED)  # another window scores them
        lot = lot.masked_fill(~able, 2.0)
        chosen = able & ((lot < SHARE) | (lot == lot.amin(1, keepdim=True)))  # one of every text at least
        drawn_token = FIRST + (other * (self.outputs - FIRST)).long()
        changed = torch.where(way < HIDDEN, UNKNOWN, torch.where(way < HIDDEN + OTHER, drawn_token, tokens))
        seen = torch.where(chosen, changed, tokens)
        return {**batch, "tokens": seen, "wanted": tokens, "chosen": chosen, "follows": follows}

    def _foretold(self, net: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, V) of the hidden tokens and what they are (N,), and nats (B,) of what follows."""
        found, after = net.foretold(batch["tokens"], batch["chosen"])  # type: ignore[operator]
        none = torch.zeros(len(batch["tokens"]), device=found.device)
        follow = none if after is None else F.cross_entropy(after.float(), batch["follows"], reduction="none")
        return found, batch["wanted"][batch["chosen"]], follow

    def loss(self, net: nn.Module, batch: Batch, phase: str = "all") -> Tensor:
        found, wanted, follow = self._foretold(net, batch)
        return mean_nats(found, wanted) + follow.mean()

    def score(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        found, wanted, follow = self._foretold(net, batch)
        nats, hits = F.cross_entropy(found.float(), wanted, reduction="none"), found.argmax(1) == wanted
        row = batch["chosen"].nonzero()[:, 0]
        count = batch["chosen"].sum(1)

        def summed(values: Tensor) -> Tensor:
            return torch.zeros(len(count), device=values.device).index_add_(0, row, values.float())

        total = summed(nats)
        told = {"nats": total, "hits": summed(hits), "tokens": count, "loss": total / count.clamp(min=1) + follow}
        return {**told, "after": (follow < math.log(2)).float()} if self.options.get("next") else told

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        """masked_accuracy, nats_per_token and perplexity at the foretold places; next_accuracy where that is learned."""
        tokens = max(1.0, float(rows["tokens"].sum()))
        nats = float(rows["nats"].sum()) / tokens
        found = {"masked_accuracy": float(rows["hits"].sum()) / tokens, "nats_per_token": nats,
                 "perplexity": math.exp(min(700.0, nats))}  # fmt: skip
        return {**found, "next_accuracy": float(rows["after"].mean())} if "after" in rows else found

    def interval(self, rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
        return bootstrap(
            lambda at: self.finish({k: v[at] for k, v in rows.items()}).get(name, math.nan),
            len(rows["nats"]),
            seed,
            200,
        )

    def output(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"nats": self.score(net, batch)["loss"]}

    def answers_of(self, output: dict[str, np.ndarray]) -> list[Any]:
        return [Text(f"{nats:.3f} nats a hidden token") for nats in output["nats"].tolist()]

    def asked(
        self, net: nn.Module, sources: tuple[Any, ...], fields: tuple[Field, ...] = ()
    ) -> list[tuple[str, Any]] | None:
        """A text with ___ where a word is to be foretold; the answers are the likeliest ones, best first."""
        field = next((f for f in fields if f.tokens is not None), None)
        if field is None or field.tokens is None:
            return None
        found = []
        for source in sources:
            if not isinstance(source, str) or BLANK not in source:
                raise DataError(f"put {BLANK} where a word is to be foretold: lamina ask RUN 'the {BLANK} sat'.")
            found.append((source, Text("; ".join(self._filled(net, source, field.tokens, field.shape[0])))))
        return found

    def _filled(self, net: nn.Module, source: str, tokens: Tokens, longest: int) -> list[str]:
        """The likeliest tokens of each blank."""
        parts = source.split(BLANK)
        ids = [START, *tokens.encode(parts[0].rstrip(" ") if tokens.kind == "pairs" else parts[0]).tolist()]
        for part in parts[1:]:
            ids += [UNKNOWN, *tokens.encode(part).tolist()]
        ids = ids[: longest if self.target.kind == "running" else longest + 1]
        given = torch.tensor([ids], device=next(net.parameters()).device)
        net.eval()
        with torch.no_grad():
            logits = net.foretold(given, given == UNKNOWN)[0].float()  # type: ignore[operator]
        logits[:, :FIRST] = -math.inf
        likely = logits.softmax(1).topk(min(SHOWN, logits.shape[1] - FIRST), 1)
        return [
            ", ".join(f"{tokens.name(int(i)).strip() or repr(tokens.name(int(i)))} {100 * p:.0f} %" for i, p in zip(*row, strict=True))
            for row in zip(likely.indices.tolist(), likely.values.tolist(), strict=True)
        ]  # fmt: skip

    def told(self, rows: dict[str, np.ndarray], i: int) -> dict[str, Any]:
        return {"target": "", "answer": ""}

    def loss_at_start(self) -> float | None:
        return math.log(self.outputs) + (math.log(2) if self.options.get("next") else 0.0)

    def constant(self, train: Batches, test: Batches) -> float | None:
        return math.nan  # what is the commonest token takes the texts themselves: `baselines`

    def baselines(self, train: Batches, validation: Batches, test: Batches) -> dict[str, float] | None:
        """How often the commonest token of the training rows is right."""
        count = torch.zeros(self.outputs, dtype=torch.long)
        for part in torch.arange(len(train)).split(512):
            tokens = train.get(part)["tokens"].flatten().cpu()
            count += torch.bincount(tokens[tokens >= FIRST], minlength=self.outputs)
        common, hits, places = int(count.argmax()), 0, 0
        for part in torch.arange(len(test)).split(512):
            batch = self.prepare(test.get(part), training=False)
            wanted = batch["wanted"][batch["chosen"]]
            hits, places = hits + int((wanted == common).sum()), places + len(wanted)
        return {"the commonest token": hits / max(1, places)}


def _halves(tokens: Tensor, elsewhere: Tensor) -> tuple[Tensor, Tensor]:
    """START, a half, END, a half: the window's own, or where `elsewhere` (B,) one of another row; and 1 where it follows."""
    half, rows = tokens.shape[1] // 2, len(tokens)
    other = tokens.roll(max(1, rows // 2), 0)
    elsewhere = elsewhere & (rows > 1)
    second = torch.where(elsewhere[:, None], other[:, half:], tokens[:, half:])
    made = torch.cat([tokens[:, :half], second], 1)
    made[:, 0], made[:, half] = START, END
    return made, (~elsewhere).long()
