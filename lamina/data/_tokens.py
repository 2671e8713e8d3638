"""Tokens: texts as whole numbers and back: characters, bytes, words, or byte pairs (Sennrich 2016, arXiv:1508.07909).

id 0 padding, 1 unknown, 2 start, 3 end; then the vocabulary. Bytes and byte pairs give back every text exactly: zero bytes,
lone surrogates, any script. Characters give back those that were there when the tokens were made, words what `promise` says.
The byte pairs are merged by the package tokenizers; what is kept is a list of merges, so that no file of its own is needed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lamina.core.errors import DataError, SettingError, unknown
from lamina.data._words import joined, words

PADDING, UNKNOWN, START, END = range(4)
SPECIAL = ("<padding>", "<unknown>", "<start>", "<end>")
FIRST = len(SPECIAL)  # id of the first token of the vocabulary
KINDS = ("characters", "bytes", "words", "pairs")
LIMITS = {"characters": 20_000, "bytes": FIRST + 256, "words": 30_000, "pairs": 8_000}
MOST_TOKENS, MOST_BYTES = 1 << 21, 1 << 16  # of a file; bytes of one merged token
PART = 1 << 22  # characters that are counted at a time
LOST = "\ufffd"  # what is written for an unknown token
SPLIT = r" ?[A-Za-z\x80-\xff]+| ?[0-9]{1,3}| ?[^ \t-\rA-Za-z0-9\x80-\xff]+|[ \t-\r]+(?![^ \t-\r])|[ \t-\r]+"  # of bytes


@dataclass(frozen=True)
class Tokens:
    """What texts are cut into. Made by `fit`; equal when they code alike."""

    kind: str
    """characters bytes words pairs"""
    vocabulary: tuple[str, ...] = ()
    """characters (a lone surrogate is written as its code, such as \\ud800) or words, from id FIRST on; none of bytes and pairs"""
    merges: tuple[tuple[int, int], ...] = ()
    """of pairs: the two ids that are merged, in order; id FIRST + 256 + n is the n-th"""
    lower: bool = False
    """of words: capitals are made small"""

    def __post_init__(self) -> None:
        """Raises DataError for what `fit` would not make, as it may come from a file."""
        good = self.kind in KINDS and all(type(name) is str for name in self.vocabulary)
        lengths = [0] * FIRST + [1] * 256
        for pair in self.merges if good else ():
            good = len(pair) == 2 and all(type(i) is int and FIRST <= i < len(lengths) for i in pair)
            if not good or (length := lengths[pair[0]] + lengths[pair[1]]) > MOST_BYTES:
                good = False
                break
            lengths.append(length)
        if not good or max(len(self.vocabulary), len(lengths)) > MOST_TOKENS:
            raise DataError(
                f"these are no tokens of Lamina: kind {self.kind!r:.40}, or what is listed in them, is wrong."
            )

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        kind: str = "words",
        limit: int | None = None,
        *,
        minimum: int = 2,
        lower: bool = True,
    ) -> Tokens:
        """Tokens for texts: the commonest, `limit` ids at most (the four special ones count).

        minimum: how often a word or pair must occur. lower: words in small letters. Raises DataError when the texts hold
        fewer than two different tokens, NameUnknown, and SettingError for a limit that is too small or for a missing package.
        """
        if kind not in KINDS:
            raise unknown("kind of tokens", kind, KINDS)
        limit = LIMITS[kind] if limit is None else limit
        least = FIRST + (256 if kind in ("bytes", "pairs") else 2)
        if limit < least:
            raise SettingError(f"the vocabulary (={limit}) must be {least} or more with tokens {kind}.")
        if kind == "words":
            texts = (text.lower() for text in texts) if lower else texts
            return cls(kind, _commonest(_counted_words(texts), limit, minimum, "word"), lower=lower)
        if kind == "characters":
            return cls(kind, tuple(_written(c) for c in _commonest(_counted_characters(texts), limit, 1, "character")))
        kept = list(texts)
        if len({c for text in kept for c in text[:1000]}) < 2 and len(set("".join(kept))) < 2:
            raise DataError("the texts hold fewer than two different characters; there is nothing to tell apart.")
        return cls(kind) if kind == "bytes" else cls(kind, merges=_merges(kept, limit, minimum))

    def __len__(self) -> int:
        """How many ids there are."""
        return FIRST + (len(self.vocabulary) if self.kind in ("characters", "words") else 256 + len(self.merges))

    @property
    def exact(self) -> bool:
        """Whether decode(encode(text)) is the text, whatever it is."""
        return self.kind in ("bytes", "pairs")

    @property
    def promise(self) -> str:
        """What comes back of a text that was coded, in one sentence."""
        if self.exact:
            return "every text comes back exactly."
        what = f"{len(self) - FIRST:,} {self.kind} are known, any other becomes {SPECIAL[UNKNOWN]}"
        small = " capitals become small letters," if self.lower else ""
        return f"{what}." if self.kind == "characters" else f"{what};{small} blanks and line ends are not kept."

    def encode(self, text: str) -> np.ndarray:
        """int32 ids of a text; no special ones but UNKNOWN."""
        if self.kind == "words":
            found = words(text.lower() if self.lower else text)
            return np.fromiter(map(self._ids.__getitem__, found), np.int32, len(found))
        if self.kind == "characters":
            return self._table[np.minimum(_codes(text), len(self._table) - 1)]
        if self.kind == "bytes":
            return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int32) + FIRST
        return np.array(self._merger.encode(_as_bytes(text), add_special_tokens=False).ids, np.int32)

    def encode_many(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """int32 ids of all texts end to end, and int64 (texts + 1,): where each begins; the last entry is the end."""
        if self.kind == "pairs":
            found = self._merger.encode_batch_fast([_as_bytes(text) for text in texts], add_special_tokens=False)
            parts = [np.array(part.ids, np.int32) for part in found]
        else:
            parts = [self.encode(text) for text in texts]
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return np.concatenate([np.empty(0, np.int32), *parts]), offsets

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; padding, start and end are left out, unknown is U+FFFD. Raises DataError for an id that is none."""
        kept = [int(i) for i in ids if i not in (PADDING, START, END)]
        wrong = next((i for i in kept if not 0 <= i < len(self)), None)
        if wrong is not None:
            raise DataError(f"{wrong} is no token: there are {len(self):,}; are these tokens of another run?")
        if self.exact:
            return _of_bytes(b"".join(self.spelled[i] if i >= FIRST else LOST.encode() for i in kept))
        found = [self._names[i] if i >= FIRST else LOST for i in kept]
        return joined(found) if self.kind == "words" else "".join(found)

    def name(self, number: int) -> str:
        """How a token is shown: its characters, or <padding> and the like."""
        return SPECIAL[number] if number < FIRST else self.decode([number])

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the sha256 that tells these tokens from others."""
        return {**asdict(self), "sha256": self.fingerprint}

    @classmethod
    def from_json(cls, values: dict[str, Any], fingerprint: str | None = None) -> Tokens:
        """The inverse of to_json. Raises DataError for a damaged file, and where `fingerprint` is another run's."""
        try:
            merges = tuple((int(a), int(b)) for a, b in values["merges"])
            made = cls(values["kind"], tuple(map(str, values["vocabulary"])), merges, bool(values["lower"]))
        except (KeyError, TypeError, ValueError, DataError) as error:
            raise DataError(f"this is no token file of Lamina ({type(error).__name__}: {str(error)[:60]}).") from None
        if values.get("sha256", made.fingerprint) != made.fingerprint:
            raise DataError("the token file is damaged: its sha256 is not the one written in it.")
        if fingerprint is not None and fingerprint != made.fingerprint:
            raise DataError("the token file belongs to another run: its tokens are not those that the net learned.")
        return made

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of everything that decides how texts are coded."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @cached_property
    def spelled(self) -> list[bytes]:
        """Of bytes and pairs: the bytes of every id; b"" of the special ones."""
        found = [b""] * FIRST + [bytes([i]) for i in range(256)]
        for left, right in self.merges:
            found.append(found[left] + found[right])
        return found

    @cached_property
    def _names(self) -> list[str]:
        entries = map(_read, self.vocabulary) if self.kind == "characters" else self.vocabulary
        return [*SPECIAL, *entries]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return _Ids({name: i + FIRST for i, name in enumerate(self.vocabulary)})

    @cached_property
    def _table(self) -> np.ndarray:
        """int32: id of every code point up to the largest one known, and of one more."""
        codes = [ord(name) for name in self._names[FIRST:]]
        table = np.full(max(codes, default=0) + 2, UNKNOWN, np.int32)
        table[codes] = np.arange(FIRST, FIRST + len(codes))
        return table

    @cached_property
    def _merger(self) -> Any:
        """The tokenizer of the package tokenizers; every byte is the character of its code."""
        package = _package()
        names = [part.decode("latin-1") for part in self.spelled]
        numbers = {name: i for i, name in enumerate(names) if name}
        merges = [(names[left], names[right]) for left, right in self.merges]
        made = package.Tokenizer(package.models.BPE(vocab=numbers, merges=merges))
        made.pre_tokenizer = _splitter(package)
        return made


