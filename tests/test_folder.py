"""Folders of pictures: classes, splits, junk, links, bad files, and what is said when nothing can be read."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamina.core.errors import DataError
from lamina.data import _pictures, folder, sniff
from lamina.data._table import Reading


def fill(root, *names):
    """Pictures of these names, each of other content."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = int.from_bytes(hashlib.sha256(os.fsencode(str(name))).digest()[:4], "big")
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)).save(path)
    return root


def read(source):
    return folder.read(source, Reading())


def labels(table):
    column = table["class"]
    return [column.field.classes[code] for code in column.values]


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


# ---------------------------------------------------------------- classes


def test_class_folders(data):
    table = read(fill(data, "cat/img10.png", "cat/img2.png", "dog/b.jpg", "dog/a.jpg"))
    assert table.names.tolist() == ["cat/img2.png", "cat/img10.png", "dog/a.jpg", "dog/b.jpg"]
    assert labels(table) == ["cat", "cat", "dog", "dog"] and table["class"].values.dtype == np.int64
    assert table.target == "class" and table["class"].field.kind == "label" and table["image"].field.kind == "image"
    assert table.split is None and table.reader == "folder" and table.source == str(data)
    assert table.tried == 4 and table.bad == () and table.notes == ()
    assert (table["image"].values.open(1) == _pictures.decode(data / "cat/img10.png")).all()


def test_classes_are_in_natural_order(data):
    table = read(fill(data, *(f"{name}/1.png" for name in ("10", "2", "1", "b", "A", "a", "x10", "x9"))))
    assert table["class"].field.classes == ("1", "2", "10", "A", "a", "b", "x9", "x10")


@pytest.mark.parametrize(
    ("texts", "want"),
    [
        (["img10", "img2", "img1"], ["img1", "img2", "img10"]),
        (["10", "9", "010", "10a"], ["9", "010", "10", "10a"]),
        (["²", "b", "a"], ["a", "b", "²"]),
        (["a1", "a", "a1b", "b"], ["a", "a1", "a1b", "b"]),
        (["", "0"], ["", "0"]),
    ],
)
def test_natural(texts, want):
    assert sorted(texts, key=folder.natural) == want


def test_order_does_not_depend_on_the_hash_seed():
    code = "from lamina.data.folder import natural; print(sorted({'cat', 'Cat', 'CAT', '1', '01'}, key=natural))"
    environment = {**os.environ, "PYTHONPATH": str(Path(folder.__file__).parents[2])}
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={**environment, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3", "4")
    }
    assert len(said) == 1


def test_deeper_files_belong_to_the_first_folder(data):
    table = read(fill(data, "cat/indoor/sofa/1.png", "cat/2.png", "dog/outdoor/3.png"))
    assert dict(zip(table.names, labels(table), strict=True)) == {
        "cat/2.png": "cat",
        "cat/indoor/sofa/1.png": "cat",
        "dog/outdoor/3.png": "dog",
    }


def test_class_without_a_readable_picture_is_no_class(data):
    fill(data, "cat/1.png", "dog/1.png")
    (data / "bird").mkdir()
    (data / "bird" / "1.png").write_text("x")
    table = read(data)
    assert table["class"].field.classes == ("cat", "dog") and [b.where for b in table.bad] == ["bird/1.png"]


def test_picture_beside_the_class_folders_is_bad(data):
    table = read(fill(data, "cat/1.png", "dog/1.png", "cover.png"))
    assert [(b.where, b.why) for b in table.bad] == [("cover.png", "is in no class folder")]
    assert len(table) == 2 and table.tried == 3


def test_loose_pictures_have_no_target(data):
    table = read(fill(data, "b10.png", "b9.png"))
    assert table.target is None and list(table.columns) == ["image"] and table.split is None
    assert table.names.tolist() == ["b9.png", "b10.png"]


def test_names_are_composed_and_printable(data):
    fill(data, "cafe\u0301/1.png", "dog/1.png")
    odd = os.fsdecode(b"m\xfcll")
    try:
        fill(data, f"{odd}/1.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    table = read(data)
    assert table["class"].field.classes == ("caf\u00e9", "dog", "m\\xfcll")
    "".join(table.names).encode()


# ---------------------------------------------------------------- splits


@pytest.mark.parametrize(
    "parts",
    [
        ("train", "val", "test"),
        ("Train", "Valid", "TEST"),
        ("training", "validation", "testing"),
        ("TRAIN", "dev", "Test"),
    ],
)
def test_split_folders(data, parts):
    table = read(fill(data, *(f"{part}/{name}/{i}.png" for part in parts for name in ("cat", "dog") for i in range(2))))
    by_name = dict(zip(table.names, table.split, strict=True))
    assert table.split.dtype == np.int8 and table.split_rule == "the train, val and test folders"
    for code, part in enumerate(parts):
        assert {s for n, s in by_name.items() if n.startswith(f"{part}/")} == {code}
    assert table["class"].field.classes == ("cat", "dog") and len(table) == 12


def test_some_splits_only(data):
    table = read(fill(data, "train/cat/1.png", "train/dog/1.png", "test/cat/2.png"))
    assert sorted(table.split.tolist()) == [0, 0, 2]
    assert read(fill(data.parent / "own", "test/cat/1.png", "test/dog/1.png")).split.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["bus/1.png", "car/1.png", "train/1.png"], ("bus", "car", "train")),
        (["dev/1.png", "ops/1.png"], ("dev", "ops")),
        (["test/a/1.png", "prod/1.png"], ("prod", "test")),
    ],
)
def test_classes_named_as_splits(data, names, classes):
    table = read(fill(data, *names))
    assert table.split is None and table["class"].field.classes == classes


