"""check RUN: how a trained net stands worse rows and attacks; the terminal's lines, a page with pictures and JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

from lamina import checking
from lamina.core.errors import DataError
from lamina.judge.corruptions import STRENGTHS
from lamina.measures.interval import wilson


def show(run: str, deep: bool, as_json: bool, out: str | None = None) -> None:
    """The whole of `lamina check RUN`: measure, write check.json, check.html and check.png into the run, print."""
    from lamina import api
    from lamina.judge import _run_page

    trained, console = api.load_run(run), Console(highlight=False, markup=False)
    errors = Console(highlight=False, markup=False, stderr=True)
    found = checking.check(trained, deep=deep, say=lambda text: errors.print(f"  {text} ...", style="dim"))
    trained.run.write_json("check.json", found.to_json())
    text = _run_page.page(found.to_json(), found.pictures, trained.path.name, tuple(STRENGTHS)).encode()
    trained.run.write("check.html", text)
    page = trained.path / "check.html"
    if out:
        page = Path(out) if Path(out).suffix in (".html", ".htm") else Path(f"{out}.html")
        try:
            page.write_bytes(text)
        except OSError as error:
            raise DataError(f"{page} cannot be written: {error.strerror}; name another place with --out.") from None
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
        return
    _print(found, console)
    if found.pictures:
        path = Path(trained.path) / "check.png"
        found.pictures.save(path)
        console.print(f"  pictures, changed ones and ten times the change: {path}")
    console.print(f"  page    {page}")
    console.print(f"  {found.signature}", style="dim")


def _print(found: checking.Check, console: Console) -> None:
    if found.clean is not None:
        low, high = wilson(round(found.clean * found.rows), found.rows)
        console.print(
            f"  {found.rows} test rows, {found.clean:.1%} right (95 % interval {low:.1%} to {high:.1%}), in {found.seconds:.0f} s\n"
        )
        console.print(_grid("made worse", list(STRENGTHS), found.worse))
    for title, names, radii in (
        (
            "attacks: largest change of a pixel",
            ("noise", "one change for all", "FGSM", "PGD", "PGD to the next class"),
            checking.RADII,
        ),
        ("attacks: length of the change", ("PGD L2",), checking.LENGTHS),
    ):
        if found.attacked:
            console.print(_grid(title, [f"{r:g}" for r in radii], {n: list(found.attacked[n].values()) for n in names}))
    for norm, value in found.least.items():
        told = f"{value:.3g}" if math.isfinite(value) else "more than was tried"
        console.print(f"  half of the right answers are turned by a change of {told} ({norm})")
    if found.black_box:
        told = " | ".join(
            f"{box:.0%} against {pgd:.0%}" for box, pgd in zip(*map(dict.values, found.black_box.values()), strict=True)
        )
        stronger = "is stronger than PGD: the gradients hide, and the net stands less than the attacks say"
        said = stronger if found.hidden else "is not stronger than PGD, as it should be"
        console.print(f"  an attack without gradients {said} ({told})", style="bold yellow" if found.hidden else "")
    if found.one_pixel is not None:
        console.print(f"  one pixel turns {found.one_pixel:.0%} of {checking.FEW} right answers")
    if found.learning:
        console.print(f"  {found.learning['sentence']}")
    if found.shuffled:
        console.print(f"  {found.shuffled['sentence']}", style="bold yellow" if found.shuffled["leaks"] else "")
    for text in found.left_out:
        console.print(f"  not measured: {text}", style="dim")


def _grid(title: str, columns: list[str], rows: dict[str, list[float]]) -> Grid:
    grid = Grid(box=None, padding=(0, 2), title=f"  {title}, share right", title_justify="left", title_style="bold")
    grid.add_column("")
    for column in columns:
        grid.add_column(column, justify="right")
    for name, shares in rows.items():
        grid.add_row(name, *(f"{100 * s:.1f} %" for s in shares))
    return grid
