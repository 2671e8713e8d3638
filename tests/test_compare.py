"""Paired comparisons against values known from the literature, slices and selective answers that were planted, and the report."""

import json
import time

import numpy as np
import pandas as pd
import pytest

import lamina
from lamina import comparing
from lamina.cli import main
from lamina.core.errors import SettingError
from lamina.data._table import Field
from lamina.explaining import _learned_from
from lamina.judge import _closer, _rows, compare, slices
from lamina.tasks.classify import Classify
from lamina.train.budget import Clock


@pytest.mark.parametrize(
    ("one", "other", "p"), [(0, 0, 1.0), (5, 5, 1.0), (0, 6, 0.03125), (2, 10, 0.03857), (10, 2, 0.03857)]
)
def test_mcnemar(one, other, p):
    """The exact binomial tail, twice: 2 * (1 + 12 + 66) / 4096 for 2 of 12."""
    assert compare.mcnemar(one, other) == pytest.approx(p, abs=1e-4)


def test_mcnemar_of_many_rows_is_the_same_in_both_forms():
    exact = compare.mcnemar(460, 540)
    assert exact == pytest.approx(compare.mcnemar(461, 541), abs=2e-3) and 0.01 < exact < 0.013


def made(hits):
    hits = np.asarray(hits)
    return {"probabilities": np.where(hits[:, None], [0.9, 0.1], [0.2, 0.8]), "target": np.zeros(len(hits), int),
            "loss": np.where(hits, 0.1, 1.6), "place": np.arange(len(hits))}  # fmt: skip


def test_pairs_are_surer_than_rows_by_themselves():
    """Two nets that agree on all but 12 of 400 rows, of which one wins 11."""
    first = np.arange(400) % 3 > 0
    second = first.copy()
    second[np.flatnonzero(~first)[:11]] = True
    second[np.flatnonzero(first)[0]] = False
    task = Classify(Field("x", "label", ("a", "b")), {"weights": None})
    found = compare.paired(task, made(first), made(second))
    assert (
        found.sure and found.difference == pytest.approx(10 / 400) and (found.only_first, found.only_second) == (1, 11)
    )
    assert 0.005 < found.low < found.difference < found.high < 0.045 and found.p < 0.01
    same = compare.paired(task, made(first), made(first))
    assert not same.sure and same.difference == same.low == same.high == 0 and same.p == 1
    loose = compare.apart("accuracy", (0.6, 0.55, 0.65, 400), (0.625, 0.575, 0.675, 400))
    assert not loose.sure and not loose.paired


def test_slices_and_selective_answers():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": random.uniform(0, 100, 1200),
            "town": random.choice(["Ulm", "Bonn", "Jena"], 1200),
            "class": random.choice(["x", "y"], 1200),
        }
    )
    planted = (frame["town"] == "Bonn") & (frame["age"] > 60)
    right = random.random(1200) < np.where(planted, 0.5, 0.95)
    table = lamina.open(frame, target="class")
    (worst, *others) = slices.find(table, right)
    assert "town is Bonn" in worst.text and "age is over" in worst.text and worst.high < 0.85 and worst.others > 0.88
    assert len(others) <= 2
    assert slices.find(table, random.random(1200) < 0.9) == []
    sure = np.where(right, random.uniform(0.8, 1, 1200), random.uniform(0.5, 0.85, 1200))
    curve = slices.selective(np.stack([sure, 1 - sure], 1), right)
    shares = [c["right"] for c in curve]
    assert shares[0] == pytest.approx(right.mean()) and shares[-1] == 1.0 and shares == sorted(shares)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [
        lamina.fit("digits", net="lenet", epochs=e, seed=s, show=False, run=folder / f"r{e}")
        for e, s in ((1, 0), (3, 1))
    ]


def test_runs_are_compared(runs, capsys):
    found = comparing.compare(runs)
    (one,) = found["against"]
    assert one["paired"] and one["rows"] == 1000 and one["second"] - one["first"] == pytest.approx(one["difference"])
    assert (
        found["settings"]["recipe.epochs"] == [1.0, 3.0] and "recipe.seed" in found["settings"] and found["data"] == {}
    )
    assert main(["compare", *(str(r.path) for r in runs)]) == 0
    said = capsys.readouterr().out
    assert "McNemar" in said and "recipe.epochs: 1 | 3" in said
    assert main(["compare", *(str(r.path) for r in runs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["against"] == found["against"]
    kept = _rows.read(runs[0].run)
    (runs[0].path / _rows.FILE).unlink()
    again = comparing._statistics(runs[0])
    runs[0].run.write(_rows.FILE, _rows.kept({k: v for k, v in kept.items() if k != "place"}, kept["place"]))
    assert np.allclose(again["probabilities"], kept["probabilities"], atol=1e-6) and np.array_equal(
        again["place"], kept["place"]
    )


def test_what_cannot_be_compared(runs, people, tmp_path):
    other = lamina.fit(people, target="class", epochs=1, show=False, run=tmp_path / "p")
    assert comparing.compare([runs[0], runs[0]])["against"][0]["sure"] is False
    found = comparing.compare([runs[0], other])
    assert not found["against"][0]["paired"] and "fingerprint" in found["data"]
    with pytest.raises(SettingError, match="two runs or more"):
        comparing.compare(runs[:1])
    number = lamina.fit(people.drop(columns="class"), target="age", epochs=1, show=False, run=tmp_path / "n")
    with pytest.raises(SettingError, match="different questions"):
        comparing.compare([runs[0], number])


def test_closer_look_is_in_the_report(runs, monkeypatch):
    run = runs[1]
    table, now = _learned_from(run, None), time.monotonic()
    (run.path / _closer.COST).unlink()
    run.look_closer(table, Clock(now - 10, 10.1))
    assert not run.run.has(_closer.COST)  # no time, nothing begun
    monkeypatch.setattr(_closer, "PER_ARRAY", 1.0)  # comparing 5,000 pictures would take too long
    run.look_closer(table, Clock(now - 10_000))
    cost = run.run.read_json(_closer.COST)
    assert cost["weights"] == sum(p.numel() for p in run.net.parameters()) and cost["operations_per_answer"] > 1e5
    text = run.report().read_text(encoding="utf-8")
    assert 'id="reliance"' in text and "Answering only when sure" in text and "floating-point operations" in text
    assert (
        "Checks of the data" in text
        and "No time was left for: oddities, duplicates, drift" in text
        and "<script" not in text
    )
