"""doom: views of Freedoom's levels with exact truth: boxes, classes per pixel, depth. ViZDoom, Kempka 2016, arXiv:1605.02097

Up to 5,000 views of 320x240 pixels from all 68 levels of both Freedoom games, which come with the package vizdoom
(pip install 'lamina[made]'). A view stands where some object of the level stands and looks anywhere; nothing shoots. Train,
validation and test views share no level. Everything is keyed by (SEED, level, try) and made once (about five minutes of one
core), below $LAMINA_HOME/made or ~/.cache/lamina/made.
"""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _made
from lamina.data._dense import Masks
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Field, Reading, Table

SEED, VERSION = 0, 1
HEIGHT, WIDTH = 240, 320
LEVELS = [("freedoom2.wad", f"map{n:02}") for n in range(1, 33)] + [
    ("freedoom1.wad", f"e{episode}m{n}") for episode in range(1, 5) for n in range(1, 10)
]
VIEWS, TRIES = 74, 260  # kept of a level, and tried at most
NEAR, FLAT = 10, 0.08  # mean depth under which a view shows just a wall; least share of floor, ceiling and sky
BARE = 0.3  # share of the views without an object that is kept
LEAST = 60  # pixels of the rectangle around an object; smaller ones are part of the mask alone
OVERFLOW = 128  # depths from here on are a fault of the renderer very near the eye; the sky is 127
NAMES = {
    "zombie": "Zombieman ShotgunGuy ChaingunGuy WolfensteinSS",
    "imp": "DoomImp",
    "demon": "Demon Spectre LostSoul Cacodemon HellKnight BaronOfHell Arachnotron PainElemental Revenant Fatso Archvile "
             "SpiderMastermind Cyberdemon",
    "health": "Stimpack Medikit HealthBonus Soulsphere Berserk Megasphere",
    "armour": "ArmorBonus GreenArmor BlueArmor",
    "ammo": "Clip ClipBox Shell ShellBox RocketAmmo RocketBox Cell CellPack Backpack",
    "weapon": "Shotgun SuperShotgun Chaingun RocketLauncher PlasmaRifle BFG9000 Chainsaw",
    "barrel": "ExplosiveBarrel",
    "plant": "BigTree TorchTree Stalagtite",
    "lamp": "RedTorch GreenTorch BlueTorch ShortRedTorch ShortGreenTorch ShortBlueTorch TechLamp TechLamp2 Column Candlestick "
            "Candelabra",
}  # fmt: skip
CLASSES = tuple(NAMES)
CODES = {name: code for code, names in enumerate(NAMES.values()) for name in names.split()}
MASK = ("wall", "floor", *CLASSES, "other")
"""floor is also ceiling and sky"""


def claims(source: Any) -> bool:
    """Claims the name "doom", unless a file or folder has that name."""
    return isinstance(source, Path) and str(source) == "doom" and not source.exists()


def read(source: Any, reading: Reading) -> Table:
    """Columns image, boxes (the target), mask and depth (0 to 127, nearest to sky); every fourth level is test. Raises DataError."""
    path = _made.folder(f"doom-{VERSION}-{SEED}", _make)
    boxes, truth = _made.read(path)
    pictures, masks, depths = (_made.files(path, kind, len(boxes)) for kind in ("image", "mask", "depth"))
    columns = {
        "image": Column(Field("image", "image"), Pictures.of_files(pictures)),
        "boxes": Column(Field("boxes", "boxes", CLASSES), boxes),
        "mask": Column(Field("mask", "mask", MASK), Masks.of_files(masks)),
        "depth": Column(Field("depth", "picture"), Pictures.of_files(depths)),
    }
    count: dict[int, int] = {}
    names = []
    for level in truth["level"].tolist():
        count[level] = count.get(level, 0) + 1
        names.append(f"{LEVELS[level][1]} view {count[level]}")
    note = f"Views of Freedoom's levels, made from seed {SEED} by vizdoom; the levels of the splits are disjoint."
    return Table(
        columns, "doom", "doom", np.array(names, object), "boxes", truth["split"], "the fixed split of the levels",
        "BSD (Freedoom)", (note,), tried=len(boxes),
    )  # fmt: skip


