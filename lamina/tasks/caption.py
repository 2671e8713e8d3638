"""caption: which sentence tells what is in a picture?

Sentences are written word by word, greedily or, with --task.beam 3, by beam search (Vinyals 2014, https://arxiv.org/abs/1411.4555,
section 4.3), in validation, scoring and asking alike.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.answers import Text
from lamina.core.errors import SettingError
from lamina.data._augment import Augment, uniform
from lamina.data._batches import Batches
from lamina.data._table import TRAIN, Column, Table
from lamina.data._tokens import END, PADDING, START, Tokens
from lamina.measures import captions
from lamina.measures.interval import bootstrap
from lamina.tasks._task import Batch, Task, inputs

LONGEST = 40  # words of a sentence that are learned
REFERENCES = 8  # sentences of a picture that are learned
DRAWS = 200


@dataclass(frozen=True)
class Config:
    """How sentences are written."""

    beam: int = 1
    """beginnings that are kept at every word; 1 takes the likeliest word each time, more takes about as many times the time"""


class Caption(Task):
    """A sentence for a picture. The target (rows, sentences, words) holds START, words, END, padding."""

    better = "cider"
    target_kind = ("captions",)
    whole = True
    question = "Which sentence tells what is in the picture?"
    net: ClassVar[dict[str, str]] = {"image": "show_and_tell"}
    recipe: ClassVar[dict[str, Any]] = {
        "smoothing": 0.0, "optimizer": "adamw", "lr": 2e-3, "weight_decay": 0.01, "clip": 1.0, "augment": "shift+color", "batch": 32,
    }  # fmt: skip

    @classmethod
    def completed(cls, table: Table) -> Column:
        """The target with the words of the train sentences as its tokens, and how many sentences and words are kept."""
        column = table[table.target or ""]
        texts = [text for row in column.values[table.rows(TRAIN)] for text in row]
        tokens = Tokens.fit(texts, "words")
        most = min(REFERENCES, max(len(row) for row in column.values))
        longest = min(LONGEST, max(len(tokens.encode(text)) for text in texts)) + 2
        return Column(replace(column.field, tokens=tokens, shape=(most, longest)), column.values)

    @property
    def tokens(self) -> Tokens:
        """What sentences are cut into. Raises SettingError before they are chosen."""
        if self.target.tokens is None:
            raise SettingError("the words of the sentences are chosen with the plan.")
        return self.target.tokens

    @property
    def outputs(self) -> int:
        return len(self.tokens)

    def change(self, batch: Batch, augment: Augment, seed: int, passes: Tensor, rows: Tensor) -> Batch:
        """One of the row's sentences, drawn; mirrored or blended pictures would make left and right wrong."""
        if augment.mixes or augment.flip:
            raise SettingError(
                "mirrored or blended pictures do not fit their sentences; choose shift, affine, color or erase."
            )
        count = (batch["target"][:, :, 0] == START).sum(1)
        drawn = (uniform(seed, passes, rows, 32)[:, -1] * count).long().clamp(max=batch["target"].shape[1] - 1)
        tokens = batch["target"][torch.arange(len(drawn), device=drawn.device), drawn]
        return {**batch, "image": augment(batch["image"], seed, passes, rows), "sentence": tokens}

    def prepare(self, batch: Batch, training: bool) -> Batch:
        batch = super().prepare(batch, training)
        if "target" in batch and "sentence" not in batch:
            batch["sentence"] = batch["target"][:, 0]
        if "sentence" in batch:
            batch["tokens"] = batch["sentence"][:, :-1]
        return batch

    def loss(self, net: nn.Module, batch: Batch, phase: str = "all") -> Tensor:
        losses, known = self._losses(net, batch)
        return losses.sum() / known.sum().clamp(min=1)

    def _losses(self, net: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, T) loss of each word, 0 behind the end, and where there is a word; by as many words as the longest one has."""
        longest = max(2, int((batch["sentence"] != PADDING).sum(1).max()))
        wanted = batch["sentence"][:, 1:longest]
        logits = net(*inputs(net, {**batch, "tokens": batch["sentence"][:, : longest - 1]}))
        known = wanted != PADDING
        losses = F.cross_entropy(logits.transpose(1, 2).float(), wanted, reduction="none") * known
        return losses, known

    def score(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        losses, known = self._losses(net, batch)
        return {"answer": self._written(net, batch), "target": batch["target"], "loss": losses.sum(1) / known.sum(1)}

    def _written(self, net: nn.Module, batch: Batch) -> Tensor:
        """(B, words) int64: what the net writes."""
        if not hasattr(net, "next") or not hasattr(net, "see"):
            raise SettingError("caption needs a net that writes word by word; try --net show_and_tell.")
        return beam(net, batch["image"], self.target.shape[1] - 2, max(1, int(self.options.get("beam", 1))))

    def output(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"answer": self._written(net, batch)}

    def answers_of(self, output: dict[str, np.ndarray]) -> list[Any]:
        return [Text(text) for text in self._texts(output["answer"])]

    def _texts(self, ids: np.ndarray) -> list[str]:
        return [self.tokens.decode(row.tolist()) for row in ids]

    def _references(self, rows: dict[str, np.ndarray]) -> list[list[str]]:
        return [[self.tokens.decode(s.tolist()) for s in row if s[0] == START] for row in rows["target"]]

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        answers, references = self._texts(rows["answer"]), self._references(rows)
        rows["cider"] = self._ciders(answers, references)
        exact = [a in r for a, r in zip(answers, references, strict=True)]
        return {
            "cider": float(rows["cider"].mean()),
            "bleu": captions.bleu(answers, references),
            "exact": float(np.mean(exact)),
        }

    def _ciders(self, answers: list[str], references: list[list[str]]) -> np.ndarray:
        measure = captions.Cider(references)
        return np.array([measure.score(i, answer) for i, answer in enumerate(answers)])

    def interval(self, rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
        """Of cider by rows drawn anew; how rare a phrase is stays as it is on all rows."""
        values = rows["cider"] if "cider" in rows else self._ciders(self._texts(rows["answer"]), self._references(rows))
        return bootstrap(lambda at: float(values[at].mean()), len(values), seed, DRAWS)

    def told(self, rows: dict[str, np.ndarray], i: int) -> dict[str, Any]:
        one = {k: v[i : i + 1] for k, v in rows.items() if k in ("answer", "target")}
        return {"target": self._references(one)[0][0], "answer": self._texts(one["answer"])[0]}

    def constant(self, train: Batches, test: Batches) -> float | None:
        """The sentence of the train rows, of 20 common or short ones, that is most like all others, for every picture."""
        known = self._references({"target": train.tensors["target"][:500].cpu().numpy()})
        count = Counter(text for row in known for text in row)
        few = sorted(count, key=lambda text: (-count[text], len(text)))[:20]
        inside = captions.Cider(known)
        best = max(few, key=lambda text: sum(inside.score(i, text) for i in range(0, len(known), 5)))
        references = self._references({"target": test.tensors["target"].cpu().numpy()})
        return float(self._ciders([best] * len(references), references).mean())

    def baselines(self, train: Batches, validation: Batches, test: Batches) -> dict[str, float]:
        """Always one sentence, and that of the train picture whose pixels are nearest."""
        known = self._references({"target": train.tensors["target"].cpu().numpy()})
        references = self._references({"target": test.tensors["target"].cpu().numpy()})
        small = [
            torch.cat([_small(b.slice(s, s + 256)["image"]) for s in range(0, len(b), 256)]) for b in (train, test)
        ]
        near = [int(i) for part in small[1].split(256) for i in torch.cdist(part, small[0]).argmin(1)]
        copied = self._ciders([known[i][0] for i in near], references)
        return {"always the same": self.constant(train, test) or 0.0, "nearest picture": float(copied.mean())}

    def loss_at_start(self) -> float | None:
        return float(np.log(self.outputs))


def _small(image: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(image.float(), 16).flatten(1).cpu()


@torch.no_grad()
def greedy(net: nn.Module, image: Tensor, longest: int) -> Tensor:
    """(B, longest) int64: the likeliest word each time, PADDING behind END."""
    return beam(net, image, longest, 1)


@torch.no_grad()
def beam(net: Any, image: Tensor, longest: int, width: int) -> Tensor:
    """(B, longest) int64: of the `width` likeliest beginnings kept at every word the sentence likeliest per word; PADDING behind it."""
    places = net.see(image)
    rows, vocabulary = len(image), None
    state = net.first(places)
    total = torch.zeros(rows, 1, device=image.device)
    written = torch.zeros(rows, 1, 0, dtype=torch.int64, device=image.device)
    word = torch.full((rows,), START, device=image.device)
    done = torch.zeros(rows, 1, dtype=torch.bool, device=image.device)
    for _ in range(longest):
        logits, state, _ = net.next(state, word, places)
        vocabulary = logits.shape[1]
        likely = logits.float().log_softmax(1).view(rows, -1, vocabulary)
        likely[:, :, :START] = -torch.inf  # padding, unknown
        likely[:, :, START] = -torch.inf
        stay = torch.full_like(likely, -torch.inf)
        stay[:, :, PADDING] = 0.0  # a sentence that has ended stays as it is
        likely = torch.where(done[:, :, None], stay, likely)
        kept = min(width, likely.shape[1] * vocabulary)
        total, place = (total[:, :, None] + likely).flatten(1).topk(kept, 1)
        parent, word_ = place // vocabulary, place % vocabulary
        written = torch.cat(
            [written.gather(1, parent[:, :, None].expand(-1, -1, written.shape[2])), word_[:, :, None]], 2
        )
        done = done.gather(1, parent) | (word_ == END)
        at = (parent + likely.shape[1] * torch.arange(rows, device=image.device)[:, None]).flatten()
        state = tuple(s[at] for s in state)
        places, word = places[at], word_.flatten()
        if not torch.compiler.is_exporting() and bool(done.all()):
            break
    length = (written != PADDING).sum(2).clamp(min=1)
    best = (total / length).argmax(1)
    found = written[torch.arange(rows, device=image.device), best]
    return F.pad(found, (0, longest - found.shape[1]))
