"""IDX files of the MNIST family: names, pairs, splits, and every damage with its message."""

import gzip
import os

import numpy as np
import pytest

from lamina.core.errors import DataError
from lamina.data import folder, idx, sniff
from lamina.data._table import Reading

RANDOM = np.random.default_rng(0)
TRAIN, TEST = RANDOM.integers(0, 255, (30, 6, 5), np.uint8), RANDOM.integers(0, 255, (12, 6, 5), np.uint8)
DIGITS = np.arange(30, dtype=np.uint8) % 10


def content(array, head=None):
    sizes = b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return (head or bytes([0, 0, 8, array.ndim])) + sizes + array.tobytes()


def write(path, array, packed=None):
    raw = content(array)
    path.write_bytes(gzip.compress(raw) if packed or (packed is None and path.suffix == ".gz") else raw)
    return path


def mnist(root, dot="-", end=".gz", prefix=""):
    root.mkdir(exist_ok=True)
    for part, array in (("train", TRAIN), ("t10k", TEST)):
        write(root / f"{prefix}{part}-images{dot}idx3-ubyte{end}", array)
        write(root / f"{prefix}{part}-labels{dot}idx1-ubyte{end}", DIGITS[: len(array)])
    return root


def read(source):
    return idx.read(source, Reading())


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.mark.parametrize("prefix", ["", "emnist-digits-"])
@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("dot", ["-", "."])
def test_folder(data, dot, end, prefix):
    assert idx.claims(mnist(data, dot, end, prefix)) and not folder.claims(data)
    table = read(data)
    assert table.reader == "idx" and table.target == "class" and table.tried == len(table) == 42
    assert table["class"].field.classes == tuple("0123456789") and table["class"].values.dtype == np.int64
    assert table.names[0] == "t10k 0" and table.names[12] == "train 0"
    assert table.split.tolist() == [2] * 12 + [0] * 30 and table.split.dtype == np.int8
    assert (table["image"].values.array[..., 0] == np.concatenate([TEST, TRAIN])).all()
    assert table["class"].values.tolist() == [*DIGITS[:12], *DIGITS]


def test_idx_comes_before_folder(data):
    mnist(data)
    (data / "preview.png").write_bytes(b"x")
    assert sniff.open(data).reader == "idx"


def test_plain_is_taken_where_both_are(data):
    mnist(data)
    write(data / "train-images.idx3-ubyte", TRAIN[::-1])
    table = read(data)
    assert len(table) == 42 and (table["image"].values.array[12, ..., 0] == TRAIN[29]).all()


def test_one_file_with_labels(data):
    mnist(data)
    table = read(data / "train-images-idx3-ubyte.gz")
    assert len(table) == 30 and table.split is None and table.target == "class"
    for name in ("train-images.idx3-ubyte", "TRAIN-IMAGES.IDX3-UBYTE"):  # labels of another spelling are found
        other = write(data / name, TRAIN)
        assert read(other)["class"].values.tolist() == DIGITS.tolist()
        other.unlink()


def test_one_file_without_labels(data):
    mnist(data)
    (data / "t10k-labels-idx1-ubyte.gz").unlink()
    table = read(data / "t10k-images-idx3-ubyte.gz")
    assert table.target is None and list(table.columns) == ["image"] and table.names[0] == "t10k 0"
    assert table.notes == (
        "No file of labels stands beside t10k-images-idx3-ubyte.gz: the pictures can be asked about.",
    )
    with pytest.raises(
        DataError, match=r"t10k-images-idx3-ubyte.gz has no labels beside it \(t10k-labels-idx1-ubyte is missing\)"
    ):
        read(data)


@pytest.mark.parametrize("packed", [True, False])
def test_gzip_is_told_by_content(data, packed):
    data.mkdir()
    path = write(data / f"train-images-idx3-ubyte{'' if packed else '.gz'}", TRAIN, packed)
    assert len(read(path)) == 30


