"""The loop: it learns, keeps its budget, resumes to the same bits, rolls back, goes on with less memory."""

import copy
import itertools
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
import safetensors.torch
import torch
from torch import nn

import lamina
from lamina import api
from lamina.core.errors import RunError, SettingError, TrainingError
from lamina.core.run import Run
from lamina.data._augment import DRAWS, MIXES, WINDOWS, uniform
from lamina.data._batches import Batches
from lamina.nets._row import RowEncoder
from lamina.nets._text import TokenVectors
from lamina.train import engine, freeze, optim, ways
from lamina.train._report import Report
from lamina.train._state import Average
from lamina.train.budget import Budget, Clock
from lamina.train.engine import fit
from lamina.train.health import Health
from lamina.train.recipe import Recipe
from lamina.train.step import Feed, Order, Step
from lamina.train.ways import Way


def weights(run):
    return {k: v for k, v in safetensors.torch.load(run.read("best.safetensors")).items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def train(parts, **how):
    prepared, run, task, net = parts
    return list(fit(task, net, prepared.table, prepared.plan.recipe, run, **how))


def test_reports_and_best(small):
    parts = small(epochs=20, optimizer="adamw", lr=0.01)
    reports = train(parts)
    assert reports[-1].fraction == 1 and reports[-1].passes == pytest.approx(20, abs=0.3)
    assert reports[-1].best > 0.25  # ten classes, 70 rows
    assert any(r.score is not None and r.saved for r in reports)
    assert [h["step"] for h in parts[1].history("validation")] == sorted(
        {r.step for r in reports if r.score is not None}
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
@pytest.mark.parametrize("leave_at", [1, 5, 9])
def test_left_and_resumed_ends_in_the_same_bits(small, optimizer, leave_at, monkeypatch):
    monkeypatch.setattr(engine, "TICK", 0.0)  # a report after every step
    monkeypatch.setattr(engine, "SAVE", 0.0)
    monkeypatch.setattr(engine, "SAVE_VALIDATED", 0.0)
    how = {"optimizer": optimizer, "lr": 0.01, "epochs": 3}
    whole = small("whole", **how)
    train(whole)
    part = small("part", **how)
    prepared, run, task, net = part
    for report in itertools.islice(fit(task, net, prepared.table, prepared.plan.recipe, run), leave_at):
        assert report.step <= leave_at
    again = small("unused", **how)
    train((prepared, Run.open(run.path), again[2], again[3]))
    assert same(weights(whole[1]), weights(run))
    assert same(whole[3].state_dict(), again[3].state_dict())


def test_damaged_state_is_passed_over(small, monkeypatch):
    monkeypatch.setattr(engine, "TICK", 0.0)
    monkeypatch.setattr(engine, "SAVE", 0.0)
    monkeypatch.setattr(engine, "SAVE_VALIDATED", 0.0)
    whole = small("whole")
    train(whole)
    prepared, run, task, net = small("part")
    for _ in itertools.islice(fit(task, net, prepared.table, prepared.plan.recipe, run), 6):
        pass
    newest = max((run.path / "state").iterdir())
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1
    newest.write_bytes(content)
    again = small("unused")
    reports = train((prepared, run, again[2], again[3]))
    assert any("is damaged" in s and "The state before it is used" in s for r in reports for s in r.sentences)
    assert same(weights(whole[1]), weights(run))


def test_a_state_of_other_optimisers_is_told(small, monkeypatch):
    monkeypatch.setattr(engine, "TICK", 0.0)
    monkeypatch.setattr(engine, "SAVE", 0.0)
    prepared, run, task, net = small("part", optimizer="adamw")
    for _ in itertools.islice(fit(task, net, prepared.table, prepared.plan.recipe, run), 4):
        pass
    before = {file: file.read_bytes() for file in (run.path / "state").iterdir()}
    other = replace(prepared.plan.recipe, optimizer="sgd")
    with pytest.raises(RunError, match="stopped in another version of Lamina"):
        list(fit(task, net, prepared.table, other, run))
    assert before == {file: file.read_bytes() for file in (run.path / "state").iterdir()}


TRAINS = """
import numpy, torch

torch.set_num_threads(1)
ways.REPEATED = 1e9
wishes = api.Wishes(net="resnet", net_settings={"width": "4", "blocks": "1,1"}, recipe=api.Recipe(epochs=4, batch=16))
api.train(api.open("digits").take(numpy.arange(0, 5000, 25)), wishes, folder)
"""
RESUMES = "import numpy\napi.resume(folder, api.open('digits').take(numpy.arange(0, 5000, 25)))"


def test_killed_and_resumed_ends_in_the_same_bits(same_after_sigkill):
    """bench/figures.py kill does it fifty times."""
    same_after_sigkill(TRAINS, RESUMES)


def test_a_way_is_chosen_logged_and_kept(small, monkeypatch):
    """The one that a resumed run goes on with is the saved one, whatever would be measured now."""
    monkeypatch.setattr(engine, "TICK", 0.0)
    monkeypatch.setattr(ways, "TRIES", 0)  # however slow the machine is now
    prepared, run, task, net = small("part")
    for _ in itertools.islice(fit(task, net, prepared.table, prepared.plan.recipe, run), 3):
        pass
    measured = run.history("ways")[0]["measured"]
    assert {m["threads"] for m in measured} == {1, torch.get_num_threads()}
    assert {m["channels_last"] for m in measured} == {True, False} and all(m["seconds"] > 0 for m in measured)
    monkeypatch.setattr(engine, "choose", None)
    again = small("unused")
    reports = train((prepared, Run.open(run.path), again[2], again[3]))
    assert reports[-1].fraction == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
@pytest.mark.parametrize("way", [Way(1, True), Way(2, False)])
def test_ways_agree_to_rounding(small, way, optimizer):
    """What is chosen by speed alone must not change what is learned, nor when it changes in the midst."""
    prepared, _, task, net = small(optimizer=optimizer, lr=0.01)
    other = copy.deepcopy(net)
    recipe, table = prepared.plan.recipe, prepared.table
    batches = Batches(table.take(table.rows(0)), prepared.plan.inputs, prepared.plan.target, torch.device("cpu"))
    feed, before = Feed(task, batches, recipe), torch.get_num_threads()
    losses = []
    for model, then in ((net, Way(2, True)), (other, way)):
        step = Step(task, model, recipe)
        Way(2, True).apply(step)
        first = [step(feed(n), n, 0.1) for n in range(3)]
        then.apply(step)
        losses.append(torch.stack([*first, *(step(feed(n), n, 0.1) for n in range(3, 8))]))
    torch.set_num_threads(before)
    assert torch.allclose(losses[0], losses[1], rtol=1e-3)


def test_bfloat16_is_taken_where_it_is_faster_and_said(small, monkeypatch):
    """Weights stay float32, the loss is that of float32 to bfloat16's rounding, and the score's signature tells; without a time
    that was asked for it is not tried, so that the training can be repeated."""
    prepared, run, task, net = small("low", optimizer="sgd", lr=0.05, precision="bfloat16")
    recipe, table = prepared.plan.recipe, prepared.table
    batches = Batches(table.take(table.rows(0)), prepared.plan.inputs, prepared.plan.target, torch.device("cpu"))
    feed, losses = Feed(task, batches, recipe), []
    for model, precision in ((copy.deepcopy(net), "float32"), (copy.deepcopy(net), "bfloat16")):
        step = Step(task, model, recipe)
        Way(1, True, precision).apply(step)
        losses.append(torch.stack([step(feed(n), n, 0.1) for n in range(4)]))
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert all(optimizer.low == (precision == "bfloat16") for optimizer in step.optimizers)
    assert torch.allclose(*losses, rtol=0.03) and not torch.equal(*losses)
    seconds = {"float32": 0.02, "bfloat16": 0.001}
    with monkeypatch.context() as patch:
        patch.setattr(ways, "bfloat16_pays", lambda where: True)
        patch.setattr(ways, "REPEATED", 2.0)
        patch.setattr(ways, "_measure", lambda way, *_, **__: ways.Measured(way, seconds[way.precision]))
        for minutes, precision in ((None, "float32"), (1.0, "bfloat16")):
            free = Feed(task, batches, replace(recipe, precision="auto", minutes=minutes))
            best, *_ = ways.choose(net, lambda copied: Step(task, copied, recipe), free, 0.1, 1)
            assert best.way.precision == precision
    train((prepared, run, task, net))
    assert run.history("ways")[0]["measured"][0]["precision"] == "bfloat16"
    trained = api.Trained(run)
    trained.finish(table, complete=True)
    assert "bfloat16" in trained.score().signature


def test_the_average_follows_weights_that_are_laid_out_anew(small):
    prepared, _, task, net = small()
    average, step = Average(net, 10.0), Step(task, net, prepared.plan.recipe)
    for way in (Way(1, False), Way(1, True)):
        way.apply(step)
        with torch.no_grad():
            for p in net.parameters():
                p.add_(1.0)
        for _ in range(60):
            average.update(1000)
        assert all(
            torch.allclose(a, b, atol=0.01) for a, b in zip(average.net.parameters(), net.parameters(), strict=True)
        )


def test_minutes_are_kept(small):
    parts = small(epochs=None, minutes=0.05)  # 3 seconds
    begun = time.monotonic()
    reports = train(parts, clock=Clock(begun, 3.0, 0.5))
    assert reports[-1].fraction == 1 and parts[1].has("best.safetensors")
    assert time.monotonic() - begun < 30  # a budget that is not kept never ends: there is no other limit


def test_stop_saves_and_validates(small, monkeypatch):
    monkeypatch.setattr(engine, "TICK", 0.0)
    parts = small(epochs=50)
    reports = train(parts, stop=lambda: len(parts[1].history("report")) >= 3)
    assert reports[-1].score is not None and reports[-1].saved and reports[-1].fraction < 0.5


def test_patience_ends_early(small):
    reports = train(small(epochs=400, lr=1e-9, optimizer="sgd", patience=2))
    assert reports[-1].passes < 50


def test_nan_rolls_back_once_then_names_rows(small):
    prepared, run, task, net = small(epochs=6)
    real, calls = task.loss, []

    def loss(asked, batch, phase="all"):
        calls.extend([1] if asked is net else [])  # not the copies on which speed is measured
        return real(asked, batch, phase) * (float("nan") if len(calls) == 20 else 1)

    task.loss = loss
    reports = train((prepared, run, task, net))
    assert any("is not finite at step" in s and "digit" in s for r in reports for s in r.sentences)
    assert len(run.history("rolled back")) == 1 and reports[-1].fraction == 1
    assert all(t.isfinite().all() for t in weights(run).values() if t.is_floating_point())


def test_nan_twice_is_an_error(small):
    prepared, run, task, net = small(epochs=6)
    real = task.loss
    task.loss = lambda *a, **k: real(*a, **k) * float("nan")
    with pytest.raises(TrainingError, match=r"not finite at step \d+ \(rows digit \d+.*again after going back"):
        train((prepared, run, task, net))


def test_out_of_memory_halves_the_micro_batch(small):
    prepared, run, task, net = small(epochs=2)
    real = task.loss

    def loss(net, batch, phase="all"):
        if len(batch["target"]) > 5 and net.training:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(net, batch, phase)

    task.loss = loss
    reports = train((prepared, run, task, net))
    assert any("micro-batches of 4, same effective batch" in s for r in reports for s in r.sentences)


def test_micro_batches_equal_the_whole_batch(small):
    """Without batch statistics the gradients of parts add up to those of the whole."""
    prepared, _, task, _ = small()
    from lamina.train import plan as planning

    settings = {**prepared.plan.net_config, "norm": "group"}
    recipe = Recipe(batch=10, lr=0.1, optimizer="sgd", schedule="constant", weight_decay=0.0)
    torch.manual_seed(3)
    batch = {"image": torch.rand(10, 1, 28, 28), "target": torch.arange(10)}
    ends = []
    for micro in (10, 3):
        torch.manual_seed(0)
        net = planning.net_of("resnet", settings)
        step = Step(task, net, Recipe(**{**vars(recipe), "micro_batch": micro}))
        step(batch, 0, 0.5)
        ends.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    assert torch.allclose(ends[0], ends[1], atol=1e-6)


def test_order_is_every_row_once_a_pass_and_never_one_alone():
    order = Order(rows=37, batch=8, seed=5)
    seen = torch.cat([order(s)[0] for s in range(37)])
    passes = torch.cat([order(s)[1] for s in range(37)])
    for p in range(8):
        assert sorted(seen[passes == p].tolist()) == list(range(37))
    assert not torch.equal(seen[passes == 0], seen[passes == 1])
    assert torch.equal(order(30)[0], Order(37, 8, 5)(30)[0])  # asked out of order, the same


def test_when_a_row_comes_tells_nothing_of_how_it_is_changed():
    """Once the first half of a pass was never mirrored and the second always."""
    order = Order(rows=8000, batch=32, seed=5)
    rows, passes = order(0, 250)
    drawn = uniform(5, passes, rows, DRAWS + MIXES + WINDOWS).double()
    place = torch.linspace(-1, 1, len(rows), dtype=torch.float64)
    assert torch.corrcoef(torch.stack([place, *drawn.T]))[0, 1:].abs().max() < 0.05  # 0.011 is chance


def test_the_end_keeps_time_for_features_that_validations_go_without():
    budget, clock = Budget(Recipe(minutes=1.0), 100), Clock(time.monotonic(), 60.0, tests=3.0, features=2.0)
    budget.observe(clock, 0.1, validation_seconds=0.5)
    assert clock.scoring == pytest.approx(3 * (0.5 + 2.0))


def test_the_end_keeps_more_time_while_updates_are_slower_and_no_longer():
    """Once what was kept grew fivefold while another program held the cores, and a training of 8 minutes ended after 5."""
    budget, clock = Budget(Recipe(minutes=1.0), 100), Clock(time.monotonic(), 60.0, tests=3.0)
    budget.observe(clock, 0.1, validation_seconds=0.5)
    kept = []
    for seconds in (0.3, 0.3, 0.5, 0.1, 0.1, 0.01, 0.01, 0.01):
        budget.observe(clock, seconds)
        kept.append(clock.scoring / 1.5)
    assert kept[:3] == pytest.approx([2.0, 2.5, 3.75]) and kept[-1] == 1.0  # never less than was timed


def test_rows_that_are_gathered_many_batches_at_once_are_those_of_the_order():
    from lamina.train import plan as planning

    x = np.sin(np.arange(41.0))
    frame = pandas.DataFrame({"x": x, "kind": list("ab") * 20 + ["a"], "y": x**2 + np.cos(7 * x)})
    prepared = lamina.look(frame, target="y", batch=8)
    batches = Batches(prepared.table, prepared.plan.inputs, prepared.plan.target, torch.device("cpu"))
    task = planning.build(prepared.plan, prepared.table, torch.device("cpu"))[0]
    feed = Feed(task, batches, prepared.plan.recipe)
    assert feed.many == 32 and feed.order.batch == 8
    for step in (0, 1, 31, 32, 33, 64, 31, 5, 700):
        alone, batch = batches.get(feed.order(step)[0]), feed(step)
        batch["added"] = batch["numbers"]  # what is done to a batch stays with it
        again = feed(step)
        assert again.keys() == alone.keys() and all(torch.equal(again[k], alone[k]) for k in alone)


def test_windows_of_many_batches_are_those_of_one(tmp_path, monkeypatch):
    """Those over a running text are moved on by seed, pass and row, however many are gathered at once."""
    from lamina.train import plan as planning
    from lamina.train import step as stepping

    (tmp_path / "book.txt").write_text("".join(f"verse {i}: {i * i}\n" for i in range(300)))
    prepared = lamina.look(tmp_path / "book.txt", net="char_rnn", context=16, batch=8)
    batches = Batches(prepared.table, prepared.plan.inputs, prepared.plan.target, torch.device("cpu"))
    task = planning.build(prepared.plan, prepared.table, torch.device("cpu"))[0]
    monkeypatch.setattr(stepping, "TOKENS", 8 * 16 * 5)
    feed = Feed(task, batches, prepared.plan.recipe)
    assert feed.many == 5 and 20 < len(batches) < 50 * 8
    for step in (0, 4, 5, 63, 64, 4):
        alone, batch = batches.draw(*feed.order(step), prepared.plan.recipe.seed), feed(step)
        assert batch.keys() == alone.keys() and all(torch.equal(batch[k], alone[k]) for k in alone)
        assert torch.equal(batch["tokens"][:, 1:], batch["target"][:, :-1])
    assert not torch.equal(feed(0)["tokens"], batches.get(feed.order(0)[0])["tokens"])  # moved on


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_flattened_weights_learn_as_apart(decay):
    """Against torch's AdamW on the tensors themselves, over a layout change and a reload."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3), torch.nn.Flatten(), torch.nn.Linear(16, 5), torch.nn.Linear(5, 1)
    )
    twin = copy.deepcopy(net)
    (mine,) = optim.optimizers("adamw", net, 0.01, decay)
    matrices, vectors = [p for p in twin.parameters() if p.dim() > 1], [p for p in twin.parameters() if p.dim() == 1]
    theirs = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}], 0.01, (0.9, 0.99)
    )
    flat = mine.weights
    assert sorted(p.dim() for p in flat) == ([1, 1, 4] if decay else [1, 4])
    x = torch.randn(6, 2, 4, 4)
    net[0].weight.data = net[0].weight.data.contiguous(memory_format=torch.channels_last)
    for i in range(5):
        for model, weights, optimizer in ((net, flat, mine), (twin, list(twin.parameters()), theirs)):
            for p in weights:
                p.grad = None if p.grad is None else p.grad.zero_()
            (model(x) ** 2).sum().backward()
            optimizer.step(*([1.0] if optimizer is mine else []))
        if i == 2:
            net.load_state_dict(net.state_dict())
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6) and torch.allclose(a.grad, b.grad, atol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_updates_divide_gradients_that_are_too_long(name):
    """As torch clips their common norm; one that is short enough stays as it is."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 9), nn.Linear(9, 5, bias=False))
    twin = copy.deepcopy(net)
    mine, theirs = (optim.optimizers(name, model, 0.1, 0.01) for model in (net, twin))
    for scale in (3.0, 1e-3, 1.0):
        x = torch.randn(6, 2, 4, 4)
        for model, sides in ((net, mine), (twin, theirs)):
            for side in sides:
                side.zero()
            (scale * model(x)).square().sum().backward()
        norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        over = optim.excess([w.grad for side in mine for w in side.weights], 0.5)
        assert over.item() == pytest.approx(max(1.0, norm.item() / 0.5), rel=1e-4)
        assert (over > 1) == (scale > 0.1)
        for side, other in zip(mine, theirs, strict=True):
            side.step(1.0, over)
            other.step(1.0)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_rates():
    for schedule in ("one_cycle", "cosine", "linear", "constant"):
        values = [optim.rate(schedule, x / 100) for x in range(101)]
        assert max(values) <= 1.001 and min(values) >= 0
        assert values[100] == (1 if schedule == "constant" else pytest.approx(0, abs=1e-9))


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("shape", [(20, 50), (50, 20)])
def test_orthogonal_has_singular_values_near_one(shape, low):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(optim.orthogonal(torch.randn(shape), low, steps=8).float())
    assert values.min() > 0.6 and values.max() < 1.3


def test_orthogonal_in_bfloat16_of_a_low_rank():
    """Rounding must not grow in the directions that a gradient does not have: polynomials of x x' in bfloat16 come to 372 here."""
    torch.manual_seed(0)
    flat = torch.randn(128, 3) @ torch.randn(3, 64) + 1e-2 * torch.randn(128, 64)
    true, low = optim.orthogonal(flat), optim.orthogonal(flat, True)
    assert low.dtype == torch.bfloat16
    low = low.float()
    assert torch.linalg.svdvals(low).max() < 1.3
    assert (true * low).sum() > 0.9 * true.norm() * low.norm()


@pytest.mark.parametrize("low", [False, True])
def test_muon_learns_together_what_it_learns_one_by_one(low):
    """Two shapes of several matrices, a convolution, one alone and one that is too large to be stacked."""
    torch.manual_seed(1)
    shapes = [(12, 20), (20, 12), (12, 20), (20, 3, 2, 2), (12, 20), (5, 9), (700, 400), (700, 400)]
    grads = [torch.randn(shape) * (i + 1) for i, shape in enumerate(shapes)]

    def learned(sets):
        weights = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
        for places in sets:
            muon = optim.Muon([optim.Group([weights[i] for i in places], 0.1)], 0.1)
            muon.low = low
            for turn in (1, -0.3):
                for i in places:
                    weights[i].grad = grads[i] * turn
                muon.step(0.5)
        return [w.detach() for w in weights]

    together, apart = learned([range(len(shapes))]), learned([[i] for i in range(len(shapes))])
    for one, other in zip(together, apart, strict=True):
        assert torch.allclose(one, other, atol=2e-3 if low else 1e-6) and (one - 1).abs().max() > 0.01


def test_muon_goes_along_its_momentum_made_orthogonal():
    """The sum of gradients fades by 0.9; the newest counts once more (Nesterov); tall matrices go further, by the root of their shape."""
    torch.manual_seed(2)
    weight = nn.Parameter(torch.ones(12, 3))
    first, second = torch.randn(2, 12, 3)
    muon = optim.Muon([optim.Group([weight], 0.0)], 0.1)
    for grad in (first, second):
        before, weight.grad = weight.detach().clone(), grad
        muon.step(1.0)
    wanted = optim.orthogonal(second + 0.9 * (0.9 * first + second))
    assert torch.allclose(before - weight.detach(), 0.1 * 2 * wanted, atol=1e-6)


def test_muon_leaves_the_vectors_of_many_words_to_adamw_at_its_own_rate():
    """Of characters it keeps them. Norms, biases and vectors that do not decay learn at a tenth of its rate."""
    words = nn.Sequential(nn.Embedding(1050, 8), TokenVectors(30, 8), nn.LayerNorm(8), nn.Linear(8, 50))
    rest, vectors, muon = optim.optimizers("muon", words, 0.02, 0.1)
    assert [p.shape for p in muon.weights] == [(50, 8)] and muon.lr == 0.02
    assert [p.shape for p in vectors.weights] == [(1050, 8)] and vectors.lr == 0.02 and vectors.groups[0].decay == 0.1
    assert [len(p) for p in rest.weights] == [240 + 66] and rest.lr == 0.002 and rest.groups[0].decay == 0.0
    assert optim.optimizers("muon", words, 0.05, 0.1)[1].lr == optim.WORDS < 0.05
    signs = nn.Sequential(nn.Embedding(60, 8), nn.LayerNorm(8), nn.Linear(8, 50))
    rest, muon = optim.optimizers("muon", signs, 0.02, 0.1)
    assert [p.shape for p in muon.weights] == [(60, 8), (50, 8)] and [len(p) for p in rest.weights] == [66]
    rest, muon = optim.optimizers("muon", nn.Sequential(nn.Linear(50, 8), nn.Linear(8, 50)), 0.02, 0.1)
    assert [p.shape for p in muon.weights] == [(8, 50)] and sum(len(p) for p in rest.weights) == 400 + 58


def test_health_speaks_once():
    health = Health()
    health.first_loss(9.0, 2.3)
    health.learning(2.3, 2.3, 0.5)
    health.gap(0.01, 1.0, 0.9)
    said = health.say()
    assert "first loss is 9.00" in said[0] and "does not learn" in said[1] and "over-fits" in said[2]
    health.first_loss(9.0, 2.3)
    assert health.say() == []


def test_health_sees_dead_saturated_and_vanishing():
    health = Health()
    net = lamina.core.catalog.find("nets", "mlp").Net(
        lamina.core.catalog.find("nets", "mlp").Config(members=1, depth=6, activation="sigmoid", ranked=False, width=16)
    )
    for p in net.features.parameters():
        p.data.mul_(40)
    net.eval()
    batch = {"numbers": torch.randn(32, 4), "target": torch.zeros(32, dtype=torch.long)}
    health.activations(net, batch)
    torch.nn.functional.cross_entropy(net(batch["numbers"]), batch["target"]).backward()
    net.features[0].weight.grad.mul_(1e-9)
    health.gradients(net)
    said = " ".join(health.say())
    assert "saturated" in said and "vanish" in said
    dead = torch.nn.Sequential(torch.nn.ReLU())
    dead.__class__ = type("Net", (torch.nn.Sequential,), {"__module__": "lamina.nets.resnet"})
    health.activations(dead, {"image": -torch.ones(4, 3, 2, 2)})
    assert "dead" in " ".join(health.say())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"minutes": 0}, "--minutes must be more than 0, not 0"),
        ({"epochs": 1, "steps": 5}, "--epochs and --steps"),
        ({"batch": 1}, "--batch must be between 2"),
        ({"lr": float("nan")}, "--lr must be between"),
    ],
)
def test_recipe_refuses(settings, message):
    with pytest.raises(SettingError, match=message):
        Recipe(**settings)


