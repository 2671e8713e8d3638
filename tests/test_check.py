"""Attacks against nets whose least change is known, corruptions pixel by pixel, adversarial training, and `lamina check`."""

import json

import numpy as np
import pytest
import safetensors
import torch
from torch import nn

import lamina
from lamina import checking
from lamina.cli import main
from lamina.data._table import Field
from lamina.judge import attacks, corruptions, square
from lamina.judge.attacks import Aim
from lamina.tasks.classify import Classify
from lamina.train.harden import grown, worse

TAKES = ("image",)
SIDE = 6


class Linear(nn.Module):
    """Two classes by the sign of a weighted sum of pixels: of every picture the least change is known."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, image):
        told = ((image - 0.5) * self.weight).sum((1, 2, 3))
        return torch.stack([-told, told], 1)


class Stepped(Linear):
    """The same, in steps: nowhere a gradient."""

    def forward(self, image):
        told = ((image - 0.5) * self.weight).sum((1, 2, 3))
        return torch.stack([-(20 * told).round(), (20 * told).round()], 1) + 0 * image.sum()


@pytest.fixture
def aim():
    random = torch.Generator().manual_seed(0)
    net = Linear(torch.randn(1, 1, SIDE, SIDE, generator=random)).eval()
    image = 0.5 + 0.1 * (torch.rand(40, 1, SIDE, SIDE, generator=random) - 0.5)
    task = Classify(Field("x", "label", ("a", "b")), {"weights": None})
    return Aim(task, net, {"image": image, "target": net(image).argmax(1)})


def margins(aim):
    logits = aim.net(aim.batch["image"])
    return (logits[:, 0] - logits[:, 1]).abs().detach() / 2


@pytest.mark.parametrize(("norm", "dual"), [("L-inf", 1), ("L2", 2)])
def test_the_least_change_of_a_linear_net_is_found(aim, norm, dual):
    wanted = margins(aim) / aim.net.weight.detach().flatten().norm(p=dual)
    found = attacks.least(aim, norm, 0.4)
    assert torch.allclose(found, wanted.to(found), rtol=0.1, atol=0.003)
    aim.batch["target"][0] = 1 - aim.batch["target"][0]
    assert attacks.least(aim, norm, 0.4)[0] == 0 and attacks.least(aim, norm, 1e-6)[1] == torch.inf


@pytest.mark.parametrize("norm", ["L-inf", "L2"])
@pytest.mark.parametrize("towards", [False, True])
def test_changes_stay_inside_the_ball_and_the_picture(aim, norm, towards):
    target = 1 - aim.batch["target"] if towards else None
    radius = torch.linspace(0.01, 0.6, 40)
    changed = attacks.pgd(aim, radius, norm, target=target)
    change = (changed - aim.batch["image"]).flatten(1)
    size = change.abs().amax(1) if norm == "L-inf" else change.norm(dim=1)
    assert (size <= radius + 1e-5).all() and changed.min() >= 0 and changed.max() <= 1
    reach = radius > 1.5 * margins(aim) / aim.net.weight.detach().flatten().norm(p=1 if norm == "L-inf" else 2)
    assert (aim.answers(changed)[reach] == (1 - aim.batch["target"])[reach]).all() and reach.sum() > 10


def test_gradients_beat_noise_and_one_step_is_enough_where_all_is_linear(aim):
    radius = float((margins(aim) / aim.net.weight.detach().abs().sum()).median()) * 1.3
    shares = [attacks.robust(aim, lambda a, f=f: f(a, radius)) for f in (attacks.fgsm, attacks.pgd, attacks.noise)]
    assert shares[0] <= 0.55 and shares[1] <= shares[0] + 0.05 and shares[2] > shares[1] + 0.15


def test_one_change_for_all(aim):
    aim.batch["target"][:] = 0
    change = attacks.universal(aim, 0.2)
    assert change.abs().max() <= 0.2 + 1e-6 and torch.equal(change.sign(), aim.net.weight[0].sign())


def test_one_pixel():
    weight = torch.zeros(1, 1, SIDE, SIDE)
    weight[0, 0, 2, 3] = 1.0
    net, task = Linear(weight).eval(), Classify(Field("x", "label", ("a", "b")), {"weights": None})
    image = torch.full((2, 1, SIDE, SIDE), 0.9)
    aim = Aim(task, net, {"image": image, "target": net(image).argmax(1)})
    found = attacks.one_pixel(aim, 1, generations=60)
    assert found is not None and ((found != image[1]).sum() == 1) and found[0, 2, 3] < 0.5
    even = Aim(task, Linear(torch.ones(1, 1, SIDE, SIDE)).eval(), aim.batch)
    assert attacks.one_pixel(even, 0, generations=3) is None


def test_squares_find_what_hidden_gradients_hide(aim):
    """Steps without slope: PGD sees nothing, and answers alone tell enough."""
    radius = float((margins(aim) / aim.net.weight.detach().abs().sum()).median())
    changed = square.square(aim, radius)
    assert (changed - aim.batch["image"]).abs().max() <= radius + 1e-6 and changed.min() >= 0 and changed.max() <= 1
    assert torch.equal(square.square(aim, radius), changed)
    shares = [attacks.robust(aim, lambda a, f=f: f(a, radius)) for f in (square.square, attacks.pgd, attacks.noise)]
    assert shares[1] <= shares[0] < shares[2]  # gradients are best, and squares better than noise
    weight = aim.net.weight
    steep = Aim(aim.task, Stepped(weight.detach()).eval(), aim.batch)
    found = {
        name: {f"{r:g}": attacks.robust(steep, lambda a, f=f, r=r: f(a, r)) for r in (radius, 2 * radius)}
        for name, f in (("black box", square.square), ("PGD", attacks.pgd))
    }
    assert square.hidden(found, len(aim.batch["image"]))
    assert not square.hidden({"black box": {"0.1": 0.45}, "PGD": {"0.1": 0.5}}, 40)  # two of 40 rows are chance


@pytest.mark.parametrize("name", sorted(corruptions.CORRUPTIONS))
@pytest.mark.parametrize("channels", [1, 3])
def test_corruptions(name, channels):
    """Shape and range are kept, the same seed gives the same picture, and a stronger one changes more."""
    change, strengths = corruptions.CORRUPTIONS[name]
    y, x = torch.meshgrid(torch.linspace(0, 1, 20), torch.linspace(0, 1, 24), indexing="ij")
    image = ((torch.sin(9 * x) * torch.cos(7 * y) + 1) / 2).repeat(5, channels, 1, 1)
    kept, apart = image.clone(), []
    for strength in strengths:
        changed, again = (change(image, strength, torch.Generator().manual_seed(3)) for _ in range(2))
        assert (
            changed.shape == image.shape and changed.min() >= 0 and changed.max() <= 1 and torch.equal(changed, again)
        )
        apart.append(float((changed - image).abs().mean()))
    assert torch.equal(image, kept) and 0 < apart[0] < apart[1] < apart[2]


def test_where_pixels_go():
    image = torch.zeros(8, 1, 20, 20)
    image[:, :, 10, 10] = 1.0
    moved = corruptions.shift(image, 0.1, torch.Generator().manual_seed(0))
    places = {tuple(p.nonzero()[0].tolist()) for p in moved[:, 0].round()}
    assert places <= {(8, 8), (8, 12), (12, 8), (12, 12)} and len(places) > 1
    wide = torch.zeros(4, 1, 11, 21)
    wide[:, :, 5, 15] = 1.0  # five to the right of the centre: a quarter turn brings it five up or down
    turned = corruptions.rotation(wide, 90.0, torch.Generator().manual_seed(0))
    assert {tuple(np.unravel_index(int(p.argmax()), (11, 21))) for p in turned[:, 0]} <= {(0, 10), (10, 10)}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(checking, "ROWS", 48)
    monkeypatch.setattr(checking, "FEW", 10)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    how = {"net": "lenet", "epochs": 5, "show": False}
    return [lamina.fit("digits", run=folder / name, harden=h, **how) for name, h in (("plain", 0.0), ("hard", 0.15))]


def test_hardening_keeps_attacked_pictures_right(trained):
    found = [run.check() for run in trained]
    plain, hard = (f.attacked["PGD"] for f in found)
    assert plain["0.2"] < 0.2 and hard["0.1"] > plain["0.1"] + 0.2
    assert found[1].least["L-inf"] > 1.3 * found[0].least["L-inf"]
    for f in found:
        assert all(f.attacked["PGD"][r] <= f.attacked["noise"][r] for r in f.attacked["PGD"])
        assert not f.hidden and f.black_box["black box"]["0.2"] >= f.black_box["PGD"]["0.2"] - 0.1


def test_check_is_printed_and_changes_nothing(trained, capsys):
    run = trained[0]
    before = {k: v.clone() for k, v in run.net.state_dict().items()}
    made = run.check()
    assert made.rows == 48 and made.clean > 0.9 and made.pictures.size[0] > 100 and "check" not in run.path.name
    assert all(torch.equal(before[k], v) for k, v in run.net.state_dict().items())
    assert main(["check", str(run.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["attacked"] == made.attacked and told["worse"] == made.worse
    assert (run.path / "check.json").exists()


def test_worse_pictures_have_a_larger_loss(aim):
    batch = {**aim.batch}
    changed = worse(aim.task, aim.net, batch, 0.05)
    assert (changed["image"] - batch["image"]).abs().max() <= 0.05 + 1e-6 and torch.equal(
        changed["target"], batch["target"]
    )
    assert aim.task.loss(aim.net, changed) > aim.task.loss(aim.net, batch)
    assert grown(0.2, 0.0) == 0 and grown(0.2, 0.15) == pytest.approx(0.1) and grown(0.2, 0.3) == grown(0.2, 1.0) == 0.2


def test_the_last_hardened_net_is_kept(trained):
    """Rows that are not attacked would choose the one that is hardened least."""
    for run, last in zip(trained, (False, True), strict=True):
        validated = run.run.history("validation")
        with safetensors.safe_open(run.path / "best.safetensors", "np") as file:
            kept = int(file.metadata()["step"])
        steps = [v["step"] for v in validated]
        assert kept == (steps[-1] if last else max(validated, key=lambda v: (v["accuracy"], -v["loss"]))["step"])


def test_attacks_ask_only_rows_that_still_stand(aim, monkeypatch):
    asked, logs = [], attacks.Aim.logs
    monkeypatch.setattr(attacks.Aim, "logs", lambda self, image: asked.append(len(image)) or logs(self, image))
    turned = attacks.pgd(aim, 0.5)
    assert asked == sorted(asked, reverse=True) and asked[-1] < asked[0] == len(aim.batch["image"])
    del asked[:]
    attacks.noise(aim, 0.5)
    assert asked == sorted(asked, reverse=True) and asked[-1] < asked[0] == len(aim.batch["image"])
    assert aim.right(turned).double().mean() < 0.2


def test_bad_words(people, tmp_path, capsys):
    run = lamina.fit(people, target="age", epochs=1, show=False, run=tmp_path / "run")
    assert main(["check", str(run.path)]) == 2
    assert "nets that give one label; this one answers number" in capsys.readouterr().err
    assert main(["train", "digits", "--harden", "2"]) == 2
    assert "--harden" in capsys.readouterr().err
    people.to_csv(tmp_path / "people.csv", index=False)
    words = [
        "train",
        str(tmp_path / "people.csv"),
        "--target",
        "class",
        "--harden",
        "0.1",
        "--run",
        str(tmp_path / "two"),
    ]
    assert main(words) == 2
    assert "hold none" in capsys.readouterr().err
