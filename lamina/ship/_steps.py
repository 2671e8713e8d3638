"""Texts out of a graph that gives one token at a time, without torch: translations by beam search, and texts that go on.

As lamina.tasks._beam and lamina.tasks._sampling, of one sentence at a time. A step gives the logarithms (rows, vocabulary) of the
probabilities of the next token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamina.data._tokens import END, FIRST, PADDING, START, UNKNOWN, Tokens

NEVER = [PADDING, UNKNOWN, START]  # what is not written
STREAM = -7046029254386353131


def translated(step: Callable[[np.ndarray], np.ndarray], length: int, how: dict[str, Any]) -> list[int]:
    """Ids of a translation, without START and END. step(written (n, T) int64) -> (n, vocabulary); length: tokens of the source.

    how: most tokens, beam, and alpha of the length normalisation (Wu 2016, arXiv:1609.08144, eq. 14).
    """
    beam, alpha = how["beam"], how["alpha"]
    limit = min(2 * length + 10, how["most"])
    written, scores = np.full((1, 1), START), np.zeros(1)
    best, found = -np.inf, written[0, 1:]
    for count in range(1, limit + 1):
        likely = step(written).astype(np.float64)
        likely[:, NEVER] = -np.inf
        likely -= np.logaddexp.reduce(likely, 1, keepdims=True)
        total = (scores[:, None] + likely).reshape(-1)
        order = np.argsort(-total, kind="stable")[: 2 * beam]  # enough that `beam` of them go on
        order = order[total[order] > -np.inf]
        source, token = order // likely.shape[1], order % likely.shape[1]
        norm = ((5 + count) / 6) ** alpha
        for i in np.flatnonzero(token[:beam] == END):
            if total[order[i]] / norm > best:
                best, found = total[order[i]] / norm, written[source[i], 1:]
        going = np.flatnonzero(token != END)[:beam]
        if not len(going):
            break
        written = np.concatenate([written[source[going]], token[going, None]], 1)
        scores = total[order[going]]
        if best >= scores.max() / ((5 + limit) / 6) ** alpha:
            break
    return [int(i) for i in (found if best > -np.inf else written[0, 1:])]


def written(step: Callable[[np.ndarray, float], int], tokens: Tokens, text: str, how: dict[str, Any]) -> str:
    """How a text goes on. step(seen (1, T) int64, number in [0, 1)) -> the token drawn.

    how: length, context (tokens the net learned to see), room (tokens it can see, None: any number), seed.
    """
    seen = begun(tokens, text)[-how["context"] :]
    whole, made = list(seen), []
    for place in range(how["length"]):
        if how["room"] is not None and len(seen) > how["room"]:
            seen = whole[-max(1, how["context"] // 2) :]
        token = step(np.array([seen]), uniform(how["seed"], place))
        if token == END:
            break
        made.append(token)
        whole, seen = [*whole, token], [*seen, token]
    return spelled(tokens, made)


def spelled(tokens: Tokens, ids: Sequence[int]) -> str:
    """The text of ids; of bytes that are no text, the sign for what is lost."""
    if tokens.exact:
        return b"".join(tokens.spelled[i] for i in ids).decode("utf-8", "replace")
    return tokens.decode(ids)


def begun(tokens: Tokens, text: str) -> list[int]:
    """Ids of a seed text; where there is none, of a line end, or of the sign between two texts."""
    ids = tokens.encode(text).tolist() if text else []
    return ids or [i for i in tokens.encode("\n").tolist() if i >= FIRST] or [END]


def uniform(seed: int, place: int) -> float:
    """The number in [0, 1) of lamina.data._augment.uniform for row 0."""
    mask = (1 << 64) - 1

    def mix(x: int) -> int:
        for by, times in ((30, -4658895280553007687), (27, -7723592293110705685)):
            x = ((x ^ (x >> by)) * times) & mask
        return x ^ (x >> 31)

    seeded = mix((seed * 2 + 1) & (mask >> 1))
    key = mix(mix((place * 7046029254386353131 + seeded) & mask))
    return (mix((key + STREAM) & mask) >> 40 & 0xFFFFFF) / (1 << 24)
