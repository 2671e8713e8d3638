"""Measures against scikit-learn and tables of expected values."""

import numpy as np
import pytest
from sklearn import metrics

from lamina.measures import interval, labels, numbers, several_labels


@pytest.fixture
def rows():
    random = np.random.default_rng(0)
    p = random.dirichlet([1, 1, 1], 300)
    target = np.array([random.choice(3, p=q) for q in p])
    return {"probabilities": p, "target": target, "loss": -np.log(p[np.arange(300), target])}


def test_labels_equal_scikit_learn(rows):
    found, answer = labels.finish(rows), rows["probabilities"].argmax(1)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(rows["target"], answer))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(rows["target"], answer))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(rows["target"], answer, average="macro"))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(rows["target"], rows["probabilities"]))
    assert (labels.confusion(rows) == metrics.confusion_matrix(rows["target"], answer)).all()
    assert found["calibration_error"] < 0.1  # the labels were drawn from these probabilities


def test_auc_equals_scikit_learn_with_ties():
    random = np.random.default_rng(1)
    score, target = random.integers(0, 20, 500) / 20, random.integers(0, 2, 500)
    assert labels.auc(score, target) == pytest.approx(metrics.roc_auc_score(target, score))


def test_calibration_of_a_boaster():
    p = np.tile([0.95, 0.05], (100, 1))
    target = np.r_[np.zeros(60, int), np.ones(40, int)]
    assert labels.calibration({"probabilities": p, "target": target})["error"] == pytest.approx(0.35)


def test_several_labels_equal_scikit_learn():
    random = np.random.default_rng(2)
    p, target = random.random((200, 4)), random.integers(0, 2, (200, 4))
    found = several_labels.finish({"probabilities": p, "target": target, "loss": np.zeros(200)})
    assert found["micro_f1"] == pytest.approx(metrics.f1_score(target, p >= 0.5, average="micro"))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(target, p >= 0.5, average="macro"))
    assert found["exact"] == pytest.approx(metrics.accuracy_score(target, p >= 0.5))


def test_numbers_equal_scikit_learn():
    random = np.random.default_rng(3)
    target = random.normal(5, 2, 100)
    answer = target + random.normal(0, 1, 100)
    found = numbers.finish({"answer": answer, "target": target})
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(target, answer))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(target, answer))
    assert found["r2"] == pytest.approx(metrics.r2_score(target, answer))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (985, 1000, 0.9754, 0.9909), (50, 100, 0.4038, 0.5962)],
)
def test_wilson(successes, n, low, high):
    """Values of statsmodels.stats.proportion.proportion_confint(method="wilson")."""
    assert interval.wilson(successes, n) == pytest.approx((low, high), abs=2e-4)


def test_bootstrap_covers_the_mean():
    random = np.random.default_rng(4)
    hits = 0
    for seed in range(40):
        x = random.normal(0, 1, 60)
        low, high = interval.bootstrap(lambda at, x=x: float(x[at].mean()), 60, seed, draws=200)
        hits += low < 0 < high
    assert hits >= 34
