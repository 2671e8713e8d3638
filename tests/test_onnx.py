"""ONNX files: raw input in, named answer out, the run's answers to 1e-5; asked without torch."""

import contextlib
import functools
import http.server
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import sklearn.datasets
import torch
from PIL import Image

import lamina
from lamina.cli import main
from lamina.core.errors import SettingError, ShipError
from lamina.data._decode import decode, fit
from lamina.ship import _graph, _parcel
from lamina.ship import onnx as form
from lamina.ship.browser import RUNTIME

spec = importlib.util.spec_from_file_location("mutate", Path(__file__).parent.parent / "bench" / "mutate.py")
mutate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mutate)

KINDS = ("lenet", "table")
PHOTOS = Path(sklearn.datasets.__file__).parent / "images"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Name -> (run, its ONNX file, rows to ask about)."""
    folder = tmp_path_factory.mktemp("runs")
    digits = lamina.open("digits").take(np.arange(0, 5000, 10))
    run = lamina.fit(digits, net="lenet", steps=12, show=False, run=folder / "lenet")
    made = {"lenet": (run, run.ship("onnx"), digits.take(digits.rows(2)))}
    people = mutate.frame().rename(columns={"age": "mean", "town": "answer"})  # names that graphs and outputs have too
    run = lamina.fit(people, target="class", net="mlp/small", steps=30, show=False, run=folder / "table")
    made["table"] = run, run.ship("onnx"), people.drop(columns="class")
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_as_the_run(shipped, kind):
    run, path, rows = shipped[kind]
    opened = lamina.load(path)
    mine, theirs = run.ask(rows), opened.ask(rows)
    apart = max(
        abs(a.probabilities[c] - b.probabilities[c]) for a, b in zip(mine, theirs, strict=True) for c in run.classes
    )
    assert apart <= 1e-5 and [a.chosen for a in mine] == [b.chosen for b in theirs] and len(mine) > 90
    figures = opened.content["parity"]
    assert figures["rows"] == figures["same_answers"] == 10 and figures["largest_difference"] <= 1e-5


def test_onnxruntime_by_hand(shipped):
    """What another program does: raw values in, names out, any number of rows."""
    run, path, rows = shipped["table"]
    session = lamina.load(path).session
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("mean", "tensor(float)", ["rows"]), ("answer (input)", "tensor(string)", ["rows"]), ("seen", "tensor(double)", ["rows"]),
    ]  # fmt: skip
    seen = (rows["seen"] - np.datetime64(0, "s")).dt.total_seconds().to_numpy()
    given = {
        "mean": rows["mean"].to_numpy(np.float32),
        "answer (input)": np.array([t if isinstance(t, str) else "" for t in rows["answer"]], object),
        "seen": seen,
    }
    told = session.run(["answer", "probabilities"], given)
    assert told[0].tolist() == [a.chosen[0] for a in run.ask(rows)] and told[1].shape == (len(rows), 2)
    one = session.run(["answer"], {k: v[:1] for k, v in given.items()})
    assert one[0].tolist() == told[0].tolist()[:1]


@pytest.mark.parametrize("shape", [(1, 28, 28, 1), (5, 28, 28, 3), (2, 61, 40, 3), (1, 200, 300, 3), (3, 9, 70, 1)])
def test_pictures_of_any_size(shipped, shape):
    """Grey or colour, larger or smaller than the frame: as resized by Lamina, but for what rounding does."""
    run, path, _ = shipped["lenet"]
    photo = decode(PHOTOS / "china.jpg")
    rows = [photo[30 * i :, 50 * i :][: shape[1], : shape[2]] for i in range(shape[0])]
    array = np.stack(rows) if shape[3] == 3 else np.stack(rows)[..., :1]
    given = lamina.load(path).session.run(["probabilities"], {"image": np.ascontiguousarray(array)})[0]
    wanted = [[a.probabilities[c] for c in run.classes] for a in np.atleast_1d(np.array(run.ask(array), object))]
    assert np.abs(given - wanted).max() < (1e-5 if shape[1:3] == (28, 28) else 2e-3)


@pytest.mark.parametrize("frame", [(3, 224, 224), (3, 20, 24), (1, 28, 28)])
def test_the_resizing_inside_is_lamina_s(frame):
    """bench/resize.py measures more: 3 levels of 255 at most."""
    cover = _graph.Cover(*frame)
    for height, width in (frame[1:], (427, 640), (300, 200), (128, 128), (30, 21)):
        crop = decode(PHOTOS / "flower.jpg")[:height, :width]
        mine = cover(torch.from_numpy(crop.copy())[None])[0].permute(1, 2, 0).numpy()
        apart = np.abs(mine - fit(crop, *frame[1:], frame[0]))
        assert apart.max() <= (0 if (height, width) == frame[1:] else 3) and apart.mean() < 0.2


def test_pictures_of_the_frame_s_size_are_not_resized(shipped):
    graph = onnx.load(shipped["lenet"][1]).graph
    (branch,) = [node for node in graph.node if node.op_type == "If"]
    kept, resized = ([n.op_type for n in a.g.node] for a in sorted(branch.attribute, key=lambda a: len(a.g.node)))
    assert kept == ["Cast", "Transpose", "Reshape"] and len(resized) > 80 and len(graph.node) < 50


def test_it_tells_what_it_is_and_not_where_it_was_made(shipped):
    run, path, _ = shipped["lenet"]
    model = onnx.load(path)
    told = {p.key: p.value for p in model.metadata_props}
    content = json.loads(told["lamina"])
    assert content["target"]["classes"] == list("0123456789") and content["licence"] == lamina.open("digits").licence
    assert content["score"]["signature"] == run.score().signature in model.doc_string
    assert b"site-packages" not in path.read_bytes() and b"/lamina/" not in path.read_bytes().replace(
        b"\x0alamina/", b""
    )
    opened = lamina.load(path)
    assert opened.score().value == run.score().value
    with pytest.raises(SettingError, match="score other data with its run"):
        opened.score(on="digits")


def test_the_command_line_imports_no_torch(shipped, tmp_path):
    run, path, rows = shipped["lenet"]
    picture = tmp_path / "seven.png"
    Image.fromarray(rows["image"].values.array[0][..., 0]).save(picture)
    run_2, path_2, people = shipped["table"]
    people.head(5).to_csv("people.csv", index=False)
    code = f"""
