"""Running: a text coded once into a memory-mapped file of any size; the rows of a table are windows over it.

NAME.npy holds the ids (uint8, uint16 or int32), NAME.json the tokens, the places of the splits and a sha256 of the ids.
NAME is a hash of the content of all files in order and of how they are cut; the folder is that of the packs of pictures.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from lamina.core.errors import DataError
from lamina.data._store import KEPT
from lamina.data._tokens import Tokens

IGNORED = -1  # a target that is not scored: the window before it is context alone


@dataclass(frozen=True)
class Coded:
    """A coded text, and where its stretches end."""

    ids: np.ndarray
    """(tokens,) of a whole-number type, usually a map of a file"""
    tokens: Tokens
    ends: tuple[int, int, int]
    """positions where the train, validation and test stretches end"""
    digest: str
    """sha256 of ids and tokens"""


class Windows:
    """Rows of a running text: row i holds the `length` ids from starts[i] + shift on; with shift 1 it is what follows.

    The first skips[i] targets of a row (shift 1) are IGNORED: another row scores them.
    """

    def __init__(self, coded: Coded, starts: np.ndarray, skips: np.ndarray, length: int, shift: int) -> None:
        self.coded, self.starts, self.skips, self.length, self.shift = coded, starts, skips, length, shift

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, rows: np.ndarray) -> Windows:
        """The windows of these rows."""
        return Windows(self.coded, self.starts[rows], self.skips[rows], self.length, self.shift)

    def at(self, rows: np.ndarray, moved: np.ndarray | None = None) -> np.ndarray:
        """int64 (rows, length): ids, or targets, of rows moved on by so many tokens, but not beyond the training stretch."""
        starts = self.starts[rows]
        if moved is not None:
            starts = np.minimum(starts + moved, self.coded.ends[0] - self.length - 1)
        found = self.coded.ids[starts[:, None] + np.arange(self.shift, self.shift + self.length)].astype(np.int64)
        if self.shift and moved is None:
            found[np.arange(self.length) < self.skips[rows, None]] = IGNORED
        return found

    def fingerprint(self) -> str:
        """sha256 of the text and the windows over it."""
        made = hashlib.sha256(f"{self.coded.digest} {self.length} {self.shift}".encode())
        made.update(np.ascontiguousarray(self.starts).tobytes())
        made.update(np.ascontiguousarray(self.skips).tobytes())
        return made.hexdigest()


def cut(coded: Coded, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """starts, skips and split (0, 1, 2) of all windows: training ones end to end, the others at every half of a window.

    Every held-out token is the target of exactly one row that is not skipped, and each but the first of a stretch has at least
    length / 2 tokens before it.
    """
    parts, begin = [], 0
    for split, end in enumerate(coded.ends):
        if begin == end:
            continue
        starts = _ends_to_ends(begin, end, length) if split == 0 else _sliding(begin, end, length)
        skips = np.zeros(len(starts), np.int32)
        if split and len(starts) > 1:
            skips[1:] = np.minimum(length - np.diff(starts), length)
        parts.append((starts, skips, np.full(len(starts), split, np.int8)))
        begin = end
    starts, skips, split = (np.concatenate(p) for p in zip(*parts, strict=True))
    return starts, skips, split


def _ends_to_ends(begin: int, end: int, length: int) -> np.ndarray:
    return np.arange(begin, max(begin + 1, end - length), length, dtype=np.int64)


def _sliding(begin: int, end: int, length: int) -> np.ndarray:
    """Starts such that the targets begin..end are covered; a start is a place before its first target."""
    first, last = max(0, begin - 1), end - 1 - length
    stride = max(1, length // 2)
    starts = np.arange(first, max(first + 1, last + 1), stride, dtype=np.int64)
    return starts if last <= starts[-1] else np.append(starts, last)


def opened(folder: Path, key: str) -> Coded | None:
    """The coded text of this key, if it was made before and is whole. Raises DataError."""
    path, about = _paths(folder, key)
    try:
        told = json.loads(about.read_text(encoding="utf-8"))
        ids = np.load(path, mmap_mode="r", allow_pickle=False)
        if len(ids) != told["ends"][2]:
            return None
        os.utime(path)
        return Coded(ids, Tokens.from_json(told["tokens"]), tuple(told["ends"]), told["digest"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, DataError):
        return None


def made(folder: Path, key: str, tokens: Tokens, parts: Iterable[tuple[np.ndarray, int]]) -> Coded:
    """Write the ids of all parts, each with the split that it belongs to, and open them. Raises DataError.

    Takes the memory of one part. One process at a time writes; another one finds what it made.
    """
    path, about = _paths(folder, key)
    kind: Any = np.uint8 if len(tokens) <= 256 else np.uint16 if len(tokens) <= 65_536 else np.int32
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _forget_old(folder)
        with FileLock(path.with_suffix(".lock")):
            return opened(folder, key) or _written(path, about, tokens, kind, parts)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; free space, or set LAMINA_STORE.") from None


def _written(path: Path, about: Path, tokens: Tokens, kind: Any, parts: Iterable[tuple[np.ndarray, int]]) -> Coded:
    counts, digest, aside = [0, 0, 0], hashlib.sha256(tokens.fingerprint.encode()), path.with_suffix(".part")
    with open(aside, "wb") as file:
        _header(file, kind, 0)
        for ids, split in parts:
            content = ids.astype(kind)
            counts[split] += len(content)
            digest.update(content.data)
            file.write(content.data)
        file.seek(0)
        _header(file, kind, sum(counts))
        file.flush()
        os.fsync(file.fileno())
    ends = [int(n) for n in np.cumsum(counts)]
    told = {"ends": ends, "digest": digest.hexdigest(), "tokens": tokens.to_json()}
    new = about.with_suffix(".json.part")
    new.write_text(json.dumps(told, ensure_ascii=True), encoding="utf-8")
    os.replace(new, about)
    os.replace(aside, path)
    return Coded(np.load(path, mmap_mode="r", allow_pickle=False), tokens, (ends[0], ends[1], ends[2]), told["digest"])


def _header(file: Any, kind: Any, length: int) -> None:
    """The 128 bytes of an npy file of one axis; the same size whatever the length."""
    text = f"{{'descr': '{np.dtype(kind).str}', 'fortran_order': False, 'shape': ({length},), }}"
    file.write(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n")


def _paths(folder: Path, key: str) -> tuple[Path, Path]:
    name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return folder / f"{name}.npy", folder / f"{name}.json"


def _forget_old(folder: Path) -> None:
    """Remove what nobody opened for KEPT."""
    for path in folder.glob("*.npy"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > KEPT:
                path.unlink()
                path.with_suffix(".json").unlink(missing_ok=True)
