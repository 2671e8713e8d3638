"""Texts as inputs: planned, learned, asked, shipped; mails of every make."""

import mailbox

import numpy as np
import pandas as pd
import pytest

import lamina
from lamina.core.errors import DataError, SettingError
from lamina.data import mail

PLAIN = b"From: =?iso-8859-1?q?J=FCrg?= <j@a.org>\nSubject: Lunch\nMessage-ID: <1@a>\nDate: Mon, 1 Jan 2001 00:00:00 +0000\n\nAt noon?\n"
PARTS = (
    b"From: b@a.org\nSubject: Offer\nMIME-Version: 1.0\nMessage-ID: <2@a>\nContent-Type: text/html; charset=iso-8859-1\n"
    b"Content-Transfer-Encoding: quoted-printable\n\n<html><style>x</style><p>Caf=E9 <b>cheap</b></p></html>\n"
)


@pytest.fixture
def reviews():
    """160 texts whose label is told by one word, and a number beside them."""
    random = np.random.default_rng(0)
    label = np.arange(160) % 2
    filler = ["the", "a", "hotel", "room", "was", "very", "and", "we"]
    texts = [" ".join([*random.choice(filler, 3 + i % 9), ["awful", "superb"][c]]) for i, c in enumerate(label)]
    texts[0] = "the bytes \x00 and a \u05e9 awful"
    return pd.DataFrame({"review": texts, "label": np.where(label, "good", "bad")})


@pytest.mark.parametrize("net", ["bag_of_words"])
def test_texts_are_learned_asked_and_shipped(reviews, net):
    run = lamina.fit(reviews, net=net, epochs=50, batch=16, show=False)
    assert run.score().value >= 0.9
    assert next(iter(run.ask({"review": "a superb room"}).probabilities)) == "good"
    pack = lamina.load(run.ship())
    assert pack.ask({"review": "awful"}).to_json() == run.ask({"review": "awful"}).to_json()


def test_settings_without_effect_and_nets_that_cannot_read_are_refused(reviews):
    with pytest.raises(SettingError, match="reads no text"):
        lamina.look(reviews, net="mlp")
    with pytest.raises(SettingError, match="reads texts alone"):
        lamina.look(reviews.assign(stars=np.arange(160.0) % 7), net="rnn")
    with pytest.raises(SettingError, match="for texts"):
        lamina.look({"x": np.random.rand(60), "y": np.arange(60) % 2}, target="y", tokens="bytes")


def test_mails_in_folders_and_boxes(tmp_path):
    for name, content in (("ham", PLAIN), ("spam", PARTS)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.eml").write_bytes(content)
    table = lamina.open(str(tmp_path))
    assert table.reader == "mail" and table["class"].field.classes == ("ham", "spam")
    assert table["from"].values[0] == "J\u00fcrg <j@a.org>" and table["body"].values[0].strip() == "At noon?"
    assert table["body"].values[1] == "Caf\u00e9 cheap" and "iso-8859-1" in table.notes[0]
    box = mailbox.mbox(str(tmp_path / "all.mbox"))
    box.add(PLAIN)
    box.add(PARTS)
    box.close()
    assert list(mail.read(tmp_path / "all.mbox", lamina.data._table.Reading())["subject"].values) == ["Lunch", "Offer"]
    (tmp_path / "empty.eml").write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        lamina.open(str(tmp_path / "empty.eml"))


def test_equal_texts_stay_on_one_side(reviews):
    twice = pd.concat([reviews, reviews.assign(review=" " + reviews.review.str.upper())], ignore_index=True)
    table = lamina.look(twice).table
    assert table.split is not None
    alike = [" ".join(text.lower().split()) for text in table["review"].values]
    sides = {text: {int(s) for t, s in zip(alike, table.split, strict=True) if t == text} for text in set(alike)}
    assert all(len(found) == 1 for found in sides.values()) and {0, 1, 2} == set(table.split.tolist())


def test_names_are_left_out_beside_other_columns_and_sentences_are_read():
    """Titanic: names of few words beside numbers; a net that reads texts gets them when it is asked for."""
    random = np.random.default_rng(0)
    rows = 120
    words = np.array(
        ["the", "room", "was", "small", "and", "dark", "but", "we", "liked", "how", "near", "the", "sea", "it", "lay"]
    )
    frame = pd.DataFrame({
        "name": [f"Allen, Miss. Elisabeth Number{i} Walton" for i in range(rows)],
        "age": random.normal(40, 9, rows), "fare": random.normal(30, 5, rows), "alive": random.choice(["yes", "no"], rows),
    })  # fmt: skip
    made = lamina.look(frame, target="alive", minutes=1)
    assert made.plan.net == "mlp" and {f.name for f in made.plan.inputs} == {"age", "fare"}
    assert any("name: texts of few words" in why for why in made.plan.why)
    asked = lamina.look(frame, target="alive", net="bag_of_words", minutes=1)
    assert "name" in {f.name for f in asked.plan.inputs}
    frame["name"] = [" ".join(random.permutation(words)) for _ in range(rows)]
    assert lamina.look(frame, target="alive", minutes=1).plan.net == "bag_of_words"
