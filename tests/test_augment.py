"""Random changes: each does what it says, and depends on nothing but seed, pass and row."""

import math

import numpy as np
import pytest
import torch

from lamina.core.errors import NameUnknown, SettingError
from lamina.data._augment import ADDED, DRAWS, PRESETS, Augment, named, uniform
from lamina.train import recipe
from lamina.train.recipe import Recipe

NAMES = [*PRESETS, *ADDED, "flip+color+erase+bands+mixup+cutmix", "affine+color"]
ROWS = torch.tensor([5, 900, 17, 3, 44, 2**40])
PASSES = torch.tensor([0, 0, 1, 7, 1, 2])


def pictures(channels=3, height=20, width=28, count=6):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, channels, height, width), np.uint8))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_depends_on_its_key_and_not_on_its_batch(name, channels):
    image, augment = pictures(channels), named(name)
    whole = augment(image, 3, PASSES, ROWS)
    assert whole.shape == image.shape and whole.float().min() >= 0 and whole.float().max() <= 255
    assert torch.equal(whole, augment(image.clone(), 3, PASSES, ROWS))
    for i in range(len(image)):
        one = augment(image[i : i + 1], 3, PASSES[i : i + 1], ROWS[i : i + 1])
        assert torch.allclose(one.float(), whole[i : i + 1].float(), atol=1e-3)  # vectorised sums end otherwise
    if name not in ("none", "mixup", "cutmix"):
        assert not torch.equal(whole, augment(image, 4, PASSES, ROWS))
        assert not torch.equal(whole, augment(image, 3, PASSES + 1, ROWS))


def test_mirrored_one_in_two_and_shifted_with_the_border_repeated():
    image = pictures(count=1).expand(400, -1, -1, -1)
    rows = torch.arange(400)
    made = Augment(flip=True, shift=0.1)(image, 0, torch.zeros_like(rows), rows)
    kept, seen = 0, set()
    padded = torch.nn.functional.pad(image[:1].float(), (3, 3, 2, 2), mode="replicate")[0]
    windows = {}
    for top in range(5):
        for left in range(7):
            window = padded[:, top : top + 20, left : left + 28].to(torch.uint8)
            windows[window.numpy().tobytes()] = (top, left, False)
            windows[window.flip(2).numpy().tobytes()] = (top, left, True)
    for picture in made:
        top, left, mirrored = windows[picture.numpy().tobytes()]  # each is one of these
        seen.add((top, left))
        kept += not mirrored
    assert 160 < kept < 240 and len(seen) == 35


@pytest.mark.parametrize("flip", [False, True])
def test_turning_is_that_of_the_affine_grid(flip):
    image, augment = pictures(), Augment(flip=flip, shift=0.1, rotate=30.0, scale=0.2)
    draw = uniform(1, PASSES, ROWS, DRAWS)
    angle, size = (2 * draw[:, 3] - 1) * math.radians(30), 1 + (2 * draw[:, 4] - 1) * 0.2
    cosine, sine = torch.cos(angle) / size, torch.sin(angle) / size
    right, down = (2 * draw[:, 1] - 1) * 0.2, (2 * draw[:, 2] - 1) * 0.2
    side = torch.where(draw[:, 0] < 0.5, 1.0, -1.0) if flip else torch.ones(6)
    matrix = torch.stack([side * cosine, -side * sine, side * right, sine, cosine, down], 1).view(-1, 2, 3)
    grid = torch.nn.functional.affine_grid(matrix, list(image.shape), align_corners=False)
    wanted = torch.nn.functional.grid_sample(image.float(), grid, padding_mode="border", align_corners=False)
    assert torch.allclose(augment(image, 1, PASSES, ROWS), wanted, atol=0.02)


def test_color_keeps_grey_grey_and_stays_within_its_share():
    grey = torch.full((6, 3, 8, 8), 100, dtype=torch.uint8)
    made = Augment(color=0.2)(grey, 0, PASSES, ROWS)
    assert (made - made[:, :1, :1, :1]).abs().max() < 1e-3  # no colour, no contrast: only brightness is left
    assert 79.99 < made.min() < 100 < made.max() < 120.01


