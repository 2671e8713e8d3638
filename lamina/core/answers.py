"""Kinds of answer that a net gives: plain values, JSON-able, printable."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Labels:
    """Names with probabilities in [0, 1], most probable first; of several labels, `chosen` are those over the threshold."""

    probabilities: dict[str, float]
    chosen: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "answer": list(self.chosen) if len(self.chosen) != 1 else self.chosen[0],
            "probabilities": self.probabilities,
        }

    def __str__(self) -> str:
        return "  ".join(f"{name} {100 * p:.1f} %" for name, p in list(self.probabilities.items())[:3])


@dataclass(frozen=True)
class Number:
    """A value in the units of the target column."""

    value: float

    def to_json(self) -> dict[str, Any]:
        return {"answer": self.value}

    def __str__(self) -> str:
        return f"{self.value:,.6g}"


@dataclass(frozen=True)
class Box:
    """A rectangle around an object: sides as shares in [0, 1] of the picture, name of the class, score in [0, 1]."""

    name: str
    score: float
    left: float
    top: float
    right: float
    bottom: float

    def to_json(self) -> dict[str, Any]:
        sides = {side: round(getattr(self, side), 5) for side in ("left", "top", "right", "bottom")}
        return {"class": self.name, "score": round(self.score, 4), **sides}


@dataclass(frozen=True)
class Boxes:
    """The objects in a picture, the surest first."""

    boxes: tuple[Box, ...]

    @property
    def chosen(self) -> tuple[str, ...]:
        """The classes of the boxes."""
        return tuple(box.name for box in self.boxes)

    def to_json(self) -> dict[str, Any]:
        return {"answer": list(self.chosen), "boxes": [box.to_json() for box in self.boxes]}

    def __str__(self) -> str:
        return (
            "; ".join(
                f"{b.name} {100 * b.score:.0f} % at {100 * b.left:.0f},{100 * b.top:.0f} to {100 * b.right:.0f},{100 * b.bottom:.0f} %"
                for b in self.boxes
            )
            or "nothing"
        )

    def draw(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (height, width, 1|3) -> (height, width, 3) with the boxes and their names drawn on it."""
        from lamina.core.drawing import rectangles

        sides = [(b.left, b.top, b.right, b.bottom) for b in self.boxes]
        return rectangles(pixels, sides, [f"{b.name} {100 * b.score:.0f}" for b in self.boxes], self.chosen)


@dataclass(frozen=True)
class Text:
    """A sentence, or more."""

    text: str

    @property
    def chosen(self) -> tuple[str, ...]:
        """The text alone."""
        return (self.text,)

    def to_json(self) -> dict[str, Any]:
        return {"answer": self.text}

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Tags:
    """The words of a text, each with its tag; "" for words that were not read."""

    words: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def chosen(self) -> tuple[str, ...]:
        """The tags, in the order of the words."""
        return self.tags

    def to_json(self) -> dict[str, Any]:
        return {"answer": list(self.tags), "words": list(self.words)}

    def __str__(self) -> str:
        return " ".join(f"{word}/{tag}" if tag else word for word, tag in zip(self.words, self.tags, strict=True))


@dataclass(frozen=True)
class Fit:
    """How well a picture fits words that were asked for; larger is better, and only the order means something."""

    fit: float

    @property
    def chosen(self) -> tuple[str, ...]:
        """The fit as text."""
        return (f"{self.fit:.2f}",)

    def to_json(self) -> dict[str, Any]:
        return {"answer": self.fit}

    def __str__(self) -> str:
        return f"fits by {self.fit:.2f}"


@dataclass(frozen=True)
class Apart:
    """In how many bits the code of a text differs from that of the text that was asked for."""

    bits: int
    all_bits: int

    @property
    def chosen(self) -> tuple[str, ...]:
        """The number of bits as text."""
        return (str(self.bits),)

    def to_json(self) -> dict[str, Any]:
        return {"answer": self.bits, "of": self.all_bits}

    def __str__(self) -> str:
        return f"{self.bits} of {self.all_bits} bits differ"


