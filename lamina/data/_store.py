"""The store: pictures packed once into a memory-mapped uint8 array (rows, channels, height, width), opened in milliseconds.

NAME.npy      the array, behind it the crc32 of every row (uint32, little endian) and the crc32 of these
NAME.part     the same, unfinished: rows in order, as far as a process came before it was killed
NAME.journal  the crc32 of the rows of NAME.part, a JSON list a line; the next process checks them and goes on behind them
index.json    see _index.py

All runs share a folder: $LAMINA_STORE, or ~/.cache/lamina/store. What nobody opened for KEPT is removed when a pack is made.

NAME is a hash of the content of all files in order, the shape, and the versions of the decoders: other files or another
decoder are another pack. Opening asks the system for size and times of each file and reads none that did not change; of the
pack it checks size, header and the list of checksums. All values are checked against them (0.3 s a gigabyte and core) when
the pack came from elsewhere, was touched, or the machine was started anew: damage that shows in no time stamp is found
then, not before.

One process at a time packs into a folder, others wait for it and find its pack. Memory: WINDOW blocks of at most BLOCK bytes
(or one row) a core, and what decoding one picture a core takes; 16 MB on two cores for photographs of 640x480.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

import numpy as np
from filelock import FileLock

from lamina.core.device import cores
from lamina.core.errors import DataError
from lamina.data._decode import versions
from lamina.data._index import Index
from lamina.data._threads import ahead, in_threads

if TYPE_CHECKING:
    from lamina.data._pictures import Pictures

BLOCK = 1 << 20  # bytes that one thread packs at a time
WINDOW = 4  # blocks a core that are packed, or wait to be written
JOURNAL = 1 << 24  # bytes between two lines of the journal: what a kill can lose
LEFTOVER = 7 * 86_400.0  # seconds after which nobody goes on with an unfinished pack
KEPT = 30 * 86_400.0  # seconds since a pack was opened; it is made anew from the files when it is wanted again
CHECK = np.dtype("<u4")


def shared() -> Path:
    """Folder of the packs of all runs."""
    return Path(os.environ.get("LAMINA_STORE") or Path.home() / ".cache" / "lamina" / "store")


def pack(pictures: Pictures, shape: tuple[int, ...], folder: Path | None, fit: str = "crop") -> np.ndarray:
    """uint8 (rows, channels, height, width) of pictures resized to cover the frame and cropped around its centre, or stretched.

    With a folder: a map of the pack in it, which is made when it is not there, from where a killed process left it;
    else an array in memory. Raises DataError for a file that does not decode or changes meanwhile, and for a folder
    that cannot be written.
    """
    fill = _filler(pictures, shape, fit)
    if folder is None or not len(pictures):
        packed = np.empty((len(pictures), *shape), np.uint8)
        rows = _block_rows(shape)
        in_threads(lambda start: fill(start, packed[start : start + rows]), range(0, len(packed), rows))
        return packed
    index = Index(folder)
    hashes = pictures.hashes(index)
    how = "" if fit == "crop" else f"{fit} "
    key = f"{versions()} {how}{tuple(shape)} {len(pictures)} " + "".join(hashes)
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"
    if not sound(path, (len(pictures), *shape), index):
        try:
            _make(path, (len(pictures), *shape), fill, pictures.check, index)
        except OSError as error:
            why = f"cannot take the packed pictures ({error.strerror}); free space there, or name another folder in LAMINA_STORE."
            raise DataError(f"{folder} {why}") from None
    index.use(path)
    index.save()
    return np.load(path, mmap_mode="r", allow_pickle=False)


def sound(path: Path, shape: tuple[int, ...], index: Index) -> bool:
    """Whether a pack (rows, ...) is there and holds what was written; its values are read when `index` does not trust it."""
    try:
        packed = np.lib.format.open_memmap(path, mode="r")  # np.load would take a zip for arrays
        if packed.shape != shape or packed.dtype != np.uint8 or not packed.flags.c_contiguous:
            return False
        tail = packed.offset + packed.nbytes
        with open(path, "rb") as file:
            file.seek(tail)
            checks = file.read()
        written = np.frombuffer(checks[:-4], CHECK)
        if len(written) != shape[0] or checks[-4:] != _check(checks[:-4]):
            return False
        if not index.trusts(path):
            if _intact(path, packed.offset, shape, written) < shape[0]:
                return False
            index.trust(path)
        return True
    except Exception:  # damage shows in more ways than can be listed
        return False


def _filler(pictures: Pictures, shape: tuple[int, ...], fit: str) -> Callable[[int, np.ndarray], None]:
    """A function that packs the rows from `start` on into an array (rows, channels, height, width)."""

    def fill(start: int, packed: np.ndarray) -> None:
        for i in range(len(packed)):
            packed[i] = pictures.framed(start + i, shape, fit)

    return fill


def _make(
    path: Path, shape: tuple[int, ...], fill: Callable[[int, np.ndarray], None], check: Callable[[], None], index: Index
) -> None:
    """Write the pack: its rows in order into NAME.part, then its checksums; synced and renamed.

    A kill leaves what is needed to go on; an error leaves nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / "lock"):
        if sound(path, shape, index):  # another process was faster
            return
        _remove_leftovers(path.parent, index)
        part, journal = path.with_suffix(".part"), path.with_suffix(".journal")
        try:
            checks = _resume(part, journal, shape)
            with open(part, "r+b") as file, open(journal, "a", encoding="ascii") as lines:
                file.seek(0, os.SEEK_END)
                checks = np.concatenate([checks, _append(file, lines, shape, len(checks), fill)]).astype(CHECK)
                check()
                file.write(checks.tobytes() + _check(checks.tobytes()))
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            journal.unlink()
        except Exception:
            for left in (part, journal):
                with contextlib.suppress(OSError):
                    left.unlink()
            raise
        index.trust(path)


