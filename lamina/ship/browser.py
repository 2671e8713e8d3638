"""browser: one HTML page that runs the net in any browser, offline, from a file: drop a picture, draw, type; nothing leaves the machine.

Inside it are the ONNX file of `--to onnx` and onnxruntime-web (https://www.npmjs.com/package/onnxruntime-web, MIT), compressed;
`lamina fetch browser` brings that once. `--out FOLDER/`, with the stroke at its end, writes a folder instead that any
static server gives out: index.html, net.onnx and the runtime. #selftest behind the address asks the ten examples in the browser and
writes what differs to the page and the console. WebAssembly runs the net, and the page says so: a runtime with WebGPU has twice the
size (28 MB), and whether its answers are the same could not be tried without a browser that has it.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError, ShipError
from lamina.core.figures import shown
from lamina.core.run import replace
from lamina.data import _assets
from lamina.data._words import WORD
from lamina.ship import onnx
from lamina.ship._asked import raw
from lamina.ship._parcel import Parcel

SUFFIX = ".html"
TASKS = ("classify", "regress", "verify", "segment", "paint", "detect")
KINDS = ("image", "number", "date", "label", "text")
SPELLED = ("words", "characters", "bytes")  # tokens that the page makes of a text
ASSET = "onnxruntime-web"
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
FILES = {"net": "net.onnx", "runtime": RUNTIME[0], "machine": RUNTIME[1]}  # of a folder
PAGE = Path(__file__).parent / "page"
SCRIPTS = ("panel.js", "texts.js", "browser.js")


def refusal(parcel: Parcel) -> str:
    """Why the page cannot carry a net; "" when it can."""
    if parcel.plan.task not in TASKS:
        return f"it answers {parcel.plan.task}, and a page draws {', '.join(TASKS)}"
    if parcel.task.own_size:
        return "it answers large pictures a part at a time, and a page answers them at once"
    if any(f.kind not in KINDS for f in parcel.plan.inputs):
        return f"its input is {parcel.plan.inputs[0].kind}, and there is {', '.join(KINDS)}"
    cut = [f.tokens.kind for f in parcel.plan.inputs if f.tokens and f.tokens.kind not in SPELLED]
    if cut:
        return f"its texts are cut into {cut[0]}, and a page cuts them into {', '.join(SPELLED)}"
    try:
        _assets.folder(ASSET)
    except DataError as error:
        return str(error).rstrip(".")
    return onnx.refusal(parcel)


def write(parcel: Parcel, path: Path) -> None:
    """Write the page around an ONNX file that answers alike. Raises ShipError and RunError."""
    parcel = onnx.exact(parcel)
    with tempfile.TemporaryDirectory() as aside:
        file = Path(aside) / "net.onnx"
        onnx.write(parcel, file)
        content, model = onnx.load(file).content, file.read_bytes()
    replace(path, page(parcel, content, model).encode())
    if model not in _inside(path):
        raise ShipError(f"{path.name} does not hold the net that was written; it was not kept.")


def write_folder(parcel: Parcel, path: Path) -> None:
    """Write the page as a folder for any static server. Raises ShipError and RunError."""
    parcel = onnx.exact(parcel)
    path.mkdir(parents=True)
    onnx.write(parcel, path / FILES["net"])
    for name, content in zip(RUNTIME, _runtime(), strict=True):
        replace(path / name, content)
    replace(path / "index.html", page(parcel, onnx.load(path / FILES["net"]).content, None).encode())


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


def _runtime() -> list[bytes]:
    folder = _assets.folder(ASSET) / "package" / "dist"
    try:
        return [(folder / name).read_bytes() for name in RUNTIME]
    except OSError as error:
        raise ShipError(f"{folder} cannot be read: {error.strerror}; `lamina fetch browser` brings it anew.") from None


def page(parcel: Parcel, content: dict[str, Any], model: bytes | None) -> str:
    """The HTML of a net; without a model that of a folder. Raises ShipError when the runtime is not as it should be."""
    from jinja2 import Environment
    from markupsafe import Markup

    parts = {} if model is None else dict(zip(FILES, map(_packed, (model, *_runtime())), strict=True))
    score, name = content["score"], content["score"]["name"]
    value, low, high = (shown(name, score[part]) for part in ("value", "low", "high"))
    told = {
        **{k: content[k] for k in ("task", "net", "inputs", "target", "threshold", "outputs", "source", "licence")},
        "examples": _examples(parcel),
        "files": FILES,
        "word": re.sub(r"\\U000([0-9a-f]{5})", r"\\u{\1}", WORD.pattern),
    }
    environment = Environment(autoescape=True, trim_blocks=True)
    return environment.from_string((PAGE / "browser.html").read_text(encoding="utf-8")).render(
        title=f"{content['target']['name']} by {content['net']}",
        line=f"{name.replace('_', ' ')} {value} ({low} to {high}); {score['signature']}",
        source=content["source"],
        licence=content["licence"],
        style=Markup((PAGE / "style.css").read_text(encoding="utf-8")),
        script=Markup("\n".join((PAGE / n).read_text(encoding="utf-8") for n in SCRIPTS)),
        told=Markup(json.dumps(told, ensure_ascii=False).replace("<", "\\u003c")),
        parts=parts,
    )


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _examples(parcel: Parcel) -> dict[str, Any]:
    """The ten examples as the file takes them, and what the run gave for them; NaN is null. Texts beside their tokens."""
    from lamina.ship import _graph

    inputs, texts = {}, {}
    for field in parcel.plan.inputs:
        values = parcel.examples[field.name].values
        if field.kind == "text":
            texts[field.name] = values.tolist()
        else:
            inputs[field.name] = _listed(raw(values, field))
    if texts:
        place = [name for name, _ in _graph.slots(parcel)].index(_graph.TOKENS)
        inputs[_graph.TOKENS] = _listed(_graph.given(parcel, parcel.examples)[place].numpy())
    wanted = {k: v.astype(np.float64).reshape(-1).tolist() for k, v in parcel.outputs.items()}
    return {"rows": len(parcel.examples), "inputs": inputs, "texts": texts, "outputs": wanted}


def _listed(values: np.ndarray) -> dict[str, Any]:
    flat = values.reshape(-1).tolist()
    missing = [None if isinstance(v, float) and not np.isfinite(v) else v for v in flat]
    return {"shape": list(values.shape), "values": missing}
