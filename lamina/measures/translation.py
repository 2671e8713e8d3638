"""Measures of translations: BLEU (Papineni 2002) and chrF (Popovic 2015), both by sacrebleu, from statistics per sentence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lamina.core.errors import SettingError
from lamina.measures.interval import bootstrap


def _metrics() -> tuple[Any, Any]:
    try:
        from sacrebleu.metrics.bleu import BLEU  # pyright: ignore[reportMissingImports]
        from sacrebleu.metrics.chrf import CHRF  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise SettingError("BLEU and chrF need the package sacrebleu: pip install 'lamina[text]'.") from None
    return BLEU(), CHRF()


def counted(answers: list[str], references: list[str]) -> dict[str, np.ndarray]:
    """Statistics per sentence, float64 (n, k): "bleu_counts" and "chrf_counts", which add up over sentences."""
    found = {}
    for name, metric in zip(("bleu_counts", "chrf_counts"), _metrics(), strict=True):
        found[name] = np.array(metric._extract_corpus_statistics(answers, [references]), np.float64)
    return found


def signature() -> str:
    """What sacrebleu needs to know to repeat the numbers."""
    metrics = _metrics()
    for metric in metrics:
        metric.corpus_score(["a b c d e"], [["a b c d e"]])
    return "; ".join(str(metric.get_signature()) for metric in metrics)


def finish(rows: dict[str, np.ndarray]) -> dict[str, float]:
    """Numbers of translated sentences.

    rows: "nats" and "tokens" (n,) of the references; where sentences were translated, what `counted` gives. Returns
    bits_per_token, and bleu and chrf in [0, 100], NaN where nothing was translated.
    """
    numbers = {"bleu": math.nan, "chrf": math.nan}
    if "bleu_counts" in rows:
        for name, metric in zip(("bleu", "chrf"), _metrics(), strict=True):
            total = [int(v) for v in rows[f"{name}_counts"].sum(0)]
            numbers[name] = float(metric._compute_score_from_stats(total).score)
    numbers["bits_per_token"] = float(rows["nats"].sum() / math.log(2) / max(1, rows["tokens"].sum()))
    return numbers


def interval(rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
    """95 % interval by the bootstrap over sentences (Koehn 2004)."""
    return bootstrap(lambda at: finish({k: v[at] for k, v in rows.items()})[name], len(rows["nats"]), seed, 200)
