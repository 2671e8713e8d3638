"""text: running text, one file or a folder of text files; the net learns to write on.

The text is coded once (_running.py). Files of a folder follow each other in an order drawn by their names, the sign <end>
between them. The splits are stretches that do not overlap: the first part trains, the last two are held out.
"""

from __future__ import annotations

import codecs
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _encoding, _running, _store, texts, voc, yolo_labels
from lamina.data._running import Windows
from lamina.data._table import Bad, Column, Field, Reading, Table
from lamina.data._tokens import END, FIRST, Tokens

PLAIN = (".txt", ".text", ".md", ".rst", ".tex", ".log")
SOURCE = (".c", ".h", ".cc", ".cpp", ".hpp", ".py", ".js", ".ts", ".java", ".go", ".rs", ".sh", ".lua", ".r", ".sql", ".html", ".xml",
          ".css", ".S", ".pl", ".rb", ".hs", ".ml", ".abc", ".srt", ".org")  # fmt: skip
SUFFIXES = (*PLAIN, *SOURCE)
LOOKED = 5_000  # files and folders of a tree that tell whether it holds source texts
LEAST = 1_000  # characters below which there is nothing to learn from
SHARE, MOST = 0.05, (200_000, 1_000_000)  # of validation and test: a share of the text, and characters at most
PART = 1 << 20  # bytes that are coded at a time
FITTED = 50_000_000  # bytes that byte pairs and words are learned from
CONTEXTS = ((100_000, 128), (20_000, 64), (0, 32))  # characters -> tokens of a window
HOW, SURROGATES, REPLACED = " with ", "lone surrogates kept", "what is not of it replaced"


@dataclass(frozen=True)
class _File:
    path: Path
    size: int
    digest: str
    encoding: str


def claims(source: Any) -> bool:
    """Claims text files by their suffix, and folders of them that are no class folders."""
    if not isinstance(source, Path):
        return False
    if source.is_file():
        return source.suffix in SUFFIXES or source.suffix.lower() in PLAIN
    if not source.is_dir():
        return False
    deep = (
        p for p in itertools.islice(source.rglob("*"), LOOKED) if p.suffix in SOURCE
    )  # texts in folders may be classes
    if not any(p.is_file() for p in itertools.chain((p for p in source.iterdir() if p.suffix in SUFFIXES), deep)):
        return False
    return not (texts.claims(source) or voc.claims(source) or yolo_labels.claims(source))


def read(source: Any, reading: Reading) -> Table:
    """Columns text and next: windows of `reading.context` tokens and the tokens that follow each of theirs.

    Raises DataError for a file that is empty, too short, or no text.
    """
    kind = reading.tokens or "characters"
    files, bad, notes = _files(source, kind == "bytes")
    total = sum(f.size for f in files)
    if total < LEAST:
        what = "is empty" if not total else f"holds {total:,} bytes; learning to write needs {LEAST:,} or more"
        raise DataError(f"{source} {what}.")
    key = " ".join(["2", kind, str(reading.vocabulary), *(f"{f.digest}{f.encoding}" for f in files)])
    folder = _store.shared() / "text"
    coded = _running.opened(folder, key)
    if coded is None:
        tokens = _fitted(files, kind, reading.vocabulary, total)
        coded = _running.made(folder, key, tokens, _coded(files, tokens, total))
    context = reading.context or next(length for least, length in CONTEXTS if total >= least)
    table = _table(source, coded, context, tuple(bad))
    return table.noted(*notes, *_told(coded, context))


def coded_by(source: Any, field: Field) -> Table:
    """A text, or folder of texts, by the tokens of a net that has learned; all of it is the test stretch. Raises DataError."""
    path, tokens = Path(source), field.tokens or Tokens("bytes")
    if not path.exists():
        raise DataError(f"no such path: {path}.")
    files, bad, notes = _files(path, tokens.kind == "bytes")
    parts = [ids for ids, _ in _coded(files, tokens, sum(f.size for f in files))]
    ids = np.concatenate([np.empty(0, np.int32), *parts])
    if len(ids) <= field.shape[0]:
        raise DataError(
            f"{path} holds {len(ids):,} tokens; the net looks at {field.shape[0]} at once, so that more are needed."
        )
    digest = hashlib.sha256(ids.tobytes()).hexdigest()
    coded = _running.Coded(ids, tokens, (0, 0, len(ids)), digest)
    return _table(path, coded, field.shape[0], tuple(bad)).noted(*notes)