@dataclass(frozen=True)
class Ranked:
    """Sentences for a picture, the best fitting first, and the regions that the words of the best one chose."""

    sentences: tuple[tuple[str, float], ...]
    """(sentence, fit)"""
    words: tuple[tuple[str, float, tuple[float, ...]], ...]
    """(word, fit, left top right bottom of its region as shares in [0, 1] of the picture; the whole picture is 0 0 1 1)"""

    @property
    def chosen(self) -> tuple[str, ...]:
        """The best sentence alone."""
        return (self.sentences[0][0],)

    def to_json(self) -> dict[str, Any]:
        names = ("word", "fit", "left", "top", "right", "bottom")
        words = [
            dict(zip(names, (w, round(fit, 4), *(round(v, 5) for v in sides)), strict=True))
            for w, fit, sides in self.words
        ]
        return {"answer": self.chosen[0], "sentences": [{"sentence": t, "fit": round(f, 4)} for t, f in self.sentences],
                "words": words}  # fmt: skip

    def __str__(self) -> str:
        return f"{self.chosen[0]} ({self.sentences[0][1]:.2f})"

    def draw(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (height, width, 1|3) -> (height, width, 3): the regions with the words that chose them, the sentence below."""
        from lamina.core.drawing import rectangles, underlined

        chosen: dict[tuple[float, ...], list[str]] = {}
        for word, fit, sides in self.words:
            if fit > 0 and sides != (0.0, 0.0, 1.0, 1.0) and any(c.isalnum() for c in word):
                chosen.setdefault(sides, []).append(word)
        texts = [" ".join(dict.fromkeys(words)) for words in chosen.values()]
        return underlined(rectangles(pixels, list(chosen), texts, texts), self.chosen[0])


@dataclass(frozen=True)
class Same:
    """Whether two things are the same: their distance, and the one up to which they are called the same."""

    distance: float
    threshold: float

    @property
    def chosen(self) -> tuple[str, ...]:
        """("same",) or ("different",)."""
        return ("same" if self.distance <= self.threshold else "different",)

    def to_json(self) -> dict[str, Any]:
        return {"answer": self.chosen[0], "distance": self.distance, "threshold": self.threshold}

    def __str__(self) -> str:
        return f"{self.chosen[0]}  distance {self.distance:.3f}, same up to {self.threshold:.3f}"


@dataclass(frozen=True, eq=False)
class Mask:
    """A class per pixel."""

    codes: np.ndarray
    """uint8 (height, width): positions in classes"""
    classes: tuple[str, ...]

    @property
    def shares(self) -> dict[str, float]:
        """Class -> share of the pixels, largest first; classes without a pixel are left out."""
        import numpy as np

        count = np.bincount(self.codes.reshape(-1), minlength=256)
        order = [i for i in np.argsort(-count, kind="stable") if count[i] and i < len(self.classes)]
        return {self.classes[i]: round(float(count[i] / self.codes.size), 6) for i in order}

    def to_json(self) -> dict[str, Any]:
        """Shares, height and width, and runs [code, length] of equal pixels, row after row."""
        import numpy as np

        flat = self.codes.reshape(-1)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [len(flat)]])
        runs = [[int(flat[a]), int(b - a)] for a, b in itertools.pairwise(starts)]
        return {"answer": self.shares, "size": list(self.codes.shape), "classes": list(self.classes), "runs": runs}

    def draw(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (h, w, 1|3), what was asked about -> (height, width, 3): it, and the mask over it, side by side."""
        from lamina.core import _drawn

        pixels = _drawn.resized(pixels, *self.codes.shape)
        return _drawn.beside([pixels, _drawn.over(pixels, self.codes, len(self.classes))])

    def __str__(self) -> str:
        return "  ".join(f"{name} {100 * share:.1f} %" for name, share in list(self.shares.items())[:4])


@dataclass(frozen=True, eq=False)
class Picture:
    """A painted picture, or a map of values such as depth."""

    pixels: np.ndarray
    """uint8 (height, width, 1|3), or float32 (height, width) in units of the target"""

    def to_json(self) -> dict[str, Any]:
        """The picture as PNG in base64; of values their mean, least and largest, and the values row by row."""
        import numpy as np

        size = {"size": list(self.pixels.shape[:2])}
        if self.pixels.dtype.kind == "f":
            found = {k: float(getattr(np, f"nan{k}")(self.pixels)) for k in ("mean", "min", "max")}
            return {"answer": found, **size, "values": np.round(self.pixels.astype(float), 4).tolist()}
        import base64
        import io

        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(self.pixels[..., 0] if self.pixels.shape[2] == 1 else self.pixels).save(file, "PNG")
        return {"answer": "picture", **size, "png": base64.b64encode(file.getvalue()).decode()}

    def draw(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (h, w, 1|3), what was asked about -> (height, width, 3): it, and the answer, side by side."""
        from lamina.core import _drawn

        return _drawn.beside([pixels, self.pixels])

    def __str__(self) -> str:
        height, width = self.pixels.shape[:2]
        if self.pixels.dtype.kind != "f":
            return f"a picture of {width}x{height} pixels"
        return f"{width}x{height} values, {self.pixels.min():.4g} to {self.pixels.max():.4g}, mean {self.pixels.mean():.4g}"


def told(output: dict[str, np.ndarray], classes: Sequence[str], threshold: float | None = None) -> list[Any]:
    """One answer per row of what a net gave: "probabilities" (rows, classes), or "answer" (rows,) in units of the target; "mask"
    (rows, classes, height, width) probabilities; "picture" (rows, channels, height, width) in [0, 1], "values" (rows, height, width).

    Or "distance" and "threshold" (rows,); or "boxes" (rows, most, 6): x0 y0 x1 y1 as shares of the picture, score, class; a score of 0 is no box.
    threshold: every label or box from this probability on is chosen, instead of the most probable label.
    """
    if "distance" in output:
        return [Same(*two) for two in zip(output["distance"].tolist(), output["threshold"].tolist(), strict=True)]
    if "boxes" in output:
        return [boxes_of(row, classes, threshold or 0.0) for row in output["boxes"]]
    if "mask" in output:
        return [Mask(row.argmax(0).astype("uint8"), tuple(classes)) for row in output["mask"]]
    if "picture" in output:
        rows = (output["picture"].clip(0, 1) * 255).round().astype("uint8")
        return [Picture(row.transpose(1, 2, 0)) for row in rows]
    if "values" in output:
        return [Picture(row) for row in output["values"]]
    if "answer" in output:
        return [Number(value) for value in output["answer"].tolist()]
    return [_labels(row, classes, threshold) for row in output["probabilities"]]


def boxes_of(row: np.ndarray, classes: Sequence[str], threshold: float) -> Boxes:
    """Boxes (most, 6) of one row, those from a score of `threshold` on, the surest first."""
    chosen = sorted((b for b in row.tolist() if b[4] > 0 and b[4] >= threshold), key=lambda b: -b[4])
    return Boxes(tuple(Box(classes[int(c)], score, *sides) for *sides, score, c in chosen))


def _labels(probabilities: np.ndarray, classes: Sequence[str], threshold: float | None) -> Labels:
    order = [int(i) for i in (-probabilities).argsort(kind="stable")]
    named = {classes[i]: float(probabilities[i]) for i in order}
    if threshold is None:
        return Labels(named, (classes[order[0]],))
    return Labels(named, tuple(name for name, p in named.items() if p >= threshold))
