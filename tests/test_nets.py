"""One contract over every net, and the counts that papers publish."""

import dataclasses
import io
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from lamina.core import catalog, config
from lamina.core.errors import NameUnknown, SettingError
from lamina.nets import _blocks, _count, lenet, mlp, resnet
from lamina.nets._row import RowEncoder
from lamina.nets._weightless import weightless
from lamina.tasks._task import whole_loss

NETS = catalog.names("nets")
CHOOSES = {"faster_rcnn", "segnet"}  # which boxes or places are largest, which rounding may change


def made(name):
    torch.manual_seed(0)
    module = catalog.find("nets", name)
    return module, module.Net(module.Config())


@pytest.mark.parametrize("name", NETS)
def test_shape(name):
    module, net = made(name)
    inputs, shape = module.example()
    assert tuple(inputs) == tuple(k for k in module.TAKES if k in inputs)
    assert net(**inputs).shape == shape


@pytest.mark.parametrize("name", NETS)
def test_source_is_cited_and_settings_are_explained(name):
    module, _ = made(name)
    assert "http" in module.__doc__
    fields = config.settings(module.Config)
    assert len(fields) <= 15
    assert all(f.help for f in fields), [f.name for f in fields if not f.help]


@pytest.mark.parametrize("name", NETS)
def test_saved_weights_come_back_bit_equal(name):
    module, net = made(name)
    inputs, _ = module.example()
    net.eval()
    content = safetensors.torch.save({k: v.contiguous() for k, v in net.state_dict().items()})
    other = module.Net(module.Config())
    other.load_state_dict(safetensors.torch.load(content))
    assert torch.equal(net(**inputs), other.eval()(**inputs))
    assert len(io.BytesIO(content).read()) > 0


@pytest.mark.parametrize("name", NETS)
def test_without_memory_it_has_the_same_weights(name):
    """With every named choice of every setting, as the error about one that does not exist lists them."""
    module, _ = made(name)
    for settings in [{}, *choices(module)]:
        net = module.Net(module.Config(**settings))
        with weightless():
            empty = module.Net(module.Config(**settings))
        told = [(k, v.shape, v.dtype) for k, v in net.state_dict().items()]
        assert [(k, v.shape, v.dtype) for k, v in empty.state_dict().items()] == told, settings
        assert all(v.is_meta for v in empty.state_dict().values()), settings


def choices(module):
    """Each named choice of each setting alone, as far as a net has it."""
    for field in dataclasses.fields(module.Config):
        told = refusal(module, {field.name: "?"}) if isinstance(field.default, str) else ""
        for chosen in filter(None, told.partition("there is: ")[2].removesuffix(".").split(", ")):
            if not refusal(module, {field.name: chosen}):
                yield {field.name: chosen}


def refusal(module, settings):
    """Why no net is made of them; "" when one is."""
    try:
        module.Net(module.Config(**settings))
    except (NameUnknown, SettingError) as error:
        return str(error)
    return ""


def test_choices_are_found():
    assert {"output": "hierarchical"} in choices(catalog.find("nets", "word2vec"))
    assert sum(len(list(choices(catalog.find("nets", name)))) for name in NETS) > 60