def _append(file: BinaryIO, lines: TextIO, shape: tuple[int, ...], done: int, fill: Callable[..., None]) -> np.ndarray:
    """Pack the rows from `done` on and write them in order, their checksums into the journal. Returns the checksums."""
    rows, window = _block_rows(shape[1:]), WINDOW * cores()
    blocks = -(-(shape[0] - done) // rows)
    buffers = [np.empty((rows, *shape[1:]), np.uint8) for _ in range(min(window, blocks))]

    def make(number: int) -> tuple[np.ndarray, list[int]]:
        start = done + number * rows
        block = buffers[number % window][: min(rows, shape[0] - start)]
        fill(start, block)
        return block, [zlib.crc32(row.data) for row in block]

    checks, entered = [], 0
    with ThreadPoolExecutor(1) as other:  # what is packed reaches the disk meanwhile: the last sync is short
        syncing = other.submit(int)
        for block, found in ahead(make, blocks, window):
            file.write(block.data)
            checks += found
            if (len(checks) - entered) * math.prod(shape[1:]) >= JOURNAL:
                file.flush()
                lines.write(json.dumps(checks[entered:]) + "\n")
                lines.flush()
                entered = len(checks)
                if syncing.done():
                    syncing.result()
                    syncing = other.submit(os.fsync, file.fileno())
        syncing.result()
    return np.array(checks, CHECK)


def _resume(part: Path, journal: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Checksums of the rows that NAME.part holds intact; it is cut behind them, or begun."""
    checks = np.empty(0, CHECK)
    with contextlib.suppress(OSError, ValueError, TypeError, OverflowError):  # a killed process leaves half a line
        for line in journal.read_text(encoding="ascii").splitlines():
            checks = np.concatenate([checks, np.array(json.loads(line), CHECK)])[: shape[0]]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    begin = header.getvalue()
    with open(part, "a+b") as file:
        file.seek(0)
        is_begun = file.read(len(begin)) == begin
    checks = checks[: _intact(part, len(begin), shape, checks) if is_begun else 0]
    with open(part, "r+b") as file:
        file.write(begin)
        file.truncate(len(begin) + len(checks) * math.prod(shape[1:]))
    aside = journal.with_suffix(".new")
    aside.write_text(json.dumps(checks.tolist()) + "\n", encoding="ascii")
    os.replace(aside, journal)
    return checks


def _intact(path: Path, begin: int, shape: tuple[int, ...], checks: np.ndarray) -> int:
    """How many rows from the first on are in a file and have these checksums; read on all cores, a block at a time."""
    size, rows = math.prod(shape[1:]), _block_rows(shape[1:])

    def good(start: int) -> int:
        with open(path, "rb") as file:
            file.seek(begin + start * size)
            for row in range(start, min(start + rows, len(checks))):
                if len(values := file.read(size)) < size or zlib.crc32(values) != checks[row]:
                    return row - start
        return min(rows, len(checks) - start)

    counts = in_threads(good, range(0, len(checks), rows))
    whole = next((i for i, count in enumerate(counts) if count < rows), len(counts))
    return whole * rows + (counts[whole] if whole < len(counts) else 0)


def _block_rows(shape: tuple[int, ...]) -> int:
    return max(1, BLOCK // math.prod(shape))


def _check(values: bytes) -> bytes:
    return zlib.crc32(values).to_bytes(4, "little")


def _remove_leftovers(folder: Path, index: Index) -> None:
    """What processes left aside that nobody goes on with, and packs that nobody opens."""
    for left in (*folder.glob("*.new"), *folder.glob("*.part"), *folder.glob("*.journal"), *folder.glob("*.npy")):
        with contextlib.suppress(OSError):
            if index.unused(left) > (KEPT if left.suffix == ".npy" else LEFTOVER):
                left.unlink()