import sys
from lamina.cli import main
assert main(["ask", {str(path)!r}, {str(picture)!r}, "--json"]) == 0
assert main(["ask", {str(path_2)!r}, "people.csv", "--json"]) == 0
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told[0]["answer"] == run.ask(picture).chosen[0]
    assert [t["answer"] for t in told[1:]] == [a.chosen[0] for a in run_2.ask("people.csv")]


def test_what_it_cannot_carry_is_said_first(shipped, monkeypatch):
    run, _, _ = shipped["lenet"]
    monkeypatch.setattr(form, "write", lambda *_: pytest.fail("tried"))
    found = _parcel.opened(run.run, run.config, run.plan, run.net, run.score())
    text = replace(run.plan.inputs[0], kind="sound")
    cases = [
        (replace(found, plan=replace(run.plan, task="embed")), "it answers embed"),
        (replace(found, plan=replace(run.plan, inputs=(text,))), "its input is sound"),
    ]
    for parcel, message in cases:
        with pytest.raises(ShipError, match=f"onnx cannot carry this net: {message}"):
            _parcel.send(parcel, "onnx", "x")
    monkeypatch.setattr(form, "MOST_BYTES", 1000)
    with pytest.raises(ShipError, match="and a file can hold 1,000"):
        run.ship("onnx")
    monkeypatch.setattr(form, "NEEDED", ("no_such_package",))
    with pytest.raises(ShipError, match=r"no_such_package is not installed; pip install 'lamina\[ship\]'"):
        run.ship("onnx")


def test_a_file_that_answers_otherwise_is_not_kept(shipped, monkeypatch, tmp_path):
    run, _, _ = shipped["lenet"]
    model = onnx.load(shipped["lenet"][1])
    for weight in model.graph.initializer:
        if weight.name.endswith("classifier.4.bias"):
            weight.raw_data = (
                np.frombuffer(weight.raw_data, np.float32) + np.arange(10, dtype=np.float32) / 1e3
            ).tobytes()
    monkeypatch.setattr(_graph, "exported", lambda _: model)
    with pytest.raises(ShipError, match="answers otherwise than the run"):
        run.ship("onnx", tmp_path / "a")
    assert not os.listdir(tmp_path)