PLANNED = """
import sys, numpy, pandas, lamina
from lamina import api
random = numpy.random.default_rng(0)
frame = pandas.DataFrame(random.normal(size=(200, 3)), columns=list("abc")).assign(d=list("xyzw") * 50)
for data in ("digits", sys.argv[1], lamina.open(frame, target="a")):
    for net in (None, "mlp") if data == "digits" else (None,):
        api.prepare(lamina.open(data) if isinstance(data, str) else data, api.Wishes(net=net))
print(*[name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""


def test_a_plan_does_not_load_the_compiler(tmp_path):
    """Which takes torch a second: `lamina look digits` took 3.3 s where it takes 2.1."""
    text = tmp_path / "text.txt"
    text.write_text("It goes on and on, and on.\n" * 300)
    done = subprocess.run([sys.executable, "-c", PLANNED, str(text)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", NETS)
def test_every_weight_learns(name):
    module, net = made(name)
    inputs, _ = module.example()

    def loss(output):
        output = output.flatten(0, -2)
        return torch.nn.functional.cross_entropy(output, torch.zeros(len(output), dtype=torch.long))

    whole_loss(net, net(**inputs), loss).backward()
    without = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without


@pytest.mark.parametrize("name", NETS)
def test_products_in_bfloat16_give_nearly_the_same(name):
    module, net = made(name)
    inputs, _ = module.example()
    outputs, grads = [], []
    for low in (False, True):
        net.eval().zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            output = net(**inputs)
        output.float().square().mean().backward()
        outputs.append(output.detach().float())
        grads.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    assert grads[1].isfinite().all()
    if name not in CHOOSES:
        assert (outputs[1] - outputs[0]).norm() <= 0.03 * outputs[0].norm()


@pytest.mark.parametrize("name", NETS)
def test_every_size_builds(name):
    module = catalog.find("nets", name)
    for settings in module.SIZES.values():
        with torch.device("meta"):
            module.Net(module.Config(**settings))


def test_lenet_counts_of_1990():
    net = lenet.Net(lenet.Config(version="1990"))
    assert _count.weights(net) == 2_578  # LeCun 1990: "2578 independent parameters"
    assert _count.connections(net, torch.rand(1, 1, 28, 28)) == 98_442  # "98442 connections"


def test_lenet_counts_of_1998():
    net = lenet.Net(lenet.Config(version="1998"))
    assert _count.weights(net) == 60_000 + 850  # 60,000 trainable, and the linear layer in place of fixed radial units
    assert _count.connections(net, torch.rand(1, 1, 28, 28)) == 340_908 + 10  # and its ten biases


@pytest.mark.parametrize(
    ("size", "weights"),
    [("18", 11_689_512), ("34", 21_797_672), ("50", 25_557_032), ("101", 44_549_160), ("152", 60_192_808)],
)
def test_resnet_counts(size, weights):
    """As published with torchvision's models of the same paper."""
    with torch.device("meta"):
        net = resnet.Net(resnet.Config(classes=1000, stem="large", **resnet.SIZES[size]))
    assert _count.weights(net) == weights


@pytest.mark.parametrize("activation", [a for a in _blocks.ACTIVATIONS if a != "step"])
@pytest.mark.parametrize("pre", [False, True])
def test_resnet_by_activation(activation, pre):
    net = resnet.Net(resnet.Config(blocks=(1, 1), width=4, activation=activation, preactivation=pre))
    assert net(torch.rand(2, 3, 16, 16)).isfinite().all()


@pytest.mark.parametrize("norm", _blocks.NORMS)
def test_norms_normalise(norm):
    torch.manual_seed(0)
    layer = _blocks.norm(norm, 8)
    x = torch.randn(16, 8, 5, 5) * 3 + 2
    y = layer(x).detach()
    if norm in ("none", "weight"):
        assert torch.equal(x, y)
    else:
        assert abs(float(y.mean())) < 0.1 and abs(float(y.std()) - 1) < 0.1
    assert resnet.Net(resnet.Config(blocks=(1,), width=8, norm=norm))(torch.rand(2, 3, 8, 8)).shape == (2, 10)


def test_batch_renorm_becomes_its_running_statistics():
    layer = _blocks.BatchRenorm(3, momentum=0.2, opening=1)
    torch.manual_seed(0)
    for _ in range(200):
        layer(torch.randn(64, 3) * 2 + 1)
    x = torch.randn(64, 3) * 2 + 1
    assert (layer(x) - layer.eval()(x)).abs().max() < 0.4


def test_step_function_has_a_gradient():
    x = torch.tensor([-2.0, -0.5, 0.5, 2.0], requires_grad=True)
    y = _blocks.Step()(x)
    y.sum().backward()
    assert y.tolist() == [0, 0, 1, 1] and x.grad.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("name", _blocks.INITS)
