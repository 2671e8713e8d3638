"""Decoding: a picture file of any kind, or an array of any number type, becomes uint8 pixels; and these fit a frame.

Pixels are uint8 (height, width, channels), EXIF rotation applied once, transparent pixels over white.
Usual JPEGs go straight to libjpeg-turbo, with the same pixels as through Pillow: a quarter less time a picture.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import stat
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL
import simplejpeg
from PIL import Image, ImageOps, PngImagePlugin

from lamina.core.errors import DataError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF")  # no other decoder runs: EPS would start Ghostscript
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM", b"GIF8", b"II*\x00", b"MM\x00*", b"P5", b"P6")
PNG = b"\x89PNG\r\n\x1a\n"
USUAL = frozenset((b"IHDR", b"IDAT", b"IEND", b"pHYs", b"gAMA", b"sRGB", b"tIME"))  # parts without a say in decode
GREY = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B")  # modes of Pillow
MAX_PIXELS = 100_000_000
LARGE = 25_000_000  # pixels, over which pictures are decoded one at a time, to bound memory
HEAD = 1 << 18  # bytes of a JPEG in which EXIF and XMP stand
CHUNK = 1 << 26  # bytes that are converted at once
KERNEL = 128  # pixels a side from which torch's kernel resizes: 0.22 ms against Pillow's 1.0 from 240x240 to 224x224
VERSION = 3  # of decoding and resizing here; another one packs anew


class _Quiet:
    """No warnings while any thread is inside; catch_warnings alone loses the filters when threads overlap."""

    def __init__(self) -> None:
        self.lock, self.inside, self.caught = threading.Lock(), 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.caught.enter_context(warnings.catch_warnings(action="ignore"))
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.caught.close()


_quiet, _one_large = _Quiet(), threading.Lock()


@contextlib.contextmanager
def _opened(path: Path | bytes) -> Iterator[Image.Image]:
    """A picture file, or its content, its header read. What goes wrong becomes a DataError that names the file."""
    try:
        if isinstance(path, Path) and path.exists() and not path.is_file():  # a pipe would wait for ever
            raise DataError(f"{path} is not a file.")
        Image.preinit()  # the usual formats; for the others, behind them in FORMATS, Pillow loads all that it has: 40 ms
        with _quiet, Image.open(io.BytesIO(path) if isinstance(path, bytes) else path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except DataError:
        raise
    except Exception as error:  # a decoder fails on damaged bytes in more ways than can be listed
        named = "the picture" if isinstance(path, bytes) else path
        raise DataError(f"{named} {reason(path, error)}.") from None


def decode(path: Path | bytes, side: int | None = None) -> np.ndarray:
    """uint8 (height, width, 1|3) of a picture file, or of its content: JPEG, PNG, WebP, BMP, GIF (first frame), TIFF, whatever its suffix.

    16-bit pictures are divided by 257; 32-bit and float ones follow the rule of Pictures.of_array. A JPEG may come
    2, 4 or 8 times smaller, but its shorter side no less than `side`. Raises DataError naming the file and what is
    wrong with it.
    """
    pixels = _turbo(path, side)
    if pixels is None:
        with _opened(path) as image:
            if side:
                image.draft(None, (side, side))
            with _one_large if image.width * image.height > LARGE else contextlib.nullcontext():
                image.load()
                pixels = _turned(_pixels(image), _orientation(image))
    return pixels


def _turbo(path: Path | bytes, side: int | None) -> np.ndarray | None:
    """decode of a usual JPEG; None for what Pillow shall take: other formats and inks, and whatever is wrong with a file."""
    try:
        content = path if isinstance(path, bytes) else _jpeg(path)
        if not content.startswith(BEGINNINGS[0]):
            return None
        *size, inks, _ = simplejpeg.decode_jpeg_header(content)
        height, width = (int(v) for v in size)
        if inks not in ("YCbCr", "Gray", "RGB") or height * width > MAX_PIXELS:
            return None
        turn = 1
        if b"Exif" in content[:HEAD] or b"ns.adobe.com/xap" in content[:HEAD]:
            with _quiet, Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
                turn = _orientation(image)
        shrink = next(s for s in (8, 4, 2, 1) if s == 1 or (side and min(height, width) >= s * side))
        height, width = -(-height // shrink), -(-width // shrink)
        with _one_large if height * width > LARGE else contextlib.nullcontext():
            kept = "GRAY" if inks == "Gray" else "RGB"
            return _turned(simplejpeg.decode_jpeg(content, kept, min_height=height, min_width=width), turn)
    except Exception:  # a warning of libjpeg is enough, and EXIF fails in more ways than can be listed
        return None


def small_png(content: bytes, most: int) -> np.ndarray | None:
    """decode of a usual PNG of `most` pixels and less, in half the time; None for others, and whatever is wrong with one."""
    try:
        (width, height, depth, kind), at, parts = struct.unpack_from(">IIBB", content, 16), 8, []
        while at < len(content):
            length, part = struct.unpack_from(">I4s", content, at)
            parts.append(part)
            at += 12 + length
        usual = content[:8] == PNG and parts[0] == b"IHDR" and parts.count(b"IHDR") == 1 and USUAL.issuperset(parts)
        if not usual or depth != 8 or kind not in (0, 2) or not 0 < width * height <= most:
            return None
        image = PngImagePlugin.PngImageFile(io.BytesIO(content))
        image.load()
        return np.frombuffer(bytearray(image.tobytes()), np.uint8).reshape(height, width, -1)
    except Exception:  # decode says what it is
        return None


def _jpeg(path: Path) -> bytes:
    """The content of a file that begins as a JPEG does; b"" of others."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would wait for ever
        return b""
    with open(path, "rb", buffering=0) as file:
        begin = file.read(3)
        return begin + file.read() if begin == BEGINNINGS[0] else b""


