"""Sources: formats of pictures, dialects of tables, what is found in columns, and every bad input with its message."""

import gzip
import json
import sqlite3

import numpy as np
import pandas as pd
import polars
import pytest
import torch
from PIL import Image, ImageOps

import lamina
from lamina.core.errors import DataError, LaminaError, NameUnknown
from lamina.data._pictures import Pictures, decode
from lamina.data._target import divided, with_target


def ready(source, target=None, task=None, **how):
    return divided(with_target(lamina.open(source, target=target, **how), target, task))


# ---------------------------------------------------------------- pictures

GRADIENT = np.linspace(20, 220, 48).astype(np.uint8).reshape(6, 8)
RGB = np.stack([GRADIENT, GRADIENT[::-1], GRADIENT[:, ::-1]], 2)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "gif", "tiff"])
def test_every_format_decodes_as_pillow_does(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RGB).save(path)
    with Image.open(path) as image:
        assert (decode(path) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize(
    ("mode", "suffix", "channels"),
    [
        ("L", "png", 1),
        ("1", "png", 1),
        ("LA", "png", 1),
        ("P", "png", 3),
        ("RGBA", "png", 3),
        ("CMYK", "jpg", 3),
        ("I;16", "png", 1),
    ],
)
def test_every_mode_decodes(tmp_path, mode, suffix, channels):
    path = tmp_path / f"a.{suffix}"
    if mode == "I;16":
        Image.fromarray(GRADIENT.astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(RGB).convert(mode).save(path)
    pixels = decode(path)
    assert pixels.shape == (6, 8, channels) and pixels.dtype == np.uint8
    if mode in ("L", "LA", "I;16"):
        want = GRADIENT if mode == "I;16" else np.asarray(Image.fromarray(RGB).convert("L"))
        assert abs(pixels[..., 0].astype(int) - want).max() <= 1


def test_transparent_is_white(tmp_path):
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png") == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied_once(tmp_path, orientation):
    """A picture stored turned and marked so decodes upright, whatever its mark."""
    upright = Image.fromarray(RGB).resize((64, 48), Image.Resampling.NEAREST)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that stores it turned
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    pictures = Pictures.of_files([tmp_path / "a.png"])
    assert (decode(tmp_path / "a.png") == np.asarray(upright)).all()
    assert pictures.sizes().tolist() == [[48, 64]]


@pytest.fixture
def broken(tmp_path):
    def make(kind):
        path = tmp_path / f"{kind}.png"
        if kind == "text":
            path.write_text("not a picture")
        elif kind == "empty":
            path.write_bytes(b"")
        elif kind == "truncated":
            Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
            path.write_bytes(path.read_bytes()[:4000])
        elif kind == "bomb":
            Image.new("1", (20_000, 20_000)).save(path)
        return path

    return make


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "text.png is not a picture"),
        ("empty", r"empty.png is empty \(0 bytes\)"),
        ("truncated", "truncated.png is truncated"),
        ("bomb", "bomb.png .*pixels"),
        ("gone", "gone.png does not exist"),
    ],
)
def test_bad_pictures_are_named(broken, kind, message):
    with pytest.raises(DataError, match=message):
        decode(broken(kind))


