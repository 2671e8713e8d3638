"""What requests of `lamina serve` hold, read in less time than the general way takes: the same parts, the same pixels."""

import asyncio
import io

import numpy as np
import pytest
from PIL import Image
from starlette.datastructures import Headers

from lamina.data import _decode
from lamina.serving import _forms

KIND = "multipart/form-data; boundary=xXx"


def multipart(parts):
    lines = b""
    for name, file, content in parts:
        head = f'--xXx\r\nContent-Disposition: form-data; name="{name}"' + (
            "" if file is None else f'; filename="{file}"'
        )
        lines += head.encode() + b"\r\n\r\n" + content + b"\r\n"
    return lines + b"--xXx--\r\n"


def file_of(mode="L", form="PNG"):
    made, shape = io.BytesIO(), (17, 31) if mode == "L" else (17, 31, 3)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8)).save(made, form)
    return made.getvalue()


def test_forms_are_cut_as_the_full_parser_does():
    """Names, contents with pieces of boundaries in them, forms cut off: what is taken is what Starlette's parser finds."""
    bits = [
        b"\r\n",
        b"--xXx",
        b"--",
        b"\r\n--xXx",
        b"a",
        b"\xff",
        b"",
        b"xXx--",
        b"\r\n--xXx--\r\n",
        b'\r\nContent-Disposition: form-data; name="z"\r\n\r\n',
    ]
    random, taken = np.random.default_rng(0), 0
    for _ in range(400):
        parts = [
            (str(random.choice(["a", "bé", "c c", ""])), [None, "", "q.png", "x/y"][random.integers(4)], b"".join(bits[i] for i in random.integers(len(bits), size=random.integers(4))))
            for _ in range(random.integers(4))
        ]  # fmt: skip
        body = multipart(parts)
        body = body[: random.integers(len(body))] if random.random() < 0.2 else body
        found = _forms.usual(KIND, body)
        if found is not None:
            taken += 1
            assert found == asyncio.run(_forms.any_form(Headers({"content-type": KIND}), body))
    assert taken > 50
    plain = multipart([("a", "b.png", b"\xff\x00"), ("t", None, b"x")])
    assert _forms.usual(KIND, plain) == [("a", "b.png", b"\xff\x00"), ("t", None, b"x")]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_small_png_has_the_pixels_that_decode_gives(mode):
    content = file_of(mode)
    assert np.array_equal(_decode.small_png(content, 1000), _decode.decode(content))
    assert _decode.small_png(content, 500) is None and _decode.small_png(content[:-30], 1000) is None
    head = content[8:33]
    assert _decode.small_png(content[:33] + head + content[33:], 1000) is None  # a second size, which decoders follow
    assert _decode.small_png(file_of(form="JPEG"), 1000) is None and _decode.small_png(b"", 1000) is None