def test_what_is_no_file_of_lamina(shipped, tmp_path, capsys):
    (tmp_path / "a.onnx").write_bytes(b"not a protobuf")
    model = onnx.load(shipped["lenet"][1])
    model.ClearField("metadata_props")
    onnx.save(model, tmp_path / "b.onnx")
    for name, why in (("a.onnx", "or damaged"), ("b.onnx", "it has no metadata of Lamina")):
        assert main(["ask", str(tmp_path / name), "x.png"]) == 2
        said = capsys.readouterr().err
        assert why in said and said.count("\n") == 1


def runtime():
    """The runtime of pages and a browser, or why there is none."""
    from lamina.core.errors import DataError
    from lamina.data import _assets

    browser = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        _assets.folder("onnxruntime-web")
    except DataError as error:
        return str(error), None
    return ("" if browser else "no Chromium is installed"), browser


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_answers_its_examples_offline(shipped, kind, tmp_path):
    """In a real browser, from a file, without a network: the run's answers to 1e-5."""
    why, browser = runtime()
    if why:
        pytest.skip(why)
    page = shipped[kind][0].ship("browser", tmp_path / "page")
    assert page.name == "page.html" and "https://" not in page.read_text().partition('<script type="text/plain"')[0]
    told = selftest(browser, page.as_uri(), tmp_path / "profile")
    assert told["rows"] == told["same_answers"] == 10 and told["largest_difference"] <= 1e-5


def selftest(browser, address, profile):
    """What a page's #selftest tells in a real browser that reaches nothing but this machine."""
    words = [
        "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", "--remote-debugging-port=0",
        f"--user-data-dir={profile}", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"{address}#selftest",
    ]  # fmt: skip
    with subprocess.Popen(
        [str(browser), *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        watchdog = threading.Timer(120, os.killpg, (process.pid, signal.SIGKILL))
        watchdog.start()
        try:
            assert process.stderr
            line = next((line for line in process.stderr if "lamina selftest" in line), "")
        finally:
            watchdog.cancel()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return json.JSONDecoder().raw_decode(line[line.index("{") :])[0]


def test_a_folder_answers_texts_behind_a_static_server(tmp_path):
    """Its own tokens of the examples are Lamina's; a folder of other things is left alone."""
    why, browser = runtime()
    if why:
        pytest.skip(why)
    random = np.random.default_rng(0)
    first, last = ["superb", "awful"], ["tea", "caf\u00e9", "\u65e5\u672c"]
    texts = [
        f"A {random.choice(first)} room, it\u2019s {random.choice(last)} in the house number {i}!" for i in range(80)
    ]
    frame = pd.DataFrame({"review": texts, "class": ["good" if "superb" in t else "bad" for t in texts]})
    settings = {"embedded": "8", "filters": "8"}
    run = lamina.fit(
        frame, target="class", net="textcnn", net_settings=settings, steps=20, show=False, run=tmp_path / "run"
    )
    folder = run.ship("browser", f"{tmp_path / 'shop'}/")
    assert sorted(p.name for p in folder.iterdir()) == sorted(["index.html", "net.onnx", *RUNTIME])
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            told = selftest(browser, f"http://127.0.0.1:{server.server_port}/", tmp_path / "profile")
        finally:
            server.shutdown()
            thread.join()
    assert told["rows"] == told["same_answers"] == told["same_tokens"] > 5 and told["largest_difference"] <= 1e-5
    (folder / "mine.txt").write_text("of somebody")
    with pytest.raises(ShipError, match="holds other things"):
        run.ship("browser", f"{folder}/")
    assert (folder / "mine.txt").exists()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_a_page_without_its_runtime_is_refused_first(shipped, monkeypatch, tmp_path):
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path))
    with pytest.raises(
        ShipError,
        match=r"browser cannot carry this net: onnxruntime-web is not there .*`lamina fetch browser` brings it",
    ):
        shipped["lenet"][0].ship("browser")