def test_labels_that_are_not_there_are_no_class(data):
    mnist(data)
    for part, n in (("train", 30), ("t10k", 12)):
        write(data / f"{part}-labels-idx1-ubyte.gz", np.where(DIGITS[:n] > 4, 26, 3).astype(np.uint8))
    assert read(data)["class"].field.classes == ("3", "26")


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-5], r"should hold 900 values after its header and holds only 895; it is damaged"),
        (lambda b: b[:16], r"should hold 900 values after its header and holds only 0"),
        (lambda b: b + b"1", r"should hold 900 values after its header and holds more"),
        (lambda b: b[:9], r"is not an IDX file of bytes with 3 axes; its first bytes are 00000803"),
        (lambda b: b"", r"is not an IDX file of bytes with 3 axes; its first bytes are \."),
        (lambda b: b"\0\0\x0d\x03" + b[4:], r"its first bytes are 00000d03"),
        (lambda b: b"\0\0\x08\x01" + b[4:], r"its first bytes are 00000801"),
        (lambda b: b"\x89PNG" + b[4:], r"its first bytes are 89504e47"),
        (lambda b: b[:4] + b"\xff\xff\xff\xff" + b[8:], r"claims the sizes \[-1, 6, 5\]"),
        (lambda b: b[:4] + b"\0\0\0\0" + b[8:16], r"claims the sizes \[0, 6, 5\]"),
        (
            lambda b: b[:4] + b"\x7f\xff\xff\xff" * 3 + b[16:],
            r"claims the sizes \[2147483647, 2147483647, 2147483647\]",
        ),
        (lambda b: b[:4] + b"\x7f\xff\xff\xff" + b[8:], r"claims the sizes \[2147483647, 6, 5\]"),
        (
            lambda b: b[:4] + b"\x0f\xff\xff\xff" + b[8:],
            r"should hold 8,053,063,650 values after its header and holds only 900",
        ),
    ],
)
def test_damage(data, end, damage, message):
    mnist(data, end=end)
    path = data / f"train-images-idx3-ubyte{end}"
    raw = damage(content(TRAIN))
    path.write_bytes(gzip.compress(raw) if end else raw)
    before = path.read_bytes()
    with pytest.raises(DataError, match=rf"train-images-idx3-ubyte{end} .*{message}"):
        read(data)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-4],
        lambda b: b[: len(b) // 2],
        lambda b: b[:40] + b"\xff" * 20 + b[60:],
        lambda b: b[:-8] + b"\0" * 8,
        lambda b: b + b"junk",
    ],
)
def test_damaged_gzip(data, damage):
    path = mnist(data) / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz is truncated or damaged \(.+\)"):
        read(data)


def test_gzip_bomb_is_not_unpacked(data, monkeypatch):
    data.mkdir()
    path = data / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(content(TRAIN) + bytes(50_000_000)))
    got, original = [], gzip.GzipFile.readinto

    def counted(self, buffer):
        got.append(original(self, buffer))
        return got[-1]

    monkeypatch.setattr(gzip.GzipFile, "readinto", counted)
    with pytest.raises(DataError, match="should hold 900 values after its header and holds more"):
        read(path)
    assert sum(got) == 900


def test_numbers_differ(data):
    mnist(data)
    write(data / "train-labels-idx1-ubyte.gz", DIGITS[:29])
    with pytest.raises(
        DataError, match=r"train-images-idx3-ubyte.gz holds 30 pictures, but train-labels-idx1-ubyte.gz holds 29 labels"
    ):
        read(data)


def test_sizes_differ(data):
    mnist(data)
    write(data / "t10k-images-idx3-ubyte.gz", TEST[:, :4])
    with pytest.raises(
        DataError, match=r"differ in size: 4x5 in t10k-images-idx3-ubyte.gz and 6x5 in train-images-idx3-ubyte.gz"
    ):
        read(data)


def test_several_data_sets_in_one_folder(data):
    mnist(data, prefix="emnist-letters-")
    mnist(data, prefix="emnist-digits-")
    with pytest.raises(DataError, match=r"holds 2 data sets \(emnist-digits, emnist-letters\); put the files of one"):
        read(data)
    assert len(read(data / "emnist-letters-train-images-idx3-ubyte.gz")) == 30


def test_permission(data, monkeypatch):
    mnist(data)
    path = data / "train-images-idx3-ubyte.gz"

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz cannot be read: permission denied"):
        read(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_folder_without_rights(data):
    mnist(data).chmod(0)
    assert not idx.claims(data)
    data.chmod(0o755)


def test_claims(data, monkeypatch):
    mnist(data)
    monkeypatch.setattr(idx, "_array", lambda *_: pytest.fail("read"))
    assert idx.claims(data) and idx.claims(data / "train-images-idx3-ubyte.gz")
    for no in (
        data / "train-labels-idx1-ubyte.gz",
        data / "gone-images-idx3-ubyte",
        data.parent,
        str(data),
        [data],
        None,
        TRAIN,
    ):
        assert not idx.claims(no)
    with pytest.raises(DataError, match=r"holds no IDX pictures such as train-images-idx3-ubyte.gz"):
        read(data.parent)
