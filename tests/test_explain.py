"""One contract over every method of the room explain and every net; and what people do with it."""

import inspect
import re

import numpy as np
import pytest
import torch

from lamina.core import catalog, config
from lamina.core.errors import NameUnknown, SettingError
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Field, Table
from lamina.explain import _draw, _taps
from lamina.explain._method import Question, batches_of
from lamina.tasks.classify import Classify
from lamina.tasks.regress import Regress

METHODS = catalog.names("explain")
ROWS = 12
SMALL_NETS = {"resnet": {"blocks": (1, 1), "width": 4, "stem": "half"}, "cnn": {"filters": (4, 8), "hidden": 8}}
SMALL = {
    "smoothgrad": {"samples": 3},
    "integrated_gradients": {"steps": 4, "most": 8},
    "occlusion": {"patch": 14, "stride": 7},
    "columns": {"draws": 4, "rows": 20, "repeats": 2},
    "neighbours": {"count": 3},
    "dream": {"steps": 2, "octaves": 2},
}
FROM_TEXTS = ("attention",)  # see test_explain_texts.py
FROM_PICTURES = ("saliency", "smoothgrad", "gradcam", "occlusion", "dream")


def answers_with_classes(name):
    module = catalog.find("nets", name)
    inputs, shape = module.example()
    rows = len(next(iter(inputs.values())))
    return (
        set(module.TAKES) <= {"image", "numbers", "categories"}
        and {"classes"} <= {s.name for s in config.settings(module.Config)}
        and (shape[0], shape[-1]) == (rows, module.Config().classes)
    )


NETS = [n for n in catalog.names("nets") if answers_with_classes(n)]


def settings(method):
    return catalog.find("explain", method).Config(**SMALL.get(method, {}))


def subject(name, regress=False, **options):
    """(task, net, batch of one row, question) for a net of this name; nothing about them is as a fresh net has it."""
    module = catalog.find("nets", name)
    known = {s.name for s in config.settings(module.Config)}
    extra = {"categories": (3, 2)} if "categories" in known else {}
    extra |= {"classes": 1} if regress else {}
    made = module.Config(**(SMALL_NETS.get(name, {}) | extra))
    random, columns = np.random.default_rng(0), {}
    if "image" in module.TAKES:
        shape = tuple(module.example()[0]["image"].shape[1:])
        pixels = random.integers(0, 256, (ROWS, *shape[1:], shape[0]), np.uint8)
        columns["image"] = Column(Field("image", "image", (), shape), Pictures.of_array(pixels))
    if "numbers" in module.TAKES:
        for i in range(made.numbers):
            values = random.normal(size=ROWS)
            values[3 + i] = np.nan
            columns[f"size {i}"] = Column(Field(f"size {i}", "number"), values)
        columns["town"] = Column(Field("town", "label", ("a", "b", "c")), random.integers(-1, 3, ROWS))
        columns["kind"] = Column(Field("kind", "label", ("p", "q")), random.integers(0, 2, ROWS))
    if regress:
        columns["y"] = Column(Field("y", "number"), random.normal(size=ROWS) + 5)
        options = {"log": False, "mean": 5.0, "std": 1.0, "low": 0.0, "high": 9.0}
    else:
        classes = tuple(f"<{i}>" for i in range(made.classes))
        columns["y"] = Column(Field("y", "label", classes), np.arange(ROWS) % made.classes)
    split = np.repeat([0, 1, 2], [8, 2, 2]).astype(np.int8)
    table = Table(columns, "made", "memory", np.array([f"row {i}" for i in range(ROWS)], object), "y", split)
    task = (Regress if regress else Classify)(columns["y"].field, options)
    torch.manual_seed(1)
    net = module.Net(made).train()
    for parameter in net.parameters():  # perceptrons begin at zero
        parameter.data += 0.05 * torch.randn_like(parameter)
        parameter.grad = torch.full_like(parameter, 0.25)
    next(iter(net.children())).eval()
    next(iter(net.parameters())).requires_grad_(False)
    net.register_forward_hook(lambda *_: None)
    question = Question(None, tuple(table.inputs), lambda: table)
    batch = task.prepare(batches_of(task, net, table, np.array([0]), question).slice(0, 1), training=False)
    return task, net, {k: v for k, v in batch.items() if k != "target"}, question


