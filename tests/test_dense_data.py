"""Values per pixel as columns: masks and pictures as targets, packed like the pictures beside them, moved with them."""

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.core.errors import DataError
from lamina.data import _dense
from lamina.data._augment import Augment
from lamina.data._batches import Batches
from lamina.data._dense import Floats, Masks
from lamina.data._pictures import Pictures
from lamina.data._table import IGNORE, Column, Field, Table

CPU = torch.device("cpu")


def scenes(rows=6, height=24, width=36, seed=0):
    """Pictures with a rectangle of colour 40 * class on 0, masks of them, and a depth that is the class times 0.5."""
    random = np.random.default_rng(seed)
    codes = np.zeros((rows, height, width), np.uint8)
    for i in range(rows):
        top, left = random.integers(0, height // 2), random.integers(0, width // 2)
        codes[i, top : top + height // 3, left : left + width // 3] = 1 + i % 3
    return (codes * 40)[..., None].repeat(3, 3), codes, codes.astype(np.float32) * 0.5


def table_of(classes=("none", "a", "b", "c")):
    image, codes, depth = scenes()
    columns = {
        "image": Column(Field("image", "image"), Pictures.of_array(image)),
        "mask": Column(Field("mask", "mask", classes), Masks.of_array(codes)),
        "depth": Column(Field("depth", "picture"), Floats.of_array(depth)),
    }
    return Table(columns, "scenes", "memory", np.array([f"scene {i}" for i in range(len(codes))], object), "mask")


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("stored", [False, True])
def test_targets_are_packed_as_the_pictures_are(tmp_path, fit, stored):
    table = table_of()
    image = Field("image", "image", shape=(3, 12, 12), fit=fit)
    cache = tmp_path if stored else None
    for name in ("mask", "depth"):
        target = Field(name, table[name].field.kind, table[name].field.classes, shape=(1, 12, 12), fit=fit)
        found = Batches(table, [image], target, CPU, cache)
        again = Batches(table, [image], target, CPU, cache)
        batch = found.get(torch.arange(6))
        seen = batch["image"][:, 0].float() / 40
        wanted = batch["target"].float() if name == "mask" else 2 * batch["target"][:, 0]
        assert batch["target"].dtype == (torch.uint8 if name == "mask" else torch.float32)
        sure = (seen - seen.round()).abs() < 0.02  # away from edges, where the picture is blurred
        assert float(sure.float().mean()) > 0.6 and float((seen.round() == wanted)[sure].float().mean()) > 0.97
        assert set(wanted.unique().tolist()) <= {0, 1, 2, 3}
        assert torch.equal(again.get(torch.arange(6))["target"], batch["target"])


def test_streamed_targets_are_the_same_bits(tmp_path):
    table = table_of()
    image = Field("image", "image", shape=(3, 12, 12), fit="stretch")
    for name in ("mask", "depth"):
        target = Field(name, table[name].field.kind, table[name].field.classes, shape=(1, 12, 12), fit="stretch")
        kept, read = (Batches(table, [image], target, CPU, tmp_path, resident=r) for r in (True, False))
        assert set(read.streams) == {"image", "target"} and not read.tensors
        rows = torch.tensor([4, 0, 5])
        read.ahead(rows)
        for one, other in ((kept.get(rows), read.get(rows)), (kept.slice(2, 5), read.slice(2, 5))):
            assert all(torch.equal(one[k], other[k]) and one[k].dtype == other[k].dtype for k in ("image", "target"))


def test_a_picture_that_is_its_own_target_lies_in_memory_once(tmp_path):
    image, _, _ = scenes()
    pictures = Pictures.of_array(image)
    columns = {n: Column(Field(n, n), pictures) for n in ("image", "picture")}
    table = Table(columns, "scenes", "memory", np.arange(6).astype(object), "picture")
    fields = [Field(n, n, shape=(3, 12, 12), fit="stretch") for n in ("image", "picture")]
    batches = Batches(table, fields[:1], fields[1], CPU, tmp_path)
    assert batches.tensors["image"] is batches.tensors["target"]


def test_masks_are_conformed_by_name_and_unknown_classes_are_ignored():
    table = table_of()
    wanted = Field("mask", "mask", ("b", "none", "a"))
    codes = table.conform([wanted])["mask"].values.take(np.arange(6))
    before, after = (np.stack([m.open(i) for i in range(6)]) for m in (table["mask"].values, codes))
    for old, new in ((0, 1), (1, 2), (2, 0), (3, IGNORE)):
        assert (after[before == old] == new).all()


def test_fingerprints_tell_contents_classes_and_codes_apart():
    table = table_of()
    renamed = table_of(("none", "x", "b", "c"))
    swapped = table.with_column(Column(table["mask"].field, table["mask"].values.recoded(np.arange(256)[::-1])))
    prints = {t.fingerprint() for t in (table, renamed, swapped, table.take(np.arange(5)))}
    assert len(prints) == 4 and table.fingerprint() == table_of().fingerprint()
    assert len(table.take(np.array([2, 2]))["depth"].values) == 2


def test_files_hold_indices_grey_values_or_colours(tmp_path):
    codes = scenes(1)[1][0]
    palette = Image.fromarray(codes, "P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255] + [0] * 756)
    palette.save(tmp_path / "index.png")
    Image.fromarray(codes * 50).save(tmp_path / "grey.png")
    palette.convert("RGB").save(tmp_path / "colour.png")
    for name, values in (("index", (0, 1, 2)), ("grey", (0, 50, 100)), ("colour", (0, 0xFF0000, 0x00FF00))):
        masks = Masks.of_files([tmp_path / f"{name}.png"], values, (0, 1, 2))
        assert (masks.open(0)[..., 0] == codes).all(), name
        assert _dense.is_coloured(tmp_path / f"{name}.png") == (name == "colour")
    unknown = Masks.of_files([tmp_path / "grey.png"], (0, 100), (0, 1)).open(0)[..., 0]
    assert (unknown[codes == 1] == IGNORE).all() and (unknown[codes == 0] == 0).all()
    (tmp_path / "no.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"no\.png"):
        Masks.of_files([tmp_path / "no.png"]).open(0)
    np.save(tmp_path / "depth.npy", np.full((4, 6), 2.5))
    assert Floats(None, np.array([str(tmp_path / "depth.npy")], object)).open(0).shape == (4, 6, 1)


CHANGES = [Augment(flip=True), Augment(shift=0.2), Augment(flip=True, shift=0.1, color=0.5), Augment(rotate=20.0),
           Augment(scale=0.3, shift=0.1), Augment(crop=0.5), Augment(flip=True, rotate=9.0, scale=0.2, crop=0.3, erase=0.2)]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_targets_move_with_their_pictures(change):
    """A picture that shows its mask in grey shows the moved mask when it is moved, away from blended edges."""
    _, codes, _ = scenes(64, 40, 56, seed=3)
    image = torch.from_numpy(codes)[:, None] * 60
    plain = Augment(**{**change.__dict__, "color": 0.0, "erase": 0.0})
    for passes in (0, 5):
        key = (7, torch.full((64,), passes), torch.arange(64) * 13)
        moved, beside = plain(image, *key), change.alongside(torch.from_numpy(codes), *key)
        depth = change.alongside(torch.from_numpy(codes)[:, None].float() * 0.5, *key)
        smooth = change.alongside(image, *key, smooth=True)
        assert beside.dtype == torch.uint8 and torch.equal(depth[:, 0] * 2, beside.float())
        assert torch.equal(smooth.float(), moved.float())
        shown = moved[:, 0].float() / 60
        sure = (shown - shown.round()).abs() < 1e-3
        right = (shown.round() == beside)[sure].float().mean()  # a blend of 0 and 3 may look like 1
        assert float(sure.float().mean()) > 0.8 and float(right) > 0.998
    still = (beside == torch.from_numpy(codes)).flatten(1).all(1).float().mean()
    assert float(still) < 0.7  # it did move
