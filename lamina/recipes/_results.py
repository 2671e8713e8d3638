"""Recorded results: one JSON file a recipe in results/, the newest of each machine and data, and RESULTS.md written from all of them.

Two recorders never overwrite each other: a lock is held while a file is read, changed and written whole.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock

from lamina.core import catalog, device
from lamina.core.errors import RunError
from lamina.recipes._recipe import Made, measured

ROOM = Path(__file__).parent
HEAD = """# Results of the recipes

Written by `lamina recipe NAME --record`; do not edit. Mean and 95 % interval over seeds (Student's t) where there are several.
"""


def record(made: Made, command: str, room: Path = ROOM) -> Path:
    """Keep what was measured on this machine and write RESULTS.md anew; its path. Raises RunError when the disk refuses."""
    try:
        (room / "results").mkdir(exist_ok=True)
        with FileLock(room / "results" / ".lock"):
            path = room / "results" / f"{made.name}.json"
            kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
            entry = _entry(made, command)
            kept = [e for e in kept if _settings(e) != _settings(entry)] + [entry]
            _replace(path, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
            _replace(room / "RESULTS.md", page(room))
    except OSError as error:
        raise RunError(
            f"{error.filename or room} cannot be written: {error.strerror}; record from a checkout."
        ) from None
    return room / "RESULTS.md"


def _entry(made: Made, command: str) -> dict[str, Any]:
    machine = device.machine()
    wanted = ("processor", "cores", "threads", "accelerator", "lamina", "torch", "python")
    numbers = {name: [float(f"{v:.6g}") for v in values] for name, values in made.numbers.items()}
    return {
        "command": command,
        "systems": list(made.systems),
        "machine": {k: machine[k] for k in wanted},
        "seconds": [round(s, 1) for s in made.seconds],
        "numbers": numbers,
    }


def _settings(entry: dict[str, Any]) -> tuple:
    """Of two results with the same the newer one counts."""
    _, _, data = entry["command"].partition("--data ")
    return *(entry["machine"][k] for k in ("processor", "cores", "accelerator")), data.partition(" ")[0]


def _replace(path: Path, text: str) -> None:
    aside = path.with_name(path.name + ".new")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)


def page(room: Path = ROOM) -> str:
    """RESULTS.md as text, from the JSON files, recipes by name."""
    parts = [HEAD]
    for path in sorted((room / "results").glob("*.json")):
        history = (
            getattr(catalog.find("recipes", path.stem), "HISTORY", {}) if path.stem in catalog.names("recipes") else {}
        )
        for entry in json.loads(path.read_text(encoding="utf-8")):
            parts.append(_section(path.stem, entry, history))
    return "\n".join(parts)


def _section(name: str, entry: dict[str, Any], history: dict[str, str]) -> str:
    machine = entry["machine"]
    where = machine["accelerator"] or machine["processor"]
    cores = f"{machine['cores']} core{'s' if machine['cores'] > 1 else ''}"
    seconds = entry["seconds"]
    lines = [f"## {name} ({', '.join(entry['systems'])})", ""]
    lines += [f"History: {history['']}.", ""] if history.get("") else []
    lines += ["| number | measured | history |", "|---|---|---|"]
    lines += [f"| {n} | {measured(n, values)} | {history.get(n, '')} |" for n, values in entry["numbers"].items()]
    lines += ["", f"`{entry['command']}`; {sum(seconds):,.0f} s in all, {len(seconds)} seed{'s' if len(seconds) > 1 else ''}; "
              f"{where}, {cores}; lamina {machine['lamina']}, torch {machine['torch']}.", ""]  # fmt: skip
    return "\n".join(lines)
