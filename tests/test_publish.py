"""Shipped files at a place: published, listed, asked over HTTP; damage, forged names and other versions are refused."""

import functools
import hashlib
import http.server
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lamina
from lamina import publishing
from lamina.cli import main
from lamina.core.errors import LaminaError, SettingError, ShipError

GOLDEN = Path(__file__).parent / "golden"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A folder, and the address at which a server on loopback gives it."""
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path / "home"))
    folder = tmp_path / "place"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        server.handle_error = lambda *_: None  # a client that hangs up early is not what a command writes
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_published_listed_and_asked(web, capsys, tmp_path):
    folder, url = web
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)).save(tmp_path / "a.png")
    assert main(["publish", str(GOLDEN / "digits.onnx"), str(folder)]) == 0
    assert capsys.readouterr().out.strip() == f"{folder}/digits"
    assert main(["publish", str(GOLDEN / "digits.safetensors"), str(folder)]) == 0
    capsys.readouterr()
    assert main(["list", "models", url]) == 0
    assert "digits" in (said := capsys.readouterr().out) and "2 versions" in said
    told = []
    for asked in (GOLDEN / "digits.safetensors", f"{url}/digits", folder / "digits"):
        assert main(["ask", str(asked), str(tmp_path / "a.png"), "--json"]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] == told[2] and '"answer"' in told[0]
    first = hashlib.sha256((GOLDEN / "digits.onnx").read_bytes()).hexdigest()
    assert publishing.fetched(f"{url}/digits@{first[:8]}").read_bytes() == (GOLDEN / "digits.onnx").read_bytes()
    kept = publishing.fetched(f"{url}/digits")
    kept.write_bytes(b"damaged since")
    assert lamina.load(publishing.fetched(f"{url}/digits")).content["task"] == "classify"


def test_what_is_damaged_or_forged_is_refused(web, capsys):
    folder, url = web
    publishing.publish(GOLDEN / "numbers.onnx", str(folder))
    file = next((folder / "numbers").iterdir())
    good, index = file.read_bytes(), json.loads((folder / "index.json").read_text())
    file.write_bytes(good[:-1] + b"x")
    with pytest.raises(ShipError, match="its sha256 is not the one that the index tells"):
        publishing.fetched(f"{url}/numbers")
    file.write_bytes(good + b"more")
    with pytest.raises(ShipError, match="is longer than"):
        publishing.fetched(f"{url}/numbers")
    shutil.rmtree(folder / "numbers")
    with pytest.raises(ShipError, match="it is not there"):
        publishing.fetched(f"{url}/numbers")
    for change in (
        {"file": "../../etc/passwd"},
        {"file": f"numbers/../{'0' * 64}-x.onnx"},
        {"file": "/etc/passwd"},
        {"bytes": -1},
        {"file": 7},
    ):
        entry = index["models"]["numbers"][0] | change
        (folder / "index.json").write_text(json.dumps({"format": 1, "models": {"numbers": [entry]}}))
        with pytest.raises(ShipError, match="no index of Lamina"):
            publishing.models(url)
    (folder / "index.json").write_text("[" * 100_000)
    with pytest.raises(ShipError, match="no index of Lamina"):
        publishing.models(url)
    (folder / "index.json").unlink()
    for words, message in (
        (["list", "models", f"{url}/nothing"], "holds no index.json"), (["ask", f"{url}/none/x", "a.png"], "holds no index.json"),
        (["publish", str(GOLDEN / "people.onnx"), url], "is a web server, which is read only"), (["list", "models"], "name a place"),
        (["publish", str(GOLDEN / "people.onnx"), str(folder), "--name", "../x"], "a model's name is"),
        (["publish", str(GOLDEN / "make.py"), str(folder)], "is no pack"),
    ):  # fmt: skip
        assert main(words) == 2
        assert message in (said := capsys.readouterr().err) and said.count("\n") == 1


def test_other_file_systems(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path))
    fsspec = pytest.importorskip("fsspec")
    assert publishing.publish(GOLDEN / "people.onnx", "memory://shelf") == "memory://shelf/people"
    assert publishing.fetched("memory://shelf/people").read_bytes() == (GOLDEN / "people.onnx").read_bytes()
    assert fsspec.filesystem("memory").exists("/shelf/index.json")
    with pytest.raises(ShipError, match="no model at memory://shelf 'peple'; did you mean 'people'"):
        publishing.fetched("memory://shelf/peple")
    with pytest.raises(LaminaError, match="begins with 0000"):
        publishing.fetched("memory://shelf/people@0000")
    with pytest.raises(SettingError, match="cannot be opened"):
        publishing.models("nowhere://shelf")
