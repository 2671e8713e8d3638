"""What people do with explanations and dreams: from a run and an input to pictures and arrays; every bad word with its sentence."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import lamina
from lamina.cli import main
from lamina.core import catalog
from lamina.core.errors import DataError, LaminaError, SettingError

METHODS = catalog.names("explain")


def lamina_says(capsys, *words):
    code = main([str(w) for w in words])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def photo_run(photos):
    return lamina.fit(photos, epochs=3, seed=1, net="resnet9", net_settings={"stem": 4, "stages": "8"}, show=False)


def test_pictures_are_explained_from_run_to_files(photo_run, photos, capsys, tmp_path):
    found = photo_run.explain(photos / "red" / "red3.png")
    assert found.method == "gradcam" and found.about.startswith("class ") and found.picture.width > 500
    blue = photo_run.explain(str(photos / "red" / "red3.png"), "occlusion", label="blue", patch=6, stride=3)
    assert blue.about.startswith("class blue") and blue.arrays["falls"].shape == (6, 7)
    every = photo_run.explain(0, "all")
    assert [e.method for e in every] == [m for m in METHODS if m not in ("attention", "columns", "dream")]
    code, out, _ = lamina_says(capsys, "explain", photo_run.path, photos / "red" / "red3.png", "--class", "red")
    folder = photo_run.path / "explanations" / "red3"
    assert code == 0 and "gradcam" in out and str(folder / "gradcam.png") in out
    with Image.open(folder / "gradcam.png") as image:
        assert image.width > 500
    heat = np.load(folder / "gradcam.heat.npy", allow_pickle=False)
    expected = photo_run.explain(photos / "red" / "red3.png", label="red").arrays["heat"]
    assert heat.dtype == np.float32 and np.array_equal(heat, expected)
    code, out, _ = lamina_says(capsys, "explain", photo_run.path, "1", "--method", "all", "--out", tmp_path / "why")
    assert code == 0 and "columns              left out: this needs table columns" in out
    assert {p.name for p in (tmp_path / "why").glob("*.png")} >= {"neighbours.png", "layers.png", "occlusion.png"}


def test_rows_are_explained_from_run_to_files(people, tmp_path, capsys):
    people.to_csv(tmp_path / "people.csv", index=False)
    run = lamina.fit(tmp_path / "people.csv", target="class", epochs=8, show=False)
    found = run.explain({"age": 70.0, "town": "Ulm"})
    assert found.method == "columns" and set(found.arrays) == {"effect", "importance", "spread"}
    code, out, _ = lamina_says(
        capsys, "explain", run.path, json.dumps({"age": 70, "town": "Ulm"}), "--method", "all", "--out", "why"
    )
    made = {"columns", "integrated_gradients", "layers", "neighbours"}
    assert code == 0 and {p.stem for p in (tmp_path / "why").glob("*.png")} == made
    assert "class old" in out and out.count("left out: ") == len(set(METHODS) - {"dream"}) - len(made)


def test_data_from_memory_is_asked_for(people):
    run = lamina.fit(people, target="class", epochs=2, show=False)
    with pytest.raises(DataError, match="memory; give that as data="):
        run.explain({"age": 70.0, "town": "Ulm"}, "columns")
    assert run.explain({"age": 70.0, "town": "Ulm"}).method == "integrated_gradients"
    assert run.explain({"age": 70.0, "town": "Ulm"}, data=people).method == "columns"
    with pytest.raises(DataError, match="has changed since the run began"):
        run.explain(0, data=people.head(100))


def test_dreams_from_run_to_files(photo_run, photos, people, capsys, tmp_path):
    red = photos / "red" / "red3.png"
    words = ("dream", photo_run.path, "--class", "blue", "--start", red, "--side", 30, "--out", tmp_path / "d")
    code, out, _ = lamina_says(capsys, *words)
    assert code == 0 and "The score of blue raised from" in out and str(tmp_path / "d" / "dream.png") in out
    image = np.load(tmp_path / "d" / "dream.image.npy", allow_pickle=False)
    with Image.open(tmp_path / "d" / "dream-alone.png") as alone:
        assert alone.size == (36, 30) and image.shape == (3, 30, 36)
    code, out, _ = lamina_says(capsys, "dream", photo_run.path, "--layer", "features.1")
    assert code == 0 and (photo_run.path / "explanations" / "dream-features.1" / "dream.png").exists()
    for words, message in (
        ((), "name what to dream of: a class, a layer, or a picture to start from"),
        (("--class", "bleu"), "no class 'bleu'; did you mean 'blue'"),
        (("--layer", "featurs.1"), "no layer 'featurs.1'; did you mean 'features.1'"),
        (("--class", "red", "--layer", "features.1"), "are two aims; choose one"),
        (("--class", "red", "--side", "wide"), "--side must be a whole number of pixels, not 'wide'"),
        (("--class", "red", "--side", "9999"), "side must be between 16 and 2048, not 9999"),
    ):
        code, _, err = lamina_says(capsys, "dream", photo_run.path, *words)
        assert code == 2 and message in err and err.count("\n") == 1, err
    run = lamina.fit(people, target="class", epochs=1, show=False)
    code, _, err = lamina_says(capsys, "dream", run.path, "--class", "old")
    assert code == 2 and "dream needs a net that reads pictures, and this one reads columns" in err


def test_bad_words_are_said(photo_run, photos, capsys):
    run = photo_run.path
    for words, message in (
        ((run, 0, "--method", "gradcm"), "no explanation 'gradcm'; did you mean 'gradcam'"),
        ((run, 0, "--class", "bleu"), "no class 'bleu'; did you mean 'blue'"),
        ((run, 999), "test row 999 is not there; the run has"),
        ((run, photos), "holds 48 rows that can be read; one is explained at a time"),
        ((run, '{"image": '), "the row is not JSON"),
        ((run, "no.png"), "no such path: no.png"),
        ((run, 0, "--methd", "all"), "did you mean '--method'"),
        ((run, 0, "--out", photos / "red" / "red3.png"), "cannot be written"),
    ):
        code, _, err = lamina_says(capsys, "explain", *words)
        assert code == 2 and message in err and err.count("\n") == 1, err
    with pytest.raises(SettingError, match="patch is a setting of one method"):
        photo_run.explain(0, patch=3)
    with pytest.raises(LaminaError, match="no setting of Config 'pach'; did you mean 'patch'"):
        photo_run.explain(0, "occlusion", pach=3)
    numbers = lamina.fit(
        pd.DataFrame({"x": np.arange(60.0) % 7, "y": np.arange(60.0) * 2.5}), target="y", epochs=2, show=False
    )
    with pytest.raises(SettingError, match="y is a number and has no class 'big'"):
        numbers.explain({"x": 3.0}, label="big")
