"""COCO, VOC and YOLO files: what is written is read back, and what is wrong is named by file and row."""

import json

import numpy as np
import pytest
from PIL import Image

import lamina
from lamina.core import catalog
from lamina.core.errors import DataError
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Field, Table

FORMS = ("coco", "voc", "yolo_labels")
CLASSES = ("ant", "bee", "cat")


def made(rows=12, split=True):
    """Pictures of several sizes with boxes on whole pixels; one has no object."""
    random = np.random.default_rng(0)
    boxes = np.empty(rows, object)
    for i in range(rows):
        count = 0 if i == 5 else random.integers(1, 4)
        corner, side = random.integers(0, 20, (count, 2)), random.integers(4, 20, (count, 2))
        sides = np.concatenate([corner, corner + side], 1) / np.array([64, 48] * 2)
        boxes[i] = np.concatenate([sides, random.integers(0, 3, (count, 1))], 1).astype(np.float32)
    image = random.integers(0, 255, (rows, 48, 64, 3), np.uint8)
    columns = {
        "image": Column(Field("image", "image"), Pictures.of_array(image)),
        "boxes": Column(Field("boxes", "boxes", CLASSES), boxes),
    }
    parts = np.array([0] * 8 + [1] * 2 + [2] * 2, np.int8)[:rows] if split else None
    return Table(columns, "made", "memory", np.array([f"{i}" for i in range(rows)], object), "boxes", parts)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("split", [True, False])
def test_what_is_written_is_read_back(form, split, tmp_path):
    table = made(split=split)
    catalog.find("data", form).write(table, tmp_path / "out")
    back = lamina.open(tmp_path / "out")
    assert back.reader == form and back.target == "boxes" and not back.bad and len(back) == 12
    assert split or back.split is None or not back.split.any()
    assert set(back["boxes"].field.classes) == set(CLASSES)
    order = {int(str(name).split("/")[-1].split(".")[0]): i for i, name in enumerate(back.names)}
    assert sorted(order) == list(range(12))
    for row, at in order.items():
        mine, theirs = table["boxes"].values[row], back["boxes"].values[at]
        assert np.allclose(mine[:, :4], theirs[:, :4], atol=1e-5)
        names = [[t["boxes"].field.classes[int(c)] for c in b[:, 4]] for t, b in ((table, mine), (back, theirs))]
        assert names[0] == names[1]
        assert np.array_equal(table["image"].values.open(row), back["image"].values.open(at))
        if split:
            assert back.split[at] == table.split[row]


def pictures(folder, *names, size=(40, 20)):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", size, (90, 20, 30)).save(folder / name)


def coco(folder, annotations, **image):
    pictures(folder / "images", "a.jpg", "b.jpg")
    images = [{"id": 7, "file_name": "a.jpg", "width": 40, "height": 20, **image}, {"id": 8, "file_name": "b.jpg"}]
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 3, "name": "dog"}, {"id": 1, "name": "cat"}],
    }
    (folder / "boxes.json").write_text(json.dumps(content))
    return folder


def box(*sides, kind=1, picture=7, **more):
    return {"id": 1, "image_id": picture, "category_id": kind, "bbox": list(sides), **more}


def test_coco_names_what_is_wrong(tmp_path):
    given = [box(4, 2, 8, 4), box(4, 2, 0, 4), box(50, 2, 8, 4), box(30, 2, 20, 4, kind=3), box(1, 1, 5, 5, iscrowd=1),
             box(1, 1, 2, 2, picture=99)]  # fmt: skip
    table = lamina.open(coco(tmp_path / "c", given))
    assert table["boxes"].field.classes == ("cat", "dog") and len(table) == 2
    assert np.allclose(table["boxes"].values[0], [[0.1, 0.1, 0.3, 0.3, 0], [0.75, 0.1, 1, 0.3, 1]])
    assert len(table["boxes"].values[1]) == 0
    said = {b.where: b.why for b in table.bad}
    assert "no area" in said["boxes.json annotation 1"] and "outside" in said["boxes.json annotation 2"]
    assert "picture 99" in said["boxes.json annotation 5"] and len(said) == 3
    notes = " ".join(table.notes)
    assert "1 boxes mark a crowd" in notes and "1 boxes reach over the border" in notes and "annotation 3" in notes


@pytest.mark.parametrize(("given", "image", "message"), [
    ([box(1, 1, 2, 2, kind=5)], {}, r"boxes.json: annotation 0 has the class 5, which is not in its list \(1, 3\)"),
    ([box(1, 1, 2)], {}, "not as COCO writes it"),
    ([{"id": 1}], {}, "not as COCO writes it"),
], ids=str)  # fmt: skip
def test_coco_errors(tmp_path, given, image, message):
    with pytest.raises(DataError, match=message):
        lamina.open(coco(tmp_path / "c", given, **image))


