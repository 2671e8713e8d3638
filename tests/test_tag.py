"""Tags of words: spans by hand-made cases, sources, tokens and tags side by side, learned, asked and shipped."""

import json

import numpy as np
import pytest

import lamina
from lamina.cli import main
from lamina.core.errors import DataError, LaminaError, SettingError, ShipError
from lamina.data import _ragged, conll
from lamina.data._asked import Sent
from lamina.data._table import Field
from lamina.data._tokens import Tokens
from lamina.measures import spans
from lamina.serving._model import Model
from lamina.serving._rows import Row
from lamina.train.plan import Wishes
from lamina.train.recipe import Recipe

CASES = [  # as conlleval and seqeval read them
    ("B-PER I-PER O B-LOC", {("PER", 0, 1), ("LOC", 3, 3)}),
    ("B-PER B-PER", {("PER", 0, 0), ("PER", 1, 1)}),
    ("I-PER I-PER O I-LOC", {("PER", 0, 1), ("LOC", 3, 3)}),  # IOB1: an I begins one where none goes on
    ("B-PER I-LOC I-LOC", {("PER", 0, 0), ("LOC", 1, 2)}),
    ("O I-PER B-PER I-PER", {("PER", 1, 1), ("PER", 2, 3)}),
    ("S-PER B-LOC I-LOC E-LOC O", {("PER", 0, 0), ("LOC", 1, 3)}),
    ("U-PER B-LOC L-LOC I-LOC", {("PER", 0, 0), ("LOC", 1, 2), ("LOC", 3, 3)}),
    ("E-PER E-PER", {("PER", 0, 0), ("PER", 1, 1)}),
    ("B-NP I-NP B-NP", {("NP", 0, 1), ("NP", 2, 2)}),
    ("B-x-y I-x-y", {("x-y", 0, 1)}),
    ("O O", set()),
    ("", set()),
]


@pytest.mark.parametrize(("tags", "there"), CASES)
def test_spans_of_hand_made_sentences(tags, there):
    assert spans.spans(tags.split()) == there


def test_a_span_counts_only_with_both_ends_and_its_kind():
    target = ["B-PER", "I-PER", "O", "B-LOC", "O", "B-ORG"]
    assert spans.counted(["B-PER", "I-PER", "O", "B-LOC", "O", "B-ORG"], target) == (3, 3, 3)
    assert spans.counted(["B-PER", "O", "O", "B-ORG", "O", "B-ORG"], target) == (1, 3, 3)
    assert spans.counted(["O"] * 6, target) == (0, 0, 3)
    found = spans.scores(1, 2, 4)
    assert found == {"span_f1": pytest.approx(1 / 3), "span_precision": 0.5, "span_recall": 0.25}
    assert spans.scores(0, 0, 0)["span_f1"] == 0.0 and not spans.signed(["NN", "VB"]) and spans.signed(["O", "B-PER"])


@pytest.mark.parametrize("kind", ["words", "pairs", "bytes", "characters"])
@pytest.mark.parametrize("longest", [7, 200])
def test_tags_lie_at_the_first_token_of_their_word(kind, longest):
    texts = np.array(["U.S. don't 3,000 \u05e9\u05dc\u05d5\u05dd caf\u00e9 \U0001f600 x", "one two", None], object)[:2]
    tags = np.array([np.array([0, 1, 2, 0, 1, 2, 0]), np.array([1, -1]), None], object)[:2]
    tokens = Tokens.fit(texts.tolist(), kind, **({"limit": 300} if kind == "pairs" else {}))
    field = Field("text", "text", shape=(longest,), tokens=tokens)
    whole, found = _ragged.pack([texts], tokens, [longest]), _ragged.tagged(texts, tags, field)
    assert found.offsets.tolist() == whole.offsets.tolist()
    for row, text in enumerate(texts):
        at = np.flatnonzero(found.row(row))
        lengths = _ragged.word_lengths(text.split(), tokens)
        known = (tags[row] >= 0) & (1 + np.cumsum(lengths) - lengths < min(1 + longest, len(found.row(row))))
        assert found.row(row)[at].tolist() == (tags[row][known] + 1).tolist()
        if kind == "words":
            firsts = [tokens.name(int(i)) for i in whole.row(row)[at]]
            assert all(
                f == "\ufffd" or w.lower().startswith(f)
                for f, w in zip(firsts, np.array(text.split())[known], strict=True)
            )