def split_of(level: int) -> int:
    """0 train, 1 validation, 2 test: every fourth level is test, every eighth validation."""
    return 2 if level % 4 == 3 else 1 if level % 8 == 5 else 0


def _make(aside: Path) -> None:
    try:
        vizdoom: Any = importlib.import_module("vizdoom")
    except ImportError:
        raise DataError(
            "doom is drawn by the package vizdoom (39 MB, MIT): pip install vizdoom, or 'lamina[made]', brings it."
        ) from None
    writer, levels = _made.Writer(aside), []
    folder = Path(vizdoom.__file__).parent
    with tempfile.TemporaryDirectory() as own_files, contextlib.chdir(own_files):  # it writes its settings there
        for wad in dict.fromkeys(wad for wad, _ in LEVELS):
            game = _game(vizdoom, folder / wad, next(name for own, name in LEVELS if own == wad))
            try:
                for level, (own, name) in enumerate(LEVELS):
                    if own == wad:
                        views = _views(game, level, name)
                        writer.add(views.__getitem__, len(views))
                        levels += [level] * len(views)
            finally:
                game.close()
    split = np.array([split_of(level) for level in levels], np.int8)
    writer.finish(level=np.array(levels), split=split)


def _game(vizdoom: Any, wad: Path, first: str) -> Any:
    """A game without sound, window and messages."""
    game = vizdoom.DoomGame()
    game.set_doom_game_path(str(wad))
    game.set_doom_scenario_path(str(wad))
    game.set_doom_map(first)
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_320X240)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    for wanted in ("depth_buffer", "labels_buffer", "objects_info"):
        getattr(game, f"set_{wanted}_enabled")(True)
    for unwanted in ("hud", "weapon", "crosshair", "messages"):
        getattr(game, f"set_render_{unwanted}")(False)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_episode_timeout(1_000_000)
    game.set_seed(SEED)
    game.add_game_args("+sv_cheats 1 +con_midtime 0 +cl_showsecretmessage 0 +show_messages 0")
    game.set_available_buttons([vizdoom.Button.MOVE_FORWARD, vizdoom.Button.TURN_LEFT_RIGHT_DELTA])
    game.init()
    return game


def _views(game: Any, level: int, name: str) -> list[_made.Scene]:
    """The views of a level that show something."""
    random = np.random.default_rng([SEED, level])
    game.set_doom_map(name)
    game.new_episode()
    game.send_game_command("god")
    game.send_game_command("notarget")
    places = [(thing.position_x, thing.position_y) for thing in game.get_state().objects]
    found: list[_made.Scene] = []
    for _ in range(TRIES):
        x, y = places[random.integers(len(places))]
        turn, bare = random.uniform(-180, 180), random.random() < BARE
        game.send_game_command(f"warp {x:.0f} {y:.0f}")
        game.make_action([0, turn], 1)
        game.make_action([0, 0], 14)  # the eye is at its height again
        state = game.get_state()
        if state is None:  # the level was left
            game.new_episode()
            continue
        view = _view(state)
        if view and (bare or len(view["boxes"])):
            found.append(view)
        if len(found) == VIEWS:
            break
    return found


def _view(state: Any) -> _made.Scene | None:
    """image, mask, depth and boxes of a state; None where nothing but a wall is seen."""
    depth, labels = state.depth_buffer, state.labels_buffer
    if depth.mean() < NEAR or depth.max() >= OVERFLOW or (labels == 1).mean() < FLAT:
        return None
    mask, boxes = np.minimum(labels, 1).astype(np.uint8), []
    for thing in state.labels:
        code = CODES.get(thing.object_name, len(CLASSES))
        seen = labels == thing.value
        mask[seen] = code + 2
        sides = _made.bounds(seen)
        if sides and code < len(CLASSES) and (sides[2] - sides[0]) * (sides[3] - sides[1]) * HEIGHT * WIDTH >= LEAST:
            boxes.append((*sides, code))
    array = np.array(boxes, np.float32).reshape(-1, 5)
    return {"image": state.screen_buffer.copy(), "mask": mask, "depth": depth.copy(), "boxes": array}
