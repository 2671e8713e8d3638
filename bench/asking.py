"""Servers in processes of their own, and clients that ask them over loopback: what bench/ship.py is made with.

The clients are one loop over sockets without asyncio, since they share the core with the server that is measured.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 30  # seconds that a client waits for an answer


class Server:
    """A server in a process of its own on a free port."""

    def __init__(self, words, port):
        self.port = port
        self.process = subprocess.Popen([str(w) for w in words], stderr=subprocess.DEVNULL, start_new_session=True)
        until = time.monotonic() + 90
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.02)
        self.end()
        raise RuntimeError(f"{Path(words[1]).name} did not start")

    def seconds(self):
        """Seconds of processor that it and the processes it began took so far."""
        return sum(_seconds(int(p.name), self.process.pid) for p in Path("/proc").iterdir() if p.name.isdigit())

    def memory(self):
        """Megabytes that its first process holds."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS"))) // 1024

    def counted(self, metric):
        """{labels: value} of a counter at /metrics."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as line:
            _, body, _ = once(line, b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        rows = [row.rpartition(" ") for row in body.decode().splitlines() if row.startswith(metric + "{")]
        return {name: float(value) for name, _, value in rows}

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        with contextlib.suppress(ProcessLookupError):  # what a peer leaves behind of its own processes
            os.killpg(self.process.pid, signal.SIGKILL)


def _seconds(pid, session):
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if int(fields[3]) == session:
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def free():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def lamina_server(*words):
    port = free()
    return Server([sys.executable, "-m", "lamina", "serve", *words, "--port", port], port)


def request(body, kind="image/png", path="/ask"):
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


def form(picture):
    """A picture as browsers send it."""
    head = b'--x\r\nContent-Disposition: form-data; name="content"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    return head + picture.read_bytes() + b"\r\n--x--\r\n"


def whole(data):
    """(status, body, whether the connection closes) of an answer; None while more of it is to come."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(b"content-length:")
    length = int(head[at + 15 :].partition(b"\r\n")[0]) if at >= 0 else 0
    body = data[end + 4 :]
    return (int(head[9:12]), body, b"\r\nconnection: close" in head) if len(body) >= length else None


def once(line, sent, patience=PATIENCE):
    """What a request on an open connection is answered: see `whole`. Raises OSError."""
    line.settimeout(patience)
    line.sendall(sent)
    data = b""
    while (answer := whole(data)) is None:
        part = line.recv(1 << 16)
        if not part:
            raise ConnectionResetError("closed without an answer")
        data += part
    return answer


def clients(port, count, seconds, sent):
    """Clients that ask without pause on connections that stay open: (status, seconds) of every answer, and what broke off."""
    found, lost, waiting = [], [], selectors.DefaultSelector()
    end = time.perf_counter() + seconds

    def drop(line):
        if line is not None:
            waiting.unregister(line)
            line.close()

    def ask(line):
        """Once more, unless time is over or nobody listens."""
        while (begun := time.perf_counter()) < end:
            try:
                if line is None:
                    line = socket.create_connection(("127.0.0.1", port), PATIENCE)
                    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    waiting.register(line, selectors.EVENT_READ, [begun, b""])
                else:
                    waiting.get_key(line).data[:] = begun, b""
                line.sendall(sent)
                return
            except ConnectionRefusedError:
                return
            except OSError as error:
                lost.append(repr(error))
                line = drop(line)
        drop(line)

    for _ in range(count):
        ask(None)
    while waiting.get_map():
        for key, _ in waiting.select(1):
            line, held = key.fileobj, key.data
            try:
                part = line.recv(1 << 16)
                held[1] += part
                answer = whole(held[1])
                if not part:
                    raise ConnectionResetError("closed without an answer")
            except OSError as error:
                lost.append(repr(error))
                ask(drop(line))
                continue
            if answer:
                found.append((answer[0], time.perf_counter() - held[0]))
                ask(drop(line) if answer[2] else line)
        for key in [k for k in waiting.get_map().values() if time.perf_counter() - k.data[0] > PATIENCE]:
            lost.append("no answer")
            drop(key.fileobj)
    return found, lost
