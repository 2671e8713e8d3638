"""Words of a text as an explanation names and draws them: which tokens each is, and how much it matters."""

from __future__ import annotations

import html
import unicodedata
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from lamina.core.errors import SettingError
from lamina.data._table import Field
from lamina.data._tokens import END, FIRST, PADDING, START, UNKNOWN, Tokens
from lamina.explain import _draw
from lamina.explain._method import Question
from lamina.tasks._task import Batch

SHOWN = 400  # words that are drawn
WIDE, LINE, SIZE = 860, 26, 15  # pixels of the paragraph, of a line, of a letter
BARS = 8  # words for, and against
AT_A_TIME = 1 << 15  # tokens that are computed at a time


@dataclass(frozen=True)
class Words:
    """The words of one text, or of several columns of it, and the places of their tokens."""

    names: tuple[str, ...]
    places: tuple[tuple[int, ...], ...]

    def summed(self, values: np.ndarray) -> np.ndarray:
        """float32 (words,) of values (tokens,)."""
        return np.array([values[list(own)].sum() for own in self.places], np.float32)


def words_of(method: str, batch: Batch, question: Question) -> Words:
    """The words of a batch of one row. Raises SettingError when it holds no text."""
    field = next((f for f in question.inputs if f.kind in ("text", "sentence")), Field("text", "text"))
    if "tokens" not in batch:
        raise SettingError(f"{method} needs a text, and this net reads none; try occlusion.")
    ids, tokens = batch["tokens"][0].tolist(), field.tokens
    names: list[str] = []
    places: list[list[int]] = []
    begins = True
    for place, number in enumerate(ids):
        if number in (PADDING, START, END):
            begins = True
            continue
        name = "\ufffd" if number == UNKNOWN else tokens.name(number) if tokens else str(number)
        whole = tokens is None or tokens.kind == "words" or (tokens.kind == "characters" and _is_sign(name))
        if begins or whole or name[:1].isspace():
            names.append("")
            places.append([])
        names[-1] += name
        places[-1].append(place)
        begins = whole or (name[-1:].isspace() and not name.isspace())
    if not names:
        raise SettingError(f"{method} needs a text of a word or more; this one is empty.")
    spelled = [_spelled(tokens, [ids[p] for p in own], name) for own, name in zip(places, names, strict=True)]
    return Words(tuple(spelled), tuple(map(tuple, places)))


def _is_sign(name: str) -> bool:
    return not (name.isalnum() or name.isspace() or unicodedata.combining(name[0]))


def _spelled(tokens: Tokens | None, ids: list[int], name: str) -> str:
    """Bytes are put together before they are letters."""
    if tokens is not None and tokens.exact and all(i >= FIRST for i in ids):
        name = tokens.decode(ids)
    return name.strip() or "\u00b7"


def rows_at_a_time(tokens: Tensor) -> int:
    """How many texts of this length are computed at a time."""
    return max(1, min(256, AT_A_TIME // max(1, tokens.shape[1])))


def strongest(words: Words, values: np.ndarray) -> str:
    """The words that speak most for and against, in a sentence."""
    order = np.argsort(-values, kind="stable")
    most = [words.names[i] for i in order[:3] if values[i] > 0]
    least = [words.names[i] for i in order[::-1][:3] if values[i] < 0]
    told = f"For it: {', '.join(most) or 'no word'}"
    return f"{told}; against it: {', '.join(least)}." if least else f"{told}."


def picture(words: Words, values: np.ndarray, title: str, said: str, unit: str) -> Image.Image:
    """The text with every word coloured, red for and blue against, and bars of the strongest words."""
    paragraph = _paragraph(words, np.maximum(values - values.min(), 0) if values.min() > 0 else values)
    order = np.argsort(-values, kind="stable")
    shown = [int(i) for i in [*order[:BARS], *order[::-1][:BARS][::-1]]]
    shown = [i for n, i in enumerate(shown) if i not in shown[:n] and values[i]]
    bars = _draw.Bars(unit, [words.names[i] for i in shown], [float(values[i]) for i in shown])
    made = _draw.bars([bars], title, said)
    canvas = Image.new("RGB", (max(made.width, paragraph.width), made.height + paragraph.height), _draw.PAPER)
    canvas.paste(made, (0, 0))
    canvas.paste(paragraph, (0, made.height))
    return canvas


def _paragraph(words: Words, values: np.ndarray) -> Image.Image:
    largest, font = float(np.abs(values).max()) or 1.0, _draw.font(SIZE, "".join(words.names[:SHOWN]))
    colours = _draw.over_white(values / largest)
    x, y, boxes = _draw.GAP, 0, []
    for i, name in enumerate(words.names[:SHOWN]):
        name = _draw.shortened(name, WIDE // 2, SIZE)
        wide = int(font.getlength(name)) + 6
        if x + wide > WIDE + _draw.GAP:
            x, y = _draw.GAP, y + LINE
        boxes.append((x, y, wide, name, i))
        x += wide + 2
    high = y + LINE + _draw.GAP + (LINE if len(words.names) > SHOWN else 0)
    canvas = Image.new("RGB", (WIDE + 2 * _draw.GAP, high), _draw.PAPER)
    draw = ImageDraw.Draw(canvas)
    for x, y, wide, name, i in boxes:
        draw.rectangle((x, y, x + wide, y + LINE - 4), tuple(int(c) for c in colours[i]))
        strong = abs(values[i]) > 0.6 * largest
        draw.text((x + 3, y + (LINE - 4) / 2), name, _draw.PAPER if strong else _draw.INK, font, "lm")
    if len(words.names) > SHOWN:
        more = f"... {len(words.names) - SHOWN:,} more words"
        draw.text((_draw.GAP, high - _draw.GAP - LINE), more, _draw.DIM, _draw.font(_draw.SMALL))
    return canvas


def page(words: Words, values: np.ndarray, title: str, said: str) -> str:
    """The same as one HTML page, for scripts that the picture's font does not have; the number stands behind each word."""
    largest = float(np.abs(values).max()) or 1.0
    spans = []
    for name, value, colour in zip(words.names, values, _draw.over_white(values / largest), strict=True):
        ink = "#fff" if abs(value) > 0.6 * largest else "#20242c"
        style = f"background:rgb({colour[0]},{colour[1]},{colour[2]});color:{ink}"
        spans.append(f'<span style="{style}" title="{value:+.4g}">{_escaped(name)}</span>')
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{_escaped(title)}</title><style>body{{font:17px/1.7 system-ui,sans-serif;max-width:50em;margin:2em auto}}"
        "span{padding:1px 3px;border-radius:3px}p.said{color:#606670;font-size:14px}</style>"
        f'<h1>{_escaped(title)}</h1><p class="said">{_escaped(said)}</p><p dir="auto">{" ".join(spans)}</p></html>'
    )


def _escaped(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode())
