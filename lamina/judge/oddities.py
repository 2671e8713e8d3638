"""Oddities: rows that stand out: numbers far from all others, codes for "missing", dark, blurred, empty and odd-sized pictures; rare classes."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from lamina.data._pictures import Pictures
from lamina.data._table import TRAIN, Table
from lamina.judge import _pixels
from lamina.judge._finding import Finding, counted, in_time, named, rows_of

RARE = 20  # training rows of a class below which its score says little
UNEVEN = 10  # times the rows of the rarest class in the commonest
FAR = 12.0  # times the distance of the middle half from the median
CODES = (-1.0, -9.0, -99.0, -999.0, -9999.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0)  # that people write for "missing"
CODED = 0.001  # share of rows that hold the code
GONE = 0.5  # share of values missing, from which on a column is named
DARK, BRIGHT = 16.0, 245.0  # mean of 0 to 255
STANDS_OUT = 5.0  # robust standard deviations from the median of the set
ODD = 0.02  # share of the pictures that may be odd without being the usual kind
SIDES = 3.0  # times the usual proportion of the sides


def find(table: Table, until: float = math.inf) -> list[Finding]:
    """What stands out of a table. Raises OutOfTime."""
    found = [*_classes(table), *_columns(table)]
    for name, column in table.columns.items():
        if isinstance(column.values, Pictures) and name != table.target:
            found += _pictures(table, column.values, until)
    return found


def _classes(table: Table) -> list[Finding]:
    target = table.columns.get(table.target or "")
    if target is None or target.field.kind != "label":
        return []
    codes, classes = target.values, target.field.classes
    count = np.bincount(codes[table.rows(TRAIN)] if table.split is not None else codes, minlength=len(classes))
    told = {classes[i]: int(n) for i, n in enumerate(count)}
    rare = [i for i in np.argsort(count, kind="stable") if count[i] < RARE]
    if rare:
        names = ", ".join(f"{classes[i]} {count[i]}" for i in rare[:5])
        text = f"{len(rare)} of {len(count)} classes have under {RARE} training rows ({names}{', ...' if len(rare) > 5 else ''}): their answers will be weak."
        return [Finding("rare classes", text, "Bring more of them, or join them.", numbers=told)]
    if count.max() > UNEVEN * max(1, count.min()):
        few, many = int(count.argmin()), int(count.argmax())
        text = f"Classes are uneven: {count[many]:,} training rows of {classes[many]}, {count[few]:,} of {classes[few]}; always answering {classes[many]} gets {count[many] / count.sum():.0%} right."
        return [Finding("uneven classes", text, "Judge by balanced accuracy.", numbers=told)]
    return []


def _columns(table: Table) -> list[Finding]:
    found, gone = [], []
    for name, column in table.columns.items():
        if column.field.kind not in ("number", "label", "text", "date"):
            continue
        missing = float(column.missing().mean())
        if missing > GONE:
            gone.append((name, missing))
        if column.field.kind != "number" or len(table) < 50:
            continue
        values, known = column.values, ~np.isnan(column.values)
        coded = _code(values[known])
        if coded is not None:
            rows = np.flatnonzero(values == coded)
            text = f"{name} is {coded:g} in {counted(len(rows), 'row')}, far from all other values: does that say that it is missing?"
            found.append(
                Finding(
                    "code for missing",
                    text,
                    f"Leave these cells of {name} empty.",
                    **rows_of(table, rows),
                    columns=(name,),
                )
            )
            values = np.where(values == coded, np.nan, values)
        rows = _far(values)
        if len(rows):
            low, high = np.nanquantile(values, [0.01, 0.99])
            text = f"{name} is {values[rows[0]]:,.6g} in {table.names[rows[0]]}, while 98 % of the rows lie between {low:,.4g} and {high:,.4g} ({counted(len(rows), 'such row')})."
            found.append(
                Finding(
                    "outlying numbers",
                    text,
                    "Check these rows: a unit, a typing error?",
                    **rows_of(table, rows),
                    columns=(name,),
                )
            )
    if gone:
        text = "Mostly missing: " + ", ".join(f"{n} {s:.0%}" for n, s in gone[:8]) + "."
        found.append(
            Finding(
                "mostly missing",
                text,
                "Is that meant? A column that is filled for some rows only may tell who filled it.",
                columns=tuple(n for n, _ in gone),
            )
        )
    return found


def _code(values: np.ndarray) -> float | None:
    """A value that is written for "missing": the least or largest of all, often, and far from the others."""
    for code in CODES:
        held = values == code
        if held.sum() < max(3, CODED * len(values)) or held.all():
            continue
        others = values[~held]
        low, high = np.quantile(others, [0.005, 0.995])
        if code < 0 <= others.min() or (code > others.max() and code - high > 2 * (high - low)):
            return code
    return None


def _far(values: np.ndarray) -> np.ndarray:
    """Rows, the farthest first, of numbers beyond FAR times the middle half on their side, in a scale that suits a skewed column."""
    known = values[~np.isnan(values)]
    if len(np.unique(known)) < 20:
        return np.zeros(0, int)
    scaled = values
    if known.min() >= 0 and np.quantile(known, 0.99) > 4 * max(1e-12, np.median(known)):
        scaled = np.log1p(values / max(1e-12, np.median(known[known > 0])))
        known = scaled[~np.isnan(scaled)]
    low, middle, high = np.quantile(known, [0.1, 0.5, 0.9])
    above, below = (
        (scaled - middle) / max(high - middle, 1e-9 + 0.1 * (high - low)),
        (middle - scaled) / max(middle - low, 1e-9 + 0.1 * (high - low)),
    )
    away = np.nan_to_num(np.maximum(above, below), nan=0.0)
    rows = np.flatnonzero(away > FAR) if high > low else np.zeros(0, int)
    return rows[np.argsort(-away[rows])] if len(rows) <= ODD * len(values) else np.zeros(0, int)


def statistics(pictures: Pictures, until: float = math.inf) -> dict[str, np.ndarray]:
    """Per picture: brightness (0 to 255), contrast, sharpness (of the finest details against all), colour, proportion, size in pixels."""
    packed, found = _pixels.small(pictures), []
    for start in range(0, len(packed), 2048):
        in_time(until)
        image = torch.from_numpy(packed[start : start + 2048]).float()
        grey = image.mean(1, keepdim=True)
        fine = grey - F.avg_pool2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, 1)
        contrast = grey.flatten(1).std(1)
        found.append(torch.stack([grey.flatten(1).mean(1), contrast, fine.flatten(1).std(1) / (contrast + 1),
                                  (image.amax(1) - image.amin(1)).flatten(1).mean(1)], 1))  # fmt: skip
    told = torch.cat(found).numpy().astype(float)
    sizes = pictures.sizes().astype(float)
    named_ = dict(zip(("brightness", "contrast", "sharpness", "colour"), told.T, strict=True))
    return {**named_, "proportion": sizes[:, 1] / sizes[:, 0], "size": np.sqrt(sizes.prod(1))}


def sharpness(pictures: Pictures, rows: np.ndarray) -> np.ndarray:
    """(rows,) how much of a picture's contrast lies in its finest details, in its full size (up to 512 pixels a side)."""
    found = []
    for row in rows:
        grey = torch.from_numpy(pictures.open(int(row), 512).astype(np.float32)).mean(2)[None, None]
        most = max(grey.shape[2:])
        grey = F.interpolate(grey, scale_factor=512 / most, mode="area") if most > 512 else grey
        fine = grey - F.avg_pool2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, 1)
        found.append(float(fine.std() / (grey.std() + 1)))
    return np.array(found)


