"""Spans of tagged words, such as names: where they begin and end, and how many were found. Ramshaw and Marcus 1995, https://arxiv.org/abs/cmp-lg/9505040

A tag is a sign and a kind, B-PER: B begins a span, I goes on, E ends it, S (or U) is a span of one word, L is E; O is none. Spans are
read as the conlleval script of CoNLL-2000 and seqeval do: an I after another kind, or after none, begins a span too.
"""

from __future__ import annotations

from collections.abc import Sequence

NONE = "O"
SIGNS = "BIESUL"


def parted(tag: str) -> tuple[str, str]:
    """Sign and kind of a tag: ("B", "PER"); of one without a sign ("I", the tag), so that a run of it is a span."""
    if tag == NONE:
        return NONE, ""
    sign, line, kind = tag.partition("-")
    return (sign, kind) if line and sign in SIGNS else ("B" if tag == "B" else "I", "" if tag in SIGNS else tag)


def signed(classes: Sequence[str]) -> bool:
    """Whether these tags mark spans: some of them begin with a sign and a line."""
    return any(tag[1:2] == "-" and tag[0] in SIGNS for tag in classes)


def spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """(kind, first, last) of every span of a sentence."""
    found: set[tuple[str, int, int]] = set()
    begun, before, kind_before = 0, NONE, ""
    for place, tag in enumerate([*tags, NONE]):
        sign, kind = parted(tag)
        if before != NONE and (sign in (NONE, "B", "S", "U") or before in ("E", "S", "L", "U") or kind != kind_before):
            found.add((kind_before, begun, place - 1))
        if sign != NONE and (sign in ("B", "S", "U") or before in (NONE, "E", "S", "L", "U") or kind != kind_before):
            begun = place
        before, kind_before = sign, kind
    return found


def counted(answer: Sequence[str], target: Sequence[str]) -> tuple[int, int, int]:
    """How many spans are right (kind and both ends), were answered, and are there."""
    answered, there = spans(answer), spans(target)
    return len(answered & there), len(answered), len(there)


def scores(right: float, answered: float, there: float) -> dict[str, float]:
    """Precision, recall and their harmonic mean; 0 where nothing was answered, or is there."""
    precision, recall = right / answered if answered else 0.0, right / there if there else 0.0
    f1 = 2 * right / (answered + there) if answered + there else 0.0
    return {"span_f1": f1, "span_precision": precision, "span_recall": recall}
