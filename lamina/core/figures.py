"""Figures as people read them: which scores are shares, and how a number is written. No torch is imported here."""

from __future__ import annotations

import math

PERCENT = (
    "accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "exact", "auc",
    "eer", "pair_accuracy", "false_accepts", "false_rejects", "found_at_1_percent",
    "map", "map_50", "map_75", "map_small", "map_medium", "map_large", "recall_100",
    "mean_iou", "pixel_accuracy", "balanced_auc", "within_25_percent",
    "masked_accuracy", "next_accuracy", "word_accuracy", "span_f1", "span_precision", "span_recall",
    "mean_recall", *(f"{way}_at_{n}" for way in ("sentence", "picture") for n in (1, 5, 10)),
)  # fmt: skip
PER_CLASS = ("iou of ", "map of ")  # how numbers of one class begin


def shown(name: str, value: float) -> str:
    """A number as people read it: shares in percent, others in four digits."""
    if value is None or math.isnan(value):
        return "-"
    return (
        f"{100 * value:.1f} %"
        if name in PERCENT or name.startswith(PER_CLASS)
        else f"{value:,.4g}"
        if abs(value) < 1e4
        else f"{value:,.0f}"
    )
