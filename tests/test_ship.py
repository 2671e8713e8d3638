"""Shipped files answer as their run, tell what they are, and refuse whatever is damaged or made with evil intent."""

import importlib.util
import json
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import lamina
from lamina.cli import main
from lamina.core import catalog
from lamina.core.errors import LaminaError, NameUnknown, RunError, SettingError, ShipError
from lamina.ship import _parcel, pack

spec = importlib.util.spec_from_file_location("mutate", Path(__file__).parent.parent / "bench" / "mutate.py")
mutate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mutate)

KINDS = ("lenet", "resnet9", "table")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Name -> (run, its pack, rows to ask about)."""
    folder = tmp_path_factory.mktemp("runs")
    digits = lamina.open("digits").take(np.arange(0, 5000, 10))
    small = {"lenet": {"version": "1990"}, "resnet9": {"stem": 4, "stages": "8,8"}}
    made = {}
    for net, settings in small.items():
        run = lamina.fit(digits, net=net, net_settings=settings, steps=12, show=False, run=folder / net)
        made[net] = run, run.ship(), digits.take(digits.rows(2))
    people = mutate.frame()
    run = lamina.fit(people, target="class", net="mlp/small", steps=30, show=False, run=folder / "table")
    made["table"] = run, run.ship(), people.drop(columns="class")
    return made


def resigned(path, into, settings=None, change=None):
    """The pack with settings and tensors changed, and signed anew."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    value = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["lamina"])
    tensors = safetensors.torch.load(content)
    if change:
        change(tensors)
    for name, new in (settings or {}).items():
        value[name] = value[name] | new if isinstance(value[name], dict) and isinstance(new, dict) else new
    text = json.dumps(value)
    into.write_bytes(safetensors.torch.save(tensors, {"lamina": text, "sha256": pack.digest(text, tensors)}))
    return into


@pytest.mark.parametrize("kind", KINDS)
def test_a_pack_answers_as_its_run(shipped, kind, tmp_path):
    run, path, rows = shipped[kind]
    alone = tmp_path / "elsewhere.safetensors"
    shutil.copy(path, alone)
    opened = lamina.load(alone)
    assert opened.ask(rows) == run.ask(rows) and len(opened.ask(rows)) == len(rows) > 90
    assert opened.ask(opened.examples) == run.ask(opened.examples)
    assert opened.content["parity"] == {"rows": 10, "same_answers": 10, "largest_difference": 0.0, "bit_equal": True}


def test_one_row_and_gaps(shipped):
    run, path, _ = shipped["table"]
    opened = lamina.load(path)
    for row in ({"age": 70.0, "town": "Ulm", "seen": "2021-05-01"}, {"age": None, "town": "Paris", "seen": None}):
        assert opened.ask(row) == run.ask(row) and sum(opened.ask(row).probabilities.values()) == pytest.approx(1)
    assert {f.kind for f in opened.inputs} == {"number", "label", "date"}
    with pytest.raises(LaminaError, match="the net needs: 'seen'"):
        opened.ask({"age": 1.0, "town": "Ulm"})


def test_a_number_is_answered_alike(tmp_path):
    frame = mutate.frame().drop(columns="class").assign(y=lambda f: f["age"].fillna(40) * 3)
    run = lamina.fit(frame, target="y", net="perceptron", steps=20, show=False)
    opened = lamina.load(run.ship(out=tmp_path / "numbers"))
    assert opened.path.name == "numbers.safetensors" and opened.ask(frame) == run.ask(frame) and opened.classes == ()


