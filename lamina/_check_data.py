"""check DATA: what is odd about data before anything is learned; the terminal's lines, a page with pictures and JSON."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from lamina.core.errors import DataError
from lamina.data import _target, sniff
from lamina.data._table import Reading, Table
from lamina.judge import _check_page
from lamina.judge.examine import Examined, examine

SECONDS = 55.0  # of the checks, without --deep


def check(source: Any, reading: Reading | None = None, deep: bool = False, seed: int = 0) -> tuple[Examined, Table]:
    """What is odd about data, and the split table that rows and columns are those of. Raises DataError.

    deep: without a limit of time, and labels of all rows are looked at.
    """
    begun = time.monotonic()
    table = source if isinstance(source, Table) else sniff.open(source, reading or Reading())
    table = _target.divided(_target.with_target(table, table.target), seed)
    left = float("inf") if deep else max(1.0, SECONDS - (time.monotonic() - begun))
    return examine(table, left, deep), table


def is_run(name: str) -> bool:
    """Whether a word names a run: its folder, or one of ./runs; a shipped file is none."""
    return any(
        (folder / "config.json").is_file() and (folder / "log.jsonl").is_file()
        for folder in (Path(name), Path("runs") / name)
    )


def show(source: str, reading: Reading, deep: bool, as_json: bool, out: str | None = None) -> None:
    """The whole of `lamina check DATA`: print, write the page and the JSON beside each other."""
    begun = time.monotonic()
    found, table = check(source, reading, deep)
    name = re.sub("[^A-Za-z0-9._-]+", "-", Path(table.source).name) or "data"
    page = Path(out) if out else Path("runs") / f"check-{name}.html"
    if page.suffix not in (".html", ".htm"):
        page = page.with_name(f"{page.name}.html")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(_check_page.page(found, table), encoding="utf-8")
        page.with_suffix(".json").write_text(
            json.dumps(found.to_json(), indent=1, ensure_ascii=False), encoding="utf-8"
        )
    except OSError as error:
        raise DataError(f"{page} cannot be written: {error.strerror}; name another place with --out.") from None
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
        return
    console = Console(highlight=False)
    counts = ", ".join(f"{n:,} {s}" for s, n in found.splits.items())
    console.print(Text(f"  {found.rows:,} rows ({counts}), checked in {time.monotonic() - begun:.0f} s\n"))
    for finding in found.findings:
        mark = "!" if finding.grave else "-"
        console.print(Text(f"  {mark} {finding.sentence}", style="bold yellow" if finding.grave else ""))
        console.print(Text(f"    {finding.todo}", style="dim"))
    if not found.findings:
        console.print("  Nothing odd was found.")
    if found.left_out:
        console.print(
            Text(
                f"  no time was left for: {', '.join(found.left_out)}; --deep takes as long as it needs", style="yellow"
            )
        )
    console.print(Text(f"\n  page    {page}\n  numbers {page.with_suffix('.json')}"))
