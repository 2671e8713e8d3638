"""The store: pixels equal to Pillow's, packs that go on after a kill, are shared, checked and reopened; rows that are streamed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import lamina
from lamina.core.errors import DataError, SettingError
from lamina.data import _batches, _decode, _index, _store, _stream, _threads
from lamina.data._batches import Batches
from lamina.data._pictures import Pictures, decode
from lamina.data._table import Column, Field, Table

RANDOM = np.random.default_rng(5)


def photo(height, width):
    """Smooth colours with edges and some noise: what JPEG is made for."""
    down, right = np.mgrid[:height, :width]
    waves = np.stack([np.sin(down / 17 + right / 29), np.cos(right / 11), np.sin((down * right) ** 0.5 / 23)], 2)
    return (128 + 100 * waves + RANDOM.normal(0, 8, waves.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Forty JPEGs of 60x80, old enough to be entered in an index."""
    monkeypatch.setattr(_index, "FRESH", 0.0)
    (tmp_path / "photos").mkdir()
    paths = [tmp_path / "photos" / f"{i:02d}.jpg" for i in range(40)]
    for path in paths:
        Image.fromarray(photo(60, 80)).save(path, quality=90)
        age(path)
    return paths


def age(path, seconds=3_600.0):
    os.utime(path, (time.time() - seconds, time.time() - seconds))


# ---------------------------------------------------------------- decoding


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"optimize": True},
                                 {"keep_rgb": True}, {"restart_marker_rows": 1}, {"quality": 20}])  # fmt: skip
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (61, 83), (240, 320)])
def test_pixels_are_those_of_pillow(tmp_path, monkeypatch, how, mode, size):
    path = tmp_path / "a.jpg"
    Image.fromarray(photo(*size)).convert(mode).save(path, **how)
    for side in (None, 20, 30, 100):
        got = decode(path, side)
        with monkeypatch.context() as patch:
            patch.setattr(_decode, "_turbo", lambda *_: None)
            want = decode(path, side)
        assert got.shape == want.shape and (got == want).all()
        assert side is None or min(got.shape[:2]) >= min(side, *size)
    assert _decode._turbo(path, None) is not None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotation_of_shrunk_jpegs(tmp_path, monkeypatch, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photo(160, 240)).save(tmp_path / "a.jpg", exif=exif)
    got = decode(tmp_path / "a.jpg", 40)
    monkeypatch.setattr(_decode, "_turbo", lambda *_: None)
    assert (
        got.shape[:2] == ((40, 60) if orientation < 5 else (60, 40)) and (got == decode(tmp_path / "a.jpg", 40)).all()
    )


def test_what_pillow_shall_take(tmp_path):
    Image.fromarray(photo(32, 32)).convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.fromarray(photo(32, 32)).save(tmp_path / "a.png")
    Image.fromarray(photo(32, 32)).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "odd.jpg").write_bytes(content[:-2] + b"\0\0\0\0" + content[-2:])
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    for name in ("cmyk.jpg", "a.png", "cut.jpg", "gone.jpg"):
        assert _decode._turbo(tmp_path / name, None) is None
    assert (decode(tmp_path / "odd.jpg") == decode(tmp_path / "a.jpg")).all()
    with pytest.raises(DataError, match=r"cut\.jpg is truncated"):
        decode(tmp_path / "cut.jpg")


@pytest.mark.parametrize(("height", "width", "frame"), [(128, 128, (224, 224)), (300, 400, (224, 224)), (375, 500, (96, 96)),
                                                        (256, 512, (64, 128)), (301, 200, (150, 100))])  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_fit_is_near_pillow(height, width, frame, channels):
    pixels = photo(height, width)[..., :channels]
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    want = np.asarray(ImageOps.fit(image, frame[::-1], Image.Resampling.BICUBIC)).reshape(*frame, channels)
    difference = np.abs(_decode.fit(pixels, *frame, channels).astype(int) - want)
    assert difference.mean() < (3 if height in (301, 375) else 0.1)  # there half a pixel off centre
    if height == width:
        assert difference.max() <= 2


def test_threads_of_torch_are_not_started(tmp_path):
    code = """
import os, numpy as np, torch
from lamina.data._decode import fit
from lamina.data._threads import in_threads
torch.set_num_threads(4)
pixels = np.zeros((480, 640, 3), np.uint8)
before = len(os.listdir("/proc/self/task"))
most = max(in_threads(lambda _: (fit(pixels, 224, 224, 3), len(os.listdir("/proc/self/task")))[1], range(64)))
print(most - before - len(os.sched_getaffinity(0)))
"""
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("Linux tells threads")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 0


