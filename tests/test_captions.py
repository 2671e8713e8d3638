"""Captions: sources, measures against worked values, beam search, runs that write, resume and ship."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

import lamina
from lamina import api
from lamina.cli import main
from lamina.core.answers import Text
from lamina.core.errors import SettingError, ShipError
from lamina.data._tokens import END, PADDING, START
from lamina.measures import captions as measures
from lamina.nets import show_and_tell
from lamina.tasks import caption
from lamina.train.plan import Wishes
from lamina.train.recipe import Recipe

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (240, 240, 240)}
TINY = {"net_settings": {"hidden": 48, "embedding": 24, "dropout": 0.0}, "show": False, "batch": 16, "lr": 0.01}


@pytest.fixture
def squares(tmp_path):
    """96 pictures of a square in one of four colours, left or right, with two sentences each."""
    random, folder, lines = np.random.default_rng(0), tmp_path / "squares", ["image,caption"]
    folder.mkdir()
    for i in range(96):
        colour, left = list(COLOURS)[i % 4], i % 3 == 0
        array = random.integers(60, 120, (24, 32, 3)).astype(np.uint8)
        array[6:18, (4 if left else 18) : (14 if left else 28)] = COLOURS[colour]
        Image.fromarray(array).save(folder / f"{i}.png")
        side = "left" if left else "right"
        lines += [f"{i}.png,a {colour} square at the {side}.", f'{i}.png,"there is a {colour} square, {side}."']
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    return folder / "captions.csv"


def test_several_sentences_of_one_picture_are_one_row(squares):
    table = lamina.open(squares)
    assert len(table) == 96 and table.reader == "captions" and table.target == "caption"
    assert table["caption"].values[0] == ("a red square at the left.", "there is a red square, left.")
    plan = lamina.look(table).plan
    assert plan.task == "caption" and plan.net == "show_and_tell" and plan.target.shape[0] == 2
    train = lamina.look(table).full
    words = " ".join(t for row in train.take(train.rows(0))["caption"].values for t in row)
    assert all(name in words for name in plan.target.tokens.vocabulary)


def test_what_is_wrong_is_named(squares):
    text = squares.read_text().splitlines()
    squares.write_text("\n".join([text[0], "0.png,", "none.png,nothing there", *text[1:]]))
    table = lamina.open(squares)
    assert ("row 2", "the caption of 0.png is empty") in [(b.where, b.why) for b in table.bad]
    assert ("none.png", "does not exist") in [(b.where, b.why) for b in table.bad]
    assert len(table) == 96


def test_coco_and_json_lines(squares):
    folder = squares.parent
    images = [{"id": 7 + i, "file_name": f"{i}.png"} for i in range(12)]
    notes = [{"id": i, "image_id": 7 + i % 12, "caption": f"picture {i}"} for i in range(24)]
    (folder / "train2017").mkdir()
    for i in range(12):
        (folder / f"{i}.png").rename(folder / "train2017" / f"{i}.png")
    (folder / "captions_train2017.json").write_text(json.dumps({"images": images, "annotations": notes}))
    table = lamina.open(folder / "captions_train2017.json")
    assert len(table) == 12 and table["caption"].values[3] == ("picture 3", "picture 15") and not table.bad
    lines = [json.dumps({"file": f"train2017/{i}.png", "captions": ["one", f"two {i}"]}) for i in range(12)]
    (folder / "some.jsonl").write_text("\n".join(lines))
    assert lamina.open(folder / "some.jsonl")["caption"].values[5] == ("one", "two 5")


def test_a_label_beside_captions_can_still_be_learned(squares):
    lines = ["image,caption,kind", *(f"{i}.png,some words here,{'ab'[i % 2]}" for i in range(40))]
    (squares.parent / "both.csv").write_text("\n".join(lines))
    assert lamina.open(squares.parent / "both.csv", target="kind")["kind"].field.kind == "label"


def test_cider_against_worked_values():
    references = [["a red bird"], ["a blue fish"]]
    measure = measures.Cider(references)
    # "a" is in both: its weight is 0. red, bird, and both longer phrases weigh ln 2 each: a copy has cosine 1 for n = 1, 2, 3.
    assert measure.score(0, "a red bird") == pytest.approx(7.5)
    # one of two words that count: cosine 1/2 for n = 1; "a red" is one of two phrases: 1/2, the other ("red fish") unseen,
    # weighs ln 2 too; n = 3: nothing.
    assert measure.score(0, "a red fish") == pytest.approx(10 / 4 * (0.5 + 0.5))
    assert measure.score(0, "A red bird!") == pytest.approx(7.5) and measure.score(1, "a red bird") == 0
    # said twice: counts are clipped to the reference's, lengths differ by three words.
    twice = measure.score(0, "a red bird a red bird")
    assert 0 < twice < 7.5 * math.exp(-9 / 72) + 1e-9
    assert measures.Cider([["a red bird", "one bird"], ["a fish"]]).score(0, "a red bird") > 4


def test_bleu_is_that_of_sacrebleu():
    answers, references = ["the cat sat on the mat"], [["the cat sat on a mat", "a cat is on the mat"]]
    import sacrebleu

    wanted = sacrebleu.corpus_bleu(answers, [[references[0][0]], [references[0][1]]], lowercase=True).score
    assert measures.bleu(answers, references) == pytest.approx(wanted) and 0 < wanted < 100
    assert measures.bleu(["a b c d"] * 2, [["a b c d"], ["x", "a b c d"]]) == pytest.approx(100)


def test_recall_of_a_retrieval():
    similarity = np.array([[3.0, 1, 2], [5, 4, 1], [9, 8, 7]])  # places 1, 2, 3
    assert measures.recall(similarity, (1, 2, 3)) == pytest.approx({"at_1": 1 / 3, "at_2": 2 / 3, "at_3": 1})
    assert measures.recall(np.zeros((10, 10)), (1, 5, 10)) == {"at_1": 0.0, "at_5": 1.0, "at_10": 1.0}


class Scripted(torch.nn.Module):
    """Writes by a table of likelihoods: word 4 first looks best, and leads to worse sentences than word 5."""

    def see(self, image):
        return image.flatten(1)[:, :1, None]

    def first(self, places):
        return places[:, 0], places[:, 0]

    def next(self, state, word, places):
        odds = {
            START: {4: 0.6, 5: 0.4},
            4: {6: 0.4, 7: 0.3, END: 0.3},
            5: {7: 0.95, END: 0.05},
            6: {END: 1.0},
            7: {END: 1.0},
        }
        logits = torch.full((len(word), 8), 1e-6)
        for i, w in enumerate(word.tolist()):
            for k, p in odds.get(w, {}).items():
                logits[i, k] = p
        return logits.log(), state, None


def test_beam_search_finds_what_greedy_misses():
    image = torch.zeros(2, 3, 4, 4)
    assert caption.greedy(Scripted(), image, 5).tolist() == [[4, 6, END, PADDING, PADDING]] * 2
    assert caption.beam(Scripted(), image, 5, 2).tolist() == [[5, 7, END, PADDING, PADDING]] * 2


@pytest.mark.parametrize("attention", [False, True])
def test_teacher_forcing_and_writing_agree(attention):
    torch.manual_seed(0)
    net = show_and_tell.Net(show_and_tell.Config(shape=(3, 20, 28), classes=12, attention=attention)).eval()
    image, tokens = torch.rand(3, 3, 20, 28), torch.tensor([[2, 5, 7], [2, 6, 4], [2, 9, 9]])
    whole, places = net(image, tokens), net.see(image)
    state = net.first(places)
    for i in range(3):
        logits, state, where = net.next(state, tokens[:, i], places)
        assert torch.allclose(logits, whole[:, i], atol=1e-5)
        assert (where is None) == (not attention)
        if where is not None:
            assert torch.allclose(where.sum(1), torch.ones(3))


def test_a_run_learns_to_tell_asks_reports_and_ships(squares, capsys):
    run = lamina.fit(squares, steps=50, run="one", **TINY)
    made = run.score()
    assert made.name == "cider" and made.value > 2 * made.baselines["always the same"] and made.low < made.high
    answer = run.ask(squares.parent / "0.png")
    assert isinstance(answer, Text) and "square" in answer.text and "red" in answer.text and "left" in answer.text
    assert main(["ask", "one", str(squares.parent / "1.png")]) == 0
    assert "green" in capsys.readouterr().out
    assert "CIDEr" in run.report().read_text()
    shipped = lamina.load(run.ship())
    assert shipped.ask(squares.parent / "0.png") == answer and shipped.content["parity"]["bit_equal"]
    with pytest.raises(ShipError, match="browser cannot carry this net: it answers caption"):
        run.ship("browser")


def test_resuming_ends_in_the_same_bits(squares, monkeypatch):
    monkeypatch.setattr("lamina.train.ways.REPEATED", 1e9)
    whole = lamina.fit(squares, steps=9, run="whole", **TINY)
    settings = {k: str(v) for k, v in TINY["net_settings"].items()}
    wishes, seen = Wishes(net_settings=settings, recipe=Recipe(steps=9, batch=16, lr=0.01)), []
    api.train(lamina.open(squares), wishes, squares.parent / "cut", stop=lambda: seen.append(1) or len(seen) > 1)
    resumed = api.resume(squares.parent / "cut")
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name]), name
    assert whole.score().value == resumed.score().value


def test_mirrored_pictures_do_not_fit_their_sentences(squares):
    with pytest.raises(SettingError, match="do not fit their sentences"):
        lamina.fit(squares, steps=2, augment="flip", run="m", **TINY)