def test_folder_beside_the_splits(data):
    fill(data, "train/cat/1.png", "train/dog/1.png", "extra/cat/1.png")
    with pytest.raises(
        DataError, match=r"data has train, val or test folders, but extra/cat/1\.png is in none of them"
    ):
        read(data)


def test_picture_beside_the_splits_or_their_classes_is_bad(data):
    table = read(fill(data, "train/cat/1.png", "train/dog/1.png", "train/3.png", "cover.png"))
    assert {(b.where, b.why) for b in table.bad} == {
        ("cover.png", "is in no class folder"),
        ("train/3.png", "is in no class folder"),
    }
    assert table.split.tolist() == [0, 0] and table.tried == 4


def test_test_folder_without_classes_is_left_out_and_said(data):
    table = read(fill(data, "train/cat/1.png", "train/dog/1.png", "test/1.png", "test/2.png", "test/3.png"))
    assert table.notes == ("The test folder has no class folders: its 3 pictures are left out.",)
    assert table.bad == () and table.tried == 2 and set(table.split.tolist()) == {0}


def test_splits_without_classes(data):
    table = read(fill(data, "train/1.png", "test/2.png"))
    assert table.target is None and dict(zip(table.names, table.split.tolist(), strict=True)) == {
        "test/2.png": 2,
        "train/1.png": 0,
    }


# ---------------------------------------------------------------- junk and links


def test_junk_is_passed_over(data):
    fill(
        data,
        "cat/1.png",
        "dog/1.png",
        "cat/._1.png",
        ".hidden/cat/2.png",
        "__MACOSX/cat/3.png",
        "cat/.ipynb_checkpoints/4.png",
    )
    for name in (
        "cat/Thumbs.db",
        ".DS_Store",
        "desktop.ini",
        "dog/Icon\r",
        "cat/notes.txt",
        "dog/more.TXT",
        "labels.csv",
        "LICENSE",
    ):
        (data / name).write_bytes(b"x")
    table = read(data)
    assert table.names.tolist() == ["cat/1.png", "dog/1.png"] and table.tried == 2 and table.bad == ()
    assert table.notes == ("4 other files passed over (2 .txt, 1 .csv, 1 LICENSE).",)


def test_many_kinds_of_other_files(data):
    fill(data, "cat/1.png", "dog/1.png")
    for i in range(8):
        (data / f"x.e{i}").write_bytes(b"x")
    assert read(data).notes[0].startswith("8 other files passed over (") and read(data).notes[0].endswith(", ...).")


def test_links_out_of_the_folder_are_left_out_and_said(data, tmp_path):
    fill(data, "cat/1.png", "dog/1.png")
    fill(tmp_path / "secret", "s.png", "deep/t.png")
    (data / "cat" / "link.png").symlink_to(tmp_path / "secret" / "s.png")
    (data / "more").symlink_to(tmp_path / "secret")
    (data / "cat" / "gone.png").symlink_to(data / "nothing.png")
    table = read(data)
    assert table.names.tolist() == ["cat/1.png", "dog/1.png"]
    assert {(b.where, b.why) for b in table.bad} == {
        ("cat/link.png", "is a link that leads out of the folder"),
        ("cat/gone.png", "is a link to nothing"),
    }
    assert table.notes == ("more is a link that leads out of the folder; it is left out.",) and table.tried == 4


def test_a_folder_of_nothing_but_links_out_of_it_says_so(tmp_path):
    for name in ("ham", "spam"):
        (tmp_path / "mails" / name).mkdir(parents=True)
        (tmp_path / f"{name}.txt").write_text("a mail")
        (tmp_path / "mails" / name / "1.txt").symlink_to(tmp_path / f"{name}.txt")
    with pytest.raises(
        DataError, match="holds 2 links that lead out of it or to nothing, which are not followed; copy the files"
    ):
        sniff.open(tmp_path / "mails")


def test_links_inside_the_folder_are_followed_once(data):
    fill(data, "cat/1.png", "dog/1.png")
    (data / "cat" / "2.png").symlink_to(data / "dog" / "1.png")
    (data / "cat" / "up").symlink_to(data)
    (data / "cow").symlink_to(data / "dog")
    table = read(data)
    assert table.names.tolist() == ["cat/1.png", "cat/2.png", "cow/1.png", "dog/1.png"]
    assert table.notes == ("cat/up is a link to a folder that it is in; it is left out.",)


