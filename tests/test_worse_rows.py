"""Texts and columns made worse, and what check says of nets that read them."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import lamina
from lamina.core.errors import SettingError
from lamina.data._table import Column, Field
from lamina.judge import worse_rows

TEXT = "The quick brown fox, 12 years old, jumps over the lazy dog.\n\tÜber Привет a b"


def near(a: str, b: str) -> bool:
    """One letter left out, doubled, changed, or swapped with the next."""
    if len(a) == len(b):
        apart = [i for i in range(len(a)) if a[i] != b[i]]
        return len(apart) <= 1 or (len(apart) == 2 and a[apart[0]] == b[apart[1]] and a[apart[1]] == b[apart[0]])
    short, long = sorted((a, b), key=len)
    return any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


@pytest.mark.parametrize("seed", range(20))
def test_typing_errors_are_one_letter_of_a_word(seed):
    made = worse_rows.mistyped(TEXT, 1.0, np.random.default_rng(seed))
    assert made != TEXT and re.sub(r"[^\W\d_]+", "", made) == re.sub(r"[^\W\d_]+", "", TEXT)
    for word, now in zip(re.findall(r"[^\W\d_]+", TEXT), re.findall(r"[^\W\d_]+", made), strict=True):
        assert near(word, now), (word, now)
        assert len(word) > 1 or word == now
    assert worse_rows.mistyped(TEXT, 0.0, np.random.default_rng(seed)) == TEXT


def test_shares_are_as_asked_for():
    text, random = "word " * 4000, np.random.default_rng(0)
    assert np.mean([w != "word" for w in worse_rows.mistyped(text, 0.3, random).split()]) == pytest.approx(
        0.3, abs=0.03
    )
    assert len(worse_rows.shortened(text, 0.25, random).split()) == pytest.approx(3000, abs=100)
    assert worse_rows.shortened("only", 0.99, random) == "only" and worse_rows.shortened("", 0.5, random) == ""


@pytest.fixture
def rows(tmp_path):
    random = np.random.default_rng(0)
    good = random.integers(0, 2, 240)
    words = [
        " ".join(random.choice(["fine", "lovely", "great"] if g else ["awful", "broken", "dull"], 6)) for g in good
    ]
    frame = pd.DataFrame(
        {"words": words, "size": good + random.normal(0, 0.1, 240), "class": np.where(good, "yes", "no")}
    )
    frame.to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


def test_the_table_stays_and_the_same_seed_changes_alike(rows):
    table = lamina.open(str(rows))
    table = table.with_column(Column(Field("words", "text"), table["words"].values))
    inputs = [table["words"].field, table["size"].field]
    assert worse_rows.changes(inputs) == list(worse_rows.CHANGES)
    before = {n: np.array(table[n].values) for n in ("words", "size")}
    for name in worse_rows.CHANGES:
        one, two = (worse_rows.worse(table, inputs, name, 2, 7) for _ in range(2))
        assert any((np.asarray(one[n].values) != before[n]).any() for n in before), name
        for column, values in before.items():
            np.testing.assert_array_equal(one[column].values, two[column].values)
            np.testing.assert_array_equal(table[column].values, values)


def test_check_of_texts_and_columns(rows, tmp_path, capsys):
    run = lamina.fit(str(rows), target="class", epochs=40, show=False, run=tmp_path / "run")
    found = run.check()
    assert found.clean == pytest.approx(run.score().value) and found.rows == run.score().rows
    assert set(found.worse) == set(worse_rows.changes(run.plan.inputs)) and not found.attacked
    assert all(0 <= share <= 1 for shares in found.worse.values() for share in shares)
    assert found.worse["cells missing"][2] < found.clean > 0.9
    from lamina.cli import main

    assert main(["check", str(run.path)]) == 0
    said, page = capsys.readouterr().out, (run.path / "check.html").read_text(encoding="utf-8")
    assert "made worse" in said and all(name in page and name in said for name in found.worse)
    numbers = lamina.fit(str(rows), target="size", ignore=["words"], epochs=1, show=False, run=tmp_path / "numbers")
    with pytest.raises(SettingError, match="one label; this one answers number"):
        numbers.check()
