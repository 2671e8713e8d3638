"""Compiled code: it learns what the net's own operations learn, only where it pays; answers are computed without it."""

import copy
import sys

import pytest
import torch

import lamina
from lamina import api
from lamina.data._batches import Batches
from lamina.nets import _dense, gpt, mlp
from lamina.nets._rows import rows
from lamina.train import compiled, ways
from lamina.train import plan as planning
from lamina.train.step import Feed, Step
from lamina.train.ways import Way

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(not compiled.compiler(), reason="no C++ compiler here")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of torch, compiling


@needs_compiler
def test_rows_are_summed_in_order():
    table, numbers = torch.nn.Embedding(5, 3), torch.tensor([[1, 4], [1, 1]])
    found = torch.compile(rows)(table, numbers)
    assert torch.equal(found, table(numbers))
    (of_table,) = torch.autograd.grad((found * torch.arange(1.0, 5).view(2, 2, 1)).sum(), table.weight)
    assert of_table[:, 0].tolist() == [0, 1 + 3 + 4, 0, 0, 2]


def net_of(**settings):
    torch.manual_seed(0)
    return gpt.Net(
        gpt.Config(**{"vocabulary": 20, "length": 8, "width": 16, "depth": 1, "heads": 2, **settings})
    ).train()


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{n} bottles of beer on the wall, take {n % 7} down.\n" for n in range(1500)))
    return path


def parts(text, **recipe):
    """Task, net, feed and what makes steps for a small GPT."""
    wishes = api.Wishes(
        net="gpt", net_settings={"width": "16", "depth": "1", "heads": "2"}, recipe=api.Recipe(batch=8, **recipe)
    )
    prepared = api.prepare(lamina.open(text, context=8), wishes)
    task, net = planning.build(prepared.plan, prepared.table, CPU)
    train = prepared.table.take(prepared.table.rows(0)[:64])
    feed = Feed(task, Batches(train, prepared.plan.inputs, prepared.plan.target, CPU), prepared.plan.recipe)
    return prepared, net.train(), feed, lambda other: Step(task, other, prepared.plan.recipe)


@needs_compiler
def test_it_is_tried_where_it_pays():
    net = net_of()
    assert compiled.suits(net, True, CPU, compiled.MINUTES)
    assert not compiled.suits(net, True, CPU, 0.9 * compiled.MINUTES)
    assert not compiled.suits(net, True, CPU, None)  # epochs or steps, which another machine should repeat
    assert not compiled.suits(net, False, CPU, 60.0)  # sentences: every length would be compiled
    assert not compiled.suits(mlp.Net(mlp.Config()), True, CPU, 60.0)
    assert compiled.told(net, True, CPU, 60.0) and not compiled.told(net, True, CPU, 1.0)


@pytest.mark.parametrize("missing", ["g++", "openssl", "clang++"])
def test_without_its_tools_it_is_not(missing, monkeypatch):
    if sys.platform != "linux" and missing == "g++":
        pytest.skip("another compiler there")
    found = {"g++": missing != "g++", "clang++": False, "openssl": missing != "openssl"}
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compiled.shutil, "which", lambda name: name if found[name] else None)
    monkeypatch.setattr(compiled.Path, "exists", lambda path: path.name == "Python.h")
    assert compiled.compiler() == (missing == "clang++" and sys.platform == "linux")
    monkeypatch.setattr(compiled.Path, "exists", lambda path: False)
    assert not compiled.compiler()


@needs_compiler
@pytest.mark.parametrize("style,low", [("gpt2", False), ("gpt2", True), ("modern", False), ("modern", True)])
def test_it_learns_what_the_net_learns(style, low, monkeypatch):
    monkeypatch.setattr(_dense, "LARGE", 24)  # all ways of a gradient are gone
    net, tokens = net_of(style=style), torch.randint(20, (4, 8))
    other = copy.deepcopy(net)
    compiled.turn(other, True)
    grads = []
    for one in (net, other):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            logits = one(tokens)
        torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten()).backward()
        grads.append([logits.detach().float(), *(p.grad for p in one.parameters())])
    assert compiled.failed(other) == ""
    for found, told in zip(*grads, strict=True):
        assert (found - told).norm() <= (0.03 if low else 1e-5) * told.norm()
    vars(other)["_compiled_call_impl"].fused = None  # would fail: answers are not computed by it
    with pytest.raises(TypeError):
        other(tokens)
    with torch.no_grad():
        assert torch.equal(other(tokens), net(tokens))
    assert torch.equal(other.eval()(tokens), net.eval()(tokens))
    compiled.turn(other.train(), False)
    assert torch.equal(other(tokens), net.train()(tokens))


def code_of(made, *given):
    """What compiled code answers and its text, forward and back; gradients are left where they belong."""
    from torch._inductor.utils import run_and_get_code

    def both():
        found = torch.compile(made)(*given)
        found.float().square().sum().backward()
        return found.detach()

    return run_and_get_code(both)


@needs_compiler
@pytest.mark.parametrize("kind,off", [(torch.float32, 1e-6), (torch.bfloat16, 2**-8)])
def test_gelu_is_what_its_definition_says_and_its_derivative_is_kept(kind, off):
    x = torch.linspace(-9, 9, 1920).view(3, 640).to(kind).requires_grad_()
    found, code = code_of(_dense.gelu, x)
    wide = x.detach().double().requires_grad_()
    told = torch.nn.functional.gelu(wide)
    (of_told,) = torch.autograd.grad(told, wide, 2 * found.double())
    assert torch.allclose(found.double(), told, rtol=off, atol=3e-6)
    assert torch.allclose(x.grad.double(), of_told, rtol=3 * off, atol=3e-6)
    assert len(code) == 2
    if kind == torch.bfloat16:
        assert sum(text.count(".exp()") for text in code) == 1


