"""lamina serve: the answers of `lamina ask` to the bit, whatever is gathered; what is refused and how; swaps and ends without a loss."""

import asyncio
import base64
import contextlib
import http.client
import io
import itertools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image

import lamina
from lamina import writing
from lamina.cli import main
from lamina.core.errors import SettingError
from lamina.serving import _door, _gather, _model, _patient, serve
from lamina.serving._guard import permitted

GOLDEN = Path(__file__).parent / "golden"
JSON = {"Content-Type": "application/json"}
PATIENCE = 120


@contextlib.contextmanager
def served(*models, **options):
    """A server in a thread, on a free port of loopback; gives its port."""
    chosen = serve.Options(tuple(str(m) for m in models), port=0, **options)
    listening = serve.bound(serve.checked(chosen))
    ready, ends, failed = threading.Event(), [], []

    def run():
        try:
            asyncio.run(serve.serve(chosen, listening, lambda end: (ends.append(end), ready.set())))
        except BaseException as error:
            failed.append(error)
            ready.set()
        finally:
            listening.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(PATIENCE)
    if failed:
        raise failed[0]
    try:
        yield listening.getsockname()[1]
    finally:
        ends[0]()
        thread.join(PATIENCE)
        assert not thread.is_alive() and not failed


def asked(port, path, body=None, headers=None, method=None):
    """(status, JSON or text, headers) of a request."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as line:
        line.request(method or ("GET" if body is None else "POST"), path, body, headers or {})
        answer = line.getresponse()
        content = answer.read()
    told = json.loads(content) if answer.headers["content-type"] == "application/json" else content.decode()
    return answer.status, told, answer.headers


def picture(seed=0, size=(28, 28), form="PNG", mode="L"):
    random = np.random.default_rng(seed)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    made = io.BytesIO()
    Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(made, form)
    return made.getvalue()


def form_of(parts):
    mark, lines = "xXx", b""
    for name, file, content in parts:
        head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"' + (f'; filename="{file}"' if file else "")
        lines += head.encode() + b"\r\n\r\n" + content + b"\r\n"
    return lines + f"--{mark}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={mark}"}


@pytest.fixture(scope="module")
def server():
    names = ("digits.safetensors", "people.safetensors", "numbers.onnx", "mask.safetensors", "write.safetensors")
    with served(
        *(GOLDEN / n for n in names), f"quick={GOLDEN / 'digits.onnx'}", GOLDEN / "translate.safetensors"
    ) as port:
        yield port


def answers(model, *sources):
    return [a.to_json() for _, a in lamina.load(GOLDEN / model).answers(*sources)[0]]


@pytest.mark.parametrize(("name", "file"), [("digits", "digits.safetensors"), ("quick", "digits.onnx")])
def test_pictures_are_answered_as_lamina_ask_does(server, name, file, tmp_path):
    """Many at once, files of several kinds and sizes, in every form of request: the same bits as one by one."""
    kinds = [("PNG", "L", (28, 28)), ("JPEG", "RGB", (300, 200)), ("GIF", "L", (31, 45)), ("PNG", "RGB", (28, 28))]
    files = [picture(i, kinds[i % 4][2], kinds[i % 4][0], kinds[i % 4][1]) for i in range(24)]
    wanted = []
    for i, content in enumerate(files):
        (tmp_path / f"{i}.png").write_bytes(content)
        wanted += answers(file, tmp_path / f"{i}.png")
    found = [None] * len(files)

    def one(i):
        content = files[i]
        if i % 3 == 0:
            found[i] = asked(server, f"/ask/{name}", content, {"Content-Type": "image/png"})
        elif i % 3 == 1:
            found[i] = asked(server, f"/ask/{name}", json.dumps({"image": base64.b64encode(content).decode()}), JSON)
        else:
            found[i] = asked(server, f"/ask/{name}", *form_of([("file", "a.png", content)]))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [f[0] for f in found] == [200] * len(files) and [f[1] for f in found] == wanted
    status, told, _ = asked(server, f"/ask/{name}", *form_of([("a", f"{i}.png", files[4 * i]) for i in range(3)]))
    together = answers(file, *[tmp_path / f"{4 * i}.png" for i in range(3)])
    assert status == 200 and [t["name"] for t in told["answers"]] == ["0.png", "1.png", "2.png"]
    assert [{k: v for k, v in t.items() if k != "name"} for t in told["answers"]] == together


@pytest.mark.parametrize("quick", [0, 1e9])
def test_a_thread_changes_no_answer(quick, monkeypatch, tmp_path):
    """A net that is quick is answered where requests are read; a large picture is decoded in the thread all the same."""
    where, usual = set(), _model.Model.together
    monkeypatch.setattr(_gather, "QUICK", quick)
    with served(GOLDEN / "digits.onnx") as port:
        monkeypatch.setattr(
            _model.Model, "together", lambda *a: (where.add(threading.current_thread().name), usual(*a))[1]
        )
        for i, (form, size) in enumerate([("PNG", (28, 28)), ("JPEG", (40, 30)), ("PNG", (500, 400))]):
            (tmp_path / "a.png").write_bytes(content := picture(i, size, form))
            where.clear()
            assert (
                asked(port, "/ask", content, {"Content-Type": "image/png"})[1]
                == answers("digits.onnx", tmp_path / "a.png")[0]
            )
            assert any(name.startswith("lamina-net") for name in where) == (not quick or size[0] == 500)


def test_rows_are_answered_as_lamina_ask_does(server):
    random = np.random.default_rng(0)
    rows = [
        {
            "age": None if i == 3 else round(float(random.normal(40, 12)), 1),
            "town": ["Ulm", "Bonn", "Rome", None][i % 4],
            "seen": "2020-05-06",
        }
        for i in range(12)
    ]
    for name, file in (("people", "people.safetensors"), ("numbers", "numbers.onnx")):
        alone = [asked(server, f"/ask/{name}", json.dumps(row), JSON)[1] for row in rows]
        assert alone == [answers(file, row)[0] for row in rows]
        told = asked(server, f"/ask/{name}", json.dumps(rows), JSON)[1]["answers"]
        assert [t["answer"] for t in told] == [a["answer"] for a in answers(file, rows)] and told[1]["name"] == "row 1"
    status, told, _ = asked(server, "/ask/people", json.dumps({**rows[0], "age": "many"}), JSON)
    assert status == 200 and "age is 'many', not a number" in told["notes"][0]


def test_masks_texts_and_streams(server, tmp_path):
    (tmp_path / "a.png").write_bytes(content := picture(1, (24, 16), mode="RGB"))
    assert (
        asked(server, "/ask/mask", content, {"Content-Type": "image/png"})[1]
        == answers("mask.safetensors", tmp_path / "a.png")[0]
    )
    status, told, _ = asked(server, "/ask/translate", json.dumps("red dog"), JSON)
    assert status == 200 and told == answers("translate.safetensors", "red dog")[0]
    secret = tmp_path / "secret.txt"
    secret.write_text("one two")  # a text that is the name of a file is a text
    named = asked(server, "/ask/translate", json.dumps(str(secret)), JSON)[1]
    assert named["answer"] != answers("translate.safetensors", secret)[0]["answer"] or len(named) == 1
    status, told, headers = asked(
        server, "/write/write", json.dumps({"start": "In the", "length": 20, "temperature": 0}), JSON
    )
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    pieces = [json.loads(line[6:]) for line in told.split("\n\n") if line]
    wanted = "".join(lamina.load(GOLDEN / "write.safetensors").task.write(
        lamina.load(GOLDEN / "write.safetensors").net, "In the", 20, __import__("lamina.tasks._sampling", fromlist=["Sampling"]).Sampling(0)
    ))  # fmt: skip
    assert "".join(p.get("text", "") for p in pieces) == wanted and pieces[-1] == {"end": "done"}
    assert asked(server, "/write/digits", "{}", JSON)[0] == 400


def test_the_open_inference_protocol(server):
    assert asked(server, "/v2")[1]["name"] == "lamina" and asked(server, "/v2/health/ready")[1] == {"ready": True}
    about = asked(server, "/v2/models/quick")[1]
    assert about["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, -1]}]
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
    sent = {"name": "image", "shape": [3, 28, 28, 1], "datatype": "UINT8", "data": pixels.reshape(-1).tolist()}
    told = asked(server, "/v2/models/quick/infer", json.dumps({"id": "7", "inputs": [sent]}), JSON)[1]
    wanted = answers("digits.onnx", pixels)
    assert told["id"] == "7" and told["outputs"][1]["data"] == [w["answer"] for w in wanted]
    assert told["outputs"][0]["data"][10:20] == [wanted[1]["probabilities"][str(c)] for c in range(10)]
    for change in (
        {"shape": [3, 28, 28]},
        {"shape": [4, 28, 28, 1]},
        {"datatype": "FP32"},
        {"data": [1, 2]},
        {"name": "x"},
        {"data": "x"},
    ):
        status, told, _ = asked(server, "/v2/models/quick/infer", json.dumps({"inputs": [sent | change]}), JSON)
        assert status == 400 and told["error"].endswith(".")
    cells = [{"name": "age", "shape": [1], "datatype": "FP64", "data": [50.0]}, {"name": "town", "shape": [1], "datatype": "BYTES", "data": ["Ulm"]},
             {"name": "seen", "shape": [1], "datatype": "FP64", "data": [1.6e9]}]  # fmt: skip
    assert asked(server, "/v2/models/numbers/infer", json.dumps({"inputs": cells}), JSON)[0] in (200, 400)
    assert asked(server, "/v2/models/none/infer", "{}", JSON)[0] == 404


def bomb(side=60_000):
    """A PNG of a few hundred bytes whose header promises 3,600 million pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 60_001))
        + chunk(b"IEND", b"")
    )


