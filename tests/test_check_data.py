"""`lamina check DATA` finds what was planted, and nothing in clean data; the split by a column; the page escapes names."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

import lamina
from lamina import _check_data
from lamina.cli import main
from lamina.core.errors import DataError, SettingError
from lamina.judge import _pixels, _quick, duplicates, label_errors
from lamina.judge.examine import examine

HOSTILE = "<script>alert(1)</script>"


def found(source, only=(), **how):
    table = lamina.open(source, **how) if how or not hasattr(source, "columns") else lamina.open(source)
    from lamina.data import _target

    table = _target.divided(_target.with_target(table, table.target))
    return {f.kind: f for f in examine(table, only=only).findings}, table


def drawn(seed, side=96):
    """A picture that is like no other: shapes of many colours on a gradient."""
    random = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, side)
    base = random.uniform(0, 120, 3) + (
        ramp[:, None, None] * random.uniform(-90, 130, 3) + ramp[None, :, None] * random.uniform(-90, 130, 3)
    )
    image = Image.fromarray(base.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(9):
        x, y, w, h = random.integers(0, side, 4)
        ink = tuple(int(v) for v in random.integers(0, 256, 3))
        (draw.ellipse if random.random() < 0.5 else draw.rectangle)((x, y, x + 6 + w // 2, y + 6 + h // 2), fill=ink)
    return image


def changed(image, how):
    if how == "resized":
        return image.resize((61, 61), Image.Resampling.LANCZOS)
    if how == "recompressed":
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=55)
        return Image.open(buffer).convert("RGB")
    if how == "cropped":
        return image.crop((9, 4, 95, 90))
    return image


@pytest.fixture
def gallery(tmp_path):
    """60 pictures of two classes; copies of four of them in the test folder, one of them labelled otherwise."""
    for i in range(60):
        split = "train" if i < 40 else "val" if i < 48 else "test"
        folder = tmp_path / "gallery" / split / ("a" if i % 2 else HOSTILE.replace("/", "_"))
        folder.mkdir(parents=True, exist_ok=True)
        drawn(i).save(folder / f"{i}.png")
    for i, how in ((1, "resized"), (3, "recompressed"), (5, "cropped")):
        changed(drawn(i), how).save(tmp_path / "gallery" / "test" / "a" / f"{how}.png")
    drawn(7).save(tmp_path / "gallery" / "test" / HOSTILE.replace("/", "_") / "same.bmp")
    return tmp_path / "gallery"


def test_duplicates_are_found_and_nothing_else(gallery):
    told, table = found(gallery, only=("duplicates",))
    exact, near = told["exact duplicates of pictures across splits"], told["near duplicates of pictures across splits"]
    pairs = {frozenset(str(table.names[r]).split("/")[-1] for r in g) for g in (*exact.groups, *near.groups)}
    assert pairs == {
        frozenset(p)
        for p in (
            ("1.png", "resized.png"),
            ("3.png", "recompressed.png"),
            ("5.png", "cropped.png"),
            ("7.png", "same.bmp"),
        )
    }
    assert exact.grave and near.grave and "would flatter" in near.sentence and "1 test" in exact.sentence
    assert set(told) - {exact.kind, near.kind} == {"contradicting duplicates"}


def test_pictures_that_are_merely_alike_are_not_duplicates():
    digits = lamina.open("digits")["image"].values.array[:300].transpose(0, 3, 1, 2).copy()
    none, share = _pixels.pairs(digits)
    assert len(none) <= 2 and share == 1.0
    assert len(_pixels.pairs(np.concatenate([digits, digits[:5]]))[0]) >= 5
    assert len(_pixels.pairs(np.zeros((9, 1, 32, 32), np.uint8))[0]) == 0


def test_rows_that_are_equal_by_chance_are_no_duplicates():
    random = np.random.default_rng(0)
    coarse = pd.DataFrame(
        {"a": random.integers(0, 3, 300), "b": random.integers(0, 4, 300), "class": random.choice(["x", "y"], 300)}
    )
    fine = pd.DataFrame(
        {f"c{i}": random.normal(size=300) for i in range(4)} | {"class": random.choice(["x", "y"], 300)}
    )
    assert not found(coarse, only=("duplicates",))[0]
    assert not found(fine, only=("duplicates",))[0]
    told, _ = found(pd.concat([fine, fine.iloc[:6]], ignore_index=True), only=("duplicates",))
    assert sum(f.numbers["rows"] for k, f in told.items() if k.startswith("exact")) == 12
    assert duplicates.groups(6, [(4, 2), (0, 5), (2, 1)]) == [[0, 5], [1, 2, 4]]


@pytest.fixture
def loans():
    """400 loans: a rate that says something, and an answer."""
    random = np.random.default_rng(0)
    rate, income = random.normal(6, 2, 400), random.lognormal(8, 0.5, 400)
    bad = random.random(400) < 1 / (1 + np.exp(-(rate - 7)))
    days = pd.to_datetime("2024-01-01") + pd.to_timedelta(random.permutation(400), unit="D")
    return pd.DataFrame(
        {
            "rate": rate,
            "income": income,
            "town": random.choice(list("abcd"), 400),
            "day": days.astype(str),
            "default": np.where(bad, "yes", "no"),
        }
    )


def test_leaks(loans):
    random = np.random.default_rng(1)
    clean, _ = found(loans.drop(columns="day"), target="default")
    assert not clean
    bad = loans["default"] == "yes"
    leaky = loans.assign(
        code=bad * 7 + random.normal(0, 0.1, 400),
        written_off=np.where(bad, random.lognormal(7, 1, 400), np.nan),
        loan_id=[f"L{i:05}" for i in random.permutation(400)],
        customer=np.where(bad, random.integers(0, 20, 400), 20 + random.integers(0, 30, 400)),
    )
    told, _ = found(leaky, target="default", only=("leaks",))
    assert {
        "answer in a column",
        "column from the future",
        "identifier",
        "same group on both sides",
        "time running backwards",
    } == set(told)
    assert (
        told["same group on both sides"].columns == ("customer",)
        and "--split-by customer" in told["same group on both sides"].todo
    )
    ahead = pd.DataFrame({"x": random.normal(size=200), "price": np.cumsum(random.normal(size=200))})
    ahead["tomorrow"] = ahead["price"].shift(-1)
    told, _ = found(ahead[["x", "tomorrow", "price"]], target="price", only=("leaks",))
    assert told["column from the future"].columns == ("tomorrow",)


def test_drift_and_oddities(loans):
    moved = loans.drop(columns="day").assign(split=["train"] * 250 + ["val"] * 50 + ["test"] * 100)
    assert "drift between splits" not in found(moved, target="default", only=("drift",))[0]
    moved.loc[300:, "income"] *= 2.5
    told, _ = found(moved, target="default", only=("drift",))
    assert told["drift between splits"].columns[0] == "income"
    moved.loc[:10, "income"] = -999
    moved.loc[17, "rate"] = 700
    told, _ = found(moved, target="default", only=("oddities",))
    assert told["code for missing"].rows == tuple(range(11)) and told["outlying numbers"].rows == (17,)


def test_odd_pictures(tmp_path):
    for i in range(60):
        image = drawn(i)
        if i == 7:
            image = Image.new("RGB", (96, 96), (90, 90, 90))
        if i == 8:
            image = image.crop((0, 0, 96, 16))
        if i == 9:
            image = Image.fromarray((np.asarray(image) * 0.1).astype(np.uint8))
        if i == 10:
            image = image.resize((7, 7), Image.Resampling.BOX).resize((96, 96), Image.Resampling.BICUBIC)
        (tmp_path / "odd" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "odd" / "ab"[i % 2] / f"{i}.png")
    told, table = found(tmp_path / "odd", only=("oddities",))
    place = {int(str(n).split("/")[-1][:-4]): i for i, n in enumerate(table.names)}
    expected = {"empty pictures": 7, "odd-sized pictures": 8, "dark pictures": 9, "blurred pictures": 10}
    for kind, number in expected.items():
        assert told[kind].rows == (place[number],), kind


def test_labels_that_were_flipped_are_found():
    table = lamina.open("digits")
    table = table.take(np.random.default_rng(0).permutation(len(table))[:700])
    target = table["class"]
    random = np.random.default_rng(1)
    flipped, label = random.permutation(700)[:35], target.values.copy()
    label[flipped] = (label[flipped] + random.integers(1, 10, 35)) % 10
    probabilities = _quick.crossed(_quick.features(table), label, 10)
    rows, quality = label_errors.suspects(probabilities, label)
    assert np.isin(np.argsort(quality)[:35], flipped).mean() > 0.75
    assert np.isin(rows, flipped).mean() > 0.6 and np.isin(flipped, rows).mean() > 0.75
    assert (label_errors.suspects(np.eye(10)[label] * 0.9 + 0.01, label)[0]).size == 0


def test_crossed_answers_never_saw_their_own_label():
    random = np.random.default_rng(0)
    import torch

    rows, codes = torch.from_numpy(random.normal(size=(300, 250))).float(), random.integers(0, 2, 300)
    assert (
        abs((_quick.crossed(rows, codes, 2).argmax(1) == codes).mean() - 0.5) < 0.1
    )  # more columns than a fit needs to know all by heart


def test_no_time_is_said(gallery):
    from lamina.data import _target

    table = _target.divided(_target.with_target(lamina.open(gallery), None))
    assert examine(table, seconds=0).left_out == ["leaks", "oddities", "duplicates", "drift", "label errors"]


def test_split_by(loans, tmp_path, capsys):
    path = tmp_path / "loans.csv"
    loans.assign(customer=np.arange(400) // 4).to_csv(path, index=False)
    for name in ("day", "customer"):
        plan = lamina.look(path, target="default", split_by=name)
        table = plan.full
        values = pd.Series(table[name].values)
        if name == "day":
            assert (
                values[table.split == 0].max()
                < values[table.split == 1].min()
                <= values[table.split == 1].max()
                < values[table.split == 2].min()
            )
        else:
            assert values.groupby(values).size().max() == 4
            assert all(len(set(table.split[values == v])) == 1 for v in values.unique())
            assert "customer" not in [f.name for f in plan.plan.inputs]
    run = lamina.fit(path, target="default", split_by="customer", epochs=1, show=False, run=tmp_path / "run")
    assert run.explain("0")  # the data is read again and split alike
    with pytest.raises(SettingError, match="brings its own split"):
        lamina.open("digits", split_by="class")
    with pytest.raises(DataError, match="fewer than 5 values"):
        lamina.open(path, split_by="town")


def test_command(gallery, loans, tmp_path, capsys):
    assert main(["check", str(gallery)]) == 0
    said = capsys.readouterr().out
    assert "would flatter" in said and "runs/check-gallery.html" in said.replace("\n", "")
    page = (tmp_path / "runs" / "check-gallery.html").read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page and page.count("data:image/png;base64") >= 8
    loans.to_csv(tmp_path / "loans.csv", index=False)
    assert main(["check", "loans.csv", "--target", "default", "--json", "--out", "x.html"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 400 and (tmp_path / "x.json").exists()
    assert not _check_data.is_run("loans.csv") and main(["check", "nothing.csv"]) == 2
    capsys.readouterr()
    assert main(["check", "loans.csv", "--target", "default", "--ignore", "day", "--out", "v1.2"]) == 0
    assert (tmp_path / "v1.2.html").exists() and (tmp_path / "v1.2.json").exists() and not (tmp_path / "v1.2").exists()


def test_page_and_terminal_mark_the_same_findings(gallery, tmp_path, capsys):
    """What makes a score unbelievable has a mark of its own, in both."""
    for i in range(2):
        Image.new("RGB", (96, 96), (90, 90, 90)).save(gallery / "train" / "a" / f"empty{i}.png")
    assert main(["check", str(gallery)]) == 0
    lines = capsys.readouterr().out.splitlines()
    marks = [line[2] for line in lines if line.startswith(("  ! ", "  - "))]
    page = (tmp_path / "runs" / "check-gallery.html").read_text(encoding="utf-8")
    found = [
        "!" if "care" in part[:12] else "-" for part in page.split('<ul class="trust">')[1].split('<li class="')[1:]
    ]
    assert marks == found and {"!", "-"} == set(marks)