def test_disk_full_is_named_and_the_last_state_stays(small, monkeypatch):
    monkeypatch.setattr(engine, "SAVE", 0.0)
    monkeypatch.setattr(engine, "SAVE_VALIDATED", 0.0)
    monkeypatch.setattr(engine, "TICK", 0.0)
    prepared, run, task, net = small(epochs=5)
    real, count = os.fsync, itertools.count()

    def full(number):
        if next(count) > 40:
            raise OSError(28, "No space left on device")
        return real(number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device; what was saved before is intact"):
        train((prepared, run, task, net))
    monkeypatch.setattr(os, "fsync", real)
    again = small("unused", epochs=5)
    reports = train((prepared, run, again[2], again[3]))
    assert reports[-1].fraction == 1
    assert not list(Path(run.path).rglob("*.new"))


def test_numbers_are_normalised_once_to_the_same_bits(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    columns = {
        "a": random.normal(5, 3, 400),
        "b": random.exponential(2, 400),
        "c": random.integers(0, 3, 400).astype(str),
    }
    columns["a"][:9] = np.nan
    table = lamina.open(pandas.DataFrame({**columns, "y": np.nan_to_num(columns["a"]) * columns["b"]}), target="y")
    calls, encode = [], RowEncoder.encode
    monkeypatch.setattr(RowEncoder, "encode", lambda *given: calls.append(1) or encode(*given))
    made = []
    for name in ("once", "always"):
        calls.clear()
        lamina.fit(table, run=tmp_path / name, steps=30, batch=32)
        made.append(((tmp_path / name / "best.safetensors").read_bytes(), len(calls)))
        monkeypatch.setattr(freeze, "_normalise", lambda *_: None)
    (bits, few), (same_bits, many) = made
    assert bits == same_bits and few + 30 < many


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_line_of_progress_is_one_line_of_the_terminal(width):
    """Its bar takes the room that is left."""
    from rich.console import Console

    from lamina.show import BAR, Display

    report = Report(900, 10.7, 9.3, 0.5, 0.537, "accuracy", None, 0.986, 7213.0, 0.06, 8.0, 5.0, True)
    display = Display(Console(width=width, force_terminal=True))
    display.rate = "images/s"
    line, plain = (display._line(report, bar=bar).plain for bar in (True, False))
    assert len(line) <= width and line.endswith("0:05 left") and "data 6%  0:05 left" in plain
    assert line.count("━") == {80: 0, 100: 100 - len(plain) - 2, 120: BAR}[width] and ("data" in line) == (width > 80)
