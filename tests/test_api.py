"""The six lines and the command line, on small real trainings; every bad word with its sentence and exit code 2."""

import csv
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import lamina
from lamina.cli import main
from lamina.core.errors import DataError, LaminaError, RunError, SettingError
from lamina.core.run import Run
from lamina.data._batches import Batches
from lamina.measures import labels
from lamina.train import evaluate

SMALL = {"epochs": 6, "net": "resnet", "net_settings": {"width": 8, "blocks": "1,1"}, "show": False}


@pytest.fixture
def photo_run(photos):
    return lamina.fit(photos, seed=1, **SMALL)


def test_six_lines_on_pictures(photo_run, photos, tmp_path):
    score = photo_run.score()
    assert score.name == "accuracy" and score.value > 0.8 and score.low < score.value <= score.high
    assert (
        "photos" in score.signature
        and "seed 1" in score.signature
        and set(score.baselines) == {"always the same", "linear", "nearest neighbour"}
    )
    answer = photo_run.ask(photos / "red" / "red3.png")
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5) and list(answer.probabilities) == [
        "red",
        "blue",
    ]
    several = photo_run.ask([photos / "red" / "red1.png", photos / "blue" / "blue1.png"])
    assert [a.chosen for a in several] == [("red",), ("blue",)]
    assert photo_run.report().read_text().lower().startswith("<!doctype html>")
    again = lamina.load(photo_run.path)
    assert again.ask(photos / "red" / "red3.png") == answer
    assert photo_run.score(on=photos).rows == 48


def test_a_folder_is_answered_in_parts(photo_run, photos, monkeypatch):
    """A folder larger than memory can be asked about: while a part is answered the next one is decoded."""
    whole, made = photo_run.answers(photos), []
    monkeypatch.setattr(evaluate, "PIXELS", 10 * 20 * 24 * 3)
    monkeypatch.setattr(evaluate, "HELD", 1)
    monkeypatch.setattr(evaluate, "Batches", lambda table, *rest: made.append(len(table)) or Batches(table, *rest))
    parts, bad = photo_run.answers(photos)
    assert made == [10, 10, 10, 10, 8] and bad == []
    for (name, answer), (wanted, same) in zip(parts, whole[0], strict=True):
        assert name == wanted and answer.probabilities == pytest.approx(same.probabilities, abs=1e-5)


def test_table_from_memory(people):
    run = lamina.fit(people, target="class", epochs=8, show=False)
    assert run.score().value > 0.75
    one = run.ask({"age": 70.0, "town": "Ulm"})
    assert one.chosen == ("old",)
    assert run.ask(people.drop(columns="class").head(3)) == run.ask(people.head(3))
    unknown = run.ask({"age": float("nan"), "town": "Paris"})
    assert sum(unknown.probabilities.values()) == pytest.approx(1, abs=1e-5)
    with pytest.raises(LaminaError, match="no column in frame that the net needs: 'town'"):
        run.ask(people[["age"]].rename(columns={"age": "age"}))
    with pytest.raises(RunError, match="is finished"):
        lamina.resume(run.path)


def test_regress(people):
    frame = people.drop(columns="class").assign(y=people["age"].fillna(40) * 3 + 10)
    run = lamina.fit(frame, target="y", epochs=30, show=False)
    score = run.score()
    assert score.name == "rmse" and score.value < 0.5 * score.baselines["always the same"]
    assert 100 < run.ask({"age": 50.0, "town": "Bonn"}).value < 220


def test_several_labels():
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 2))
    tags = [[n for n, v in zip("ab", row, strict=True) if v > 0] for row in x]
    run = lamina.fit(pd.DataFrame({"x": x[:, 0], "z": x[:, 1], "tags": tags}), target="tags", epochs=20, show=False)
    assert run.score().name == "micro_f1" and run.score().value > 0.85
    assert set(run.ask({"x": 2.0, "z": 2.0}).chosen) == {"a", "b"}