# ---------------------------------------------------------------- packing


def part_of(store):
    return next(iter(store.glob("*.part")), None)


def test_a_killed_pack_goes_on(files, tmp_path, monkeypatch):
    store = tmp_path / "store"
    want = np.array(Pictures.of_files(files).pack((3, 32, 32)))
    monkeypatch.setattr(_store, "BLOCK", 2 * 3 * 32 * 32)
    monkeypatch.setattr(_store, "JOURNAL", 4 * 3 * 32 * 32)
    opened = []

    def stop(self, row, side=None):
        opened.append(row)
        if row == 27:
            raise KeyboardInterrupt
        return decode(self.paths[row], side)

    with monkeypatch.context() as patch:
        patch.setattr(Pictures, "open", stop)
        with pytest.raises(KeyboardInterrupt):
            Pictures.of_files(files).pack((3, 32, 32), store)
        part = part_of(store)
        kept = len([c for line in part.with_suffix(".journal").read_text().splitlines() for c in json.loads(line)])
        assert 8 <= kept <= 26
        opened.clear()
        patch.setattr(
            Pictures, "open", lambda self, row, side=None: opened.append(row) or decode(self.paths[row], side)
        )
        assert (Pictures.of_files(files).pack((3, 32, 32), store) == want).all()
    assert sorted(opened) == list(range(kept, 40))
    assert not part.exists() and not part.with_suffix(".journal").exists()


@pytest.mark.parametrize("damage", ["row", "cut", "journal", "half", "header", "empty", "negative"])
def test_damage_in_an_unfinished_pack_is_packed_again(files, tmp_path, monkeypatch, damage):
    store = tmp_path / "store"
    want = np.array(Pictures.of_files(files).pack((3, 32, 32)))
    Pictures.of_files(files).pack((3, 32, 32), store)
    whole = next(store.glob("*.npy"))
    content, part, journal = whole.read_bytes(), whole.with_suffix(".part"), whole.with_suffix(".journal")
    checks = np.frombuffer(content[-164:-4], "<u4").tolist()
    whole.unlink()
    wrong = bytearray(content)
    wrong[128 + 9 * 3_072 + 5] ^= 1
    part.write_bytes(
        {"row": bytes(wrong), "cut": content[:40_000], "header": b"x" + content[1:], "empty": b""}.get(damage, content)
    )
    lines = {"journal": "junk", "half": json.dumps(checks[:20]) + "\n[1, 2", "negative": "[-1, -2]"}
    journal.write_text(lines.get(damage, json.dumps(checks)))
    packed = []
    monkeypatch.setattr(
        Pictures, "open", lambda self, row, side=None: packed.append(row) or decode(self.paths[row], side)
    )
    assert (Pictures.of_files(files).pack((3, 32, 32), store) == want).all() and whole.read_bytes() == content
    first = {"row": 9, "cut": 12, "half": 20}.get(damage, 0)
    assert sorted(packed) == list(range(first, 40))