def test_folder_that_is_itself_a_link(data, tmp_path):
    fill(data, "cat/1.png", "dog/1.png")
    (tmp_path / "link").symlink_to(data)
    assert read(tmp_path / "link").names.tolist() == ["cat/1.png", "dog/1.png"]


# ---------------------------------------------------------------- bad files and empty folders


def test_bad_files_are_listed(data):
    fill(data, "cat/1.png", "cat/2.png", "dog/1.png")
    (data / "cat" / "text.png").write_text("x")
    (data / "dog" / "zero.jpg").write_bytes(b"")
    content = (data / "cat" / "2.png").read_bytes()
    (data / "cat" / "2.png").write_bytes(content[:80])
    table = read(data)
    assert [b.where for b in table.bad] == ["cat/2.png", "cat/text.png", "dog/zero.jpg"]
    assert table.bad[1].why == "is not a picture, whatever its name says" and table.bad[2].why == "is empty (0 bytes)"
    assert table.bad[0].why.startswith("is truncated or damaged (")
    assert table.names.tolist() == ["cat/1.png", "dog/1.png"] and table.tried == 5


def test_files_are_never_changed(data):
    fill(data, "cat/1.png", "dog/1.png")
    (data / "dog" / "text.png").write_text("x")
    state = lambda: {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in data.rglob("*") if p.is_file()}  # noqa: E731
    before = state()
    table = read(data)
    table["image"].values.pack((3, 4, 4)), table.fingerprint()
    assert state() == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.mkdir(), r"data is empty; put pictures into one folder per class"),
        (lambda p: (p / "cat").mkdir(parents=True), r"data is empty"),
        (lambda p: p.mkdir() or (p / "a.txt").write_text("x"), r"data holds no pictures; put"),
        (
            lambda p: p.mkdir() or (p / "a.png").write_text("x"),
            r"data holds no picture that can be read; the first: a\.png is not a picture",
        ),
        (
            lambda p: (
                [fill(p.parent / "out", "a.png"), p.mkdir(), (p / "l.png").symlink_to(p.parent / "out" / "a.png")]
            ),
            r"the first: l\.png is a link that leads out",
        ),
        (lambda p: fill(p.parent / "dato", "a.png"), r"no such path: .*data; did you mean 'dato'"),
    ],
)
def test_nothing_to_read(data, make, message):
    make(data)
    with pytest.raises(DataError, match=message):
        read(data)


def test_folder_without_permission(data, monkeypatch):
    fill(data, "cat/1.png", "dog/1.png")
    original = os.scandir

    def refuse(path):
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"data/dog cannot be read: permission denied; change its rights"):
        read(data)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_folder_without_rights(data):
    fill(data, "cat/1.png").chmod(0)
    try:
        assert folder.claims(data)
        with pytest.raises(DataError, match="data cannot be read: permission denied"):
            read(data)
    finally:
        data.chmod(0o755)


# ---------------------------------------------------------------- what is claimed


def test_lists_of_paths(data):
    fill(data, "b.png", "a.png")
    (data / "c.png").write_text("x")
    table = read([data / "b.png", str(data / "a.png"), data / "c.png", data / "gone.png"])
    assert table.names.tolist() == [(data / n).as_posix() for n in ("b.png", "a.png")] and table.target is None
    assert [b.why for b in table.bad] == ["is not a picture, whatever its name says", "does not exist"]
    assert table.source == "4 files" and table.tried == 4


def test_one_file(data):
    fill(data, "a.png")
    table = read(data / "a.png")
    assert len(table) == 1 and table.source == str(data / "a.png") and table.target is None
    (data / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.png is empty \(0 bytes\)"):
        read(data / "a.png")


def test_claims(data, monkeypatch):
    fill(data, "train/cat/deep/1.JPG", "one.webp")
    (data / "notes.txt").write_text("x")
    (data / "texts").mkdir()
    (data / "texts" / "a.txt").write_text("x")
    monkeypatch.setattr(_pictures, "decode", lambda *_: pytest.fail("decoded"))
    for yes in (
        data,
        data / "train",
        data / "one.webp",
        [data / "one.webp"],
        ["a.png", "b.png"],
        (data / "one.webp", data / "gone.png"),
    ):
        assert folder.claims(yes), yes
    for no in (
        data / "texts",
        data / "notes.txt",
        data / "gone",
        data / "gone.png",
        [],
        ["good film", "bad film"],
        [1, 2],
        (np.zeros(3), np.zeros(3)),
        None,
        {},
        "photos",
    ):
        assert not folder.claims(no), no


def test_folder_of_idx_files_is_not_claimed(data):
    fill(data, "preview.png")
    (data / "train-images.idx3-ubyte").write_bytes(b"x")
    assert not folder.claims(data)
