"""Examine: every check of the data, in order of what it costs, inside a time; what there was no time for is named."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lamina.data._table import SPLITS, Table
from lamina.judge import drift, duplicates, label_errors, leaks, oddities
from lamina.judge._finding import Finding, OutOfTime


@dataclass(frozen=True)
class Examined:
    """What was found in data."""

    source: str
    rows: int
    target: str
    findings: list[Finding]
    """grave ones first"""
    left_out: list[str] = field(default_factory=list)
    """checks that there was no time for"""
    seconds: dict[str, float] = field(default_factory=dict)
    """check -> seconds"""
    split_rule: str = ""
    splits: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "findings": [f.to_json() for f in self.findings]}


def checks(deep: bool) -> dict[str, Callable[[Table, float], list[Finding]]]:
    """Name -> check(table, until), the cheapest first."""
    return {
        "leaks": lambda table, until: leaks.find(table),
        "oddities": oddities.find,
        "duplicates": duplicates.find,
        "drift": drift.find,
        "label errors": lambda table, until: label_errors.find(table, until, deep),
    }


def examine(table: Table, seconds: float = math.inf, deep: bool = False, only: Sequence[str] = ()) -> Examined:
    """All checks, or those named, of a table with target and split, within so many seconds."""
    end = time.monotonic() + seconds
    found: list[Finding] = []
    left_out: list[str] = []
    took: dict[str, float] = {}
    for name, check in checks(deep).items():
        if only and name not in only:
            continue
        begun = time.monotonic()
        try:
            found += check(table, end) if begun < end else _late()
        except OutOfTime:
            left_out.append(name)
        took[name] = round(time.monotonic() - begun, 2)
    found.sort(key=lambda f: not f.grave)
    counts = {SPLITS[s]: int((table.split == s).sum()) for s in range(3)} if table.split is not None else {}
    return Examined(table.source, len(table), table.target or "", found, left_out, took, table.split_rule, counts)


def _late() -> list[Finding]:
    raise OutOfTime
