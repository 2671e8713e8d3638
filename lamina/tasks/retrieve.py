"""retrieve: which sentence belongs to which picture, and which region does each word mean?

Pictures and sentences are ranked by how well they fit; training pushes what belongs together above everything else of the batch by a
margin (Karpathy and Fei-Fei 2015, https://arxiv.org/abs/1412.2306, eq. 9).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lamina.core.answers import Fit, Ranked
from lamina.core.errors import DataError
from lamina.data._asked import tables
from lamina.data._batches import Batches
from lamina.data._pictures import SUFFIXES
from lamina.data._ragged import sentences
from lamina.data._table import TRAIN, Field, Table
from lamina.data._tokens import START
from lamina.measures import retrieval
from lamina.measures.interval import bootstrap
from lamina.nets.two_tower import align, known
from lamina.tasks._task import Batch
from lamina.tasks.caption import Caption

MARGIN = 1.0
KEPT = 1_000  # train sentences that a picture asked about is compared with
TOLD = 5  # of them that are answered
PART = 1 << 23  # numbers that are compared at once
DRAWS = 1_000
SEEN = 64  # pictures of a batch that words are looked for in


class Retrieve(Caption):
    """A sentence for a picture among given ones. The target (rows, sentences, words) is that of caption.

    options: "sentences", those of the training rows that answers are chosen from.
    """

    better = "mean_recall"
    answers = "which sentence fits"
    question = "Which sentence belongs to the picture, and which region does each word mean?"
    net: ClassVar[dict[str, str]] = {"image": "two_tower"}

    @classmethod
    def choose(cls, table: Table) -> dict[str, Any]:
        count = Counter(t for row in table[table.target or ""].values[table.rows(TRAIN)] for t in row)
        return {"sentences": [text for text, _ in count.most_common(KEPT)]}

    def loss(self, net: nn.Module, batch: Batch, phase: str = "all") -> Tensor:
        return self._ranked(net(batch["image"], batch["sentence"]), batch["sentence"]).mean()

    @staticmethod
    def _ranked(fits: Tensor, sentence: Tensor) -> Tensor:
        """(B,) of fits (B, B), own pairs on the diagonal: by how much others come nearer than MARGIN, both ways; equal sentences are no others."""
        own = fits.diagonal()
        others = (sentence[:, None] != sentence[None]).any(2)
        count = others.sum(1).clamp(min=1)
        sentences = ((fits - own[:, None] + MARGIN).clamp(min=0) * others).sum(1)
        pictures = ((fits - own[None] + MARGIN).clamp(min=0) * others).sum(0)
        return (sentences + pictures) / count

    def score(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return self._statistics(net, batch, batch["target"][:, :1])

    def final(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return self._statistics(net, batch, batch["target"])

    def _statistics(self, net: Any, batch: Batch, sentences: Tensor) -> dict[str, Tensor]:
        regions, shape = net.see(batch["image"]), sentences.shape
        words = net.read(sentences.flatten(0, 1))
        there = known(sentences).flatten(0, 1)
        first = words.view(*shape, -1)[:, 0]
        fits = align(regions, first, there.view(shape)[:, 0])[0]
        loss = self._ranked(fits, sentences[:, 0])
        return {"regions": regions, "words": words.view(*shape, -1), "target": sentences, "loss": loss}

    def _places(self, rows: dict[str, np.ndarray]) -> None:
        """Put into `rows` the place of the own sentence, of the own picture (rows, sentences), and the best sentence (row, sentence)."""
        if "picture_place" in rows:
            return
        target = rows["target"]
        owner, which = np.nonzero(target[:, :, 0] == START)
        words, tokens = (torch.from_numpy(rows[k][owner, which]) for k in ("words", "target"))
        fits = _all(torch.from_numpy(rows["regions"]), words, known(tokens))
        rows["sentence_place"], picture = retrieval.ranks(fits, owner)
        rows["picture_place"] = np.full(target.shape[:2], np.nan)
        rows["picture_place"][owner, which] = picture
        best = fits.argmax(1)
        rows["best"] = np.stack([owner[best], which[best]], 1)

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        self._places(rows)
        return retrieval.finish(rows["sentence_place"], rows["picture_place"])

    def interval(self, rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
        """By rows drawn anew; against how many others each row stands stays as it is."""
        self._places(rows)
        sentence, picture = rows["sentence_place"], rows["picture_place"]
        return bootstrap(lambda at: retrieval.finish(sentence[at], picture[at])[name], len(sentence), seed, DRAWS)

    def told(self, rows: dict[str, np.ndarray], i: int) -> dict[str, Any]:
        self._places(rows)
        row, which = rows["best"][i]
        own = [self.tokens.decode(s.tolist()) for s in rows["target"][i] if s[0] == START]
        best = self.tokens.decode(rows["target"][row, which].tolist())
        return {
            "target": best if best in own else own[0] if own else "",
            "answer": best,
            "said": f"its own is at place {rows['sentence_place'][i]:.0f}",
        }

    def constant(self, train: Batches, test: Batches) -> float | None:
        there = (test.tensors["target"][:, :, 0] == START).sum()
        return retrieval.chance(len(test), int(there))

    def baselines(self, train: Batches, validation: Batches, test: Batches) -> dict[str, float]:
        return {"chance": self.constant(train, test) or 0.0}

    def loss_at_start(self) -> float | None:
        return None

    def output(self, net: Any, batch: Batch) -> dict[str, Tensor]:
        """Per row the TOLD best of the kept sentences and how well they fit; of the best one each word's fit and its region's sides."""
        tokens = self._kept(batch["image"].device)
        regions, words, there = net.see(batch["image"]), net.read(tokens), known(tokens)
        fits = torch.from_numpy(_all(regions, words, there)).to(regions.device)
        best, place = fits.topk(min(TOLD, fits.shape[1]), 1)
        found = [align(r[None], words[[p]], there[[p]])[1:] for r, p in zip(regions, place[:, 0].tolist(), strict=True)]
        fit, chosen = (torch.cat([f[k][0] for f in found]) for k in (0, 1))
        return {"fits": best, "sentence": place, "fit": fit, "region": _sides(chosen, net.grid)}

    @torch.no_grad()
    def asked(self, net: Any, sources: tuple[Any, ...], fields: tuple[Field, ...] = ()) -> list[tuple[str, Any]] | None:
        """Words, then files or folders: the pictures that the words fit, the best fitting first."""
        words = sources[0] if sources and isinstance(sources[0], str) else ""
        if not words or Path(words).exists() or Path(words).suffix.lower() in SUFFIXES:
            return None
        if not sources[1:]:
            raise DataError(f'"{words}" is no file; pictures to look for it in come behind it, such as a folder.')
        held = np.empty(1, object)
        held[0] = (words,)
        tokens = torch.from_numpy(sentences(held, self.target)[:, 0])
        if not known(tokens).any():
            raise DataError(
                f'the net knows no word of "{words}"; it learned from sentences such as "{self.options["sentences"][0]}".'
            )
        net.eval()
        device = next(net.parameters()).device
        there, read = known(tokens).to(device), net.read(tokens.to(device))
        found: list[tuple[str, Any]] = []
        for table in tables(sources[1:], [*fields, self.target], fields):
            names = [str(n) for n in table.names]
            for start in range(0, len(table), SEEN):
                at = np.arange(start, min(start + SEEN, len(table)))
                batch = self.prepare(Batches(table.take(at), fields, None, device).slice(0, SEEN), training=False)
                fits = _all(net.see(batch["image"]), read, there)[:, 0]
                found += [(names[i], Fit(float(fit))) for i, fit in zip(at, fits, strict=True)]
        return sorted(found, key=lambda pair: -pair[1].fit)

    def _kept(self, device: torch.device) -> Tensor:
        """int64 (sentences, words) of the kept sentences."""
        texts = np.empty(len(self.options["sentences"]), object)
        texts[:] = [(t,) for t in self.options["sentences"]]
        return torch.from_numpy(sentences(texts, self.target)[:, 0]).to(device)

    def answers_of(self, output: dict[str, np.ndarray]) -> list[Any]:
        texts, tokens = self.options["sentences"], self._kept(torch.device("cpu")).numpy()
        made = []
        for row in range(len(output["fits"])):
            best = tokens[output["sentence"][row, 0]]
            words = tuple(
                (self.tokens.decode([int(t)]), float(fit), tuple(float(v) for v in sides))
                for t, fit, sides in zip(best, output["fit"][row], output["region"][row], strict=True)
                if known(torch.tensor(int(t)))
            )
            pairs = zip(output["sentence"][row].tolist(), output["fits"][row].tolist(), strict=True)
            made.append(Ranked(tuple((texts[i], fit) for i, fit in pairs), words))
        return made


@torch.no_grad()
def _all(regions: Tensor, words: Tensor, there: Tensor) -> np.ndarray:
    """float32 (pictures, sentences): how well all of them fit, a part at a time."""
    each = max(1, PART // max(1, regions.shape[1] * words.shape[0] * words.shape[1]))
    found = [align(part, words, there)[0].float().cpu().numpy() for part in regions.split(each)]
    return np.concatenate(found)


def _sides(chosen: Tensor, grid: tuple[int, int]) -> Tensor:
    """Region (...) -> x0 y0 x1 y1 (..., 4) as shares of the picture; the last region is the whole."""
    rows, columns = grid
    y, x = chosen // columns, chosen % columns
    sides = torch.stack([x / columns, y / rows, (x + 1) / columns, (y + 1) / rows], -1)
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0], device=chosen.device)
    return torch.where((chosen == rows * columns)[..., None], whole, sides)