REFUSED = [
    (b"", JSON, 400), (b"{", JSON, 400), (b'{"image": NaN}', JSON, 400), (b'{"image": 1e999}', JSON, 400), (b'"\\ud800"', JSON, 400),
    (b'{"\\udfff": 1}', JSON, 400), (b"[" * 100_000, JSON, 400), (b"9" * 5000, JSON, 400), (b"\xff\xfe", JSON, 400), (b"[]", JSON, 400),
    (b"{}", JSON, 400), (b'{"imag": ""}', JSON, 400), (b'{"image": "/etc/passwd"}', JSON, 400), (b'{"image": [[1, 2], [3]]}', JSON, 400),
    (b'{"image": [["a"]]}', JSON, 400), (b'{"image": [[]]}', JSON, 400), (b"not a picture", {"Content-Type": "image/png"}, 400),
    (bomb(), {"Content-Type": "image/png"}, 413), (picture(size=(1200, 1000)), {"Content-Type": "image/png"}, 413),
    (picture()[:-40], {"Content-Type": "image/png"}, 400), (b"x", {"Content-Type": "application/x-python-pickle"}, 415),
    (b"x", {"Content-Type": "multipart/form-data"}, 400), (b"x", {"Content-Type": "multipart/form-data; boundary=a"}, 400),
    (b"x" * 300_000, {"Content-Type": "image/png"}, 413), (b"x", {"Content-Encoding": "gzip"}, 415), (b"x", {"Host": "evil.example"}, 421),
    (b"x", {"Origin": "http://evil.example"}, 403), (b"x", {"Origin": "null"}, 403), (b"{}", {**JSON, "X-Deadline": "nan"}, 400),
]  # fmt: skip


