"""A contract over every recipe: it runs, its numbers are finite, what it trained ships and reloads bit-equal; and the record."""

import ast
import json
import math
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

import lamina
from lamina.core import catalog
from lamina.core.errors import DataError, LaminaError, NameUnknown, RunError, SettingError
from lamina.measures.interval import of_mean
from lamina.recipes import _draw, _recipe, _results
from lamina.reproduce import recipe

NAMES = catalog.names("recipes")


@pytest.mark.parametrize("name", NAMES)
def test_recipe_runs_and_ships(name, tmp_path):
    module = catalog.find("recipes", name)
    try:
        outcome = module.run(True, 0, tmp_path / "seed-0", None)
    except DataError as error:  # real data that is not on this machine: the error must say what brings it
        assert "lamina fetch" in str(error) or "pip install" in str(error)
        pytest.skip(str(error))
    assert outcome.numbers and all(math.isfinite(v) for v in outcome.numbers.values()), outcome.numbers
    assert set(module.HISTORY) <= {"", *outcome.numbers}, "history of numbers that the recipe does not give"
    assert all(path.is_file() for path in outcome.pictures)
    for number, run in enumerate(outcome.trained[:1]):
        anew = lamina.load(run.ship("pack", tmp_path / f"{number}"))
        for key, value in run.net.state_dict().items():
            assert torch.equal(anew.net.state_dict()[key], value), key


@pytest.mark.parametrize("name", NAMES)
def test_recipe_says_where_it_comes_from(name):
    path = Path(_recipe.__file__).parent / f"{name}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert f"lamina recipe {name}" in text and "RESULTS.md" in text
    module = catalog.find("recipes", name)
    assert module.SYSTEMS and all(s.startswith("S") for s in module.SYSTEMS)
    assert module.SEEDS >= 1 and module.HISTORY.get("")


def made(name="perceptron", values=(1.0, 2.0)):
    return _recipe.Made(name, ("S01",), {"AND, accuracy %": list(values)}, [1.5] * len(values))


def test_recorders_do_not_overwrite_each_other(tmp_path):
    names = [f"made{i}" for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: _results.record(made(n), f"lamina recipe {n}", tmp_path), names))
    page = (tmp_path / "RESULTS.md").read_text()
    assert all(f"## {n} (S01)" in page for n in names)
    _results.record(made(names[0], (5.0, 5.0)), "lamina recipe made0", tmp_path)
    kept = json.loads((tmp_path / "results" / "made0.json").read_text())
    assert len(kept) == 1 and kept[0]["numbers"] == {"AND, accuracy %": [5.0, 5.0]}
    kept[0]["machine"]["processor"] = "another"
    (tmp_path / "results" / "made0.json").write_text(json.dumps(kept))
    _results.record(made(names[0]), "lamina recipe made0", tmp_path)
    assert (tmp_path / "RESULTS.md").read_text().count("## made0") == 2
    for data in ("german", "dutch", "german"):
        _results.record(made(names[1]), f"lamina recipe made1 --data {data} --seeds 1", tmp_path)
    assert (tmp_path / "RESULTS.md").read_text().count("## made1") == 3  # without data, and once of each


def test_the_results_file_is_the_one_that_the_json_gives():
    path = _results.ROOM / "RESULTS.md"
    if path.is_file():
        assert path.read_text(encoding="utf-8") == _results.page()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(RunError, match="record from a checkout"):
        _results.record(made(), "x", tmp_path)


def test_the_table_holds_mean_interval_and_history():
    mean, low, high = of_mean([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2, 2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5))  # Student 1908, 2 degrees
    assert math.isnan(of_mean([1.0])[1])
    (row,) = made(values=(1.0, 2.0, 3.0)).rows({"AND, accuracy %": "learned"})
    assert row == ("AND, accuracy %", "2 (0 to 4.484, 3 seeds)", "learned")
    assert _recipe.measured("x", [3.0, 3.0]) == "3 (2 seeds)" and _recipe.measured("x", [0.5]) == "0.5 (1 seed)"
    assert _recipe.measured("accuracy %", [99.0, 97.0]) == "98 (85.29 to 100, 2 seeds)"


