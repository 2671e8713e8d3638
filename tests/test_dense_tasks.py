"""segment and paint: measures against scikit-image and brute force, nets by their published counts, small runs end to end."""

import json

import numpy as np
import pytest
import torch

import lamina
from lamina.core.answers import Mask, Picture
from lamina.core.errors import SettingError
from lamina.data._dense import Floats, Masks
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Field, Table
from lamina.measures import masks, pictures
from lamina.nets import _count, fcn, segnet, unet
from lamina.tasks import _colour
from lamina.tasks.paint import Paint
from lamina.train.plan import Wishes, task_of
from lamina.train.recipe import Recipe

# 1 class of grey pictures: the number of the usual reimplementations of the paper, padded and without normalisation.
UNET_2015 = 31_030_593


def test_weights_are_as_published():
    with torch.device("meta"):
        nets = [
            unet.Net(unet.Config(classes=1, channels=1, **unet.SIZES["2015"])),
            segnet.Net(segnet.Config(classes=12, **segnet.SIZES["2015"])),
        ]
    assert _count.weights(nets[0]) == UNET_2015
    assert round(_count.weights(nets[1]) / 1e6, 1) == 29.5  # Badrinarayanan 2015, table 6: 29.5 million
    with torch.device("meta"):
        net = fcn.Net(fcn.Config(classes=21, skips=0, **fcn.SIZES["vgg"]))
    assert _count.weights(net) // 10**6 == 134  # Long 2015, table 1: 134 million


@pytest.mark.parametrize("shape", [(3, 33, 47), (1, 28, 28)], ids=str)
@pytest.mark.parametrize("net", ["unet", "half", "segnet", "fcn", "convnext", "googlenet"])
def test_answers_have_the_size_of_the_picture(net, shape):
    made = {
        "unet": lambda: unet.Net(unet.Config(channels=shape[0])),
        "half": lambda: unet.Net(unet.Config(channels=shape[0], stem="half")),
        "segnet": lambda: segnet.Net(segnet.Config(channels=shape[0])),
        "fcn": lambda: fcn.Net(fcn.Config(channels=shape[0])),
        "googlenet": lambda: fcn.Net(fcn.Config(channels=shape[0], body="googlenet")),
        "convnext": lambda: fcn.Net(fcn.Config(channels=shape[0], body="convnext")),
    }[net]().eval()
    assert made(torch.rand(1, *shape)).shape == (1, 2, *shape[1:])


def test_bodies_that_do_not_fit_are_named():
    for name in ("vit", "unet", "edsr", "ssd", "embedding", "gpt"):
        with pytest.raises(SettingError, match=rf"net\.body cannot be '{name}'"):
            fcn.Net(fcn.Config(body=name))
    with pytest.raises(SettingError, match=r"net\.reduce must be 1, 2, 4 or 8"):
        unet.Net(unet.Config(reduce=3))


def test_ssim_and_psnr_are_those_of_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    random = np.random.default_rng(0)
    one = random.random((3, 40, 52))
    other = np.clip(one + 0.1 * random.standard_normal(one.shape), 0, 1)
    whole = metrics.structural_similarity(
        one, other, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
    )
    batch = [torch.from_numpy(x)[None] for x in (other, one)]
    assert float(pictures.ssim(*batch)) == pytest.approx(whole, abs=1e-4)
    assert float(pictures.psnr(*batch)) == pytest.approx(
        metrics.peak_signal_noise_ratio(one, other, data_range=1.0), abs=1e-6
    )
    depth = torch.tensor([[[[1.0, 2.0, 0.0]]]])
    assert float(pictures.relative_error(torch.tensor([[[[1.5, 1.0, 9.0]]]]), depth)) == pytest.approx(0.5)


def test_lab_is_that_of_scikit_image_and_returns():
    color = pytest.importorskip("skimage.color")
    rgb = np.random.default_rng(1).random((5, 6, 3))
    lab = _colour.to_lab(torch.from_numpy(rgb).permute(2, 0, 1)[None])
    assert np.abs(lab[0].permute(1, 2, 0).numpy() - color.rgb2lab(rgb)).max() < 0.02
    assert np.abs(_colour.to_rgb(lab)[0].permute(1, 2, 0).numpy() - rgb).max() < 1e-4


