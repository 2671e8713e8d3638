"""Translation: pairs of sentences, nets piece by piece, beam search against every possible answer, and a whole training."""

import itertools

import numpy as np
import pytest
import torch

import lamina
from lamina import api
from lamina.cli import main
from lamina.core.errors import LaminaError, NameUnknown
from lamina.core.run import Run
from lamina.data._batches import Batches
from lamina.explain import attention as explain_attention
from lamina.explain._method import Question
from lamina.measures import translation
from lamina.nets import seq2seq, translator
from lamina.tasks._beam import search
from lamina.train import engine
from lamina.train import plan as planning
from lamina.train._state import Average
from lamina.train.budget import Clock
from lamina.train.recipe import Recipe

WORDS = {
    "one": "un",
    "two": "deux",
    "red": "rouge",
    "big": "grand",
    "dog": "chien",
    "cat": "chat",
    "and": "et",
    "sees": "voit",
}


def nets(vocabulary=12):
    torch.manual_seed(0)
    small = {"vocabulary": 12, "classes": vocabulary, "width": 16}
    made = [translator.Net(translator.Config(**small, depth=2, heads=2))]
    for attention in seq2seq.ATTENTIONS:
        for reverse in (False, True):
            made.append(seq2seq.Net(seq2seq.Config(**small, depth=2, attention=attention, reverse=reverse)))
    return [net.eval() for net in made]


def sentences():
    torch.manual_seed(1)
    tokens = torch.randint(4, 12, (5, 9))
    mask = torch.arange(9) < torch.tensor([9, 3, 6, 1, 8])[:, None]
    return tokens.masked_fill(~mask, 0), mask


@pytest.mark.parametrize("net", nets(), ids=lambda n: f"{type(n).__module__}-{getattr(n, 'kind', '')}")
def test_piece_by_piece_and_padding_change_nothing(net):
    tokens, mask = sentences()
    before = torch.randint(4, 12, (5, 7))
    with torch.no_grad():
        whole, state = net(tokens, mask, before), net.read(tokens, mask)
        parts = torch.cat([net.go_on(part, state) for part in before.split([1, 1, 3, 2], 1)], 1)
        assert torch.allclose(whole, parts, atol=1e-5)
        alone = torch.cat(
            [
                net(tokens[i : i + 1, : mask[i].sum()], mask[i : i + 1, : mask[i].sum()], before[i : i + 1])
                for i in range(5)
            ]
        )
        assert torch.allclose(whole, alone, atol=1e-5)
        rows = torch.tensor([3, 0, 0])
        net.choose(state, rows)
        own = net.read(tokens[rows], mask[rows])
        net.go_on(before[rows], own)
        next_ = torch.randint(4, 12, (3, 1))
        assert torch.allclose(net.go_on(next_, state), net.go_on(next_, own), atol=1e-5)


def test_attention_looks_at_tokens_alone():
    tokens, mask = sentences()
    for net in nets():
        state = net.read(tokens, mask)
        net.go_on(torch.randint(4, 12, (5, 4)), state)
        if state["attention"] is not None:
            assert torch.allclose(state["attention"].sum(2), torch.ones(5, 4), atol=1e-5)
            assert state["attention"].masked_select(~mask[:, None].expand(5, 4, 9)).eq(0).all()


def _best(net, tokens, mask, most, alpha):
    """The best of all answers of up to `most` tokens, END included."""
    best = (-1e9, [])
    for length in range(1, most + 1):
        for ids in itertools.product(range(4, 7), repeat=length - 1):
            before = torch.tensor([[2, *ids]])
            likely = net(tokens, mask, before)[0].float()
            likely[:, :3] = -torch.inf
            likely = likely.log_softmax(-1)
            score = sum(float(likely[i, t]) for i, t in enumerate([*ids, 3])) / ((5 + length) / 6) ** alpha
            best = max(best, (score, list(ids)))
    return best


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_a_wide_beam_finds_the_best_of_all(alpha):
    tokens, mask = sentences()
    for net in nets(vocabulary=7)[:4]:
        with torch.no_grad():
            found = search(net, tokens, mask, 4, beam=40, alpha=alpha)
            for i in range(5):
                assert found[i] == _best(net, tokens[i : i + 1], mask[i : i + 1], 4, alpha)[1]