def state(net, batch):
    """All that a method could leave changed, as bytes and plain values."""
    hooks = [
        len(h)
        for m in net.modules()
        for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks, m._backward_pre_hooks)
    ]
    return {
        "weights": [(n, v.numpy().tobytes()) for n, v in net.state_dict().items()],
        "gradients": [None if p.grad is None else p.grad.numpy().tobytes() for p in net.parameters()],
        "learning": [p.requires_grad for p in net.parameters()],
        "modes": [m.training for m in net.modules()],
        "hooks": hooks,
        "compiled": [m._compiled_call_impl for m in net.modules()],
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "random": torch.get_rng_state().numpy().tobytes(),
        "batch": [(n, v.numpy().tobytes(), v.requires_grad) for n, v in batch.items()],
    }


def fits(method, name):
    takes = catalog.find("nets", name).TAKES
    if method in FROM_TEXTS:
        return "tokens" in takes
    if method == "gradcam" or method in FROM_PICTURES:
        return "image" in takes
    return "numbers" in takes if method == "columns" else True


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("method", METHODS)
def test_contract(method, name):
    task, net, batch, question = subject(name)
    module, before = catalog.find("explain", method), state(net, batch)
    if not fits(method, name):
        with pytest.raises(SettingError, match=r"try \w+\.$") as caught:
            module.explain(task, net, batch, question, settings(method))
        assert len(str(caught.value)) < 160 and state(net, batch) == before
        return
    found = module.explain(task, net, batch, question, settings(method))
    assert state(net, batch) == before
    assert found.method == method and re.fullmatch(r"y <\d>, \d+\.\d %", found.about) and found.summary.endswith(".")
    for key, values in found.arrays.items():
        assert values.dtype == (np.int64 if key == "rows" else np.float32) and np.isfinite(values).all(), key
        assert method == "layers" or f"{key} (" in module.explain.__doc__, key
    if "heat" in found.arrays:
        assert found.arrays["heat"].shape == batch["image"].shape[2:]
    if "gradient" in found.arrays:
        assert np.array_equal(found.arrays["heat"], np.abs(found.arrays["gradient"]).max(0))
    assert found.picture.mode == "RGB" and min(found.picture.size) >= 100 and np.asarray(found.picture).std() > 5
    again = module.explain(task, net, batch, question, settings(method))
    assert again.picture.tobytes() == found.picture.tobytes()
    assert all(np.array_equal(values, again.arrays[key]) for key, values in found.arrays.items())


@pytest.mark.parametrize("method", METHODS)
def test_source_is_cited_and_settings_are_explained(method):
    module = catalog.find("explain", method)
    assert re.search(r"\b(19|20)\d\d\b.*https://", inspect.getdoc(module), re.DOTALL)
    assert all(s.help for s in config.settings(module.Config))
    assert module.Config.__dataclass_params__.frozen


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("method", [m for m in METHODS if m not in FROM_TEXTS])
def test_a_net_that_fails_is_left_as_it_was(method, call):
    task, net, batch, question = subject("mlp" if method == "columns" else "resnet")
    calls, forward = [], net.classifier.forward

    def failing(*inputs):
        calls.append(1)
        if len(calls) == call:
            raise RuntimeError("no memory")
        return forward(*inputs)

    net.classifier.forward = failing
    before = state(net, batch)
    with torch.no_grad():
        with pytest.raises(RuntimeError, match="no memory"):
            catalog.find("explain", method).explain(task, net, batch, question, settings(method))
        assert not torch.is_grad_enabled()
    assert state(net, batch) == before


@pytest.mark.parametrize("compiling", ["in place", "wrapped"])
def test_compiled_nets_are_explained_layer_by_layer(compiling):
    task, net, batch, question = subject("lenet")
    gradcam = catalog.find("explain", "gradcam")
    expected = gradcam.explain(task, net, batch, question, gradcam.Config())
    whole = torch.compile(net, backend="eager") if compiling == "wrapped" else net
    if compiling == "in place":
        net.compile(backend="eager")
    before = state(net, batch)
    found = gradcam.explain(task, whole, batch, question, gradcam.Config())
    assert np.array_equal(found.arrays["cam"], expected.arrays["cam"]) and state(net, batch) == before


def test_taps_see_every_layer_in_order_and_give_what_they_are_told():
    _, net, batch, _ = subject("lenet")
    with _taps.untouched(net) as inner, _taps.recording(inner) as seen:
        inner(batch["image"])
    names = [s.name for s in seen]
    assert names[-1] == "" and names.index("features.0") < names.index("features") < names.index("classifier")
    assert _taps.last_map(seen, net.features).name == "features.7"  # behind it the maps are flattened
    value = torch.zeros(1, 10)
    with _taps.giving(net, value):
        assert net(batch["image"]) is value


