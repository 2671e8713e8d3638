"""Explanations against what is known: sums that must hold, another library, and data in which one thing decides."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lamina.core import catalog
from lamina.data._table import Field
from lamina.explain import dream, gradcam, integrated_gradients, occlusion, saliency, smoothgrad
from lamina.explain._method import Question
from lamina.nets import cnn, lenet, resnet
from lamina.tasks.classify import Classify

SIDE, SQUARE = 32, 10
ACROSS_OR_DOWN = Classify(Field("stripes", "label", ("across", "down")), {})


def squares(rows, seed):
    """Noise with four squares of texture, one in each quarter: the one with straight stripes decides. Chance is 1/4.

    image (rows, 1, SIDE, SIDE), class (rows,), corner (rows, 2) of the square that decides.
    """
    generator = torch.Generator().manual_seed(seed)
    a = torch.arange(SQUARE)
    stripes = (a % 4 < 2).float().expand(SQUARE, SQUARE)
    others = (
        ((a[:, None] // 2 + a // 2) % 2).float(),
        ((a[:, None] + a) % 4 < 2).float(),
        ((a[:, None] - a) % 4 < 2).float(),
    )
    x = 0.3 * torch.rand(rows, 1, SIDE, SIDE, generator=generator)
    y = torch.randint(0, 2, (rows,), generator=generator)
    corner = torch.zeros(rows, 2, dtype=torch.long)
    for i in range(rows):
        for k, quarter in enumerate(torch.randperm(4, generator=generator).tolist()):
            down, right = torch.randint(0, SIDE // 2 - SQUARE + 1, (2,), generator=generator).tolist()
            top, left = quarter // 2 * SIDE // 2 + down, quarter % 2 * SIDE // 2 + right
            other = others[int(torch.randint(0, 3, (1,), generator=generator))]
            texture = other if k else stripes.T if y[i] == 0 else stripes
            x[i, 0, top : top + SQUARE, left : left + SQUARE] += 0.7 * texture
            if not k:
                corner[i] = torch.tensor([top, left])
    return x, y, corner


def untrained(seed, x):
    torch.manual_seed(seed)
    net = resnet.Net(resnet.Config(classes=2, channels=1, blocks=(1, 1), width=8, stem="half"))
    net.standardize.fit(x.mean((0, 2, 3)), x.std((0, 2, 3)))
    return net.eval()


@pytest.fixture(scope="module")
def told_by_squares():
    """A small resnet that learned squares, and the 60 pictures it is asked about."""
    x, y, _ = squares(400, 0)
    net, batch, steps = untrained(0, x).train(), 32, 60
    optimizer = torch.optim.AdamW(net.parameters(), 0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=steps + 1)
    for i in range(steps):
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(i))[:batch]
        optimizer.zero_grad()
        F.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
        schedule.step()
    return net.eval(), squares(60, 1)


def share_of_hits(net, method, config, pictures, count):
    """Share of right answers whose largest heat lies in the square that decides (pointing game, Zhang 2016)."""
    x, y, corner = pictures
    hits = []
    for i in range(count):
        with torch.no_grad():
            right = int(net(x[i : i + 1]).argmax()) == int(y[i])
        if right:
            heat = method.explain(ACROSS_OR_DOWN, net, {"image": x[i : i + 1]}, Question(int(y[i])), config).arrays[
                "heat"
            ]
            place = np.array(np.unravel_index(heat.argmax(), heat.shape)) - corner[i].numpy()
            hits.append(bool((place >= 0).all() and (place < SQUARE).all()))
    return np.mean(hits), len(hits)


def test_gradcam_points_at_the_square_that_decides(told_by_squares):
    net, pictures = told_by_squares
    share, right = share_of_hits(net, gradcam, gradcam.Config(), pictures, 60)
    assert right >= 55 and share >= 0.8, (share, right)  # measured: 1.0 of 60


def test_gradcam_of_random_weights_drops_to_chance(told_by_squares):
    """Sanity check: what does not depend on the weights explains nothing. Adebayo 2018, https://arxiv.org/abs/1810.03292"""
    _, pictures = told_by_squares
    shares = [
        share_of_hits(untrained(seed, pictures[0]), gradcam, gradcam.Config(), pictures, 10)[0]
        for seed in range(10, 20)
    ]
    assert np.mean(shares) <= 0.4, shares  # chance is 0.25 for a net that looks at squares, 0.1 for one that does not


def test_occlusion_finds_the_square_that_decides(told_by_squares):
    net, pictures = told_by_squares
    share, right = share_of_hits(net, occlusion, occlusion.Config(patch=SQUARE, stride=2), pictures, 15)
    assert right >= 13 and share >= 0.8, (share, right)


def test_gradients_are_larger_in_the_square_that_decides(told_by_squares):
    net, (x, y, corner) = told_by_squares
    made = ((saliency, saliency.Config()), (smoothgrad, smoothgrad.Config(samples=20)),
            (integrated_gradients, integrated_gradients.Config(most=64)))  # fmt: skip
    for method, config in made:
        inside, outside = [], []
        for i in range(10):
            found = method.explain(ACROSS_OR_DOWN, net, {"image": x[i : i + 1]}, Question(int(y[i])), config)
            heat, (top, left) = np.abs(found.arrays["heat"]), corner[i].tolist()
            square = np.zeros_like(heat, bool)
            square[top : top + SQUARE, left : left + SQUARE] = True
            inside.append(heat[square].mean())
            outside.append(heat[~square].mean())
        assert np.mean(inside) > 2 * np.mean(outside), (method.__name__, np.mean(inside), np.mean(outside))


