"""The page of `lamina check DATA`: every finding with its rows as pictures, groups together, or as lines. No network, no script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamina.core.errors import DataError
from lamina.data._pictures import Pictures
from lamina.data._table import SPLITS, Table
from lamina.judge._examples import data_uri, value_shown
from lamina.judge._finding import Finding
from lamina.judge.examine import Examined

GROUPS, OF_GROUP = 12, 6  # of a finding; pictures of a group
TILES, LINES, COLUMNS = 24, 15, 4
HEAD = 160  # characters of a text


def page(examined: Examined, table: Table) -> str:
    """One HTML text; names from the data are escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    here = Path(__file__)
    report = here.with_name("report.html").read_text(encoding="utf-8")
    counts = ", ".join(f"{n:,} {s}" for s, n in examined.splits.items())
    about = f"{examined.rows:,} rows ({counts}); {examined.target} is to be learned; split: {examined.split_rule}"
    text = environment.from_string(here.with_name("check.html").read_text(encoding="utf-8")).render(
        title=Path(examined.source).name or examined.source,
        style=Markup(report.split("<style>")[1].split("</style>")[0]),
        about=about,
        findings=[_shown(f, table) for f in examined.findings],
        grave=sum(f.grave for f in examined.findings),
        left_out=examined.left_out,
    )
    return text.encode("utf-8", "replace").decode()


def _shown(finding: Finding, table: Table) -> dict[str, Any]:
    pictures = next(
        (c.values for n, c in table.columns.items() if isinstance(c.values, Pictures) and n != table.target), None
    )
    answers = finding.numbers.get("answers", [])

    def one(row: int, number: int = -1) -> dict[str, Any]:
        about = f"{_label(table, row)} in {SPLITS[table.split[row]]}" if table.split is not None else _label(table, row)
        if 0 <= number < len(answers):
            about = f"labelled {_label(table, row)}, looks like {answers[number]}"
        return {
            "name": str(table.names[row]),
            "about": about,
            "picture": _picture(pictures, row),
            "values": _values(table, row, finding),
        }

    rows = finding.rows
    shown: dict[str, Any] = {"groups": [], "tiles": [], "lines": [], "more": 0}
    if finding.groups:
        shown["groups"] = [[one(r) for r in g[:OF_GROUP]] for g in finding.groups[:GROUPS]]
        shown["more"] = max(0, finding.numbers.get("groups", 0) - GROUPS)
    elif rows and pictures is not None:
        shown["tiles"] = [one(r, i) for i, r in enumerate(rows[:TILES])]
        shown["more"] = max(0, finding.numbers.get("count", len(rows)) - TILES)
    elif rows:
        shown["lines"] = [one(r, i) for i, r in enumerate(rows[:LINES])]
        shown["more"] = max(0, finding.numbers.get("count", len(rows)) - LINES)
    return {"kind": finding.kind, "sentence": finding.sentence, "todo": finding.todo, "grave": finding.grave, **shown}


def _label(table: Table, row: int) -> str:
    column = table.columns.get(table.target or "")
    return value_shown(column, row) if column is not None and column.field.kind in ("label", "number", "date") else ""


def _picture(pictures: Pictures | None, row: int) -> str:
    try:
        return data_uri(pictures.open(row)) if pictures is not None else ""
    except DataError:
        return ""


def _values(table: Table, row: int, finding: Finding) -> list[str]:
    """The columns that the finding is about, or the first text or columns."""
    kinds = ("number", "label", "date", "text", "identifier", "group")
    chosen = [table[n] for n in finding.columns if n in table.columns]
    if not chosen:
        usual = [c for n, c in table.columns.items() if n != table.target and c.field.kind in kinds]
        chosen = [c for c in usual if c.field.kind == "text"][:1] or usual[:COLUMNS]
    return [f"{c.field.name}: {value_shown(c, row)[:HEAD]}" for c in chosen[:COLUMNS]]