@needs_compiler
@pytest.mark.parametrize("ins,outs", [(32, 64), (64, 32)])
def test_large_gradients_are_products_of_what_lies_in_rows(ins, outs, monkeypatch):
    """A copy of the smaller side has the tokens last in memory; the gradient lies there as the weight does."""
    monkeypatch.setattr(_dense, "LARGE", 64)
    layer, x = _dense.Linear(ins, outs), torch.randn(2, 48, ins, requires_grad=True)
    other = copy.deepcopy(layer)
    with torch.autocast("cpu", torch.bfloat16):
        found, code = code_of(layer, x)
        told = other(x)
    told.float().square().sum().backward()
    assert (found - told).norm() < 0.01 * told.norm()
    for ours, theirs in zip(layer.parameters(), other.parameters(), strict=True):
        assert (ours.grad - theirs.grad).norm() < 0.01 * theirs.grad.norm()
    assert len(code) == 2 and "empty_strided_cpu((32, 96), (96, 1), torch.bfloat16)" in "".join(code)
    assert f"empty_strided_cpu(({outs}, {ins}), ({ins}, 1), torch.float32)" in code[1]


def test_the_faster_way_is_taken_and_threads_that_change_end_it(text, monkeypatch):
    _, net, feed, make = parts(text, minutes=10.0)
    seconds = {(1, False): 1.0, (2, False): 0.9, (1, True): 0.5, (2, True): 0.6}
    monkeypatch.setattr(ways, "_measure", lambda way, *_, **__: ways.Measured(way, seconds[way.threads, way.compiled]))
    monkeypatch.setattr(compiled, "compiler", lambda: True)

    def chosen(now=None):
        best, *others = ways.choose(net, make, feed, 0.1, 2, now, 10.0)
        return best.way.threads, best.way.compiled, sorted((m.way.threads, m.way.compiled) for m in (best, *others))

    assert chosen() == (2, True, [(1, False), (2, False), (2, True)])
    assert chosen(Way(2, compiled=True)) == (2, True, [(1, False), (2, False), (2, True)])
    seconds[1, False] = 0.1  # another program holds a core
    assert chosen(Way(2, compiled=True)) == (1, False, [(1, False), (2, False)])
    seconds.update({(1, False): 1.0, (2, True): 0.89})
    assert chosen()[:2] == (2, False)
    assert chosen(Way(2))[2] == [(1, False), (2, False)]
    for minutes in (None, 1.0):  # `lamina look`; a short budget
        assert not any(m.way.compiled for m in ways.choose(net, make, feed, 0.1, 2, None, minutes))


@pytest.mark.parametrize("kind", ["TorchDynamoException", "AttributeError"])
def test_code_that_cannot_be_made_is_told_and_learning_goes_on(kind, text, monkeypatch):
    """As when a run goes on where there is no compiler, or another torch."""
    from torch._dynamo import exc

    def fails(*_, **__):
        raise getattr(exc, kind, AttributeError)("no compiler\nmore lines")

    _, net, feed, make = parts(text, minutes=10.0)
    monkeypatch.setattr(torch, "compile", lambda *_, **__: fails)
    losses = []
    for way in (Way(1), Way(1, compiled=True)):
        step = make(copy.deepcopy(net))
        way.apply(step)
        losses.append(torch.stack([step(feed(n), n, 0.1) for n in range(3)]))
    assert torch.equal(*losses) and compiled.failed(step.net) == "no compiler"
    monkeypatch.setattr(compiled, "compiler", lambda: True)
    monkeypatch.setattr(ways, "PAID", 0.0)  # it would be taken if it could be made
    assert not ways.choose(net, make, feed, 0.1, 1, None, 10.0)[0].way.compiled


def test_a_home_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(compiled.Path, "home", lambda: tmp_path / "file")
    net = net_of()
    compiled.turn(net, True)
    assert net(torch.randint(20, (2, 8))).requires_grad and "directory" in compiled.failed(net)


TRAINS = """
engine.choose = lambda *_: [ways.Measured(ways.Way(2, compiled=True), 0.01)]  # one thread meets no other
settings = {"width": "32", "depth": "1", "heads": "2"}
wishes = api.Wishes(net="gpt", net_settings=settings, recipe=api.Recipe(steps=120, batch=16))
api.train(api.open(sys.argv[2], context=32), wishes, folder)
"""
RESUMES = "api.resume(folder, api.open(sys.argv[2], context=32))"


@needs_compiler
def test_killed_and_resumed_ends_in_the_same_bits_and_no_graph_is_kept(text, tmp_path, monkeypatch, same_after_sigkill):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    same_after_sigkill(TRAINS, RESUMES, str(text))
    folder = tmp_path / ".cache" / "lamina" / "compiled"
    kept = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert {".so", ".gch"} <= kept <= {".so", ".gch", ".h", ".cpp", ".py", ".lock"}
    assert folder.stat().st_mode & 0o077 == 0
    made = [path.read_text() for path in folder.rglob("*.cpp")]
    assert made and not any("atomic_add(" in code for code in made)  # threads that add where they meet
