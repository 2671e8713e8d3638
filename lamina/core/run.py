"""A run is a folder: config.json, log.jsonl, best.safetensors, state/, score.json, report.html and manifest.json.

Every file is written aside, synced and renamed. The manifest takes the sha256 of the new content before the file changes and
keeps the one it replaces, so a kill at any moment leaves a file that the manifest knows. One process at a time holds a run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lamina.core.errors import RunError, unknown

STATES_KEPT = 2


def replace(target: Path, content: bytes) -> None:
    """Write a file aside, sync it and give it its name; its folder is made. Raises RunError when the disk refuses."""
    aside = target.with_name(target.name + ".new")
    try:
        target.parent.mkdir(exist_ok=True)
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
        if os.name == "posix":
            folder = os.open(target.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        what = error.strerror or type(error).__name__
        raise RunError(f"{target} cannot be written: {what}; what was saved before is intact.") from None


class Run:
    """A run folder that exists. Paths given to its methods are names inside the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / "lock")

    @classmethod
    def create(cls, path: Path | None, name: str = "run") -> Run:
        """Make a new run folder: `path` itself, or runs/NAME-1, -2 ... whichever is free, even when two start at once.

        Raises RunError when `path` exists already or cannot be written.
        """
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "run"
        number = 1
        while True:
            folder = path or Path("runs") / f"{safe}-{number}"
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir()
                return cls(folder)
            except FileExistsError:
                if path:
                    raise RunError(
                        f"{path} exists already; name another folder, or go on with --resume {path}."
                    ) from None
                number += 1
            except OSError as error:
                raise RunError(f"{folder} cannot be made: {error.strerror}; name another place with --run.") from None

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open a run folder, or one of ./runs by its name. Raises RunError."""
        folder = Path(path)
        if not (folder / "config.json").is_file() and (Path("runs") / path / "config.json").is_file():
            folder = Path("runs") / path
        if not folder.is_dir():
            raise unknown("run", str(path), [r.path.name for r in Run.all()])
        if not (folder / "config.json").is_file():
            raise RunError(f"{folder} is not a run: it has no config.json.")
        return cls(folder)

    @classmethod
    def all(cls, parent: Path = Path("runs")) -> list[Run]:
        """The runs in a folder, oldest first."""
        found = [p.parent for p in parent.glob("*/config.json")]
        return [cls(p) for p in sorted(found, key=lambda p: p.stat().st_mtime)]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run; raises RunError when another process does. The system lets go when the process dies."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{self.path} is in use by another process; wait for it, or name another run.") from None
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}.") from None
        try:
            yield
        finally:
            self._lock.release()

    def write(self, name: str, content: bytes) -> None:
        """Replace a file atomically and enter its sha256 in the manifest. Raises RunError when the disk refuses."""
        manifest = self._manifest()
        digest = hashlib.sha256(content).hexdigest()
        before = manifest.get(name, [])[:1]
        manifest[name] = [digest, *(d for d in before if d != digest)]
        self._replace("manifest.json", json.dumps(manifest, indent=1, sort_keys=True).encode())
        self._replace(name, content)

    def write_json(self, name: str, value: Any) -> None:
        """Write plain values as JSON."""
        self.write(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def _replace(self, name: str, content: bytes) -> None:
        replace(self.path / name, content)

    def read(self, name: str) -> bytes:
        """A file's content, its sha256 checked against the manifest. Raises RunError when missing or damaged."""
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise RunError(f"{self.path / name} cannot be read: {error.strerror}.") from None
        if hashlib.sha256(content).hexdigest() not in self._manifest().get(name, []):
            raise RunError(f"{self.path / name} is damaged: its sha256 is not the one in manifest.json.")
        return content

    def read_json(self, name: str) -> Any:
        """A JSON file of the run, checked against the manifest."""
        try:
            return json.loads(self.read(name))
        except json.JSONDecodeError as error:
            raise RunError(f"{self.path / name} is not JSON: {error}.") from None

    def has(self, name: str) -> bool:
        """Whether the run has this file."""
        return (self.path / name).is_file()

    def _manifest(self) -> dict[str, list[str]]:
        try:
            return json.loads((self.path / "manifest.json").read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path / 'manifest.json'} cannot be read: {error}.") from None

    def save_state(self, step: int, content: bytes) -> None:
        """Keep the state at a step, and the one before it."""
        self.write(f"state/{step:09d}.safetensors", content)
        for old in sorted((self.path / "state").glob("*.safetensors"))[:-STATES_KEPT]:
            with contextlib.suppress(OSError):
                old.unlink()
        manifest = self._manifest()
        gone = [n for n in manifest if n.startswith("state/") and not self.has(n)]
        for name in gone:
            del manifest[name]
        if gone:
            self._replace("manifest.json", json.dumps(manifest, indent=1, sort_keys=True).encode())

    def states(self) -> Iterator[tuple[bytes, str]]:
        """States from the newest to the oldest: content, or b"" with a sentence for a damaged one."""
        for path in sorted((self.path / "state").glob("*.safetensors"), reverse=True):
            try:
                yield self.read(f"state/{path.name}"), ""
            except RunError as error:
                yield b"", str(error)

    def forget_states_after(self, step: int) -> None:
        """Remove states of later steps (damaged, or left by a history that is being repeated)."""
        for path in (self.path / "state").glob("*.safetensors"):
            if int(path.stem) > step:
                path.unlink()

    def log(self, **values: Any) -> None:
        """Append a line to log.jsonl with the time of day."""
        line = json.dumps({"time": round(time.time(), 3), **values}, ensure_ascii=False) + "\n"
        try:
            with open(self.path / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise RunError(f"{self.path / 'log.jsonl'} cannot be written: {error.strerror}.") from None

    def history(self, event: str | None = None) -> list[dict[str, Any]]:
        """The lines of log.jsonl (those of one event); a last line cut short by a kill is passed over."""
        if not self.has("log.jsonl"):
            return []
        found = []
        for line in (self.path / "log.jsonl").read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [entry for entry in found if event is None or entry.get("event") == event]

    def rewind_log(self, step: int) -> None:
        """Drop the lines of steps after `step`: a resumed run writes them again."""
        kept = [json.dumps(e, ensure_ascii=False) + "\n" for e in self.history() if e.get("step", 0) <= step]
        self._replace("log.jsonl", "".join(kept).encode())
