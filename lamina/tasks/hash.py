"""hash: a code of bits per text, such that texts about the same have codes that differ in few bits. Learned without labels.

The label of a row only judges: the share of the ten nearest held-out texts that have it. Where there are no labels (a folder of texts,
a table with a column of them) the nats with which the code foretells a word judge. Asked for by name.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lamina.core.answers import Apart, Text
from lamina.data import mail
from lamina.data._asked import ROWS, is_file, tables
from lamina.data._batches import Batches
from lamina.data._table import Field, Table
from lamina.data._unlabelled import ITSELF, unlabelled, whole_files
from lamina.measures.interval import of_mean
from lamina.nets._text import SPECIAL
from lamina.tasks import _codes
from lamina.tasks._task import Batch, Task, inputs

COUNT = 10  # nearest texts that are judged
PART = 512  # texts whose words are counted at a time
ASKED = 2_000  # rows that ask, at most


def _holds_rows(source: Any) -> bool:
    """Whether a source is many texts: a folder, a table, a box of mails, or a Table."""
    if not isinstance(source, str | Path):
        return True
    return Path(source).is_dir() or (is_file(source) and str(source).lower().endswith((*ROWS, *mail.BOXES)))


class Hash(Task):
    """Codes of texts (nets/semantic_hash.py): the words of a text are foretold from its bits."""

    better = "precision_at_10"
    by_name = True
    target_kind = ("label", ITSELF)
    reads = "texts, with labels or without"
    answers = "codes"
    mistakes = False
    question = "Which bits say what a text is about?"
    net: ClassVar[dict[str, str]] = {"text": "semantic_hash"}
    recipe: ClassVar[dict[str, Any]] = {"smoothing": 0.0, "augment": "none", "weight_decay": 0.0, "average": 0.0}

    def __init__(self, target: Field, options: dict[str, Any]) -> None:
        super().__init__(target, options)
        self.labelled = target.kind == "label"
        if not self.labelled:
            self.better, self.lower_is_better = "nats_per_word", True

    @classmethod
    def arrange(cls, table: Table, settings: dict[str, Any], seed: int) -> Table:
        """The texts alone where no column is a label; a folder of text files as a text a file. Raises DataError."""
        if any(c.field.kind == "running" for c in table.columns.values()):
            table = whole_files(table)
        labels = any(c.field.kind == "label" for c in table.columns.values())
        return table if table.target or labels else unlabelled(table, "hash")

    @property
    def chooses(self) -> str:
        return "loss"

    @property
    def outputs(self) -> int:
        return max(1, len(self.target.classes))

    def loss(self, net: nn.Module, batch: Batch, phase: str = "all") -> Tensor:
        return self._losses(net, batch).mean()

    def _losses(self, net: nn.Module, batch: Batch) -> Tensor:
        """(rows,): nats per word of each text, foretold from its code."""
        logits, tokens = net(*inputs(net, batch)).float(), batch["tokens"]
        logits = torch.cat([torch.full_like(logits[:, :SPECIAL], -math.inf), logits[:, SPECIAL:]], 1)
        known = tokens >= SPECIAL
        likely = logits.log_softmax(1).gather(1, tokens.clamp(min=SPECIAL))
        return -(likely * known).sum(1) / known.sum(1).clamp(min=1)

    def codes(self, net: nn.Module, batch: Batch) -> Tensor:
        """uint8 (rows, bits / 8)."""
        bits = net.scores(batch["tokens"]) > 0  # type: ignore[operator]
        weight = 2 ** torch.arange(7, -1, -1, device=bits.device)
        return (bits.view(len(bits), -1, 8) * weight).sum(2).to(torch.uint8)

    def score(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self._losses(net, batch), "code": self.codes(net, batch), "target": batch["target"]}

    def _precision(self, rows: dict[str, np.ndarray]) -> np.ndarray:
        """(rows that ask,): share of the nearest other rows that have the label."""
        code, label = rows["code"], rows["target"]
        asks = np.unique(np.linspace(0, len(code) - 1, ASKED).astype(int))
        near = _codes.nearest(code, code[asks], min(COUNT + 1, len(code)))
        hit, other = label[near] == label[asks, None], near != asks[:, None]
        return (hit & other).sum(1) / np.maximum(1, other.sum(1))

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        bits = np.unpackbits(rows["code"], axis=1)
        half = float(np.minimum(bits.mean(0), 1 - bits.mean(0)).mean())
        found = {"nats_per_word": float(rows["loss"].mean()), "rarer_bit": half}
        return {"precision_at_10": float(self._precision(rows).mean()), **found} if self.labelled else found

    def interval(self, rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
        values = {"precision_at_10": lambda: self._precision(rows), "nats_per_word": lambda: rows["loss"]}
        return of_mean(values[name]().tolist())[1:] if name in values else (math.nan, math.nan)

    def output(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"code": self.codes(net, batch)}

    def answers_of(self, output: dict[str, np.ndarray]) -> list[Any]:
        return [Text(row.astype(np.uint8).tobytes().hex()) for row in output["code"]]

    def asked(self, net: Any, sources: tuple[Any, ...], fields: tuple[Field, ...] = ()) -> list[tuple[str, Any]] | None:
        """A text, then folders or tables of texts: the COUNT whose codes differ in the fewest bits (Hamming), the nearest first."""
        if len(sources) < 2 or _holds_rows(sources[0]) or not all(map(_holds_rows, sources[1:])):
            return None
        net.eval()
        asked, *held = (
            (table, self._of_table(net, table, fields)) for table in tables(sources, [*fields, self.target])
        )
        names = [str(name) for table, _ in held for name in table.names]
        codes, own = np.concatenate([code for _, code in held]), asked[1][:1]
        near = _codes.nearest(codes, own, COUNT)[0]
        apart = _codes.distances(codes[near], own)[0]
        return [(names[i], Apart(int(bits), 8 * codes.shape[1])) for i, bits in zip(near, apart, strict=True)]

    @torch.no_grad()
    def _of_table(self, net: nn.Module, table: Table, fields: tuple[Field, ...]) -> np.ndarray:
        """uint8 (rows, bits / 8), in the order of the table."""
        batches = Batches(table, fields, None, next(net.parameters()).device)
        parts = [batches.get(rows) for rows in torch.arange(len(table)).split(PART)]
        return np.concatenate([self.codes(net, self.prepare(part, training=False)).cpu().numpy() for part in parts])

    def told(self, rows: dict[str, np.ndarray], i: int) -> dict[str, Any]:
        return {"target": "", "answer": ""}

    def constant(self, train: Batches, test: Batches) -> float | None:
        """Of codes that are all the same: the chance that another row has the label."""
        if not self.labelled:
            return math.nan  # needs the texts: `baselines`
        share = np.bincount(test.tensors["target"].cpu().numpy()) / len(test)
        return float((share**2).sum())

    def baselines(self, train: Batches, validation: Batches, test: Batches) -> dict[str, float] | None:
        if self.labelled:
            return {}
        count = torch.ones(1)
        for part in torch.arange(len(train)).split(PART):
            own = torch.bincount(train.get(part)["tokens"].flatten().cpu()).float()
            count = nn.functional.pad(count, (0, max(0, len(own) - len(count))), value=1.0)
            count[: len(own)] += own
        count[:SPECIAL] = 0
        nats = -(count / count.sum()).log()
        found = []
        for part in torch.arange(len(test)).split(PART):
            tokens = test.get(part)["tokens"].cpu()
            known = (tokens >= SPECIAL) & (tokens < len(nats))
            each = torch.where(known, nats[tokens.clamp(SPECIAL, len(nats) - 1)], 0.0)
            found.append(each.sum(1) / known.sum(1).clamp(min=1))
        return {"words by how often they are": float(torch.cat(found).mean())}
