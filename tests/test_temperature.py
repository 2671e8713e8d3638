"""Calibration: the temperature that was used is found, answers keep their order, and a shipped file answers with it."""

import numpy as np
import pytest
import torch

import lamina
from lamina.core.run import Run
from lamina.data._table import Field
from lamina.measures import labels, temperature
from lamina.tasks.classify import Classify

TAKES = ("numbers", "categories")


class Says(torch.nn.Module):
    """A net whose logits are its input."""

    def forward(self, numbers, categories):
        return numbers


def drawn(rows, classes, sharper, seed=0):
    """Targets drawn from softmax(z), and the probabilities of a net that says softmax(sharper * z)."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(rows, classes))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    target = (true.cumsum(1) > random.random((rows, 1))).argmax(1)
    said = np.exp(sharper * logits)
    return {"probabilities": said / said.sum(1, keepdims=True), "target": target}


@pytest.mark.parametrize("sharper", [0.4, 2.5])
def test_the_temperature_is_found(sharper):
    assert temperature.fit(drawn(4_000, 5, sharper)) == pytest.approx(sharper, rel=0.1)


def test_nothing_is_changed_without_a_sure_gain():
    assert temperature.fit(drawn(2_000, 5, 1.0)) == 1.0
    assert temperature.fit(drawn(temperature.FEW - 1, 5, 5.0)) == 1.0


def test_several_labels():
    random = np.random.default_rng(1)
    logits = 2 * random.normal(size=(3_000, 4))
    target = (random.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.uint8)
    rows = {"probabilities": 1 / (1 + np.exp(-3 * logits)), "target": target}
    found = temperature.fit(rows)
    assert found == pytest.approx(3, rel=0.1)
    task = Classify(Field("x", "labels", ("a", "b", "c", "d")), {"weights": None, "temperature": found})
    told = task.output(Says(), {"numbers": torch.from_numpy(3 * logits), "categories": None})["probabilities"].numpy()
    assert np.allclose(told, 1 / (1 + np.exp(-logits * 3 / found)), atol=1e-5)


def test_losses_are_those_of_tempered_probabilities():
    rows = drawn(50, 3, 1.7)
    task = Classify(Field("x", "label", ("a", "b", "c")), {"weights": None, "temperature": 1.7})
    logits = torch.from_numpy(np.log(rows["probabilities"]))
    told = task.output(Says(), {"numbers": logits, "categories": None})["probabilities"].numpy()
    wanted = -np.log(told[np.arange(50), rows["target"]])
    assert np.allclose(temperature.losses(rows["probabilities"], rows["target"], 1.7), wanted, atol=1e-5)


def test_rows_that_chose_nothing_are_better_calibrated():
    """Ten times: fitted on some rows, the error on others falls, and is never made worse by much where there was none."""
    for seed in range(10):
        for sharper in (0.5, 1.0, 2.0):
            rows = drawn(2_000, 6, sharper, seed)
            half = [{k: v[part] for k, v in rows.items()} for part in (slice(0, 1_000), slice(1_000, None))]
            found = temperature.fit(half[0])
            powered = half[1]["probabilities"] ** (1 / found)
            after = {**half[1], "probabilities": powered / powered.sum(1, keepdims=True)}
            before = labels.calibration(half[1])["error"]
            assert labels.calibration(after)["error"] <= (before if sharper != 1.0 else before + 0.01)


def test_a_run_is_calibrated_shipped_and_resumed(tmp_path):
    """Label smoothing makes a net modest; the fitted options lie beside the plan, which stays as it was."""
    run = lamina.fit("digits", net="lenet", epochs=3, show=False, run=tmp_path / "run")
    fitted = run.plan.options["temperature"]
    assert fitted < 1 and "temperature" not in Run.open(run.path).read_json("config.json")["plan"]["options"]
    assert run.score().numbers["calibration_error"] < 0.05
    again = lamina.load(run.path)
    picture = np.zeros((1, 28, 28), np.uint8)
    assert again.plan.options["temperature"] == fitted and again.ask(picture) == run.ask(picture)
    shipped = lamina.load(run.ship())
    assert shipped.ask(picture) == run.ask(picture)
    assert "a temperature of" in run.report().read_text()
