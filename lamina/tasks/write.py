"""write: how does a text go on? Learned by foreseeing every token of it from those before."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
from lamina.data._running import IGNORED, Windows
from lamina.data._table import Field, Table
from lamina.data._tokens import END, FIRST, Tokens
from lamina.measures import writing
from lamina.tasks._nats import mean_nats
from lamina.tasks._sampling import Sampling, Speller, drawn_by, written
from lamina.tasks._task import Batch, Task, inputs

SQUARE = 1 << 20  # pairs of tokens up to which they are counted for a baseline
LETTERS = 120  # tokens from which on three in a row are not counted
SAMPLED = 300  # tokens of a sample in the report
ANSWERED = 200  # tokens that `lamina ask` writes


class Write(Task):
    """The text that follows. Rows are windows of a running text (data/text.py); the target is the text one token later."""

    better = "bits_per_character"
    lower_is_better = True
    target_kind = ("running",)
    answers = "the next token"
    mistakes = False
    reads = "running text, a file or a folder of it"
    net: ClassVar[dict[str, str]] = {"running": "gpt"}
    asks: ClassVar[dict[str, str]] = {"temperature": "one", "draw": "row"}
    question = "How does the text go on?"
    recipe: ClassVar[dict[str, Any]] = {
        "optimizer": "muon", "lr": 5e-2, "weight_decay": 0.1, "schedule": "cosine", "clip": 1.0, "batch": 16, "smoothing": 0.0,
        "average": 0.0, "augment": "none", "epochs": 10.0, "patience": None,
    }  # fmt: skip

    def __init__(self, target: Field, options: dict[str, Any]) -> None:
        super().__init__(target, options)
        self.tokens: Tokens = target.tokens or Tokens("bytes")
        self._tables: Tensor | None = None

    @property
    def outputs(self) -> int:
        return len(self.tokens)

    @property
    def hints(self) -> dict[str, Any]:
        return {"classes": 0}  # nets that could also answer about a text foresee

    @property
    def context(self) -> int:
        """Tokens that the net learned to see."""
        return self.target.shape[0]

    def loss(self, net: nn.Module, batch: Batch, phase: str = "all") -> Tensor:
        logits = net(*inputs(net, batch))
        return mean_nats(logits.flatten(0, 1), batch["target"].flatten(), IGNORED)

    def score(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits, target = net(*inputs(net, batch)).float(), batch["target"]
        nats = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED, reduction="none")
        return self._rows(nats.view(target.shape), batch["tokens"], target)

    def _rows(self, nats: Tensor, before: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Statistics per row from the nats of every token (0 where it is not scored)."""
        scored = target != IGNORED
        characters, starts, ends, blank = self._spelled(target.device)
        token = target.clamp(min=0)
        words = scored & (blank[token] == 0) & ((starts[token] > 0) | (ends[before] > 0))
        count = scored.sum(1)
        return {
            "nats": nats.double().sum(1),
            "loss": nats.sum(1) / count.clamp(min=1),
            "tokens": count,
            "characters": (characters[token] * scored).sum(1),
            "words": words.sum(1),
        }

    def _spelled(self, device: torch.device) -> Tensor:
        """int64 (4, vocabulary): characters of a token; whether it begins with a blank, ends with one, is nothing else."""
        if self._tables is None or self._tables.device != device:
            self._tables = torch.tensor([_about(self.tokens, i) for i in range(len(self.tokens))]).T.to(device)
        return self._tables

    def samples(self, net: nn.Module, table: Table) -> list[tuple[str, str]]:
        made = []
        for title, how in (("temperature 0.8", Sampling()), ("temperature 0.5, the 40 likeliest", Sampling(0.5, 40))):
            made.append((f"Written from nothing, {title}", "".join(self.write(net, "", SAMPLED, how))))
        return made

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        return writing.finish(rows)

    def interval(self, rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
        return writing.interval(rows, name, seed)

    def output(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"next": net(*inputs(net, batch))[:, -1].float().log_softmax(-1)}

    def graph(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Beside `output` the "token" that is drawn by a number in [0, 1), "draw", at a temperature."""
        logits = net(*inputs(net, batch))[:, -1].float()
        token = drawn_by(logits, batch["temperature"], batch["draw"])
        return {"next": logits.log_softmax(-1), "token": token}

    def steps(self, net: nn.Module) -> dict[str, Any]:
        how, state = Sampling(), net.start()  # type: ignore[operator]
        room = net.room(state)  # type: ignore[operator]
        return {
            "length": ANSWERED,
            "context": self.context,
            "room": room,
            "temperature": how.temperature,
            "seed": how.seed,
        }

    def answers_of(self, output: dict[str, np.ndarray]) -> list[Any]:
        return [Text(self.tokens.name(int(token))) for token in output["next"].argmax(-1)]

    def loss_at_start(self) -> float | None:
        return math.log(self.outputs)

    def told(self, rows: dict[str, np.ndarray], i: int) -> dict[str, Any]:
        return {"target": "", "answer": ""}  # no single row is right or wrong

    def constant(self, train: Batches, test: Batches) -> float | None:
        return self._counted(test, _shares(train, self.outputs, 1)[0])

    def baselines(self, train: Batches, validation: Batches, test: Batches) -> dict[str, float] | None:
        """How often each token occurs; after the one before; after the two before; each blended with the simpler one."""
        orders = 1 if self.outputs**2 > SQUARE else 2 if self.outputs > LETTERS else 3
        names = ("tokens alone", "pairs of tokens", "threes of tokens")
        return {names[n]: self._counted(test, share) for n, share in enumerate(_shares(train, self.outputs, orders))}

    def _counted(self, test: Batches, share: np.ndarray) -> float:
        """bits_per_character where the next token has `share` after the (share.ndim - 1) tokens before it."""
        rows: dict[str, list[np.ndarray]] = {}
        windows = test.running["target"]
        inside = Windows(windows.coded, windows.starts, windows.skips, windows.length, 0)
        for start in range(0, len(test), 256):
            places = np.arange(start, min(start + 256, len(test)))
            before, target = inside.at(places), windows.at(places)
            earlier = np.concatenate([np.full((len(before), 1), END), before[:, :-1]], 1)
            at = (np.maximum(target, 0), before, earlier)[: share.ndim]
            nats = np.where(target == IGNORED, 0.0, -np.log(share[at]))
            for name, values in self._rows(*(torch.from_numpy(v) for v in (nats, before, target))).items():
                rows.setdefault(name, []).append(values.numpy())
        return self.finish({k: np.concatenate(v) for k, v in rows.items()})[self.better]

    def start(self, text: str) -> list[int]:
        """Ids of a seed text; where there is none, of a line end, or of the sign between two texts."""
        ids = self.tokens.encode(text).tolist() if text else []
        newline = self.tokens.encode("\n").tolist()
        return ids or ([i for i in newline if i >= FIRST] or [END])

    def write(self, net: nn.Module, text: str, length: int, how: Sampling, stop: str | None = None) -> Iterator[str]:
        """Pieces of a text that goes on after `text`: `length` tokens at most, up to the first `stop` in it."""
        begin, found = self.start(text), ""
        speller = Speller(self.tokens, begin[-1] if text and not text[-1].isspace() else None)
        for token in written(net, begin, how, length, self.context):
            piece = speller(token)
            if stop and stop in (found + piece):
                yield (found + piece)[: (found + piece).index(stop)][len(found) :]
                return
            found = (found + piece)[-max(0, len(stop or "") - 1) :] if stop and len(stop) > 1 else ""
            if piece:
                yield piece
        if rest := speller.end():
            yield rest

    def asked(
        self, net: nn.Module, sources: tuple[Any, ...], fields: tuple[Field, ...] = ()
    ) -> list[tuple[str, Any]] | None:
        """What is given is a text, or a file of one; the answer is how it goes on."""
        found = []
        for number, source in enumerate(sources):
            name, text = f"text {number + 1}", source
            if is_file(source):
                name = str(source)
                text = _content(Path(source)) if self.tokens.kind == "bytes" else _encoding.content(Path(source))
            if not isinstance(text, str):
                raise DataError(f"this net goes on with texts; {type(source).__name__} is none.")
            found.append((name, Text("".join(self.write(net, text, ANSWERED, Sampling())))))
        return found


def _content(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def _about(tokens: Tokens, number: int) -> tuple[int, int, int, int]:
    if number < FIRST:
        return (1 if number == 1 else 0), 1, 1, 1
    if tokens.exact:
        content = tokens.spelled[number]
        characters = sum(byte & 0xC0 != 0x80 for byte in content)
        text = content.decode("latin-1")
        text = text.replace("\x85", "-").replace("\xa0", "-")  # bytes inside a character are no blanks
    else:
        text = tokens.decode([number])
        characters = len(text) + (tokens.kind == "words")
    if tokens.kind == "words":
        return characters, int(any(c.isalnum() for c in text)), 0, int(not any(c.isalnum() for c in text))
    return characters, int(text[:1].isspace()), int(text[-1:].isspace()), int(text.isspace())


def _shares(train: Batches, vocabulary: int, orders: int) -> list[np.ndarray]:
    """Per order n the share of a token after n - 1 others, [token, before, earlier ...]: counts plus those of the order below.

    Witten 1991, https://doi.org/10.1109/18.87000, method C: as much as there are different tokens goes to the order below.
    """
    coded = train.running["target"].coded
    ids = np.asarray(coded.ids[: min(coded.ends[0], 20_000_000)]).astype(np.int64)
    found: list[np.ndarray] = [np.full((), 1 / vocabulary)]
    for order in range(1, orders + 1):
        key = ids[order - 1 :].copy()
        for back in range(1, order):
            key = key * vocabulary + ids[order - 1 - back : len(ids) - back]
        count = np.bincount(key, minlength=vocabulary**order).reshape((vocabulary,) * order).astype(np.float64)
        kinds = np.maximum(1, (count > 0).sum(0))
        lower = found[-1] if order == 1 else found[-1][..., None]
        found.append((count + kinds * lower) / (count.sum(0) + kinds))
    return found[1:]
