"""Damaged requests: schemathesis against the server's own OpenAPI document, and mutations of good requests.

schemathesis (https://schemathesis.io) has an environment of its own, as the peers of the other benches.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import time
from pathlib import Path

import environments
import numpy as np
from asking import form, lamina_server, once, request

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
SLOWEST = 5  # seconds that an answer may take
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
PIECES = (b"\\ud800", b"NaN", b"[[", b"\xff", b"1e999", b"\x00", b'"', b"{}")


def schema(count):
    """schemathesis asks lenet, a table, and a text that goes on, until it made `count` requests, with other random numbers each turn."""
    environments.PACKAGES["schemathesis"] = ("schemathesis==4.32.5",)
    environments.IMPORTS["schemathesis"] = "import schemathesis"
    environments.ENVIRONMENT_OF["st"] = "schemathesis"
    program = environments.python_of("st").with_name("st")
    files = [GOLDEN / name for name in ("digits.onnx", "people.onnx", "write.safetensors")]
    failures, seed, statuses = {}, 0, {}
    with lamina_server(*files) as server:
        while sum(statuses.values()) < count and seed < 50:
            seed += 1
            told = subprocess.run(
                [program, "run", f"http://127.0.0.1:{server.port}/openapi.json", "--checks", CHECKS, "--phases", "examples,coverage,fuzzing",
                 "--seed", str(seed), "-H", "X-Deadline: 3", "--continue-on-failure", "--max-response-time", str(SLOWEST), "--max-time", "120", "--no-shrink",
                 "--max-examples", str(max(10, count // 8)), "--generation-database", "none", "--no-color"],
                check=False, capture_output=True, text=True, timeout=500,
            )  # fmt: skip
            if "Test cases:" not in told.stdout:
                raise RuntimeError(f"schemathesis: {(told.stdout + told.stderr)[-300:]}")
            for what in re.findall(r"^- (.+)$", told.stdout, re.M):
                failures[what] = failures.get(what, 0) + 1
            statuses = {}
            for labels, value in server.counted("lamina_requests_total").items():
                status = re.search(r'status="(\d+)"', labels)[1]
                statuses[status] = statuses.get(status, 0) + int(value)
        alive = server.process.poll() is None
    return {
        "requests": sum(statuses.values()),
        "statuses": dict(sorted(statuses.items())),
        "failures": failures,
        "alive": alive,
    }


def mutations(file, picture, count):
    """Good requests whose bytes were changed, cut out and put in, every eleventh in its head too: statuses, and the slowest answer."""
    random = np.random.default_rng(0)
    row = json.dumps({"image": [[0, 255] * 14] * 28}).encode()
    kinds = [
        (picture.read_bytes(), "image/png"),
        (row, "application/json"),
        (form(picture), "multipart/form-data; boundary=x"),
    ]
    statuses, slowest, broke, line = {}, 0.0, 0, None
    with lamina_server(file) as server:
        for i in range(count):
            content, kind = kinds[i % 3]
            sent = bytearray(request(_damaged(bytearray(content), random, i), kind))
            head = i % 11 == 0
            if head:
                sent[int(random.integers(sent.index(b"\r\n\r\n")))] = int(random.integers(256))
            begun = time.perf_counter()
            try:
                line = line or socket.create_connection(("127.0.0.1", server.port))
                status, _, closes = once(line, bytes(sent), 0.2 if head else SLOWEST)
                statuses[status] = statuses.get(status, 0) + 1
                slowest = max(slowest, time.perf_counter() - begun)
            except (OSError, ValueError, IndexError):
                closes, broke = True, broke + (not head)
            if closes or head:
                with contextlib.suppress(AttributeError):
                    line.close()
                line = None
        with socket.create_connection(("127.0.0.1", server.port)) as last:
            alive = once(last, request(picture.read_bytes()))[0] == 200 and server.process.poll() is None
    return {
        "requests": count, "statuses": dict(sorted(statuses.items())), "slowest_s": round(slowest, 3), "hung_or_broke": broke, "alive": alive,
    }  # fmt: skip


def _damaged(body, random, number):
    for _ in range(1 + number % 7):
        at = int(random.integers(len(body))) if body else 0
        choice = number % 4
        if choice == 0 and body:
            body[at] = int(random.integers(256))
        elif choice == 1:
            del body[at : at + int(random.integers(1, 40))]
        else:
            body[at:at] = random.choice(PIECES)
    return bytes(body)
