"""Pictures: every format and mode decodes, every bad file is named, packing is Pillow's resize, caches are sound."""

import hashlib
import os
import re
import struct
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from lamina.core.errors import DataError
from lamina.data import _decode, _store, _threads
from lamina.data._pictures import Pictures, decode, inspect

RAMP = np.linspace(20, 220, 48 * 64).astype(np.uint8).reshape(48, 64)
RGB = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], 2)
NOISE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
SAVES = {
    "png": {}, "bmp": {}, "tiff": {}, "webp": {"lossless": True}, "ppm": {}, "jpg": {"quality": 95},
    "gif": {}, "jpeg": {"progressive": True},
}  # fmt: skip


def saved(path, array=RGB, **how):
    Image.fromarray(array).save(path, **how)
    return path


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(path, width, height, *chunks):
    """The beginning of a PNG: a header that claims a size, and no pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", b""))
    return path


# ---------------------------------------------------------------- formats and modes


@pytest.mark.parametrize(
    ("suffix", "near"),
    [("png", 0), ("bmp", 0), ("tiff", 0), ("webp", 0), ("ppm", 0), ("jpg", 12), ("jpeg", 12), ("gif", 40)],
)
def test_formats(tmp_path, suffix, near):
    pixels = decode(saved(tmp_path / f"a.{suffix}", **SAVES[suffix]))
    assert pixels.shape == (48, 64, 3) and pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    assert np.abs(pixels.astype(int) - RGB).max() <= near


@pytest.mark.parametrize(
    ("mode", "suffix", "want"),
    [
        ("L", "png", RAMP[..., None]),
        ("L", "jpg", RAMP[..., None]),
        ("1", "png", (RAMP[..., None] >= 128) * 255),
        ("LA", "png", RAMP[..., None]),
        ("RGB", "tiff", RGB),
        ("RGBA", "png", RGB),
        ("RGBA", "tiff", RGB),
        ("RGBA", "webp", RGB),
        ("CMYK", "tiff", RGB),
        ("CMYK", "jpg", RGB),
        ("YCbCr", "jpg", RGB),
    ],
)
def test_modes(tmp_path, mode, suffix, want):
    first = Image.fromarray(RAMP if mode in ("L", "1", "LA") else RGB)
    image = first.convert("1", dither=Image.Dither.NONE) if mode == "1" else first.convert(mode)
    image.save(
        tmp_path / f"a.{suffix}",
        **({"lossless": True} if suffix == "webp" else {"quality": 95} if suffix == "jpg" else {}),
    )
    pixels = decode(tmp_path / f"a.{suffix}")
    assert pixels.shape == want.shape
    assert np.abs(pixels.astype(int) - want).max() <= (12 if suffix == "jpg" else 1)


@pytest.mark.parametrize(
    ("array", "suffix", "want"),
    [
        (np.array([[0, 257, 0x8000, 65_535]], np.uint16), "png", [0, 1, 128, 255]),
        (np.array([[0, 257, 0x8000, 65_535]], np.uint16), "tiff", [0, 1, 128, 255]),
        (
            np.array([[0, 100, 200, 255]], np.uint16),
            "png",
            [0, 0, 1, 1],
        ),  # dark stays dark: the rule is that of the format
        (np.array([[0, 100, 200, 255]], np.int32), "tiff", [0, 100, 200, 255]),
        (np.array([[-1000, 0, 1000, 3000]], np.int32), "tiff", [0, 64, 128, 255]),
        (np.array([[0, 0.25, 0.5, 1]], np.float32), "tiff", [0, 64, 128, 255]),
        (np.array([[0, 10, 20, 254]], np.float32), "tiff", [0, 10, 20, 254]),
        (np.array([[-300, 0, 300, 900]], np.float32), "tiff", [0, 64, 128, 255]),
    ],
)
def test_deep_pictures(tmp_path, array, suffix, want):
    pixels = decode(saved(tmp_path / f"a.{suffix}", array))
    assert pixels.shape == (1, 4, 1) and np.abs(pixels[0, :, 0].astype(int) - want).max() <= 1
    assert Pictures.of_files([tmp_path / f"a.{suffix}"]).channels() == 1


def test_big_endian_16_bits(tmp_path):
    values = np.array([[0, 257, 0x8000, 65_535]], np.uint16)
    (tmp_path / "a.pgm").write_bytes(b"P5 4 1 65535\n" + values.astype(">u2").tobytes())
    assert np.abs(decode(tmp_path / "a.pgm")[0, :, 0].astype(int) - [0, 1, 128, 255]).max() <= 1
    Image.frombytes("I;16B", (4, 1), values.astype(">u2").tobytes()).save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as image:
        assert image.mode == "I;16B"
    assert np.abs(decode(tmp_path / "a.tif")[0, :, 0].astype(int) - [0, 1, 128, 255]).max() <= 1


def test_alpha_lies_over_white(tmp_path):
    array = np.zeros((1, 3, 4), np.uint8)
    array[0, :, :3], array[0, :, 3] = (10, 20, 30), (0, 128, 255)
    assert decode(saved(tmp_path / "a.png", array)).tolist() == [[[255, 255, 255], [132, 137, 142], [10, 20, 30]]]
    grey = Image.fromarray(np.full((1, 2), 100, np.uint8))
    grey.putalpha(Image.fromarray(np.array([[0, 255]], np.uint8)))
    grey.save(tmp_path / "la.png")
    assert decode(tmp_path / "la.png").tolist() == [[[255], [100]]]


@pytest.mark.parametrize("transparency", [1, b"\xff\x00\xff", None])
@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_palette(tmp_path, suffix, transparency):
    if suffix == "gif" and isinstance(transparency, bytes):
        pytest.skip("GIF has one transparent colour")
    image = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / f"a.{suffix}", **({} if transparency is None else {"transparency": transparency}))
    middle = [40, 50, 60] if transparency is None else [255, 255, 255]
    assert decode(tmp_path / f"a.{suffix}").tolist() == [[[10, 20, 30], middle, [70, 80, 90]]]


def test_adobe_cmyk_and_ycck(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (16, 16), (200, 127, 127, 55)).save(path, quality=100)
    assert np.abs(decode(path)[8, 8].astype(int) - [43, 100, 100]).max() <= 3  # (255 - k) * (255 - c) / 255
    content = path.read_bytes()
    at = content.index(b"Adobe") + 11  # the byte that says how the four channels are coded
    assert content[at] == 0
    path.write_bytes(content[:at] + b"\x02" + content[at + 1 :])
    assert np.abs(decode(path)[8, 8].astype(int) - 157).max() <= 3  # YCC (55, 128, 128) is ink 200: 200 * 200 / 255


def test_first_frame_of_many(tmp_path):
    frames = [Image.fromarray(RAMP), Image.fromarray(RAMP[::-1])]
    for name, how in (("a.gif", {}), ("a.tiff", {}), ("a.webp", {"lossless": True}), ("a.png", {})):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **how)
        assert (decode(tmp_path / name)[..., 0] == RAMP).all()
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert np.abs(decode(tmp_path / "a.jpg")[..., 0].astype(int) - RAMP).max() <= 12


STORE = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> Image.Transpose that stores it so


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
def test_exif_rotation_is_applied_once(tmp_path, suffix, orientation):
    image = Image.fromarray(RGB)
    stored = image.transpose(Image.Transpose(STORE[orientation])) if orientation > 1 else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **SAVES[suffix])
    assert np.abs(decode(tmp_path / f"a.{suffix}").astype(int) - RGB).max() <= (12 if suffix == "jpg" else 0)
    assert Pictures.of_files([tmp_path / f"a.{suffix}"]).sizes().tolist() == [[48, 64]]


def test_exif_behind_the_pixels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "a.png")
    content = path.read_bytes()
    path.write_bytes(content[:-12] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + content[-12:])
    assert (decode(path) == np.rot90(RGB, -1)).all()
    assert Pictures.of_files([path]).sizes().tolist() == [[64, 48]]


@pytest.mark.parametrize("exif", [b"Exif\0\0junk", b"", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_damaged_exif_loses_no_picture(tmp_path, exif):
    path = saved(tmp_path / "a.jpg", exif=exif, quality=95)
    assert decode(path).shape == (48, 64, 3) and Pictures.of_files([path]).sizes().tolist() == [[48, 64]]


def test_content_decides_not_the_name(tmp_path):
    saved(tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert (decode(tmp_path / "a.jpg") == RGB).all() and inspect([tmp_path / "a.jpg"]) == [""]


# ---------------------------------------------------------------- bad files


@pytest.mark.parametrize("cut", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("suffix", list(SAVES))
def test_truncated_files_are_found(tmp_path, suffix, cut):
    path = saved(tmp_path / f"a.{suffix}", NOISE, **SAVES[suffix])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(DataError, match=rf"a\.{suffix} is truncated or damaged \(.+\)\.$"):
        decode(path)
    assert inspect([path])[0].startswith("is truncated or damaged (")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"not a picture", "is not a picture, whatever its name says"),
        (b"\0" * 500, "is not a picture, whatever its name says"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "is not a picture, whatever its name says"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "is a HEIC or AVIF picture, which is not read; save it as JPEG or PNG"),
        (b"\xff\xd8\xff\xe0", r"is truncated or damaged \(its header is incomplete\)"),
        (b"\x89PNG\r\n\x1a\n" + b"junk" * 9, "is truncated or damaged"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for ask in (decode, lambda p: Pictures.of_files([p]).sizes(), lambda p: Pictures.of_files([p]).pack((1, 8, 8))):
        with pytest.raises(DataError, match=f"^{re.escape(str(path))} {message}"):
            ask(path)


def test_gone_folder_and_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name, message in (
        ("gone.png", "does not exist"),
        ("folder.png", "is not a file"),
        ("pipe.png", "is not a file"),
    ):
        with pytest.raises(DataError, match=f"{name} {message}"):
            decode(tmp_path / name)
    with pytest.raises(DataError, match=r"gone\.png does not exist"):
        Pictures.of_files([tmp_path / "gone.png"]).fingerprint()


@pytest.mark.parametrize(("width", "height"), [(100_001, 1_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_refused_unopened(tmp_path, width, height):
    path = png(tmp_path / "a.png", width, height)
    for ask in (decode, lambda p: Pictures.of_files([p]).sizes()):
        with pytest.raises(DataError, match=r"a\.png has more pixels than the limit of 100,000,000; make it smaller"):
            ask(path)


def test_no_warning_below_the_limit(tmp_path):
    path = png(tmp_path / "a.png", 9_900, 9_900)  # Pillow warns from 89 million pixels on
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert Pictures.of_files([path]).sizes().tolist() == [[9_900, 9_900]]
    assert not caught


def test_threads_leave_the_warning_filters_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(_threads, "cores", lambda: 8)
    paths = [saved(tmp_path / f"{i}.png") for i in range(24)]
    before = list(warnings.filters)
    for _ in range(6):
        assert inspect(paths) == [""] * 24
    assert warnings.filters == before


def test_quiet_until_the_last_thread_has_left():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with _decode._quiet:
            with _decode._quiet:
                pass
            warnings.warn("from the picture", stacklevel=1)
        warnings.warn("from elsewhere", stacklevel=1)
    assert [str(w.message) for w in caught] == ["from elsewhere"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_permission(tmp_path):
    path = saved(tmp_path / "a.png")
    path.chmod(0)
    with pytest.raises(DataError, match=r"a\.png cannot be read: permission denied"):
        decode(path)


def test_permission_without_being_refused(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = saved(tmp_path / "a.png")
    monkeypatch.setattr(_decode.Image, "open", refuse)
    assert inspect([path]) == ["cannot be read: permission denied"]


def test_any_failure_of_a_decoder_is_a_data_error(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise struct.error("unpack requires a buffer")

    path = saved(tmp_path / "a.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(DataError, match=r"a\.png is truncated or damaged \(unpack requires a buffer\)"):
        decode(path)


def test_large_pictures_decode_one_at_a_time(tmp_path, monkeypatch):
    inside, most = [], []
    original = _decode._pixels

    def slow(image):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return original(image)

    monkeypatch.setattr(_decode, "_pixels", slow)
    monkeypatch.setattr(_threads, "cores", lambda: 4)
    paths = [saved(tmp_path / f"{i}.png") for i in range(8)]
    inspect(paths)
    assert max(most) > 1
    most.clear()
    monkeypatch.setattr(_decode, "LARGE", 100)
    inspect(paths)
    assert max(most) == 1


def test_inspect_keeps_the_order(tmp_path):
    paths = [saved(tmp_path / f"{i}.png") if i % 3 else tmp_path / f"{i}.png" for i in range(12)]
    assert [bool(w) for w in inspect(paths)] == [i % 3 == 0 for i in range(12)]
    assert inspect(paths)[0] == "does not exist"


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize(
    ("values", "want"),
    [
        (np.array([0, 7, 255], np.uint8), [0, 7, 255]),
        (np.array([False, True, True]), [0, 255, 255]),
        (np.array([0, 0.5, 1.0]), [0, 128, 255]),
        (np.array([-1, 0, 1.0], np.float32), [0, 128, 255]),
        (np.array([0, 7.4, 254.6]), [0, 7, 255]),
        (np.array([0, 7, 255], np.int64), [0, 7, 255]),
        (np.array([0, 7, 255], np.uint16), [0, 7, 255]),
        (np.array([0, 2048, 4095], np.uint16), [0, 128, 255]),
        (np.array([0, 0x8000, 65_535], np.uint16), [0, 128, 255]),
        (np.array([0, 0x8000, 65_535], ">u2"), [0, 128, 255]),
        (np.array([-100, 0, 100], np.int16), [0, 128, 255]),
        (np.array([1e6, 2e6, 3e6]), [0, 128, 255]),
        (np.array([400.0, 400.0, 400.0]), [0, 0, 0]),
    ],
)
def test_arrays_become_bytes(values, want):
    made = Pictures.of_array(np.tile(values, (5, 4, 1))).array
    assert made.dtype == np.uint8 and made.shape == (5, 4, 3, 1)
    assert np.abs(made[2, 1, :, 0].astype(int) - want).max() <= (1 if values.min() < -1 else 0)


def test_conversion_in_parts_is_the_same(monkeypatch):
    array = np.random.default_rng(0).random((20, 6, 5, 3))
    whole = Pictures.of_array(array).array
    monkeypatch.setattr(_decode, "CHUNK", 8 * 6 * 5 * 3 * 3)  # three pictures at once
    assert (Pictures.of_array(array).array == whole).all() and (whole == np.round(array * 255)).all()


@pytest.mark.parametrize(
    ("shape", "want"),
    [
        ((2, 5, 6), (5, 6, 1)),
        ((2, 5, 6, 3), (5, 6, 3)),
        ((2, 3, 5, 6), (5, 6, 3)),
        ((2, 1, 5, 6), (5, 6, 1)),
        ((2, 4, 5, 6), (5, 6, 3)),
        ((2, 3, 5, 3), (3, 5, 3)),
    ],
)
def test_shapes(shape, want):
    array = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    pictures = Pictures.of_array(array)
    assert pictures.open(1).shape == want and pictures.sizes().tolist() == [list(want[:2])] * 2
    if shape[1] == 3 and shape[3] != 3:
        assert (pictures.open(1) == array[1].transpose(1, 2, 0)).all()


@pytest.mark.parametrize("shape", [(5,), (5, 5), (2, 5, 6, 2), (2, 5, 6, 7), (2, 0, 6), (2, 5, 6, 3, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(DataError, match=rf"1, 3 or 4 channels, not \({shape[0]},"):
        Pictures.of_array(np.zeros(shape))


@pytest.mark.parametrize(("value", "row"), [(np.nan, 3), (np.inf, 2), (-np.inf, 0)])
def test_not_finite_names_the_row(value, row):
    array = np.zeros((5, 4, 4))
    array[row, 1, 2] = value
    with pytest.raises(DataError, match=f"picture {row} holds NaN or inf"):
        Pictures.of_array(array)


def test_objects_are_refused():
    with pytest.raises(DataError, match="must be numbers, not object"):
        Pictures.of_array(np.full((2, 3, 3), None))


# ---------------------------------------------------------------- rows


@pytest.fixture
def files(tmp_path):
    """Seven colour pictures of different sizes."""
    random, folder = np.random.default_rng(3), tmp_path / "photos"
    folder.mkdir()
    return [saved(folder / f"{i}.png", random.integers(0, 255, (20 + i, 30 - i, 3), np.uint8)) for i in range(7)]


def test_take(files):
    pictures = Pictures.of_files(files)
    for warm in (False, True):
        if warm:
            pictures.hashes(), pictures.sizes()
        taken = pictures.take(np.array([4, 1]))
        assert len(taken) == 2 and (taken.open(0) == decode(files[4])).all()
        assert taken.sizes().tolist() == [[24, 26], [21, 29]]
        assert taken.fingerprint() == Pictures.of_files([files[4], files[1]]).fingerprint()
    array = Pictures.of_array(np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 2, 2), np.uint8))
    assert array.take(np.array([False, True, False, True])).array[:, 0, 0, 0].tolist() == [1, 3]


def test_channels_look_at_content(tmp_path):
    grey = saved(tmp_path / "rgb.png", np.repeat(RAMP[..., None], 3, 2))
    Image.fromarray(RAMP).convert("P").save(tmp_path / "p.png")
    Image.fromarray(RAMP).convert("LA").save(tmp_path / "la.png")
    files = [grey, tmp_path / "p.png", tmp_path / "la.png"]
    assert Pictures.of_files(files).channels() == 1
    assert Pictures.of_files([*files, saved(tmp_path / "c.png")]).channels() == 3
    assert Pictures.of_array(np.repeat(RAMP[None, ..., None], 3, 3)).channels() == 1
    assert Pictures.of_array(RGB[None]).channels() == 3


def test_one_colour_picture_among_many_grey_ones(tmp_path):
    paths = [saved(tmp_path / f"{i}.png", RAMP[:4, :4]) for i in range(150)]
    assert Pictures.of_files(paths).channels() == 1
    saved(paths[71], RGB[:4, :4])
    assert Pictures.of_files(paths).channels() == 3


def test_sizes_decode_nothing(files, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("decoded"))
    assert Pictures.of_files(files).sizes().tolist() == [[20 + i, 30 - i] for i in range(7)]


def test_fingerprint_is_the_content(files, tmp_path):
    whole = Pictures.of_files(files).fingerprint()
    moved = [Path(p).rename(tmp_path / p.name) for p in files]
    assert Pictures.of_files(moved).fingerprint() == whole
    assert Pictures.of_files(moved[::-1]).fingerprint() != whole
    flat = np.arange(64, dtype=np.uint8)
    shapes = [(1, 8, 8), (1, 4, 16), (4, 4, 4)]
    assert len({Pictures.of_array(flat.reshape(s)).fingerprint() for s in shapes}) == 3


def test_files_are_never_changed(files):
    before = [(hashlib.sha256(p.read_bytes()).digest(), p.stat().st_mtime_ns) for p in files]
    pictures = Pictures.of_files(files)
    (
        pictures.sizes(),
        pictures.channels(),
        pictures.fingerprint(),
        pictures.open(0),
        pictures.pack((3, 8, 8)),
        inspect(files),
    )
    assert [(hashlib.sha256(p.read_bytes()).digest(), p.stat().st_mtime_ns) for p in files] == before


# ---------------------------------------------------------------- packing


def covering(image, height, width, mode):
    """Pillow's own resize of the largest centred box that has the frame's proportions."""
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
    box = (left, top, left + scale * width, top + scale * height)
    return np.asarray(image.convert(mode).resize((width, height), Image.Resampling.BICUBIC, box=box))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 12), (64, 64), (40, 10)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pack_is_the_resize_of_pillow(files, height, width, channels):
    packed = Pictures.of_files(files).pack((channels, height, width))
    assert packed.shape == (7, channels, height, width) and packed.dtype == np.uint8 and packed.flags.c_contiguous
    for i, path in enumerate(files):
        with Image.open(path) as image:
            want = covering(image, height, width, "RGB" if channels == 3 else "L")
        got = packed[i].transpose(1, 2, 0) if channels == 3 else packed[i, 0]
        assert np.abs(got.astype(int) - want).max() <= 1


def test_large_jpegs_are_decoded_small(tmp_path, monkeypatch):
    big = Image.fromarray(RGB).resize((1_600, 1_200), Image.Resampling.BICUBIC)
    big.save(tmp_path / "a.jpg", quality=95)
    seen = []
    original = _decode.fit
    monkeypatch.setattr(_decode, "fit", lambda pixels, *frame: seen.append(pixels.shape) or original(pixels, *frame))
    packed = Pictures.of_files([tmp_path / "a.jpg"]).pack((3, 64, 64))
    assert seen == [(150, 200, 3)]
    assert np.abs(packed[0].transpose(1, 2, 0).astype(int) - covering(big, 64, 64, "RGB")).mean() < 2


def test_fitting_arrays_are_not_copied():
    grey = np.zeros((3, 8, 8), np.uint8)
    first = np.zeros((3, 3, 8, 8), np.uint8)
    for array, channels in ((grey, 1), (first, 3)):
        packed = Pictures.of_array(array).pack((channels, 8, 8))
        assert np.shares_memory(packed, array) and packed.flags.c_contiguous
    last = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 3), np.uint8)
    assert (Pictures.of_array(last).pack((3, 8, 8)) == last.transpose(0, 3, 1, 2)).all()


def test_thin_and_tiny_pictures(tmp_path):
    paths = [
        saved(tmp_path / f"{i}.png", np.full((*shape, 3), 90, np.uint8))
        for i, shape in enumerate([(1, 500), (500, 1), (1, 1)])
    ]
    assert (Pictures.of_files(paths).pack((3, 16, 16)) == 90).all()


def test_cache_is_reopened(files, tmp_path, monkeypatch):
    want = Pictures.of_files(files).pack((3, 16, 16))
    packed = Pictures.of_files(files).pack((3, 16, 16), tmp_path / "store")
    assert isinstance(packed, np.memmap) and not packed.flags.writeable and (packed == want).all()
    monkeypatch.setattr(_store, "_make", lambda *_: pytest.fail("made again"))
    again = Pictures.of_files(files).pack((3, 16, 16), tmp_path / "store")
    assert isinstance(again, np.memmap) and (again == want).all()
    assert len(list((tmp_path / "store").glob("*.npy"))) == 1


def test_cache_follows_content_and_shape(files, tmp_path):
    store = tmp_path / "store"
    first = Pictures.of_files(files).pack((3, 16, 16), store)
    Pictures.of_files(files).pack((1, 16, 16), store)
    saved(files[0], RGB)
    changed = Pictures.of_files(files).pack((3, 16, 16), store)
    assert len(list(store.glob("*.npy"))) == 3
    assert (changed[0] != first[0]).any() and (changed[1:] == first[1:]).all()


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b"junk",
        lambda b: b"PK\x03\x04" + b[4:],
        lambda b: b[:-1],
        lambda b: b[: len(b) // 2],
        lambda b: b + b"\0",
        lambda b: b[:-40] + bytes([b[-40] ^ 1]) + b[-39:],
        lambda b: b.replace(b"(7, 3, 16, 16)", b"(7, 3, 16, 32)"),
        lambda b: b.replace(b"|u1", b"|O "),
        lambda b: b.replace(b"False", b"True "),
    ],
)
def test_damaged_cache_is_made_anew(files, tmp_path, damage):
    store = tmp_path / "store"
    want = np.array(Pictures.of_files(files).pack((3, 16, 16), store))
    path = next(store.glob("*.npy"))
    content = path.read_bytes()
    assert damage(content) != content
    path.write_bytes(damage(content))
    assert (Pictures.of_files(files).pack((3, 16, 16), store) == want).all()
    assert path.read_bytes() == content and len(list(store.glob("*.npy"))) == 1


def test_cache_is_written_in_parts_aside_and_synced(files, tmp_path, monkeypatch):
    want = Pictures.of_files(files).pack((3, 16, 16))
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(_store, "BLOCK", 3 * 16 * 16 * 2)
    monkeypatch.setattr(os, "fsync", lambda number: done.append("fsync") or fsync(number))
    monkeypatch.setattr(os, "replace", lambda a, b: done.append("replace") or replace(a, b))
    assert (Pictures.of_files(files).pack((3, 16, 16), tmp_path / "store") == want).all()
    assert done == ["replace", "fsync", "replace", "replace"]  # journal, pack, pack, index


def test_cache_that_cannot_be_written(files, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file cannot take the packed pictures \(File exists\); free space there"):
        Pictures.of_files(files).pack((3, 16, 16), tmp_path / "file")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"store cannot take the packed pictures \(No space left on device\)"):
        Pictures.of_files(files).pack((3, 16, 16), tmp_path / "store")
    assert {p.name for p in (tmp_path / "store").iterdir()} <= {"lock"}


def test_bad_file_leaves_nothing_in_the_cache(files, tmp_path):
    files[3].write_bytes(files[3].read_bytes()[:200])
    with pytest.raises(DataError, match=r"3\.png is truncated"):
        Pictures.of_files(files).pack((3, 16, 16), tmp_path / "store")
    assert {p.name for p in (tmp_path / "store").iterdir()} <= {"lock"}


def test_leftovers_of_killed_processes_go(files, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    for name, age in (("old.part", 30 * 86_400), ("young.part", 86_400)):
        (store / name).write_bytes(b"x")
        os.utime(store / name, (time.time() - age, time.time() - age))
    Pictures.of_files(files).pack((3, 16, 16), store)
    assert sorted(p.suffix for p in store.glob("*.*")) == [".json", ".npy", ".part"] and (store / "young.part").exists()


def test_mapped_arrays_are_packed_through_the_cache(tmp_path):
    last = np.random.default_rng(0).integers(0, 255, (5, 8, 8, 3), np.uint8)
    np.save(tmp_path / "a.npy", last)
    mapped = Pictures.of_array(np.load(tmp_path / "a.npy", mmap_mode="r"))
    packed = mapped.pack((3, 8, 8), tmp_path / "store")
    assert isinstance(packed, np.memmap) and (packed == last.transpose(0, 3, 1, 2)).all()


def test_no_rows(tmp_path):
    none = Pictures.of_files([])
    assert len(none) == 0 and none.sizes().shape == (0, 2) and none.channels() == 1
    assert none.pack((3, 8, 8), tmp_path / "store").shape == (0, 3, 8, 8) and len(none.fingerprint()) == 64


def test_imports_no_torch():
    code = "import sys, lamina.data._pictures, lamina.data.folder, lamina.data.idx; sys.exit(any(m in sys.modules for m in ('torch', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
