"""mail: mbox files and folders of mails (eml, or files that begin as mails do), with or without class folders around them.

Columns "subject", "from" and "body": the plain part of a mail, or the words of its HTML part; "thread" (a group): mails that answer
each other, by Message-ID, In-Reply-To and References, or have one subject. Formats: RFC 4155, 5322, 2045 to 2047.
"""

from __future__ import annotations

import email
import email.errors
import email.header
import html.parser
import mailbox
import re
from collections import Counter
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data import _alike, _encoding, folder
from lamina.data._table import Bad, Column, Field, Reading, Table

BOXES, MAILS = (".mbox", ".mbx"), (".eml", ".email")
HEADER = re.compile(rb"\A(From \S+ .*\r?\n)?(>From .*\r?\n)?([!-9;-~]+:.*\r?\n([ \t]+.*\r?\n)*){3}")
KNOWN = re.compile(rb"^(received|from|subject|return-path|message-id|delivered-to):", re.IGNORECASE | re.MULTILINE)
LOOKED = 5  # files of a folder that are looked at
COLUMNS = ("subject", "from", "body")
ANSWER = re.compile(r"^\s*((re|fwd?|aw|wg|sv|antw)\s*(\[\d+\]|\(\d+\))?\s*:|\[[^\]]*\])\s*", re.IGNORECASE)
NUMBERED = re.compile(r"<[^<>\s]+>")  # the number of a mail
SAYING = 3  # words of a subject from which on it names a thread
UNSEEN = ("script", "style", "head", "title")


def claims(source: Any) -> bool:
    """Claims mbox and eml files, files that begin as mails do, and folders whose files are such; not folders of pictures."""
    if isinstance(source, list | tuple):
        return bool(source) and all(isinstance(p, str | Path) and claims(Path(p)) for p in source)
    if not isinstance(source, Path):
        return False
    try:
        if source.is_file():
            return _is_mail(source)
        if not source.is_dir():
            return False
        found = (path for path, why in folder._walk(source, source.resolve()) if not why)
        first = [path for _, path in zip(range(LOOKED), found, strict=False)]
        return bool(first) and sum(_is_mail(path) for path in first) > len(first) / 2
    except OSError:
        return False


def read(source: Any, reading: Reading) -> Table:
    """One row per mail; column "class" from class folders, or from the names of several mbox files; split from train, val and
    test folders. Raises DataError when no mail can be read."""
    if isinstance(source, list | tuple):
        files = {str(p): Path(p) for p in source}
        return _of_files(files, f"{len(files)} files", [])
    if source.is_file():
        return _of_files({source.name: source}, str(source), [])
    found = {folder._shown(p.relative_to(source)): (p, why) for p, why in folder._walk(source, source.resolve())}
    names = sorted(found, key=folder.natural)
    boxes = [name for name in names if name.lower().endswith(BOXES)]
    places = folder._places(str(source), names)
    if len(boxes) > 1 and len(boxes) == len(names) and not any(label for _, label in places.values()):
        places = {name: (split, Path(name).stem) for name, (split, _) in places.items()}
    bad = [Bad(name, why) for name, (_, why) in found.items() if why]
    has_classes = any(label for _, label in places.values())
    bad += [Bad(n, folder.NO_CLASS) for n, (_, c) in places.items() if has_classes and not c and not found[n][1]]
    left = {b.where for b in bad}
    table = _of_files({n: found[n][0] for n in names if n not in left}, str(source), bad)
    from_file = [places[str(name).partition("#")[0]] for name in table.names]
    if None not in (splits := [split for split, _ in from_file]):
        table = table.with_(split=np.array(splits, np.int8), split_rule="the train, val and test folders")
    return folder._labelled(table, [str(label) for _, label in from_file]) if has_classes else table


def _is_mail(path: Path) -> bool:
    if path.name.lower().endswith((*BOXES, *MAILS)):
        return True
    with open(path, "rb") as file:
        head = file.read(4000)
    return bool(HEADER.match(head) and KNOWN.search(head))


