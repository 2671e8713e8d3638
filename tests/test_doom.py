"""doom with a made-up game in the place of vizdoom: what is kept of a view, and that no level is in two splits."""

import sys
import types

import numpy as np
import pytest
from PIL import Image

import lamina
from lamina.core.errors import DataError
from lamina.data import _made, doom


class Thing:
    def __init__(self, name, value):
        self.object_name, self.value, self.position_x, self.position_y = name, value, 10.0 * value, 5.0


class Game:
    """Shows an imp and an unknown thing, and now and then just a wall."""

    def __init__(self):
        self.frame, self.commands = 0, []

    def __getattr__(self, name):
        if name.startswith(("set_", "add_", "init", "new_episode", "close")):
            return lambda *_: None
        raise AttributeError(name)

    def send_game_command(self, command):
        self.commands.append(command)

    def make_action(self, *_):
        self.frame += 1

    def get_state(self):
        labels = np.zeros((doom.HEIGHT, doom.WIDTH), np.uint8)
        labels[200:] = 1
        depth = np.full(labels.shape, 5 if self.frame % 3 == 0 else 40, np.uint8)
        left = 10 + self.frame % 50
        labels[100:140, left : left + 20], labels[150:160, 200:220] = 7, 9
        things = [Thing("DoomImp", 7), Thing("SomethingElse", 9)]
        image = np.full((*labels.shape, 3), 90, np.uint8)
        return types.SimpleNamespace(
            depth_buffer=depth, labels_buffer=labels, screen_buffer=image, labels=things, objects=things
        )


@pytest.fixture
def game(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(doom, "VIEWS", 2)
    one = types.SimpleNamespace()
    fake = types.SimpleNamespace(
        __file__=str(tmp_path / "vizdoom" / "__init__.py"), DoomGame=Game, Mode=types.SimpleNamespace(PLAYER=one),
        ScreenResolution=types.SimpleNamespace(RES_320X240=one), ScreenFormat=types.SimpleNamespace(RGB24=one),
        Button=types.SimpleNamespace(MOVE_FORWARD=one, TURN_LEFT_RIGHT_DELTA=one),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "vizdoom", fake)


def test_views_hold_what_the_game_says(game):
    table = lamina.open("doom")
    assert len(table) == 2 * len(doom.LEVELS) == 136 and table.target == "boxes"
    assert [int((table.split == s).sum()) for s in range(3)] == [2 * n for n in (43, 8, 17)]
    levels = [str(name).split()[0] for name in table.names]
    for level in set(levels):
        assert len({int(s) for s, own in zip(table.split, levels, strict=True) if own == level}) == 1
    folder = _made.home() / "made" / f"doom-{doom.VERSION}-{doom.SEED}"
    for row in (0, 77):
        mask = table["mask"].values.open(row)[..., 0]
        assert [doom.MASK[c] for c in np.unique(mask)] == ["wall", "floor", "imp", "other"]
        ys, xs = np.nonzero(mask == doom.MASK.index("imp"))
        wanted = [xs.min() / 320, ys.min() / 240, (xs.max() + 1) / 320, (ys.max() + 1) / 240, doom.CLASSES.index("imp")]
        assert np.allclose(table["boxes"].values[row], [wanted])
        assert np.asarray(Image.open(folder / "depth" / f"{row:05}.png")).min() == 40  # walls alone are left out


def test_without_the_package_it_says_what_brings_it(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(DataError, match="pip install vizdoom"):
        lamina.open("doom")
