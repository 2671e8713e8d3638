"""program: a torch.export package, raw input in and answer out, for any program with torch and without Lamina.

torch.export.load(FILE).module() takes what `--to onnx` takes, but codes of categories (-1: missing) instead of their names, and
gives a tuple in the order of the names in "lamina.json", which lies in the package with classes, tokens, score, source and licence.
The format: https://docs.pytorch.org/docs/stable/export.html
"""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import ShipError
from lamina.core.run import replace
from lamina.ship import _parcel, onnx
from lamina.ship._parcel import Parcel

SUFFIX = ".pt2"
ABOUT = "lamina.json"  # in the package
CLOSE = 1e-5  # as that of onnx


def refusal(parcel: Parcel) -> str:
    """Why a package cannot carry a net; "" when it can."""
    return onnx.carried(parcel)


def write(parcel: Parcel, path: Path) -> None:
    """Write the file, read it anew, ask it the examples, and write it again with the figures. Raises ShipError and RunError."""
    import torch

    from lamina.ship import _graph

    parcel = onnx.exact(parcel)
    whole = _graph.Whole(parcel).eval()
    given = tuple(_graph.example(kind) for _, kind in whole.slots)
    anything = torch.export.Dim.AUTO
    shapes = tuple(dict.fromkeys(_graph.axes(name, kind), anything) for name, kind in whole.slots)
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            names = list(whole.named(*given))
            program = torch.export.export(whole, given, dynamic_shapes=(shapes,))
    except Exception as error:  # tracing fails in more ways than can be listed
        raise ShipError(
            f"program cannot carry this net: torch cannot trace it ({' '.join(str(error).split())[:200]})."
        ) from None
    about = {**_graph.about(parcel), "outputs": names, "given": [name for name, _ in whole.slots]}
    replace(path, _packed(program, {**about, "parity": {}}))
    figures = parity(path, parcel)
    replace(path, _packed(program, {**about, "parity": figures}))
    if parity(path, parcel) != figures:
        raise ShipError(f"{path.name} does not answer the same twice; it was not kept.")
    _parcel.check(figures, CLOSE)


def _packed(program: Any, about: dict[str, Any]) -> bytes:
    import torch

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        file = Path(folder) / f"net{SUFFIX}"
        torch.export.save(program, file, extra_files={ABOUT: json.dumps(about, ensure_ascii=False)})
        return file.read_bytes()


def parity(path: Path, parcel: Parcel) -> dict[str, Any]:
    """The file, read anew, asked the examples beside the run: rows, same_answers, largest_difference, bit_equal."""
    import torch

    extra = {ABOUT: ""}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        file = Path(folder) / f"net{SUFFIX}"  # by this name alone torch reads it
        file.write_bytes(path.read_bytes())
        module = torch.export.load(file, extra_files=extra).module()
    about = json.loads(extra[ABOUT])
    return _parcel.compared(parcel, outputs(module, about, parcel))


def outputs(module: Any, about: dict[str, Any], parcel: Parcel, rows: int = 0) -> dict[str, np.ndarray]:
    """What a module gives for the examples, `rows` at a time (all at once: 0), by the names of the run's outputs."""
    import torch

    from lamina.ship import _graph

    parts = []
    for start in range(0, len(parcel.examples), rows or len(parcel.examples)):
        few = parcel.examples.take(np.arange(start, min(start + (rows or len(parcel.examples)), len(parcel.examples))))
        with torch.no_grad():
            found = module(*_graph.given(parcel, few))
        found = found if isinstance(found, tuple | list) else (found,)
        parts.append([f.numpy() for f in found])
    named = {name: np.concatenate([p[i] for p in parts]) for i, name in enumerate(about["outputs"])}
    if "next" in named:
        named["first"] = named["next"]
    return {name: named[name] for name in parcel.outputs}


def load(path: Path) -> Any:
    """Raises ShipError: a package is for programs without Lamina."""
    raise ShipError(
        f"{path} is a program for torch: torch.export.load('{Path(path).name}').module() answers; Lamina asks packs and ONNX files."
    )