def _table(source: Path, coded: _running.Coded, context: int, bad: tuple[Bad, ...]) -> Table:
    train, validation, test = np.diff((0, *coded.ends))
    if train and not 2 <= context <= min(validation, test, 1024) - 1:
        raise DataError(
            f"--context must be between 2 and {min(validation, test, 1025) - 1} tokens for {source}, not {context}: "
            f"its held-out stretches have {validation:,} and {test:,}."
        )
    starts, skips, split = _running.cut(coded, context)
    columns = {
        name: Column(
            Field(name, "running", shape=(context,), tokens=coded.tokens), Windows(coded, starts, skips, context, shift)
        )
        for name, shift in (("text", 0), ("next", 1))
    }
    names = np.array([f"place {start + 1:,}" for start in starts.tolist()], object)
    rule = f"stretches of {train:,}, {validation:,} and {test:,} tokens that do not overlap, in the order of the text"
    return Table(columns, str(source), "text", names, "next", split, rule, bad=bad, tried=len(names))


def _told(coded: _running.Coded, context: int) -> list[str]:
    tokens = coded.tokens
    return [
        f"Tokens: {tokens.kind}, {len(tokens):,} of them; {tokens.promise}",
        f"The net sees windows of {context} tokens; --context changes it. A training pass moves them by a random offset.",
        f"Held-out text is scored whole, by windows that slide by {context // 2} tokens.",
    ]


def _files(source: Path, raw: bool) -> tuple[list[_File], list[Bad], list[str]]:
    if source.is_file():
        file = _looked(source, raw)
        return [file], [], _encodings([file])
    found, bad, known, copies = [], [], set(), 0
    paths = [p for p in source.rglob("*") if p.suffix in SUFFIXES and p.is_file()]
    for path in sorted(
        paths, key=lambda p: hashlib.sha256(str(p.relative_to(source)).encode("utf-8", "replace")).digest()
    ):
        try:
            file = _looked(path, raw)
        except DataError as error:
            bad.append(Bad(str(path.relative_to(source)), str(error).removeprefix(f"{path} ")))
            continue
        if file.digest in known:
            copies += 1
        elif file.size:
            known.add(file.digest)
            found.append(file)
    notes = [f"{len(found):,} files, {sum(f.size for f in found) / 1e6:,.1f} MB, in an order drawn by their names."]
    notes += _encodings(found)
    if copies:
        notes.append(f"{copies:,} files are copies of others and are read once.")
    if not found:
        raise DataError(
            f"{source} holds no text that could be read{': ' + bad[0].where + ' ' + bad[0].why if bad else ''}."
        )
    return found, bad, notes


def _encodings(files: list[_File]) -> list[str]:
    """What is said of the encodings in which files were found."""
    told = Counter(", ".join([_encoding.name(e), *how]) for e, *how in (f.encoding.split(HOW) for f in files))
    return [f"Read as {_encoding.told(told)}."] if told and set(told) != {"bytes"} else []


def _looked(path: Path, raw: bool) -> _File:
    """Size, sha256 and encoding of a file. Raises DataError for bytes that are no text."""
    made, size = hashlib.sha256(), 0
    decoder: Any = None
    encoding, first, fits = "bytes", b"", not raw
    try:
        with open(path, "rb") as file:
            while part := file.read(PART):
                made.update(part)
                if not size:
                    first = part[:200_000]
                    if not raw:
                        encoding = _marked(first)
                        decoder = _decoder(encoding)
                size += len(part)
                fits = fits and _still(decoder, part)
            fits = fits and (decoder is None or _still(decoder, b"", True))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    control = sum(b < 9 or 13 < b < 27 for b in first)
    if not raw and control > 0.02 * len(first) and encoding not in ("utf-16", "utf-8-sig"):
        raise DataError(
            f"{path} is not text: {100 * control / len(first):.0f} % of its first bytes are control signs; --tokens bytes takes any file."
        )
    if not raw and not fits:
        encoding = _guessed(path, first) if encoding == "utf-8" else f"{encoding}{HOW}{REPLACED}"
    return _File(path, size, made.hexdigest(), encoding)


