"""What more rows would bring and shuffled labels: laws and leaks that are known, and `lamina check RUN --deep`."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import lamina
from lamina import checking
from lamina.cli import main
from lamina.data._table import Field
from lamina.explaining import _learned_from
from lamina.judge import learning_curve, shuffled
from lamina.judge._refit import Again
from lamina.tasks.classify import Classify
from lamina.tasks.regress import Regress

HOSTILE = "<script>alert(1)</script>"


def statistics(errors, count, seed=0):
    """Of a classifier of two classes that errs on this share of the rows: on the hardest ones."""
    hard = np.random.default_rng(seed).permutation(count) < round(errors * count)
    right = np.where(hard, 0.2, 0.9)
    return {"probabilities": np.stack([right, 1 - right], 1), "target": np.zeros(count, int), "loss": -np.log(right)}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(learning_curve, "DRAWS", 100)


def test_the_law_that_was_used_is_found():
    task = Classify(Field("x", "label", ("a", "b")), {})
    rows = [100, 100, 200, 400, 800]
    found = learning_curve.law(task, rows, [statistics(0.2 * (n / 100) ** -0.5, 2000) for n in rows])
    assert found.slope == pytest.approx(0.5, abs=0.02) and found.values[-1] == pytest.approx(
        1 - 0.2 * 8**-0.5, abs=1e-3
    )
    assert found.low < 1 - 0.2 * 16**-0.5 < found.high and found.twice == pytest.approx(1 - 0.2 * 16**-0.5, abs=0.004)
    assert "not ruled out" not in found.sentence and "(1,600)" in found.sentence
    flat = learning_curve.law(task, rows, [statistics(0.2, 400, seed) for seed in range(5)])
    assert flat.low < 0.8 < flat.high and abs(flat.slope) < 0.01
    few = learning_curve.law(task, rows, [statistics(0.2 * (n / 100) ** -0.5, 100, n) for n in rows])
    assert few.high - few.low > found.high - found.low


def test_errors_that_are_no_shares_fall_too():
    task = Regress(Field("y", "number"), {})
    random, rows = np.random.default_rng(0), [100, 100, 200, 400, 800]
    noise = random.normal(size=2000)
    made = [{"answer": noise * n**-0.25, "target": np.zeros(2000), "loss": noise**2} for n in rows]
    found = learning_curve.law(task, rows, made)
    assert found.slope == pytest.approx(0.25, abs=0.01) and found.twice < found.values[-1] and found.low <= found.twice
    worse = [{**m, "answer": noise * n**0.1} for m, n in zip(made, rows, strict=True)]
    assert "would bring nothing" in learning_curve.law(task, rows, worse).sentence


def frame(rows=240, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 6))
    label = np.where(x[:, 0] + x[:, 1] + 0.3 * random.normal(size=rows) > 0, "yes", "no")
    return pd.DataFrame({**{name: x[:, i] for i, name in enumerate("abcdef")}, "class": label})


def test_equal_rows_keep_one_label():
    table = lamina.open(pd.concat([frame(), frame().iloc[:40]], ignore_index=True), target="class")
    mixed = shuffled.dealt(table, 0)["class"].values
    assert (mixed[240:] == mixed[:40]).all() and (mixed != table["class"].values).mean() > 0.3
    coarse = pd.DataFrame({"a": np.arange(300) % 3, "class": np.where(np.arange(300) % 2, "x", "y")})
    mixed = shuffled.dealt(lamina.open(coarse, target="class"), 0)["class"].values
    assert all(len(set(mixed[coarse["a"] == a])) == 2 for a in range(3))


@pytest.fixture
def trained(tmp_path):
    def make(table, name="run", **how):
        return lamina.fit(table, target="class", show=False, run=tmp_path / name, **{"epochs": 30, **how})

    return make


def test_copies_of_test_rows_are_a_leak(trained, tmp_path):
    plain = frame(160).assign(split=["train"] * 80 + ["val"] * 20 + ["test"] * 60)
    pd.concat([plain, plain.iloc[100:].assign(split="train")]).to_csv(tmp_path / "copied.csv", index=False)
    run = trained(tmp_path / "copied.csv", epochs=60, patience=60)
    table = _learned_from(run, None)
    found = shuffled.measure(Again(run.plan, run.run, torch.device("cpu")), table)
    assert found.leaks and "copies of rows" in found.sentence, found.sentence
    assert found.chance == pytest.approx(0.5, abs=0.15) and found.low > found.chance


def test_deep_check_of_a_table(trained, tmp_path, capsys):
    frame(400).to_csv(tmp_path / "rows.csv", index=False)
    run = trained(tmp_path / "rows.csv", epochs=8)
    before = (run.path / "best.safetensors").read_bytes()
    assert main(["check", str(run.path), "--deep", "--out", "page"]) == 0
    said = capsys.readouterr().out
    assert "Twice the training rows" in said and "shuffled labels" in said and "cells missing" in said
    told = json.loads((run.path / "check.json").read_text())
    assert told["learning"]["rows"][-1] == 8 * told["learning"]["rows"][0] and not told["shuffled"]["leaks"]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page == (run.path / "check.html").read_text(encoding="utf-8")
    assert "What more rows would bring" in page and "<svg" in page and "<script" not in page
    assert (run.path / "best.safetensors").read_bytes() == before


def test_deep_check_of_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checking, "FEW", 1)
    monkeypatch.setattr(checking, "RADII", (0.05, 0.1))
    monkeypatch.setattr(checking, "LENGTHS", (1.0,))
    monkeypatch.setattr(checking, "HALVES", 2)
    monkeypatch.setattr(checking.square, "QUERIES", 10)
    monkeypatch.setattr(checking.attacks, "HALVINGS", 2)
    monkeypatch.setattr(learning_curve, "SHARES", (0.25, 0.5))
    table = lamina.open("digits")
    table = table.take(np.random.default_rng(0).permutation(len(table))[:160])
    run = lamina.fit(table, net="lenet", epochs=4, show=False, run=tmp_path / "run")
    found = run.check(data=table, deep=True)
    assert found.learning["values"][-1] == pytest.approx(run.score().value) and not found.shuffled["leaks"]
    assert found.clean == pytest.approx(run.score().value) and found.one_pixel is not None and not found.left_out
    from lamina.judge._run_page import page

    text = page(found.to_json(), found.pictures, HOSTILE, ("mild", "clear", "strong"))
    assert "<script" not in text and text.count("<svg") == 2 and len(text) < 5_000_000