@pytest.mark.parametrize("beam", [1, 4])
def test_sentences_together_are_translated_as_alone(beam):
    tokens, mask = sentences()
    for net in nets():
        together = search(net, tokens, mask, 12, beam)
        alone = [
            search(net, tokens[i : i + 1, : mask[i].sum()], mask[i : i + 1, : mask[i].sum()], 12, beam)[0]
            for i in range(5)
        ]
        assert together == alone


def test_numbers_are_those_of_sacrebleu():
    from sacrebleu.metrics import BLEU, CHRF

    answers = ["the cat sat on the mat", "a dog runs in the big park", "nothing here is right"]
    wanted = ["the cat sat on a mat", "a dog ran in the big park", "all of this is wrong"]
    rows = translation.counted(answers, wanted) | {"nats": np.ones(3), "tokens": np.ones(3)}
    numbers = translation.finish(rows)
    assert numbers["bleu"] == pytest.approx(BLEU().corpus_score(answers, [wanted]).score)
    assert numbers["chrf"] == pytest.approx(CHRF().corpus_score(answers, [wanted]).score)
    assert "BLEU" not in translation.signature() and "version:" in translation.signature()


def test_bad_pairs(tmp_path):
    a, b = tmp_path / "a.txt", tmp_path / "b.txt"
    a.write_text("one line\n\nthree\nfour\nfive\n")
    b.write_text("eine Zeile\nzwei\ndrei\n")
    with pytest.raises(
        LaminaError, match=r"has 5 lines and .* has 3; they part at line 2, .*; line 4 of .*a.txt has no partner"
    ):
        lamina.open(f"{a},{b}")
    a.write_text("one line\ntwo\nthree\n")
    with pytest.raises(LaminaError, match="holds 3 pairs"):
        lamina.open(f"{a},{b}")
    lines = tmp_path / "pairs.tsv"
    lines.write_text("".join(f"the dog {i}\tle chien {i}\n" for i in range(60)) + "one more\n")
    with pytest.raises(LaminaError, match=r"line 61 has 1 columns where the first has 2"):
        lamina.open(lines)
    with pytest.raises(NameUnknown, match="did you mean 'luong'"):
        seq2seq.Net(seq2seq.Config(attention="loung"))


def test_encodings_of_pairs_are_found_and_said(tmp_path):
    pairs = [
        (f"the child eats an apple {i}", f"l'\u00e9l\u00e8ve mange \u00e0 No\u00ebl une pomme {i}") for i in range(40)
    ]
    (tmp_path / "a.txt").write_text("".join(f"{a}\n" for a, _ in pairs))
    (tmp_path / "b.txt").write_bytes("".join(f"{b}\n" for _, b in pairs).encode("latin-1"))
    (tmp_path / "wide.txt").write_bytes("".join(f"{b}\n" for _, b in pairs).encode("utf-16"))
    (tmp_path / "both.tsv").write_bytes("\n".join(f"{a}\t{b}" for a, b in pairs).encode("latin-1"))
    for name, encoding in (
        ("a.txt,b.txt", "UTF-8 and cp1252"),
        ("a.txt,wide.txt", "UTF-8 and UTF-16 with a byte order mark"),
        ("both.tsv", "cp1252"),
    ):
        table = lamina.open(",".join(str(tmp_path / part) for part in name.split(",")))
        assert table.reader == "parallel" and table["translation"].values.tolist() == [b for _, b in pairs]
        assert f"Read as {encoding}." in table.notes


def test_time_is_kept_for_the_translations_of_the_test_rows(tmp_path, monkeypatch):
    """Whole translations take longer than the teacher-forced scores of validation, in minutes that were asked for."""
    path, now = tmp_path / "pairs.tsv", [0.0]
    path.write_text("".join(f"the dog {i}\tle chien {i}\n" for i in range(400)))
    small = {"net": "seq2seq", "net_settings": {"width": 8}}
    for wish, kept in ((Recipe(minutes=1.0), 0.5), (Recipe(steps=2), 0.0)):
        prepared = api.prepare(*api._wishes(str(path), {**small, "minutes": wish.minutes, "steps": wish.steps})[:2])
        run = Run.create(tmp_path / f"run{kept}", "x")
        task, net = planning.build(prepared.plan, prepared.table, torch.device("cpu"), run)

        def final(batch_net, batch, task=task):
            now[0] += 0.5 * len(batch["tokens"])
            return task.score(batch_net, batch)

        training = engine._Training(task, net, prepared.table, prepared.plan.recipe, run, Clock(0.0, 60.0))
        training.average = Average(net, 0.0)
        monkeypatch.setattr(type(task), "final", lambda self, net, batch: final(net, batch))
        with monkeypatch.context() as patch:
            patch.setattr(engine.time, "perf_counter", lambda: now[0])
            training.time_final()
        assert training.clock.final == pytest.approx(kept * training.tests) and training.tests > 2