def test_coco_pictures_of_another_size_or_missing_are_left_out(tmp_path):
    folder = coco(tmp_path / "c", [box(1, 1, 5, 5)], width=99)
    table = lamina.open(folder / "boxes.json")
    assert len(table) == 1 and "its boxes are for 99x20 pixels, and the picture has 40x20" in table.bad[0].why
    (folder / "images" / "b.jpg").unlink()
    with pytest.raises(DataError, match="holds no picture with boxes"):
        lamina.open(folder / "boxes.json")
    (folder / "boxes.json").write_text('{"images": [], "annotations": [], "categories": [')
    with pytest.raises(DataError, match="is no JSON"):
        lamina.open(folder / "boxes.json")


def xml(*objects, size=(40, 20), name="a.jpg"):
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    parts = "".join(
        f"<object><name>{kind}</name><bndbox>"
        + "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=False))
        + "</bndbox></object>"
        for kind, *box in objects
    )
    return f"<annotation><filename>{name}</filename>{sides}{parts}</annotation>"


def test_voc_counts_pixels_from_one_and_names_what_is_wrong(tmp_path):
    pictures(tmp_path / "v", "a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")
    for name, text in {
        "a": xml(("dog", 5, 3, 12, 6), ("cat", 30, 4, 20, 9)),
        "b": xml(("dog", 5, 3, 12), name="b.jpg"),
        "c": "<annotation><size>",
        "d": xml(name="d.jpg"),
        "x": xml(name="gone.jpg"),
    }.items():
        (tmp_path / "v" / f"{name}.xml").write_text(text)
    table = lamina.open(tmp_path / "v")
    assert table.reader == "voc" and [str(n) for n in table.names] == ["a.jpg", "d.jpg"]
    assert np.allclose(table["boxes"].values[0], [[0.1, 0.1, 0.3, 0.3, 1]])
    said = {b.where: b.why for b in table.bad}
    assert (
        "no area" in said["a.xml object 1"] and "no box in object 0" in said["b.xml"] and "is no XML" in said["c.xml"]
    )
    assert "gone.jpg is not there" in said["x.xml"] and "no XML file" in said["e.jpg"]


def yolo(folder, names, **labels):
    pictures(folder / "images", *(f"{n}.jpg" for n in (*labels, "without")))
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text(names)
    for name, text in labels.items():
        (folder / "labels" / f"{name}.txt").write_text(text)
    return folder


@pytest.mark.parametrize("names", [
    "train: images\nnames: [dog, 'big cat']\n", "names:\n  0: dog\n  1: big cat  # purrs\nnc: 2\n", "names:\n- dog\n- \"big cat\"\n",
    "names: {0: dog, 1: big cat}", "names: [dog,\n  big cat]\n",
])  # fmt: skip
def test_yolo_labels_and_what_is_wrong_with_them(tmp_path, names):
    a = "1 0.2 0.2 0.2 0.2\n0 0.5 0.5 0 0.1\n\nnonsense\n0 0.1 0.1 0.3 0.1 0.3 0.5 0.1 0.5\n"
    table = lamina.open(yolo(tmp_path / "y", names, a=a, b=""))
    assert table.reader == "yolo_labels" and table["boxes"].field.classes == ("dog", "big cat")
    assert [str(n) for n in table.names] == ["images/a.jpg", "images/b.jpg"]
    assert np.allclose(table["boxes"].values[0], [[0.1, 0.1, 0.3, 0.3, 1], [0.1, 0.1, 0.3, 0.5, 0]])
    said = {b.where: b.why for b in table.bad}
    assert "no area" in said["labels/a.txt line 2"] and "nonsense" in said["labels/a.txt line 4"]
    assert "no text file" in said["images/without.jpg"] and len(said) == 3


def test_yolo_classes_that_are_not_named(tmp_path):
    with pytest.raises(DataError, match=r"a.txt: line 1 has the class 2, and data.yaml names 2 \(0 to 1\)"):
        lamina.open(yolo(tmp_path / "y", "names: [a, b]", a="2 0.5 0.5 0.1 0.1"))


def test_other_folders_are_not_claimed(photos):
    assert lamina.open(photos).reader == "folder"
    (photos / "notes.xml").write_text("<notes/>")
    (photos / "classes.txt").write_text("red\nblue\n")
    assert lamina.open(photos).reader == "folder"
