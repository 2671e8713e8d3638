"""The page of layers: deconvolution, windows and occlusion against worked values; a page of a run, names escaped."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina.cli import main
from lamina.core.errors import SettingError
from lamina.explain import _features

TAKES = ("image",)


class Plain(nn.Module):
    """Two channels: a bright pixel, and a step to the right; then one that adds both with signs."""

    def __init__(self):
        super().__init__()
        self.first, self.act = nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.ReLU()
        self.second, self.last = nn.Conv2d(2, 1, 1, bias=False), nn.ReLU()
        with torch.no_grad():
            self.first.weight.zero_()
            self.first.weight[0, 0, 1, 1] = 1.0
            self.first.weight[1, 0, 1] = torch.tensor([-1.0, 0.0, 1.0])
            self.second.weight[:] = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)

    def forward(self, image):
        return self.last(self.second(self.act(self.first(image))))


@pytest.fixture
def spots():
    image = torch.zeros(3, 1, 16, 16)
    image[0, 0, 5, 9] = 1.0
    image[1, 0, 12, 4] = 0.5
    return image


def test_windows_are_what_the_strongest_position_sees(spots):
    net = Plain().eval()
    (window, *_) = _features._windows(net, {"image": spots[:1]}, "act", 1)
    assert window == (5, 6, 7, 10)  # the step filter has weights left and right of column 8, in one row
    assert _features._windows(net, {"image": spots[:1]}, "act", 0) == [(5, 6, 9, 10)]


def test_deconvolution_keeps_what_is_positive_from_above(spots):
    net, batch = Plain().eval(), {"image": spots[:1]}
    plain, strongest = _features._back(net, batch, "last", 0)
    with _features._positive_backwards(net):
        pattern, same = _features._back(net, batch, "last", 0)
    assert float(strongest) == float(same) == 1.0
    expected = torch.zeros(1, 1, 16, 16)
    expected[0, 0, 5, 9] = 1.0  # of the channel that counts for it alone; the other one has a negative weight
    assert torch.equal(pattern, expected) and torch.equal(plain[0, 0, 5, 9], torch.tensor(1.0))
    assert not net.act._backward_hooks  # the net is as it was


def test_covering_the_spot_takes_all_of_it(spots):
    falls = _features._covered(Plain().eval(), {"image": spots[:1]}, "act", 0)
    assert falls.shape == (16, 16) and falls[5, 9] == falls.max() > 0.9 and falls[15, 0] == 0


def test_striking_features_are_not_dead():
    best = torch.zeros(40, 3)
    best[:, 1] = torch.linspace(0, 1, 40)
    best[7, 2] = 9.0
    assert _features.striking(best, 3) == [1, 2] and _features.striking(best, 1) == [1]


@pytest.fixture
def run(tmp_path):
    random, folder = np.random.default_rng(0), tmp_path / "photos"
    for name, channel in (("red", 0), ("blue", 2)):
        (folder / name).mkdir(parents=True)
        for i in range(24):
            array = random.integers(0, 90, (32, 32, 3), np.uint8)
            array[8:20, 8:20, channel] = 230
            Image.fromarray(array).save(folder / name / f"{i} <b>&{name}.png")
    return lamina.fit(folder, steps=6, batch=16, run="shown", show=False)


def test_a_page_of_a_run(run, capsys):
    assert main(["layers", "shown"]) == 0
    text = (run.path / "layers.html").read_text()
    assert capsys.readouterr().out.strip().endswith("layers.html")
    assert len(text.encode()) < 5_000_000 and "<b>&red" not in text and "&lt;b&gt;&amp;" in text
    assert not re.findall(r'(?:src|href)="(?!data:)', text) and "<script" not in text
    assert text.count("deconvolution views of feature") >= 6 and "features.0" in text
    assert text.count("<section>") == len(_features.layers_of(run.net, {"image": torch.rand(1, 3, 32, 32)}, 6))


def test_a_run_without_pictures_is_told_so(people):
    run = lamina.fit(people, target="class", steps=3, run="rows", show=False)
    from lamina.explaining import layers_page

    with pytest.raises(SettingError, match="this run reads none"):
        layers_page(run, people)
