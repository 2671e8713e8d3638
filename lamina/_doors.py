"""lamina.check and lamina.compare: what the commands of these names find, for Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamina import _check_data, api, checking, comparing
from lamina.data._table import Reading, Table


def check(what: Any = "digits", *, deep: bool = False, data: Any = None, **how: Any) -> Any:
    """What is odd about data (judge.examine.Examined), or how far a run can be trusted (checking.Check).

    what: a Table, path or Python object; or a run, or the path of one. deep: as --deep. data: what a run learned from, when it came
    from memory. how: fields of Reading (target, ignore, split_by ...), for data. Raises LaminaError.
    """
    if isinstance(what, str | Path) and _check_data.is_run(str(what)):
        what = api.load_run(what)
    if isinstance(what, api.Trained):
        return checking.check(what, data, deep)
    reading = api._build(Reading, how, "option of check")
    table = what if isinstance(what, Table) else api.open(what, **how)
    if isinstance(what, Table) and how.get("target"):
        table = table.with_(target=table[how["target"]].field.name)
    return _check_data.check(table, reading, deep)[0]


def compare(*runs: Any) -> dict[str, Any]:
    """Every run, or path of one, against the first: {"runs", "against", "settings", "data"}, as `lamina compare --json`. Raises LaminaError."""
    return comparing.compare([run if isinstance(run, api.Trained) else api.load_run(run) for run in runs])
