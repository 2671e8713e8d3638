"""int8: an ONNX file whose convolutions and dense layers compute with whole numbers of 8 bits, calibrated on training rows.

Static quantisation with pairs of QuantizeLinear and DequantizeLinear (QDQ), weights per channel (Jacob 2017,
https://arxiv.org/abs/1712.05877; https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html). Preprocessing and
the answer stay as they are. What it costs is measured on the test rows beside the file of full precision, row by row.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.core.errors import ShipError
from lamina.core.figures import PERCENT, shown
from lamina.data._table import Table
from lamina.measures.interval import bootstrap
from lamina.ship._asked import Asked

if TYPE_CHECKING:
    from lamina.tasks._task import Task

CALIBRATED = 256  # training rows that ranges are taken from
ROWS = 16  # of them at a time
MOST_LOSS = 0.01  # of the score, beyond which a file is kept only when asked for
TIMED = 60  # answers that are timed
DRAWS, DRAWING = 300, 20  # of the bootstrap; seconds that they may take
TASKS = ("classify", "regress", "verify", "segment", "paint", "detect")
KINDS = ["Conv", "MatMul", "Gemm"]  # nodes that are made smaller; of products only those with weights


@dataclass(frozen=True)
class Wish:
    """What int8 needs beside the net: rows."""

    training: Table
    test: Table
    anyway: bool = False
    """keep the file whatever it loses"""


def refusal(task: str) -> str:
    """Why a net cannot be made int8; "" when it can."""
    return "" if task in TASKS else f"int8 is measured for {', '.join(TASKS)}, and it answers {task}"


def quantised(plain: bytes, opened: Asked, wish: Wish) -> bytes:
    """The bytes of an ONNX model in int8. Raises ShipError when nothing in it can be."""
    from onnxruntime import quantization
    from onnxruntime.quantization import CalibrationDataReader, QuantType

    class Rows(CalibrationDataReader):
        def __init__(self) -> None:
            self.parts: Iterator[dict[str, np.ndarray]] = iter(_parts(opened, wish.training))

        def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
            return next(self.parts, None)

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        before, after = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(plain)
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)  # it recommends preprocessing that does not apply
        try:
            quantization.quantize_static(
                str(before), str(after), Rows(), op_types_to_quantize=KINDS, per_channel=True,
                activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )  # fmt: skip
        except Exception as error:  # it fails in more ways than can be listed
            raise ShipError(f"int8 failed: {' '.join(str(error).split())[:160]}.") from None
        finally:
            logging.getLogger().setLevel(level)
        made = after.read_bytes()
    if b"QuantizeLinear" not in made:
        raise ShipError("int8 finds no convolution and no dense layer in this net.")
    return made


def _parts(opened: Asked, table: Table) -> Iterator[dict[str, np.ndarray]]:
    """What the session is given for CALIBRATED rows, evenly spread."""
    few = table.take(np.unique(np.linspace(0, len(table) - 1, CALIBRATED).astype(int)))
    for start in range(0, len(few), ROWS):
        yield from opened._given(few.take(np.arange(start, min(start + ROWS, len(few)))).conform(opened.inputs))


def measured(plain: Asked, small: Asked, task: Task, wish: Wish) -> dict[str, Any]:
    """Bytes, milliseconds an answer and score of both files on the test rows, and what is lost with its 95 % interval.

    The loss is a difference where the score is a share of 1, and a part of the score where it is not.
    """

    rows = [_statistics(file, task, wish.test) for file in (plain, small)]
    name = task.better

    def lost(at: np.ndarray) -> float:
        a, b = (task.finish({k: v[at] for k, v in part.items()})[name] for part in rows)
        worse = b - a if task.lower_is_better else a - b
        return worse if name in PERCENT else worse / max(abs(a), 1e-30)

    every = np.arange(len(wish.test))
    begun = time.perf_counter()
    lost(every)
    draws = int(min(DRAWS, max(50, DRAWING / (time.perf_counter() - begun))))  # detections take long to be matched
    low, high = bootstrap(lost, len(every), 0, draws)
    times = _milliseconds(plain, small, wish.test)
    return {
        "score": name, "rows": len(every), "plain": task.finish(rows[0])[name], "int8": task.finish(rows[1])[name],
        "lost": lost(every), "low": low, "high": high,
        "bytes": [file.path.stat().st_size for file in (plain, small)], "milliseconds": times,
        "calibrated": min(CALIBRATED, len(wish.training)),
    }  # fmt: skip


def _statistics(file: Asked, task: Task, table: Table) -> dict[str, np.ndarray]:
    """What task.finish takes, of all rows."""
    import torch

    from lamina.data._batches import Batches

    batches, parts = Batches(table, file.inputs, task.target, torch.device("cpu")), []
    for start in range(0, len(table), ROWS):
        rows = np.arange(start, min(start + ROWS, len(table)))
        output = {k: torch.from_numpy(v) for k, v in file.outputs(table.take(rows)).items()}
        parts.append(task.scored(output, task.prepare(batches.get(torch.from_numpy(rows)), training=False)))
    return {k: np.concatenate([part[k].numpy() for part in parts]) for k in parts[0]}


def _milliseconds(plain: Asked, small: Asked, table: Table) -> list[float]:
    """Median time of one row's answer by each file, in turns."""
    given = next(iter(plain._given(table.take(np.arange(1)).conform(plain.inputs))))
    times: list[list[float]] = [[], []]
    for _ in range(TIMED):
        for own, file in zip(times, (plain, small), strict=True):
            begun = time.perf_counter()
            file.session.run(file.given, given)
            own.append(1000 * (time.perf_counter() - begun))
    return [round(float(np.median(own[5:])), 4) for own in times]


def told(found: dict[str, Any]) -> list[str]:
    """What int8 gives and costs, a line each."""
    before, after = found["bytes"]
    slow, fast = found["milliseconds"]
    name = found["score"].replace("_", " ")
    return [
        f"size   {before:,} bytes -> {after:,} ({before / after:.2g} times smaller)",
        f"speed  {slow:.3g} ms an answer -> {fast:.3g} ({slow / fast:.2g} times as fast, median of {TIMED - 5})",
        f"{name}  {_shown(found, 'plain')} -> {_shown(found, 'int8')}: {_loss(found)}, {found['rows']:,} test rows",
    ]


def _shown(found: dict[str, Any], which: str) -> str:
    return shown(found["score"], found[which])


def _loss(found: dict[str, Any]) -> str:
    lost, low, high = (100 * found[k] for k in ("lost", "low", "high"))
    return f"{abs(lost):.2f} % {'lost' if lost >= 0 else 'gained'} (95 % interval of the loss {low:.2f} to {high:.2f})"


def check(found: dict[str, Any], anyway: bool) -> None:
    """Raises ShipError when more than MOST_LOSS is lost and that was not asked for."""
    if not anyway and not found["lost"] <= MOST_LOSS:
        raise ShipError(
            f"int8 answers worse: {found['score'].replace('_', ' ')} {_shown(found, 'plain')} -> {_shown(found, 'int8')}, {_loss(found)}, "
            f"and at most {100 * MOST_LOSS:.0f} % may be lost; --anyway keeps it all the same."
        )