@pytest.mark.parametrize("method", [m for m in METHODS if m not in FROM_TEXTS])
def test_a_number_is_explained(method):
    name = "mlp" if method == "columns" else "join"
    task, net, batch, question = subject(name, regress=True)
    found = catalog.find("explain", method).explain(task, net, batch, question, settings(method))
    assert re.fullmatch(r"y -?\d[\d.]*", found.about)
    with pytest.raises(SettingError, match="y is a number and has no classes"):
        other = Question(3, question.inputs, question.table)
        catalog.find("explain", method).explain(task, net, batch, other, settings(method))


@pytest.mark.parametrize("method", ["saliency", "smoothgrad", "gradcam", "occlusion"])
def test_a_task_that_mirrors_has_mirrored_heat(method):
    """Where the task answers from both mirrorings, the mirrored picture has the mirrored heat."""
    task, net, batch, question = subject("resnet", mirror=True)
    module, made = catalog.find("explain", method), settings(method)
    if method == "smoothgrad":
        made = module.Config(samples=1, noise=0.0)
    if method == "occlusion":
        made = module.Config(patch=8, stride=8)
    heat = module.explain(task, net, batch, question, made).arrays["heat"]
    turned = module.explain(task, net, {"image": batch["image"].flip(3)}, question, made).arrays["heat"]
    assert np.allclose(heat, turned[:, ::-1], atol=1e-5) and not np.allclose(heat, turned, atol=1e-5)


def test_class_settings_and_rows_that_do_not_fit_are_said():
    task, net, batch, question = subject("resnet")
    occlusion, saliency = (catalog.find("explain", m) for m in ("occlusion", "saliency"))
    with pytest.raises(SettingError, match="patch must be between 1 and 32, not 40"):
        occlusion.explain(task, net, batch, question, occlusion.Config(patch=40))
    with pytest.raises(SettingError, match=r"stride must be between 1 and 8, not 9\. A larger one leaves gaps"):
        occlusion.explain(task, net, batch, question, occlusion.Config(patch=8, stride=9))
    with pytest.raises(NameUnknown, match="no cover 'gray'; did you mean 'grey'"):
        occlusion.explain(task, net, batch, question, occlusion.Config(cover="gray"))
    with pytest.raises(SettingError, match="one row is explained at a time, not 2"):
        saliency.explain(task, net, {"image": batch["image"].repeat(2, 1, 1, 1)}, question, saliency.Config())
    with pytest.raises(SettingError, match="class 77 is not there; y has 10 classes"):
        saliency.explain(task, net, batch, Question(77), saliency.Config())
    neighbours = catalog.find("explain", "neighbours")
    with pytest.raises(SettingError, match="needs the rows that the net learned from"):
        neighbours.explain(task, net, batch, Question(), neighbours.Config())
    task, net, batch, question = subject("mlp")
    integrated = catalog.find("explain", "integrated_gradients")
    with pytest.raises(SettingError, match=r"baseline \(=white\) is for pictures"):
        integrated.explain(task, net, batch, question, integrated.Config(baseline="white"))


def test_names_from_data_are_shortened_and_drawn():
    bars = _draw.Bars("points", ["x" * 300, "normal"] * 15, [float(i) - 12 for i in range(30)])
    image = _draw.bars([bars], "title " * 100, "about\nin two lines")
    assert image.width <= 1000 and re.fullmatch(r"name x+\.\.\.x+ 17", _draw.shortened(f"name {'x' * 300} 17", 100, 14))
    assert [_draw.signed(v) for v in (0.01234, -3640.4, 0.0)] == ["+0.0123", "-3,640", "+0"]
    flat = _draw.heat(np.zeros((1, 8, 8)), np.zeros((8, 8)), "nothing", _draw.Heat("no heat", "score"))
    assert flat.size[0] > 300


@pytest.mark.parametrize("text", ["plain", "J\u00e9sus", "\u0436\u043e\u043d\u0430", "\u05d0", "\ud800"])
def test_the_first_font_that_has_all_signs_draws_a_text(text):
    """Pillow's own has no accents; what no font here has is drawn by it all the same."""
    has = [all(_draw._has(number, sign) for sign in text) for number in range(1 + len(_draw.SYSTEM))]
    assert _draw.font(14, text) is _draw._font(has.index(True) if any(has) else 0, 14)
    assert has[0] == text.isascii()