def test_the_command_prints_what_it_measured_beside_history(tmp_path):
    text = StringIO()
    recipe("perceptron", quick=True, seeds=2, out=str(tmp_path / "out"), console=Console(file=text, width=160))
    printed = text.getvalue()
    assert "seed 1:" in printed and "2 seeds" in printed and "(1969)" in printed and "lines.png" in printed
    assert (tmp_path / "out" / "seed-1" / "XOR" / "best.safetensors").is_file()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"name": "perzeptron"}, NameUnknown, "did you mean 'perceptron'"),
        ({"name": "perceptron", "quick": True, "record": True}, SettingError, "record the whole one"),
        ({"name": "perceptron", "quick": True, "seeds": -1}, SettingError, "--seeds must be 1 or more"),
    ],
)
def test_wrong_words_are_named(settings, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message) as raised:
        recipe(**settings)
    assert isinstance(raised.value, LaminaError)


def test_some_rows_are_of_all_classes_and_other_splits_stay():
    table = lamina.open("digits")
    few = _recipe.some(table, 20, 1)
    assert [int((few.split == s).sum()) for s in range(3)] == [20, 500, 1000]
    codes = few["class"].values[few.rows(0)]
    assert sorted(codes.tolist()) == sorted([*range(10), *range(10)])


def test_pictures_show_what_they_are_given(tmp_path):
    from PIL import Image

    curve = _draw.Curve("one", [1, 2, 4], [0.0, 0.5, 1.0], [0, 0.4, 0.9], [0.1, 0.6, 1.0])
    with Image.open(_draw.curves([curve], tmp_path / "c.png", "title", "x", "y", log=True)) as image:
        assert image.size == (_draw.WIDE, _draw.HIGH) and len(image.getcolors(1 << 20)) > 10
    answers = torch.zeros(4, 4, dtype=torch.int64).numpy()
    answers[0] = 1  # the lowest row of the plane
    plane = _draw.Plane("t", answers, torch.zeros(0, 2).numpy(), torch.zeros(0).numpy(), (0, 1, 0, 1))
    with Image.open(_draw.planes([plane], tmp_path / "p.png")) as image:
        low, high = (
            image.getpixel((100, _draw.GAP + _draw.TITLE + _draw.SIDE - 10)),
            image.getpixel((100, _draw.GAP + _draw.TITLE + 10)),
        )
    assert low[0] > low[2] and high[2] > high[0]  # red below, blue above


def test_minutes_are_refused_where_a_recipe_has_no_time_of_its_own(tmp_path):
    module = catalog.find("recipes", "perceptron")
    with pytest.raises(SettingError, match="leave --minutes out"):
        _recipe.make(module, True, 1, tmp_path, None, print, minutes=2.0)


def test_the_curve_of_transfer_holds_all_seeds(tmp_path):
    module = catalog.find("recipes", "transfer")
    numbers = {"test photographs": [50.0, 50.0]}
    for i, told in enumerate(("5", "10", "20", "all")):
        numbers[f"{told} a class: photographs to learn from"] = [30.0 * 2**i] * 2
        numbers |= {f"{told} a class, {way}: accuracy %": [60.0 + 9 * i, 66.0 + 9 * i] for way in module.WAYS}
    (path,) = module.overview(numbers, tmp_path)
    assert path.is_file() and not module.overview({"known digits: accuracy %": [1.0]}, tmp_path)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(1.6, 23.9, [5, 10, 15, 20]), (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (5, 5, [5]), (-3, 7, [-2, 0, 2, 4, 6])],
)
def test_ticks_are_round(low, high, wanted):
    assert _draw._ticks(low, high) == pytest.approx(wanted)