def test_picture_and_columns_together(photos, tmp_path):
    rows = [
        {"file": f"photos/{p.parent.name}/{p.name}", "size": float(i % 5), "kind": p.parent.name}
        for i, p in enumerate(sorted(photos.rglob("*.png")))
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    run = lamina.fit(
        str(tmp_path / "t.csv"),
        target="kind",
        epochs=8,
        net="join",
        net_settings={"stem": 8, "stages": "8,16"},
        show=False,
    )
    assert run.plan.net == "join" and run.score().value > 0.6
    assert len(run.answers(tmp_path / "t.csv")[0]) == 48


def test_rare_class_is_weighed():
    random = np.random.default_rng(0)
    y = np.where(np.arange(1000) % 40 == 0, "rare", "common")
    frame = pd.DataFrame({"x": random.normal(size=1000) + 2 * (y == "rare"), "y": y})
    plan = lamina.look(frame, target="y").plan
    assert plan.options["weights"] and any("are rare" in w for w in plan.why)


@pytest.mark.parametrize("net", ["perceptron", "mlp/small", "lenet/1990", "lenet/1998", "resnet/8"])
def test_every_net_learns_digits(net):
    rows = lamina.open("digits").take(np.arange(0, 5000, 10))
    run = lamina.fit(rows, net=net, epochs=10, lr=0.01, optimizer="adamw", augment="none", show=False)
    assert run.score().value > 0.6, run.score()


def test_overfits_eight_rows():
    """Every task and net can learn eight rows by heart."""
    from lamina.core import catalog
    from lamina.data._table import Field
    from lamina.train import plan as planning
    from lamina.train.recipe import Recipe
    from lamina.train.step import Step

    for task_name, field, target in (
        ("classify", Field("y", "label", ("a", "b")), torch.arange(8) % 2),
        ("regress", Field("y", "number"), torch.arange(8.0)),
    ):
        options = {"log": False, "mean": 3.5, "std": 2.3, "low": 0.0, "high": 7.0, "choose": None}
        task = planning.task_of(task_name, field, options)
        for name in ("mlp", "resnet", "lenet"):
            torch.manual_seed(0)
            module = catalog.find("nets", name)
            extra = {"dropout": 0.0, "unknown": 0.0} if name == "mlp" else {"channels": 1}
            extra |= {"blocks": (1, 1), "width": 8, "stem": "half"} if name == "resnet" else {}
            net = module.Net(module.Config(classes=task.outputs, **extra))
            batch = {"numbers": torch.randn(8, 4)} if name == "mlp" else {"image": torch.rand(8, 1, 28, 28)}
            step = Step(task, net, Recipe(batch=8, lr=0.003, optimizer="adamw", schedule="constant", weight_decay=0.0))
            losses = [float(step({**batch, "target": target}, i, 0.5)) for i in range(400)]
            assert min(losses) < 0.05 * losses[0] + 0.01, (task_name, name, losses[0], losses[-1])


def test_scores_equal_what_asking_gives(photo_run, photos):
    """The number in score.json is the accuracy of the answers on the test rows."""
    table = lamina.open(photos)
    answers, _ = photo_run.answers(photos)
    right = [
        a.chosen[0] == table["class"].field.classes[c] for (_, a), c in zip(answers, table["class"].values, strict=True)
    ]
    assert photo_run.score(on=photos).value == pytest.approx(np.mean(right))
    assert {"log_loss"} == labels.LOWER_IS_BETTER


# ---------------------------------------------------------------- command line


def lamina_says(capsys, *words):
    code = main([str(w) for w in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_command_line_from_train_to_ask(photos, capsys):
    words = ("train", photos, "--epochs", 4, "--net", "resnet", "--net.width", 8, "--net.blocks=1,1", "--run", "r")
    code, out, _ = lamina_says(capsys, *words)
    assert code == 0
    for word in ("data", "split", "baseline", "until", "95 % interval", "against", "report", "next:"):
        assert word in out, word
    code, out, _ = lamina_says(capsys, "ask", "r", photos / "red" / "red10.png", photos / "red" / "red2.png", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (
        code == 0
        and [r["name"].rsplit("/")[-1] for r in rows] == ["red10.png", "red2.png"]
        and set(rows[0]["probabilities"]) == {"red", "blue"}
    )
    code, out, _ = lamina_says(capsys, "ask", "r", photos, "--csv")
    table = list(csv.reader(io.StringIO(out)))
    assert table[0] == ["name", "answer", "blue", "red"] and len(table) == 49 and table[1][0] == "blue/blue0.png"
    assert "accuracy" in lamina_says(capsys, "score", "r")[1]
    assert json.loads(lamina_says(capsys, "score", "r", "--on", photos, "--json")[1])["rows"] == 48
    assert lamina_says(capsys, "report", "r")[1].strip().endswith("report.html")
    (photos / "red" / "broken.png").write_text("x")
    code, out, err = lamina_says(capsys, "ask", "r", photos)
    assert code == 0 and len(out.splitlines()) == 48 and "left out red/broken.png" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_scores(number, code, tmp_path):
    words = [
        "train",
        "digits",
        "--net",
        "lenet/1990",
        "--augment",
        "none",
        "--epochs",
        "5000",
        "--run",
        str(tmp_path / "run"),
    ]
    process = subprocess.Popen([sys.executable, "-m", "lamina", *words], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "run").glob("best.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    told, _ = process.communicate(timeout=300)
    assert process.returncode == code
    assert "Stopped and saved" in told and f"lamina train --resume {tmp_path / 'run'}" in " ".join(told.split())
    score = json.loads((tmp_path / "run" / "score.json").read_text())
    assert not score["complete"] and score["rows"] == 1000
    again = lamina.resume(tmp_path / "run", stop=lambda: True)  # a run that was stopped can go on
    assert not again.score().complete


def test_look_list_and_doctor(photos, capsys, tmp_path):
    code, out, _ = lamina_says(capsys, "look", photos, "--minutes", 1)
    assert code == 0 and "20x24" in out and "blue 24, red 24" in out and "a pass over" in out
    with Image.open(tmp_path / "runs" / "look-photos.png") as image:
        assert image.width > 100
    assert "resnet/50" in lamina_says(capsys, "list", "nets")[1]
    assert "all is well" in lamina_says(capsys, "doctor")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "no command 'trian'; did you mean 'train'"),
        (["train", "--epoch", "3"], "no flag of lamina train '--epoch'; did you mean '--epochs'"),
        (["train", "--net", "resnt"], "no net 'resnt'; did you mean 'resnet'"),
        (["train", "--net", "resnet/51"], "no size of resnet '51'"),
        (["train", "--net.stagse", "3"], "did you mean '--net.stages'"),
        (["train", "--minutes", "0"], "--minutes must be more than 0, not 0"),
        (["train", "--epochs", "many"], "--epochs must be a number, not 'many'"),
        (["train", "--task", "clasify"], "no task 'clasify'; did you mean 'classify'"),
        (["train", "--task", "regress", "--augment", "sideways"], "no augment 'sideways'"),
        (["train", "nowhere/"], "no such path: nowhere"),
        (["train", "--device", "cuda:7"], "device 'cuda:7' is not there"),
        (["train", "--resume", "nothing"], "no run 'nothing'"),
        (["train", "--net", "no.such.module"], "no module 'no.such.module' can be imported"),
        (["score", "nothing"], "no run 'nothing'"),
        (["list", "net"], "no list 'net'; did you mean 'nets'"),
    ],
)
def test_bad_words(words, message, capsys):
    code, _, err = lamina_says(capsys, *words)
    assert code == 2 and message in err and err.count("\n") == 1 and "Traceback" not in err


def test_damaged_weights_are_refused(photo_run, photos):
    path = photo_run.path / "best.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(RunError, match="is damaged"):
        lamina.load(photo_run.path).ask(photos / "red" / "red3.png")


def test_changed_data_is_not_resumed(photos):
    from lamina import api

    table, wishes, folder = api._wishes(
        photos, {"run": "r", "epochs": 4, "net": "resnet", "net_settings": {"width": 4, "blocks": "1"}}
    )
    asked = []
    api.train(
        table, wishes, folder, stop=lambda: asked.append(1) or len(asked) > 1, reading=lamina.data._table.Reading()
    )
    (photos / "red" / "red0.png").write_bytes((photos / "blue" / "blue0.png").read_bytes())
    with pytest.raises(DataError, match="has changed since the run began"):
        api.resume("r")


def test_a_run_named_like_its_data_can_be_resumed(tmp_path, capsys):
    words = ["--steps", "30", "--net", "lenet/1990", "--augment", "none", "--run", "digits"]
    assert main(["train", "digits", *words]) == 0
    saved = json.loads(Path("digits/config.json").read_text())
    assert saved["source"] == "digits"
    score = json.loads(Path("digits/score.json").read_text())
    Run.open("digits").write_json("score.json", {**score, "complete": False})
    assert main(["train", "--resume", "digits"]) == 0, capsys.readouterr().err
    assert json.loads(Path("digits/score.json").read_text())["value"] == score["value"]


def test_a_size_of_pictures_can_be_asked_for(photos):
    """20 x 24 pixels would be kept."""
    plan = lamina.look(photos, side=12, minutes=1).plan
    assert plan.inputs[0].shape[1:] == (12, 12) and any("to 12x12" in w and "as asked" in w for w in plan.why)
    assert lamina.look(photos, minutes=1).plan.inputs[0].shape[1:] == (20, 24)
    with pytest.raises(SettingError, match="--side"):
        lamina.look(photos, side=4)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the age is that of the import")
def test_a_process_that_a_shell_became_is_not_as_old_as_the_shell():
    code = "import time; from lamina.core import device; ages = []\n"
    code += "for device.STARTING in (1e9, 1.0): ages.append(device.process_age())\n"
    code += "print(*ages, time.process_time())"
    words = ["bash", "-c", f"sleep 1.5; exec {sys.executable} -c '{code}'"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    whole, own, processor = (float(v) for v in told.split())
    assert whole >= 1.5 and 0 < own <= processor


def test_an_optimiser_that_is_asked_for_has_a_rate_that_suits_it():
    """0.05 is muon's. A rate that is given stays."""
    usual, asked, given = (lamina.look("digits", **how).plan.recipe for how in ({}, {"optimizer": "adamw"}, {"optimizer": "sgd", "lr": 0.3}))  # fmt: skip
    assert (usual.optimizer, usual.lr) == ("muon", 0.05)
    assert (asked.optimizer, asked.lr, given.lr) == ("adamw", 2e-3, 0.3)