class _Ids(dict):
    def __missing__(self, _: str) -> int:
        return UNKNOWN


def _commonest(count: Counter[str], limit: int, minimum: int, what: str) -> tuple[str, ...]:
    if len(count) < 2:
        found = f"'{next(iter(count))[:40]}' alone" if count else f"no {what}"
        raise DataError(f"the texts hold {found}: a vocabulary of {len(count)} tells nothing apart.")
    enough = [(name, number) for name, number in count.items() if number >= minimum]
    enough = enough if len(enough) > 1 else list(count.items())  # a few short texts repeat nothing
    return tuple(name for name, _ in sorted(enough, key=lambda entry: (-entry[1], entry[0]))[: limit - FIRST])


def _counted_words(texts: Iterable[str]) -> Counter[str]:
    count: Counter[str] = Counter()
    for text in texts:
        count.update(words(text))
    for name in [name for name in count if not name.isprintable() and any("\ud800" <= c <= "\udfff" for c in name)]:
        del count[name]  # no file could name it
    return count


def _counted_characters(texts: Iterable[str]) -> Counter[str]:
    count: Counter[str] = Counter()
    for part in _parts(texts):
        codes, numbers = np.unique(_codes(part), return_counts=True)
        count.update(dict(zip(map(chr, codes.tolist()), numbers.tolist(), strict=True)))
    return count


