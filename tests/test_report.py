"""The report: one page that needs nothing else, escapes what comes from data, and survives what is missing."""

import html.parser
import math
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import lamina
from lamina.api import prepare
from lamina.core import figures
from lamina.core.run import Run
from lamina.data._batches import Batches
from lamina.data._table import Bad
from lamina.judge import _examples, _plots, _trust, report
from lamina.judge.score import Score
from lamina.train.plan import Wishes, task_of
from lamina.train.recipe import Recipe
from lamina.train.step import Feed

HOSTILE = "<script>alert(1)</script>"
QUOTES = "\"><img src=x onerror='alert(2)'>"
SECTIONS = ("asked", "data", "learning", "mistakes", "measures", "settings")
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(html.parser.HTMLParser):
    """Checks that tags close in order and collects them with their attributes and the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        self.text += data


def read(text, without=()):
    """The page, checked to be self-contained."""
    found = Reader(text)
    assert len(text) < 5_000_000
    for tag, attributes in found.tags:
        assert tag not in ("script", "link", "iframe", "object", "base"), tag
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "action", "xlink:href"):
            assert attributes.get(name, "data:image/png;base64,").startswith("data:image/png;base64,")
    assert "@import" not in text and "url(" not in text
    ids = [a["id"] for _, a in found.tags if "id" in a]
    assert [name for name in (*SECTIONS[:5], "seen", *SECTIONS[5:]) if name not in without] == [
        i for i in ids if i != "reliance"
    ]
    assert "reliance" not in ids or ids.index("reliance") == ids.index("measures") + 1
    return found


def made(data, score, folder="run", log=(), settings=None, recipe=None, **config):
    """The page of a run that was never trained: score and log as given."""
    table = lamina.open(data, target="class") if isinstance(data, pd.DataFrame) else data
    prepared = prepare(table, Wishes(recipe=Recipe(**(recipe or {"epochs": 2, "batch": 16})), **(settings or {})))
    run = Run.create(Path(folder))
    run.write_json("config.json", config)
    run.write_json("score.json", score(prepared).to_json())
    for line in log:
        run.log(**line)
    return report.page(run, config, prepared.table, prepared.plan), prepared


def labels(prepared, **changes):
    """A score as of a label task, made up."""
    classes = prepared.plan.target.classes
    names = {i: n for i, n in enumerate(classes)}
    matrix = (np.eye(len(classes), dtype=int) * 9 + 1).tolist()
    matrix[0][-1] += 7
    mistakes = [
        {"row": i, "name": str(prepared.table.names[i]), "target": names[0], "answer": names[1], "probability": 0.9, "loss": 2.0}
        for i in range(30)
    ]  # fmt: skip
    values = {
        "name": "accuracy", "value": 0.8, "low": 0.7, "high": 0.9, "rows": 80, "signature": "[made up]",
        "numbers": {"accuracy": 0.8, "log_loss": 0.5}, "baselines": {"always the same": 0.5, "linear": 0.78},
        "mistakes": mistakes, "confusion": matrix,
        "calibration": {"error": 0.1, "confidence": [0.6, 0.9], "accuracy": [0.5, 0.7], "share": [0.4, 0.6]},
    }  # fmt: skip
    return Score(**{**values, **changes})


LOG = [
    {"event": "report", "step": 5, "passes": 0.5, "loss": 1.0, "rows_per_second": 900.0, "waiting": 0.1, "seconds": 1.0},
    {"event": "validation", "step": 10, "passes": 1.0, "accuracy": 0.7, "loss": 0.9},
    {"event": "report", "step": 10, "passes": 1.0, "loss": 0.8, "rows_per_second": 950.0, "waiting": 0.1, "seconds": 2.0,
     "sentences": [f"Half of the units of {HOSTILE} are dead."]},
    {"event": "validation", "step": 20, "passes": 2.0, "accuracy": 0.6, "loss": 1.1},
    {"event": "report", "step": 20, "passes": 2.0, "loss": 0.7, "rows_per_second": 940.0, "waiting": 0.1, "seconds": 3.0},
]  # fmt: skip


@pytest.fixture
def hostile(people):
    names = people["class"].map({"old": HOSTILE, "young": QUOTES})
    return people.assign(**{"class": names, "<i>town</i>": people["town"] + "&<b>"})


def test_names_from_data_appear_as_text(hostile):
    table = lamina.open(hostile, target="class").with_(bad=(Bad(f"{HOSTILE}.png", "is <empty>"),) * 25, tried=1000)
    text, _ = made(
        table, labels, log=LOG, source=f"/data/{HOSTILE}", licence=QUOTES, notes=[HOSTILE], machine={"<u>": QUOTES}
    )
    found = read(text, without=("seen",))
    assert not {tag for tag, _ in found.tags} & {"script", "i", "b", "u"}
    assert found.text.count(HOSTILE) > 10 and QUOTES in found.text and "<i>town</i>" in found.text
    assert "and 5 more." in found.text
    assert f"Half of the units of {HOSTILE} are dead." in found.text


def test_hostile_pictures(tmp_path):
    for name in ("<img src=x onerror=alert(1)>", "b&\"'"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(16):
            array = np.random.default_rng(i).integers(0, 255, (300, 240, 3), np.uint8)
            Image.fromarray(array).save(tmp_path / "photos" / name / f"<b>{i}'\".png")
    text, prepared = made(lamina.open(tmp_path / "photos"), labels, log=LOG, settings={"net": "lenet"})
    found = read(text)
    pictures = [a for tag, a in found.tags if tag == "img"]
    assert len(pictures) == 24 + 16
    assert pictures[0]["alt"] == str(prepared.table.names[0])
    assert "<img src=x onerror=alert(1)>" in found.text
    for path in (tmp_path / "photos").rglob("*.png"):
        path.unlink()
    gone = report.page(Run.open("run"), {}, prepared.table, prepared.plan)
    assert "file is gone" in read(gone, without=("seen",)).text


def test_pictures_are_those_that_the_net_saw(small):
    prepared, _, task, _ = small("seen", augment="affine", seed=3)
    train = prepared.table.take(prepared.table.rows(0))
    batches = Batches(train, prepared.plan.inputs, task.target, torch.device("cpu"))
    image = Feed(task, batches, replace(prepared.plan.recipe, augment="affine"))(0)["image"]
    pixels = (255 * image).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    seen = _examples.batch_seen(prepared.table, prepared.plan)
    assert [s["picture"] for s in seen] == [_examples.data_uri(p) for p in pixels[:16]]
    assert len({s["picture"] for s in seen}) == 16


@pytest.mark.parametrize(
    ("changes", "log", "says"),
    [
        ({}, [], "Not known: the log is empty."),
        ({"mistakes": []}, LOG, "None: every test row was answered rightly."),
        ({"confusion": [], "calibration": {}, "baselines": {}}, LOG[:2], "kept: 70.0 %"),
        ({"value": math.nan, "low": math.nan, "high": math.nan, "numbers": {"accuracy": math.nan}}, LOG, "kept: 70.0 %"),
        ({"complete": False}, LOG, "Training was stopped before its end"),
        ({}, [{**LOG[0], "loss": math.nan}, {**LOG[1], "accuracy": None, "loss": math.nan}], "As planned"),
        ({}, [{**LOG[1], "accuracy": 0.0}], "kept: 0.0 %"),
        ({"confusion": [[0, 0], [0, 0]]}, [{"event": "report"}, {"event": "validation"}], "Not known: the log is empty."),
    ],
)  # fmt: skip
def test_missing_parts(people, changes, log, says):
    recipe = {"epochs": 0.5, "batch": 16} if says == "As planned" else {"epochs": 2, "batch": 16}
    text, _ = made(people, lambda prepared: labels(prepared, **changes), log=log, recipe=recipe)
    assert says in read(text, without=("seen",)).text


def test_many_classes_are_told_in_pairs():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=600), "class": [f"kind {i % 30}" for i in range(600)]})
    text, _ = made(frame, labels, log=LOG)
    found = read(text, without=("seen",))
    assert "Most confused" in found.text and "kind 29" in found.text and "20 commonest of 30" in found.text
    assert "10 better classes are not shown" in found.text
    assert 'class="matrix"' not in text


def test_report_after_training_of_numbers(people):
    run = lamina.fit(people.drop(columns="class"), target="age", epochs=2, show=False, run="ages")
    text = run.report().read_text(encoding="utf-8")
    found = read(text, without=("seen",))
    for words in ("How much is age?", "rmse", "lower is better", "Validation rmse", "lamina.load('ages').ask('FILE')"):
        assert words in found.text
    assert "Confusion" not in found.text and "lamina.fit(DATA, target='age', net='mlp'" in found.text


def test_report_after_training_of_several_labels():
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 2))
    tags = [[n for n, v in zip(("warm", HOSTILE), row, strict=True) if v > 0] for row in x]
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "tags": tags})
    run = lamina.fit(lamina.open(frame, target="tags"), epochs=1, show=False)
    found = read(run.report().read_text(encoding="utf-8"), without=("seen",))
    assert (
        f"Which tags hold, of 2: {HOSTILE}, warm?" in found.text
        or f"Which tags hold, of 2: warm, {HOSTILE}?" in found.text
    )


def test_command_repeats_the_plan(people, tmp_path):
    from lamina.cli import main

    people.to_csv(tmp_path / "the people.csv", index=False)
    main(
        [
            "train",
            "the people.csv",
            "--target",
            "class",
            "--epochs",
            "1",
            "--ignore",
            "id",
            "--net.width",
            "8",
            "--run",
            "one",
        ]
    )
    text = Reader((tmp_path / "one" / "report.html").read_text(encoding="utf-8")).text
    command = text[text.index("lamina train") :].split("\n\n")[0].split("Ask it")[0].replace("\\\n", "")
    assert main([*shlex.split(command)[1:], "--run", "two"]) == 0
    plans = [Run.open(name).read_json("config.json") for name in ("one", "two")]
    for plan in plans:
        del plan["plan"]["why"]
    assert plans[0] == plans[1]


@pytest.mark.parametrize(
    ("changes", "good", "says"),
    [
        ({"low": 0.79}, True, "beats the best baseline (linear, 78.0 %) by 2.0 points"),
        ({"low": 0.7}, False, "2.0 points better than the best baseline (linear, 78.0 %), but that lies inside"),
        ({"value": 0.7}, False, "no better than the best baseline"),
        ({"rows": 80}, False, "Only 80 test rows: the interval is 20.0 points wide"),
    ],
)
def test_trust(people, changes, good, says):
    prepared = prepare(lamina.open(people, target="class"), Wishes())
    found = _trust.sentences(labels(prepared, **changes), prepared.table, prepared.plan, 0, [])
    assert [s.good for s in found if says in s.text] == [good]
    assert len(found) <= _trust.MOST_SENTENCES


def test_trust_of_errors_that_should_be_small(people):
    prepared = prepare(lamina.open(people.drop(columns="class"), target="age"), Wishes())
    assert task_of("regress", prepared.plan.target, prepared.plan.options).lower_is_better
    numbers = {"rmse": 2.0, "median_error": 0.5}
    score = Score("rmse", 2.0, 1.8, 2.2, 500, numbers, {"linear": 3.0, "always the same": 9.0}, "")
    texts = [s.text for s in _trust.sentences(score, prepared.table, prepared.plan, 1, ["Units died."])]
    assert texts[0] == "It beats the best baseline (linear, 3) by 1; the whole 95 % interval is better than that."
    assert texts[1] == "Units died."
    assert any(t.startswith("A few large errors dominate") for t in texts)
    assert any(t.startswith("1 file or row that could not be read was left out") for t in texts)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.43, 0.66, [0.45, 0.5, 0.55, 0.6, 0.65]), (0, 74_000, [0, 20_000, 40_000, 60_000])],
)  # fmt: skip
def test_ticks(low, high, expected):
    assert _plots.ticks(low, high) == expected


@pytest.mark.parametrize(
    ("value", "largest", "text"), [(7500, 11_000, "7.5k"), (0, 11_000, "0"), (0.25, 1, "0.25"), (2.5e6, 3e6, "2.5M"), (900, 950, "900")]
)  # fmt: skip
def test_ticks_of_an_axis_have_one_unit(value, largest, text):
    assert _plots.tick_shown(value, largest) == text


def test_no_plot_of_nothing():
    assert _plots.curves("x", [_plots.Curve("a", [], []), _plots.Curve("b", [1.0], [math.nan])]) is None
    assert _plots.histogram("x", np.array([math.nan]), "x") is None
    assert _plots.reliability({}) is None
    assert "NaN" not in str(_plots.dot(math.nan, math.nan, math.nan)) and "nan" not in str(
        _plots.dot(0.5, math.nan, 1.0)
    )


def test_ways_that_were_tried_are_told(small):
    from lamina.judge._repeat import settings

    prepared, run, _, _ = small("ways")
    measured = [
        {"threads": 2, "channels_last": True, "seconds": 0.0123},
        {"threads": 1, "channels_last": False, "seconds": 0.5},
    ]
    assert settings(run, {}, prepared.plan, "digits")["ways"] == []
    run.log(event="ways", step=0, measured=measured)
    told = settings(run, {}, prepared.plan, "digits")["ways"]
    assert told == [
        ("2 threads, channels last, float32", "12.3 ms, taken"),
        ("1 thread, contiguous, float32", "500 ms"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("rmse", 27839.2, "27,839"),
        ("rmse", 3.14159, "3.142"),
        ("map", 0.04098, "4.1 %"),
        ("iou of cat", 0.5, "50.0 %"),
        ("loss", math.nan, "-"),
    ],
)
def test_a_score_is_written_as_people_read_it(name, value, text):
    assert figures.shown(name, value) == text
