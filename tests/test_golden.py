"""Packs and ONNX files of earlier versions keep opening, with the answers that they had (tests/golden/make.py made them)."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import lamina

FOLDER = Path(__file__).parent / "golden"
SUMS = json.loads((FOLDER / "sha256.json").read_text())
PACKS = sorted(n for n in SUMS if n.endswith(".safetensors"))


def test_no_golden_file_was_made_anew():
    found = {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in FOLDER.glob("*.[so][an]*") if p.suffix != ".json"
    }
    assert found == SUMS and all((FOLDER / n).stat().st_size < 50_000 for n in SUMS) and len(PACKS) >= 7


@pytest.mark.parametrize("name", PACKS)
def test_a_pack_opens_with_its_answers(name):
    """Other versions of torch add in another order: equal to 1e-4, and the same answers in words."""
    opened = lamina.load(FOLDER / name)
    from lamina.ship import _opened

    text, tensors, _ = _opened.read(FOLDER / name)
    told = {k.removeprefix("answer."): t.numpy() for k, t in tensors.items() if k.startswith("answer.")}
    given = opened.outputs(opened.examples)
    assert given.keys() == told.keys() and json.loads(text)["task"] == opened.content["task"]
    for key, wanted in told.items():
        scale = max(1.0, float(np.abs(wanted).max()))
        assert given[key].shape == wanted.shape and np.allclose(given[key], wanted, rtol=0, atol=1e-4 * scale)
    assert opened.score().value == json.loads(text)["score"]["value"]


@pytest.mark.parametrize("name", sorted(set(SUMS) - set(PACKS)))
def test_an_onnx_file_answers_as_its_pack(name):
    pack, opened = lamina.load(FOLDER / name.replace(".onnx", ".safetensors")), lamina.load(FOLDER / name)
    mine, theirs = pack.outputs(pack.examples), opened.outputs(pack.examples)
    assert mine.keys() == theirs.keys()
    for key, wanted in mine.items():
        scale = max(1.0, float(np.abs(wanted).max()))
        close = 1e-4 if wanted.dtype != np.float16 else 4e-4  # a pack rounds masks to half precision
        assert np.allclose(theirs[key], wanted.astype(theirs[key].dtype), rtol=0, atol=close * scale)


@pytest.mark.parametrize("name", ["order", "hidden"])
def test_nets_from_before_rotary_positions_learn_on_as_they_are(name):
    """Their files say nothing of them: the net has none, also where a training begins with its weights; new ones say so."""
    from lamina.train import weights

    given = weights.source(str(FOLDER / f"{name}.safetensors"))
    assert given.settings["rotary"] is False
    assert not any(getattr(m, "rotary", False) for m in lamina.load(FOLDER / f"{name}.safetensors").net.modules())


def test_what_learns_on_from_a_file_is_the_net_of_that_file(tmp_path):
    from lamina.api import prepare
    from lamina.train.plan import Wishes
    from lamina.train.recipe import Recipe

    rows = [
        f"the {'big ' * (i % 5)}{'dog' if i % 2 else 'cat'} number {i},{'dog' if i % 2 else 'cat'}\n" for i in range(60)
    ]
    (tmp_path / "said.csv").write_text("text,class\n" + "".join(rows))
    for given, rotary in ((None, True), (str(FOLDER / "order.safetensors"), False)):
        wishes = Wishes(net="transformer", recipe=Recipe(weights=given, steps=2))
        assert prepare(lamina.open(tmp_path / "said.csv"), wishes).plan.net_config["rotary"] is rotary
