"""Style: Gram matrices by hand, features from a Keras file, distances that fall, and the command with its pictures on the way."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from lamina import styling
from lamina.cli import main
from lamina.core.errors import DataError
from lamina.explain import _style

WIDTHS = (4, 6, 8, 8, 8)


@pytest.fixture
def features():
    """VGG's blocks with few channels, drawn at random."""
    random, before, weights = torch.Generator().manual_seed(0), 3, []
    for width, convolutions in zip(WIDTHS, _style.BLOCKS, strict=True):
        for _ in range(convolutions):
            kernel = torch.randn(width, before, 3, 3, generator=random) * (2 / (9 * before)) ** 0.5
            weights.append((kernel / (50 if before == 3 else 1), torch.zeros(width)))
            before = width
    return _style.Layers(weights)


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by a hundredth of a second whenever it is looked at."""
    now = itertools.count()
    monkeypatch.setattr(_style.time, "monotonic", lambda: next(now) / 100)


@pytest.fixture
def pictures(tmp_path):
    y, x = np.mgrid[:80, :120]
    disc = np.where(((x - 60) ** 2 + (y - 40) ** 2 < 900)[..., None], (230, 200, 40), (20, 40, 120)).astype(np.uint8)
    stripes = np.where(((x + y) // 6 % 2)[..., None], (255, 255, 255), (200, 0, 0)).astype(np.uint8)
    paths = tmp_path / "disc.png", tmp_path / "stripes.jpg"
    Image.fromarray(disc).save(paths[0]), Image.fromarray(stripes).save(paths[1])
    return [str(p) for p in paths]


def test_gram_matrices():
    x = torch.tensor([[[[1.0, 2.0], [0.0, 1.0]], [[0.0, 1.0], [3.0, 0.0]]]])
    assert torch.equal(_style.gram(x), torch.tensor([[[6 / 4, 2 / 4], [2 / 4, 10 / 4]]]))
    moved = x.flip(3)
    assert torch.equal(_style.gram(moved), _style.gram(x)) and not torch.equal(
        moved, x
    )  # where things are does not count


def test_layers_are_those_of_vgg(features):
    image = torch.rand(1, 3, 64, 48)
    found = features(image)
    assert list(found) == [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1), (4, 0)]
    assert [v.shape[2] for v in found.values()] == [64, 32, 16, 8, 8, 4]
    x = 255 * image - torch.tensor(_style.MEAN).view(1, 3, 1, 1)
    first = F.relu(F.conv2d(x, features.kernels[0], padding=1))
    assert torch.equal(found[0, 0], first)
    second = F.avg_pool2d(F.relu(F.conv2d(first, features.kernels[1], padding=1)), 2)
    assert torch.allclose(found[1, 0], F.relu(F.conv2d(second, features.kernels[2], padding=1)))


def test_weights_of_a_keras_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    random, made = np.random.default_rng(0), []
    with h5py.File(tmp_path / "w.h5", "w") as file:
        before = 3
        for block, (width, convolutions) in enumerate(zip(WIDTHS, _style.BLOCKS, strict=True)):
            for i in range(convolutions):
                group = file.create_group(f"block{block + 1}/layers/conv2d{f'_{i}' if i else ''}/vars")
                made.append(random.normal(size=(3, 3, before, width)).astype(np.float32))
                group["0"], group["1"], before = made[-1], np.arange(width, dtype=np.float32), width
    found = _style.read(tmp_path / "w.h5", h5py)
    assert len(found) == 13 and [len(b) for _, b in found[:3]] == [4, 4, 6]
    assert float(found[0][0][2, 0, 1, 0]) == made[0][1, 0, 2, 2]  # red is the last of the file
    assert float(found[4][0][2, 5, 1, 0]) == made[4][1, 0, 5, 2]


def test_both_distances_fall_from_small_to_large(features, clock):
    random = torch.Generator().manual_seed(1)
    content, other = torch.rand(1, 3, 104, 120, generator=random), torch.rand(1, 3, 90, 70, generator=random) ** 4
    steps = list(_style.paint(features, content, other, seconds=1.2, every=1))
    assert [s.size for s in steps if s.last] == [(52, 60), (104, 120)]  # a quarter of the side would be too small
    assert [s.number for s in steps] == list(range(1, len(steps) + 1)) and len(steps) > 50
    large = [s for s in steps if s.size == (104, 120)]
    assert large[-1].style < 0.5 * steps[0].style and large[-1].style <= large[0].style
    assert large[-1].image.min() >= 0 and large[-1].image.max() <= 1
    calm = list(_style.paint(features, content, other, seconds=1.2, strength=0.01))
    assert calm[-1].content < large[-1].content and calm[-1].style > large[-1].style


def test_command(features, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_style, "layers", lambda: features)
    words = ["style", *pictures, "--side", "96", "--minutes", "0.01", "--out", str(tmp_path / "made")]
    assert main(words) == 0
    said = capsys.readouterr().out
    with Image.open(tmp_path / "made" / "style.png") as made:
        assert made.size == (96, 64) and "trained on ImageNet and then further" in said
    on_the_way = sorted((tmp_path / "made").glob("step-*.png"))
    assert len(on_the_way) >= 1 and on_the_way[-1].read_bytes() == (tmp_path / "made" / "style.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["disc.png", "nothing.png"], "is no file"),
        (["disc.png", "bad.png"], "no picture that can be read"),
        (["disc.png", "stripes.jpg", "--side", "big"], "--side must be a number"),
        (["disc.png", "stripes.jpg", "--side", "9"], "side"),
        (["disc.png", "stripes.jpg", "--minutes", "0"], "minutes"),
    ],
)
def test_bad_words(features, pictures, tmp_path, monkeypatch, capsys, words, told):
    monkeypatch.setattr(_style, "layers", lambda: features)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG no picture")
    assert main(["style", *words]) == 2
    assert told in capsys.readouterr().err


def test_missing_features_are_named(pictures, monkeypatch, tmp_path):
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path / "home"))
    with pytest.raises(DataError, match=r"55 MB, licence MIT.*`lamina fetch style` brings it"):
        styling.style(*pictures)
