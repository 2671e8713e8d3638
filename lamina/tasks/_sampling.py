"""Sampling: the next token drawn from what a net says, and a text written token by token with a cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import SettingError
from lamina.data._augment import uniform
from lamina.data._tokens import END, PADDING, START, UNKNOWN

NEVER = (PADDING, UNKNOWN, START)  # what is not written


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn."""

    temperature: float = 0.8
    """below 1 likely tokens become likelier; 0 always takes the likeliest"""
    top_k: int = 0
    """draw from so many of the likeliest tokens; 0: from all"""
    top_p: float = 1.0
    """draw from the likeliest tokens that hold this share together (Holtzman 2019, arXiv:1904.09751)"""
    seed: int = 0
    """key of the draws: the same seed and start give the same text"""

    def __post_init__(self) -> None:
        within("--temperature", self.temperature, 0, 100)
        within("--top-k", self.top_k, 0, 1 << 20)
        within("--top-p", self.top_p, 0, 1)
        if not self.top_p:
            raise SettingError("--top-p must be more than 0.")


def drawn(logits: Tensor, how: Sampling, place: int) -> Tensor:
    """int64 (rows,): a token for each row of logits (rows, vocabulary); keyed by (seed, place, row)."""
    logits = logits.float().clone()
    logits[:, list(NEVER)] = -torch.inf
    if how.temperature == 0:
        return logits.argmax(-1)
    likely, order = torch.sort(logits.div(how.temperature).softmax(-1), dim=-1, descending=True, stable=True)
    if how.top_k:
        likely[:, how.top_k :] = 0
    if how.top_p < 1:
        before = likely.cumsum(-1) - likely
        likely[before >= how.top_p * likely.sum(-1, keepdim=True)] = 0
    rows = torch.arange(len(logits), device=logits.device)
    share = uniform(how.seed, torch.full_like(rows, place), rows, 1).double()
    upto = likely.double().cumsum(-1)
    at = (upto <= share * upto[:, -1:]).sum(-1, keepdim=True).clamp(max=logits.shape[1] - 1)
    return order.gather(1, at)[:, 0]


def drawn_by(logits: Tensor, temperature: Tensor, share: Tensor) -> Tensor:
    """`drawn` from all tokens, by numbers (rows,) in [0, 1) and a temperature () that are given: nothing in it looks at values."""
    never = torch.zeros(logits.shape[1], dtype=torch.bool)
    never[list(NEVER)] = True
    logits = logits.float().masked_fill(never, -torch.inf)
    likely, order = logits.div(temperature.clamp(min=1e-6)).softmax(-1).topk(logits.shape[1])
    upto = likely.double().cumsum(-1)
    at = (upto <= share.double()[:, None] * upto[:, -1:]).sum(-1, keepdim=True).clamp(max=logits.shape[1] - 1)
    return torch.where(temperature > 0, order.gather(1, at)[:, 0], order[:, 0])


@torch.inference_mode()
def written(net: nn.Module, begin: Sequence[int], how: Sampling, length: int, most: int) -> Iterator[int]:
    """Ids of `length` tokens at most that a net writes after `begin`; ends with END.

    The net reads its cache and one token at a time. Where the cache is full, its last half is read anew: `most` is the number
    of tokens that the net learned to see. `begin` must hold a token or more; of a longer one the last `most` / 2 count.
    """
    net.eval()
    where = next(net.parameters()).device
    text, state, new = [int(i) for i in begin], None, []
    for place in range(length):
        if state is None or (net.room(state) is not None and net.room(state) < len(new)):  # type: ignore[operator]
            state = net.start()  # type: ignore[operator]
            kept = most if place == 0 else most // 2
            new = text[-min(kept, len(text)) :]
        logits = net.go_on(torch.tensor([new], device=where), state)  # type: ignore[operator]
        token = int(drawn(logits[:, -1], how, place))
        yield token
        if token == END:
            return
        text = [*text[-most:], token]
        new = [token]


class Speller:
    """Turns ids that come one by one into pieces of text; a character of several bytes waits until it is whole.

    last: the id before them, from which a word may need a blank.
    """

    def __init__(self, tokens: Any, last: int | None = None) -> None:
        self.tokens, self._waiting, self._last = tokens, b"", last

    def __call__(self, token: int) -> str:
        """The text that this token adds; "" while a character is not whole."""
        tokens = self.tokens
        if not tokens.exact:
            if tokens.kind != "words":
                return tokens.decode([token])
            before = [] if self._last is None else [self._last]
            self._last = token
            return tokens.decode([*before, token])[len(tokens.decode(before)) :]
        self._waiting += tokens.spelled[token]
        for held in range(min(4, len(self._waiting) + 1)):
            ready = self._waiting[: len(self._waiting) - held]
            if _whole(ready) or held == 3:
                self._waiting = self._waiting[len(ready) :]
                return ready.decode("utf-8", "replace")
        return ""

    def end(self) -> str:
        """What was waiting."""
        rest, self._waiting = self._waiting, b""
        return rest.decode("utf-8", "replace")


def _whole(content: bytes) -> bool:
    """Whether no character is cut at the end."""
    for back in range(1, min(3, len(content)) + 1):
        byte = content[-back]
        if byte >= 0xC0:
            return back > (3 if byte >= 0xF0 else 2 if byte >= 0xE0 else 1)
        if byte < 0x80:
            return True
    return True
