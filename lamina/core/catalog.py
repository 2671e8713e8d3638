"""A folder is the register: every public file of a room is an entry, and its docstring is its description.

Listing parses files and imports nothing, so it takes milliseconds and never loads torch.
"""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from lamina.core.errors import NameUnknown, unknown

FOREIGN = ("timm.", "torchvision.")  # packages whose models are nets, too
PACKAGE = Path(__file__).parent.parent
SINGULAR = {
    "nets": "net",
    "tasks": "task",
    "data": "data source",
    "measures": "measure",
    "recipes": "recipe",
    "explain": "explanation",
    "ship": "export",
}


@dataclass(frozen=True)
class Entry:
    """What the first lines of a file say about it."""

    name: str
    summary: str
    sizes: tuple[str, ...] = ()


def names(room: str) -> list[str]:
    """Names of the public files of a room, sorted; [] when the room does not exist yet."""
    return sorted(p.stem for p in (PACKAGE / room).glob("*.py") if not p.stem.startswith("_"))


def describe(room: str, name: str) -> Entry:
    """Read an entry's first docstring line and the keys of its SIZES without importing it."""
    tree = ast.parse((PACKAGE / room / f"{name}.py").read_text(encoding="utf-8"))
    summary = (ast.get_docstring(tree) or "").split("\n")[0]
    for node in tree.body:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if isinstance(target, ast.Name) and target.id == "SIZES" and isinstance(getattr(node, "value", None), ast.Dict):
            keys = [k.value for k in node.value.keys if isinstance(k, ast.Constant)]  # type: ignore[union-attr]
            return Entry(name, summary, tuple(str(k) for k in keys))
    return Entry(name, summary)


def find(room: str, name: str) -> ModuleType:
    """Import the file `name` of a room; a name with a dot is a module of the user's own, or a model of timm or torchvision.

    Raises NameUnknown with the nearest name.
    """
    if room == "nets" and name.startswith(FOREIGN):
        return importlib.import_module("lamina.nets._foreign").module(name)
    if "." in name:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(error.name + ".")):
                raise NameUnknown(f"no module '{name}' can be imported; is its folder on PYTHONPATH?") from None
            raise
    if name not in names(room):
        raise unknown(SINGULAR.get(room, room), name, names(room))
    return importlib.import_module(f"lamina.{room}.{name}")


def trusted(net: str) -> bool:
    """Whether a net that a file names is Lamina's, or of a package that lists its models: no other module is imported for a file."""
    return net in names("nets") or net.startswith(FOREIGN)


def saved(net: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a net from a run or file, and those that came to be after it, as EARLIER of the net's file says that they were."""
    return {**getattr(find("nets", net), "EARLIER", {}), **settings}
