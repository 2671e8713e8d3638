"""Ragged: the tokens of many texts end to end, and where each begins; packed once into a memory-mapped file of the store.

NAME.npy is an int32 array of all tokens; behind it lie the int64 offsets (rows + 1) and the crc32 of all that. NAME is a hash of
the texts, of what codes them, and of where they are cut. See _store.py for the folder, and for what becomes of old packs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from lamina.core.errors import DataError
from lamina.data._index import Index
from lamina.data._table import Field
from lamina.data._tokens import END, START, Tokens

ROWS = 4_096  # texts that are coded at a time


@dataclass(frozen=True)
class Ragged:
    """Rows of different length. Rows are never empty: they begin with START."""

    flat: np.ndarray
    """int32: all tokens end to end, in memory or mapped from the store"""
    offsets: np.ndarray
    """int64 (rows + 1,): where each row begins"""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 (rows,)"""
        return np.diff(self.offsets)

    def row(self, number: int) -> np.ndarray:
        """int32: the tokens of a row."""
        return self.flat[self.offsets[number] : self.offsets[number + 1]]


def pack(texts: Sequence[np.ndarray], tokens: Tokens, longest: Sequence[int], cache: Path | None = None) -> Ragged:
    """Rows START, first text, END, second text ...: one text per column, each cut to its `longest` tokens.

    texts: object (rows,) of str per column. With a cache folder a map of the pack in it, made when it is not there or
    damaged. Raises DataError for a folder that cannot be written.
    """
    if cache is None or not len(texts[0]):
        return _coded(texts, tokens, longest)
    path = cache / f"{_name(texts, tokens, longest)}.npy"
    index = Index(cache)
    found = _opened(path, index)
    if found is None:
        made = _coded(texts, tokens, longest)
        try:
            _write(path, made, index)
        except OSError as error:
            why = f"cannot take the packed tokens ({error.strerror}); free space there, or name another folder in LAMINA_STORE."
            raise DataError(f"{cache} {why}") from None
        found = _opened(path, index) or made
    index.use(path)
    index.save()
    return found


def _coded(texts: Sequence[np.ndarray], tokens: Tokens, longest: Sequence[int]) -> Ragged:
    rows, parts, lengths = len(texts[0]), [np.empty(0, np.int32)], [np.empty(0, np.int64)]
    for start in range(0, rows, ROWS):
        columns = [
            _cut(*tokens.encode_many(c[start : start + ROWS].tolist()), most)
            for c, most in zip(texts, longest, strict=True)
        ]
        count = sum(1 + np.diff(offsets) for _, offsets in columns)
        flat = np.empty(int(np.sum(count)), np.int32)
        place = np.concatenate([[0], np.cumsum(count)[:-1]])
        for number, (ids, offsets) in enumerate(columns):
            flat[place] = END if number else START
            own = np.diff(offsets)
            flat[np.arange(len(ids)) + np.repeat(place + 1 - offsets[:-1], own)] = ids
            place = place + 1 + own
        parts.append(flat)
        lengths.append(np.asarray(count))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths))])
    return Ragged(np.concatenate(parts), offsets)


def _cut(flat: np.ndarray, offsets: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """The same rows with at most so many tokens each, the first ones."""
    lengths = np.diff(offsets)
    if not len(lengths) or lengths.max() <= longest:
        return flat, offsets
    kept = np.arange(len(flat)) - np.repeat(offsets[:-1], lengths) < longest
    return flat[kept], np.concatenate([[0], np.cumsum(np.minimum(lengths, longest))])


def _name(texts: Sequence[np.ndarray], tokens: Tokens, longest: Sequence[int]) -> str:
    digest = hashlib.sha256(f"tokens 1 {tokens.fingerprint} {tuple(longest)}".encode())
    for column in texts:
        for start in range(0, len(column), ROWS):
            part = column[start : start + ROWS].tolist()
            digest.update(np.array([len(text) for text in part], np.int64).tobytes())
            digest.update("".join(part).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def _write(path: Path, made: Ragged, index: Index) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / "lock"):
        aside = path.with_suffix(f".{os.getpid()}.new")
        try:
            with open(aside, "wb") as file:
                np.lib.format.write_array(file, made.flat, allow_pickle=False)
                file.write(made.offsets.tobytes() + _check(made.flat, made.offsets).tobytes())
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        finally:
            with contextlib.suppress(OSError):
                aside.unlink()
        index.trust(path)


def _opened(path: Path, index: Index) -> Ragged | None:
    """What a pack holds, None when it is not there or damaged; it is read whole when the index does not trust it."""
    try:
        flat = np.lib.format.open_memmap(
            path, mode="c"
        )  # copies on a write that never comes: torch warns of read-only arrays
        with open(path, "rb") as file:
            file.seek(flat.offset + flat.nbytes)
            tail = file.read()
        offsets, check = np.frombuffer(tail[:-8], np.int64), np.frombuffer(tail[-8:], np.int64)
        if flat.dtype != np.int32 or flat.ndim != 1 or not len(offsets) or offsets[-1] != len(flat):
            return None
        if not index.trusts(path):
            if _check(flat, offsets) != check:
                return None
            index.trust(path)
        return Ragged(flat, offsets.copy())
    except Exception:  # damage shows in more ways than can be listed
        return None


def _check(flat: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    return np.array([zlib.crc32(offsets.tobytes(), zlib.crc32(np.ascontiguousarray(flat).data))], np.int64)


def word_lengths(words: Sequence[str], tokens: Tokens) -> np.ndarray:
    """int64 (words,): tokens of each word of a text whose words are joined by blanks; blanks count to the word behind them."""
    given = [*words[:1], *(f" {word}" for word in words[1:])] if tokens.kind != "words" else list(words)
    return np.diff(tokens.encode_many(given)[1])


def tagged(texts: np.ndarray, tags: np.ndarray, field: Field) -> Ragged:
    """Per row what `pack` makes of a text, in the place of tokens: 1 + the code of its tag at the first token of each word, else 0.

    texts: object (rows,) of words joined by blanks; tags: object (rows,) of codes, -1 for one that is not known. Raises DataError.
    """
    assert field.tokens is not None, "tokens are chosen with the plan"
    whole, longest = field.tokens.encode_many(texts.tolist())[1], field.shape[0]
    rows = []
    for number, (text, codes) in enumerate(zip(texts.tolist(), tags, strict=True)):
        lengths = word_lengths(text.split(), field.tokens)
        if len(lengths) != len(codes) or lengths.sum() != whole[number + 1] - whole[number] or (lengths < 1).any():
            raise DataError(
                f"the words of '{text[:60]}' cannot be told apart as {field.tokens.kind}; try --tokens bytes."
            )
        row = np.zeros(1 + int(lengths.sum()), np.int32)
        row[1 + np.cumsum(lengths) - lengths] = codes + 1
        rows.append(row[: 1 + longest])
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Ragged(np.concatenate([np.empty(0, np.int32), *rows]), offsets)


def sentences(values: np.ndarray, field: Field) -> np.ndarray:
    """int64 (rows, most, longest) = (rows, *field.shape) of sentences per row: START, tokens, END, then PADDING; rows may have fewer."""
    assert field.tokens is not None, "tokens are chosen with the plan"
    most, longest = field.shape
    made = np.zeros((len(values), most, longest), np.int64)
    for i, row in enumerate(values):
        for k, text in enumerate(row[:most]):
            ids = field.tokens.encode(text)[: longest - 2]
            made[i, k, : len(ids) + 2] = [START, *ids.tolist(), END]
    return made
