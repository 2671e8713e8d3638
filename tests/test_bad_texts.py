"""Texts that are wrong, strange or too long, through the command line: one sentence and exit code 2, or the answer and what was cut."""

import json
import shutil

import numpy as np
import pytest

import lamina
from lamina.cli import main

STRANGE = "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \x00 e\u0301 \U0001f469\u200d\U0001f52c \ud800 \u202eabc"
STORY = f"{STRANGE} and so it went on for a long while, said she\n" * 60
NOISE = np.random.default_rng(0).integers(0, 256, 4000, np.uint8).tobytes()


def lines(count, word="line"):
    return "".join(f"{word} {i} goes on and on\n" for i in range(count))


def rows(texts):
    return "text,label\n" + "".join(f"{t},{'ab'[i % 2]}\n" for i, t in enumerate(texts))


FILES = {
    "empty.txt": b"", "blank.txt": b" \n\n", "one.txt": b"one line of text\n", "noise.txt": NOISE, "same.txt": b"a" * 3000,
    "empty.csv": b"", "head.csv": b"text,label\n", "one.csv": rows(["a word"]).encode(), "noise.csv": NOISE,
    "numbers.csv": rows([f"{i}.5" for i in range(40)]).encode(), "same.csv": rows(["word word"] * 40).encode(),
    "word.csv": rows(["word " * (1 + i) for i in range(40)]).encode(),
    "fine.csv": rows([f"the word {i} and more" for i in range(40)]).encode(), "other.csv": b"words,label\na b,c\n", "empty.tsv": b"", "one.tsv": b"a b c\td e f\n", "noise.tsv": NOISE,
    "a.txt": lines(40).encode(), "b.txt": lines(43).encode(), "c.txt": (lines(20) + "\n" + lines(20)).encode(),
    "empty/a/1.txt": b"", "empty/b/1.txt": b"", "noise/a/1.txt": NOISE, "noise/b/1.txt": NOISE, "none/a/.x": b"",
    "few/a/1.txt": b"hello", "few/b/1.txt": b"bye", "empty.mbox": b"", "noise.eml": NOISE, "empty.jsonl": b"",
}  # fmt: skip

WRONG = [
    ("empty.txt", "", "empty.txt is empty"),
    ("empty.txt", "--task embed", "empty.txt is empty"),
    ("blank.txt", "", "holds 3 bytes; learning to write needs 1,000"),
    ("one.txt", "", "holds 17 bytes"),
    ("one.txt", "--task embed", "holds 17 bytes"),
    ("noise.txt", "", "noise.txt is not text"),
    ("noise.txt", "--task embed", "noise.txt is not text"),
    ("same.txt", "", "'a' alone: a vocabulary of 1"),
    ("same.txt", "--task embed", "a vocabulary of 1"),
    ("same.txt", "--tokens pairs", "fewer than two different characters"),
    ("empty.csv", "--net rnn", "empty.csv is empty"),
    ("head.csv", "--net rnn", "but no rows"),
    ("one.csv", "--net rnn", "has 1 row"),
    ("noise.csv", "--net rnn", "noise.csv is not text"),
    ("numbers.csv", "--net rnn", "no column of numbers.csv is one: text (number)"),
    ("numbers.csv", "--task write", "task write learns running text"),
    ("numbers.csv", "--task translate", "two files FILE,FILE"),
    ("numbers.csv", "--task embed", "embed learns words from running text"),
    ("same.csv", "--net rnn", "always the same value"),
    ("word.csv", "--net rnn --target label", "a vocabulary of 1"),
    ("empty.tsv", "", "empty.tsv is empty"),
    ("one.tsv", "--task translate", "no rows"),
    ("noise.tsv", "--task translate", "noise.tsv is not text"),
    ("a.txt,b.txt", "", "a.txt has 40 lines and b.txt has 43; line 41 of b.txt has no partner"),
    ("c.txt,a.txt", "", "c.txt has 41 lines and a.txt has 40; they part at line 21, which is empty in c.txt alone"),
    ("a.txt,gone.txt", "", "no such file: gone.txt"),
    ("gone.txt,a.txt", "", "no such file: gone.txt"),
    ("a.txt,empty.txt", "", "empty.txt is empty"),
    ("noise.txt,a.txt", "", "noise.txt is binary, not text"),
    ("empty", "", "the first: a/1.txt is empty"),
    ("noise", "", "a/1.txt is binary, not text"),
    ("few", "", "class 'a' of few has one row"),
    ("fine.csv", "--net char_rnn", "which char_rnn does not answer; try --net bag_of_words"),
    ("a.txt,a.txt", "--net rnn", "which rnn does not answer; try --net seq2seq or translator"),
    ("empty.mbox", "", "empty.mbox is empty"),
    ("noise.eml", "", "does not begin as a mail does"),
    ("empty.jsonl", "", "no rows"),
]  # fmt: skip


