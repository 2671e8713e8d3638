"""detect: suppression, assignment and regions against brute force, and each detector learning."""

import numpy as np
import pytest
import torch
from conftest import shapes

from lamina.core import catalog
from lamina.core.answers import Box, Boxes
from lamina.core.drawing import rectangles
from lamina.core.errors import SettingError
from lamina.data._table import Field
from lamina.measures import boxes as measure
from lamina.nets import _boxes, faster_rcnn, ssd, yolo
from lamina.nets._pyramid import Pyramid
from lamina.tasks.detect import Detect

CLASSES = ("disc", "bar")
TINY = {
    "ssd": {"features": "resnet9/small", "side": 64, "strides": (4, 8, 16), "smallest": 0.2},
    "faster_rcnn": {
        "features": "resnet9/small",
        "side": 64,
        "strides": (4, 8, 16),
        "width": 16,
        "hidden": 64,
        "proposals": 32,
    },
    "yolo": {"features": "resnet9/small", "side": 64, "strides": (4, 8, 16), "width": 16},
}


def test_ssd_sees_features_of_every_size_at_one_scale():
    """Liu 2015, section 3.1: what a shallow layer gives is larger than what a deep one gives, and must not drown it."""
    torch.manual_seed(0)
    net = ssd.Net(ssd.Config(**TINY["ssd"]))
    features = net.features(torch.rand(8, 3, 64, 64))
    loud = [x * factor for x, factor in zip(features, (100.0, 1.0, 0.01), strict=True)]
    sizes = [float(scaled(x).detach().std()) for scaled, x in zip(net.scaled, loud, strict=True)]
    assert max(sizes) < 1.5 * min(sizes) and 0.3 < min(sizes) < 1


def test_suppression_is_the_greedy_one():
    random = np.random.default_rng(0)
    corner = torch.from_numpy(random.random((3, 80, 2)).astype(np.float32))
    boxes = torch.cat([corner, corner + 0.3], 2)
    scores = torch.from_numpy(np.sort(random.random((3, 80)).astype(np.float32))[:, ::-1].copy())
    scores[1, 50:] = 0
    stays = _boxes.suppressed(boxes, scores, 0.4)
    for b in range(3):
        kept = []
        for i in range(80):
            if scores[b, i] > 0 and all(_boxes.overlap(boxes[b, i : i + 1], boxes[b, k : k + 1]) <= 0.4 for k in kept):
                kept.append(i)
        assert stays[b].nonzero().flatten().tolist() == kept and 5 < len(kept) < 60


def test_answers_suppress_within_a_class_and_are_sorted():
    boxes = torch.tensor([[[0.1, 0.1, 0.5, 0.5], [0.11, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]]])
    scores = torch.tensor([[[0.9, 0.2], [0.8, 0.7], [0.005, 0.3]]])
    found = _boxes.answers(boxes, scores)
    assert found.shape == (1, _boxes.MOST, 6)
    said = [(round(float(b[4]), 3), int(b[5])) for b in found[0] if b[4] > 0]
    assert said == [(0.9, 0), (0.7, 1), (0.3, 1)] and (found[0, 3:] == 0).all()


def test_regions_are_read_where_they_lie():
    """Of features that say where they are, a region's cells say where the region is."""
    y, x = torch.meshgrid((torch.arange(16) + 0.5) / 16, (torch.arange(16) + 0.5) / 16, indexing="ij")
    places = torch.stack([x, y])[None].expand(2, -1, -1, -1)
    boxes = torch.tensor([[[0.2, 0.3, 0.6, 0.9], [0.5, 0.1, 0.8, 0.2]], [[0.1, 0.1, 0.9, 0.9], [0.4, 0.4, 0.5, 0.6]]])
    read = faster_rcnn.regions(places, boxes, 4)
    assert read.shape == (2, 2, 2, 4, 4)
    for b in range(2):
        for i in range(2):
            x0, y0, x1, y1 = boxes[b, i].tolist()
            wanted = torch.tensor([(x0 + (k + 0.5) * (x1 - x0) / 4) for k in range(4)])
            assert torch.allclose(read[b, i, 0, 2], wanted, atol=1e-4)
            wanted = torch.tensor([(y0 + (k + 0.5) * (y1 - y0) / 4) for k in range(4)])
            assert torch.allclose(read[b, i, 1, :, 1], wanted, atol=1e-4)