def test_overlaps_by_counting():
    random = np.random.default_rng(2)
    target, answer = (random.integers(0, 3, (4, 9, 7)).astype(np.uint8) for _ in range(2))
    target[0, :3] = 255
    rows = {"confusion": np.stack([masks.confusion(t, a, 4) for t, a in zip(target, answer, strict=True)])}
    known, found = target != 255, masks.finish(rows, "abcd")
    wanted = [((target == c) & (answer == c)).sum() / (((target == c) | (answer == c)) & known).sum() for c in range(3)]
    assert [found[f"iou of {n}"] for n in "abc"] == pytest.approx(wanted) and np.isnan(found["iou of d"])
    assert found["mean_iou"] == pytest.approx(np.mean(wanted))
    low, high = masks.interval(rows, "mean_iou", "abcd")
    assert low < found["mean_iou"] < high


def test_colours_are_coded_softly_and_decoded():
    ab = np.array([[0.0, 0.0]] * 90 + [[40.0, 30.0]] * 10)
    bins, weights = _colour.bins_of(ab)
    assert len(bins) == 2 and weights[1] > weights[0] and (weights * [0.9, 0.1]).sum() == pytest.approx(1, abs=0.2)
    places, shares = _colour.encoded(torch.tensor([38.0, 29.0]).view(1, 2, 1, 1), torch.tensor(bins).float())
    assert float(shares.sum()) == pytest.approx(1) and bins[int(places[0, 0, 0, 0])].tolist() == [40, 30]
    many = torch.randn(2, 2, 5, 7) * 40
    assert torch.equal(
        _colour.nearest(many, torch.tensor(bins).float()), _colour.encoded(many, torch.tensor(bins).float())[0][..., 0]
    )
    sure = _colour.decoded(torch.tensor([0.0, 20.0]).view(1, 2, 1, 1), torch.tensor(bins).float())
    assert sure.flatten().tolist() == pytest.approx([40, 30], abs=1e-3)


def test_noise_is_keyed():
    task = task_of(
        "paint", Field("picture", "picture", shape=(3, 8, 8)), {"way": "denoise", "loss": "absolute", "noise": 20.0}
    )
    assert isinstance(task, Paint)
    image = torch.full((3, 3, 64, 64), 128.0)
    rows, passes = torch.tensor([5, 9, 2]), torch.zeros(3, dtype=torch.int64)
    one, again = (task.way.noisy(image, 0, passes, rows) for _ in range(2))  # type: ignore[attr-defined]
    part = task.way.noisy(image[1:2], 0, passes[:1], rows[1:2])  # type: ignore[attr-defined]
    assert torch.equal(one, again) and torch.equal(one[1:2], part) and not torch.equal(one[0], one[1])
    assert float((one - 128).std()) == pytest.approx(20, rel=0.03)
    assert not torch.equal(one, task.way.noisy(image, 0, passes + 1, rows))  # type: ignore[attr-defined]


def test_answers_are_plain_values_and_can_be_drawn():
    mask = Mask(np.array([[0, 0, 1], [1, 1, 1]], np.uint8), ("sky", "road"))
    told = json.loads(json.dumps(mask.to_json()))
    assert told["runs"] == [[0, 2], [1, 4]] and told["answer"] == {"road": 0.666667, "sky": 0.333333}
    assert mask.draw(np.zeros((4, 6, 3), np.uint8)).shape == (2, 3 + 4 + 3, 3)
    depth = Picture(np.array([[1.0, 2.0]], np.float32))
    assert json.loads(json.dumps(depth.to_json()))["answer"]["max"] == 2
    assert depth.draw(np.zeros((1, 2, 1), np.uint8)).dtype == np.uint8


def scenes(kind, rows=30):
    random = np.random.default_rng(0)
    codes = np.zeros((rows, 16, 24), np.uint8)
    for own in codes:
        top, left = random.integers(0, 8), random.integers(0, 14)
        own[top : top + 8, left : left + 10] = 1
    image = (60 + 120 * codes[..., None] + random.integers(0, 40, (rows, 16, 24, 3))).astype(np.uint8)
    target = (
        Column(Field("mask", "mask", ("ground", "thing")), Masks.of_array(codes))
        if kind == "mask"
        else Column(Field("depth", "picture"), Floats.of_array(4.0 - 3 * codes.astype(np.float32)))
    )
    columns = {"image": Column(Field("image", "image"), Pictures.of_array(image)), target.field.name: target}
    return Table(columns, "scenes", "memory", np.array([f"s{i}" for i in range(rows)], object), target.field.name)