def test_what_is_wrong_is_refused_in_one_sentence_without_a_path(tmp_path):
    with served(GOLDEN / "digits.onnx", body_mb=0.25, pixels=1_000_000) as port:
        for body, headers, wanted in REFUSED:
            status, told, _ = asked(port, "/ask", body, headers, "POST")
            assert (status, list(told)) == (wanted, ["error"]), (body[:40], headers, status, told)
            assert str(GOLDEN) not in told["error"] and "/etc" not in told["error"] and told["error"].endswith(".")
        assert asked(port, "/nothing")[0] == 404 and asked(port, "/ask")[0] == 405
        with socket.create_connection(
            ("127.0.0.1", port)
        ) as line:  # a length that is a lie is refused before the body comes
            line.sendall(b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n")
            assert line.recv(100).startswith(b"HTTP/1.1 413")
        assert (
            asked(port, "/ask", picture(), {"Content-Type": "image/png", "Origin": f"http://127.0.0.1:{port}"})[0]
            == 200
        )
        assert 'status="500"' not in asked(port, "/metrics")[1]


def test_random_bytes_never_fail_inside(server):
    """200 of what bench/ship.py does 10,000 times."""
    random, rows = np.random.default_rng(0), [json.dumps({"age": 1, "town": "Ulm", "seen": None}).encode(), picture()]
    for i in range(200):
        body = bytearray(rows[i % 2])
        for _ in range(1 + i % 5):
            body[random.integers(len(body))] = random.integers(256)
        path, kind = [("/ask/people", JSON), ("/ask/digits", {"Content-Type": "image/png"})][i % 2]
        assert asked(server, path, bytes(body), kind)[0] in (200, 400, 413)


def test_slow_clients_are_cut_off():
    with served(GOLDEN / "digits.onnx", seconds=0.3) as port:
        for begin in (b"GET / HT", b"", b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nab"):
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as line:
                line.sendall(begin)
                told = b""
                while part := line.recv(1000):
                    told += part
                assert told == b""
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as line:
            line.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert line.recv(1000).startswith(b"HTTP/1.1 200")
            with contextlib.suppress(OSError):
                line.sendall(b"\r\n")  # ends a head that never began
                while line.recv(1000):
                    pass
        assert asked(port, "/healthz")[0] == 200


def test_addresses_and_tokens():
    permitted("127.0.0.1", None, False)
    permitted("0.0.0.0", "a" * 16, False)
    for address, token, message in (
        ("0.0.0.0", None, "--insecure"),
        ("here", None, "must be an address"),
        ("::1", "short", "16 characters"),
    ):
        with pytest.raises(SettingError, match=message):
            permitted(address, token, False)
    with served(GOLDEN / "digits.onnx", token="correct horse battery") as port:
        for word, wanted in (
            (None, 401),
            ("Bearer wrong", 401),
            ("Basic correct horse battery", 401),
            ("Bearer correct horse battery", 200),
        ):
            headers = {"Content-Type": "image/png"} | ({"Authorization": word} if word else {})
            assert asked(port, "/ask", picture(), headers)[0] == wanted
        assert asked(port, "/healthz")[0] == asked(port, "/")[0] == 200 and asked(port, "/docs")[0] == 401


def test_a_full_queue_a_deadline_and_a_swap(monkeypatch, tmp_path):
    """While the net is held, requests wait, later ones are refused, one gives up; after a swap the old net answers what it was given."""
    hold, begun, usual = threading.Event(), threading.Event(), _model.Model.together

    def held(self, tables):
        if threading.current_thread().name.startswith("lamina-net"):  # not where a model is opened
            begun.set()
            assert hold.wait(PATIENCE)
        return usual(self, tables)

    file = tmp_path / "one.onnx"
    shutil.copy(GOLDEN / "digits.onnx", file)
    with served(file, queue=2, wait_ms=0) as port:
        found, image = [], {"Content-Type": "image/png"}
        monkeypatch.setattr(_model.Model, "together", held)
        monkeypatch.setattr(_gather, "QUICK", 0)  # else it would be answered where requests are read
        first = threading.Thread(target=lambda: found.append(asked(port, "/ask", picture(), image)))
        first.start()
        assert begun.wait(PATIENCE)
        status, told, _ = asked(port, "/ask", picture(), {**image, "X-Deadline": "0.05"})
        assert status == 504 and "deadline" in told["error"]
        more = threading.Thread(target=lambda: found.append(asked(port, "/ask", picture(), image)))
        more.start()
        while (
            "lamina_waiting" not in (text := asked(port, "/metrics")[1]) or 'lamina_waiting{model="one"} 2' not in text
        ):
            time.sleep(0.01)
        status, told, headers = asked(port, "/ask", picture(), image)
        assert status == 503 and int(headers["retry-after"]) >= 1
        aside = tmp_path / "other"
        shutil.copy(GOLDEN / "numbers.onnx", aside)
        os.replace(aside, file)
        while 'lamina_swaps_total{model="one"} 1' not in asked(port, "/metrics")[1]:
            time.sleep(0.05)
        hold.set()
        first.join()
        more.join()
        assert [f[0] for f in found] == [200, 200] and found[0][1] == answers(
            "digits.onnx", np.asarray(Image.open(io.BytesIO(picture())))[None]
        )[0]
        row = json.dumps({"age": 50, "town": "Ulm", "seen": None})
        assert isinstance(asked(port, "/ask", row, JSON)[1]["answer"], float)
        file.write_bytes(b"damaged")
        assert isinstance(asked(port, "/ask", row, JSON)[1]["answer"], float)


def test_a_full_queue_refuses_where_it_reads(monkeypatch):
    """Of requests that come at once, as many as the queue holds are let in; what is refused leaves its connection in use."""
    hold, begun, usual, cycles = threading.Event(), threading.Event(), _model.Model.together, []

    def held(self, tables):
        if threading.current_thread().name.startswith("lamina-net"):
            begun.set()
            assert hold.wait(PATIENCE)
        return usual(self, tables)

    def counted(self, url, scope):
        told = refusal(self, url, scope)
        cycles.append(told is None)
        return told

    refusal = _door.Door.refusal
    monkeypatch.setattr(_door.Door, "refusal", counted)
    monkeypatch.setattr(_gather, "QUICK", 0)
    content = picture()
    head = f"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {len(content)}\r\n\r\n"
    whole = head.encode() + content
    with served(GOLDEN / "digits.onnx", queue=2, wait_ms=0) as port, contextlib.ExitStack() as stack:
        monkeypatch.setattr(_model.Model, "together", held)
        lines = [stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE)) for _ in range(8)]
        lines[0].sendall(whole)
        assert begun.wait(PATIENCE)
        for line in lines[1:]:
            line.sendall(whole)
        told = [statuses(line, 1) for line in lines[3:]]
        assert told == [[503]] * 5 and cycles == [True] * 3 + [False] * 5
        lines[-1].sendall(whole + whole)  # one behind the other
        assert statuses(lines[-1], 2) == [503, 503]
        lines[-1].sendall(whole[:-9])  # in parts, as a large one: its body is read, and then it is refused
        lines[-1].sendall(whole[-9:])
        assert statuses(lines[-1], 1) == [503]
        lines[-1].sendall(whole.replace(b"localhost", b"elsewhere"))
        assert statuses(lines[-1], 1) == [421]
        hold.set()
        assert [statuses(line, 1) for line in lines[:3]] == [[200]] * 3
        lines[-1].sendall(whole)
        assert statuses(lines[-1], 1) == [200]


