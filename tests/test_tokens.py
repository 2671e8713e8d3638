"""Tokens, ragged rows and batches of like length: what goes in comes out, nothing is lost, little is padding."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.core import config
from lamina.core.errors import DataError, NameUnknown, SettingError
from lamina.data import _ragged
from lamina.data._sequences import Sequences, waste
from lamina.data._table import Field
from lamina.data._tokens import END, KINDS, PADDING, START, UNKNOWN, Tokens
from lamina.data._words import words
from lamina.train.step import Order

HARD = "a\x00b \ud800 e\u0301\u0323 \u05e9\u05dc\u05d5\u05dd \u202eabc <start> \U0001f469\u200d\U0001f467 \u0928\u092e\u0938\u094d\u0924\u0947\r\n\t  \x85\xa0 x"
TEXTS = ["The cat sat on the mat.", "The dog isn't on the mat!", "A cat and a dog.", HARD, ""]


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind):
    tokens = Tokens.fit(TEXTS, kind, minimum=1)
    assert tokens.exact == (kind in ("bytes", "pairs"))
    for text in (
        TEXTS if kind != "words" else ["the cat sat on the mat.", "a dog isn't (the) cat, \u05e9\u05dc\u05d5\u05dd!"]
    ):
        if kind == "words" and "(" in text:
            tokens = Tokens.fit([*TEXTS, text], kind, minimum=1)
        assert tokens.decode(tokens.encode(text)) == text


@given(st.text(st.characters(), max_size=40))
@settings(max_examples=200, deadline=None)
def test_bytes_and_pairs_give_back_every_text(text):
    for kind in ("bytes", "pairs"):
        tokens = MADE[kind]
        assert tokens.decode(tokens.encode(text)) == text


MADE = {kind: Tokens.fit(TEXTS * 3, kind, None if kind == "bytes" else 300) for kind in ("bytes", "pairs")}


@pytest.mark.parametrize("kind", KINDS)
def test_many_are_coded_as_one_by_one(kind):
    tokens = Tokens.fit(TEXTS, kind)
    flat, offsets = tokens.encode_many(TEXTS)
    assert flat.dtype == np.int32 and offsets[-1] == len(flat)
    for i, text in enumerate(TEXTS):
        assert np.array_equal(flat[offsets[i] : offsets[i + 1]], tokens.encode(text))
    assert 3 < flat.max() < len(tokens) or kind == "words"


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_plain_json_and_tell_other_runs_apart(kind):
    tokens, other = (
        Tokens.fit(TEXTS, kind),
        Tokens.fit([*TEXTS, "zebra zebra Q"], kind, 290 if kind == "pairs" else None),
    )
    kept = json.loads(
        json.dumps(tokens.to_json(), ensure_ascii=False).encode()
    )  # as a run writes it: no lone surrogates
    assert Tokens.from_json(kept, tokens.fingerprint) == tokens
    if kind != "bytes":
        with pytest.raises(DataError, match="another run"):
            Tokens.from_json(kept, other.fingerprint)
        with pytest.raises(DataError, match="damaged"):
            Tokens.from_json({**kept, "lower": not kept["lower"]})
    with pytest.raises(DataError, match="no token file"):
        Tokens.from_json({"kind": "words"})
    field = Field("text", "text", shape=(20,), tokens=tokens)
    assert config.from_json(Field, json.loads(json.dumps(config.to_json(field)))) == field


def test_words_of_many_scripts():
    assert words("Don't stop-me, 3.5 %") == ["Don't", "stop", "-", "me", ",", "3", ".", "5", "%"]
    assert words("cafe\u0301 \u0928\u092e\u0938\u094d\u0924\u0947 \u65e5\u672c") == [
        "cafe\u0301",
        "\u0928\u092e\u0938\u094d\u0924\u0947",
        "\u65e5",
        "\u672c",
    ]
    assert words("\u05e9\u05dc\u05d5\u05dd, \u0645\u06cc\u200c\u062e") == [
        "\u05e9\u05dc\u05d5\u05dd",
        ",",
        "\u0645\u06cc\u200c\u062e",
    ]


def test_the_commonest_are_kept_and_others_are_unknown():
    tokens = Tokens.fit(["b b b a a c"], "words", limit=6)
    assert tokens.vocabulary == ("b", "a")
    assert tokens.encode("A b c").tolist() == [5, 4, UNKNOWN]
    assert "unknown" in tokens.promise and "not kept" in tokens.promise
    assert tokens.name(PADDING) == "<padding>" and tokens.name(4) == "b"


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_of_one_is_refused(kind):
    with pytest.raises(DataError, match="tell"):
        Tokens.fit(["aaa", "aaa"] if kind != "words" else ["ha ha", "ha"], kind)


def test_wrong_settings_are_said():
    with pytest.raises(NameUnknown, match="words"):
        Tokens.fit(TEXTS, "word")
    with pytest.raises(SettingError, match="260"):
        Tokens.fit(TEXTS, "pairs", 100)
    with pytest.raises(DataError, match="another run"):
        Tokens.fit(TEXTS).decode([999_999])


def test_rows_of_several_columns_are_cut_and_packed_once(tmp_path):
    tokens = Tokens.fit(TEXTS, "bytes")
    columns = [np.array(["abc", "", "d"], object), np.array(["xyz", "uv", ""], object)]
    memory, mapped = (_ragged.pack(columns, tokens, [2, 9], cache) for cache in (None, tmp_path))
    assert memory.row(0).tolist() == [START, *tokens.encode("ab"), END, *tokens.encode("xyz")]
    assert memory.row(1).tolist() == [START, END, *tokens.encode("uv")]
    assert isinstance(mapped.flat, np.memmap)
    (path,) = tmp_path.glob("*.npy")
    assert np.array_equal(mapped.flat, memory.flat) and np.array_equal(mapped.offsets, memory.offsets)
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    path.write_bytes(content)
    assert np.array_equal(_ragged.pack(columns, tokens, [2, 9], tmp_path).offsets, memory.offsets)


def lengths_like_mails(rows=3000):
    return np.minimum(np.random.default_rng(0).lognormal(4.5, 1.2, rows).astype(np.int64) + 1, 512)


def test_batches_hold_every_row_once_and_little_padding():
    lengths = lengths_like_mails()
    order = Order(len(lengths), 48, 3, lengths)
    rows = torch.cat([order(step)[0] for step in range(313)])  # 5 passes of 62.5 batches
    for number in range(5):
        assert rows[number * 3000 : (number + 1) * 3000].sort().values.tolist() == list(range(3000))
    assert waste(lengths, rows[:15000].split(48)) < 0.05
    assert waste(lengths, torch.randperm(3000).split(48)) > 0.5
    again = Order(len(lengths), 48, 3, lengths)
    assert torch.equal(again(200)[0], order(200)[0])  # a resumed run begins anywhere
    assert not torch.equal(order(0)[0], Order(len(lengths), 48, 4, lengths)(0)[0])


def test_pairs_of_sequences_are_padded_little_on_both_sides():
    random = np.random.default_rng(0)
    source = random.integers(4, 40, 6000)
    lengths = np.stack([source, np.maximum(2, (1.3 * source + random.normal(0, 6, 6000)).astype(np.int64))], 1)
    order = Order(6000, 32, 3, lengths)
    rows = torch.cat([order(step)[0] for step in range(375)])  # 2 passes
    for part in rows.split(6000):
        assert part.sort().values.tolist() == list(range(6000))
    assert waste(lengths, rows.split(32)) < 0.05 and waste(lengths[:, 1], rows.split(32)) < 0.05
    by_first = Order(6000, 32, 3, lengths[:, 0])
    assert waste(lengths[:, 1], [by_first(step)[0] for step in range(187)]) > 0.15
    first = {tuple(part.sort().values.tolist()) for part in rows[:6000].split(32)}
    assert not any(
        tuple(part.sort().values.tolist()) in first for part in rows[6000:].split(32)
    )  # other batches each pass


def test_sequences_are_padded_and_masked(tmp_path):
    tokens = Tokens.fit(TEXTS, "characters")
    texts = [np.array(TEXTS, object)]
    ragged = _ragged.pack(texts, tokens, [1000], tmp_path)
    made = Sequences(ragged, torch.device("cpu"))
    ids, mask = made.get(torch.tensor([4, 0, 2]))
    assert ids.dtype == torch.int64 and ids.shape == mask.shape == (3, 1 + len(TEXTS[0]))
    assert mask.sum(1).tolist() == [1, 1 + len(TEXTS[0]), 1 + len(TEXTS[2])]
    assert bool((ids[~mask] == PADDING).all()) and bool((ids[mask] != PADDING).all())
    assert tokens.decode(ids[2].tolist()) == TEXTS[2]
    assert torch.cat(made.parts()).sort().values.tolist() == [0, 1, 2, 3, 4]
