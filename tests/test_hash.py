"""Codes of bits: searched as distances written out, learned without labels, shipped."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import lamina
from lamina.cli import main
from lamina.core.errors import DataError, NameUnknown, SettingError
from lamina.nets import semantic_hash
from lamina.tasks import _codes


@pytest.mark.parametrize("bits", [8, 24, 64, 128])
def test_nearest_codes_are_those_of_all_distances(bits):
    random = np.random.default_rng(bits)
    held, asked = random.random((300, bits)) < 0.5, random.random((20, bits)) < 0.5
    apart = (held[None] != asked[:, None]).sum(2)
    codes, wanted = _codes.packed(held), _codes.packed(asked)
    assert np.array_equal(_codes.distances(codes, wanted), apart)
    assert np.array_equal(_codes.nearest(codes, wanted, 7), np.argsort(apart, 1, kind="stable")[:, :7])
    labels = np.arange(300) % 3
    assert _codes.precision(np.array([[0, 1, 3]]), np.array([0]), labels).tolist() == [pytest.approx(2 / 3)]


@pytest.mark.parametrize("code", semantic_hash.CODES)
def test_bits_are_the_signs_of_the_scores_and_learn(code):
    torch.manual_seed(0)
    net = semantic_hash.Net(semantic_hash.Config(vocabulary=50, bits=16, code=code))
    tokens = torch.randint(4, 50, (5, 9))
    nn.functional.cross_entropy(net(tokens), tokens[:, 0]).backward()
    assert net.encode.weight.grad.abs().sum() > 0
    net.eval()
    taken = []
    net.decode[0].register_forward_pre_hook(lambda _, x: taken.append(x[0]))
    net(tokens)
    assert torch.equal(taken[0], torch.where(net.scores(tokens) > 0, 1.0, -1.0))
    with pytest.raises(SettingError, match="packed into bytes"):
        semantic_hash.Net(semantic_hash.Config(bits=12))
    with pytest.raises(NameUnknown, match="did you mean 'noise'"):
        semantic_hash.Net(semantic_hash.Config(code="noisy"))


def of_two_kinds():
    random = np.random.default_rng(0)
    kinds = {
        "sea": ["ship", "wave", "sail", "harbour", "storm", "deck", "anchor"],
        "farm": ["cow", "field", "plough", "barn", "hay", "milk", "seed"],
    }
    filler = ["the", "a", "of", "we", "was", "and", "in", "on", "at", "it"]
    return [
        (kind, " ".join(random.permutation([*random.choice(words, 5), *random.choice(filler, 6)])))
        for kind, words in kinds.items()
        for _ in range(110)
    ]


def test_texts_of_a_kind_get_like_codes(tmp_path):
    rows = of_two_kinds()
    frame = pd.DataFrame(rows, columns=["kind", "text"])
    settings = {"bits": 16, "hidden": 32}
    run = lamina.fit(
        frame, task="hash", target="kind", net_settings=settings, epochs=25, batch=16, show=False, run=tmp_path / "run"
    )
    score = run.score()
    assert score.value > 0.8 and all(v < 0.6 for v in score.baselines.values()), score.baselines
    code = run.ask("a ship in the storm").text
    assert len(code) == 4 and lamina.load(run.ship()).ask("a ship in the storm").text == code
    with pytest.raises(SettingError, match="asks for codes"):
        lamina.look(frame, task="hash", target="kind", net="rnn")


def test_texts_without_labels_get_codes(tmp_path, capsys):
    (tmp_path / "texts").mkdir()
    for i, (_, text) in enumerate(of_two_kinds()):
        (tmp_path / "texts" / f"{i}.txt").write_text(f"{text} {text}")
    how = {"net_settings": {"bits": 16, "hidden": 32}, "epochs": 20, "batch": 16, "show": True}
    run = lamina.fit(tmp_path / "texts", task="hash", run=tmp_path / "run", **how)
    score = run.score()
    assert score.name == "nats_per_word" and score.value < 0.95 * score.baselines["words by how often they are"]
    assert score.low <= score.value <= score.high and "precision_at_10" not in score.numbers
    codes = [
        np.frombuffer(bytes.fromhex(run.ask(text).text), np.uint8)
        for text in ("ship wave sail deck", "ship storm deck", "cow barn hay milk")
    ]
    apart = [int(np.unpackbits(codes[0] ^ other).sum()) for other in codes[1:]]
    assert apart[0] < apart[1]
    near = run.answers("ship wave sail deck", tmp_path / "texts")[0]
    texts = [(tmp_path / "texts" / f"{i}.txt").read_text() for i in range(220)]
    every = [np.frombuffer(bytes.fromhex(answer.text), np.uint8) for _, answer in run.answers(*texts)[0]]
    bits = np.unpackbits(np.stack(every) ^ codes[0], axis=1).sum(1)
    assert [answer.bits for _, answer in near] == sorted(bits.tolist())[:10] and near[0][1].all_bits == 16
    assert all(answer.bits == bits[int(name.removesuffix(".txt"))] for name, answer in near)
    assert main(["ask", str(run.path), "ship wave sail deck", str(tmp_path / "texts"), "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()[-10:]]
    assert [line["answer"] for line in told] == sorted(bits.tolist())[:10]
    (tmp_path / "long").mkdir()
    for i in range(8):
        (tmp_path / "long" / f"{i}.txt").write_text(f"{texts[i]} {texts[i]}")
    assert main(["ask", str(run.path), "ship", str(tmp_path / "long")]) == 0
    said = capsys.readouterr().err
    assert said.count("of which the net reads the first") == 5 and "3 more texts are longer" in said
    table = pd.DataFrame({"text": [text for _, text in of_two_kinds()]})
    assert lamina.look(table, task="hash").plan.target.kind == "itself"
    (tmp_path / "one.txt").write_text("a text that stands alone and goes on\n" * 60)
    with pytest.raises(DataError, match="is one text; bring many"):
        lamina.look(tmp_path / "one.txt", task="hash")