@pytest.mark.parametrize("baseline", integrated_gradients.BASELINES)
def test_integrated_gradients_are_complete(told_by_squares, baseline):
    net, (x, y, _) = told_by_squares
    names = integrated_gradients.AVERAGED if baseline == "several" else (baseline,)
    for i in range(2):
        image, output = x[i : i + 1], int(y[i])
        config = integrated_gradients.Config(baseline=baseline)
        found = integrated_gradients.explain(ACROSS_OR_DOWN, net, {"image": image}, Question(output), config)
        with torch.no_grad():
            starts = torch.cat([integrated_gradients.baseline(n, image, net, 0) for n in names])
            difference = float((net(image) - net(starts))[:, output].mean())
        values = found.arrays["values"]
        assert values.sum() == pytest.approx(difference, rel=0.01) and found.arrays["gap"][0] <= 0.01
        assert np.allclose(values.sum(0), found.arrays["heat"], atol=1e-6)


def test_a_blurred_baseline_is_even_and_keeps_the_mean():
    image = torch.rand(1, 3, 20, 30)
    even = integrated_gradients.baseline("blurred", image, torch.nn.Identity(), 0)
    assert even.std() < 0.2 * image.std() and float(even.mean()) == pytest.approx(float(image.mean()), abs=0.02)
    flat = torch.full((1, 1, 9, 7), 0.3)
    assert torch.allclose(integrated_gradients.baseline("blurred", flat, torch.nn.Identity(), 0), flat)


@pytest.mark.parametrize("output", [0, 1])
def test_dreams_are_what_the_net_takes_for_the_class(told_by_squares, output):
    net, (x, _, _) = told_by_squares
    start = dream.even(tuple(x.shape[1:]), net, 0)
    found = dream.explain(ACROSS_OR_DOWN, net, {"image": start}, Question(output), dream.Config(smooth=0.0))
    image, (before, after) = torch.from_numpy(found.arrays["image"])[None], found.arrays["values"]
    with torch.no_grad():
        score, given = net(start)[0, output], net(image)
    assert before == pytest.approx(float(score), abs=1e-4) and after == pytest.approx(float(given[0, output]), abs=1e-4)
    assert float(given.softmax(1)[0, output]) > 0.95 and after > before + 5
    down, right = (image.diff(dim=d).square().mean() for d in (2, 3))  # stripes across differ downwards
    assert (down > 4 * right) if output == 0 else (right > 4 * down), (float(down), float(right))


def test_dreams_of_a_layer_raise_its_energy_and_stay_in_range(told_by_squares):
    net, (x, _, _) = told_by_squares
    config = dream.Config(layer="features.4", steps=5, octaves=2, decay=0.0)
    found = dream.explain(ACROSS_OR_DOWN, net, {"image": x[:1]}, Question(), config)
    before, after = found.arrays["values"]
    assert after > 1.2 * before > 0 and found.arrays["image"].min() >= 0 and found.arrays["image"].max() <= 1
    still = dream.explain(ACROSS_OR_DOWN, net, {"image": x[:1]}, Question(), dream.Config(steps=1, rate=0.0, octaves=1))
    assert np.abs(still.arrays["image"] - x[0].numpy()).max() < 1e-6
    assert dream.takes_any_size(net) and not dream.takes_any_size(lenet.Net(lenet.Config()))


# ---------------------------------------------------------------- Captum

PICTURE_NETS = {
    "lenet": lambda: lenet.Net(lenet.Config()),
    "cnn": lambda: cnn.Net(cnn.Config(filters=(4, 8), hidden=16)),
    "resnet": lambda: resnet.Net(resnet.Config(channels=1, blocks=(1, 1), width=8, preactivation=True)),
}


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
@pytest.mark.parametrize("name", PICTURE_NETS)
def test_agrees_with_captum(name):
    """Saliency, integrated gradients, Grad-CAM and occlusion against Captum (https://arxiv.org/abs/2009.07896), to 1e-4."""
    attr = pytest.importorskip("captum.attr", reason="the reference is not installed: pip install captum tqdm")
    torch.manual_seed(0)
    net, image = PICTURE_NETS[name]().eval(), torch.rand(1, 1, 28, 28)
    task, top = Classify(Field("y", "label", tuple("0123456789")), {}), int(net(image).argmax())

    def ours(method, **settings):
        module = catalog.find("explain", method)
        return module.explain(task, net, {"image": image}, Question(top), module.Config(**settings)).arrays

    def same(found, expected):
        expected = expected.detach().numpy()
        assert expected.any() and np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()

    same(ours("saliency")["gradient"], attr.Saliency(net).attribute(image, top, abs=False)[0])
    integrated = attr.IntegratedGradients(net)
    same(
        ours("integrated_gradients", steps=64, most=64)["values"],
        integrated.attribute(image, torch.zeros_like(image), top, n_steps=64, method="riemann_middle")[0],
    )
    same(
        ours("integrated_gradients", steps=64, most=64, baseline="white")["values"],
        integrated.attribute(image, torch.ones_like(image), top, n_steps=64, method="riemann_middle")[0],
    )
    last = {"lenet": 7, "cnn": 4, "resnet": -1}[name]  # the last layer whose output has height and width
    expected = attr.LayerGradCam(net, list(net.features)[last]).attribute(image, top, relu_attributions=True)
    same(ours("gradcam")["cam"], expected[0, 0])
    expected = attr.Occlusion(net).attribute(image, (1, 6, 6), (1, 4, 4), target=top, baselines=0.5)
    same(ours("occlusion", patch=6, stride=4, cover="grey")["heat"], expected[0, 0])