def test_a_pack_tells_what_it_is(shipped):
    run, path, _ = shipped["lenet"]
    with safetensors.safe_open(path, "pt") as file:
        content = json.loads(file.metadata()["lamina"])
        names = set(file.keys())
    assert (
        content["task"] == "classify"
        and content["net"] == "lenet"
        and content["target"]["classes"] == list("0123456789")
    )
    assert content["inputs"][0]["shape"] == [1, 28, 28] and len(content["examples"]) == 10
    assert content["licence"] == lamina.open("digits").licence and content["source"] == "digits"
    opened = lamina.load(path)
    assert opened.score().value == run.score().value and opened.score().signature == run.score().signature
    assert {"example.0", "answer.probabilities"} <= names and all(str(run.path) not in str(v) for v in content.values())
    truth = lamina.open("digits").take(np.arange(0, 5000, 10))
    first = list(truth.names).index(content["examples"][0])
    assert np.array_equal(opened.examples["image"].values.array[0], truth["image"].values.array[first])
    with pytest.raises(SettingError, match="score other data with its run"):
        opened.score(on=truth)


def test_the_command_line(shipped, capsys, tmp_path):
    run, _, rows = shipped["table"]
    rows.head(7).to_csv(tmp_path / "rows.csv", index=False)
    assert main(["ship", str(run.path), "--to", "pack", "--out", str(tmp_path / "a")]) == 0
    file = capsys.readouterr().out.strip()
    told = []
    for asked in (str(run.path), file):
        assert main(["ask", asked, str(tmp_path / "rows.csv"), "--json"]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] and len(told[0].splitlines()) == 7
    assert main(["list", "exports"]) == 0 and "pack " in capsys.readouterr().out
    assert main(["ask", file, str(tmp_path / "rows.csv"), "--csv"]) == 0
    assert capsys.readouterr().out.startswith("name,answer,old,young")
    damaged = bytearray(Path(file).read_bytes())
    damaged[-9] ^= 1
    Path(file).write_bytes(damaged)
    for words, message in (
        (["ask", file, "x.csv"], "is damaged: its sha256 is not the one written in it"),
        (["ship", str(run.path), "--to", "pakc"], "no export 'pakc'; did you mean 'pack'"),
        (["ship", str(run.path), "--out", "no/such/folder/x"], "cannot be written"),
    ):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1


def test_mutated_files_are_refused_or_answer_alike(shipped, tmp_path):
    """300 of what `python bench/mutate.py` does 10,000 times."""
    paths = [shipped["lenet"][1], shipped["table"][1]]
    packs = [p.read_bytes() for p in paths]
    wanted = [opened.outputs(opened.examples) for opened in map(pack.load, paths)]
    ends = {"damaged": [], "forged": []}
    for number in range(300):
        group, kind, content, which = mutate.one(packs, 3, number)
        (tmp_path / "mutant.safetensors").write_bytes(content)
        ends[group].append((mutate.outcome(tmp_path / "mutant.safetensors", wanted[which]), kind))
    assert {end for end, _ in ends["damaged"]} <= {"rejected", "bit-equal"}
    assert {end for end, _ in ends["forged"]} <= {"rejected", "bit-equal", "another net"}
    assert {kind for end, kind in ends["forged"] if end == "another net"} <= {"weights", "settings", "swap"}
    assert sum(end == "rejected" for end, _ in ends["forged"]) > 90


