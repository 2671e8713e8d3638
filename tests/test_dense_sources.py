"""Folders of masks beside pictures, and of pictures beside pictures: layouts, codings, and what is wrong named by file."""

import numpy as np
import pytest
from PIL import Image

import lamina
from lamina.core.errors import DataError
from lamina.data._dense import Floats
from lamina.data._table import IGNORE

COLOURS = np.array([(0, 0, 0), (255, 0, 0), (0, 128, 255)], np.uint8)


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array, mode).save(path) if mode else Image.fromarray(array).save(path)


def make(root, count=4, coding="grey", names=("images", "masks"), ending="", seed=0):
    """`count` pictures with masks of three classes; the codes of the masks."""
    random, made = np.random.default_rng(seed), []
    for i in range(count):
        codes = random.integers(0, 3, (6, 8)).astype(np.uint8)
        codes[0, :3] = (0, 1, 2)
        save(root / names[0] / f"p{i}.png", random.integers(0, 256, (6, 8, 3)).astype(np.uint8))
        mask = {"grey": codes * 10, "index": codes, "colour": COLOURS[codes]}[coding]
        path = root / names[1] / f"p{i}{ending}.png"
        if coding == "index":
            image = Image.fromarray(codes, "P")
            image.putpalette(COLOURS.reshape(-1).tolist() + [0] * 759)
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
        else:
            save(path, mask)
        made.append(codes)
    return np.stack(made)


def codes_of(table):
    return np.stack([table["mask"].values.open(i)[..., 0] for i in range(len(table))])


@pytest.mark.parametrize(
    ("coding", "classes"),
    [("grey", ("0", "10", "20")), ("index", ("0", "1", "2")), ("colour", ("#000000", "#0080ff", "#ff0000"))],
)
def test_masks_are_read_as_codes(tmp_path, coding, classes):
    made = make(tmp_path, coding=coding, ending="_mask" if coding == "grey" else "")
    table = lamina.open(tmp_path)
    assert table.reader == "masks" and table.target == "mask" and table["mask"].field.classes == classes
    order = np.array([0, 2, 1] if coding == "colour" else [0, 1, 2])  # colours in the order of their numbers
    assert np.array_equal(codes_of(table), order[made])
    assert list(table.names) == [f"images/p{i}.png" for i in range(4)]


@pytest.mark.parametrize(
    "lines", [["sky 0 0 0", "road 255 0 0", "tree 0 128 255"], ["0,sky,#000000", "1,road,#ff0000", "2,tree,#0080ff"]]
)
def test_a_list_names_colours(tmp_path, lines):
    made = make(tmp_path, coding="colour", names=("JPEGImages", "labels"))
    (tmp_path / "classes.txt").write_text("\n".join(lines))
    table = lamina.open(tmp_path)
    assert table["mask"].field.classes == ("sky", "road", "tree") and np.array_equal(codes_of(table), made)


def test_split_folders_are_respected(tmp_path):
    for part, count in (("train", 3), ("val", 1), ("test", 2)):
        make(tmp_path / part, count)
    assert lamina.open(tmp_path).split.tolist().count(0) == 3
    other = tmp_path / "other"
    for part in ("train", "test"):
        make(other / part, 2, names=(f"../images/{part}", f"../masks/{part}"))
    assert sorted(lamina.open(other).split.tolist()) == [0, 0, 2, 2]


def test_255_is_no_class_beside_others_but_one_of_two(tmp_path):
    make(tmp_path / "three", coding="index")
    codes = np.zeros((6, 8), np.uint8)
    codes[2:4] = 255
    save(tmp_path / "three" / "masks" / "p0.png", codes)
    table = lamina.open(tmp_path / "three")
    assert table["mask"].field.classes == ("0", "1", "2") and (codes_of(table)[0][2:4] == IGNORE).all()
    for i in range(3):
        save(tmp_path / "two" / "images" / f"{i}.png", np.zeros((6, 8, 3), np.uint8))
        save(tmp_path / "two" / "masks" / f"{i}.png", codes)
    two = lamina.open(tmp_path / "two")
    assert two["mask"].field.classes == ("0", "255") and codes_of(two).max() == 1


def test_what_is_wrong_is_named_by_file(tmp_path):
    make(tmp_path, 5, coding="colour")
    (tmp_path / "classes.txt").write_text("sky 0 0 0\nroad 255 0 0\ntree 0 128 255\n")
    save(tmp_path / "masks" / "p1.png", np.zeros((9, 8, 3), np.uint8))
    strange = np.zeros((6, 8, 3), np.uint8)
    strange[0, 0] = (1, 2, 3)
    save(tmp_path / "masks" / "p2.png", strange)
    (tmp_path / "masks" / "p3.png").unlink()
    (tmp_path / "masks" / "p4.png").write_bytes(b"no")
    save(tmp_path / "masks" / "alone.png", strange)
    table = lamina.open(tmp_path)
    why = {b.where: b.why for b in table.bad}
    assert list(table.names) == ["images/p0.png"] and table.tried == 5
    assert why["masks/p1.png"] == "is 8x9 pixels, and its picture 8x6"
    assert "#010203" in why["masks/p2.png"] and "no mask named p3" in why["images/p3.png"]
    assert "not a picture" in why["masks/p4.png"] and "1 files have no picture" in table.notes[0]


def test_masks_that_were_blurred_are_refused(tmp_path):
    make(tmp_path, 2)
    for i in range(2):
        save(tmp_path / "masks" / f"p{i}.png", np.arange(48, dtype=np.uint8).reshape(6, 8) * 5 + i)
    with pytest.raises(DataError, match=r"96 or more different values .*PNG, not as JPEG"):
        lamina.open(tmp_path)


@pytest.mark.parametrize("names", [("input", "target"), ("noisy", "clean")])
def test_pictures_beside_pictures(tmp_path, names):
    make(tmp_path, 3, "colour", names)
    table = lamina.open(tmp_path)
    assert table.reader == "picture_pairs" and table.target == "picture" and table["picture"].field.kind == "picture"
    assert table["picture"].values.open(1).shape == (6, 8, 3) and table["picture"].values.channels() == 3


def test_depth_is_values(tmp_path):
    make(tmp_path, 3, names=("rgb", "depth"))
    for i in range(3):
        (tmp_path / "depth" / f"p{i}.png").unlink()
        np.save(tmp_path / "depth" / f"p{i}.npy", np.full((6, 8), 1.5 + i, np.float32))
    values = lamina.open(tmp_path)["picture"].values
    assert isinstance(values, Floats) and float(values.open(2).mean()) == 3.5
    Image.fromarray(np.full((6, 8), 40_000, np.uint16)).save(tmp_path / "depth" / "p0.png")
    (tmp_path / "depth" / "p0.npy").unlink()
    assert float(lamina.open(tmp_path)["picture"].values.open(0).mean()) == 40_000
    save(tmp_path / "depth" / "p1.png", np.zeros((6, 8), np.uint8))
    (tmp_path / "depth" / "p1.npy").unlink()
    with pytest.raises(DataError, match=r"mixes targets of values and of 8-bit pictures \(depth/p1"):
        lamina.open(tmp_path)
