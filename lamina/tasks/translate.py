"""translate: what is a sentence in the other language? Learned from pairs, each token from those before it (teacher forcing)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.answers import Text
from lamina.core.errors import DataError
from lamina.data import _encoding
from lamina.data._asked import is_file
from lamina.data._batches import Batches
from lamina.data._table import TEST, Field, Table
from lamina.data._tokens import END, PADDING, START, Tokens
from lamina.measures import translation
from lamina.tasks._beam import search
from lamina.tasks._nats import mean_nats
from lamina.tasks._task import Batch, Task, inputs

BEAM = 4
ALPHA = 1.0  # of the length normalisation; nets of minutes end too early with 0.6: 0.5 and 0.8 BLEU less (validation)
SAMPLED = 8  # translations in the report
TOGETHER = 64  # sentences that are translated at once


class Translate(Task):
    """A sentence for a sentence (data/parallel.py). The loss chooses the net; the test rows are translated and give BLEU and chrF."""

    better = "bleu"
    target_kind = ("sentence",)
    answers = "a translation"
    mistakes = False
    reads = "sentences and their translations, two files FILE,FILE or a TSV of two columns"
    asks: ClassVar[dict[str, str]] = {"before": "tokens"}
    question = "What is the sentence in the other language?"
    net: ClassVar[dict[str, str]] = {"sentence": "translator"}
    recipe: ClassVar[dict[str, Any]] = {
        "optimizer": "muon", "lr": 2e-2, "weight_decay": 0.01, "schedule": "cosine", "clip": 1.0, "batch": 32, "smoothing": 0.1,
        "average": 0.02, "augment": "none", "epochs": 10.0, "patience": None,
    }  # fmt: skip

    def __init__(self, target: Field, options: dict[str, Any]) -> None:
        super().__init__(target, options)
        self.tokens: Tokens = target.tokens or Tokens("bytes")

    @property
    def outputs(self) -> int:
        return len(self.tokens)

    @property
    def chooses(self) -> str:
        return "loss"

    @property
    def most(self) -> int:
        """Tokens of a translation, at most."""
        return self.target.shape[0] + 1

    def prepare(self, batch: Batch, training: bool) -> Batch:
        """The translation with START before it goes in, with END behind it comes out."""
        if "target" not in batch:
            return batch
        before = batch["target"]  # START, ids, PADDING
        behind = F.pad(before[:, 1:], (0, 1), value=PADDING)
        place = (before != PADDING).sum(1, keepdim=True) - 1
        return {**batch, "before": before, "target": behind.scatter(1, place, END)}

    def loss(self, net: nn.Module, batch: Batch, phase: str = "all") -> Tensor:
        logits = net(*inputs(net, batch))
        smoothing = self.options.get("smoothing", 0.1) if net.training else 0.0
        return mean_nats(logits.flatten(0, 1), batch["target"].flatten(), PADDING, smoothing)

    def score(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits, target = net(*inputs(net, batch)).float(), batch["target"]
        nats = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PADDING, reduction="none")
        nats, count = nats.view(target.shape).sum(1), (target != PADDING).sum(1)
        return {"nats": nats.double(), "loss": nats / count, "tokens": count}

    def final(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """score, and the statistics of the translations themselves."""
        answers = self._translated(net, batch)
        references = [self.tokens.decode(row) for row in batch["target"].tolist()]
        counts = {k: torch.from_numpy(v) for k, v in translation.counted(answers, references).items()}
        return {**self.score(net, batch), **counts}

    def _translated(self, net: nn.Module, batch: Batch, beam: int = BEAM) -> list[str]:
        found: list[str] = []
        for tokens, mask in zip(batch["tokens"].split(TOGETHER), batch["mask"].split(TOGETHER), strict=True):
            longest = int(mask.sum(1).max())
            ids = search(net, tokens[:, :longest], mask[:, :longest], self.most, beam, ALPHA)
            found += [self.tokens.decode(row) for row in ids]
        return found

    def samples(self, net: nn.Module, table: Table) -> list[tuple[str, str]]:
        rows = table.rows(TEST)[:SAMPLED]
        source, wanted = (table[c].values[rows].tolist() for c in ("source", self.target.name))
        field = table["source"].field
        made = self._of_texts(net, source, field.tokens or self.tokens, field.shape[0])
        return [(a, f"{b.text}\n\nreference: {c}") for a, b, c in zip(source, made, wanted, strict=True)]

    def signature(self) -> str:
        return f"[beam {BEAM}, length normalisation {ALPHA}; {translation.signature()}]"

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        return translation.finish(rows)

    def interval(self, rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
        return translation.interval(rows, name, seed)

    def output(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Logarithms of the probabilities of the first token."""
        start = torch.full((len(batch["tokens"]), 1), START, device=batch["tokens"].device)
        return {"first": net(batch["tokens"], batch["mask"], start)[:, 0].float().log_softmax(-1)}

    def graph(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Logarithms of the probabilities of the token after `before`."""
        return {"next": net(batch["tokens"], batch["mask"], batch["before"])[:, -1].float().log_softmax(-1)}

    def steps(self, net: nn.Module) -> dict[str, Any]:
        return {"most": self.most, "beam": BEAM, "alpha": ALPHA}

    def answers_of(self, output: dict[str, np.ndarray]) -> list[Any]:
        return [Text(self.tokens.name(int(token))) for token in output["first"].argmax(-1)]

    def answer(self, net: nn.Module, batch: Batch) -> list[Any]:
        return [Text(text) for text in self._translated(net, batch)]

    def asked(
        self, net: nn.Module, sources: tuple[Any, ...], fields: tuple[Field, ...] = ()
    ) -> list[tuple[str, Any]] | None:
        """Sentences, or files with one a line, are translated together."""
        names, texts = [], []
        for source in sources:
            if is_file(source):
                lines = _encoding.content(Path(source)).splitlines()
                names += [f"line {i + 1}" for i in range(len(lines))]
                texts += lines
            elif isinstance(source, str) and not source.strip():
                raise DataError("an empty text tells nothing; give a sentence.")
            elif isinstance(source, str):
                names.append(source[:40])
                texts.append(source)
            else:
                raise DataError(f"this net translates sentences; {type(source).__name__} is none.")
        known = fields[0].tokens if fields else None
        if known is None:
            return None
        return list(zip(names, self._of_texts(net, texts, known, fields[0].shape[0]), strict=True))

    def _of_texts(self, net: nn.Module, texts: list[str], known: Tokens, longest: int) -> list[Any]:
        ids = [[START, *known.encode(text).tolist()[:longest]] for text in texts]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        found: list[Any] = [None] * len(ids)
        device = next(net.parameters()).device
        net.eval()
        for begin in range(0, len(order), TOGETHER):
            part = order[begin : begin + TOGETHER]
            tokens = torch.full((len(part), max(len(ids[i]) for i in part)), PADDING, device=device)
            for row, i in enumerate(part):
                tokens[row, : len(ids[i])] = torch.tensor(ids[i], device=device)
            translated = self._translated(net, {"tokens": tokens, "mask": tokens != PADDING})
            for i, text in zip(part, translated, strict=True):
                found[i] = Text(text)
        return found

    def told(self, rows: dict[str, np.ndarray], i: int) -> dict[str, Any]:
        return {"target": "", "answer": ""}

    def loss_at_start(self) -> float | None:
        return math.log(self.outputs)

    def constant(self, train: Batches, test: Batches) -> float | None:
        return math.nan  # no one sentence translates all

    def baselines(self, train: Batches, validation: Batches, test: Batches) -> dict[str, float] | None:
        """None: a sentence that is always the same has a BLEU of next to nothing."""
        return {}