def _marked(first: bytes) -> str:
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig" if first.startswith(codecs.BOM_UTF8) else "utf-8"


def _decoder(encoding: str) -> Any:
    """Of an encoding, or of one with SURROGATES or REPLACED behind it."""
    name, _, how = encoding.partition(HOW)
    errors = "replace" if how == REPLACED else "strict" if encoding == "utf-8" else "surrogatepass"
    return codecs.getincrementaldecoder(name)(errors)


def _still(decoder: Any, part: bytes, end: bool = False) -> bool:
    try:
        decoder.decode(part, end)
    except UnicodeError:
        return False
    return True


def _guessed(path: Path, first: bytes) -> str:
    if _of_surrogates(path):
        return f"utf-8{HOW}{SURROGATES}"
    found = _encoding.guessed(first)
    if found is None:
        raise DataError(
            f"{path} is not text in any encoding that could be found; save it as UTF-8, or take --tokens bytes."
        )
    with open(path, "rb") as file:
        decoder = _decoder(found)
        whole = all(_still(decoder, part) for part in iter(lambda: file.read(PART), b"")) and _still(decoder, b"", True)
    return found if whole else f"{found}{HOW}{REPLACED}"


def _of_surrogates(path: Path) -> bool:
    """Whether it is UTF-8 but for lone surrogates, which some programs write."""
    try:
        path.read_bytes().decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _texts(files: list[_File], total: int, raw: bool) -> Iterator[tuple[Any, int]]:
    """The text (bytes when raw) in parts with the bytes read so far; None where a file ends and another begins."""
    size = max(64, min(PART, total // 200))
    done = 0
    for number, file in enumerate(files):
        if number:
            yield None, done
        decoder = None if raw else _decoder(file.encoding)
        with open(file.path, "rb") as opened:
            while part := opened.read(size):
                done += len(part)
                yield (part if decoder is None else decoder.decode(part)), done
        if decoder is not None and (rest := decoder.decode(b"", True)):
            yield rest, done


def _stretches(total: int) -> tuple[int, int]:
    """Bytes where validation and test begin."""
    validation, test = (min(SHARE * total, most) for most in MOST)
    return int(total - validation - test), int(total - test)


def _fitted(files: list[_File], kind: str, limit: int | None, total: int) -> Tokens:
    """Tokens of the training stretch."""
    if kind == "bytes":
        return Tokens("bytes")
    most = _stretches(total)[0] if kind == "characters" else min(_stretches(total)[0], FITTED)

    def texts() -> Iterator[str]:
        for text, done in _texts(files, total, False):
            if done > most:
                return
            if text:
                yield text

    return Tokens.fit(texts(), kind, limit, **({"lower": False} if kind == "words" else {}))


def _coded(files: list[_File], tokens: Tokens, total: int) -> Iterator[tuple[np.ndarray, int]]:
    """Ids and split of every part; words and byte pairs are cut at blanks."""
    borders, raw, left, split = _stretches(total), tokens.kind == "bytes", "", 0
    for text, done in _texts(files, total, raw):
        now = int(done > borders[0]) + int(done > borders[1])
        if text is None or (left and now != split):
            if left:
                yield tokens.encode(left), split
            left = ""
        split = now
        if text is None:
            yield np.array([END], np.int32), split
        elif raw:
            yield np.frombuffer(text, np.uint8).astype(np.int32) + FIRST, split
        elif tokens.kind == "characters":
            yield tokens.encode(text), split
        else:
            whole = left + text
            at = max(whole.rfind(" "), whole.rfind("\n"))
            left = whole[at:] if at > 0 else whole
            if at > 0:
                yield tokens.encode(whole[:at]), split
    if left:
        yield tokens.encode(left), split