def statuses(line, count):
    """Statuses of so many answers on a connection."""
    found, held = [], b""
    while len(found) < count:
        head, end, rest = held.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) if end else 0
        if end and len(rest) >= length:
            found.append(int(head[9:12]))
            held = rest[length:]
            continue
        part = line.recv(1 << 16)
        assert part
        held += part
    assert not held
    return found


def test_streams_end_with_the_server_and_leave_nothing_behind(monkeypatch):
    """Clients that go while a text is written hold up nothing; a text that has no end is ended when the server ends."""
    monkeypatch.setattr(serve, "DRAIN", 5.1)
    monkeypatch.setattr(writing, "write", lambda *_, **__: itertools.repeat("a"))
    told = []

    def begun(port):
        """A connection on which a text comes."""
        while True:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            line.request("POST", "/write/write", "{}", JSON)
            answer = line.getresponse()
            if answer.status == 200:
                assert answer.readline() == b'data: {"text": "a"}\n'
                return line, answer
            assert answer.status == 503  # the one who went is still being noticed
            answer.close()
            line.close()

    with served(GOLDEN / "write.safetensors") as port:
        for _ in range(12):
            line, answer = begun(port)
            answer.close()
            line.close()
        line, answer = begun(port)
        reader = threading.Thread(target=lambda: told.extend(answer.read().split(b"\n\n")))
        reader.start()
    reader.join(PATIENCE)
    answer.close()
    line.close()
    assert told[-2:] == [b'data: {"end": "the server ends"}', b""]