def test_permission_is_named(photos, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(DataError, match="cannot be read: permission denied"):
        decode(photos / "red" / "red0.png")


def test_pack_fits_and_is_cached(photos, tmp_path):
    pictures = lamina.open(photos)["image"].values
    packed = pictures.pack((3, 16, 16), tmp_path / "store")
    with Image.open(sorted(photos.glob("blue/*"))[0]) as image:
        want = np.asarray(ImageOps.fit(image, (16, 16), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert (packed[0] == want).all() and isinstance(packed, np.memmap)
    assert len(list((tmp_path / "store").glob("*.npy"))) == 1
    assert (pictures.pack((3, 16, 16), tmp_path / "store") == packed).all()
    kept = next((tmp_path / "store").glob("*.npy"))
    whole = packed.copy()
    kept.write_bytes(kept.read_bytes()[:-1000])  # cut short: made anew
    assert (pictures.pack((3, 16, 16), tmp_path / "store") == whole).all()
    assert len(list((tmp_path / "store").glob("*.npy"))) == 1


@pytest.mark.parametrize(
    ("array", "value"),
    [
        (np.full((2, 4, 4), 0.5), 128),
        (np.ones((2, 4, 4), bool), 255),
        (np.full((2, 4, 4), 0x8000, np.uint16), 128),
        (np.full((2, 3, 5, 6), 7.0), 7),
    ],
)
def test_arrays_become_bytes(array, value):
    assert (Pictures.of_array(array).array == value).all()


# ---------------------------------------------------------------- folders and IDX


def test_folder_of_classes(photos):
    (photos / ".hidden").mkdir()
    (photos / "red" / "Thumbs.db").write_bytes(b"x")
    (photos / "red" / "notes.txt").write_text("x")
    table = ready(photos)
    assert table["class"].field.classes == ("blue", "red") and len(table) == 48
    assert (
        table.names[0] == "blue/blue0.png" and table.names[2] == "blue/blue2.png"
    )  # natural order: blue2 before blue10
    assert "1 other files passed over (.txt)." in table.notes
    for code in (0, 1):
        assert [int(((table.split == s) & (table["class"].values == code)).sum()) for s in range(3)] == [15, 4, 5]


def test_folder_with_splits(photos, tmp_path):
    for part in ("train", "val", "test"):
        (tmp_path / "set" / part).mkdir(parents=True)
        for name in ("red", "blue"):
            target = tmp_path / "set" / part / name
            target.mkdir()
            for path in sorted((photos / name).iterdir())[:6]:
                (target / path.name).write_bytes(path.read_bytes())
    table = ready(tmp_path / "set")
    assert [(table.split == s).sum() for s in range(3)] == [12, 12, 12]
    from lamina.judge.findings import findings

    assert any("12 test rows are in train too" in s for s in findings(table))


def test_equal_pictures_stay_on_one_side(photos):
    for path in list((photos / "red").iterdir())[:8]:
        (photos / "red" / f"copy-{path.name}").write_bytes(path.read_bytes())
    table = ready(photos)
    hashes = table["image"].values.hashes()
    for h in set(hashes.tolist()):
        assert len(set(table.split[hashes == h].tolist())) == 1


def test_class_only_in_test(photos, tmp_path):
    for part, names in (("train", ["red", "blue"]), ("test", ["red", "blue", "green"])):
        for name in names:
            folder = tmp_path / "set" / part / name
            folder.mkdir(parents=True)
            for i in range(6):
                Image.fromarray(np.random.default_rng(i).integers(0, 255, (8, 8, 3), np.uint8)).save(
                    folder / f"{i}.png"
                )
    with pytest.raises(DataError, match=r"class 'green' is in the test split .*test/green/0.png.* but not in train"):
        ready(tmp_path / "set")


def test_link_out_of_the_folder_is_not_followed(photos, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    Image.fromarray(RGB).save(secret / "s.png")
    (photos / "red" / "link.png").symlink_to(secret / "s.png")
    assert "red/link.png" not in lamina.open(photos).names.tolist()


def idx(path, array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    content = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def mnist(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    random = np.random.default_rng(0)
    for part, n in (("train", 60), ("t10k", 20)):
        idx(folder / f"{part}-images-idx3-ubyte.gz", random.integers(0, 255, (n, 8, 8)))
        idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(n) % 4)
    return folder


def test_idx(mnist):
    table = ready(mnist)
    assert table.reader == "idx" and table["class"].field.classes == ("0", "1", "2", "3")
    assert (table.split == 2).sum() == 20 and (table.split == 1).sum() > 0 and table.names[0] == "t10k 0"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-5], "holds only"),
        (lambda b: b + b"1", "holds more"),
        (lambda b: b"\x00\x00\x0d\x03" + b[4:], "is not an IDX file"),
    ],
)
def test_damaged_idx(mnist, damage, message):
    path = mnist / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(damage(gzip.decompress(path.read_bytes()))))
    with pytest.raises(DataError, match=f"train-images-idx3-ubyte.gz.*{message}"):
        lamina.open(mnist)


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("how", "note"),
    [
        ({"sep": ","}, "UTF-8, fields separated by comma"),
        ({"sep": ";", "decimal": ","}, "semicolon, decimal comma"),
        ({"sep": "\t"}, "separated by tab"),
        ({"sep": "|", "encoding": "utf-8-sig"}, "byte order mark, fields separated by bar"),
        ({"sep": ";", "encoding": "cp1252"}, "cp1252"),
        ({"sep": ",", "encoding": "utf-16"}, "UTF-16"),
        ({"sep": ",", "header": False}, "no header"),
    ],
)
def test_dialects(people, tmp_path, how, note):
    people["town"] = people["town"].replace("Ulm", "Köln")
    people.to_csv(tmp_path / "p.csv", index=False, **how)
    table = lamina.open(tmp_path / "p.csv")
    assert any(note in n for n in table.notes), table.notes
    age, town = ("c1", "c2") if "header" in how else ("age", "town")
    assert np.array_equal(table[age].values, people["age"].to_numpy(), equal_nan=True)
    assert table[town].field.classes == ("Bonn", "Jena", "Köln")