def _parts(texts: Iterable[str]) -> Iterator[str]:
    """The texts joined and cut to PART characters."""
    held: list[str] = []
    for text in texts:
        held.append(text)
        if sum(map(len, held[-1000:])) > PART or len(held) == 1000:
            yield "".join(held)
            held = []
    yield "".join(held)


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _written(character: str) -> str:
    return f"\\u{ord(character):04x}" if "\ud800" <= character <= "\udfff" else character


def _read(entry: str) -> str:
    return chr(int(entry[2:], 16)) if len(entry) == 6 and entry.startswith("\\u") else entry


def _as_bytes(text: str) -> str:
    """The bytes of a text, each as the character of its code."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def _of_bytes(content: bytes) -> str:
    """The text of bytes, lone surrogates kept, what is no UTF-8 as U+FFFD: a net may write anything."""
    found, start = [], 0
    while start < len(content):
        try:
            found.append(content[start:].decode())
            break
        except UnicodeDecodeError as error:
            wrong = start + error.start
            found.append(content[start:wrong].decode())
            try:
                found.append(content[wrong : wrong + 3].decode("utf-8", "surrogatepass"))
                start = wrong + 3
            except UnicodeDecodeError:
                found.append(LOST)
                start += error.end
    return "".join(found)


def _package() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise SettingError("byte pairs need the package tokenizers: pip install 'lamina[text]'.") from None
    return tokenizers


def _splitter(package: Any) -> Any:
    return package.pre_tokenizers.Split(package.Regex(SPLIT), "isolated")


def _merges(texts: Iterable[str], limit: int, minimum: int) -> tuple[tuple[int, int], ...]:
    """The merges of byte pairs, learned; ids as in Tokens."""
    package = _package()
    learner = package.Tokenizer(package.models.BPE())
    learner.pre_tokenizer = _splitter(package)
    alphabet = [chr(i) for i in range(256)]
    trainer = package.trainers.BpeTrainer(
        vocab_size=limit - FIRST, min_frequency=minimum, show_progress=False, initial_alphabet=alphabet
    )
    learner.train_from_iterator((_as_bytes(text) for text in texts), trainer)
    numbers = {name: FIRST + i for i, name in enumerate(alphabet)}
    found = []
    for left, right in json.loads(learner.to_str())["model"]["merges"]:
        if left + right not in numbers:
            found.append((numbers[left], numbers[right]))
            numbers[left + right] = FIRST + len(numbers)
    return tuple(found)
