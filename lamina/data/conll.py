"""conll: words with a tag each: a word and its tag a line, an empty line between sentences; CoNLL-U; JSON lines of tokens and tags.

A word is the first column of a line and its tag the last one; of CoNLL-U (ten columns) they are FORM and UPOS; with --target xpos XPOS, with
another name what MISC says of it (biose=S-PER). A folder may hold files that begin with train, dev (or val) and test, or comments
above the sentences of a file say "set = train". Formats: CoNLL-2003, https://aclanthology.org/W03-0419;
https://universaldependencies.org/format.html
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError, unknown
from lamina.data import _encoding
from lamina.data._table import TEST, TRAIN, VALIDATION, Column, Field, Reading, Table

OWN = (".conll", ".conllu", ".iob", ".iob2", ".bio")  # of this format alone
OTHER = (".tsv", ".txt", ".tags")
LINES = (".jsonl", ".ndjson", ".json")
SPLITS = {"train": TRAIN, "dev": VALIDATION, "val": VALIDATION, "test": TEST}
TAGS = ("tags", "ner_tags", "pos_tags", "labels")  # names of the tags in JSON lines
LOOKED = 400  # lines that tell the format
TAG = re.compile(r"[A-Z][A-Z0-9$.]{0,7}|[BIESUL]-\S+|[.,:;'`()#$]{1,3}")
UNIVERSAL = 10  # columns of CoNLL-U

SET = re.compile(r"#\s*(?:set|split)\s*=\s*(\w+)\s*$")

Sentence = tuple[list[str], list[str]]
Found = tuple[int, Sentence, int | None]  # line, words and tags, split


def claims(source: Any) -> bool:
    """Claims files of these formats by their first lines, and folders of such files that name their splits."""
    if not isinstance(source, Path):
        return False
    try:
        if source.is_dir():
            files = _split_files(source)
            return TRAIN in files and all(claims(path) for path in files.values())
        suffix = source.suffix.lower()
        if not source.is_file() or suffix not in (*OWN, *OTHER, *LINES):
            return False
        if suffix in OWN:
            return True
        with open(source, encoding="utf-8") as file:
            first = list(itertools.islice(file, LOOKED))
    except (OSError, UnicodeDecodeError):
        return False
    return _is_json(first) if suffix in LINES else _is_columns(first)


def read(source: Any, reading: Reading) -> Table:
    """Columns text (the words of a sentence with blanks between) and tags. Raises DataError naming file and line."""
    files = _split_files(source) if source.is_dir() else {TRAIN: source}
    sentences: list[Sentence] = []
    names, split = [], []
    for part, path in sorted(files.items()):
        for line, sentence, own in _sentences(path, reading.target):
            sentences.append(sentence)
            names.append(f"{path.name} line {line}" if len(files) > 1 else f"line {line}")
            split.append(part if len(files) > 1 else own)
    if not sentences:
        raise DataError(f"{source} holds no sentence.")
    table = of_sentences(sentences, str(source), np.array([*names, None], object)[:-1], reading.target or "tags")
    if None in split or TRAIN not in split:
        return table
    rule = "the files' names" if len(files) > 1 else "what the comments above the sentences say"
    return table.with_(split=np.array(split, np.int8), split_rule=rule)


def of_sentences(sentences: list[Sentence], source: str, names: np.ndarray, target: str = "tags") -> Table:
    """A table of sentences: words, and their tags in the column `target`. Raises DataError where these are not as many."""
    for name, (words, tags) in zip(names, sentences, strict=True):
        if len(words) != len(tags):
            raise DataError(f"{source}, {name}: {len(words)} words and {len(tags)} tags; each word needs one.")
    classes = tuple(sorted({tag for _, tags in sentences for tag in tags}, key=lambda tag: (tag != "O", tag)))
    if len(classes) < 2:
        raise DataError(f"{source} holds one tag ('{''.join(classes)}'); learning to tell apart needs two or more.")
    code = {tag: i for i, tag in enumerate(classes)}
    texts, values = np.empty(len(sentences), object), np.empty(len(sentences), object)
    for i, (words, tags) in enumerate(sentences):
        texts[i] = " ".join("_".join(word.split()) for word in words)
        values[i] = np.array([code[tag] for tag in tags], np.int16)
    columns = {"text": Column(Field("text", "text"), texts), target: Column(Field(target, "tags", classes), values)}
    count = sum(len(words) for words, _ in sentences)
    note = f"{len(sentences):,} sentences, {count:,} words, {len(classes)} tags: {', '.join(classes[:12])}{' ...' if len(classes) > 12 else ''}."
    return Table(columns, source, "conll", names, target, notes=(note,), tried=len(sentences))


def _split_files(folder: Path) -> dict[int, Path]:
    """Split -> file, of the files of a folder that begin with the name of one."""
    found: dict[int, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in (*OWN, *OTHER, *LINES)):
        part = next((s for name, s in SPLITS.items() if path.stem.lower().split(".")[0].startswith(name)), None)
        if part is not None and part not in found:
            found[part] = path
    return found


def _is_json(first: list[str]) -> bool:
    try:
        row = json.loads(next(line for line in first if line.strip()))
    except (ValueError, StopIteration):
        return False
    tags = _named(row) if isinstance(row, dict) else None
    return isinstance(row, dict) and isinstance(row.get("tokens"), list) and isinstance(row.get(tags or ""), list)


def _named(row: dict[str, Any]) -> str | None:
    return next((name for name in TAGS if name in row), None)


def _is_columns(first: list[str]) -> bool:
    """Two or more columns on every line that is not empty, tags in the last one, and an empty line somewhere."""
    whole = first if len(first) < LOOKED else first[:-1]
    rows = [_parts(line) for line in whole if line.strip() and not _is_aside(line)]
    if len(rows) < 4 or len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
        return False
    if all(line.strip() for line in whole):
        return False
    tags = [row[-1] if len(row) != UNIVERSAL else row[3] for row in rows]
    return len(set(tags)) <= max(3, len(tags) // 3) and all(TAG.fullmatch(tag) for tag in tags)


def _is_aside(line: str) -> bool:
    """Whether a line is a comment, or says that a document begins."""
    return line.startswith(("# ", "#\t", "-DOCSTART-")) or line.strip() == "#"


def _parts(line: str) -> list[str]:
    line = line.rstrip("\r\n")
    return line.strip("\t").split("\t") if "\t" in line else line.split()


def _sentences(path: Path, wanted: str | None) -> Iterator[Found]:
    """Every sentence of a file."""
    content = _encoding.content(path)
    yield from _of_json(path, content) if path.suffix.lower() in LINES else _of_columns(path, content, wanted)


def _of_json(path: Path, content: str) -> Iterator[Found]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            words, tags = row["tokens"], row[_named(row) or TAGS[0]]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}, line {number}: no object with tokens and tags ({type(error).__name__})."
            ) from None
        if not isinstance(words, list) or not all(isinstance(w, str) and w.strip() for w in words):
            raise DataError(f"{path}, line {number}: tokens must be a list of words, none of them empty.")
        if not isinstance(tags, list) or not all(isinstance(t, str | int) for t in tags):
            raise DataError(f"{path}, line {number}: tags must be a list of names.")
        if words:
            yield number, (words, [str(tag) for tag in tags]), None


def _of_columns(path: Path, content: str, wanted: str | None) -> Iterator[Found]:
    words: list[str] = []
    tags: list[str] = []
    begun, width, part = 0, 0, None
    for number, line in enumerate(itertools.chain(content.split("\n"), [""]), 1):
        if _is_aside(line):
            named = SET.match(line)
            part = SPLITS.get(named[1].lower(), part) if named else part
            continue
        if not line.strip():
            if words:
                yield begun, (words, tags), part
            words, tags, part = [], [], None
            continue
        row = _parts(line)
        width = width or len(row)
        if len(row) != width or len(row) < 2:
            raise DataError(
                f"{path}, line {number}: {len(row)} columns where the first line has {width}; a word and its tag are needed."
            )
        if width == UNIVERSAL and not row[0].isdecimal():
            continue  # of words that are written as one, and of words that are not written
        if not words:
            begun = number
        universal = width == UNIVERSAL
        words.append(row[1] if universal else row[0])
        tags.append(_universal(row, wanted, f"{path}, line {number}") if universal else row[-1])


def _universal(row: list[str], wanted: str | None, where: str) -> str:
    """The tag of a row of CoNLL-U. Raises DataError."""
    if wanted in (None, "tags", "upos"):
        return row[3]
    if wanted == "xpos":
        return row[4]
    said = dict(pair.split("=", 1) for pair in row[9].split("|") if "=" in pair)
    if wanted not in said:
        raise unknown(f"tag in {where}:", str(wanted), ["upos", "xpos", *said])
    return said[wanted]