@pytest.mark.parametrize("attention", seq2seq.ATTENTIONS)
def test_attention_is_explained_where_there_is_one(attention, tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"the dog {i}\tle chien {i}\n" for i in range(40)))
    how = {"net": "seq2seq", "net_settings": {"width": 8, "attention": attention}, "tokens": "words"}
    prepared = lamina.look(path, **how)
    task, net = planning.build(prepared.plan, prepared.table, torch.device("cpu"))
    batch = task.prepare(Batches(prepared.table, prepared.plan.inputs, None, torch.device("cpu")).slice(0, 1), False)
    question = Question(inputs=prepared.plan.inputs)
    if attention == "none":
        with pytest.raises(LaminaError, match="the last state of the sentence alone"):
            explain_attention.explain(task, net, batch, question, explain_attention.Config())
        return
    found = explain_attention.explain(task, net, batch, question, explain_attention.Config())
    assert found.arrays["shares"].shape[1] == 3 and found.names[:2] == ("the", "dog")
    assert (found.arrays["shares"].sum(1) <= found.arrays["tokens"].sum(1).max() + 1e-5).all()


def test_a_setting_that_no_net_has_leaves_no_run(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"the dog {i}\tle chien {i}\n" for i in range(40)))
    with pytest.raises(NameUnknown, match="did you mean 'luong'"):
        lamina.fit(path, net="seq2seq", net_settings={"attention": "loung"}, run=tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()


def test_a_training_that_translates(tmp_path, capsys):
    random = np.random.default_rng(0)
    words = list(WORDS)
    lines = {" ".join(random.choice(words, random.integers(2, 6))) for _ in range(700)}
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{line}\t{' '.join(WORDS[w] for w in line.split())}\n" for line in sorted(lines)))
    table = lamina.open(path, tokens="words")
    assert table["source"].field.kind == "sentence" and len(table["translation"].field.tokens) == 12
    assert not set(table["source"].values[table.split == 0]) & set(table["source"].values[table.split == 2])
    run = lamina.fit(
        table,
        epochs=8,
        lr=0.05,
        net="seq2seq",
        net_settings={"width": 32, "dropout": 0.0},
        show=False,
        run=tmp_path / "run",
    )
    score = run.score()
    assert score.name == "bleu" and score.value > 40 and score.numbers["chrf"] > 40
    assert "nrefs:1" in score.signature and score.low <= score.value <= score.high
    assert [run.ask("one dog").text, run.ask("big cat").text] == [a.text for a in run.ask("one dog", "big cat")]
    pack = lamina.load(run.ship("pack"))
    assert pack.ask("one red dog").text == run.ask("one red dog").text
    assert run.score(path).rows == len(lines)
    found = run.explain("one red dog")
    written = run.ask("one red dog").text.split()
    assert found.method == "attention" and found.names == ("one", "red", "dog") and found.about == " ".join(written)
    assert found.arrays["shares"].shape == (len(written), 3) and (found.arrays["shares"] >= 0).all()
    assert np.allclose(found.arrays["tokens"].sum(1), 1, atol=1e-5) and found.arrays["tokens"].shape == (
        len(written),
        4,
    )
    assert found.picture.width > 100 and f"Looked at most: {written[0]}"[:16] in found.summary
    with pytest.raises(LaminaError, match="has no class 'x'"):
        run.explain("one red dog", label="x")
    assert main(["explain", str(run.path), "big cat", "--out", str(tmp_path / "why")]) == 0
    assert (tmp_path / "why" / "attention.png").is_file() and "Looked at most" in capsys.readouterr().out
    page = run.report().read_text(encoding="utf-8")
    assert "What is the sentence in the other language?" in page
    assert "Worst mistakes" not in page  # no translation is simply right or wrong
