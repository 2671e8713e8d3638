"""Graphs of every task: ONNX files that are asked without torch, programs, int8, and what cannot be carried."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
import torch
from PIL import Image

import lamina
from lamina.cli import main
from lamina.core.errors import SettingError, ShipError
from lamina.data._augment import uniform
from lamina.data._batches import Batches
from lamina.data._tokens import END, START
from lamina.judge.score import Score
from lamina.nets import _boxes, seq2seq, translator
from lamina.ship import _int8, _parcel, _steps, program
from lamina.ship import onnx as form
from lamina.tasks import _beam, _sampling
from lamina.train import evaluate

GOLDEN = Path(__file__).parent / "golden"
PHOTOS = Path(sklearn.datasets.__file__).parent / "images"

spec = importlib.util.spec_from_file_location("make", GOLDEN / "make.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)


def parcel_of(name):
    """A golden pack as what was shipped once."""
    pack = lamina.load(GOLDEN / f"{name}.safetensors")
    told = pack.content
    plan = SimpleNamespace(
        task=told["task"], net=told["net"], inputs=pack.inputs, target=pack.task.target, device="cpu"
    )
    score = Score(**told["score"])
    outputs = pack.outputs(pack.examples)
    return _parcel.Parcel(plan, pack.task, pack.net, score, told["source"], told["licence"], pack.examples, outputs)


@pytest.mark.parametrize("name", ["mask", "depth"])
def test_a_picture_of_any_size_is_answered_in_its_own(name, tmp_path):
    """The resizing inside differs by rounding from Lamina's, so that a pixel at an edge may too."""
    with Image.open(PHOTOS / "china.jpg") as photo:
        photo.crop((100, 50, 170, 93)).save("odd.png")
    mine, theirs = (lamina.load(GOLDEN / f"{name}.{suffix}").ask("odd.png") for suffix in ("safetensors", "onnx"))
    values = [a.codes if name == "mask" else a.pixels for a in (mine, theirs)]
    assert values[0].shape == values[1].shape == (43, 70) and values[0].dtype == values[1].dtype
    assert (np.abs(values[0].astype(float) - values[1]) < 0.02).mean() > 0.99
    assert mine.to_json().keys() == theirs.to_json().keys()


def test_texts_go_on_as_those_of_the_pack():
    """Two hundred tokens drawn by the same numbers, without torch."""
    pack = lamina.load(GOLDEN / "write.safetensors")
    code = f"""
import sys, lamina.ship._parcel as parcel
opened = parcel.load({str(GOLDEN / "write.onnx")!r})
print(repr(opened.ask("In the").text))
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == repr(pack.ask("In the").text) and len(done.stdout) > 50
    opened = lamina.load(GOLDEN / "write.onnx")
    assert opened.ask("").text == pack.ask("").text
    given = {"tokens": np.full((2, 3), 7), "temperature": np.array(0, np.float32), "draw": np.zeros(2, np.float32)}
    token, likely = opened.session.run(["token", "next"], given)
    assert (token == likely[:, 3:].argmax(1) + 3).all()


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.3])
def test_tokens_are_drawn_as_by_lamina(temperature):
    logits = torch.randn(40, 30, generator=torch.Generator().manual_seed(1))
    places = torch.arange(40)
    mine = [_sampling.drawn(logits[i : i + 1], _sampling.Sampling(temperature, seed=5), i) for i in range(40)]
    numbers = torch.tensor([_steps.uniform(5, i) for i in range(40)])
    assert numbers.tolist() == [float(uniform(5, torch.tensor([i]), torch.tensor([0]), 1)) for i in places]
    assert _sampling.drawn_by(logits, torch.tensor(temperature), numbers).tolist() == torch.cat(mine).tolist()


def test_beam_search_without_torch_finds_the_same():
    """Of a net that has learned nothing: no sentence is likely, so that every rule of the search counts."""
    torch.manual_seed(3)
    net = translator.Net(translator.Config(vocabulary=9, classes=9, width=8, depth=1, heads=1, length=40)).eval()
    with torch.no_grad():
        net.embed_target.weight.mul_(4)[END] = 0
    lengths = set()
    for seed in range(12):
        length = 2 + seed % 4
        tokens = torch.randint(4, 9, (1, length), generator=torch.Generator().manual_seed(seed))
        mask = tokens > 0

        def step(written, tokens=tokens, mask=mask):
            with torch.no_grad():
                rows = len(written)
                logits = net(tokens.expand(rows, -1), mask.expand(rows, -1), torch.from_numpy(written))
            return logits[:, -1].log_softmax(-1).numpy()

        wanted = _beam.search(net, tokens, mask, 12)[0]
        assert _steps.translated(step, length, {"most": 12, "beam": 4, "alpha": 0.6}) == wanted
        lengths.add(len(wanted))
    assert len(lengths) > 1 and START not in wanted and END not in wanted


def test_suppression_of_doubles_is_a_loop_in_the_graph():
    """Chains of boxes that suppress each other take several turns of it."""

    class Found(torch.nn.Module):
        def forward(self, boxes, scores):
            return _boxes.answers(boxes, scores)

    def made(rows, seed):
        generator = torch.Generator().manual_seed(seed)
        corner = torch.rand(rows, 30, 1, generator=generator) * torch.tensor([0.7, 0.0])
        return torch.cat([corner, corner + 0.25], 2), torch.rand(rows, 30, 2, generator=generator)

    with torch.no_grad():
        dynamic = {0: torch.export.Dim.DYNAMIC}
        graph = torch.export.export(Found(), made(2, 0), dynamic_shapes=(dynamic, dynamic)).module()
        for seed in range(1, 6):
            given = made(3, seed)
            assert torch.equal(graph(*given), _boxes.answers(*given)) and (graph(*given)[..., 4] > 0).sum(1).max() < 40


def test_a_program_answers_without_lamina(tmp_path, monkeypatch):
    parcel = parcel_of("people")
    path = _parcel.send(parcel, "program", tmp_path / "people")
    assert path.name == "people.pt2"
    code = f"""