@pytest.mark.parametrize("names", [("x0", "x1", "y"), ("V1", "Q10", "a"), ("age", "nan", "y")])
def test_names_that_end_in_a_number_are_a_header(tmp_path, names):
    text = "\n".join([",".join(names), *(f"{i}.5,{i},{'pq'[i % 2]}" for i in range(40))])
    (tmp_path / "t.csv").write_text(text)
    table = lamina.open(tmp_path / "t.csv")
    assert tuple(table.columns) == names and len(table) == 40


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet", "jsonl", "json", "xlsx", "sqlite"])
def test_formats_give_the_same_table(people, tmp_path, suffix):
    path = tmp_path / f"p.{suffix}"
    if suffix.startswith("csv"):
        people.to_csv(path, index=False)
    elif suffix == "parquet":
        people.to_parquet(path)
    elif suffix.startswith("json"):
        people.to_json(path, orient="records", lines=suffix == "jsonl")
    elif suffix == "xlsx":
        people.to_excel(path, index=False)
    else:
        base = sqlite3.connect(path)
        people.to_sql("people", base, index=False)
        base.close()
    table = ready(path, "class")
    assert [table[c].field.kind for c in ("id", "age", "town", "class")] == ["identifier", "number", "label", "label"]
    assert np.array_equal(table["age"].values, people["age"].to_numpy(), equal_nan=True)
    assert [table["town"].field.classes[i] for i in table["town"].values[:20]] == people["town"].tolist()[:20]
    assert "id: an identifier (nearly every row has its own), left out." in table.notes
    assert [f.name for f in table.inputs] == ["age", "town"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2.5", "-3e2", "NA"] * 10, "number"),
        (["$1,200", "$3,400.50", "$12", "$7"] * 10, "number"),
        (["12 %", "13 %", "7 %"] * 10, "number"),
        ([True, False] * 20, "label"),
        (["red", "green", "?"] * 10, "label"),
        (["2024-01-31", "2023-02-01 10:00", "2024-03-01"] * 10, "date"),
        (["31.01.2024", "01.02.2023"] * 10, "date"),
        (["a|b", "b", "c|a", "a"] * 10, "labels"),
        ([["a", "b"], ["b"], []] * 10, "labels"),
        ([f"user-{i}-x" for i in range(40)], "identifier"),
        ([f"the film number {i} was long and dull" for i in range(40)], "text"),
        (list(range(1, 41)), "identifier"),
        ([3, 1, 2, 2] * 10, "number"),
        (list(np.random.default_rng(0).random(40)), "number"),
    ],
)
def test_kinds(values, kind):
    table = lamina.open(pd.DataFrame({"c": values, "y": [0, 1] * (len(values) // 2)}))
    assert table["c"].field.kind == kind


def test_dates_are_seconds():
    table = lamina.open(pd.DataFrame({"d": ["1970-01-02", "1970-01-03"] * 5, "y": [0, 1] * 5}))
    assert table["d"].values[:2].tolist() == [86_400, 172_800]


def test_dates_that_are_missing_and_far_away(tmp_path):
    (tmp_path / "rows.csv").write_text("d,y\n" + "1,0\n,1\n,0\n1970-01-02,1\n-0,0\n3000-01-01,1\n" * 3)
    column = lamina.open(str(tmp_path / "rows.csv"), kinds={"d": "date"})["d"]
    assert np.isnan(column.values[[1, 2]]).all() and column.values[3] == 86_400
    assert column.values[5] == 32_503_680_000


def test_infinite_numbers_are_listed():
    table = lamina.open(pd.DataFrame({"x": [1.0, np.inf, 2.0, -np.inf] * 5, "y": [0, 1] * 10}))
    assert np.isnan(table["x"].values[[1, 3]]).all()
    assert table.bad[0].where == "row 1" and "x is inf" in table.bad[0].why


def test_constant_and_empty_columns_are_left_out(people):
    table = lamina.open(people.assign(one=1, none=None))
    assert "one" not in table.columns and "none" not in table.columns
    assert any("one: always the same value" in n for n in table.notes)


def test_image_column(photos, tmp_path):
    rows = [
        {"file": f"photos/{p.parent.name}/{p.name}", "size": i % 7, "kind": p.parent.name}
        for i, p in enumerate(sorted(photos.rglob("*.png")))
    ]
    rows.append({"file": "photos/red/gone.png", "size": 1, "kind": "red"})
    rows.append({"file": "../../etc/passwd.png", "size": 1, "kind": "red"})
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    table = ready(tmp_path / "t.csv", "kind")
    assert len(table) == 48 and {f.kind for f in table.inputs} == {"image", "number"}
    assert [b.where for b in table.bad] == ["row 50", "row 51"]
    assert "does not exist" in table.bad[0].why and "leads out of" in table.bad[1].why


def test_memory_objects():
    x, y = np.random.default_rng(0).integers(0, 255, (40, 8, 8), np.uint8), np.arange(40) % 3
    wanted = lamina.open((x, y)).fingerprint()
    assert lamina.open((torch.from_numpy(x), torch.from_numpy(y))).fingerprint() == wanted
    data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    assert lamina.open(data)["class"].values.tolist() == y.tolist()
    frame = pd.DataFrame({"a": [1.5, 2.5] * 10, "b": ["u", "v"] * 10})
    assert lamina.open(polars.from_pandas(frame)).fingerprint() == lamina.open(frame).fingerprint()
    assert lamina.open((np.random.rand(10, 3), np.random.rand(10))).target == "target"
    with pytest.raises(DataError, match="x has 5 rows and y has 4"):
        lamina.open((np.zeros((5, 2)), np.zeros(4)))


def test_npz_with_the_names_of_its_classes(tmp_path):
    """As many torch users save it: classes are names, whatever stands first."""
    x, y = np.zeros((12, 5, 5), np.uint8), np.arange(12) % 3
    for order in (("classes", "label", "image"), ("image", "label", "classes")):
        parts = {"classes": np.array(["a", "b", "c"]), "label": y, "image": x}
        np.savez(tmp_path / "m.npz", **{k: parts[k] for k in order})
        table = lamina.open(tmp_path / "m.npz")
        assert len(table) == 12 and table[table.target].field.classes == ("0", "1", "2")


def test_npz(tmp_path):
    x, y = np.zeros((30, 6, 6), np.uint8), np.arange(30) % 2
    np.savez(tmp_path / "m.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    table = lamina.open(tmp_path / "m.npz")
    assert (table.split == 2).sum() == 10 and table.target == "class"
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match="Python objects, which are never loaded"):
        lamina.open(tmp_path / "o.npy")


def csv(tmp_path, text, mode="w"):
    path = tmp_path / "t.csv"
    path.write_bytes(text) if isinstance(text, bytes) else path.write_text(text)
    return path


ROWS = "a,b,y\n" + "".join(f"{i % 7},{i % 3},{'u' if i % 2 else 'v'}\n" for i in range(40))


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        (ROWS, "z", "no column in .*t.csv 'z'"),
        (ROWS.replace("a,b,y", "price,b,y"), "prise", "did you mean 'price'"),
        (ROWS.replace(",u", ",v"), "y", "one class"),
        (
            "".join(line.rsplit(",", 1)[0] + ",\n" for line in ROWS.splitlines()).replace("a,b,", "a,b,y", 1),
            "y",
            "no value in any row",
        ),
        ("a,id\n" + "".join(f"{i % 7},{i}\n" for i in range(40)), "id", "is an identifier"),
        ("a,y\n1,2\n", "y", "has 1 row"),
        ("a,y\n", "y", "no rows"),
        ("", "y", "is empty"),
        (ROWS.replace("a,b,y", "a,a,y"), "y", "two columns named 'a'"),
        (b"\x80\x00\x01\x02" * 200, "y", "is not text"),
        (ROWS + "1,2,3,4,5\n" * 12, "y", "row 42 has 5 fields where the header has 3"),
        ("a,y\n" + "".join(f"{i % 7},5.5\n" for i in range(40)), "y", "always 5.5"),
        (
            "f,y\n" + "".join(f"no{i % 9}.png,{i % 2}\n" for i in range(40)),
            "y",
            "none of the pictures of column 'f' can be found",
        ),
        (
            "a,y\n" + "".join(f"{i % 7},{'u' if i else 'w'}\n" for i in range(40)),
            "y",
            r"class 'w' of .* has one row \(row 2\)",
        ),
    ],
)
def test_bad_tables(tmp_path, text, target, message):
    path = csv(tmp_path, text)
    before = path.read_bytes()
    with pytest.raises(LaminaError, match=message):
        ready(path, target)
    assert path.read_bytes() == before


def test_few_ragged_rows_are_left_out(tmp_path):
    table = ready(csv(tmp_path, ROWS + "1,2,u,9\n"), "y")
    assert len(table) == 40 and table.bad[0].where == "row 42" and "4 fields" in table.bad[0].why


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nothing", "no such path: .*nothing"),
        (lambda p: (p / "empty").mkdir() or p / "empty", "empty is empty"),
        (
            lambda p: (
                [
                    (p / "one" / "cat").mkdir(parents=True),
                    *(Image.fromarray(RGB + i).save(p / "one" / "cat" / f"{i}.png") for i in range(20)),
                ]
                and p / "one"
            ),
            "has one class",
        ),
    ],
)
def test_bad_folders(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        ready(make(tmp_path))


def test_class_with_one_picture(photos):
    (photos / "green").mkdir()
    Image.fromarray(RGB).save(photos / "green" / "g.png")
    with pytest.raises(DataError, match=r"class 'green' .* has one picture \(green/g.png\); add more, or remove it"):
        ready(photos)


def test_bad_files_are_listed_and_too_many_stop(photos):
    (photos / "red" / "text.png").write_text("x")
    (photos / "red" / "zero.png").write_bytes(b"")
    table = ready(photos)
    assert sorted((b.where, b.why) for b in table.bad) == [
        ("red/text.png", "is not a picture, whatever its name says"),
        ("red/zero.png", "is empty (0 bytes)"),
    ]
    for i in range(5):
        (photos / "red" / f"more{i}.png").write_text("x")
    with pytest.raises(DataError, match=r"7 of 55 files or rows of .*photos are bad, more than 10%"):
        ready(photos)


def test_misspelt_path_names_the_nearest(photos):
    with pytest.raises(DataError, match="did you mean 'photos'"):
        lamina.open(str(photos.parent / "fotos"))


def test_sqlite_only_selects(people, tmp_path):
    base = sqlite3.connect(tmp_path / "p.db")
    people.to_sql("people", base, index=False)
    people.to_sql("others", base, index=False)
    base.close()
    with pytest.raises(DataError, match="holds 2 tables"):
        lamina.open(tmp_path / "p.db")
    with pytest.raises(DataError, match="must be a SELECT"):
        lamina.open(tmp_path / "p.db", query="delete from people")
    assert len(lamina.open(tmp_path / "p.db", query="select * from people where age > 40")) < 200
    with pytest.raises(DataError, match="cannot answer the query"):
        lamina.open(tmp_path / "p.db", query="select nothing from people")


def test_jsonl_names_the_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(DataError, match=r"a.jsonl, line 2: not JSON"):
        lamina.open(tmp_path / "a.jsonl")


def test_excel_sheet(people, tmp_path):
    with pd.ExcelWriter(tmp_path / "b.xlsx") as book:
        people.to_excel(book, sheet_name="people", index=False)
        people.head(50).to_excel(book, sheet_name="few", index=False)
    assert len(lamina.open(tmp_path / "b.xlsx", sheet="few")) == 50
    with pytest.raises(NameUnknown, match=r"no sheet in .* 'pepole'; did you mean 'people'"):
        lamina.open(tmp_path / "b.xlsx", sheet="pepole")


def test_multi_label_json(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps({"x": i % 5, "tags": [["a"], ["a", "b"], []][i % 3]}) + "\n" for i in range(60)))
    table = ready(path, "tags")
    assert table["tags"].field == lamina.data._table.Field("tags", "labels", ("a", "b"))
    assert table["tags"].values[:3].tolist() == [[1, 0], [1, 1], [0, 0]]