def _turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Pixels as they are to be seen, from how EXIF says that they are stored."""
    pixels = pixels.swapaxes(0, 1) if turn > 4 else pixels
    down, right = -1 if turn in (3, 4, 7, 8) else 1, -1 if turn in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::down, ::right])


def versions() -> str:
    """What packed pixels depend on beside the files."""
    return f"{VERSION} pillow {PIL.__version__} simplejpeg {simplejpeg.__version__}"


def fit(pixels: np.ndarray, height: int, width: int, channels: int) -> np.ndarray:
    """uint8 (h, w, 1|3) -> (height, width, channels): resized to cover the frame (bicubic, antialiased), centre cropped.

    Pictures of KERNEL pixels and more a side are cropped first, the corner on a whole pixel (half a pixel off centre at
    most), and resized by torch, whose values differ from Pillow's by two at most inside the frame.
    """
    box = _whole_box(pixels, height, width)
    if box and pixels.shape[2] == channels:
        return _kernel(pixels[box], height, width)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    array = np.asarray(image)
    return array[..., None] if channels == 1 else array


def stretch(pixels: np.ndarray, height: int, width: int, channels: int) -> np.ndarray:
    """uint8 (h, w, 1|3) -> (height, width, channels): all of the picture, each side resized by itself (bicubic, antialiased)."""
    if pixels.shape[2] == channels and min(*pixels.shape[:2], height, width) >= KERNEL:
        return _kernel(pixels, height, width)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    array = np.asarray(image)
    return array[..., None] if channels == 1 else array


def _whole_box(pixels: np.ndarray, height: int, width: int) -> tuple[slice, slice] | None:
    """The largest centred box of the frame's proportions; None where it is no whole number of pixels, or a small one."""
    tall, wide = pixels.shape[:2]
    if tall * width <= wide * height:
        high, rest = tall, (tall * width) % height
        broad = tall * width // height
    else:
        broad, rest = wide, (wide * height) % width
        high = wide * height // width
    if rest or min(high, broad) < KERNEL:
        return None
    top, left = (tall - high) // 2, (wide - broad) // 2
    return slice(top, top + high), slice(left, left + broad)


