"""The Hugging Face Hub as a place: a server on loopback speaks the addresses that are needed; nothing leaves the machine."""

import base64
import http.server
import json
import sys
import threading
from pathlib import Path
from urllib.parse import unquote

import pytest

from lamina import _hub, publishing
from lamina.cli import main
from lamina.core.errors import RunError, SettingError, ShipError

GOLDEN = Path(__file__).parent / "golden"


class Hub(http.server.BaseHTTPRequestHandler):
    """Repositories in memory: server.repositories[NAME][FILE] = bytes; server.seen are the tokens that came."""

    def log_message(self, format, *args):
        pass

    def told(self, status, content):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.server.seen.append(self.headers.get("Authorization"))
        owner, name, what, revision, file = unquote(self.path).strip("/").split("/", 4)
        assert (what, revision) == ("resolve", "main")
        files = self.server.repositories.get(f"{owner}/{name}")
        if files is None:
            self.told(401, {"error": "Invalid username or password."})
        elif file not in files:
            self.told(404, {"error": "Entry not found"})
        elif file.endswith(".safetensors"):  # as the Hub does: large files lie elsewhere
            self.send_response(302)
            self.send_header("Location", f"{self.server.store}/{owner}/{name}/resolve/main/{file}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.told(200, files[file])

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[-2:] == ["repos", "create"]:
            asked = json.loads(sent)
            name = f"{asked['organization']}/{asked['name']}"
            there = name in self.server.repositories
            self.server.repositories.setdefault(name, {})
            self.told(409 if there else 200, {"url": f"{self.server.address}/{name}", "error": "there already"})
        elif parts[-1] == "validate-yaml":
            assert json.loads(sent)["content"].startswith("---\nlibrary_name")
            self.told(200, {"errors": [], "warnings": []})
        elif "preupload" in parts:
            asked = json.loads(sent)["files"]
            self.told(
                200, {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]}
            )
        else:
            assert parts[4:] == ["commit", "main"]
            for line in map(json.loads, sent.splitlines()):
                if line["key"] == "file":
                    held = base64.b64decode(line["value"]["content"])
                    self.server.repositories["/".join(parts[2:4])][line["value"]["path"]] = held
            self.server.commits += 1
            self.told(
                200,
                {
                    "success": True,
                    "commitOid": "a" * 40,
                    "commitUrl": f"{self.server.address}/{'/'.join(parts[2:4])}/commit/{'a' * 40}",
                },
            )


class Store(Hub):
    """Where the Hub keeps large files."""

    def do_GET(self):
        self.server.seen.append(self.headers.get("Authorization"))
        owner, name, _, _, file = unquote(self.path).strip("/").split("/", 4)
        self.told(200, self.server.repositories[f"{owner}/{name}"][file])


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store) as store,
    ):
        server.repositories = store.repositories = {}
        server.seen, store.seen, server.commits = [], [], 0
        server.address, server.store = (f"http://localhost:{s.server_address[1]}" for s in (server, store))
        server.stored = store.seen
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        threads = [threading.Thread(target=s.serve_forever) for s in (server, store)]
        for thread in threads:
            thread.start()
        yield server
        for s, thread in zip((server, store), threads, strict=True):
            s.shutdown()
            thread.join()


def test_published_listed_and_asked_at_the_hub(hub, capsys, tmp_path):
    pytest.importorskip("huggingface_hub")
    place = "hf://ada/digits-net"
    assert main(["publish", str(GOLDEN / "digits.onnx"), place]) == 0
    assert main(["publish", str(GOLDEN / "digits.safetensors"), place]) == 0
    assert capsys.readouterr().out.split() == [f"{place}/digits"] * 2 and hub.commits == 2
    files = hub.repositories["ada/digits-net"]
    assert {f.partition("/")[0] for f in files} == {"index.json", "README.md", "digits"} and len(files) == 4
    assert main(["list", "models", place]) == 0 and "2 versions" in capsys.readouterr().out
    (tmp_path / "a.txt").write_text("x")
    assert publishing.fetched(f"{place}/digits").read_bytes() == (GOLDEN / "digits.safetensors").read_bytes()
    assert hub.seen[-1] == "Bearer hf_secret" and hub.stored == [None]  # the token stays with the Hub
    card = files["README.md"].decode()
    assert 'pipeline_tag: "image-classification"' in card and f"lamina ask {place}/digits FILE" in card
    files["README.md"] = b"# my own words"
    publishing.publish(GOLDEN / "numbers.onnx", place)
    assert files["README.md"] == b"# my own words" and "numbers" in files["index.json"].decode()


def test_what_goes_wrong_at_the_hub_is_one_sentence(hub, capsys, monkeypatch):
    for words, message in (
        (["list", "models", "hf://ada/none"], "status 401; is there such a repository"), (["list", "models", "hf://ada"], "it is hf://OWNER/REPOSITORY"),
        (["ask", "hf://ada/../x/y", "a.png"], "it is hf://OWNER/REPOSITORY"), (["publish", str(GOLDEN / "numbers.onnx"), "hf://a/b/c"], "it is hf://"),
    ):  # fmt: skip
        assert main(words) == 2
        assert message in (said := capsys.readouterr().err) and said.count("\n") == 1
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SettingError, match=r"pip install 'lamina\[hub\]'"):
        publishing.publish(GOLDEN / "numbers.onnx", "hf://ada/x")
    monkeypatch.delitem(sys.modules, "huggingface_hub")
    monkeypatch.setenv("HF_ENDPOINT", "http://localhost:1")
    with pytest.raises(ShipError, match=r"hf://ada/x cannot be read \(.*refused"):
        publishing.models("hf://ada/x")
    pytest.importorskip("huggingface_hub")
    with pytest.raises(RunError, match=r"hf://ada/x cannot be made: .*refused"):
        publishing.publish(GOLDEN / "numbers.onnx", "hf://ada/x")
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    with pytest.raises(SettingError, match="HF_ENDPOINT must be"):
        publishing.models("hf://ada/x")


def test_a_card_shows_names_of_data_and_does_nothing_else():
    evil = "x](http://evil) <script>\n\n---\n# big `a|b` *c*"
    entry = {
        "task": "classify\nx",
        "net": evil,
        "inputs": {evil: "image"},
        "source": evil,
        "sha256": "0" * 64,
        "score": {"value": "no"},
    }
    card = _hub.card("hf://ada/x", {"a_b": [entry]}).decode()
    head, body = card.split("---\n")[1:]
    assert head.splitlines()[2] == 'tags: ["lamina", "classify-x"]' and "pipeline_tag" not in head
    assert "\n## a\\_b\n" in body and "- Net: x\\]\\(http\\:\\/\\/evil\\) \\<script\\>" in body
    lines = [line for line in body.splitlines() if "evil" in line]
    assert len(lines) == 3 and all(line.startswith("- ") for line in lines) and "Score" not in body