import json, sys, torch
extra = {{"lamina.json": ""}}
module = torch.export.load({str(path)!r}, extra_files=extra).module()
about = json.loads(extra["lamina.json"])
given = {{"age": torch.tensor([70.0, 12.0]), "town": torch.tensor([2, -1]), "seen": torch.zeros(2, dtype=torch.float64)}}
found = dict(zip(about["outputs"], module(*[given[n] for n in about["given"]])))
print(json.dumps([found["probabilities"].tolist(), [about["target"]["classes"][i] for i in found["answer"].tolist()], about["parity"]]))
assert "lamina" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    probabilities, names, figures = json.loads(done.stdout)
    assert figures["rows"] == figures["same_answers"] == 10 and figures["largest_difference"] <= 1e-5
    towns = parcel.plan.inputs[1].classes
    rows = [{"age": 70.0, "town": towns[2], "seen": "1970-01-01"}, {"age": 12.0, "town": "none", "seen": "1970-01-01"}]
    answers = [lamina.load(GOLDEN / "people.safetensors").ask(row) for row in rows]
    assert names == [a.chosen[0] for a in answers]
    wanted = [[a.probabilities[c] for c in parcel.plan.target.classes] for a in answers]
    assert np.abs(np.array(probabilities) - wanted).max() < 1e-5
    with pytest.raises(ShipError, match=r"torch.export.load\('people.pt2'\)"):
        lamina.load(path)
    monkeypatch.setattr(program, "parity", lambda *_: {"rows": 10, "same_answers": 9, "largest_difference": 0.0})
    with pytest.raises(ShipError, match="gives 9 of 10 answers; it was not kept"):
        _parcel.send(parcel, "program", tmp_path / "other")
    assert not (tmp_path / "other.pt2").exists()


@pytest.fixture(scope="module")
def wish():
    digits = lamina.open("digits")
    return _int8.Wish(digits.take(np.arange(0, 5000, 40)), digits.take(np.arange(7, 5000, 20)))


def test_int8_tells_what_it_gives_and_costs(wish, tmp_path):
    opened = lamina.load(GOLDEN / "digits.onnx")
    small = tmp_path / "small.onnx"
    small.write_bytes(_int8.quantised(opened.path.read_bytes(), opened, wish))
    asked = form.load(small)
    task = lamina.load(GOLDEN / "digits.safetensors").task
    found = _int8.measured(opened, asked, task, wish)
    assert found["score"] == "accuracy" and found["rows"] == 250 and found["calibrated"] == 125
    right = [np.mean(np.array([a.chosen[0] for a in f.ask(wish.test)]) == _names(wish.test)) for f in (opened, asked)]
    assert [found["plain"], found["int8"]] == pytest.approx(right) and found["lost"] == pytest.approx(
        right[0] - right[1]
    )
    assert found["low"] <= found["lost"] <= found["high"] and min(found["milliseconds"]) > 0
    assert found["bytes"] == [(GOLDEN / "digits.onnx").stat().st_size, small.stat().st_size]
    assert np.abs(opened.outputs(wish.test)["probabilities"] - asked.outputs(wish.test)["probabilities"]).max() > 1e-4
    assert "250 test rows" in _int8.told(found)[2] and "times smaller" in _int8.told(found)[0]
    _int8.check({**found, "lost": 0.0099}, False)
    _int8.check({**found, "lost": 0.5}, True)
    for lost in (0.0101, float("nan")):
        with pytest.raises(ShipError, match="at most 1 % may be lost; --anyway keeps it"):
            _int8.check({**found, "lost": lost}, False)


