"""The tree of errors. Every message is one sentence: the rule, the value found, the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LaminaError(Exception):
    """What a user can mend; the command line prints its sentence and ends with code 2."""


class NameUnknown(LaminaError):
    """A net, task, column, flag or setting that does not exist; the message holds the nearest name."""


class DataError(LaminaError):
    """The data cannot be read or learned from; the message holds file and row."""


class SettingError(LaminaError):
    """A setting outside its range, or one that would have no effect."""


class RunError(LaminaError):
    """A run folder that is missing, damaged, in use, or cannot be written."""


class ShipError(LaminaError):
    """A shipped file that is damaged, unknown or too large, or a form that cannot carry a net."""


class TrainingError(LaminaError):
    """Training that cannot go on, after what could be tried was tried."""


def unknown(what: str, name: str, names: Iterable[str]) -> NameUnknown:
    """The error for `name` that is not among `names`: "no net 'resnt'; did you mean 'resnet'?"."""
    known = [str(n) for n in names]
    rooms = {n.partition(".")[0] if n.startswith("--") and "." in n else "" for n in (name, *known)}
    start = len(rooms.pop()) + 1 if len(rooms) == 1 and "" not in rooms else 0  # "--net." says nothing of what is meant
    by_lower = {n.lower()[start:]: n for n in known}
    near = difflib.get_close_matches(name.lower()[start:], by_lower, n=1, cutoff=0.5)
    if near:
        way_out = f"did you mean '{by_lower[near[0]]}'?"
    else:
        shown = ", ".join(known[:12]) + (" ..." if len(known) > 12 else "")
        way_out = f"there is: {shown}." if known else "there is none."
    return NameUnknown(f"no {what} '{name}'; {way_out}")