def test_killed_at_any_moment(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo(480, 640)).save(tmp_path / "first.jpg")
    content = (tmp_path / "first.jpg").read_bytes()
    for i in range(300):
        (tmp_path / "photos" / f"{i:03d}.jpg").write_bytes(content + bytes([i % 256, i // 256]))
    code = f"""
import sys
from pathlib import Path
from lamina.data import _store
from lamina.data._pictures import Pictures
_store.JOURNAL = 1 << 20
print("go", flush=True)
packed = Pictures.of_files(sorted(Path({str(tmp_path / "photos")!r}).glob("*"))).pack((3, 224, 224), Path("store"))
print(packed.shape, flush=True)
"""
    kept = []
    for delay in (0.5, 0.55, 0.6, None):
        with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "go\n"
            if delay is None:
                assert process.stdout.readline() == "(300, 3, 224, 224)\n"
                continue
            limit = time.time() + 30
            before = kept[-1] if kept else 0
            while time.time() < limit and process.poll() is None:
                part = part_of(tmp_path / "store")
                if part and part.stat().st_size > before + 3_000_000:
                    break
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
        part = part_of(tmp_path / "store")
        kept.append(part.stat().st_size if part else 0)
    packed = np.load(next((tmp_path / "store").glob("*.npy")), mmap_mode="r")
    want = _decode.fit(decode(tmp_path / "first.jpg", 224), 224, 224, 3).transpose(2, 0, 1)
    assert (packed == want).all() and not part_of(tmp_path / "store")


def test_two_at_once_pack_once(files, tmp_path, monkeypatch):
    opened, store = [], tmp_path / "store"
    monkeypatch.setattr(
        Pictures, "open", lambda self, row, side=None: opened.append(row) or decode(self.paths[row], side)
    )
    made = [None] * 4

    def one(i):
        made[i] = Pictures.of_files(files).pack((3, 32, 32), store)

    threads = [threading.Thread(target=one, args=[i]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(opened) == list(range(40)) and all((m == made[0]).all() for m in made)


def test_a_file_that_changes_meanwhile_is_named(files, tmp_path, monkeypatch):
    pictures = Pictures.of_files(files)
    pictures.fingerprint()
    Image.fromarray(photo(60, 80)).save(files[3])
    with pytest.raises(DataError, match=r"03\.jpg changed after its hash was taken; start again"):
        pictures.pack((3, 32, 32), tmp_path / "store")
    assert not list((tmp_path / "store").glob("*.[np]*"))
    touched = Pictures.of_files(files)
    touched.fingerprint()
    age(files[3], 60)
    touched.pack((3, 32, 32), tmp_path / "store")


def test_memory_is_bounded(tmp_path):
    code = f"""
import os, sys
from pathlib import Path
import numpy as np, torch
from PIL import Image
from lamina.data._pictures import Pictures
def held():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) / 1e3
folder = Path({str(tmp_path)!r})
random = np.random.default_rng(0)
Image.fromarray(random.integers(0, 255, (480, 640, 3), np.uint8)).save(folder / "a.jpg", quality=50)
files = [folder / "a.jpg"] * 1_000
Pictures.of_files(files[:50]).pack((3, 224, 224), folder / "warm")
before = held()
packed = Pictures.of_files(files).pack((3, 224, 224), folder / "store")
print(held() - before, packed.nbytes / 1e6)
"""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("Linux tells memory")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    grown, size = map(float, done.stdout.split())
    assert size > 150 and grown < 16 * max(1, _store.cores() // 2)


# ---------------------------------------------------------------- opening again


def test_unchanged_files_are_not_read_again(files, tmp_path, monkeypatch):
    first = np.array(Pictures.of_files(files).pack((3, 32, 32), tmp_path / "store"))
    read = []
    original = _index.read
    monkeypatch.setattr(_index, "read", lambda path: read.append(path) or original(path))
    monkeypatch.setattr(_store, "_intact", lambda *_: pytest.fail("values read"))
    assert (Pictures.of_files(files).pack((3, 32, 32), tmp_path / "store") == first).all() and not read
    age(files[7], 1_800)
    assert (Pictures.of_files(files).pack((3, 32, 32), tmp_path / "store") == first).all() and read == [str(files[7])]
    Pictures.of_files(files).pack((3, 32, 32), tmp_path / "store")
    assert len(read) == 1


def test_files_that_were_just_written_are_read_again(files, tmp_path, monkeypatch):
    monkeypatch.setattr(_index, "FRESH", 0.2)
    time.sleep(0.6)
    files[0].write_bytes(files[0].read_bytes())
    now = files[0].stat().st_ctime + 0.1
    monkeypatch.setattr(_index.time, "time", lambda: now)  # however long a busy machine takes to come here
    Pictures.of_files(files).pack((3, 32, 32), tmp_path / "store")
    read = []
    original = _index.read
    monkeypatch.setattr(_index, "read", lambda path: read.append(path) or original(path))
    Pictures.of_files(files).pack((3, 32, 32), tmp_path / "store")
    assert read == [str(files[0])]


def test_relative_paths_are_told_apart(files, tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        array = np.full((4, 4, 3), 10 if name == "one" else 20, np.uint8)
        Image.fromarray(array).save(tmp_path / name / "a.bmp")
        os.utime(tmp_path / name / "a.bmp", ns=(10**18, 10**18))
    for name, value in (("one", 10), ("two", 20)):
        monkeypatch.chdir(tmp_path / name)
        assert (Pictures.of_files(["a.bmp"]).pack((3, 4, 4), tmp_path / "store") == value).all()


@pytest.mark.parametrize(
    "content", [b"", b"junk", b"[]", b"{}", b'{"files": 1, "packs": {}}', b'{"files": {"a": 1}, "packs": {}}']
)
def test_damaged_index(files, tmp_path, content):
    want = np.array(Pictures.of_files(files).pack((3, 32, 32), tmp_path / "store"))
    (tmp_path / "store" / "index.json").write_bytes(content)
    assert (Pictures.of_files(files).pack((3, 32, 32), tmp_path / "store") == want).all()
    assert len(json.loads((tmp_path / "store" / "index.json").read_bytes())["files"]) == 40


def test_values_are_checked_once_after_a_start_of_the_machine(files, tmp_path, monkeypatch):
    store = tmp_path / "store"
    want = np.array(Pictures.of_files(files).pack((3, 32, 32), store))
    checked = []
    original = _store._intact
    monkeypatch.setattr(_store, "_intact", lambda *given: checked.append(1) or original(*given))
    monkeypatch.setattr(_index, "_boot", lambda: "another")
    path = next(store.glob("*.npy"))
    content, times = bytearray(path.read_bytes()), path.stat()
    for _ in range(2):
        Pictures.of_files(files).pack((3, 32, 32), store)
    assert checked == [1]
    monkeypatch.setattr(_index, "_boot", lambda: "a third")
    content[5_000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (Pictures.of_files(files).pack((3, 32, 32), store) == want).all()


def test_another_decoder_packs_anew(files, tmp_path, monkeypatch):
    Pictures.of_files(files).pack((3, 32, 32), tmp_path / "store")
    monkeypatch.setattr(_store, "versions", lambda: "another")
    Pictures.of_files(files).pack((3, 32, 32), tmp_path / "store")
    assert len(list((tmp_path / "store").glob("*.npy"))) == 2


# ---------------------------------------------------------------- threads


def test_ahead_keeps_order_and_window():
    begun, taken = [], []

    def one(i):
        begun.append(i)
        time.sleep(0.002 * (i % 3))
        return i * i

    for made in _threads.ahead(one, 30, 4):
        taken.append(made)
        assert max(begun) < len(taken) + 4
    assert taken == [i * i for i in range(30)]
    assert list(_threads.ahead(one, 0, 4)) == [] and list(_threads.ahead(one, 2, 4)) == [0, 1]


def test_in_threads_keeps_order_and_raises():
    for count in (0, 1, 7, 8, 9, 100):
        assert _threads.in_threads(lambda i: i + 1, range(count)) == list(range(1, count + 1))
    with pytest.raises(ZeroDivisionError):
        _threads.in_threads(lambda i: 1 // (50 - i), range(100))


# ---------------------------------------------------------------- streaming


@pytest.fixture
def table(files):
    target = Column(Field("class", "label", ("a", "b")), np.arange(40) % 2)
    image = Column(Field("image", "image", shape=(3, 32, 32)), Pictures.of_files(files))
    numbers = Column(Field("x", "number"), np.arange(40.0))
    return Table({"image": image, "x": numbers, "class": target}, "made", "memory", np.arange(40).astype(object))


def both(table, folder):
    fields = [table["image"].field, table["x"].field]
    return [
        Batches(table, fields, table["class"].field, torch.device("cpu"), folder, resident=r) for r in (True, False)
    ]


def test_streamed_batches_are_the_same(table, tmp_path):
    resident, streamed = both(table, tmp_path / "store")
    assert "image" in resident.tensors and "image" not in streamed.tensors and resident.stream is None
    assert resident.image_shape == streamed.image_shape == (3, 32, 32)
    for rows in ([3], [0, 1, 2, 3], [39, 0, 5, 5, 6, 7, 2], list(range(40)), [], [7] * 9):
        rows = torch.tensor(rows, dtype=torch.int64)
        for ahead in (False, True):
            if ahead:
                streamed.ahead(rows)
            a, b = resident.get(rows), streamed.get(rows)
            assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a if k != "numbers" or len(rows))
    for size in (1, 7, 40, 64):
        for start in range(0, 40, size):
            a, b = resident.slice(start, start + size), streamed.slice(start, start + size)
            assert all(torch.equal(a[k], b[k]) for k in a)


def test_reading_without_preadv_is_the_same(table, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "preadv")
    resident, streamed = both(table, tmp_path / "store")
    rows = torch.tensor([5, 2, 9, 10, 11])
    assert torch.equal(resident.get(rows)["image"], streamed.get(rows)["image"])


def test_only_so_many_batches_are_held(table, tmp_path):
    stream = both(table, tmp_path / "store")[1].stream
    for start in range(0, 30, 3):
        stream.ahead(np.arange(start, start + 3))
        assert len(stream._begun) <= _stream.AHEAD
    assert stream.bound(3) == (_stream.AHEAD + 2) * 3 * 3 * 32 * 32


def test_a_store_that_is_cut_short(table, tmp_path):
    streamed = both(table, tmp_path / "store")[1]
    os.truncate(next((tmp_path / "store").glob("*.npy")), 10_000)
    with pytest.raises(DataError, match=r"\.npy was cut short while it was read; start again"):
        streamed.get(torch.tensor([39]))


def test_streaming_needs_a_store(table):
    with pytest.raises(SettingError, match="resident=False needs pictures in a store"):
        Batches(table, [table["image"].field], None, torch.device("cpu"), None, resident=False)


def test_what_does_not_fit_is_streamed(table, tmp_path, monkeypatch):
    fields = [table["image"].field]
    assert Batches(table, fields, None, torch.device("cpu"), tmp_path / "store").note(8) == ""
    monkeypatch.setattr(_batches, "memory", lambda: 200_000)
    batches = Batches(table, fields, None, torch.device("cpu"), tmp_path / "store")
    assert batches.note(8) == "Pictures stay in the store (0 MB) and are read ahead: at most 0 MB are in memory."
    assert Batches(table, fields, None, torch.device("cpu")).stream is None


def test_training_and_score_are_the_same_bits(photos, tmp_path, monkeypatch):
    table, made = lamina.open(photos), []
    for share in (1.0, 0.0):
        monkeypatch.setattr(_batches, "SHARE", share)
        run = lamina.fit(
            table, run=tmp_path / f"run{share}", net="resnet", net_settings={"width": "4", "blocks": "1,1"}, epochs=2
        )
        path = tmp_path / f"run{share}"
        log = (path / "log.jsonl").read_text()
        assert ("Pictures stay in the store" in log) == (share == 0.0)
        made.append((path / "best.safetensors").read_bytes())
        made.append(run.score().value)
        made.append(json.dumps(run.score().baselines))
    assert made[1:3] == made[4:6]
    from safetensors.torch import load

    first, second = load(made[0]), load(made[3])
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_a_store_four_times_the_memory(tmp_path):
    """A limit on the process's own memory (RLIMIT_DATA: file maps and the system's cache of files do not count)."""
    code = f"""
import hashlib, resource, threading
from pathlib import Path
import numpy as np, torch
from lamina.data._batches import Batches
from lamina.data._pictures import Pictures
from lamina.data._stream import READERS
from lamina.data._table import Column, Field, Table
torch.set_num_threads(1)
folder, allowed = Path({str(tmp_path)!r}), 50_000_000
image = np.lib.format.open_memmap(folder / "a.npy", mode="r")
column = Column(Field("image", "image", shape=(3, 224, 224)), Pictures.of_array(image))
table = Table({{"image": column}}, "made", "memory", np.arange(len(image)).astype(object))
streamed = Batches(table, [column.field], None, torch.device("cpu"), folder / "store", resident=False)
order = torch.from_numpy(np.random.default_rng(0).permutation(len(image)))
streamed.get(order[:4])
met = threading.Barrier(READERS)  # the stack of a thread is 8 MB, and one that idles takes the next part alone: all are there
list(streamed.stream._pool.map(lambda _: met.wait(), range(READERS)))
assert streamed.stream.packed.nbytes > 4 * allowed
status = dict(line.split(":") for line in open("/proc/self/status"))
held = int(status["VmData"].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + allowed, held + allowed))
try:
    Batches(table, [column.field], None, torch.device("cpu"), folder / "store", resident=True)
    print("fits")
except (MemoryError, RuntimeError):
    print("refused")
digest, parts = hashlib.sha256(), order.split(16)
for i, rows in enumerate(parts):
    batch = streamed.get(rows)["image"]
    streamed.ahead(parts[(i + 1) % len(parts)])
    digest.update(batch.numpy().data)
print(digest.hexdigest())
"""
    if sys.platform != "linux":
        pytest.skip("Linux limits what a process holds")
    images = np.random.default_rng(1).integers(0, 256, (1_400, 224, 224, 3), np.uint8)
    np.save(tmp_path / "a.npy", images)
    import hashlib

    digest = hashlib.sha256()
    for row in np.random.default_rng(0).permutation(len(images)):
        digest.update(np.ascontiguousarray(images[row].transpose(2, 0, 1)).data)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["refused", digest.hexdigest()], done.stderr


def test_packs_that_nobody_opens_are_removed(tmp_path):
    folder = tmp_path / "store"

    def make(value):
        path = tmp_path / f"{value}.png"
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)
        return Pictures.of_files([path]).pack((3, 4, 4), folder)

    for value in (1, 2):
        make(value)
    first, second = sorted(folder.glob("*.npy"), key=lambda p: p.stat().st_mtime_ns)
    for pack in (first, second):
        os.utime(pack, (0, 0))  # written long ago; both were opened today
    make(3)
    assert first.exists() and second.exists()
    known = json.loads((folder / "index.json").read_text())
    known["used"][second.name] -= 31
    (folder / "index.json").write_text(json.dumps(known))
    make(4)
    assert first.exists() and not second.exists()
    assert second.name not in json.loads((folder / "index.json").read_text())["used"]
    assert make(2).max() == 2