def test_codes_come_back():
    random = torch.rand(50, 4) * 0.4
    boxes = torch.cat([random[:, :2], random[:, :2] + random[:, 2:] + 0.05], 1)
    defaults = _boxes.grid(64, 8, [(0.2, 0.3)])[:50]
    assert torch.allclose(_boxes.decoded(_boxes.coded(boxes, defaults), defaults), boxes, atol=1e-5)


def test_every_object_has_a_default_box_and_padding_none():
    objects = torch.tensor([[[0.0, 0.0, 0.02, 0.02, 1], [0.2, 0.2, 0.7, 0.7, 0], [0, 0, 0, 0, -1]]])
    defaults = _boxes.grid(64, 8, [(0.25, 0.25), (0.5, 0.5)])
    kind, box, most = _boxes.assigned(defaults, objects)
    kind = torch.where(most >= 0.5, kind, 0)
    assert set(kind.unique().tolist()) == {0, 1, 2}
    assert (box[kind == 2] == objects[0, 0, :4]).all() and (box[kind == 1] == objects[0, 1, :4]).all()
    none = _boxes.assigned(defaults, torch.tensor([[[0.0, 0, 0, 0, -1]]]))[2]
    assert (none < 0).all()


def test_cells_that_learn_lie_in_their_object():
    net = yolo.Net(yolo.Config(classes=2, **TINY["yolo"]))
    objects = torch.tensor([[[0.1, 0.1, 0.6, 0.5, 1], [0.8, 0.8, 0.82, 0.82, 0], [0, 0, 0, 0, -1]]])
    boxes = net._boxes(torch.zeros(1, len(net.middle), 6))
    wanted, box, weight = net._assigned(boxes, torch.full((1, len(net.middle), 2), 0.3), objects)
    learns = weight[0] > 0
    assert learns.any() and (box[0][learns] == objects[0, 0, :4]).all(1).sum() >= 4
    x, y = net.middle[learns].T
    near = (box[0][learns][:, :2] - 0.06 < net.middle[learns]).all() and (
        net.middle[learns] < box[0][learns][:, 2:] + 0.06
    ).all()
    assert near and (wanted[0].sum(1) == weight[0]).all() and len(x) == len(y)


@pytest.mark.parametrize("name", list(TINY))
def test_overfits_eight_pictures(name):
    image, boxes = shapes(8)
    from lamina.data._batches import padded

    module = catalog.find("nets", name)
    torch.manual_seed(0)
    net = module.Net(module.Config(classes=2, **TINY[name]))
    task = Detect(Field("boxes", "boxes", CLASSES), {})
    batch = {
        "image": torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255,
        "target": torch.from_numpy(padded(boxes)),
    }
    optimizer = torch.optim.AdamW(net.parameters(), 4e-3)
    value = 0.0
    for step in range(160):
        loss = task.loss(net, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            net.eval()
            with torch.no_grad():
                rows = {k: v.numpy() for k, v in task.score(net, batch).items()}
            net.train()
            value = measure.finish(rows)["map"]
            if value > 0.8:
                break
    assert value > 0.8 and all(p.grad is not None for p in net.parameters())


def test_features_of_any_image_net_and_a_word_for_others():
    pyramid = Pyramid("resnet/8", 3, 64, (2, 4, 8, 16))
    made = pyramid(torch.rand(2, 3, 64, 64))
    assert [x.shape[2] for x in made] == [32, 16, 8, 4] and [x.shape[1] for x in made] == pyramid.widths
    with pytest.raises(SettingError, match="takes no pictures"):
        Pyramid("mlp", 3, 64, (8,))
    with pytest.raises(SettingError, match="has features at strides"):
        Pyramid("resnet9/small", 3, 64, (32,))


def test_drawing_marks_the_sides():
    pixels = np.zeros((64, 64, 3), np.uint8)
    made = Boxes((Box("cup", 0.9, 0.25, 0.25, 0.75, 0.75),)).draw(pixels)
    assert made.shape == (320, 320, 3)
    line = made[160].astype(int).sum(1)
    assert (line[78:84] > 0).any() and (line[236:241] > 0).any() and (line[90:230] == 0).all()
    assert rectangles(pixels, [(0, 0, 0.5, 0.5)], ["x"], ["x"], dashed=True).max() == 255
    assert str(Boxes(())) == "nothing" and Boxes(()).to_json() == {"answer": [], "boxes": []}