@pytest.mark.parametrize(("name", "kind"), [("mask", "mask"), ("depth", "picture")])
def test_int8_measures_pictures_as_training_does(name, kind, tmp_path):
    made = make.scenes(kind, 40)
    rows = _int8.Wish(made.take(np.arange(20)), made.take(np.arange(20, 40)))
    opened, pack = lamina.load(GOLDEN / f"{name}.onnx"), lamina.load(GOLDEN / f"{name}.safetensors")
    small = tmp_path / "small.onnx"
    small.write_bytes(_int8.quantised(opened.path.read_bytes(), opened, rows))
    found = _int8.measured(opened, form.load(small), pack.task, rows)
    batches = Batches(rows.test, pack.inputs, pack.task.target, torch.device("cpu"))
    wanted = pack.task.finish(evaluate.statistics(pack.task, pack.net, batches))[pack.task.better]
    assert found["plain"] == pytest.approx(wanted, rel=1e-4) and (found["int8"] != found["plain"] or name == "mask")
    worse = found["int8"] - found["plain"] if pack.task.lower_is_better else found["plain"] - found["int8"]
    assert found["lost"] == pytest.approx(worse if name == "mask" else worse / found["plain"])
    assert found["low"] <= found["lost"] <= found["high"]


def _names(table):
    column = table["label"] if "label" in table.columns else table[table.target]
    return np.array([column.field.classes[i] for i in column.values])


def test_what_cannot_be_carried_is_said_before_it_is_tried(wish, monkeypatch, tmp_path):
    for room in ("onnx", "program"):
        monkeypatch.setattr(f"lamina.ship.{room}.write", lambda *_: pytest.fail("tried"))
    packed = parcel_of("translate")
    assert isinstance(packed.net, seq2seq.Net)
    cases = [
        (packed, "onnx", "it is seq2seq, and in that sequences are packed"),
        (packed, "program", "it is seq2seq"),
        (dataclasses.replace(packed, int8=wish), "onnx", "int8 is measured for .*, detect, and it answers translate"),
    ]
    for parcel, to, message in cases:
        with pytest.raises(ShipError, match=f"{to} cannot carry this net: {message}"):
            _parcel.send(parcel, to, tmp_path / "x")
    with pytest.raises(SettingError, match="--int8 is for --to onnx, and not for pack"):
        _parcel.send(dataclasses.replace(packed, int8=wish), "pack", tmp_path / "x")
    missing = importlib.util.find_spec("executorch") is None
    with pytest.raises(ShipError, match="executorch is not installed" if missing else "it answers translate"):
        _parcel.send(packed, "phone", tmp_path / "x")


def test_anyway_alone_has_no_effect_and_says_so(capsys):
    lamina.fit(lamina.open("digits").take(np.arange(0, 5000, 50)), net="perceptron", steps=2, show=False, run="run")
    assert main(["ship", "run", "--to", "onnx", "--anyway"]) == 2
    assert "no effect without --int8" in capsys.readouterr().err


def test_a_bert_that_learned_labels_is_carried():
    """Padding must stay out of every length of text, whatever the texts were that it was traced with."""
    random = np.random.default_rng(0)
    rows = [
        (" ".join([*random.choice(["film", "story", "music", "cast"], random.integers(3, 9)), kind]), kind)
        for kind in ["fine", "poor"] * 60
    ]
    how = {
        "net": "bert",
        "net_settings": {"width": "16", "depth": "1", "heads": "2"},
        "steps": 4,
        "show": False,
        "run": "labels",
    }
    run = lamina.fit(pd.DataFrame(rows, columns=["text", "label"]), target="label", **how)
    net = lamina.load(run.ship("onnx"))
    texts = ["film fine", "story music cast film story music cast poor"]
    for (_, one), (_, other) in zip(net.answers(*texts)[0], run.answers(*texts)[0], strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
