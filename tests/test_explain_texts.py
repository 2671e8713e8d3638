"""Why a net answers so for a text: occlusion, integrated gradients and attention, over every net that reads texts."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import lamina
from lamina import explaining
from lamina.core import catalog
from lamina.core.errors import SettingError
from lamina.data._table import Column, Field, Table
from lamina.data._tokens import Tokens
from lamina.explain import _words, attention, integrated_gradients, occlusion
from lamina.explain._method import Question, batches_of
from lamina.nets._rotary import turned, turning
from lamina.tasks.classify import Classify

NETS = ("bag_of_words", "textcnn", "rnn", "transformer")
TEXT = "the sea was superb and cold"


def subject(name, text=TEXT, tokens=None, **settings):
    """(task, net, batch of one text, question), weights as drawn."""
    tokens = tokens or Tokens("words", ("the", "sea", "was", "superb", "and"), lower=True)
    field = Field("review", "text", shape=(40,), tokens=tokens)
    columns = {
        "review": Column(field, np.array([text, None], object)[:1]),
        "y": Column(Field("y", "label", ("bad", "good")), np.array([1])),
    }
    table = Table(columns, "made", "memory", np.array(["row 0"], object), "y")
    module = catalog.find("nets", name)
    torch.manual_seed(0)
    net = module.Net(module.Config(vocabulary=len(tokens), **settings)).eval()
    for weight in net.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    task, question = Classify(columns["y"].field, {}), Question(1, (field,))
    batch = batches_of(task, net, table, np.array([0]), question).slice(0, 1)
    return task, net, {k: v for k, v in batch.items() if k != "target"}, question


@pytest.mark.parametrize("name", NETS)
def test_occlusion_of_a_word_is_the_fall_of_the_score(name):
    task, net, batch, question = subject(name)
    found = occlusion.explain(task, net, batch, question, occlusion.Config())
    assert found.names == ("the", "sea", "was", "superb", "and", "\ufffd")
    without = batch["tokens"].clone()
    without[0, 4] = 1  # superb: <start> stands first
    with torch.no_grad():
        fall = net(batch["tokens"])[0, 1] - net(without)[0, 1]
    assert found.arrays["falls"][3] == pytest.approx(float(fall), abs=1e-5) and abs(found.arrays["falls"][5]) < 1e-5
    two = occlusion.explain(task, net, batch, question, occlusion.Config(words=2)).arrays["falls"]
    assert two.shape == (6,) and not np.allclose(two, found.arrays["falls"])
    assert found.summary.startswith("For it: ") and "superb</span>" in found.page
    with pytest.raises(SettingError, match="words must be between 1 and 6, not 9"):
        occlusion.explain(task, net, batch, question, occlusion.Config(words=9))


@pytest.mark.parametrize("name", NETS[1:])
def test_shares_of_words_add_up_to_the_score(name):
    task, net, batch, question = subject(name)
    before = [w.clone() for w in net.parameters()]
    found = integrated_gradients.explain(task, net, batch, question, integrated_gradients.Config())
    nothing = batch["tokens"].masked_fill(batch["tokens"] >= 4, 1)
    with torch.no_grad():
        difference = float(net(batch["tokens"])[0, 1] - net(nothing)[0, 1])
    assert found.arrays["shares"].sum() == pytest.approx(difference, rel=0.02, abs=1e-3)
    assert found.arrays["shares"][5] == pytest.approx(0, abs=1e-6)  # a word that is unknown adds nothing
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True)) and not net.training


def test_a_bag_has_no_vectors_and_a_recurrent_net_no_attention():
    task, net, batch, question = subject("bag_of_words")
    with pytest.raises(SettingError, match="vector per word, and this net has none; try occlusion"):
        integrated_gradients.explain(task, net, batch, question, integrated_gradients.Config())
    task, net, batch, question = subject("rnn")
    with pytest.raises(SettingError, match="needs a transformer"):
        attention.explain(task, net, batch, question, attention.Config())


@pytest.mark.parametrize("pool", ["mean", "first"])
def test_attention_is_what_the_layers_computed(pool):
    task, net, batch, question = subject("transformer", pool=pool)
    found = attention.explain(task, net, batch, question, attention.Config(layer=1))
    shares = found.arrays["shares"]
    assert shares.shape == (2, 4, 7, 7) and np.allclose(shares.sum(-1), 1, atol=1e-5)
    with torch.no_grad():  # of the first layer, written out
        layer = net.features.layers[0]
        x = layer.attention_norm(net.features.embed(batch["tokens"]))
        parts = (p.view(1, 7, 4, -1).transpose(1, 2) for p in layer.attention.ask(x).chunk(3, -1))
        query, key = (turned(part, *turning(7, 32)) for part in list(parts)[:2])
        expected = (query @ key.transpose(2, 3) / 32**0.5).softmax(-1)[0]
    assert np.allclose(shares[0], expected.numpy(), atol=1e-5)
    rollout = found.arrays["rollout"]
    assert rollout.shape == (6,) and (rollout >= 0).all() and 0.3 < rollout.sum() < 1  # <start> has the rest
    with pytest.raises(SettingError, match=r"layer \(=3\) must be between 1 and 2"):
        attention.explain(task, net, batch, question, attention.Config(layer=3))


def test_a_net_that_reads_on_looks_at_no_later_word():
    """A GPT that tells classes by its last token: its rollout is that token's."""
    task, net, batch, question = subject("gpt", classes=2, depth=2, pool="last")
    found = attention.explain(task, net, batch, question, attention.Config())
    shares = torch.as_tensor(found.arrays["shares"])
    assert (
        shares.shape == (2, 4, 7, 7)
        and not shares.triu(1).any()
        and torch.allclose(shares.sum(-1), torch.ones(2, 4, 7))
    )
    whole = torch.eye(7)
    for share in shares.mean(1):
        whole = (share + torch.eye(7)) / 2 @ whole
    assert np.allclose(found.arrays["rollout"], whole[-1, 1:].numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", ["bytes", "characters", "pairs", "words"])
def test_words_are_put_together_from_their_tokens(kind):
    text = "caf\u00e9 \u05e9\u05dc\u05d5\u05dd, \u65e5 ok"
    tokens = Tokens.fit([text * 3, "other words"], kind, 270 if kind == "pairs" else None, minimum=1)
    _, _, batch, question = subject("textcnn", text, tokens)
    names = _words.words_of("x", batch, question).names
    assert (
        "".join(names).replace(",", "") == "caf\u00e9\u05e9\u05dc\u05d5\u05dd\u65e5ok"
        and "ok" in names
        and "caf\u00e9" in names
    )


def test_an_empty_text_is_said():
    task, net, batch, question = subject("rnn", "")
    with pytest.raises(SettingError, match="a text of a word or more"):
        occlusion.explain(task, net, batch, question, occlusion.Config())


def test_texts_are_explained_from_run_to_files(tmp_path):
    random = np.random.default_rng(0)
    filler = ["the", "a", "hotel", "room", "was", "very", "and", "we"]
    label = np.arange(180) % 3  # nothing said is a class of its own: neither word is told by the other's absence
    texts = [
        " ".join([*random.choice(filler, 3 + i % 5), *[["awful"], ["superb"], []][c], *random.choice(filler, 2)])
        for i, c in enumerate(label)
    ]
    frame = pd.DataFrame({"review": texts, "label": np.array(["bad", "good", "plain"])[label]})
    settings = {"width": 32, "depth": 1, "heads": 2, "dropout": 0.0}
    run = lamina.fit(
        frame, net="transformer", net_settings=settings, epochs=15, batch=16, show=False, run=tmp_path / "run"
    )
    _, found, left = explaining.explain(run, "the room was superb and a hotel", "all", data=frame)
    by = {e.method: e for e in found}
    assert {"occlusion", "integrated_gradients", "attention"} <= set(by), left
    for method, key in (("occlusion", "falls"), ("integrated_gradients", "shares")):
        assert by[method].names[int(by[method].arrays[key].argmax())] == "superb", method
    explaining.save(found, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "occlusion.words.json").read_text())[3] == "superb"
    assert "superb" in (tmp_path / "out" / "attention.html").read_text()
    assert {m for m, _ in left} >= {"gradcam", "columns", "saliency"}
    assert run.explain("awful").about.startswith("label bad")