HOSTILE = [
    ("table", {"net_config": {"width": 10**9}}, "none may be over 1,048,576"),
    ("table", {"net_config": {"width": 2**20}}, "and the file has"),
    ("table", {"net_config": {"numbers": 2**20, "categories": [2**20] * 9_000}}, "more than"),
    ("table", {"net_config": {"categories": [1] * 20_000}}, "too long"),
    ("table", {"net_config": {"widht": 3}}, "no setting of Config 'widht'; did you mean 'width'"),
    ("table", {"net_config": {"activation": "__import__"}}, "no activation '__import__'"),
    ("table", {"net": "os"}, "no net 'os'"),
    ("table", {"net": "lamina.nets.mlp"}, "no net 'lamina.nets.mlp'"),
    ("table", {"task": "..tasks.classify"}, "no task"),
    ("table", {"net": "join"}, "Config"),
    ("table", {"options": {"weights": [float("nan")]}}, "which is no number"),
    ("table", {"threshold": 0.7}, "its threshold is 0.7"),
    ("table", {"task": "regress", "threshold": None}, "regress does not answer a label"),
    ("table", {"format": 2}, "of format 2, and this Lamina reads format 1"),
    ("table", {"score": {"value": "good"}}, "'value' is missing or of a wrong type"),
    ("table", {"examples": []}, "names 0 examples"),
    ("table", {"inputs": []}, "no names of their own"),
    ("resnet9", {"net": "resnet", "net_config": {}}, "stem must be a text, not 4"),
    ("resnet9", {"net_config": {"stages": [1] * 9_999}}, "ask for more than"),
    ("resnet9", {"net_config": {"stages": [2**20, 2**20]}}, "and the file has"),
    ("resnet9", {"inputs": [{"name": "image", "kind": "image", "shape": [1, 10**6, 10**6]}]}, "at most 1024 a side"),
    ("lenet", {"net_config": {"version": "2020"}}, "no version of lenet '2020'"),
    ("lenet", {"net_config": {"side": 2**20}}, "and the file has"),
    ("lenet", {"target": {"classes": ["a"]}}, "has 1 classes and answers"),
    ("lenet", {"target": {"classes": ["a"] * 10}}, "named twice"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "settings", "message"), HOSTILE, ids=lambda v: v[:40] if isinstance(v, str) else "")
def test_settings_are_bounded_before_memory_is_taken(shipped, kind, settings, message, tmp_path):
    before = time.perf_counter()
    with pytest.raises(ShipError) as caught:
        lamina.load(resigned(shipped[kind][1], tmp_path / "x.safetensors", settings))
    assert message in str(caught.value) and "\n" not in str(caught.value) and time.perf_counter() - before < 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update({"net.classifier.0.bias": torch.zeros(11)}), r"needs torch.float32 \(10,\)"),
        (lambda t: t.update({"example.0": torch.zeros(10, 3, 28, 28, dtype=torch.uint8)}), "of a wrong shape"),
        (lambda t: t.update({"answer.probabilities": torch.zeros(10, 10)}), "its first example otherwise"),
        (lambda t: t.pop("answer.probabilities"), "in another shape"),
        (lambda t: t.update({"net.more": torch.zeros(2)}), "needs nothing for 'more'"),
    ],
)
def test_tensors_must_fit(shipped, change, message, tmp_path):
    with pytest.raises(ShipError, match=message):
        lamina.load(resigned(shipped["lenet"][1], tmp_path / "x.safetensors", change=change))


def test_what_is_no_pack(tmp_path, shipped):
    run, _, _ = shipped["lenet"]
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "tiny").write_bytes(b"1234567")
    (tmp_path / "text").write_bytes(b"hello, this is no file of tensors")
    for name, message in (("pipe", "is not a file"), ("tiny", "it has 7 bytes"), ("text", "header would have")):
        with pytest.raises(ShipError, match=message):
            pack.load(tmp_path / name)
    with pytest.raises(ShipError, match="no pack of Lamina"):
        pack.load(run.path / "best.safetensors")


EVENTS: list[tuple[str, str]] = []
WATCHED = {"on": False}
CODE = ("exec", "compile", "import", "marshal", "pickle", "code.__new__", "function.__new__", "ctypes", "subprocess", "os.system",
        "os.exec", "os.posix_spawn", "os.fork")  # fmt: skip


def test_opening_runs_no_code_and_opens_nothing_else(shipped, tmp_path):
    files = [shutil.copy(path, tmp_path / f"{kind}.safetensors") for kind, (_, path, _) in shipped.items()]
    for file in files:
        lamina.load(file)  # what Lamina itself imports when first used is not the file's
    sys.addaudithook(lambda event, values: EVENTS.append((event, str(values)[:200])) if WATCHED["on"] else None)
    WATCHED["on"] = True
    try:
        for file in files:
            lamina.load(file)
    finally:
        WATCHED["on"] = False
    opened = [values for event, values in EVENTS if event == "open"]
    assert len(opened) == len(files) and all(str(f) in values for f, values in zip(files, opened, strict=True)), opened
    assert not [
        e for e in EVENTS if e[0].startswith((*CODE, "socket", "urllib", "http", "shutil", "os.remove", "os.rename"))
    ]
    WATCHED["on"] = True
    eval("1 + 1")  # the hook sees what it shall see
    WATCHED["on"] = False
    assert any(event == "exec" for event, _ in EVENTS)


