"""parallel: sentences and their translations: a TSV of two columns without a header, or two files with a line each: a.txt,b.txt."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _encoding
from lamina.data._table import Column, Field, Reading, Table
from lamina.data._tokens import Tokens

SUFFIXES = (".tsv", ".tab", ".txt")
PART = 1 << 16  # bytes of a file that are looked at
LOOKED = 40  # lines that tell whether a file holds pairs
HELD, MOST = 0.05, 2_000  # of the pairs validate, and as many test; at most
LONGEST = 0.99  # share of the training sentences that are read whole
MAXIMUM = 128  # tokens of a sentence
VOCABULARY = 6_000
FITTED = 200_000  # training sentences from which tokens are made


def claims(source: Any) -> bool:
    """Claims two files as FILE,FILE, and files whose lines are two texts with a tab between."""
    if _two(source) or _lacking(source):
        return True
    if not isinstance(source, Path) or not source.is_file() or source.suffix.lower() not in SUFFIXES:
        return False
    try:
        with open(source, "rb") as file:
            raw = file.read(PART)
        if b"\t" not in raw:
            return False
        text, _ = _encoding.decoded(raw[: raw.rfind(b"\n") + 1] if len(raw) == PART else raw, str(source))
    except (OSError, DataError):
        return False
    rows = [line.rstrip("\r").split("\t") for line in text.split("\n")[:LOOKED] if line]
    if len(rows) < 2 or any(len(row) != 2 for row in rows):
        return False
    sides = list(zip(*rows, strict=True))
    return all(len(set(s)) > 0.5 * len(s) and sum(" " in t.strip() for t in s) > 0.5 * len(s) for s in sides)


def read(source: Any, reading: Reading) -> Table:
    """Columns source and translation. Equal source sentences stay in one split. Raises DataError.

    Tokens (byte pairs; --tokens, --vocabulary) of each side are made from its training sentences.
    """
    if lacking := _lacking(source):
        raise DataError(f"no such file: {lacking}, of the two files {source} that would be translations of each other.")
    two = _two(source)
    name = ",".join(str(p.absolute()) for p in two) if two else str(source)
    sides, left = _files(two) if two else _columns(source)
    full = np.array([bool(a.strip()) and bool(b.strip()) for a, b in zip(*sides, strict=True)], bool)
    if full.sum() < 10:
        raise DataError(f"{name} holds {int(full.sum())} pairs of sentences; learning needs at least 10.")
    texts = [np.array([t.strip() for t in side], object)[full] for side in sides]
    names = np.array([f"line {i + 1}" for i in np.flatnonzero(full)], object)
    split = _split(texts[0])
    kind, notes = reading.tokens or "pairs", list(left)
    columns = {}
    for title, values in zip(("source", "translation"), texts, strict=True):
        column, said = _coded(title, values, values[split == 0][:FITTED], kind, reading)
        columns[title] = column
        notes.append(said)
    if not full.all():
        notes.append(f"{int((~full).sum()):,} pairs with an empty side are left out.")
    rule = "drawn by the source sentence, so that equal ones stay together"
    return Table(columns, name, "parallel", names, "translation", split, rule, notes=tuple(notes), tried=len(full))


def _two(source: Any) -> tuple[Path, Path] | None:
    if isinstance(source, Path) and not source.exists() and str(source).count(",") == 1:
        first, second = (Path(p) for p in str(source).split(","))
        return (first, second) if first.is_file() and second.is_file() else None
    return None


def _lacking(source: Any) -> Path | None:
    """The file that is not there of two that are named FILE,FILE; None where both are, or neither."""
    if not isinstance(source, Path) or source.exists() or str(source).count(",") != 1:
        return None
    there = [Path(p) for p in str(source).split(",")]
    lacking = [p for p in there if not p.is_file()]
    return lacking[0] if len(lacking) == 1 else None


def _files(two: tuple[Path, Path]) -> tuple[list[list[str]], list[str]]:
    found = [_encoding.read(path) for path in two]
    sides = [text.split("\n") for text, _ in found]
    sides = [side[:-1] if side and not side[-1] else side for side in sides]
    counts = [len(side) for side in sides]
    if not all(counts):
        raise DataError(f"{two[counts.index(0)]} is empty.")
    if counts[0] != counts[1]:
        short, long = sorted((0, 1), key=lambda i: counts[i])
        raise DataError(
            f"{two[0]} has {counts[0]:,} lines and {two[1]} has {counts[1]:,}; {_parting(sides, two)}"
            f"line {counts[short] + 1:,} of {two[long]} has no partner."
        )
    return sides, [_encoding_note([encoding for _, encoding in found])]


def _encoding_note(encodings: list[str]) -> str:
    return f"Read as {' and '.join(dict.fromkeys(encodings))}."


def _parting(sides: list[list[str]], two: tuple[Path, Path]) -> str:
    """Where one side has an empty line and the other has not: most likely the place where they part."""
    for number, (a, b) in enumerate(zip(*sides, strict=False)):
        if bool(a.strip()) != bool(b.strip()):
            return f"they part at line {number + 1:,}, which is empty in {two[0] if not a.strip() else two[1]} alone; "
    return ""


def _columns(path: Path) -> tuple[list[list[str]], list[str]]:
    text, encoding = _encoding.read(path)
    lines = text.rstrip("\r\n").split("\n")
    rows = [line.rstrip("\r").split("\t") if line.strip() else ["", ""] for line in lines]
    wrong = next((i for i, row in enumerate(rows) if len(row) != 2), None)
    if wrong is not None:
        raise DataError(f"{path} line {wrong + 1:,} has {len(rows[wrong])} columns where the first has 2; mend it.")
    return [[row[0] for row in rows], [row[1] for row in rows]], [_encoding_note([encoding])]


def _split(texts: np.ndarray) -> np.ndarray:
    """int8 (rows,) by the hash of each text: about HELD of them validate, and as many test, MOST each."""
    share = min(HELD, MOST / len(texts))
    least = 2 / len(texts)  # a few of everything where there is little
    share = max(share, least)
    keys = [
        int.from_bytes(hashlib.sha256(t.encode("utf-8", "surrogatepass")).digest()[:4], "big") / 2**32 for t in texts
    ]
    key = np.array(keys)
    split = np.where(key < share, 2, np.where(key < 2 * share, 1, 0)).astype(np.int8)
    for part, row in ((1, int(np.argmax(key))), (2, int(np.argmin(key)))):
        if not (split == part).any():
            split[texts == texts[row]] = part
    return split


def _coded(title: str, values: np.ndarray, train: np.ndarray, kind: str, reading: Reading) -> tuple[Column, str]:
    limit = None if kind in ("bytes", "characters") else reading.vocabulary or VOCABULARY
    tokens = Tokens.fit(train.tolist(), kind, limit, **({"lower": False} if kind == "words" else {}))
    lengths = np.diff(tokens.encode_many(train.tolist())[1])
    longest = int(min(MAXIMUM, max(8, np.quantile(lengths, LONGEST))))
    said = f"{title}: {tokens.kind}, {len(tokens):,} tokens; the first {longest} of a sentence are read ({(lengths > longest).mean():.1%} are longer)."
    return Column(Field(title, "sentence", shape=(longest,), tokens=tokens), values), said
