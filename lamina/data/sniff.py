"""sniff: find the source that can read what a person brings. A new source is one new file with `claims` and `read`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamina.core import catalog
from lamina.core.errors import DataError, unknown
from lamina.data._table import Reading, Table

NO_SOURCES = ("sniff",)


def open(source: Any = "digits", reading: Reading | None = None, reader: str | None = None) -> Table:
    """Read a path or a Python object as a Table, by the first source that claims it, or by the `reader` of that name.

    Raises DataError when nothing is there (nearest name in the folder) or no source reads it.
    """
    table = _read(source, reading or Reading(), reader)
    if reading is None or not reading.split_by:
        return table
    from lamina.data import _split_by  # which imports readers

    return _split_by.arranged(table, reading.split_by)


def _read(source: Any, reading: Reading, reader: str | None) -> Table:
    found = Path(source).expanduser() if isinstance(source, str) else source
    if reader:
        return catalog.find("data", reader).read(found, reading)
    for name in catalog.names("data"):
        if name in NO_SOURCES:
            continue
        module = catalog.find("data", name)
        if module.claims(found):
            return module.read(found, reading)
    if isinstance(found, Path) and not found.exists():
        raise _missing(found)
    if isinstance(found, Path) and found.is_dir():
        from lamina.data import folder  # which imports this

        why = [why for _, why in folder._walk(found, found.resolve())]
        if why and all(why):
            raise DataError(
                f"{found} holds {len(why):,} links that lead out of it or to nothing, which are not followed; copy the files."
            )
        what = "holds no pictures, texts, tables or arrays that Lamina can read" if why else "is empty"
        raise DataError(f"{found} {what}; bring class folders of pictures, or a table (lamina list data).")
    what = f"{found}" if isinstance(found, Path) else f"an object of type {type(found).__name__}"
    raise DataError(
        f"no source reads {what}; there is: {', '.join(n for n in catalog.names('data') if n not in NO_SOURCES)}."
    )


def _missing(path: Path) -> DataError:
    parent = path.parent
    if not parent.is_dir():
        return DataError(f"no such folder: {parent}; check the path {path}.")
    near = str(
        unknown("file or folder", path.name, sorted(p.name for p in parent.iterdir() if not p.name.startswith(".")))
    )
    return DataError(f"no such path: {path}; {near.partition('; ')[2]}")
