"""What `lamina ship` does: the parcel of a run, made and written in a form, and what is told of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina import _saved
from lamina.core.errors import SettingError
from lamina.data._table import TEST, TRAIN
from lamina.ship import _parcel

if TYPE_CHECKING:
    from lamina.trained import Trained


def ship(
    trained: Trained, to: str, out: str | Path | None, int8: bool = False, anyway: bool = False, data: Any = None
) -> Path:
    """As Trained.ship. Raises LaminaError."""
    if anyway and not int8:
        raise SettingError("--anyway keeps an int8 file that loses much; it has no effect without --int8.")
    run, plan = trained.run, trained.plan
    if int8 or not run.has(_parcel.EXAMPLES):  # or made by an older Lamina
        table = _saved.same_table(trained.config, plan, data)
    if not run.has(_parcel.EXAMPLES):
        run.write(_parcel.EXAMPLES, _parcel.kept(table, plan.inputs))
    found = _parcel.opened(run, trained.config, plan, trained.net, trained.score())
    if int8:
        from lamina.ship._int8 import Wish

        found = replace(found, int8=Wish(table.take(table.rows(TRAIN)), table.take(table.rows(TEST)), anyway))
    return _parcel.send(found, to, out or trained.path / trained.path.name)


def show(run: str, to: str, out: str | None, int8: bool, anyway: bool) -> None:
    """Ship a run, and print where the file lies and what int8 gives and costs. Raises LaminaError."""
    from lamina import api

    path = api.load_run(run).ship(to, out, int8=int8, anyway=anyway)
    if int8:
        from lamina.ship import _int8

        print("\n".join(_int8.told(_parcel.load(path).content["int8"])))
    print(path)