@pytest.mark.parametrize("kind", ["mask", "picture"])
def test_a_run_learns_answers_and_ships(kind, tmp_path):
    table = scenes(kind)
    run = lamina.fit(
        table,
        steps=30 if kind == "mask" else 80,
        batch=8,
        net="unet",
        net_settings={"width": "8", "depth": "1"},
        run=tmp_path / "r",
        show=False,
    )
    made = run.score()
    better = made.value > 0.9 if kind == "mask" else made.value < 0.42
    assert better, made
    worst = max(made.baselines.values()) if kind == "mask" else min(made.baselines.values())
    assert (made.value > worst) == (kind == "mask")
    pixels = table["image"].values.array[0].repeat(2, 0).repeat(2, 1)
    asked = run.ask(pixels[None])
    assert (asked.codes if kind == "mask" else asked.pixels).shape == (32, 48)  # the size of what was asked
    shipped = lamina.load(run.ship())
    assert shipped.content["parity"]["bit_equal"] and shipped.ask(pixels[None]).to_json() == asked.to_json()
    assert b"worst" in (run.path / "manifest.json").read_bytes() and (run.path / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("kind", ["mask", "picture", "denoise"])
def test_a_killed_run_ends_in_the_same_bits(kind, same_after_a_kill):
    table = scenes("mask" if kind == "denoise" else kind, rows=16)
    table = table if kind != "denoise" else table.with_(columns={"image": table["image"]}, target=None)
    how = {"task": "paint/denoise", "task_settings": {"side": "16", "tiles": "1"}} if kind == "denoise" else {}
    small = {"width": "4", "depth": "1"}
    same_after_a_kill(table, Wishes(**how, net="unet", net_settings=small, recipe=Recipe(steps=6, batch=8)), table)


def test_pairs_are_made_of_photographs(tmp_path):
    from PIL import Image, ImageDraw

    random = np.random.default_rng(0)
    for i in range(6):  # edges that are sharp to the pixel, in pictures twice the size they are learned in
        image = Image.new("RGB", (96, 80))
        for _ in range(12):
            (x0, x1), (y0, y1) = (sorted(random.choice(n, 2, replace=False).tolist()) for n in (96, 80))
            ImageDraw.Draw(image).rectangle((x0, y0, x1, y1), fill=tuple(random.integers(0, 256, 3).tolist()))
        image.resize((192, 160), Image.Resampling.NEAREST).save(tmp_path / f"{i}.png")
    settings = {"side": "32", "tiles": "8", "shorter": "80"}
    run = lamina.fit(
        tmp_path, task="paint/super2", task_settings=settings, steps=60, batch=8, net_settings={"width": "16", "depth": "2"},
        run=tmp_path / "r", show=False,
    )  # fmt: skip
    made = run.score()
    assert run.plan.net == "edsr" and run.plan.net_config["fold"] == 2 and made.name == "psnr"
    assert made.value > made.baselines["bicubic"] + 0.25, made
    assert run.ask(tmp_path / "0.png").pixels.shape == (320, 384, 3)
    other = run.score(tmp_path)  # of photographs: pairs are made as for learning
    assert other.rows > made.rows and other.name == "psnr" and abs(other.value - made.value) < 12
    one = run.score(tmp_path / "0.png")
    assert one.rows == 6 and np.isfinite(one.value)
    photos = [set(n.split(" at ")[0] for n in lamina.look(tmp_path, task="paint/super2", task_settings=settings).table.take(
        lamina.look(tmp_path, task="paint/super2", task_settings=settings).table.rows(s)).names) for s in (0, 2)]  # fmt: skip
    assert not photos[0] & photos[1]  # no photograph is in two splits
    with pytest.raises(SettingError, match="classes is for colour alone"):
        lamina.look(tmp_path, task="paint/super2", task_settings={"loss": "classes"})
