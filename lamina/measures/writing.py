"""Measures of a text that a net foresees: bits per character and per word, perplexity. Shannon 1951."""

from __future__ import annotations

import math

import numpy as np

from lamina.measures.interval import bootstrap

LOWER_IS_BETTER = {"bits_per_character", "bits_per_word", "perplexity", "loss_per_token"}


def finish(rows: dict[str, np.ndarray]) -> dict[str, float]:
    """Numbers of stretches of text.

    rows: "nats" (n,) of all tokens of a stretch, "tokens", "characters" and "words" (n,) counted in it. Returns
    bits_per_character, bits_per_word (a word ends where a blank begins), perplexity (of a token), all over the whole text.
    """
    nats = float(rows["nats"].sum())
    tokens, characters, words = (max(1.0, float(rows[k].sum())) for k in ("tokens", "characters", "words"))
    return {
        "bits_per_character": nats / math.log(2) / characters,
        "bits_per_word": nats / math.log(2) / words,
        "perplexity": math.exp(min(700.0, nats / tokens)),
    }


def interval(rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
    """95 % interval by the bootstrap over stretches, which are taken as independent."""
    return bootstrap(
        lambda at: finish({k: rows[k][at] for k in rows}).get(name, math.nan), len(rows["nats"]), seed, 200
    )
