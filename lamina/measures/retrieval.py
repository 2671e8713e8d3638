"""Measures of a retrieval between pictures and sentences: recall among the first 1, 5 and 10, and the median rank, both ways.

Hodosh 2013 (https://doi.org/10.1613/jair.3994), as in Karpathy and Fei-Fei 2015, table 1. A picture may have several sentences: the
best placed of its own counts, and the other ones of its own do not stand in the way; of a sentence there is one picture. Equal fits
count half: a sentence that is word by word that of another picture cannot be told from it.
"""

from __future__ import annotations

import numpy as np

AT = (1, 5, 10)
WAYS = ("sentence", "picture")
MEANING = {
    "mean_recall": "mean of the six recalls: among the first 1, 5 and 10, sentences for a picture and pictures for a sentence",
    **{f"{way}_at_{n}": f"share of rows whose own {way} is among the first {n} of all test rows" for way in WAYS for n in AT},
    **{f"{way}_median_rank": f"place of the own {way}: half of the rows have it here or before; lower is better" for way in WAYS},
}  # fmt: skip


def ranks(fits: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """fits (pictures, sentences), owner (sentences,), the picture of each -> places from 1: of the best own sentence for each picture,
    (pictures,); of the own picture for each sentence, (sentences,). A picture without a sentence: NaN."""
    pictures = len(fits)
    sentence = np.full(pictures, np.nan)
    for i in range(pictures):
        own = owner == i
        if own.any():
            best, others = fits[i, own].max(), fits[i, ~own]
            sentence[i] = 1 + (others > best).sum() + (others == best).sum() / 2
    mine = fits[owner, np.arange(len(owner))]
    picture = 1 + (fits > mine).sum(0) + ((fits == mine).sum(0) - 1) / 2
    return sentence, picture


def finish(sentence: np.ndarray, picture: np.ndarray) -> dict[str, float]:
    """Recalls, median ranks, and the mean of the recalls, from places; NaN is left out."""
    found: dict[str, float] = {}
    for way, places in zip(WAYS, (sentence, picture), strict=True):
        places = places[~np.isnan(places)]
        found |= {f"{way}_at_{n}": float((places <= n).mean()) for n in AT}
        found[f"{way}_median_rank"] = float(np.median(places))
    return {"mean_recall": float(np.mean([found[f"{w}_at_{n}"] for w in WAYS for n in AT])), **found}


def chance(pictures: int, sentences: int) -> float:
    """Mean recall of an order by chance, where every picture has as many sentences."""
    several = max(1, round(sentences / max(1, pictures)))
    missed = {
        n: float(np.prod([(sentences - n - k) / (sentences - k) for k in range(several) if sentences - n - k > 0]))
        for n in AT
    }
    one = [1.0 if n + several > sentences else 1 - missed[n] for n in AT]
    return float(np.mean(one + [min(1.0, n / pictures) for n in AT]))
