"""The index of a store: what is known of files without reading them again, in one small JSON file.

files: path -> size, time of change of content and of entry (nanoseconds), sha256 of the content. A file whose three numbers
stand is taken to be unchanged; one that changed less than FRESH seconds before it was read is not entered, since a second
change could leave the same numbers. packs: name -> size, time and boot of the machine at which its values were written here
or read whole and found right. used: name of a pack -> day on which it was opened last. An index that is damaged, lost, or
not writable costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lamina.core.errors import DataError
from lamina.data._decode import reason
from lamina.data._threads import in_threads

Entry = list[Any]  # size, time of content, time of entry, sha256
NAME = "index.json"
FRESH = 2.0  # seconds
DAY = 86_400.0
SMALL = 1 << 24  # bytes, below which a file is read at once: two thirds of the time for one of 45 kB


class Index:
    """What a folder's index knows; `save` adds what was learned since."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.files, self.packs, self.used = _read(self.path)
        self._learned: dict[str, dict[str, Any]] = {"files": {}, "packs": {}, "used": {}}

    def entries(self, paths: Sequence[str]) -> list[Entry]:
        """Entries of files, in order; those that changed are read, on all cores. Raises DataError."""
        found = [self.files.get(path) for path in _whole(paths)]
        changed = [row for row, entry in enumerate(found) if entry is None or entry[:3] != stamp(paths[row])]
        for row, entry in zip(changed, in_threads(lambda row: read(str(paths[row])), changed), strict=True):
            found[row] = entry
        return [entry for entry in found if entry is not None]

    def learn(self, paths: Sequence[str], entries: Sequence[Entry]) -> None:
        """Enter what was found out about files; what was read too soon after a change is passed over."""
        learned, known = self._learned["files"], self.files
        learned |= {path: e for path, e in zip(_whole(paths), entries, strict=True) if e[1] and known.get(path) != e}

    def trusts(self, pack: Path) -> bool:
        """Whether the values of a pack were written or checked since the machine started, and it is the same file."""
        boot = _boot()
        return bool(boot) and self.packs.get(pack.name) == [*stamp(str(pack)), boot]

    def trust(self, pack: Path) -> None:
        """Enter a pack whose values were just written or checked."""
        self._learned["packs"][pack.name] = [*stamp(str(pack)), _boot()]

    def use(self, pack: Path) -> None:
        """Enter that a pack was opened today."""
        if self.used.get(pack.name) != (day := int(time.time() // DAY)):
            self._learned["used"][pack.name] = day

    def unused(self, pack: Path) -> float:
        """Seconds since a pack was last opened or written, to a day."""
        return time.time() - max(self.used.get(pack.name, 0) * DAY, pack.stat().st_mtime)

    def save(self) -> None:
        """Write what was learned, aside and renamed; what another process wrote meanwhile is kept."""
        if not any(self._learned.values()):
            return
        files, packs, used = _read(self.path)
        packs = {name: entry for name, entry in packs.items() if (self.path.parent / name).exists()}
        kept = {
            "files": files | self._learned["files"],
            "packs": packs | self._learned["packs"],
            "used": {name: day for name, day in used.items() if name in packs} | self._learned["used"],
        }
        aside = self.path.with_suffix(f".{os.getpid()}.new")
        with contextlib.suppress(OSError):
            aside.write_text(json.dumps(kept), encoding="ascii")
            os.replace(aside, self.path)
        with contextlib.suppress(OSError):
            aside.unlink()


def stamp(path: str) -> list[int]:
    """Size and times of a file; zeros when it cannot be asked."""
    try:
        about = os.stat(path)
    except OSError:
        return [0, 0, 0]
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def read(path: str) -> Entry:
    """Entry of a file that is read for it; one that changed just before has zeros for times. Raises DataError."""
    before = stamp(path)  # taken first: a change while it is read shows the next time
    try:
        with open(path, "rb", buffering=0) as file:
            is_small = before[0] < SMALL
            digest = hashlib.sha256(file.read()) if is_small else hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise DataError(f"{path} {reason(Path(path), error)}.") from None
    is_fresh = time.time() - max(before[1:]) / 1e9 < FRESH
    return [*([before[0], 0, 0] if is_fresh else before), digest.hexdigest()]


def _whole(paths: Sequence[str]) -> Iterator[str]:
    here = os.getcwd()
    return (path if os.path.isabs(path) else os.path.join(here, path) for path in paths)


def _read(path: Path) -> tuple[dict[str, Entry], dict[str, Entry], dict[str, int]]:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_bytes())
        files, packs, used = dict(kept["files"]), dict(kept["packs"]), dict(kept["used"])
        is_whole = all(type(entry) is list and len(entry) == 4 for entry in files.values())
        if is_whole and all(type(day) is int for day in used.values()):
            return files, packs, used
    return {}, {}, {}


def _boot() -> str:
    """Which start of the machine this is; "" where the system does not tell, and packs are checked at every opening."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""