def test_initialisations(name):
    layer = torch.nn.Linear(400, 300)
    torch.manual_seed(0)
    _blocks.initialise(layer, name)
    expected = {
        "he": (2 / 300) ** 0.5,
        "glorot": (2 / 700) ** 0.5,
        "lecun": 400**-0.5,
        "orthogonal": 400**-0.5,
        "normal": 0.01,
    }
    assert float(layer.weight.detach().std()) == pytest.approx(expected[name], rel=0.02)


def test_row_encoder_ranks_numbers_and_flags_gaps():
    torch.manual_seed(0)
    numbers = torch.cat([torch.rand(2000, 1).exp() ** 5, torch.randn(2000, 1)], 1)
    numbers[:100, 0] = float("nan")
    row = RowEncoder(2, (3,), ranked=True)
    row.fit(numbers)
    out = row(numbers, torch.zeros(2000, 1, dtype=torch.long)).detach()
    assert abs(float(out[100:, 0].mean())) < 0.05 and float(out[100:, 0].std()) == pytest.approx(1, abs=0.05)
    assert out[:100, 0].eq(0).all() and out[:100, 2].eq(1).all() and out[100:, 2].eq(0).all() and out[:, 3].eq(0).all()


def test_members_share_hidden_layers_but_answer_apart():
    net = mlp.Net(mlp.Config(members=4, dropout=0.0)).eval()
    answers = net(torch.randn(5, 4))
    assert answers.shape == (5, 4, 2) and (answers[:, 0] - answers[:, 1]).abs().min() > 0


def test_members_of_an_ensemble_share_nothing():
    torch.manual_seed(0)
    net = mlp.Net(mlp.Config(members=3, shared=False, dropout=0.0, numbers=5, width=7, ranked=False))
    x = torch.randn(6, 5)
    net(x, None)[:, 1].sum().backward()
    weights = [layer.weight for layer in net.modules() if isinstance(layer, mlp.MemberLinear)]
    assert len(weights) == 3
    for weight in weights:
        assert weight.grad[1].abs().sum() > 0 and weight.grad[[0, 2]].abs().sum() == 0
    inner = net.row(x)
    for weight, layer in zip(weights, (m for m in net.modules() if isinstance(m, mlp.MemberLinear)), strict=True):
        inner = inner @ weight[1] + layer.bias[1]
        inner = inner.relu() if layer is not net.classifier else inner
    assert torch.allclose(net(x, None)[:, 1], inner, atol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: resnet.Net(resnet.Config(activation="rellu")), "no activation 'rellu'; did you mean 'relu'"),
        (lambda: resnet.Net(resnet.Config(norm="grup")), "did you mean 'group'"),
        (lambda: lenet.Net(lenet.Config(version="1999")), "no version of lenet '1999'"),
    ],
)
def test_unknown_names(build, message):
    with pytest.raises(NameUnknown, match=message):
        build()


def test_settings_out_of_range():
    with pytest.raises(SettingError, match=r"net.dropout must be between 0 and 0.95, not 2"):
        mlp.Net(mlp.Config(dropout=2))
    with pytest.raises(SettingError, match=r"net.side \(=8\) must be at least 12"):
        lenet.Net(lenet.Config(side=8, version="1990"))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_follows_the_seed(share):
    drop, x = _blocks.Dropout(share), torch.ones(301, 333, requires_grad=True)
    torch.manual_seed(3)
    one = drop(x)
    (grad,) = torch.autograd.grad(one.sum(), x)
    torch.manual_seed(3)
    assert torch.equal(one, drop(x)) and not torch.equal(one, drop(x)) and torch.equal(grad, one)
    assert float((one == 0).double().mean()) == pytest.approx(share, abs=0.008)  # five standard errors
    assert one.unique().tolist() == pytest.approx([0, 1 / (1 - share)])
    assert drop.eval()(x) is x
