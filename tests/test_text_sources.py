"""Folders of texts, rows that belong together, what look says of texts, and asking about a text."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

import lamina
from lamina._look import look
from lamina.cli import main
from lamina.core.errors import DataError
from lamina.data import _alike, mail
from lamina.judge import _texts, sheet
from lamina.train.plan import Wishes

WORDS = [
    "the",
    "a",
    "hotel",
    "room",
    "was",
    "very",
    "and",
    "we",
    "slept",
    "there",
    "near",
    "old",
    "sea",
    "with",
    "some",
    "friends",
    "of",
    "ours",
    "last",
    "may",
    "again",
]


def story(random, count=40):
    return " ".join(f"{w}{random.integers(9)}" for w in random.choice(WORDS, count))


@pytest.fixture
def folders(tmp_path):
    """Two classes of 30 texts, told by one word; one file is empty, one binary."""
    random = np.random.default_rng(0)
    for name, word in (("good", "superb"), ("bad", "awful")):
        (tmp_path / "reviews" / name).mkdir(parents=True)
        for i in range(30):
            text = f"{story(random, 8)} {word}"
            raw = text.encode("utf-16") if i == 3 else text.encode()
            (tmp_path / "reviews" / name / f"{i}.txt").write_bytes(raw)
    (tmp_path / "reviews" / "bad" / "30.txt").write_bytes(b"")
    (tmp_path / "reviews" / "bad" / "31.txt").write_bytes(bytes(range(32)) * 9)
    (tmp_path / "reviews" / "README.md").write_text("about")
    return tmp_path / "reviews"


def test_class_folders_of_texts(folders):
    table = lamina.open(folders)
    assert table.reader == "texts" and table["class"].field.classes == ("bad", "good") and len(table) == 60
    assert {b.why for b in table.bad} == {"is empty", "is binary, not text"}
    assert "UTF-8 (58), UTF-16 with a byte order mark (2)" in table.notes[0]
    (folders / "notes.txt").write_text("a text beside the folders makes running text of it\n" * 40)
    assert lamina.open(folders).reader == "text"


def test_a_text_a_file_and_lines_that_are_typed(folders, monkeypatch, capsys, tmp_path):
    run = lamina.fit(folders, run=tmp_path / "run", epochs=40, batch=8, show=False, tokens="words")
    assert next(iter(run.ask("what a superb day").probabilities)) == "good"
    (tmp_path / "one.txt").write_text("awful\nawful")
    (tmp_path / "one.eml").write_bytes(b"From: b@a.org\nSubject: Offer\nMessage-ID: <2@a>\n\nawful\n")
    assert [a.chosen for a in run.ask("superb", tmp_path / "one.txt", tmp_path / "one.eml")] == [
        ("good",),
        ("bad",),
        ("bad",),
    ]
    pack = run.ship()
    assert lamina.load(pack).ask("superb \u05e9\u0301 \x00").to_json() == run.ask("superb \u05e9\u0301 \x00").to_json()
    lines = iter(["superb", "missing.txt", ""])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    assert main(["ask", str(tmp_path / "run"), "--interactive"]) == 0
    said = capsys.readouterr()
    assert "good" in said.out and "no such path: missing.txt" in said.err
    assert main(["ask", str(tmp_path / "run")]) == 2 and "--interactive" in capsys.readouterr().err
    assert main(["ask", str(tmp_path / "run"), "  "]) == 2 and "empty text" in capsys.readouterr().err


def test_nearly_same_texts_are_found_and_others_are_not():
    random = np.random.default_rng(1)
    texts = [story(random, 60) for _ in range(40)]
    changed = texts[7].split()
    changed[11:13] = ["another", "word"]
    texts += [" ".join(changed), "short one", "short one", texts[3].upper()]
    pairs = {tuple(sorted(p)) for p in _alike.nearly_same(texts).tolist()}
    assert pairs == {(7, 40), (3, 43)}
    number = _alike.together(5, [["a"], ["b"], ["a", "c"], [""], ["c"]], np.array([[1, 3]]))
    assert number.tolist() == [0, 1, 0, 1, 0]
    assert len(_alike.nearly_same(["", "a b"])) == 0


def test_the_share_of_equal_bins_estimates_what_two_texts_share():
    random = np.random.default_rng(2)
    words = [f"w{i}" for i in range(4000)]
    base = random.permutation(words)[:1500]
    texts = [" ".join([*base[:keep], *random.permutation(words)[: 1500 - keep]]) for keep in (1500, 1200, 750)]
    made = _alike._signatures(texts)[1]
    runs = [set(zip(*(t.split()[i:] for i in range(3)))) for t in texts]  # noqa: B905
    for other in (1, 2):
        exact = len(runs[0] & runs[other]) / len(runs[0] | runs[other])
        assert (made[0] == made[other]).mean() == pytest.approx(exact, abs=0.2)


def test_threads_and_copies_stay_on_one_side(tmp_path):
    random = np.random.default_rng(3)
    for name in ("ham", "spam"):
        (tmp_path / "mails" / name).mkdir(parents=True)
        for i in range(40):
            head = f"From: {i}@a.org\nMessage-ID: <{name}{i}@a>\nSubject: {'Re: [list] ' * (i % 3)}about {name} number {i // 4}\n"
            head += f"In-Reply-To: <{name}{i - 1}@a>\n" if i % 10 == 9 else ""
            (tmp_path / "mails" / name / f"{i}.eml").write_text(f"{head}\n{story(random)}\n")
    table = lamina.look(tmp_path / "mails").full
    thread, split = table["thread"].values, table.split
    assert len(set(thread)) == 20 and {0, 1, 2} == set(split.tolist())
    assert all(len(set(split[thread == t].tolist())) == 1 for t in set(thread))
    assert any("groups, each on one side" in note for note in table.notes)
    counts = [np.bincount(table["class"].values[split == s], minlength=2) for s in (1, 2)]
    assert all(4 <= n <= 12 for count in counts for n in count), counts


@pytest.mark.parametrize(
    ("subject", "thread"),
    [
        ("Re: [ILUG] Fwd: three small words", "three small words"),
        ("AW: RE(2): three small  Words", "three small words"),
        ("hello", ""),
        ("[spam] lunch today", ""),
    ],
)
def test_subjects_name_threads(subject, thread):
    assert mail.thread_of(subject) == thread


def test_look_says_what_is_odd_about_texts(tmp_path):
    random = np.random.default_rng(4)
    texts = [story(random, 30) for _ in range(100)]
    texts[5] = texts[60] = ""
    texts[10] = "x" * 6000
    texts[20:24] = ["\u043c\u0438\u0440 \u0438 \u0432\u043e\u0439\u043d\u0430 " * 9] * 4
    split = np.where(np.arange(100) % 5 == 0, "test", np.where(np.arange(100) % 5 == 1, "val", "train"))
    texts[40], texts[45] = texts[42], f"{texts[43]} more"
    frame = pd.DataFrame({"review": texts, "label": np.arange(100) % 2, "split": split})
    said = io.StringIO()
    look(lamina.open(frame, target="label"), Wishes(), Console(file=said, width=400, highlight=False))
    text = said.getvalue()
    assert "2 of 100 texts are empty" in text and "lines of over 5,000 characters (the longest 6,000, in row 10" in text
    assert "several scripts: Latin" in text and "Cyrillic" in text
    assert "test texts are nearly in train too" in text and "of the tokens of a pass" in text


def test_scripts_and_languages():
    assert _texts.script("\u05e9\u05dc\u05d5\u05dd a") == "Hebrew" and _texts.script("12 !") == ""
    assert _texts.language("Das ist nicht ein Haus und die Katze") == "German"
    assert _texts.language("the cat and the dog of that house") == "English" and _texts.language("cat dog") == ""


LOOKED = [
    ("book.txt", "--net.width 8 --net.depth 1", "the token after each", "tokens"),
    ("pairs.tsv", "--net seq2seq --net.width 8", "translation: sentences of 5 to 5 words, median 5", "words"),
    ("reviews", "--task mask --net.width 8 --net.depth 1", "the rows are learned for their own sake", "words"),
    ("reviews", "--task hash --net.hidden 8", "class: bad 30, good 30", "words"),
    ("names.conll", "--net rnn --net.width 8", "tags: O 40, B-PER 20", "tags"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "flags", "target", "counted"), LOOKED, ids=lambda v: v[:12])
def test_look_says_and_draws_every_kind_of_text(data, flags, target, counted, folders, tmp_path, monkeypatch, capsys):
    """Its picture has bars for texts, too: how many words they have, which tokens are common."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text("a long way to go, said she, and went on\n" * 60)
    (tmp_path / "pairs.tsv").write_text(
        "".join(f"the dog number {i} sleeps\tle chien num {i} dort\n" for i in range(60))
    )
    (tmp_path / "names.conll").write_text("".join(f"Anna{i}\tB-PER\nsees\tO\nhim\tO\n\n" for i in range(20)))
    assert main(["look", data, *flags.split()]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert target in said
    with Image.open(tmp_path / "runs" / f"look-{data}.png") as picture:
        blue = np.asarray(picture.convert("RGB")) == np.array(sheet.BAR)
    assert blue.all(2).sum() > 200 and counted in "".join(sheet.COUNTED.values())


def test_a_setting_that_is_unlike_all_names_them(folders, capsys):
    assert main(["look", str(folders), "--net", "rnn", "--net.kind", "gru"]) == 2
    assert "no setting '--net.kind'; there is: --net.classes, " in capsys.readouterr().err
    assert main(["look", str(folders), "--net", "rnn", "--net.widht", "8"]) == 2
    assert "did you mean '--net.width'?" in capsys.readouterr().err


def test_look_finds_copied_lines_of_running_text(tmp_path):
    line = "this line of a licence stands in every file of the tree that was read\n"
    random = np.random.default_rng(5)
    (tmp_path / "book.txt").write_text(
        "".join(story(random, 12) + "\n" + (line if i % 3 == 0 else "") for i in range(600))
    )
    table = lamina.look(tmp_path / "book.txt").full
    assert any("test lines of 40 characters or more stand in train too" in s for s in _texts.about(table))


def test_folders_without_texts_are_refused(tmp_path):
    for name in "ab":
        (tmp_path / "empty" / name).mkdir(parents=True)
        (tmp_path / "empty" / name / "1.txt").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds no text that can be read; the first: a/1.txt is empty"):
        lamina.open(tmp_path / "empty")
