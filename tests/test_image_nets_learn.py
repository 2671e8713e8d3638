"""Image nets learn: overfitting, channels last, side heads, the margin loss and routing of capsules."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import lamina
from lamina.api import prepare
from lamina.core import catalog
from lamina.core.run import Run
from lamina.data._table import Field
from lamina.nets import capsnet, googlenet
from lamina.tasks._task import AUXILIARY, whole_loss
from lamina.tasks.classify import Classify, margin
from lamina.tasks.regress import Regress
from lamina.train import engine
from lamina.train import plan as planning
from lamina.train.optim import optimizers
from lamina.train.recipe import Recipe

NETS = ("alexnet", "zfnet", "vgg", "googlenet", "senet", "mobilenet", "efficientnet", "vit", "convnext", "capsnet")


def settings_for(module, shape):
    """What the plan chooses for pictures of a shape."""
    data = {"channels": shape[0], "side": shape[1], **module.suited(shape, {})}
    return {k: v for k, v in data.items() if k in module.Config.__dataclass_fields__}


@pytest.mark.parametrize("name", NETS)
def test_channels_last_gives_the_same_gradients(name):
    """As the product runs them, in double precision, so that only a wrong order of values can differ."""
    module = catalog.find("nets", name)
    torch.manual_seed(0)
    net = module.Net(module.Config(**settings_for(module, (3, 28, 28)))).double().eval()
    other = copy.deepcopy(net).to(memory_format=torch.channels_last)
    image = torch.rand(2, 3, 28, 28, dtype=torch.double)
    net(image).square().mean().backward()
    other(image.to(memory_format=torch.channels_last)).square().mean().backward()
    for (key, mine), theirs in zip(net.named_parameters(), other.parameters(), strict=True):
        if mine.grad is None:  # side heads and decoders rest outside training
            assert theirs.grad is None and key.startswith(("heads", "decoder"))
        else:
            assert torch.allclose(mine.grad, theirs.grad, rtol=1e-6, atol=1e-12), key


@pytest.mark.parametrize("name", NETS)
def test_answer_layer_comes_last(name):
    """The optimisers learn the last matrix by AdamW, as the answer layer."""
    module = catalog.find("nets", name)
    net = module.Net(module.Config())
    matrices = [k for k, p in net.named_parameters() if p.dim() > 1]
    assert matrices[-1].startswith("classifier")


@pytest.mark.parametrize("name", NETS)
def test_overfits_eight_rows(name):
    module = catalog.find("nets", name)
    torch.manual_seed(0)
    given = settings_for(module, (1, 28, 28))
    off = {k: 0.0 for k in ("dropout", "drop_path") if k in module.Config.__dataclass_fields__}
    small = {
        "googlenet": {"width": 8},
        "efficientnet": {"width": 0.25, "depth": 0.3},
        "capsnet": {"filters": 16, "types": 4},
    }
    net = module.Net(module.Config(**{**given, **off, **small.get(name, {})}))
    task = Classify(Field("class", "label", tuple("abcdefgh")), {"smoothing": 0.0})
    batch = {"image": torch.rand(8, 1, 28, 28), "target": torch.arange(8)}
    net.standardize.fit(torch.tensor([0.5]), torch.tensor([0.29]))
    right = 0.0
    optimizer = optimizers("adamw", net, 3e-3, 0.0)[0]
    for step in range(300):
        optimizer.zero()
        task.loss(net, batch).backward()
        optimizer.step(1.0)
        if step % 5 == 4:
            with torch.no_grad():
                right = float((net(batch["image"]).argmax(1) == batch["target"]).float().mean())  # as in training
                whole_loss(net, torch.zeros(()), lambda x: x)
            if right == 1:
                break
    assert right == 1


def test_side_heads_count_three_tenths_in_training_only():
    torch.manual_seed(0)
    net = googlenet.Net(googlenet.Config(dropout=0.0, norm="none"))
    for head in net.heads.values():
        head[5].p = 0.0
    task = Classify(Field("class", "label", tuple("abcdefghij")), {"smoothing": 0.0})
    batch = {"image": torch.rand(4, 3, 28, 28), "target": torch.arange(4)}
    logits = net(batch["image"])
    assert [a.shape for a in net.auxiliary] == [(4, 10), (4, 10)]
    entropy = nn.functional.cross_entropy
    expected = entropy(logits, batch["target"]) + AUXILIARY * sum(entropy(a, batch["target"]) for a in net.auxiliary)
    loss = task.loss(net, batch)
    assert AUXILIARY == 0.3 and torch.allclose(loss, expected)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for k, p in net.heads.named_parameters() if "weight" in k)
    assert "auxiliary" not in vars(net)  # no graph is left: the net can be copied
    copy.deepcopy(net)
    net.eval()
    assert torch.allclose(task.loss(net, batch), entropy(net(batch["image"]), batch["target"]))
    assert "auxiliary" not in vars(net)


def test_side_heads_learn_numbers_too():
    net = googlenet.Net(googlenet.Config(classes=1))
    options = {"log": False, "mean": 0.0, "std": 1.0, "low": -1.0, "high": 1.0}
    task = Regress(Field("price", "number"), options)
    task.loss(net, {"image": torch.rand(4, 3, 28, 28), "target": torch.rand(4)}).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_margin_loss_is_the_papers():
    lengths = torch.tensor([[0.95, 0.05, 0.3], [0.4, 0.9, 0.1]])
    wanted = torch.tensor([[1, 0, 0], [1, 0, 0]])
    expected = (0.5 * 0.2**2 + 0.5**2 + 0.5 * 0.8**2) / 2
    assert float(margin(lengths.logit(), wanted).mean()) == pytest.approx(expected, rel=1e-5)


def test_capsules_learn_by_margin_and_by_what_they_rebuild():
    torch.manual_seed(0)
    net = capsnet.Net(capsnet.Config(filters=8, types=2))
    task = Classify(Field("class", "label", tuple("abcdefghij")), {"smoothing": 0.0})
    batch = {"image": torch.rand(4, 1, 28, 28), "target": torch.arange(4)}
    vectors, logits = net.capsules(batch["image"])
    assert torch.allclose(vectors.norm(dim=2), logits.sigmoid(), atol=1e-4)  # the logits are those of the lengths
    rebuilt = net.rebuilt(vectors, logits.argmax(1))
    penalty = 0.0005 * (rebuilt - batch["image"].flatten(1)).square().sum(1).mean()
    expected = margin(logits, torch.eye(10)[:4]).mean() + penalty
    assert torch.allclose(task.loss(net, batch), expected) and "penalty" not in vars(net)
    net.eval()
    assert torch.allclose(task.loss(net, batch), nn.functional.cross_entropy(logits, batch["target"]))


def test_routing_prefers_the_class_that_the_votes_agree_on():
    layer = capsnet.Capsules(6, 2, 4, 3)
    u = torch.ones(1, 6, 8)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:, 0, 0] = 1.0  # all say the same of class 0
        layer.weight[:, 0, 4] = torch.tensor([1.0, -1, 1, -1, 1, -1])  # half say the opposite of class 1
    _, three = layer(u)
    layer.rounds = 1
    _, one = layer(u)
    assert three[0, 0] > one[0, 0] > 0 > one[0, 1]


def test_huge_matrices_learn_by_adamw():
    """The dense layers of alexnet and vgg: muon would take a minute an update on a core."""
    net = nn.Sequential(nn.Linear(2049, 2049, bias=False), nn.Linear(2049, 30), nn.Linear(30, 2))
    adamw, muon = optimizers("muon", net, 0.1, 0.0)
    assert [p.shape for p in muon.weights] == [(30, 2049)]
    assert [p.numel() for p in adamw.weights] == [2 * 30 + 30 + 2, 2049 * 2049]  # small ones in one vector


@pytest.mark.parametrize(
    ("name", "settings", "beside"),
    [
        ("googlenet", {"width": "4"}, "heads.4d.3.weight"),
        ("capsnet", {"filters": "8", "types": "2"}, "decoder.0.weight"),
    ],
)
def test_engine_trains_what_stands_beside(name, settings, beside, tmp_path):
    """The whole way: plan, ways (which copy the net), updates; side heads and decoder learn and leave no graph."""
    table = lamina.open("digits")
    rows = np.concatenate([table.rows(0)[::100], table.rows(1)[::50], table.rows(2)[::50]])
    prepared = prepare(
        table.take(rows), planning.Wishes(net=name, net_settings=settings, recipe=Recipe(steps=2, batch=16))
    )
    task, net = planning.build(prepared.plan, prepared.table, torch.device("cpu"))
    before = net.get_parameter(beside).detach().clone()
    run = Run.create(tmp_path / "run")
    reports = list(engine.fit(task, net, prepared.table, prepared.plan.recipe, run))
    assert reports[-1].step == 2 and reports[-1].score is not None
    assert not torch.equal(before, net.get_parameter(beside))
    assert not {"auxiliary", "penalty"} & set(vars(net))
