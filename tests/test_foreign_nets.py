"""Models of timm and torchvision as nets: found by dotted name, learned, frozen, begun with weights of their own names, refused."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

import lamina
from lamina.core import catalog
from lamina.core.errors import LaminaError, ShipError

PACKAGE = '''
import torch
from torch import nn

class Body(nn.Module):
    """Named as torchvision's resnet is."""

    def __init__(self, num_classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 5, 2), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc(torch.relu(self.bn1(self.conv1(x))).amax((2, 3)))

class Pair(Body):
    def forward(self, x):
        return (super().forward(x), 1)

def resnet1(*, num_classes=1000):
    return Body(num_classes)

def twofold(*, num_classes=1000):
    return Pair(num_classes)

def convolved(*, num_classes=1000):
    return nn.Sequential(nn.Conv2d(3, num_classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def sized(*, image_size=224, num_classes=1000):
    if image_size % 16:
        raise ValueError(f"{image_size} is no multiple of 16")
    return Body(num_classes)

def list_models():
    return ["resnet1", "twofold", "convolved", "sized"]

def get_model(name, *, weights, **config):
    return globals()[name](**config)
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of torchvision's form; the real one exists for no torch without CUDA."""
    folder = tmp_path / "site" / "torchvision" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "__init__.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(folder.parent.parent))
    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["torchvision.resnet1", "torchvision.models.resnet1"])
def test_a_model_learns_is_opened_again_and_ships_as_a_graph(package, name, tmp_path):
    run = lamina.fit("digits", net=name, steps=30, batch=32, augment="none", run=tmp_path / "run", show=False)
    assert run.score().value > 0.15  # ten classes
    again = lamina.load(run.run.path)
    pixels = np.asarray(lamina.open("digits")["image"].values.array[:20])
    assert [a for _, a in again.answers(pixels)[0]] == [a for _, a in run.answers(pixels)[0]]
    with pytest.raises(ShipError, match="comes from outside Lamina"):
        run.ship("pack")


def test_weights_of_its_own_names_fit_and_stay_frozen(package, tmp_path):
    from torchvision import models

    known = models.resnet1(num_classes=1000)
    torch.save(known.state_dict(), tmp_path / "known.pth")
    how = {"weights": str(tmp_path / "known.pth"), "freeze": "features", "steps": 3, "show": False}
    run = lamina.fit("digits", net="torchvision.resnet1", run=tmp_path / "run", **how)
    assert torch.equal(run.net.features.conv1.weight, known.conv1.weight)
    assert torch.equal(run.net.features.bn1.running_mean, known.bn1.running_mean)
    assert isinstance(run.net.features.fc, nn.Identity) and run.net.classifier.out_features == 10
    assert any("2 of the source found no place (classifier.bias, classifier.weight)" in why for why in run.plan.why)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision.resnet2", "no model of torchvision 'resnet2'; did you mean 'resnet1'"),
        ("torchvision.convolved", "does not end in a dense layer of 10 outputs"),
        ("torchvision.twofold", "gives more than one answer in training"),
        ("torchvision.sized", "takes no pictures of 28x28 pixels: 28 is no multiple of 16"),
    ],
)
def test_what_does_not_fit_is_said(package, name, message, tmp_path):
    with pytest.raises(LaminaError, match=message):
        lamina.fit("digits", net=name, steps=1, run=tmp_path / "run", show=False)


def test_a_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(LaminaError, match=r"timm.resnet18 needs timm, which cannot be imported"):
        catalog.find("nets", "timm.resnet18")