def test_sigterm_loses_nothing_and_needs_no_torch(tmp_path):
    """Clients that ask without pause: every request that came is answered; the system resets those that nobody took."""
    code = "import sys; from lamina.cli import main; r = main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(r)"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(GOLDEN / "digits.onnx"), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    lines = iter(process.stderr.readline, "")
    port = int(next(line for line in lines if "is ready" in line).split(":")[2].split("/")[0])
    lost, good, enough = [], [], threading.Event()

    def client(seed):
        content = picture(seed)
        while True:
            try:
                status, told, _ = asked(port, "/ask", content, {"Content-Type": "image/png"})
            except OSError as error:
                if type(error) not in (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
                    lost.append(error)  # such as RemoteDisconnected: taken, and closed without an answer
                return
            (good if status == 200 and "answer" in told else lost).append(status)
            if len(good) > 30:
                enough.set()

    threads = [threading.Thread(target=client, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    assert enough.wait(PATIENCE)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(PATIENCE)
    with process.stderr:
        came = int(next(line for line in lines if "were answered" in line).rpartition(": ")[2].strip(" .\n"))
    assert process.wait(PATIENCE) == 0 and not lost and len(good) == came > 30


def children(pid):
    """Processes of a server that answer, by their ids."""
    found = []
    for name in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(int(name))
    return found


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_several_processes_on_one_port(number):
    """One that is killed, or ended, is begun anew, the others go on, and all of them end together."""
    words = [sys.executable, "-m", "lamina", "serve", str(GOLDEN / "people.onnx"), "--port", "0", "--workers", "2"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process, contextlib.ExitStack() as at_end:
        at_end.callback(process.terminate)
        assert process.stderr
        lines = iter(process.stderr.readline, "")
        port = int(next(line for line in lines if "is served by 2" in line).split(":")[2].split("/")[0])
        first = children(process.pid)
        row, kind = (
            json.dumps({"age": 61.5, "town": "Ulm", "seen": None}).encode(),
            {"Content-Type": "application/json"},
        )
        told = asked(port, "/ask", row, kind)[:2]
        assert len(first) == 2 and told[0] == 200, told
        os.kill(first[0], number)
        until = time.monotonic() + PATIENCE
        while len({*children(process.pid)} - {first[0]}) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        now = children(process.pid)
        assert len({*now} - {first[0]}) == 2 and first[1] in now
        assert asked(port, "/ask", row, kind)[:2] == told
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in now)


def test_the_pages_and_what_programs_read(server):
    status, page, headers = asked(server, "/")
    assert (
        status == 200
        and "http://" not in page.replace("http://www.w3.org", "")
        and "default-src 'none'" in headers["content-security-policy"]
    )
    docs, api = asked(server, "/docs")[1], asked(server, "/openapi.json")[1]
    assert "one of Bonn, Jena, Ulm" in docs and "/ask/people" in api["paths"]
    row = api["components"]["schemas"]["people.Row"]
    assert row["required"] == ["age", "town", "seen"] and row["properties"]["age"] == {"type": ["number", "null"]}
    assert asked(server, "/readyz")[1]["ready"] is True and "lamina_batch_rows_bucket" in asked(server, "/metrics")[1]


def test_what_cannot_be_served_is_said(capsys, tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no")
    for words, message in (
        ([str(tmp_path / "x.onnx")], "is no ONNX file"), ([str(tmp_path / "none")], "no run"), (["a=1", "a=2"], "two models are named a"),
        ([str(GOLDEN / "digits.onnx"), "--address", "0.0.0.0"], "--insecure"),
    ):  # fmt: skip
        assert main(["serve", *words, "--port", "0"]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]


async def _greet(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


def test_who_came_before_the_server_stopped_listening_is_answered():
    uvloop = pytest.importorskip("uvloop")

    async def ended():
        listening = socket.create_server(("127.0.0.1", 0))
        kind = _patient.protocol(5, 0.05, lambda url, scope: None)
        config = uvicorn.Config(_greet, http=kind, ws="none", lifespan="off", log_config=None, timeout_keep_alive=1)
        server = _patient.Server(config, alone=True)
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listening])
        lines = [
            socket.create_connection(listening.getsockname()) for _ in range(3)
        ]  # the loop does not turn: they wait
        for line in lines:
            line.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await server.shutdown([listening])
        answers = [line.recv(1000) for line in lines]
        for line in lines:
            line.close()
        return answers

    answers = uvloop.run(ended())
    assert [a[:15] for a in answers] == [b"HTTP/1.1 200 OK"] * 3
