"""Vectors of words: word2vec against autograd written out, the task from text to answers, files."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import lamina
from lamina.cli import main
from lamina.core.errors import DataError, NameUnknown, SettingError, ShipError
from lamina.nets import word2vec
from lamina.tasks import _vectors
from lamina.train.optim import optimizers

KINDS = [(m, o) for m in word2vec.MODELS for o in word2vec.OUTPUTS]


def made(model, output, width=6):
    torch.manual_seed(0)
    net = word2vec.Net(word2vec.Config(30, width, model, output, window=3, negatives=2))
    net.out.data.normal_()
    count = torch.arange(30).flip(0) + 1
    net.fit_counts(count)
    return net


def _written_out(net, tokens, seed):
    """The sum of the losses of all pairs, pair by pair, with the same draws."""
    random = torch.Generator().manual_seed(seed)
    reach = torch.randint(1, 4, tokens.shape, generator=random)
    drawn = torch.rand(len(tokens) // word2vec.GROUP, word2vec.NOISE, generator=random, dtype=torch.float64)
    noise = torch.searchsorted(net.noise, drawn).clamp(max=29)
    total, share = 0.0, net.config.negatives / word2vec.NOISE
    for i, word in enumerate(tokens.tolist()):
        if word < 4:
            continue
        own = range(max(0, i - int(reach[i])), min(len(tokens), i + int(reach[i]) + 1))
        around = [int(tokens[j]) for j in own if j != i and tokens[j] >= 4]
        if not around:
            continue
        cbow = net.config.model == "cbow"
        if net.config.output == "hierarchical":
            inputs = [net.near[around].mean(0)] if cbow else [net.near[a] for a in around]
            for fork, turn in zip(net.path[word].tolist(), net.turn[word].tolist(), strict=True):
                for x in inputs if turn >= 0 else ():
                    total = total - F.logsigmoid((2 * turn - 1) * (x @ net.out[fork]))
            continue
        others = net.out[noise[i // word2vec.GROUP]]
        pairs = [(net.near[around].mean(0), word)] if cbow else [(net.near[word], a) for a in around]
        for x, other in pairs:
            total = total - F.logsigmoid(x @ net.out[other]) - share * F.logsigmoid(-(others @ x)).sum()
    return total


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize(("model", "output"), KINDS)
def test_losses_and_gradients_are_those_of_the_pairs(model, output, share):
    net = made(model, output)
    torch.manual_seed(1)
    tokens = torch.randint(0, 30, (4 * word2vec.GROUP,))
    loss, pairs = net.losses(tokens, 5)
    (share * loss.sum()).backward()
    assert net.near.grad.is_sparse and (pairs[tokens < 4] == 0).all() and pairs.sum() > 200
    found = [p.grad.to_dense() for p in (net.near, net.out)]
    net.near.grad = net.out.grad = None
    expected = _written_out(net, tokens, 5)
    (share * expected).backward()
    assert float(loss.detach().sum()) == pytest.approx(float(expected.detach()), rel=1e-4)
    for own, p in zip(found, (net.near, net.out), strict=True):
        assert torch.allclose(own, p.grad, atol=1e-4 * float(p.grad.abs().max()))


@pytest.mark.parametrize(("model", "output"), KINDS)
def test_mixed_precision_changes_nothing(model, output):
    found = []
    for low in (False, True):
        net = made(model, output)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss, _ = net.losses(torch.randint(4, 30, (64,), generator=torch.Generator().manual_seed(1)), 5)
            loss.sum().backward()
        found.append((loss, net.near.grad.to_dense(), net.out.grad.to_dense()))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True)) and found[0][1].any()


def test_paths_tell_words_apart_and_common_ones_are_short():
    path, turn = word2vec.huffman([50.0, 30.0, 10.0, 5.0, 3.0, 2.0])
    codes = [tuple(zip(p[t >= 0].tolist(), t[t >= 0].tolist(), strict=True)) for p, t in zip(path, turn, strict=True)]
    assert len(set(codes)) == 6 and len(codes[0]) == 1 and len(codes[5]) == 5
    assert sum(2.0 ** -len(code) for code in codes) == 1  # Kraft: the tree is full
    assert {fork for code in codes for fork, _ in code} == set(range(5))


def test_rows_that_a_step_does_not_meet_stay_and_common_words_are_left_out():
    net = made("skipgram", "negative")
    before = net.near.detach().clone()
    (rows,) = optimizers("adamw", net, 0.1, 0.5)
    torch.manual_seed(0)
    loss, _ = net.losses(torch.arange(4, 12).repeat(16), 3)
    loss.sum().backward()
    rows.step(1.0)
    changed = (net.near.detach() != before).any(1)
    assert changed[4:12].all() and not changed[12:].any() and not changed[:4].any()
    assert torch.allclose(rows.state[0]["square"].gt(0), changed)
    net.config.__class__(sample=1e-3)
    net.keep.fill_(0.25)
    torch.manual_seed(0)
    assert len(net.losses(torch.randint(4, 30, (4096,)))[0]) == pytest.approx(1024, abs=2 * word2vec.GROUP)


@pytest.fixture
def book(tmp_path):
    """Days and numbers: words of a kind stand in the same places."""
    random = np.random.default_rng(0)
    days, numbers = ("monday", "tuesday", "friday"), ("seven", "eight", "nine")
    lines = [
        f"on {random.choice(days)} we came home"
        if random.random() < 0.5
        else f"there were {random.choice(numbers)} small ships"
        for _ in range(1600)
    ]
    (tmp_path / "book.txt").write_text("\n".join(lines))
    return tmp_path / "book.txt"


def test_words_of_a_kind_come_near_and_the_run_goes_into_files(book, tmp_path, capsys):
    settings = {"width": 16, "window": 2, "sample": 0}
    run = lamina.fit(book, task="embed", net_settings=settings, epochs=6, show=False, run=tmp_path / "run", batch=2)
    assert run.score().value < word2vec.loss_of_nothing(word2vec.Config()) * 0.9
    vectors = run.task.vectors(run.net)
    assert {w for w, _ in vectors.nearest("monday", 2)} == {"tuesday", "friday"}
    assert str(run.ask("seven")).split()[0] in ("eight", "nine")
    assert main(["ask", str(run.path), "seven - monday + friday"]) == 0 and "eight" in capsys.readouterr().out
    assert lamina.load(run.ship()).ask("seven").text == run.ask("seven").text
    path = run.ship("vectors", tmp_path / "words")
    assert lamina.load(path).ask("seven").text == run.ask("seven").text
    assert main(["ask", str(path), "seven"]) == 0 and run.ask("seven").text in capsys.readouterr().out
    assert np.array_equal(np.load(tmp_path / "words.npy"), vectors.values)
    rows = (tmp_path / "words.words.tsv").read_text().split("\n")[:-1]
    assert len(rows) == len(vectors.words) == len((tmp_path / "words.tsv").read_text().splitlines())
    assert _vectors.Vectors(("sea", "GOD", "God"), np.eye(3, dtype=np.float32)).place("god") == 1
    with pytest.raises(NameUnknown, match="did you mean 'seven'"):
        run.ask("sevem")
    with pytest.raises(DataError, match="sum of words"):
        run.ask("two words")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: holds no count"),
        ("2 3\na 1 2 3\nb 1 2\n", "line 3: 2 numbers where line 1 says 2 words of 3"),
        ("2 3\na 1 2 3\n", "ends after 1 words"),
        ("1 2\na 1 x\n", "no text file of word vectors"),
    ],
)
def test_files_of_vectors_that_are_wrong(tmp_path, content, message):
    (tmp_path / "a.vec").write_text(content)
    with pytest.raises(DataError, match=message):
        _vectors.read_text(tmp_path / "a.vec")


def test_any_word_survives_the_file(tmp_path):
    values = np.array([[1e-30, -2.5], [np.float32(0.1), 3e10]], np.float32)
    given = _vectors.Vectors(("\u05e9\u0301", "\ud800"), values)
    _vectors.write_text(given, tmp_path / "a.vec")
    found = _vectors.read_text(tmp_path / "a.vec")
    assert found.words == given.words and np.array_equal(found.values, values)


def test_what_cannot_be_embedded_says_so(people, book, tmp_path):
    with pytest.raises(DataError, match="learns words from running text"):
        lamina.look(people, task="embed")
    with pytest.raises(SettingError, match="asks for vectors"):
        lamina.look(book, task="embed", net="gpt")
    assert lamina.look(book).plan.task == "write"
    run = lamina.fit(people, target="class", steps=2, show=False)
    with pytest.raises(ShipError, match="no vectors of words"):
        run.ship("vectors")


def test_a_stopped_training_ends_in_the_same_bits(book, tmp_path, monkeypatch):
    monkeypatch.setattr("lamina.train.ways.REPEATED", 1e9)
    how = {"task": "embed", "net_settings": {"width": 8}, "steps": 12, "batch": 2, "show": False}
    whole = lamina.fit(book, run=tmp_path / "whole", **how)
    from lamina.api import _wishes, resume, train

    table, wishes, _ = _wishes(book, {k: v for k, v in how.items() if k != "show"})
    asked = iter([False, True] + [True] * 9)
    monkeypatch.setattr("lamina.train.engine.TICK", 0.0)
    train(table, wishes, tmp_path / "part", stop=lambda: next(asked, True))
    resumed = resume(tmp_path / "part")
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.net.state_dict().values(), resumed.net.state_dict().values(), strict=True)
    )
