"""detect from data to drawn answers: a run, its report, its pack, resuming, looking, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import shapes
from PIL import Image

import lamina
from lamina import api
from lamina.cli import main
from lamina.core.answers import Boxes
from lamina.core.errors import SettingError, ShipError
from lamina.data import coco
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Field, Table
from lamina.nets import efficientnet
from lamina.train import begin, weights
from lamina.train import plan as planning
from lamina.train.plan import Wishes
from lamina.train.recipe import Recipe

CLASSES = ("disc", "bar")


@pytest.fixture
def scenes():
    image, boxes = shapes(60)
    columns = {
        "image": Column(Field("image", "image"), Pictures.of_array(image)),
        "boxes": Column(Field("boxes", "boxes", CLASSES), boxes),
    }
    return Table(columns, "scenes", "memory", np.array([f"scene {i}" for i in range(60)], object), "boxes", tried=60)


def test_a_run_from_data_to_drawn_answers(scenes, tmp_path, capsys):
    settings = {"features": "resnet9/small", "strides": "4,8,16", "smallest": "0.2"}
    trained = lamina.fit(scenes, net="ssd", net_settings=settings, steps=30, batch=8, show=False, run="run")
    field = trained.plan.inputs[0]
    assert trained.plan.task == "detect" and field.fit == "stretch" and field.shape == (3, 64, 64)
    score = trained.score()
    assert score.name == "map" and score.low <= score.value <= score.high and "always the same" in score.baselines
    assert {name for _, name, _ in score.by_class()} == set(CLASSES)
    assert "map of each class" in trained.report().read_text()
    assert score.mistakes[0]["marks"]["target"] and "data:image/png" in trained.report().read_text()
    words = scenes.with_column(Column(Field("words", "text"), np.full(len(scenes), "a text", object)))
    assert trained.score(words).value == trained.score(scenes).value, "a column that the net does not read"
    Image.fromarray(scenes["image"].values.open(0)).resize((128, 96)).save("one.png")
    answer = trained.ask("one.png")
    assert isinstance(answer, Boxes)
    assert main(["ask", "run", "one.png", "--out", "drawn"]) == 0
    assert "one.png" in capsys.readouterr().out
    assert json.loads((tmp_path / "drawn" / "one.json").read_text())["boxes"] == answer.to_json()["boxes"]
    with Image.open(tmp_path / "drawn" / "one.png") as drawn:
        assert drawn.size == (256, 192)
    shipped = lamina.load(trained.ship())
    assert shipped.ask("one.png") == answer and shipped.inputs[0].fit == "stretch"
    with pytest.raises(ShipError, match="its task is detect"):
        trained.ship("vectors")
    with pytest.raises(SettingError, match="explanations are of labels and numbers"):
        trained.explain("one.png")


def test_left_and_resumed_ends_in_the_same_bits(scenes, monkeypatch):
    monkeypatch.setattr("lamina.train.ways.REPEATED", 1e9)  # always the usual way: bits are compared
    for name in ("TICK", "SAVE", "SAVE_VALIDATED"):
        monkeypatch.setattr(f"lamina.train.engine.{name}", 0.0)
    settings = {"features": "resnet9/small", "strides": "4,8,16", "width": "8"}
    wishes = Wishes(net="yolo", net_settings=settings, recipe=Recipe(steps=10, batch=8))
    whole = api.train(scenes, wishes, Path("whole"))
    asked = iter([False] * 9)
    api.train(scenes, wishes, Path("part"), stop=lambda: next(asked, True))
    assert not lamina.load("part").score().complete
    api.resume("part", scenes)
    assert whole.run.read("best.safetensors") == lamina.load("part").run.read("best.safetensors")
    assert whole.run.read("score.json") == lamina.load("part").run.read("score.json")


def test_begins_with_weights_of_the_features_where_they_are_there(scenes, monkeypatch):
    known = efficientnet.Net(efficientnet.Config(**efficientnet.SIZES["lite0"]))
    given = weights.Source(
        "imagenet/lite0", known.state_dict(), "efficientnet", efficientnet.SIZES["lite0"], (3, 224, 224), ("a",)
    )
    monkeypatch.setattr(weights, "_imagenet", lambda net, size: given)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)  # on a processor
    for wished in (
        {},
        {"net": "ssd"},
        {"net": "yolo/efficient", "freeze": "none"},
        {"net": "yolo", "weights": "imagenet"},
    ):
        prepared = lamina.look(scenes, steps=2, **wished)
        recipe, stay = prepared.plan.recipe, wished.get("freeze", "features")
        assert (recipe.weights, recipe.freeze) == ("imagenet/lite0", stay)
        assert prepared.plan.net_config["features"] == "efficientnet/lite0"
        assert stay == "features" or (recipe.optimizer, recipe.lr) == ("muon", 0.01)
        assert (begin.SLOW in prepared.plan.why) == ("weights" not in wished and stay == "features")
    _, net = planning.build(prepared.plan, prepared.table, torch.device("cpu"))
    own = net.state_dict()
    there = [k for k in known.features.state_dict() if f"features.features.{k}" in own]
    assert len(there) > 200 and all(
        torch.equal(own[f"features.features.{k}"], known.features.state_dict()[k]) for k in there
    )
    for wished in ({"weights": "none"}, {"net_settings": {"features": "resnet9/small", "strides": "4,8,16"}}):
        assert lamina.look(scenes, steps=2, **{"net": "yolo", **wished}).plan.recipe.weights is None


def test_a_sentence_beside_the_boxes_is_left_out(scenes):
    column = Column(Field("sentence", "text"), np.array(["a disc, a bar and nothing else in this scene"] * 60, object))
    plan = lamina.look(scenes.with_column(column), steps=2).plan
    assert [f.name for f in plan.inputs] == ["image"] and any("sentence: text, left out" in why for why in plan.why)


def test_look_says_what_is_there(scenes, tmp_path, capsys):
    coco.write(scenes, tmp_path / "out")
    assert main(["look", str(tmp_path / "out")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "boxes: disc" in told and "Which objects are in a picture, and where?" in told and "stretched" not in told


def test_what_detect_refuses(scenes):
    with pytest.raises(
        SettingError, match="asks for boxes, which embedding does not answer; try --net faster_rcnn or ssd or yolo"
    ):
        lamina.fit(scenes, net="embedding", steps=2, show=False)
    with pytest.raises(SettingError, match="asks for label or labels, which ssd does not answer"):
        lamina.fit("digits", net="ssd", steps=2, show=False)
    with pytest.raises(SettingError, match="cannot be blended"):
        lamina.fit(scenes, augment="flip+mixup", steps=2, show=False)


@pytest.mark.parametrize("net", ["ssd", "yolo", "faster_rcnn"])
def test_frozen_features_are_computed_once_and_answer_alike(scenes, net, monkeypatch):
    monkeypatch.setattr("lamina.train.ways.REPEATED", 1e9)
    strides = {"ssd": "4,8,16,32"}.get(
        net, "4,8"
    )  # the last of ssd are made by a convolution behind the net, which learns
    settings = {"features": "resnet9/small", "strides": strides}
    how = {"freeze": "features", "steps": 4, "batch": 8, "augment": "none", "net_settings": settings, "show": False}
    once = lamina.fit(scenes, net=net, **how, run="once")
    monkeypatch.setattr("lamina.train.freeze.SHARE", 0.0)  # no memory: made anew in every update
    anew = lamina.fit(scenes, net=net, **how, run="anew")
    told = [" ".join(s for r in run.run.history("report") for s in r.get("sentences", ())) for run in (once, anew)]
    assert "computed once" in told[0] and "made anew" in told[1]
    prepared = lamina.look(scenes, net=net, **{k: v for k, v in how.items() if k != "show"})
    begun = planning.build(prepared.plan, prepared.table, torch.device("cpu"))[1].state_dict()
    for name, value in anew.net.state_dict().items():
        assert torch.allclose(value, once.net.state_dict()[name], atol=1e-3), name
        still = name.startswith(("features.features", "features.standardize"))
        assert not still or torch.equal(value, begun[name]), name
    assert net != "ssd" or not torch.equal(
        anew.net.features.further[0][0][0].weight, begun["features.further.0.0.0.weight"]
    )
    assert once.score().numbers == pytest.approx(anew.score().numbers, abs=0.05, nan_ok=True)
