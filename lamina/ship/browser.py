"""browser: one HTML page that runs the net in any browser, offline, from a file: drop a picture, draw, type; nothing leaves the machine.

Inside it are the ONNX file of `--to onnx` and onnxruntime-web (https://www.npmjs.com/package/onnxruntime-web, MIT), compressed;
`lamina fetch browser` brings that once. page.html#selftest asks the ten examples in the browser and writes what differs to the page
and the console.
"""

from __future__ import annotations

import base64
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError, ShipError
from lamina.core.run import replace
from lamina.data import _assets
from lamina.ship import onnx
from lamina.ship._asked import raw
from lamina.ship._parcel import Parcel

SUFFIX = ".html"
TASKS = ("classify", "regress")
KINDS = ("image", "number", "date", "label")
ASSET = "onnxruntime-web"
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
PAGE = Path(__file__).parent / "page"


def refusal(parcel: Parcel) -> str:
    """Why the page cannot carry a net; "" when it can."""
    if parcel.plan.task not in TASKS:
        return f"it answers {parcel.plan.task}, and a page draws {' and '.join(TASKS)}"
    if any(f.kind not in KINDS for f in parcel.plan.inputs):
        return f"its input is {parcel.plan.inputs[0].kind}, and there is {', '.join(KINDS)}"
    try:
        _assets.folder(ASSET)
    except DataError as error:
        return str(error).rstrip(".")
    return onnx.refusal(parcel)


def write(parcel: Parcel, path: Path) -> None:
    """Write the page around an ONNX file that answers alike. Raises ShipError and RunError."""
    with tempfile.TemporaryDirectory() as aside:
        file = Path(aside) / "net.onnx"
        onnx.write(parcel, file)
        content, model = onnx.load(file).content, file.read_bytes()
    replace(path, page(parcel, content, model).encode())
    if model not in _inside(path):
        raise ShipError(f"{path.name} does not hold the net that was written; it was not kept.")


def parity(path: Path, parcel: Parcel) -> dict[str, Any]:
    """The ONNX file inside, asked the examples beside the run: rows, same_answers, largest_difference, bit_equal."""
    with tempfile.TemporaryDirectory() as aside:
        file = Path(aside) / "net.onnx"
        file.write_bytes(_inside(path)[0])
        return onnx.parity(file, parcel)


def _inside(path: Path) -> list[bytes]:
    """What the page holds compressed: the net first."""
    parts = path.read_text(encoding="utf-8").split('<script type="text/plain" id="')[1:]
    return [gzip.decompress(base64.b64decode(part.partition(">")[2].partition("<")[0])) for part in parts]


def page(parcel: Parcel, content: dict[str, Any], model: bytes) -> str:
    """The HTML of a net. Raises ShipError when the runtime is not as it should be."""
    from jinja2 import Environment
    from markupsafe import Markup

    folder = _assets.folder(ASSET) / "package" / "dist"
    try:
        script, machine = (folder / name for name in RUNTIME)
        script, machine = script.read_bytes(), machine.read_bytes()
    except OSError as error:
        raise ShipError(f"{folder} cannot be read: {error.strerror}; `lamina fetch browser` brings it anew.") from None
    score = content["score"]
    told = {
        **{k: content[k] for k in ("task", "net", "inputs", "target", "threshold", "outputs", "source", "licence")},
        "examples": _examples(parcel),
    }
    environment = Environment(autoescape=True, trim_blocks=True)
    return environment.from_string((PAGE / "browser.html").read_text(encoding="utf-8")).render(
        title=f"{content['target']['name']} by {content['net']}",
        line=f"{score['name'].replace('_', ' ')} {score['value']:.4g} ({score['low']:.4g} to {score['high']:.4g}); {score['signature']}",
        source=content["source"],
        licence=content["licence"],
        style=Markup((PAGE / "style.css").read_text(encoding="utf-8")),
        script=Markup("\n".join((PAGE / n).read_text(encoding="utf-8") for n in ("panel.js", "browser.js"))),
        told=Markup(json.dumps(told, ensure_ascii=False).replace("<", "\\u003c")),
        parts={"net": _packed(model), "runtime": _packed(script), "machine": _packed(machine)},
    )


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _examples(parcel: Parcel) -> dict[str, Any]:
    """The ten examples as the file takes them, and what the run gave for them; NaN is null."""
    inputs = {}
    for field in parcel.plan.inputs:
        values = raw(parcel.examples[field.name].values, field)
        flat = values.reshape(-1).tolist()
        missing = [None if isinstance(v, float) and not np.isfinite(v) else v for v in flat]
        inputs[field.name] = {"shape": list(values.shape), "values": missing}
    wanted = {k: v.astype(np.float64).reshape(-1).tolist() for k, v in parcel.outputs.items()}
    return {"rows": len(parcel.examples), "inputs": inputs, "outputs": wanted}
