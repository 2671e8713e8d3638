"""retrieve: measures by counting, the two towers, runs that find sentences and say which region each word chose."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lamina
from lamina import api
from lamina.cli import main
from lamina.core.answers import Ranked
from lamina.core.errors import SettingError
from lamina.measures import retrieval
from lamina.nets import two_tower
from lamina.tasks.retrieve import Retrieve
from lamina.train.plan import Wishes
from lamina.train.recipe import Recipe

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (240, 240, 240)}
TINY = {"net_settings": {"width": 32, "embedding": 16, "dropout": 0.0}, "batch": 16, "augment": "none"}


@pytest.fixture
def squares(tmp_path):
    """64 pictures of two squares, above and below, in different colours of four, with a sentence each."""
    random, folder, lines = np.random.default_rng(0), tmp_path / "squares", ["image,caption"]
    folder.mkdir()
    for i in range(64):
        one, other = random.choice(list(COLOURS), 2, replace=False)
        array = random.integers(60, 120, (32, 24, 3)).astype(np.uint8)
        array[2:12, 4:20], array[20:30, 4:20] = COLOURS[one], COLOURS[other]
        Image.fromarray(array).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{one} above and {other} below.")
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    return folder / "captions.csv"


def test_places_by_counting():
    random = np.random.default_rng(1)
    owner = np.array([0, 0, 1, 2, 2, 2])
    fits = random.permutation(18).reshape(3, 6).astype(float)
    sentence, picture = retrieval.ranks(fits, owner)
    for i in range(3):
        own = [k for k in range(6) if owner[k] == i]
        better = [k for k in range(6) if owner[k] != i and fits[i, k] > max(fits[i, own])]
        assert sentence[i] == 1 + len(better)
    for k in range(6):
        assert picture[k] == 1 + sum(fits[i, k] > fits[owner[k], k] for i in range(3))
    found = retrieval.finish(np.array([1.0, 4, 11, np.nan]), np.array([[2.0, 1], [6, np.nan]]))
    assert found["sentence_at_1"] == pytest.approx(1 / 3) and found["sentence_at_5"] == pytest.approx(2 / 3)
    assert found["picture_at_10"] == 1 and found["picture_median_rank"] == 2 and found["sentence_median_rank"] == 4
    tied = retrieval.ranks(np.zeros((4, 4)), np.arange(4))
    assert tied[0].tolist() == tied[1].tolist() == [2.5] * 4  # equal fits are no find


def test_chance_is_that_of_orders_drawn():
    random = np.random.default_rng(2)
    drawn = [
        retrieval.finish(*retrieval.ranks(random.random((20, 40)), np.repeat(np.arange(20), 2)))["mean_recall"]
        for _ in range(300)
    ]
    assert retrieval.chance(20, 40) == pytest.approx(np.mean(drawn), abs=0.01)


def test_words_choose_the_region_that_fits_best_and_padding_says_nothing():
    regions = torch.tensor([[[4.0, 0], [0, 2]], [[1, 0], [0, 1]]])  # two pictures of two regions
    words = torch.tensor([[[1.0, 0], [0, 1], [9, 9]]])
    there = torch.tensor([[True, True, False]])
    fits, each, chosen = two_tower.align(regions, words, there)
    assert (fits * 2**0.5).flatten().tolist() == pytest.approx([6, 2])  # 4 + 2, 1 + 1
    assert chosen[:, 0, :2].tolist() == [[0, 1], [0, 1]] and each.shape == (2, 1, 3)
    torch.manual_seed(0)
    net = two_tower.Net(two_tower.Config(shape=(3, 20, 28))).eval()
    short, long = torch.tensor([[2, 7, 9, 3]]), torch.tensor([[2, 7, 9, 3, 0, 0]])
    assert torch.allclose(net.read(short), net.read(long)[:, :4], atol=1e-6)
    image = torch.rand(2, 3, 20, 28)
    assert torch.allclose(net(image, short), net(image, long), atol=1e-5)


def test_equal_sentences_are_not_pushed_apart():
    fits = torch.tensor([[1.0, 5, 0], [5, 1, 0], [0, 0, 3]])
    sentence = torch.tensor([[2, 4], [2, 4], [2, 5]])
    found = Retrieve._ranked(fits, sentence)
    assert found[0] == 0 and found[2] == 0  # 5 belongs to an equal sentence; 0 is a margin away
    assert Retrieve._ranked(fits, torch.tensor([[2, 4], [2, 6], [2, 5]]))[0] > 4


def test_a_run_finds_sentences_asks_draws_reports_and_ships(squares, capsys):
    run = lamina.fit(squares, task="retrieve", steps=60, lr=0.01, run="one", show=False, **TINY)
    made = run.score()
    assert run.plan.net == "two_tower" and made.name == "mean_recall" and made.low <= made.value <= made.high
    assert made.value > 1.5 * made.baselines["chance"], made
    answer = run.ask(squares.parent / "0.png")
    assert isinstance(answer, Ranked)
    truth = squares.read_text().splitlines()[1].partition(",")[2]
    assert answer.chosen == (truth,), answer.sentences
    assert [w for w, *_ in answer.words][:3] == truth.rstrip(".").split()[:3]
    first = answer.words[0][2]
    assert (first[1] + first[3]) / 2 < 0.6  # the colour that is named first stands above
    assert main(["ask", "one", str(squares.parent / "1.png"), "--out", "drawn"]) == 0
    assert "above and" in capsys.readouterr().out
    told = json.loads(next(p for p in (squares.parent.parent / "drawn").iterdir() if p.suffix == ".json").read_text())
    assert len(told["sentences"]) == 5 and {"word", "fit", "left"} <= set(told["words"][0])
    assert "six recalls" in run.report().read_text()
    found = run.answers(truth, squares.parent)[0]  # words, then where to look for them
    order = [name for name, _ in found]
    lines = dict(line.split(",", 1) for line in squares.read_text().splitlines()[1:])
    assert len(found) == 64 and all(a.fit >= b.fit for (_, a), (_, b) in itertools.pairwise(found))
    assert lines[Path(order[0]).name] == truth, order[:3]
    assert run.answers(truth, squares.parent / "0.png", squares.parent / "1.png")[0][0][1] in [a for _, a in found]
    assert main(["ask", "one", truth]) == 2 and "come behind it" in capsys.readouterr().err
    assert main(["ask", "one", "xyzzy", str(squares.parent)]) == 2 and "no word of" in capsys.readouterr().err
    shipped = lamina.load(run.ship())
    assert shipped.ask(squares.parent / "0.png") == answer and shipped.content["parity"]["bit_equal"]


def test_resuming_ends_in_the_same_bits(squares, monkeypatch):
    monkeypatch.setattr("lamina.train.ways.REPEATED", 1e9)
    whole = lamina.fit(squares, task="retrieve", steps=7, run="whole", show=False, **{**TINY, "augment": "shift"})
    settings = {k: str(v) for k, v in TINY["net_settings"].items()}
    recipe, seen = Recipe(steps=7, batch=16, augment="shift"), []
    wishes = Wishes(task="retrieve", net_settings=settings, recipe=recipe)
    table = lamina.open(squares)
    api.train(table, wishes, squares.parent / "cut", stop=lambda: seen.append(1) or len(seen) > 1)
    resumed = api.resume(squares.parent / "cut")
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name]), name


def test_nets_that_do_other_things_are_named(squares):
    with pytest.raises(SettingError, match="try --net two_tower"):
        lamina.fit(squares, task="retrieve", net="show_and_tell", steps=1, run="w", show=False)
    with pytest.raises(SettingError, match="try --net show_and_tell"):
        lamina.fit(squares, task="caption", net="two_tower", steps=1, run="v", show=False)


@pytest.mark.parametrize("task", ["retrieve", "caption"])
def test_a_frozen_trunk_is_computed_once_and_answers_alike(squares, task, monkeypatch):
    monkeypatch.setattr("lamina.train.ways.REPEATED", 1e9)
    sizes = TINY["net_settings"] if task == "retrieve" else {"hidden": 16, "embedding": 8, "dropout": 0.0}
    how = {"task": task, "freeze": "features", "steps": 4, "batch": 16, "augment": "none", "net_settings": sizes}
    once = lamina.fit(squares, **how, run="once", show=False)
    monkeypatch.setattr("lamina.train.freeze.SHARE", 0.0)  # no memory: made anew in every update
    anew = lamina.fit(squares, **how, run="anew", show=False)
    told = [" ".join(s for r in run.run.history("report") for s in r.get("sentences", ())) for run in (once, anew)]
    assert "computed once" in told[0] and "made anew" in told[1]
    for name, value in anew.net.state_dict().items():
        assert torch.allclose(value, once.net.state_dict()[name], atol=1e-3), name
    assert once.score().numbers == pytest.approx(anew.score().numbers, abs=0.05)