def _pictures(table: Table, pictures: Pictures, until: float) -> list[Finding]:
    if len(table) < 20:
        return []
    told, found = statistics(pictures, until), []

    def add(kind: str, rows: np.ndarray, text: str, todo: str) -> None:
        if len(rows) and len(rows) <= max(2, ODD * len(table)):
            found.append(
                Finding(
                    kind,
                    text.format(n=counted(len(rows), "picture"), names=named(table, rows)),
                    todo,
                    **rows_of(table, rows),
                )
            )

    light, contrast = told["brightness"], told["contrast"]
    empty = np.flatnonzero(contrast < 2)
    add("empty pictures", empty, "{n} of one colour: {names}.", "Remove them, unless nothing is what they should show.")
    shown = contrast >= 2
    usual = np.median(light)
    add(
        "dark pictures",
        np.flatnonzero(shown & (contrast < DARK) & (light < DARK) & (usual > 3 * DARK)),
        "{n} nearly black: {names}.",
        "Can a person tell what they show?",
    )
    add(
        "bright pictures",
        np.flatnonzero(shown & (contrast < DARK) & (light > BRIGHT) & (usual < BRIGHT - 30)),
        "{n} nearly white: {names}.",
        "Can a person tell what they show?",
    )
    rows = np.flatnonzero(shown & (_away(np.log(told["sharpness"] + 1e-3)) < -2))
    if len(rows) <= 500 and not found_all(pictures):
        every = sharpness(pictures, np.unique(np.linspace(0, len(table) - 1, 200).astype(int)))
        own = sharpness(pictures, rows)
        middle, spread = np.median(np.log(every + 1e-3)), _spread(np.log(every + 1e-3))
        blurred = rows[np.log(own + 1e-3) < middle - max(3 * spread, 1.0)]
        in_time(until)
    else:
        blurred = rows[_away(np.log(told["sharpness"] + 1e-3))[rows] < -STANDS_OUT]
    add(
        "blurred pictures",
        blurred,
        "{n} without fine details, unlike the others: {names}.",
        "Are they out of focus, or enlarged?",
    )
    sides = np.abs(np.log(told["proportion"] / np.median(told["proportion"])))
    add(
        "odd-sized pictures",
        np.flatnonzero(sides > math.log(SIDES)),
        "{n} of other proportions than the rest: {names}.",
        "Resizing cuts or squeezes them; crop them first.",
    )
    tiny = told["size"] < np.median(told["size"]) / 6
    add(
        "small pictures",
        np.flatnonzero(tiny),
        "{n} much smaller than the rest: {names}.",
        "They are enlarged for the net; bring larger ones.",
    )
    return found


def found_all(pictures: Pictures) -> bool:
    """Whether the small versions hold all there is to see."""
    return pictures.array is not None and max(pictures.array.shape[1:3]) <= 1.5 * _pixels.SIDE


def _spread(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _away(values: np.ndarray) -> np.ndarray:
    """Robust standard deviations from the median."""
    return (values - np.median(values)) / max(_spread(values), 1e-6)