def _kernel(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize by torch's kernel for uint8. Copies stay with numpy: in a thread torch would start threads of its own."""
    if pixels.shape[:2] == (height, width):
        return pixels
    import torch
    from torch.nn.functional import interpolate

    image = torch.from_numpy(np.ascontiguousarray(pixels))[None].permute(0, 3, 1, 2)
    made = interpolate(image, (height, width), mode="bicubic", antialias=True)[0]
    return made.permute(1, 2, 0).numpy()


def _orientation(image: Image.Image) -> int:
    """How the picture is stored turned and mirrored, 1 to 8 (EXIF 2.3, tag 0x0112); 1 for TIFF, which Pillow turns."""
    try:
        turn = int(Image.Image.getexif(image).get(0x0112, 1))  # PngImageFile.getexif would decode the pixels
    except Exception:  # damaged EXIF is no reason to lose the picture
        return 1
    return turn if 1 <= turn <= 8 and image.format != "TIFF" else 1


def header(name: str | bytes) -> tuple[int, int, bool]:
    """Height and width after rotation, and whether the mode is grey, of a file or its content; pixels are not decoded."""
    sent = isinstance(name, bytes)
    with _opened(name if sent else Path(name)) as image, io.BytesIO(name) if sent else open(name, "rb") as file:
        if image.format == "PNG" and "exif" not in image.info:  # some tools write EXIF behind the pixels
            file.seek(max(0, file.seek(0, os.SEEK_END) - (1 << 17)))
            if b"eXIf" in file.read():
                image.load()
        width, height = image.size
        return (width, height, image.mode in GREY) if _orientation(image) > 4 else (height, width, image.mode in GREY)


def reason(path: Path | bytes, error: Exception) -> str:
    """What is wrong with a file that could not be decoded."""
    if isinstance(error, PermissionError):
        return "cannot be read: permission denied"
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, Image.DecompressionBombError):
        return f"has more pixels than the limit of {MAX_PIXELS:,}; make it smaller"
    begin, why = b"\x89PNG", "its header is incomplete"
    with (
        contextlib.suppress(OSError, ValueError),
        io.BytesIO(path) if isinstance(path, bytes) else open(path, "rb") as file,
    ):
        begin = file.read(16)
    if not begin:
        return "is empty (0 bytes)"
    if begin[4:8] == b"ftyp":
        return "is a HEIC or AVIF picture, which is not read; save it as JPEG or PNG"
    if not begin.startswith(BEGINNINGS):
        return "is not a picture, whatever its name says"
    if not isinstance(error, Image.UnidentifiedImageError):
        why = str(error).split("\n")[0][:80]
    return f"is truncated or damaged ({why})"


def _pixels(image: Image.Image) -> np.ndarray:
    """uint8 (height, width, 1|3) of any mode of Pillow."""
    if image.mode[0] in "IF":
        array = np.array(image)[None, ..., None]
        has_16_bits = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
        return (_scaled(array, 0, 1 / 257) if has_16_bits else as_bytes(array))[0]
    if image.has_transparency_data:
        return over_white(np.array(image.convert("RGBA")))[..., : 1 if image.mode in GREY else 3]
    array = np.array(image.convert("L" if image.mode in GREY else "RGB"))
    return array[..., None] if array.ndim == 2 else array


def as_bytes(array: np.ndarray) -> np.ndarray:
    """uint8 values of pictures (rows, ...) of any number type, by the rule of Pictures.of_array."""
    if array.dtype == np.uint8:
        return array
    kind = array.dtype.kind
    if kind not in "biuf":
        raise DataError(f"pictures must be numbers, not {array.dtype}.")
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 1.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        row = next(i for i, picture in enumerate(array) if not np.isfinite(picture).all())
        raise DataError(f"picture {row} holds NaN or inf; replace these values.")
    if kind == "b" or (kind == "f" and low >= -1 and high <= 1):
        return _scaled(array, 0, 255) if low >= 0 else _scaled(array, -1, 127.5)
    if low >= 0 and high <= 255:
        return _scaled(array, 0, 1)
    if low >= 0 and high <= 65_535 and kind != "f":
        return _scaled(array, 0, 255 / next(most for most in (1_023, 4_095, 16_383, 65_535) if high <= most))
    return _scaled(array, low, 255 / max(high - low, 1e-300))


def _scaled(array: np.ndarray, low: float, scale: float) -> np.ndarray:
    """uint8 of (value - low) * scale, rounded, a few rows at a time."""
    made, rows = np.empty(array.shape, np.uint8), max(1, CHUNK // (8 * math.prod(array.shape[1:])))
    for start in range(0, len(array), rows):
        made[start : start + rows] = np.round((array[start : start + rows].astype(np.float64) - low) * scale)
    return made


def over_white(array: np.ndarray) -> np.ndarray:
    """RGBA (..., 4) -> RGB (..., 3), transparent parts white."""
    alpha = array[..., 3:].astype(np.uint16)
    return ((array[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
