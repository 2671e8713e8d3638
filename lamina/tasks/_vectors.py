"""Vectors of words: the nearest ones, sums and differences of words, and the text format of word2vec read and written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lamina.core.errors import DataError, unknown

SIGNS = re.compile(r"(?:^|\s)([+-])\s*")  # between the words of a sum
PART = 1 << 16  # vectors that are compared at a time
NEAR = 400  # words among which one that is not known is looked for


@dataclass(frozen=True)
class Vectors:
    """Words and their vectors (words, width) float32."""

    words: tuple[str, ...]
    values: np.ndarray

    @cached_property
    def places(self) -> dict[str, int]:
        """Word -> its row."""
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def _any_case(self) -> dict[str, int]:
        """Word in small letters -> its row, the first where several are alike."""
        return {word.lower(): i for i, word in reversed([*enumerate(self.words)])}

    @cached_property
    def unit(self) -> np.ndarray:
        """The vectors, each of length one."""
        return self.values / np.maximum(np.linalg.norm(self.values, axis=1, keepdims=True), 1e-12)

    def place(self, word: str) -> int:
        """The row of a word, with other capitals where it is not known as it is. Raises NameUnknown with the nearest word."""
        found = self.places.get(word, self._any_case.get(word.lower()))
        if found is None:
            like = [w for w in self.words if w[:1].lower() == word[:1].lower()]
            raise unknown("learned word", word, like[:NEAR] or self.words[:NEAR])
        return found

    def nearest(self, text: str, count: int = 8) -> list[tuple[str, float]]:
        """(word, cosine) of the words nearest to one, or to a sum such as "king - man + woman", whose words are left out.

        Raises NameUnknown, and DataError for a text that is no such sum.
        """
        parts = SIGNS.split(text.strip() if text.strip()[:1] in ("+", "-") else f"+ {text.strip()}")
        if len(parts) < 3 or any(not word.strip() or " " in word.strip() for word in parts[2::2]):
            raise DataError(f'"{text[:40]}" is neither a word nor a sum of words such as "king - man + woman".')
        rows = [self.place(word.strip()) for word in parts[2::2]]
        wanted = sum((1 if sign == "+" else -1) * self.unit[row] for sign, row in zip(parts[1::2], rows, strict=True))
        wanted = wanted / max(1e-12, float(np.linalg.norm(wanted)))
        likeness = np.concatenate([part @ wanted for part in np.array_split(self.unit, 1 + len(self.unit) // PART)])
        likeness[rows] = -np.inf
        best = np.argsort(-likeness, kind="stable")[:count]
        return [(self.words[i], float(likeness[i])) for i in best if np.isfinite(likeness[i])]


def write_text(vectors: Vectors, path: Path) -> None:
    """The text format of word2vec: a line with both counts, then a word and its numbers a line, which come back bit-equal."""
    with open(path, "wb") as file:
        file.write(f"{len(vectors.words)} {vectors.values.shape[1]}\n".encode())
        for word, row in zip(vectors.words, vectors.values, strict=True):
            numbers = " ".join(np.format_float_positional(x, unique=True, trim="-") for x in row)
            file.write(f"{word} {numbers}\n".encode("utf-8", "surrogatepass"))


def read_text(path: Path) -> Vectors:
    """Vectors out of the text format of word2vec. Raises DataError with the line that is wrong."""
    words: list[str] = []
    try:
        with open(path, encoding="utf-8", errors="surrogatepass") as file:
            head = file.readline().split()
            if len(head) != 2 or not all(part.isdecimal() for part in head):
                raise DataError(f"{path}, line 1: holds no count of words and numbers, such as 30000 100.")
            count, width = int(head[0]), int(head[1])
            values = np.empty((count, width), np.float32)
            for number, line in enumerate(file):
                parts = line.rstrip("\n").rstrip(" ").split(" ")
                if number >= count or len(parts) != width + 1:
                    raise DataError(
                        f"{path}, line {number + 2}: {len(parts) - 1} numbers where line 1 says {count:,} words of {width}."
                    )
                words.append(parts[0])
                values[number] = [float(x) for x in parts[1:]]
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path} is no text file of word vectors: {error}.") from None
    if len(words) != count:
        raise DataError(f"{path} ends after {len(words):,} words where line 1 says {count:,}.")
    return Vectors(tuple(words), values)


def export(vectors: Vectors, folder: Path, stem: str) -> list[Path]:
    """STEM.tsv and STEM.words.tsv for a projector, and STEM.npy, into a folder; their paths."""
    paths = [folder / f"{stem}.{end}" for end in ("tsv", "words.tsv", "npy")]
    np.savetxt(paths[0], vectors.values, delimiter="\t", fmt="%.6g")
    paths[1].write_bytes("".join(f"{word}\n" for word in vectors.words).encode("utf-8", "surrogatepass"))
    np.save(paths[2], vectors.values, allow_pickle=False)
    return paths


def shown(found: Sequence[tuple[str, float]]) -> str:
    """Words with their cosines in one line."""
    return ", ".join(f"{word} {likeness:.2f}" for word, likeness in found)
