"""tag: which tag has each word of a sentence? Names of people and places, parts of speech: learned from words with a tag each.

A word may be cut into several tokens; its tag is read at the first of them (Devlin 2018, section 5.3, https://arxiv.org/abs/1810.04805).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.answers import Tags, Text
from lamina.core.errors import DataError, SettingError
from lamina.data import _encoding, conll
from lamina.data._asked import is_file
from lamina.data._batches import Batches
from lamina.data._ragged import word_lengths
from lamina.data._table import Field, Reading, Table
from lamina.data._tokens import START, Tokens
from lamina.data._words import words
from lamina.measures import spans
from lamina.measures.interval import bootstrap
from lamina.tasks._nats import mean_nats
from lamina.tasks._task import Batch, Task, inputs

TOGETHER = 64  # sentences that are tagged at once


class Tag(Task):
    """A tag per word (data/conll.py). The target (rows, tokens) holds 1 + the code of a tag at the first token of each word, else 0."""

    target_kind = ("tags",)
    answers = "tags"
    mistakes = False
    cut_into = "pairs"
    reads = "words with a tag each, a line a word and an empty line between sentences"
    question = "Which tag has each word?"
    net: ClassVar[dict[str, str]] = {"text": "rnn"}
    recipe: ClassVar[dict[str, Any]] = {"smoothing": 0.0, "augment": "none"}

    def __init__(self, target: Field, options: dict[str, Any]) -> None:
        super().__init__(target, options)
        self.spans = spans.signed(target.classes)
        self.better = "span_f1" if self.spans else "word_accuracy"

    @classmethod
    def choose(cls, table: Table) -> dict[str, Any]:
        """The tokens of the longest sentence that is read. Raises SettingError for more than one column of texts."""
        texts = [f for f in table.inputs if f.kind == "text"]
        if len(texts) != 1 or len(table.inputs) != 1:
            raise SettingError(f"task tag reads one column of texts; {table.source} has {len(table.inputs)} columns.")
        return {"longest": texts[0].shape[0] + 1}

    @property
    def outputs(self) -> int:
        return len(self.target.classes)

    @property
    def hints(self) -> dict[str, Any]:
        return {"per": "token"}

    def prepare(self, batch: Batch, training: bool) -> Batch:
        if "target" not in batch or "tokens" not in batch:
            return batch
        return {**batch, "target": batch["target"][:, : batch["tokens"].shape[1]]}

    def _logits(self, net: nn.Module, batch: Batch) -> Tensor:
        return net(*inputs(net, batch)).float()

    def loss(self, net: nn.Module, batch: Batch, phase: str = "all") -> Tensor:
        logits, target = self._logits(net, batch), batch["target"]
        return mean_nats(logits.flatten(0, 1), target.flatten() - 1, -1)

    def score(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits, target = self._logits(net, batch), batch["target"]
        nats = F.cross_entropy(logits.flatten(0, 1), target.flatten() - 1, ignore_index=-1, reduction="none")
        count = (target > 0).sum(1)
        found = self._compared(logits.argmax(2), target)
        return {**found, "loss": nats.view(target.shape).sum(1) / count.clamp(min=1)}

    def _compared(self, answer: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Per row: words, right ones, and spans that are right, answered and there; answer (B, T) codes, target (B, T) codes + 1."""
        held = target > 0
        hits = ((answer == target - 1) & held).sum(1)
        names, counts = self.target.classes, []
        for own, wanted, here in zip(answer.cpu().numpy(), target.cpu().numpy() - 1, held.cpu().numpy(), strict=True):
            told, true = ([names[code] for code in codes[here]] for codes in (own, wanted))
            counts.append(spans.counted(told, true) if self.spans else (0, 0, 0))
        right, answered, there = torch.tensor(counts, dtype=torch.long).view(-1, 3).unbind(1)
        return {"words": held.sum(1), "hits": hits, "right": right, "answered": answered, "there": there}

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        """word_accuracy over all words; span_f1, span_precision and span_recall where the tags mark spans."""
        found = {"word_accuracy": float(rows["hits"].sum() / max(1, rows["words"].sum()))}
        if not self.spans:
            return found
        return {**found, **spans.scores(*(float(rows[k].sum()) for k in ("right", "answered", "there")))}

    def interval(self, rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
        """By the bootstrap over sentences."""
        kept = ("words", "hits", "right", "answered", "there")
        return bootstrap(
            lambda at: self.finish({k: rows[k][at] for k in kept}).get(name, math.nan), len(rows["words"]), seed, 200
        )

    def output(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The code of the tag at every token, -1 behind the end."""
        codes = self._logits(net, batch).argmax(2).masked_fill(batch["tokens"] == 0, -1)
        return {"answer": F.pad(codes, (0, max(0, self.options["longest"] - codes.shape[1])), value=-1)}

    def answers_of(self, output: dict[str, np.ndarray]) -> list[Any]:
        return [Text(" ".join(self.target.classes[code] for code in row if code >= 0)) for row in output["answer"]]

    def asked(
        self, net: nn.Module, sources: tuple[Any, ...], fields: tuple[Field, ...] = ()
    ) -> list[tuple[str, Any]] | None:
        """Sentences, files with one a line, and files of words with tags; the answers are the words with their tags."""
        field = next((f for f in fields if f.tokens is not None), None)
        if field is None or field.tokens is None:
            return None
        names, cut = [], []
        for source in sources:
            if is_file(source) and conll.claims(Path(source)):
                table = conll.read(Path(source), Reading())
                names += table.names.tolist()
                cut += [text.split() for text in table["text"].values]
            elif is_file(source):
                lines = [line for line in _encoding.content(Path(source)).splitlines() if line.strip()]
                names += [f"line {i + 1}" for i in range(len(lines))]
                cut += [words(line) for line in lines]
            elif isinstance(source, str) and source.strip():
                names.append(source[:40])
                cut.append(words(source))
            else:
                raise DataError("this net tags the words of a text; give a text of a word or more.")
        return list(zip(names, self._tagged(net, cut, field.tokens, field.shape[0]), strict=True))

    @torch.no_grad()
    def _tagged(self, net: nn.Module, cut: list[list[str]], tokens: Tokens, longest: int) -> list[Any]:
        """Tags of every sentence; of words beyond the longest one that the net reads none."""
        net.eval()
        found: list[Any] = []
        for start in range(0, len(cut), TOGETHER):
            part = cut[start : start + TOGETHER]
            ids = [[START, *tokens.encode(" ".join(sentence)).tolist()[:longest]] for sentence in part]
            given = torch.zeros(len(ids), max(len(row) for row in ids), dtype=torch.long)
            for row, own in enumerate(ids):
                given[row, : len(own)] = torch.tensor(own)
            codes = self._logits(net, {"tokens": given.to(next(net.parameters()).device)}).argmax(2).cpu().numpy()
            for sentence, row, own in zip(part, codes, ids, strict=True):
                places = 1 + np.concatenate([[0], np.cumsum(word_lengths(sentence, tokens))[:-1]]).astype(int)
                tags = [self.target.classes[row[p]] if p < len(own) else "" for p in places]
                found.append(Tags(tuple(sentence), tuple(tags)))
        return found

    def told(self, rows: dict[str, np.ndarray], i: int) -> dict[str, Any]:
        return {"target": "", "answer": ""}

    def loss_at_start(self) -> float | None:
        return math.log(self.outputs)

    def constant(self, train: Batches, test: Batches) -> float | None:
        return math.nan  # needs the words: `baselines`

    def baselines(self, train: Batches, validation: Batches, test: Batches) -> dict[str, float] | None:
        """The commonest tag of all words, and the commonest tag of each word, by its first token."""
        count = torch.zeros(1, self.outputs)
        for part in torch.arange(len(train)).split(512):
            batch = self.prepare(train.get(part), training=False)
            held = batch["target"] > 0
            token, tag = batch["tokens"][held].cpu(), batch["target"][held].cpu() - 1
            if int(token.max()) >= len(count):
                count = F.pad(count, (0, 0, 0, int(token.max()) + 1 - len(count)))
            count.index_put_((token, tag), torch.ones(len(token)), accumulate=True)
        common = count.sum(0)
        each = (count + 1e-3 * common / common.sum()).argmax(1)  # of a word that was not seen the commonest of all
        found: dict[str, list[dict[str, Tensor]]] = {"always the commonest tag": [], "commonest tag of each word": []}
        for part in torch.arange(len(test)).split(512):
            batch = self.prepare(test.get(part), training=False)
            token, target = batch["tokens"].cpu(), batch["target"].cpu()
            own = F.pad(each, (0, max(0, int(token.max()) + 1 - len(each))), value=int(common.argmax()))[token]
            for name, answer in zip(found, (torch.full_like(own, int(common.argmax())), own), strict=True):
                found[name].append(self._compared(answer, target))
        return {
            name: self.finish({k: np.concatenate([p[k].numpy() for p in parts]) for k in parts[0]})[self.better]
            for name, parts in found.items()
        }
