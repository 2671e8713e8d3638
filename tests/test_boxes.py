"""Boxes as a column: coded, hashed, padded; and moving with the picture they lie in."""

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.data._augment import Augment, moved_boxes, named
from lamina.data._batches import Batches
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Field, Table

CLASSES = ("cup", "dog")


def table_of(*boxes, classes=CLASSES):
    values = np.empty(len(boxes), object)
    values[:] = [None if b is None else np.array(b, np.float32).reshape(-1, 5) for b in boxes]
    image = np.zeros((len(boxes), 8, 12, 3), np.uint8)
    columns = {
        "image": Column(Field("image", "image", shape=(3, 8, 12)), Pictures.of_array(image)),
        "boxes": Column(Field("boxes", "boxes", classes), values),
    }
    return Table(columns, "made", "memory", np.array([f"row {i}" for i in range(len(boxes))], object), "boxes")


ONE, TWO = [0.1, 0.2, 0.5, 0.6, 1], [0.3, 0.3, 0.9, 0.8, 0]


def test_rows_taken_hashed_and_missing():
    table = table_of([ONE], [], None, [ONE, TWO])
    assert table["boxes"].missing().tolist() == [False, False, True, False]
    part = table.take(np.array([3, 1]))
    assert [len(b) for b in part["boxes"].values] == [2, 0]
    prints = {
        table_of(*rows).fingerprint()
        for rows in ([[ONE], [TWO]], [[ONE, TWO], []], [[], [ONE, TWO]], [None, [ONE, TWO]])
    }
    assert len(prints) == 4 and table.fingerprint() == table_of([ONE], [], None, [ONE, TWO]).fingerprint()


def test_conform_codes_classes_anew_and_leaves_unknown_ones_out():
    table = table_of([ONE, TWO], [TWO])
    made = table.conform([Field("boxes", "boxes", ("ant", "dog"))])["boxes"]
    assert [b[:, 4].tolist() for b in made.values] == [[1.0], []]
    assert np.allclose(made.values[0][0, :4], ONE[:4])
    assert table["boxes"].values[0][:, 4].tolist() == [1.0, 0.0]  # the table's own are not changed


def test_batches_pad_with_class_minus_one_and_know_the_size():
    table = table_of([ONE, TWO], [], [TWO])
    batches = Batches(table, table.inputs, table["boxes"].field, torch.device("cpu"))
    batch = batches.get(torch.tensor([1, 0]))
    assert batch["target"].shape == (2, 2, 5) and batch["target"][..., 4].tolist() == [[-1, -1], [1, 0]]
    assert batch["size"].tolist() == [[8, 12], [8, 12]]


def test_stretched_pictures_keep_what_cropped_ones_lose(tmp_path):
    pixels = np.zeros((30, 90, 3), np.uint8)
    pixels[:, :10] = 255  # a white bar that a centre crop cuts off
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    pictures = Pictures.of_files([tmp_path / "wide.png"])
    packs = {fit: pictures.pack((3, 30, 30), tmp_path / "store", fit) for fit in ("crop", "stretch")}
    assert packs["crop"].max() < 10 and packs["stretch"][0, :, :, :3].min() > 200
    assert np.array_equal(pictures.pack((3, 30, 30), None, "stretch"), packs["stretch"])
    assert len(list((tmp_path / "store").glob("*.npy"))) == 2


@pytest.mark.parametrize("augment", [
    Augment(), named("shift"), named("flip"), named("flip+crop"), Augment(scale=0.3), Augment(flip=True, crop=0.6),
    Augment(flip=True, shift=0.2, scale=0.2, crop=0.3),
], ids=str)  # fmt: skip
def test_boxes_move_with_the_picture(augment):
    """Against brute force: a box is painted, the picture changed, and the painted pixels are looked up."""
    random, count, height, width = np.random.default_rng(0), 200, 48, 64
    image, boxes = np.zeros((count, 1, height, width), np.uint8), np.zeros((count, 2, 5), np.float32)
    for i in range(count):
        x0, y0 = random.integers(4, width - 24), random.integers(4, height - 20)
        x1, y1 = x0 + random.integers(6, 20), y0 + random.integers(6, 16)
        image[i, 0, y0:y1, x0:x1] = 255
        boxes[i] = [[x0 / width, y0 / height, x1 / width, y1 / height, 3], [0, 0, 0, 0, -1]]
    rows = torch.arange(count)
    key = (5, torch.zeros_like(rows), rows)
    changed = augment(torch.from_numpy(image), *key).float()
    moved = moved_boxes(torch.from_numpy(boxes), augment.source(height, width, *key))
    assert (moved[:, 1, 4] == -1).all()
    kept = 0
    for i in range(count):
        ys, xs = np.nonzero(changed[i, 0].numpy() > 127)
        if moved[i, 0, 4] < 0:
            assert len(ys) <= 0.5 * 1.8**2 * (image[i] > 0).sum()
            continue
        kept += 1
        x0, y0, x1, y1 = (moved[i, 0, :4] * torch.tensor([width, height, width, height])).tolist()
        assert np.abs(np.array([x0, y0, x1, y1]) - [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).max() <= 1.01
    assert kept > 0.7 * count


def test_turned_boxes_hold_the_whole_object():
    rows = torch.arange(50)
    image = torch.zeros(50, 1, 64, 64)
    image[:, :, 28:36, 20:44] = 255
    augment, key = Augment(rotate=45.0), (1, torch.zeros_like(rows), rows)
    changed = augment(image.to(torch.uint8), *key)
    boxes = torch.tensor([20 / 64, 28 / 64, 44 / 64, 36 / 64, 0.0]).expand(50, 1, 5)
    moved = moved_boxes(boxes, augment.source(64, 64, *key))[:, 0, :4] * 64
    for picture, box in zip(changed, moved, strict=True):
        ys, xs = (picture[0] > 127).nonzero(as_tuple=True)
        assert box[0] <= xs.min() + 1 and box[1] <= ys.min() + 1 and box[2] >= xs.max() and box[3] >= ys.max()
        assert box[2] - box[0] <= xs.max() - xs.min() + 5
