"""Explanations of table rows against what is known: one column decides, and sums must hold."""

import numpy as np
import pandas as pd
import pytest
import torch

from lamina.data import sniff
from lamina.data._table import Reading
from lamina.explain import columns, integrated_gradients, neighbours
from lamina.explain._method import Question, batches_of
from lamina.nets import mlp, perceptron
from lamina.tasks.classify import Classify
from lamina.tasks.regress import Regress
from lamina.train.begin import fit_inputs

OLDEST = 190  # row


@pytest.fixture(scope="module")
def told_by_age():
    """(task, net, batch of a row, question): a net that learned a table in which age decides, then the town; the rest is noise."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({
        "noise": random.normal(size=500),
        "town": random.choice(["Ulm", "Bonn"], 500),
        "age": random.normal(40, 12, 500),
        "day": pd.to_datetime("2020-01-01") + pd.to_timedelta(random.integers(0, 900, 500), "D"),
    })  # fmt: skip
    frame["class"] = np.where(frame.age + 8 * (frame.town == "Ulm") > 44, "old", "young")
    table = sniff.open(frame, Reading(target="class")).with_(
        target="class", split=np.repeat([0, 2], 250).astype(np.int8)
    )
    assert table["age"].values[:250].argmax() == OLDEST
    task = Classify(table["class"].field, {})
    torch.manual_seed(0)
    net = mlp.Net(mlp.Config(numbers=8, categories=(2,), width=32, members=2, dropout=0.0))
    question = Question(None, tuple(table.inputs), lambda: table)
    batches = batches_of(task, net, table, np.arange(250), question)
    fit_inputs(net, batches)
    optimizer, batch = torch.optim.AdamW(net.parameters(), 0.01), batches.slice(0, 250)
    for _ in range(150):
        optimizer.zero_grad()
        task.loss(net, batch).backward()
        optimizer.step()
    return task, net.eval(), {k: v for k, v in batches.slice(OLDEST, OLDEST + 1).items() if k != "target"}, question


def test_columns_rank_the_deciding_column_first(told_by_age):
    task, net, batch, question = told_by_age
    found = columns.explain(task, net, batch, question, columns.Config())
    names = [f.name for f in question.inputs]
    importance = dict(zip(names, found.arrays["importance"].tolist(), strict=True))
    assert sorted(importance, key=lambda n: -importance[n])[:2] == ["age", "town"], importance
    assert importance["age"] > 0.25 and abs(importance["noise"]) < 0.05 and "overall age matters most" in found.summary
    assert names[int(np.abs(found.arrays["effect"]).argmax())] == "age"


def test_the_effect_of_a_column_is_the_answer_less_the_mean_with_it_replaced(told_by_age):
    task, net, batch, question = told_by_age
    table = question.table()
    found = columns.explain(task, net, batch, question, columns.Config(draws=1000, repeats=1))
    every = batches_of(task, net, table, np.arange(250), question).slice(0, 250)
    changed = {"numbers": batch["numbers"].repeat(250, 1), "categories": batch["categories"].repeat(250, 1)}
    place = [f.name for f in question.inputs].index("age")
    changed["numbers"][:, 1] = every["numbers"][:, 1]  # noise, age, six numbers of the day
    output = int(task.score(net, {**batch, "target": torch.tensor([0])})["probabilities"].argmax())
    with torch.no_grad():
        before = net(batch["numbers"], batch["categories"]).softmax(-1).mean(1)[0, output]
        after = net(changed["numbers"], changed["categories"]).softmax(-1).mean(1)[:, output].mean()
    assert found.arrays["effect"][place] == pytest.approx(float(before - after), abs=1e-5)


def test_importance_is_positive_where_an_error_rises():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"noise": random.normal(size=80), "size": random.normal(size=80)})
    frame["price"] = 3 * frame["size"]
    table = sniff.open(frame, Reading(target="price")).with_(
        target="price", split=np.repeat([0, 2], 40).astype(np.int8)
    )
    task = Regress(table["price"].field, {"log": False, "mean": 0.0, "std": 1.0, "low": -9.0, "high": 9.0})
    net = perceptron.Net(perceptron.Config(classes=1, numbers=2)).eval()
    net.classifier.weight.data[0, 1] = 3.0
    question = Question(None, tuple(table.inputs), lambda: table)
    batches = batches_of(task, net, table, np.array([1]), question)
    batch = {"numbers": batches.tensors["numbers"]}
    found = columns.explain(task, net, batch, question, columns.Config()).arrays
    assert found["importance"][0] == 0 and found["importance"][1] > 1 and found["effect"][0] == 0


def test_shares_of_columns_add_up(told_by_age):
    task, net, batch, question = told_by_age
    found = integrated_gradients.explain(task, net, batch, question, integrated_gradients.Config())
    output = task.target.classes.index(found.about.split()[1].rstrip(","))
    with torch.no_grad():
        middle = net.row.centre[None], torch.tensor([[-1]])
        difference = (net(batch["numbers"], batch["categories"]) - net(*middle)).mean(1)[0, output]
    shares = found.arrays["shares"]
    assert shares.sum() == pytest.approx(float(difference), rel=0.01)
    names = [f.name for f in question.inputs]
    assert (
        names[int(np.abs(shares).argmax())] == "age" and abs(shares[names.index("noise")]) < 0.3 * np.abs(shares).max()
    )


def test_the_nearest_neighbour_of_a_training_row_is_itself(told_by_age):
    task, net, batch, question = told_by_age
    found = neighbours.explain(task, net, batch, question, neighbours.Config(count=5))
    rows, distances = found.arrays["rows"], found.arrays["distances"]
    assert (
        rows[0] == OLDEST and distances[0] < 1e-3 and (np.diff(distances) >= 0).all() and len(set(rows.tolist())) == 5
    )
    with torch.no_grad():
        every = batches_of(task, net, question.table(), np.arange(250), question).slice(0, 250)
        seen = net.features(net.adapter(net.row(every["numbers"], every["categories"]))).flatten(1)
    assert rows.tolist() == torch.argsort((seen - seen[OLDEST]).norm(dim=1), stable=True)[:5].tolist()
