"""Forms: the parts of a multipart/form-data body (RFC 7578).

What browsers and HTTP libraries send is cut at its boundary here; whatever is unusual goes to the parser of Starlette,
which takes a body byte by byte and ten times as long.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator

from starlette.datastructures import Headers

from lamina.serving._errors import Refused

MOST = 1024  # parts
KIND = re.compile(r"multipart/form-data; *boundary=([0-9A-Za-z'+_.-]{1,70})", re.I)
HEAD = re.compile(
    rb'content-disposition: form-data; name="([^"\\%\r\n]*)"(?:; filename="([^"\\%\r\n]*)")?\r\n'
    rb"(?:content-type: [ -~]*\r\n)?\r\n",
    re.I,
)
Part = tuple[str, str | None, bytes]  # name, file name (None: a field), content


def usual(kind: str, body: bytes) -> list[Part] | None:
    """The parts of a form written as nearly all are; None for others."""
    match = KIND.fullmatch(kind)
    edge = b"\r\n--" + match[1].encode() if match else b""
    begin, end = len(edge), body.rfind(edge + b"--")
    if not match or not body.startswith(edge[2:] + b"\r\n") or end < begin:
        return None
    if body[end + len(edge) + 2 :] not in (b"", b"\r\n"):
        return None
    pieces = body[begin:end].split(edge + b"\r\n")
    if len(pieces) > MOST or body.count(edge) != len(pieces):
        return None
    found: list[Part] = []
    for piece in pieces:
        head = HEAD.match(piece)
        if head is None:
            return None
        content, file = piece[head.end() :], head[2]
        try:
            if file is None:
                content.decode("utf-8")
            name = head[1].decode("utf-8")
            found.append((_clean(name), None if file is None else _clean(file.decode("utf-8") or name), content))
        except UnicodeDecodeError:
            return None
    return found


async def any_form(headers: Headers, body: bytes) -> list[Part]:
    """The parts of any form. Raises Refused (400)."""
    from starlette.formparsers import MultiPartException, MultiPartParser

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    parser = MultiPartParser(headers, stream(), max_files=MOST, max_fields=MOST, max_part_size=len(body) + 1)
    try:
        form = await parser.parse()
    except Exception as error:  # a parser fails on damaged bytes in more ways than can be listed
        for file in parser._files_to_close_on_error:
            file.close()
        why = str(error)[:100] if isinstance(error, MultiPartException) else type(error).__name__
        raise Refused(400, f"the form cannot be read: {why.rstrip('.')}.") from None
    found: list[Part] = []
    for name, value in form.multi_items():
        content = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else await value.read()
        found.append((_clean(name), None if isinstance(value, str) else _clean(value.filename or name), content))
    await form.close()
    return found


def _clean(name: str) -> str:
    """A name that was sent, as text that JSON can hold; no folders."""
    return name.encode("utf-8", "replace").decode().replace("\\", "/").rpartition("/")[2][:200] or "file"