def sentences(count=120, seed=0):
    """Names tell their kind; so does the word before them."""
    random = np.random.default_rng(seed)
    people, places, made = ["Anna", "Bert", "Carl", "Dora"], ["Ulm", "Bonn", "New York", "Jena"], []
    for _ in range(count):
        who, where = random.choice(people), random.choice(places).split()
        words = ["then", who, "went", "to", *where, "."] if random.random() < 0.5 else ["in", *where, "lives", who]
        tags = {who: "B-PER", where[0]: "B-LOC", **({where[1]: "I-LOC"} if where[1:] else {})}
        made.append((words, [tags.get(w, "O") for w in words]))
    return made


def written(made, between=" "):
    return "".join("".join(f"{w}{between}{t}\n" for w, t in zip(*s, strict=True)) + "\n" for s in made)


def test_sources(tmp_path):
    made = sentences(20)
    (tmp_path / "a.txt").write_text("-DOCSTART- O\n\n" + written(made))
    (tmp_path / "b.tsv").write_text(written(made, "\t"))
    (tmp_path / "c.jsonl").write_text("".join(json.dumps({"tokens": w, "tags": t}) + "\n" for w, t in made))
    universal = "".join(
        f"# text\n# set = {part}\n1-2\tin den\t_\t_\t_\t_\t_\t_\t_\t_\n"
        + "".join(
            f"{i + 1}\t{w}\t{w}\t{t}\tX\t_\t0\t_\t_\tner={t[:1]}\n" for i, (w, t) in enumerate(zip(*s, strict=True))
        )
        + "\n"
        for s, part in zip(made, ["train", "dev", "test", "train"] * 5, strict=True)
    )
    (tmp_path / "d.conllu").write_text(universal)
    (tmp_path / "split").mkdir()
    for name in ("train", "dev", "test"):
        (tmp_path / "split" / f"{name}.conll").write_text(written(made))
    first = lamina.open(tmp_path / "a.txt")
    assert first.reader == "conll" and first["tags"].field.classes == ("O", "B-LOC", "B-PER", "I-LOC")
    for name in ("b.tsv", "c.jsonl", "d.conllu"):
        table = lamina.open(tmp_path / name)
        assert table["text"].values.tolist() == first["text"].values.tolist() == [" ".join(w) for w, _ in made]
        assert [v.tolist() for v in table["tags"].values] == [v.tolist() for v in first["tags"].values]
    assert np.bincount(table.split).tolist() == [10, 5, 5]
    assert lamina.open(tmp_path / "d.conllu", target="ner")["ner"].field.classes == ("O", "B", "I")
    with pytest.raises(DataError, match="one tag \\('X'\\)"):
        lamina.open(tmp_path / "d.conllu", target="xpos")
    with pytest.raises(LaminaError, match=r"no tag in .*'nerr'; did you mean 'ner'"):
        lamina.open(tmp_path / "d.conllu", target="nerr")
    assert np.bincount(lamina.open(tmp_path / "split").split).tolist() == [20, 20, 20]
    for name, text in (
        ("poem.txt", "sweet flowers\nbloom early\n\nold houses\nstand empty\n" * 60),
        ("list.tsv", "word\tclass\none\tA\ntwo\tB\n" * 9),
        ("rows.jsonl", '{"tokens": 3, "tags": "a"}\n' * 9),
    ):
        (tmp_path / name).write_text(text)
        assert not conll.claims(tmp_path / name), name


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.conll", "", "a.conll is empty"),
        ("a.conll", "one O\n\ntwo\n", "a.conll, line 3: 1 columns where the first line has 2"),
        ("a.conll", "one O\n\ntwo O\n", "one tag ('O')"),
        ("a.conll", "one O\n\ntwo B-X\n", "learning needs at least 10"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["O"]}\n{"tokens": ["a", "b"], "tags": ["O"]}\n', "line 2: 2 words and 1 tags"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["O"]}\n{"tokens": [" "], "tags": ["O"]}\n', "line 2: tokens must be"),
    ],
)  # fmt: skip
def test_bad_files_are_one_sentence(name, content, sentence, tmp_path, capsys):
    (tmp_path / name).write_text(content)
    assert main(["train", name]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("net", "settings", "epochs", "lr", "least"),
    [
        ("rnn", {"embedded": 24, "width": 24, "dropout": 0.0}, 10, 0.05, 0.8),
        ("transformer", {"width": 32, "depth": 1, "dropout": 0.0}, 14, 0.01, 0.4),
    ],
)
def test_names_are_learned_asked_and_shipped(net, settings, epochs, lr, least, tmp_path, capsys):
    (tmp_path / "names.conll").write_text(written(sentences()))
    how = {
        "net_settings": settings,
        "epochs": epochs,
        "batch": 8,
        "vocabulary": 300,
        "longest": 20,
        "lr": lr,
        "show": True,
    }
    run = lamina.fit(tmp_path / "names.conll", net=net, run=tmp_path / "run", **how)
    assert "tags" in capsys.readouterr().out  # the plan that is shown
    score = run.score()
    assert score.name == "span_f1" and score.value > least and score.low <= score.value
    assert score.baselines["always the commonest tag"] == 0.0 and score.baselines["commonest tag of each word"] > 0.3
    assert main(["ask", str(tmp_path / "run"), "then Anna went to New York ."]) == 0
    told = capsys.readouterr().out.partition(": ")[2].split()
    assert [word.partition("/")[0] for word in told] == ["then", "Anna", "went", "to", "New", "York", "."]
    assert net != "rnn" or told[1] == "Anna/B-PER"
    pack = lamina.load(run.ship())
    assert pack.ask("in Ulm lives Dora").to_json() == run.ask("in Ulm lives Dora").to_json()
    with pytest.raises(ShipError, match="it answers tag"):
        run.ship("onnx")
    served = Model("tags", tmp_path, pack).answers([Row("row 0", {"text": Sent("in Ulm lives Dora")})])[0]
    assert [answer.to_json() for _, answer in served] == [pack.ask("in Ulm lives Dora").to_json()]
    assert run.score(tmp_path / "names.conll").value > least
    long = run.ask("then Anna went to Bonn . " * 40)
    assert len(long.tags) == 240 and long.tags[1] in run.classes and long.tags[-1] == ""  # beyond what the net reads


def test_nets_and_tables_that_do_not_tag_are_refused(tmp_path, people):
    (tmp_path / "names.conll").write_text(written(sentences(30)))
    with pytest.raises(SettingError, match="which bag_of_words does not answer; try --net"):
        lamina.look(tmp_path / "names.conll", net="bag_of_words")
    with pytest.raises((DataError, SettingError), match="task tag learns words with a tag each"):
        lamina.look(people, task="tag")


@pytest.mark.parametrize("net", ["rnn", "bert"])
def test_a_killed_run_ends_in_the_same_bits(net, tmp_path, same_after_a_kill):
    (tmp_path / "names.conll").write_text(written(sentences(60)))
    small = {"embedded": "8", "width": "8"} if net == "rnn" else {"width": "8", "depth": "1", "heads": "1"}
    wishes = Wishes(net=net, net_settings=small, recipe=Recipe(steps=12, batch=8, vocabulary=300, longest=20))
    same_after_a_kill(lamina.open(tmp_path / "names.conll"), wishes)
