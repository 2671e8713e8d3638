"""Mean average precision: equal to faster-coco-eval, and to what can be reckoned by hand."""

import numpy as np
import pytest

from lamina.measures import boxes as measure

NAMES = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")


def made(seed, pictures=40, classes=4, most=8):
    """Objects of all sizes and answers that are near them, beside them, of other classes, doubled, with equal scores."""
    random = np.random.default_rng(seed)
    size = np.stack([random.integers(180, 400, pictures), random.integers(200, 500, pictures)], 1)
    target = np.zeros((pictures, most, 5), np.float32)
    target[..., 4] = -1
    boxes = np.zeros((pictures, 150, 6), np.float32)
    for i in range(pictures):
        count = random.integers(0, most + 1)
        side = np.exp(random.uniform(np.log(0.03), np.log(0.7), (count, 2)))
        corner = random.random((count, 2)) * (1 - side)
        target[i, :count] = np.concatenate([corner, corner + side, random.integers(0, classes - 1, (count, 1))], 1)
        answers = []
        for box in target[i, :count]:
            for _ in range(random.integers(0, 4)):
                noise = random.normal(0, 0.08, 4) * np.tile(box[2:4] - box[:2], 2)
                kind = box[4] if random.random() < 0.8 else random.integers(0, classes)
                answers.append([*(box[:4] + noise), round(random.random(), 1 + i % 3) + 0.001, kind])
        for _ in range(random.integers(0, 4)):
            x, y, w, h = random.random(4) * 0.5
            answers.append([x, y, x + w, y + h, random.random(), random.integers(0, classes)])
        if i == 3:  # more than count
            answers += [[x, x, x + 0.1, x + 0.1, 0.2 + 0.5 * x, 0] for x in np.linspace(0, 0.8, 120)]
        boxes[i, : len(answers)] = np.array(answers, np.float32).reshape(-1, 6)
    return {"boxes": boxes, "target": target, "size": size, "loss": np.zeros(pictures)}


def reference(rows):
    """faster-coco-eval's six numbers for the same boxes."""
    coco = pytest.importorskip("faster_coco_eval")
    height, width = rows["size"].T.astype(float)
    images = [{"id": i + 1, "height": int(h), "width": int(w)} for i, (h, w) in enumerate(rows["size"])]
    truth, answers = [], []
    for i, (target, boxes) in enumerate(zip(rows["target"].astype(float), rows["boxes"].astype(float), strict=True)):
        scale = np.array([width[i], height[i]] * 2)
        for box in target[target[:, 4] >= 0]:
            x0, y0, x1, y1 = box[:4] * scale
            sides = [x0, y0, x1 - x0, y1 - y0]
            truth.append({"id": len(truth) + 1, "image_id": i + 1, "category_id": int(box[4]) + 1, "bbox": sides,
                          "area": sides[2] * sides[3], "iscrowd": 0})  # fmt: skip
        for box in boxes[boxes[:, 4] > 0]:
            x0, y0, x1, y1 = box[:4] * scale
            answers.append({"image_id": i + 1, "category_id": int(box[5]) + 1, "bbox": [x0, y0, x1 - x0, y1 - y0],
                            "score": float(box[4])})  # fmt: skip
    names = [
        {"id": c + 1, "name": str(c)}
        for c in range(int(max(rows["target"][..., 4].max(), rows["boxes"][..., 5].max())) + 1)
    ]
    there = coco.COCO({"images": images, "annotations": truth, "categories": names})
    judge = coco.COCOeval_faster(there, there.loadRes(answers), "bbox")
    judge.run()
    return dict(zip(NAMES, judge.stats[:6], strict=True)), float(judge.stats[8])


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_the_reference(seed):
    rows = made(seed)
    numbers = measure.finish(rows)
    wanted, recall = reference(rows)
    for name in NAMES:
        assert numbers[name] == pytest.approx(wanted[name], abs=1e-6), name
    assert numbers["recall_100"] == pytest.approx(recall, abs=1e-6)
    assert 0.05 < numbers["map"] < 0.95


def one(answers, target=((0.1, 0.1, 0.5, 0.5, 0),)):
    boxes = np.zeros((1, 4, 6), np.float32)
    boxes[0, : len(answers)] = np.array(answers, np.float32).reshape(-1, 6)
    return {
        "boxes": boxes,
        "target": np.array([target], np.float32),
        "size": np.array([[100, 100]]),
        "loss": np.zeros(1),
    }


def test_by_hand():
    right, wrong = (0.1, 0.1, 0.5, 0.5, 0.9, 0), (0.6, 0.6, 0.9, 0.9, 0.95, 0)
    assert measure.finish(one([right]))["map"] == pytest.approx(1)
    assert measure.finish(one([right, wrong]))["map"] == pytest.approx(0.5)
    assert measure.finish(one([right, (*wrong[:4], 0.5, 0)]))["map"] == pytest.approx(1)
    assert measure.finish(one([]))["map"] == 0
    half = (0.1, 0.1, 0.5, 0.37, 0.9, 0)  # overlap 0.675: right at 0.5, 0.55, 0.6 and 0.65
    assert measure.finish(one([half]))["map"] == pytest.approx(0.4)
    assert measure.finish(one([(*right[:5], 1)]))["map"] == 0
    numbers = measure.finish(one([right]))  # 40 x 40 pixels
    assert (
        numbers["map_medium"] == pytest.approx(1) and np.isnan(numbers["map_small"]) and np.isnan(numbers["map_large"])
    )


def test_interval_holds_the_number_and_resamples_pictures():
    rows = made(1)
    low, high = measure.interval(rows, "map")
    value = measure.finish(rows)["map"]
    assert low < value < high and high - low < 0.4
    small = measure.interval(rows, "map_small")
    assert small[0] < measure.finish(rows)["map_small"] < small[1] and small != (low, high)
    at = np.random.default_rng(0).integers(0, 40, 40)
    weighted = measure._numbers(measure.matched(rows), np.bincount(at, minlength=40))["map"]
    assert weighted == pytest.approx(
        measure.finish({k: v[at] for k, v in rows.items()})["map"], abs=0.01
    )  # ties end otherwise


def test_precision_of_each_class():
    rows = made(2)
    numbers = measure.finish(rows, tuple("abcdef"))
    each = np.array([numbers[f"map of {name}"] for name in "abcdef"])
    assert np.isnan(each[4:]).all() and np.nanmean(each) == pytest.approx(numbers["map"])
    only = {**rows, "target": rows["target"].copy(), "boxes": rows["boxes"].copy()}
    only["target"][..., 4][only["target"][..., 4] != 1] = -1
    only["boxes"][..., 4][only["boxes"][..., 5] != 1] = 0
    assert measure.finish(only)["map"] == pytest.approx(numbers["map of b"])
    low, high = measure.interval(rows, "map of b", classes=tuple("abcdef"))
    assert low < numbers["map of b"] < high


def test_the_threshold_is_that_of_the_best_f1():
    rows = made(4)
    best = measure.threshold(rows)
    scores = np.unique(rows["boxes"][..., 4][rows["boxes"][..., 4] > 0])

    def f1(least):
        kept = {**rows, "boxes": rows["boxes"] * (rows["boxes"][..., 4] >= least)[..., None]}
        found = measure.matched(kept)
        return 2 * found.hit[0, 0].sum() / (found.hit.shape[2] + found.objects[0].sum())

    assert f1(best) == pytest.approx(max(f1(s) for s in scores[:: max(1, len(scores) // 60)]), abs=0.01)
    assert f1(best) > f1(scores[0]) and measure.threshold({**rows, "boxes": np.zeros_like(rows["boxes"])}) is None
