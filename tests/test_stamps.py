"""stamps and what it is made from: assets fetched and checked, scenes whose boxes and masks are exactly what is seen."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image, ImageDraw

import lamina
from lamina.cli import main
from lamina.core.errors import DataError, NameUnknown
from lamina.data import _assets, _made, stamps


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """Eight drawn cut-outs a class and even photographs, where the real ones would be."""
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(stamps, "ROWS", (12, 4, 6))
    root = tmp_path / "home" / "assets"
    for code, (name, place) in enumerate(stamps.FOLDERS.items()):
        folder = root / stamps.STAMPS[0] / stamps.STAMPS[1] / place
        folder.mkdir(parents=True)
        (folder / "cartoon").mkdir()
        for i in range(8):
            image = Image.new("RGBA", (120, 90), (0, 0, 0, 0))
            ImageDraw.Draw(image).ellipse((10, 10, 100, 80), fill=(20 * code + 40, 200, 60, 255))
            image.save(folder / f"{name}{i}.png")
            image.save(folder / "cartoon" / f"{name}{i}.png")
    for package, names in stamps.GROUNDS.items():
        (root / package).mkdir()
        for i, name in enumerate(names):
            Image.new("RGB", (400, 300), (10 * i, 0, 90)).save(root / package / f"{name}x.jpg")
    return root


def test_what_is_missing_says_what_brings_it(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path / "nothing"))
    with pytest.raises(DataError, match=r"161 MB, licence GPL-2.*`lamina fetch stamps` brings it"):
        lamina.open("stamps")


def test_boxes_are_those_of_the_visible_pixels(assets):
    table = lamina.open("stamps")
    assert (
        len(table) == 22 and table.target == "boxes" and [int((table.split == s).sum()) for s in range(3)] == [12, 4, 6]
    )
    folder = _made.home() / "made" / f"stamps-{stamps.VERSION}-{stamps.SEED}"
    seen = 0
    for row, boxes in enumerate(table["boxes"].values):
        mask = np.asarray(Image.open(folder / "mask" / f"{row:05}.png"))
        instances = np.asarray(Image.open(folder / "instances" / f"{row:05}.png"))
        assert ((mask > 0) == (instances > 0)).all() and instances.max() == len(boxes)
        for i, box in enumerate(boxes, 1):
            ys, xs = np.nonzero(instances == i)
            wanted = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / stamps.SIDE
            assert np.allclose(box[:4], wanted, atol=1e-6)
            assert set(mask[instances == i]) == {int(box[4]) + 1}
            seen += 1
        assert np.array_equal(table["mask"].values.open(row)[..., 0], mask)
        assert all(stamps.CLASSES[int(b[4])] in table["sentence"].values[row] for b in boxes)
    assert seen > 30


def test_scenes_depend_on_seed_and_row_alone(assets, monkeypatch):
    first = lamina.open("stamps")
    monkeypatch.setenv("LAMINA_HOME", str(assets.parent / "other"))
    (assets.parent / "other").mkdir()
    assets.rename(assets.parent / "other" / "assets")
    monkeypatch.setattr(stamps, "ROWS", (9, 2, 3))
    fewer = lamina.open("stamps")
    assert len(fewer) == 14
    for row in range(9):
        assert np.array_equal(fewer["image"].values.open(row), first["image"].values.open(row))
        assert np.array_equal(fewer["boxes"].values[row], first["boxes"].values[row])


def test_splits_share_no_cutout(assets):
    found = stamps.cutouts()
    assert len(found) == 8 * len(stamps.CLASSES) == len({file for file, _, _ in found})
    for name in stamps.CLASSES:
        count = np.bincount([split for _, own, split in found if own == name], minlength=3)
        assert count.tolist() == [5, 1, 2]


def test_sentences_name_the_largest_first():
    boxes = np.array([[0.8, 0.8, 0.9, 0.9, 4], [0.1, 0.1, 0.6, 0.9, 0], [0.4, 0.0, 0.6, 0.3, 3]])
    assert (
        stamps.sentence(boxes)
        == "a large bird in the middle, a fruit at the top and a small insect at the lower right."
    )


def _deb(content, data="data.tar.xz"):
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:xz") as archive:
        entry = tarfile.TarInfo("usr/share/thing.txt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    members = [("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), (data, inner.getvalue())]
    parts = [b"!<arch>\n"]
    for name, value in members:
        parts.append(
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(value):<10}`\n".encode() + value + b"\n" * (len(value) % 2)
        )
    return b"".join(parts)


def test_a_debian_package_is_fetched_checked_and_unpacked(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(_assets.shutil, "which", lambda _: None)  # no apt-get here
    pool = tmp_path / "pool" / "main"
    pool.mkdir(parents=True)
    (pool / "thing.deb").write_bytes(_deb(b"hello"))
    digest = __import__("hashlib").sha256(_deb(b"hello")).hexdigest()
    asset = _assets.Asset("debian", "thing=1", "thing.deb", 1, "MIT", digest, "a thing")
    monkeypatch.setitem(_assets.ASSETS, "thing", asset)
    monkeypatch.setenv("LAMINA_DEBIAN", tmp_path.as_uri())
    assert main(["fetch", "thing"]) == 0
    assert "1 MB from debian, licence MIT: a thing" in capsys.readouterr().out
    assert (_assets.folder("thing") / "usr/share/thing.txt").read_bytes() == b"hello"
    (pool / "thing.deb").write_bytes(_deb(b"other"))
    assert main(["fetch", "thing"]) == 0  # there already
    _assets.shutil.rmtree(_assets.folder("thing"))
    assert main(["fetch", "thing"]) == 2 and "has the sha256" in capsys.readouterr().err
    (pool / "thing.deb").unlink()
    assert main(["fetch", "thing"]) == 2 and "cannot be fetched" in capsys.readouterr().err


def test_unknown_assets_are_named():
    with pytest.raises(NameUnknown, match="stamps"):
        _assets.fetch("stamp", print)
