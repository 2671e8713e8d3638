"""The encoding of a text: what a byte order mark or a header says, else UTF-8, else what charset-normalizer finds."""

from __future__ import annotations

import codecs
import contextlib
from collections import Counter
from pathlib import Path

from lamina.core.errors import DataError

MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
WESTERN = (
    "cp1250",
    "cp1252",
    "latin_1",
    "iso8859_15",
    "cp1257",
    "cp1254",
    "mac_iceland",
    "cp775",
)  # told apart by chance
SAMPLE = 50_000  # bytes that tell the encoding
FOREIGN = 0.1  # share of bytes beyond ASCII below which no other script is looked for
CONTROL = 0.02  # share of control bytes from which on bytes are no text


def decoded(raw: bytes, where: str, named: str | None = None) -> tuple[str, str]:
    """The text of bytes and its encoding; `named` is what a header says, believed where it fits.

    Zero bytes are kept where the rest is text. Raises DataError for bytes that are no text.
    """
    for mark, encoding in MARKS:
        if raw.startswith(mark):
            with contextlib.suppress(UnicodeDecodeError):
                return raw.decode(encoding, "surrogatepass"), name(encoding)
            return raw.decode(encoding, errors="replace"), name(encoding)
    for said in (named, "utf-8"):
        try:
            if said:
                return raw.decode(said), "UTF-8" if said.lower() in ("utf-8", "us-ascii", "ascii") else said.lower()
        except (UnicodeDecodeError, LookupError, ValueError):
            continue
    if is_binary(raw):
        raise DataError(f"{where} is binary, not text.")
    with contextlib.suppress(UnicodeDecodeError):
        return raw.decode("utf-8", "surrogatepass"), "UTF-8, lone surrogates kept"
    encoding = guessed(raw) or "cp1252"
    return raw.decode(encoding, errors="replace"), encoding


def guessed(raw: bytes) -> str | None:
    """The encoding that bytes which are no UTF-8 most likely have; None where none fits."""
    if sum(b > 127 for b in raw[:SAMPLE]) < FOREIGN * min(len(raw), SAMPLE):
        return "cp1252"  # a western text with accents and quotes
    from charset_normalizer import from_bytes

    best = from_bytes(raw[:SAMPLE]).best()
    return best and ("cp1252" if best.encoding in WESTERN else best.encoding)


def name(encoding: str) -> str:
    """What a person calls an encoding of Python: UTF-8, UTF-16 with a byte order mark, cp1252."""
    if encoding.startswith("utf"):
        marked = encoding.removesuffix("-sig") if encoding != "utf-8" else ""
        return f"{marked.upper()} with a byte order mark" if marked else "UTF-8"
    return encoding


def is_binary(raw: bytes) -> bool:
    """Whether bytes are no text: many of the first ones are control codes."""
    head = raw[:10_000]
    return sum(b < 9 or 13 < b < 27 or 27 < b < 32 for b in head) > max(1, CONTROL * len(head))


def content(path: Path) -> str:
    """The text of a file. Raises DataError for one that is empty, binary, or cannot be read."""
    return read(path)[0]


def read(path: Path) -> tuple[str, str]:
    """The text of a file and its encoding. Raises DataError for one that is empty, binary, or cannot be read."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    if not raw.strip():
        raise DataError(f"{path} is empty.")
    if is_binary(raw) and not raw.startswith(tuple(mark for mark, _ in MARKS)):
        raise DataError(f"{path} is binary, not text.")
    return decoded(raw, str(path))


def told(count: Counter[str]) -> str:
    """What is said about the encodings of many files: "UTF-8" or "UTF-8 (90), cp1252 (3)"."""
    return next(iter(count)) if len(count) == 1 else ", ".join(f"{name} ({n:,})" for name, n in count.most_common(6))
