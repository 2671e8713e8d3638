"""Small tables and pictures that several tests use; all made by a seed."""

import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import lamina
from lamina import api
from lamina.core.run import Run
from lamina.train import ways

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _in_one_precision():
    """Where a time is asked for, which precision is faster is found by the clock: two trainings could differ in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ways, "bfloat16_pays", lambda where: False)
        yield


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAMINA_STORE", str(tmp_path / "store"))
    yield
    torch.set_num_threads(1)  # a training leaves those it chose, and two threads round otherwise than one


@pytest.fixture
def people():
    """200 rows: a number that tells the label, a category, a gap, an identifier."""
    random = np.random.default_rng(0)
    age = random.normal(40, 12, 200).round(1)
    town = random.choice(["Ulm", "Bonn", "Jena"], 200)
    label = np.where(age + 10 * (town == "Ulm") + random.normal(0, 3, 200) > 42, "old", "young")
    frame = pd.DataFrame({"id": np.arange(200), "age": age, "town": town, "class": label})
    frame.loc[::17, "age"] = np.nan
    return frame


@pytest.fixture
def photos(tmp_path):
    """A folder of 2 classes with 24 pictures each: red above and blue above."""
    random = np.random.default_rng(1)
    folder = tmp_path / "photos"
    for name, first in (("red", 0), ("blue", 2)):
        (folder / name).mkdir(parents=True)
        for i in range(24):
            array = random.integers(0, 90, (20, 24, 3), np.uint8)
            array[:10, :, first] += 150
            Image.fromarray(array).save(folder / name / f"{name}{i}.png")
    return folder


@pytest.fixture
def same_after_a_kill(tmp_path, monkeypatch):
    """check(table, wishes, again): a training that is cut off without saving, and resumed, ends in the bits of a whole one."""
    monkeypatch.setattr("lamina.train.engine.SAVE_VALIDATED", 0.0)
    monkeypatch.setattr("lamina.train.ways.REPEATED", 1e9)  # always the usual way: bits are compared

    def check(table, wishes, again=None):
        whole, seen = api.train(table, wishes, tmp_path / "whole"), []

        def killed():
            seen.append(1)
            if len(seen) > 2:
                raise SystemError("killed")  # at once: nothing is validated or saved after it

        with pytest.raises(SystemError, match="killed"):
            api.train(table, wishes, tmp_path / "cut", stop=killed)
        resumed = api.resume(tmp_path / "cut", again)
        assert 0 < resumed.run.history("resumed")[0]["step"] < wishes.recipe.steps
        for name, value in whole.net.state_dict().items():
            assert torch.equal(value, resumed.net.state_dict()[name]), name
        assert whole.score().numbers == pytest.approx(resumed.score().numbers, rel=0, abs=0, nan_ok=True)

    return check


KILLS = """
import os, pathlib, random, signal, sys, threading, time

folder = pathlib.Path(sys.argv[1])

def kill():
    while len(list((folder / "state").glob("*"))) < 2:
        time.sleep(0.01)
    time.sleep(random.Random(0).random() * 0.3)
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[-1] == "kill":
    threading.Thread(target=kill, daemon=True).start()
from lamina import api
from lamina.train import engine, ways
engine.TICK = engine.SAVE = engine.SAVE_VALIDATED = 0.0
"""


@pytest.fixture
def same_after_sigkill(tmp_path):
    """check(trains, resumes, *words): code that trains in `folder`, a real process killed at a random moment; sys.argv[2:] are `words`."""

    def run(code, name, *words):
        command = [sys.executable, "-c", code, str(tmp_path / name), *words]
        return subprocess.run(command, check=False, capture_output=True).returncode

    def check(trains, resumes, *words):
        assert run(KILLS + trains, "whole", *words) == 0
        assert run(KILLS + trains, "part", *words, "kill") == -signal.SIGKILL
        assert not (tmp_path / "part" / "score.json").exists()
        assert run(KILLS + resumes, "part", *words) == 0
        for name in ("best.safetensors", "score.json"):
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "part" / name).read_bytes()

    return check


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A prepared tiny training of digits: (prepared, run, task, net)."""
    monkeypatch.setattr("lamina.train.ways.REPEATED", 1e9)  # always the usual way: bits are compared
    from lamina.api import prepare
    from lamina.train import plan as planning
    from lamina.train.plan import Wishes
    from lamina.train.recipe import Recipe

    table = lamina.open("digits")
    rows = np.concatenate([table.rows(0)[::50], table.rows(1)[::20], table.rows(2)[::40]])
    settings = {"width": "4", "blocks": "1,1"}

    def make(folder="run", **recipe):
        wishes = Wishes(net="resnet", net_settings=settings, recipe=Recipe(**{"epochs": 3, "batch": 16, **recipe}))
        prepared = prepare(table.take(rows), wishes)
        run = Run.create(tmp_path / folder)
        run.write_json("config.json", {"plan": prepared.plan.to_json()})
        task, net = planning.build(prepared.plan, prepared.table, torch.device("cpu"))
        return prepared, run, task, net

    return make


def shapes(count, side=64, seed=0):
    """Pictures with one to three discs and bars on noise, and their boxes."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 70, (count, side, side, 3), np.uint8)
    boxes = np.empty(count, object)
    y, x = np.mgrid[:side, :side]
    for i in range(count):
        own = []
        for k in range(random.integers(1, 4)):
            kind, size = int(random.integers(2)), int(random.integers(12, 24))
            left, top = (20 * k + random.integers(0, 2), random.integers(0, side - size))
            size = min(size, side - left)
            if kind == 0:
                seen = (x - left - size / 2 + 0.5) ** 2 + (y - top - size / 2 + 0.5) ** 2 <= (size / 2) ** 2
            else:
                seen = (x >= left) & (x < left + size) & (y >= top) & (y < top + size // 2)
            image[i][seen] = (220, 60, 40) if kind == 0 else (40, 90, 230)
            ys, xs = np.nonzero(seen)
            own.append([xs.min() / side, ys.min() / side, (xs.max() + 1) / side, (ys.max() + 1) / side, kind])
        boxes[i] = np.array(own, np.float32)
    return image, boxes