def test_erase_blanks_a_square():
    made = Augment(erase=0.5)(torch.full((6, 3, 20, 28), 9, dtype=torch.uint8), 0, PASSES, ROWS)
    assert made.dtype == torch.uint8
    for picture in made:
        hole = picture[0] == 0
        assert torch.equal(hole, picture[2] == 0)
        height, width = hole.any(1).sum(), hole.any(0).sum()
        assert 0 < height <= 10 and 0 < width <= 10 and hole.sum() == height * width


def test_bands_blank_rows_and_columns():
    made = Augment(bands=0.5)(torch.full((6, 1, 40, 40), 9, dtype=torch.uint8), 0, PASSES, ROWS)
    for (picture,) in made:
        rows, columns = (picture == 0).all(1), (picture == 0).all(0)
        assert rows.sum() <= 20 and columns.sum() <= 20
        assert torch.equal(picture == 0, rows[:, None] | columns[None, :])
    assert (made == 0).any()


def test_mixup_blends_with_the_opposite_row():
    image = pictures()
    made, share = named("mixup").mix(image, 0, PASSES, ROWS)
    for i in range(6):
        wanted = share[i] * image[i].float() + (1 - share[i]) * image[5 - i].float()
        assert torch.allclose(made[i], wanted, atol=1e-3)
    assert share.min() >= 0 and share.max() < 1 and len(share.unique()) == 6


def test_cutmix_pastes_a_rectangle_and_counts_its_pixels():
    own, other = torch.full((3, 3, 20, 28), 10, dtype=torch.uint8), torch.full((3, 3, 20, 28), 200, dtype=torch.uint8)
    made, share = named("cutmix").mix(torch.cat([own, other]), 0, PASSES, ROWS)
    for picture, kept, value in zip(made, share, [10] * 3 + [200] * 3, strict=True):
        mine = picture[0] == value
        assert torch.isclose(mine.float().mean(), kept) and ((picture == 10) | (picture == 200)).all()
        pasted = ~mine
        assert pasted.sum() == pasted.any(1).sum() * pasted.any(0).sum()
    assert 0 < share.mean() < 1


def test_both_ways_of_mixing_take_turns():
    rows = torch.arange(200)
    image = torch.zeros(200, 1, 16, 16, dtype=torch.uint8)
    image[100:] = 200
    made, _ = named("mixup+cutmix").mix(image, 0, torch.zeros_like(rows), rows)
    pasted = ((made == 0) | (made == 200)).flatten(1).all(1).sum()
    assert 60 < pasted < 140


def test_names_are_those_of_the_recipe():
    assert tuple(PRESETS) == recipe.AUGMENTS and tuple(ADDED) == recipe.ADDED
    assert named("flip+color").flip and named("flip+color").color and named("color") == Augment(color=0.3)


@pytest.mark.parametrize("name", ["flip+colour", "auto+color", "color+flip", "", "flip+"])
def test_unknown_names_are_said(name):
    with pytest.raises(NameUnknown, match="no augment"):
        Recipe(augment=name)


@pytest.mark.parametrize("several", [False, True])
def test_blended_targets_count_by_their_shares(several):
    from lamina.data._table import Field
    from lamina.tasks.classify import Classify

    kind = "labels" if several else "label"
    task = Classify(Field("y", kind, classes=("a", "b", "c")), {})
    logits = torch.randn(4, 3)
    one_hot = torch.eye(3)[torch.tensor([0, 1, 2, 0])]
    target = one_hot.to(torch.uint8) if several else one_hot.argmax(1)
    share = torch.tensor([0.0, 1.0, 0.3, 0.8])
    batch = {"numbers": logits, "target": target, "other": target.flip(0), "share": share}
    blended = share[:, None] * one_hot + (1 - share[:, None]) * one_hot.flip(0)
    if several:
        wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, blended)
    else:
        wanted = torch.nn.functional.cross_entropy(logits, blended)
    assert torch.isclose(task.loss(_Same(), batch), wanted)


TAKES = ("numbers",)


class _Same(torch.nn.Module):
    def forward(self, x):
        return x


def test_mixing_trains_and_is_refused_where_it_cannot_be(small, people):
    import lamina
    from lamina.train import engine

    prepared, run, task, net = small("mixed", augment="shift+mixup+cutmix")
    *_, last = engine.fit(task, net, prepared.table, prepared.plan.recipe, run)
    assert last.fraction == 1 and math.isfinite(last.loss)
    with pytest.raises(SettingError, match="mixup and cutmix blend pictures"):
        lamina.look(people, target="class", augment="mixup")