def test_opening_changes_no_randomness(shipped):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    lamina.load(shipped["lenet"][1])
    assert torch.equal(torch.rand(3), wanted)


def test_what_a_pack_cannot_carry_is_said_first(shipped, monkeypatch):
    run, _, _ = shipped["lenet"]
    monkeypatch.setattr(pack, "write", lambda *_: pytest.fail("tried"))
    found = _parcel.opened(run.run, run.config, run.plan, run.net, run.score())
    found = replace(found, plan=replace(run.plan, net="my_lab.my_net"))
    with pytest.raises(ShipError, match=r"pack cannot carry this net: my_lab.my_net comes from outside Lamina"):
        _parcel.send(found, "pack", "x")


def test_a_file_that_answers_otherwise_is_not_kept(shipped, monkeypatch, tmp_path):
    run, _, _ = shipped["lenet"]
    (tmp_path / "a.safetensors").write_bytes(b"what was there")
    usual = pack.Pack.outputs
    monkeypatch.setattr(pack.Pack, "outputs", lambda self, table: {k: v + 1e-7 for k, v in usual(self, table).items()})
    with pytest.raises(ShipError, match="answers otherwise than the run, by 1e-07; it was not kept"):
        run.ship(out=tmp_path / "a")
    assert (tmp_path / "a.safetensors").read_bytes() == b"what was there" and len(os.listdir(tmp_path)) == 1


def test_a_full_disk_leaves_what_was_there(shipped, monkeypatch, tmp_path):
    run, _, _ = shipped["lenet"]
    (tmp_path / "a.safetensors").write_bytes(b"what was there")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lamina.core.run.os.fsync", full)
    with pytest.raises(RunError, match="No space left"):
        run.ship(out=tmp_path / "a")
    assert (tmp_path / "a.safetensors").read_bytes() == b"what was there" and len(os.listdir(tmp_path)) == 1


def test_a_run_ships_without_its_data(photos):
    settings = {"stem": 4, "stages": "8"}
    run = lamina.fit(photos, net="resnet9", net_settings=settings, steps=6, show=False)
    one = photos / "red" / "red3.png"
    answer, first = run.ask(one), run.ship().read_bytes()
    (run.path / _parcel.EXAMPLES).unlink()  # as a run of an older Lamina
    assert run.ship().read_bytes() == first  # the same bits from the data read again
    shutil.copy(one, "one.png")
    shutil.rmtree(photos)
    opened = lamina.load(lamina.load(run.path).ship())
    assert opened.ask("one.png") == answer and opened.content["source"] == "photos"
    assert "/" not in opened.score().signature.split("#")[0]


@pytest.mark.parametrize("name", catalog.names("nets"))
def test_every_net_is_compared_before_it_is_built(name):
    """Each net builds without memory, with the same names, shapes and types."""
    from lamina.ship._opened import _net

    module = catalog.find("nets", name)
    weights = module.Net(module.Config()).state_dict()
    from lamina.core import config

    assert _net(name, config.to_json(module.Config()), weights).state_dict().keys() == weights.keys()


def test_unknown_forms():
    with pytest.raises(NameUnknown, match="no export 'onx'"):
        catalog.find("ship", "onx")


def test_long_vocabularies_are_read_and_long_lists_of_numbers_are_not():
    from lamina.ship._opened import _bounded

    _bounded({"tokens": {"vocabulary": [f"w{i}" for i in range(30_000)]}})
    for value in ({"sizes": [1] * 10_001}, {"mixed": ["a"] * 10_000 + [1]}, {"deep": [[[[["a"], 1]]]]}):
        with pytest.raises(ShipError, match="nested too deep, or too long"):
            _bounded(value)
