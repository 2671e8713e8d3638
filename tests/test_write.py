"""Running text: the store, the windows, the measure, writing with a cache, and a whole training that is killed and shipped."""

import argparse
import inspect
import math
import textwrap
import types

import numpy as np
import pandas as pd
import pytest
import torch

import lamina
from lamina import writing
from lamina.core.errors import DataError, LaminaError, SettingError
from lamina.data import _running
from lamina.data._running import IGNORED, Coded
from lamina.data._tokens import Tokens
from lamina.nets import char_rnn, gpt
from lamina.nets._attention import looking, looking_back
from lamina.nets._rotary import turned, turning
from lamina.tasks import write
from lamina.tasks._sampling import Sampling, Speller, drawn, written

TEXT = inspect.getsource(argparse) + inspect.getsource(textwrap)


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(TEXT[:60_000], encoding="utf-8")
    return path


def coded(count=1000, ends=(800, 900, 1000)):
    return Coded(np.arange(count, dtype=np.int32) % 200, Tokens("bytes"), ends, "x")


@pytest.mark.parametrize("length", [2, 7, 16, 64, 99])
def test_every_held_out_token_is_scored_once(length):
    text = coded()
    starts, skips, split = _running.cut(text, length)
    for part, (begin, end) in ((1, (800, 900)), (2, (900, 1000))):
        rows = np.flatnonzero(split == part)
        windows = _running.Windows(text, starts, skips, length, 1)
        targets = windows.at(rows)
        places = starts[rows, None] + 1 + np.arange(length)
        scored = np.sort(places[targets != IGNORED])
        assert scored.tolist() == list(range(begin, end))
        assert (targets[targets != IGNORED] == places[targets != IGNORED] % 200).all()


def test_training_windows_stay_in_their_stretch():
    text = coded()
    starts, skips, split = _running.cut(text, 16)
    rows = np.flatnonzero(split == 0)
    inside = _running.Windows(text, starts, skips, 16, 0)
    following = _running.Windows(text, starts, skips, 16, 1)
    for moved in (0, 7, 15):
        offsets = np.full(len(rows), moved)
        x, y = inside.at(rows, offsets), following.at(rows, offsets)
        assert (y == (x + 1) % 200).all()
        assert starts[rows].max() + 16 < 800 and y[-1, -1] <= 799 % 200


def test_a_text_is_coded_once_and_comes_back(book):
    table = lamina.open(book)
    again = lamina.open(book)
    assert table.fingerprint() == again.fingerprint()
    values = table["text"].values
    assert isinstance(values.coded.ids, np.memmap) and values.coded.ids.dtype == np.uint8
    assert table["text"].field.tokens.decode(values.coded.ids) == book.read_text(encoding="utf-8")
    assert lamina.open(book, context=16).fingerprint() != table.fingerprint()


@pytest.mark.parametrize("kind", ["bytes", "pairs"])
def test_any_text_survives_the_store(tmp_path, kind):
    path = tmp_path / "odd.txt"
    strange = "a\u0301 \u05e9\u05dc\u05d5\u05dd \u200f \U0001f600 caf\u00e9\r\n "
    path.write_bytes((strange * 400).encode() + "\x00\ud800 ".encode("utf-8", "surrogatepass") * 50)
    table = lamina.open(path, tokens=kind, context=16)
    tokens = table["text"].field.tokens
    assert tokens.decode(table["text"].values.coded.ids) == strange * 400 + "\x00\ud800 " * 50


def test_encodings_are_found_and_said(tmp_path):
    said = "Größe und Länge, für alle: schön. " * 100
    half = "half a pair \ud800 " * 90
    for name, raw, text, told in (
        ("utf-8", said.encode(), said, "UTF-8"),
        ("utf-16", said.encode("utf-16"), said, "UTF-16 with a byte order mark"),
        ("latin-1", said.encode("latin-1"), said, "cp1252"),
        ("sig", said.encode("utf-8-sig"), said, "UTF-8 with a byte order mark"),
        ("half", half.encode("utf-8", "surrogatepass"), half, "UTF-8, lone surrogates kept"),
        ("wide", b"\xff\xfe" + half.encode("utf-16-le", "surrogatepass"), half, "UTF-16 with a byte order mark"),
        ("odd", said.encode("utf-16") + b"a", said + "\ufffd", "UTF-16 with a byte order mark, what is not of it replaced"),
        ("mixed", said.encode("utf-8-sig") + b"\xe9", said + "\ufffd", "UTF-8 with a byte order mark, what is not of it replaced"),
        ("hole", said.encode("latin-1") + b"\x81", said + "\ufffd", "cp1252, what is not of it replaced"),
    ):  # fmt: skip
        path = tmp_path / f"{name}.txt"
        path.write_bytes(raw)
        table = lamina.open(path)
        assert table["text"].field.tokens.decode(table["text"].values.coded.ids) == text, name
        assert f"Read as {told}." in table.notes, (name, table.notes)


