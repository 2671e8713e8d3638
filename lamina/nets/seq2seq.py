"""Sequence to sequence: one recurrent net reads a sentence, another writes its translation. Sutskever 2014, https://arxiv.org/abs/1409.3215

attention none: all that the writer knows is the reader's last state, and reversing the source brings its beginning near (section
3.3). bahdanau (https://arxiv.org/abs/1409.0473): before each word the writer's state asks every place of the source; luong
(https://arxiv.org/abs/1508.04025, "general"): after it. Letters: B batch, S source tokens, T target tokens, C width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lamina.core.check import within
from lamina.core.errors import unknown
from lamina.nets._blocks import Dropout

TAKES = ("tokens", "mask", "before")
ANSWERS = "a translation"
NO_GRAPH = "sequences are packed by their lengths, which a graph has no word for; translator has one"
SIZES: dict[str, dict] = {"small": {"width": 128, "depth": 1}, "medium": {"width": 256, "depth": 2}}
ATTENTIONS = ("none", "bahdanau", "luong")


@dataclass(frozen=True)
class Config:
    """Sizes of a sequence-to-sequence net."""

    vocabulary: int = 100
    """different tokens of the source"""
    classes: int = 100
    """different tokens of the translation"""
    width: int = 256
    """numbers that stand for a token, and units of a layer"""
    depth: int = 1
    """layers of the reader and of the writer"""
    attention: str = "luong"
    """none, bahdanau or luong"""
    reverse: bool = False
    """the source is read from its end"""
    dropout: float = 0.2
    """share dropped after embeddings and before the answer"""


class Net(nn.Module):
    """tokens and mask (B, S), before (B, T): the translation up to each token -> logits (B, T, classes) of the next.

    Raises SettingError, or NameUnknown for an attention that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.depth", config.depth, 1, 8)
        if config.attention not in ATTENTIONS:
            raise unknown("attention", config.attention, ATTENTIONS)
        width, self.kind, self.reverse, self.depth = config.width, config.attention, config.reverse, config.depth
        both = self.kind != "none"  # a place of the source knows what stands before and behind it
        self.embed = nn.Embedding(config.vocabulary, width)
        self.reader = nn.LSTM(width, width // (1 + both), config.depth, batch_first=True, bidirectional=both)
        self.embed_target = nn.Embedding(config.classes, width)
        self.writer = nn.LSTM(width * (1 + (self.kind == "bahdanau")), width, config.depth, batch_first=True)
        self.ask = nn.Linear(width, width, False) if both else None
        self.offer = nn.Linear(width, width, False) if self.kind == "bahdanau" else None
        self.energy = nn.Linear(width, 1, False) if self.kind == "bahdanau" else None
        self.blend = nn.Linear(2 * width, width) if both else None
        self.dropout = Dropout(config.dropout)
        self.answer = nn.Linear(width, config.classes)

    def forward(self, tokens: Tensor, mask: Tensor, before: Tensor) -> Tensor:
        return self.go_on(before, self.read(tokens, mask))

    def read(self, tokens: Tensor, mask: Tensor) -> dict[str, Any]:
        """The state before the translation's first token."""
        lengths = mask.sum(1)
        if self.reverse:
            place = (lengths[:, None] - 1 - torch.arange(tokens.shape[1], device=tokens.device)).clamp(min=0)
            tokens = tokens.gather(1, place)
        x = pack_padded_sequence(
            self.dropout(self.embed(tokens)), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        found, (h, c) = self.reader(x)
        memory = pad_packed_sequence(found, batch_first=True, total_length=tokens.shape[1])[0]
        if self.kind != "none":  # both directions of a layer side by side
            h, c = (v.view(self.depth, 2, *v.shape[1:]).transpose(1, 2).flatten(2) for v in (h, c))
        state = {"memory": memory, "mask": mask, "h": h.contiguous(), "c": c.contiguous(), "attention": None}
        if self.offer is not None:
            state["offered"] = self.offer(memory)
        return state

    def go_on(self, before: Tensor, state: dict[str, Any]) -> Tensor:
        """Logits (B, T, classes) after tokens (B, T) that go on from the state, which is changed in place."""
        x = self.dropout(self.embed_target(before))
        if self.kind == "bahdanau":
            return self._step_by_step(x, state)
        y, (state["h"], state["c"]) = self.writer(x, (state["h"], state["c"]))
        if self.ask is not None and self.blend is not None:
            score = self.ask(y) @ state["memory"].transpose(1, 2)  # (B, T, S)
            share = score.masked_fill(~state["mask"][:, None], -torch.inf).softmax(-1)
            state["attention"] = share
            y = torch.tanh(self.blend(torch.cat([share @ state["memory"], y], 2)))
        return self.answer(self.dropout(y))

    def _step_by_step(self, x: Tensor, state: dict[str, Any]) -> Tensor:
        assert self.ask is not None and self.energy is not None and self.blend is not None
        found, shares = [], []
        for t in range(x.shape[1]):
            asked = torch.tanh(self.ask(state["h"][-1])[:, None] + state["offered"])
            score = self.energy(asked).squeeze(2).masked_fill(~state["mask"], -torch.inf)
            share = score.softmax(-1)
            context = (share[:, None] @ state["memory"])[:, 0]
            y, (state["h"], state["c"]) = self.writer(
                torch.cat([x[:, t], context], 1)[:, None], (state["h"], state["c"])
            )
            found.append(torch.tanh(self.blend(torch.cat([context, y[:, 0]], 1))))
            shares.append(share)
        state["attention"] = torch.stack(shares, 1)
        return self.answer(self.dropout(torch.stack(found, 1)))

    def choose(self, state: dict[str, Any], rows: Tensor, within: bool = False) -> None:
        """Keep these rows (int64) of the state, in this order; `within`: each takes the place of one of the same source."""
        for name, value in state.items():
            if value is not None and (not within or name in ("h", "c")):
                state[name] = value[:, rows] if name in ("h", "c") else value[rows]


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    mask = torch.ones(2, 7, dtype=torch.bool)
    return {"tokens": torch.randint(4, 100, (2, 7)), "mask": mask, "before": torch.randint(4, 100, (2, 9))}, (2, 9, 100)
