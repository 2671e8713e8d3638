"""winograd: the convolution by tiles against torch's, by its gradients too, and a net that learns with it."""

import copy
import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lamina
from lamina.data._batches import Batches
from lamina.train import plan as planning
from lamina.train import ways, winograd
from lamina.train.step import Feed, Step


@pytest.mark.parametrize("around", [0, 1])
@pytest.mark.parametrize("sides", [(9, 7), (4, 8), (3, 13)])
def test_it_is_the_convolution_and_its_gradients(around, sides, monkeypatch):
    """In float64 only the formulas could differ; three chunks, the last one smaller."""
    monkeypatch.setattr(winograd, "TILES", 24)
    torch.manual_seed(0)
    x = torch.randn(7, 5, *sides, dtype=torch.double, requires_grad=True)
    weight = torch.randn(6, 5, 3, 3, dtype=torch.double, requires_grad=True)
    made, true = winograd.Convolution.apply(x, weight, around), F.conv2d(x, weight, padding=around)
    assert made.shape == true.shape and torch.allclose(made, true, atol=1e-12)
    back = torch.randn_like(true)
    for found, wanted in zip(*(torch.autograd.grad(y, (x, weight), back) for y in (made, true)), strict=True):
        assert torch.allclose(found, wanted, atol=1e-11)


def test_in_float32_it_rounds_a_little_more():
    torch.manual_seed(0)
    x, weight = torch.randn(4, 128, 14, 14), torch.randn(128, 128, 3, 3) / 34
    true = F.conv2d(x.double(), weight.double(), padding=1)
    found = [(y - true).abs().max().item() for y in (F.conv2d(x, weight, padding=1), winograd.convolved(x, weight, 1))]
    # How exact torch's own sum is depends on the processor: with AVX-512 this one is 33 times as far from the truth.
    assert found[1] < 1e-4 and found[1] < 100 * found[0], found


def test_which_convolutions_suit():
    def suits(*words, **how):
        return winograd.suits(nn.Conv2d(*words, **how))

    assert suits(64, 128, 3, padding=1) and suits(128, 64, 3)
    assert not suits(32, 64, 3, padding=1) and not suits(128, 128, 1) and not suits(128, 128, 3, padding=2)
    assert not suits(128, 128, 3, stride=2) and not suits(128, 128, 3, groups=2) and not suits(128, 128, 3, dilation=2)
    assert not winograd.suits(nn.Conv2d(128, 128, 3).double()) and not winograd.suits(nn.Linear(128, 128))


def test_a_net_learns_alike_with_it_and_answers_in_the_same_bits():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 64, 3),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128 * 64, 5),
    )
    nets, losses = [net, copy.deepcopy(net)], []
    image, target = torch.randn(32, 3, 10, 10), torch.arange(32) % 5
    before = net.eval()(image)
    winograd.turn(nets[1], True)
    nets.append(copy.deepcopy(nets[1]))  # a copy turns its own weights into tiles
    assert torch.equal(nets[1].eval()(image), before)
    for own in nets:
        own.train()
        optimizer = torch.optim.SGD(own.parameters(), 0.02)
        told = []
        for _ in range(6):
            loss = F.cross_entropy(own(image), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            told.append(loss.detach())
        losses.append(torch.stack(told))
    assert torch.allclose(losses[0], losses[1], rtol=1e-4) and not torch.equal(losses[0], losses[1])
    assert torch.equal(losses[1], losses[2]) and losses[0][-1] < losses[0][0]
    assert torch.equal(nets[1][2].weight, nets[2][2].weight) and not torch.equal(nets[1][2].weight, net[2].weight)
    winograd.turn(nets[1], False)
    assert "forward" not in vars(nets[1][2])


def test_where_it_pays_and_whether_it_was_used():
    """As measured: tiles that hang over the edge, few channels on small pictures and few tiles do not pay."""
    assert (
        winograd.pays(32, 64, 64, 56, 56) and winograd.pays(128, 128, 128, 7, 7) and winograd.pays(32, 512, 512, 7, 7)
    )
    assert not winograd.pays(128, 64, 64, 14, 14) and not winograd.pays(128, 64, 64, 16, 16)
    assert not winograd.pays(128, 64, 128, 14, 14) and not winograd.pays(16, 512, 512, 7, 7)
    small, large = torch.randn(128, 64, 16, 16), torch.randn(4, 64, 28, 28)
    net = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1))
    winograd.turn(net, True)
    net(small)
    assert not winograd.used(net)
    net(large)
    assert winograd.used(net)


@pytest.mark.parametrize("filters", ["64,64", "8,8"])
def test_a_training_tries_it_where_it_pays_and_says_so(filters, monkeypatch):
    monkeypatch.setattr(ways, "TRIES", 0)  # however slow the machine is now
    monkeypatch.setattr(ways, "REPEATED", 1e9)  # always the usual way
    monkeypatch.setattr(winograd, "LARGE", 24 * 24)  # of the net's second convolution
    prepared = lamina.look("digits", net="cnn", net_settings={"filters": filters}, steps=2, batch=32)
    task, net = planning.build(prepared.plan, prepared.table, torch.device("cpu"))
    rows = Batches(prepared.table.take(np.arange(64)), prepared.plan.inputs, prepared.plan.target, torch.device("cpu"))
    feed = Feed(task, rows, prepared.plan.recipe)
    measured = ways.choose(net.train(), lambda other: Step(task, other, prepared.plan.recipe), feed, 0.1, 1)
    pays = filters == "64,64"
    assert measured[0].way.winograd == pays and {m.way.winograd for m in measured} == (
        {True, False} if pays else {False}
    )
    assert ("Winograd" in str(measured[0].way)) == pays
    step = Step(task, net, prepared.plan.recipe)
    ways.Way(**json.loads(json.dumps(asdict(measured[0].way)))).apply(step)  # as a resumed run does
    step(feed(0), 0, 0.1)
    assert winograd.used(net) == pays


def test_few_tiles_and_answers_are_left_to_torch(monkeypatch):
    conv = nn.Conv2d(128, 64, 3, padding=1)
    winograd.turn(conv, True)
    monkeypatch.setattr(winograd, "convolved", None)  # would fail
    assert conv(torch.randn(2, 128, 8, 8)).shape == (2, 64, 8, 8)
    with torch.no_grad():
        conv(torch.randn(32, 128, 8, 8))
    with torch.autocast("cpu", torch.bfloat16):
        conv(torch.randn(32, 128, 8, 8))
    with pytest.raises(TypeError):
        conv(torch.randn(32, 128, 8, 8))