def test_a_folder_is_read_once_per_content(tmp_path):
    folder = tmp_path / "code"
    (folder / "deep").mkdir(parents=True)
    for i in range(6):
        (folder / f"f{i}.c").write_text(TEXT[i * 3000 : (i + 1) * 3000])
    (folder / "deep" / "copy.c").write_text(TEXT[:3000])
    (folder / "deep" / "broken.c").write_bytes(bytes(range(32)) * 90)
    table = lamina.open(folder)
    assert any("1 files are copies" in n for n in table.notes) and any("6 files" in n for n in table.notes)
    assert [b.where for b in table.bad] == ["deep/broken.c"]
    ids = np.asarray(table["text"].values.coded.ids)
    (folder / "deep" / "deeper").mkdir()
    for path in folder.glob("*.c"):
        path.rename(folder / "deep" / "deeper" / path.name)
    assert len(lamina.open(folder, tokens="bytes")) > 100  # a tree without a text at its root
    assert (ids == 3).sum() == 5  # <end> between six files


@pytest.mark.parametrize(
    ("content", "how", "message"),
    [
        (b"", {}, "is empty"),
        (b"one line\n", {}, "holds 9 bytes; learning to write needs 1,000"),
        (bytes(range(256)) * 40, {}, "is not text: .* control signs; --tokens bytes"),
        (b"a" * 5000, {}, "a vocabulary of 1"),
        (b"some words " * 500, {"context": 5000}, "--context must be between 2 and"),
        (b"some words " * 500, {"tokens": "charakters"}, "did you mean 'characters'"),
    ],
)
def test_bad_texts(tmp_path, content, how, message):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(LaminaError, match=message):
        lamina.open(path, **how)


@pytest.mark.parametrize("style", gpt.STYLES)
def test_the_cache_changes_nothing(style):
    torch.manual_seed(0)
    net = gpt.Net(gpt.Config(style=style, length=48)).eval()
    tokens = torch.randint(65, (3, 48))
    with torch.no_grad():
        whole, state, parts = net(tokens), net.start(), []
        for size in (5, 1, 1, 10, 1, 30):
            seen = state[0].seen
            parts.append(net.go_on(tokens[:, seen : seen + size], state))
    assert net.room(state) == 0
    assert torch.allclose(whole, torch.cat(parts, 1), atol=2e-5)
    with pytest.raises(SettingError, match=r"49 tokens are more than net.length \(=48\)"):
        net.go_on(tokens[:, :1], state)


@pytest.mark.parametrize("cell", char_rnn.CELLS)
def test_a_recurrent_state_is_its_cache(cell):
    torch.manual_seed(0)
    net = char_rnn.Net(char_rnn.Config(width=24, cell=cell)).eval()
    tokens = torch.randint(65, (3, 20))
    state = net.start()
    with torch.no_grad():
        parts = [net.go_on(part, state) for part in tokens.split([7, 1, 1, 11], 1)]
        assert torch.allclose(net(tokens), torch.cat(parts, 1), atol=1e-6)
    assert net.room(state) is None and len(list(written(net, [5], Sampling(), 30, 8))) <= 30


@pytest.mark.parametrize("style", gpt.STYLES)
def test_striped_attention_is_attention(style):
    torch.manual_seed(0)
    net = gpt.Net(gpt.Config(style=style, length=70))
    tokens = torch.randint(65, (2, 70))
    logits = net(tokens)
    logits.square().mean().backward()
    grads = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    saved, gpt.SelfAttention.forward = gpt.SelfAttention.forward, _plain_attention
    try:
        other = net(tokens)
        other.square().mean().backward()
    finally:
        gpt.SelfAttention.forward = saved
    assert torch.allclose(logits, other, atol=1e-5)
    for own, p in zip(grads, net.parameters(), strict=True):
        assert torch.allclose(own, p.grad, atol=1e-6 + 1e-4 * float(own.abs().max()))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", ["back", "all", "masked"])
def test_attention_by_products_is_that_of_torch(kind, form):
    """Outputs and gradients, to the rounding of the kind; rows longer than a stripe, and more keys than queries."""
    torch.manual_seed(0)
    long = 150 if form == "back" else 40
    q, k, v = (torch.randn(3, 2, rows, 8).to(kind).requires_grad_() for rows in (150, long, long))
    mask = torch.rand(3, long) < 0.6
    mask[:, 0] = True
    own = looking_back(q, k, v) if form == "back" else looking(q, k, v, mask if form == "masked" else None)
    exact = [x.detach().double().requires_grad_() for x in (q, k, v)]
    where = mask[:, None, None] if form == "masked" else None
    wanted = torch.nn.functional.scaled_dot_product_attention(*exact, where, is_causal=form == "back")
    grad = torch.randn(wanted.shape)
    found = [own, *torch.autograd.grad(own, (q, k, v), grad.to(kind))]
    for mine, theirs in zip(found, [wanted, *torch.autograd.grad(wanted, exact, grad.to(kind).double())], strict=True):
        assert mine.dtype == kind and (mine - theirs).norm() < (1e-6 if kind == torch.float32 else 0.02) * theirs.norm()