def put(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(("data", "flags", "sentence"), WRONG, ids=lambda v: v[:20])
def test_what_cannot_be_learned_from_is_one_sentence(data, flags, sentence, tmp_path, capsys):
    put(tmp_path, {n: c for n, c in FILES.items() if n in data.split(",") or n.startswith(f"{data}/")})
    assert main(["train", data, "--steps", "1", *flags.split()]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.startswith("lamina: ") and said.count("\n") == 1


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a run of every task that reads texts, small and hardly trained."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMINA_STORE", str(folder / "store"))
        words = np.random.default_rng(1).choice(["sea", "farm", "cow", "ship", "old", "very", "red"], (60, 9))
        put(folder, {
            "texts.csv": rows([" ".join(row) for row in words]).encode(),
            "book.txt": STORY.encode("utf-8", "surrogatepass"),
            "words.txt": "".join(" ".join(row) + ". " for row in words.tolist() * 8).encode(),
            "one.txt": lines(40).encode(), "two.txt": lines(40, "\u05e9\u05dc\u05d5\u05dd").encode(),
        })  # fmt: skip
        how = {"steps": 2, "batch": 4, "show": False}
        made = {
            "classify": ("texts.csv", {"net": "rnn", "target": "label", "net_settings": {"embedded": 4, "width": 4}}),
            "write": ("book.txt", {"tokens": "bytes", "net_settings": {"width": 8, "depth": 1, "heads": 1}}),
            "translate": ("one.txt,two.txt", {"tokens": "bytes", "net": "seq2seq", "net_settings": {"width": 8}}),
            "embed": ("words.txt", {"task": "embed", "net_settings": {"width": 4}}),
        }
        for name, (data, settings) in made.items():
            source = ",".join(str(folder / part) for part in data.split(","))
            lamina.fit(source, run=folder / name, **how, **settings)
    return folder


@pytest.mark.parametrize(
    ("task", "given", "sentence"),
    [
        ("classify", "  ", "an empty text tells nothing"),
        ("classify", "", "an empty text tells nothing"),
        ("classify", "empty.txt", "empty.txt is empty"),
        ("classify", "noise.txt", "noise.txt is binary"),
        ("classify", "gone.txt", "no such path: gone.txt"),
        ("classify", "other.csv", "no column in other.csv that the net needs"),
        ("translate", "  ", "an empty text tells nothing"),
        ("translate", "empty.txt", "empty.txt is empty"),
        ("translate", "noise.txt", "noise.txt is binary"),
        ("embed", "  ", "word"),
        ("embed", "zebra", "zebra"),
        ("write", "empty.txt", "empty.txt"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(task, given, sentence, runs, tmp_path, capsys):
    put(tmp_path, {n: FILES[n] for n in ("empty.txt", "noise.txt", "other.csv")})
    command = ["write", str(runs / task), "--file", given] if task == "write" else ["ask", str(runs / task), given]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.startswith("lamina: ") and said.count("\n") == 1


@pytest.mark.parametrize("task", ["classify", "write", "translate"])
def test_longer_texts_are_cut_and_it_is_said(task, runs, capsys):
    assert main(["ask", str(runs / task), "sea " * 300]) == 0
    read = capsys.readouterr()
    assert read.out and f"of which the net reads the {'last' if task == 'write' else 'first'} " in read.err
    assert main(["ask", str(runs / task), "sea"]) == 0 and "of which" not in capsys.readouterr().err


@pytest.mark.parametrize("task", ["classify", "write", "translate"])
@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]], ids=["plain", "json", "csv"])
def test_strange_signs_are_asked_and_told(task, form, runs, capsys):
    assert main(["ask", str(runs / task), STRANGE, *form]) == 0
    told = capsys.readouterr().out
    told.encode("utf-8")  # half a surrogate pair is written out
    if form == ["--json"]:
        assert "answer" in json.loads(told)


def test_strange_signs_come_back_of_tokens_and_of_the_coded_text(runs):
    coded = lamina.load(runs / "write").plan.inputs[0].tokens
    assert coded.decode(coded.encode(STRANGE)) == STRANGE
    for kind in ("characters", "bytes", "pairs"):
        column = lamina.open(runs / "book.txt", tokens=kind)["text"]
        assert column.field.tokens.decode(np.asarray(column.values.coded.ids)) == STORY
    side = lamina.load(runs / "translate").plan.target.tokens
    assert side.decode(side.encode(STRANGE)) == STRANGE


def test_tokens_of_another_run_are_refused(runs, tmp_path, capsys):
    """The tokens lie in config.json, whose sha256 the run keeps."""
    shutil.copytree(runs / "classify", tmp_path / "mixed")
    shutil.copy(runs / "write" / "config.json", tmp_path / "mixed" / "config.json")
    assert main(["ask", str(tmp_path / "mixed"), "sea"]) == 2
    said = capsys.readouterr().err
    assert "config.json is damaged: its sha256" in said and said.count("\n") == 1