def _of_files(files: dict[str, Path], source: str, bad: list[Bad]) -> Table:
    rows: list[tuple[str, ...]] = []
    names: list[str] = []
    keys: list[list[str]] = []
    encodings: Counter[str] = Counter()
    for name, path in files.items():
        try:
            mails = list(_messages(path))
            if not mails:
                bad.append(Bad(name, "holds no mail"))
            for number, raw in enumerate(mails):
                message = email.message_from_bytes(raw)
                rows.append((_header(message, "Subject"), _header(message, "From"), _body(message, encodings)))
                keys.append(_keys(message, rows[-1][0]))
                names.append(f"{name}#{number + 1}" if len(mails) > 1 else name)
        except (OSError, DataError) as error:
            what = error.strerror if isinstance(error, OSError) else str(error).removeprefix(f"{path} ").rstrip(".")
            bad.append(Bad(name, what or "cannot be read"))
    if not rows:
        first = f"; the first: {bad[0].where} {bad[0].why}" if bad else ""
        raise DataError(f"{source} holds no mail that can be read{first}.")
    values = np.array(rows, object).reshape(-1, len(COLUMNS))
    columns = {name: Column(Field(name, "text"), values[:, i].copy()) for i, name in enumerate(COLUMNS)}
    threads = np.array([f"thread {number}" for number in _alike.together(len(rows), keys)], object)
    columns["thread"] = Column(Field("thread", "group"), threads)
    notes = (f"Mails in {_encoding.told(encodings)}.",) if encodings else ()
    return Table(
        columns, source, "mail", np.array(names, object), notes=notes, bad=tuple(bad), tried=len(rows) + len(bad)
    )


def _messages(path: Path) -> Iterator[bytes]:
    """The mails of a file. Raises DataError for a file that is none."""
    raw = path.read_bytes()
    if not raw.strip():
        raise DataError(f"{path} is empty.")
    if not path.name.lower().endswith(BOXES):
        if not HEADER.match(raw[:20_000]) and not KNOWN.search(raw[:4000]):
            raise DataError(f"{path} does not begin as a mail does.")
        yield raw
        return
    if not raw.startswith(b"From "):
        raise DataError(f"{path} is no mbox file: it does not begin with 'From '.")
    box = mailbox.mbox(path, create=False)
    try:
        for key in box.keys():  # noqa: SIM118  (a mailbox iterates over messages)
            yield box.get_bytes(key)
    finally:
        box.close()


def _keys(message: Message, subject: str) -> list[str]:
    """What a mail shares with those of its thread: its number, the numbers that it answers, and its subject where that says enough."""
    found = [
        key
        for name in ("Message-ID", "In-Reply-To", "References")
        for key in NUMBERED.findall(str(message.get(name, "")))
    ]
    return [*found, thread_of(subject)]


def thread_of(subject: str) -> str:
    """The subject without Re:, Fwd: and [list], in small letters; "" for one of few words, which many threads have."""
    before = None
    while subject != before:
        before, subject = subject, ANSWER.sub("", subject, count=1)
    found = subject.lower().split()
    return " ".join(found) if len(found) >= SAYING else ""


def _header(message: Message, name: str) -> str:
    found = message.get(name)
    if found is None:
        return ""
    try:
        parts = email.header.decode_header(str(found) if not isinstance(found, email.header.Header) else found)
    except (email.errors.HeaderParseError, ValueError):
        return str(found)
    text = "".join(p if isinstance(p, str) else _encoding.decoded(p, name, c)[0] for p, c in parts)
    return " ".join(text.split())


def _body(message: Message, encodings: Counter[str]) -> str:
    """The plain parts, or the words of the HTML parts where there are none."""
    plain: list[str] = []
    marked: list[str] = []
    for part in message.walk():
        kind = part.get_content_type()
        if kind not in ("text/plain", "text/html") or part.get_content_disposition() == "attachment":
            continue
        content = part.get_payload(decode=True)
        if not isinstance(content, bytes) or not content.strip():
            continue
        try:
            text, encoding = _encoding.decoded(content, "a part", part.get_content_charset())
        except DataError:
            text, encoding = content.decode("latin-1"), "none that is known"
        encodings[encoding] += 1
        (marked if kind == "text/html" or re.match(r"\s*<(!doctype )?html", text, re.IGNORECASE) else plain).append(
            text
        )
    return "\n".join(plain) if any(t.strip() for t in plain) else "\n".join(seen(text) for text in marked)


class _Seen(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in UNSEEN
        self.parts.append("\n" if tag in ("p", "br", "div", "tr", "li") else " ")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in UNSEEN and self.hidden > 0

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)


def seen(text: str) -> str:
    """The words of an HTML text that a reader sees."""
    parser = _Seen()
    try:
        parser.feed(text)
        parser.close()
    except (AssertionError, ValueError):  # what the parser of Python stumbles over
        return re.sub(r"<[^>]*>", " ", text)
    return re.sub(r"[ \t]+", " ", "".join(parser.parts)).strip()