def _plain_attention(self, x, mask=None, cache=None):
    b, t, c = x.shape
    q, k, v = self.ask(x).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
    if self.rotary:
        q, k = (turned(part, *turning(t, c // self.heads)) for part in (q, k))
    score = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    score = score.masked_fill(torch.ones(t, t).triu(1).bool(), -math.inf)
    return self.out((score.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))


def test_no_token_sees_what_follows():
    torch.manual_seed(0)
    net = gpt.Net(gpt.Config(length=40)).eval()
    tokens = torch.randint(65, (1, 40))
    changed = tokens.clone()
    changed[0, 25:] = (changed[0, 25:] + 1) % 65
    with torch.no_grad():
        before, after = net(tokens), net(changed)
    assert torch.equal(before[:, :25], after[:, :25]) and not torch.equal(before[:, 25:], after[:, 25:])


def test_draws_keep_to_what_is_asked():
    logits = torch.log(torch.tensor([[1e-9, 1e-9, 1e-9, 0.1, 0.5, 0.3, 0.1]])).repeat(4000, 1)
    assert drawn(logits, Sampling(temperature=0), 0).eq(4).all()
    assert set(drawn(logits, Sampling(temperature=1, top_k=2), 0).tolist()) == {4, 5}
    assert set(drawn(logits, Sampling(temperature=1, top_p=0.75), 0).tolist()) == {4, 5}
    share = torch.bincount(drawn(logits, Sampling(temperature=1, seed=3), 0), minlength=7) / 4000
    assert torch.allclose(share[3:], torch.tensor([0.1, 0.5, 0.3, 0.1]), atol=0.03)
    assert not torch.equal(drawn(logits, Sampling(), 0), drawn(logits, Sampling(), 1))
    assert torch.equal(drawn(logits, Sampling(seed=5), 7), drawn(logits, Sampling(seed=5), 7))
    with pytest.raises(SettingError, match="top-p"):
        Sampling(top_p=0.0)


def test_writing_beyond_the_context_goes_on():
    torch.manual_seed(0)
    net = gpt.Net(gpt.Config(length=16, depth=2, width=32, heads=2)).eval()
    ids = list(written(net, [5, 6, 7], Sampling(temperature=0), 60, 16))
    assert len(ids) == 60 or ids[-1] == 3
    seen = [5, 6, 7]
    for i, token in enumerate(ids[:13]):  # without a cache, while the context holds all
        with torch.no_grad():
            assert int(drawn(net(torch.tensor([seen]))[:, -1], Sampling(temperature=0), i)) == token
        seen.append(token)


@pytest.mark.parametrize("kind", ["bytes", "pairs", "characters", "words"])
def test_pieces_are_the_text(kind):
    text = "caf\u00e9 \U0001f600 d\u00e9j\u00e0 vu, said he. " * 4
    tokens = Tokens.fit([text], kind)
    ids, speller = tokens.encode(text).tolist(), Speller(tokens)
    pieces = [speller(i) for i in ids] + [speller.end()]
    assert "".join(pieces) == tokens.decode(ids)
    assert all("\ufffd" not in p for p in pieces)


@pytest.mark.parametrize(("start", "gap"), [("said he", " "), ("said he ", ""), ("", "")])
def test_words_stand_apart_from_what_they_go_on_after(start, gap):
    tokens = Tokens.fit(["vu said he again . " * 4], "words")
    begin = tokens.encode(start or "vu").tolist()
    task = types.SimpleNamespace(tokens=tokens, context=8, start=lambda text: begin)
    net = char_rnn.Net(char_rnn.Config(vocabulary=len(tokens), width=8, depth=1))
    with torch.no_grad():
        net.answer.bias[tokens.encode("again").tolist()[0]] = 100
    assert "".join(write.Write.write(task, net, start, 2, Sampling(0))) == gap + "again again"


def test_a_training_that_writes(book, tmp_path):
    settings = {"depth": 1, "width": 32, "heads": 2}
    run = lamina.fit(book, epochs=0.7, context=32, net_settings=settings, show=False, run=tmp_path / "run")
    score = run.score()
    assert score.name == "bits_per_character" and score.low < score.value < score.high
    assert score.value < score.baselines["tokens alone"]
    assert score.numbers["perplexity"] == pytest.approx(2**score.value, rel=1e-5)  # a token is a character
    one, two = ("".join(run.write("def ", 80, seed=1)) for _ in range(2))
    assert one == two and len(one) == 80 and one != "".join(run.write("def ", 80, seed=2))
    stopped = "".join(run.write("def ", 80, seed=1, stop=one[30:33]))
    assert one.startswith(stopped) and one[30:33] not in stopped
    assert run.ask("import ").text
    with pytest.raises(SettingError, match="--length"):
        next(writing.write(run, "", 0))
    pack = lamina.load(run.ship("pack"))
    assert "".join(writing.write(pack, "def ", 40, seed=1)) == one[:40]
    assert (run.path / "report.html").read_text(encoding="utf-8").count("How does the text go on?")
    assert "Written from nothing" in (run.path / "report.html").read_text(encoding="utf-8")
    assert run.score(book).value == pytest.approx(score.value, rel=1)


def test_the_same_seed_gives_the_same_bits_after_a_stop(book, tmp_path, monkeypatch):
    monkeypatch.setattr("lamina.train.ways.REPEATED", 1e9)
    settings = {"depth": 1, "width": 16, "heads": 1}
    how = {"steps": 30, "context": 16, "net_settings": settings, "show": False}
    whole = lamina.fit(book, run=tmp_path / "whole", **how)
    from lamina import api
    from lamina.train.plan import Wishes
    from lamina.train.recipe import Recipe

    calls = []
    reading = api.Reading(context=16)
    wishes = Wishes(net_settings={k: str(v) for k, v in settings.items()}, recipe=Recipe(steps=30))
    monkeypatch.setattr("lamina.train.engine.TICK", 0.0)
    api.train(lamina.open(book, context=16), wishes, tmp_path / "part", reading=reading,
              stop=lambda: len(calls) > 12 or bool(calls.append(1)))  # fmt: skip
    done = api.resume(tmp_path / "part")
    for (name, a), b in zip(whole.net.state_dict().items(), done.net.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_net_that_does_not_write_says_so(tmp_path, people):
    run = lamina.fit(people, epochs=1, show=False, run=tmp_path / "r")
    with pytest.raises(SettingError, match="does not write"):
        run.write("x")


def test_tokens_must_be_a_number_of_tokens(book):
    with pytest.raises(DataError, match="--context"):
        lamina.open(book, context=1)


def test_a_net_that_learned_to_write_learns_labels(tmp_path):
    """Its weights are taken but for the answer, the tokens are its own, texts are cut to what it sees, and it learns."""
    random = np.random.default_rng(0)
    kinds = {"sea": ["ship", "wave", "deck"], "farm": ["cow", "barn", "hay"]}
    fill = ["old", "red", "big", "tall", "new"]
    rows = [
        (
            f"{' '.join(random.choice(fill, 3))} {random.choice(kinds[k])} and {random.choice(kinds[k])} {random.choice(fill)} again",
            k,
        )
        for k in ["sea", "farm"] * 60
    ]
    (tmp_path / "book.txt").write_text("\n".join(text for text, _ in rows * 3))
    small = {"width": 32, "depth": 1, "heads": 2}
    how = {"net": "gpt", "net_settings": small, "context": 36, "tokens": "characters", "steps": 30, "show": False}
    written = lamina.fit(tmp_path / "book.txt", run=tmp_path / "written", **how)
    table = pd.DataFrame(rows, columns=["text", "kind"])
    how = {"target": "kind", "weights": str(written.path), "show": False, "freeze": "none", "epochs": 30}
    run = lamina.fit(table, run=tmp_path / "told", **how)
    assert run.plan.net == "gpt" and run.plan.net_config["classes"] == 2 and run.plan.net_config["length"] == 36
    assert run.plan.inputs[0].tokens == written.plan.target.tokens and run.plan.inputs[0].shape == (35,)
    assert any("are longer and are cut" in why for why in run.plan.why)
    (fitted,) = [why for why in run.plan.why if "tensors fit" in why]
    assert f"{len(written.net.state_dict())} tensors fit" in fitted and "2 stay as drawn (classifier.bias" in fitted
    assert run.score().value > 0.9
    assert lamina.load(run.ship()).ask("we saw the deck").to_json() == run.ask("we saw the deck").to_json()
    frozen = lamina.fit(table, run=tmp_path / "frozen", **{**how, "freeze": "features", "epochs": 1})
    assert torch.equal(frozen.net.layers[0].wide.weight, written.net.layers[0].wide.weight)
    again = lamina.look(tmp_path / "book.txt", weights=str(written.path)).plan
    assert again.net_config["classes"] == 0 and again.recipe.freeze == "none"  # of few rows; nothing could stay
    with pytest.raises(SettingError, match="gpt has no `features` that could be frozen"):
        lamina.look(tmp_path / "book.txt", weights=str(written.path), freeze="features")
