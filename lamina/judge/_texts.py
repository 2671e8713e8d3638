"""What is odd about texts before anything is learned: empty ones, copies across splits, scripts and languages, very long lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np

from lamina.data import _alike
from lamina.data._table import SPLITS, TEST, TRAIN, VALIDATION, Column, Table

LOOKED = 5_000  # texts that are looked at
HEAD = 2_000  # characters of each
LONG = 5_000  # characters of a line that is most likely no line
LINE = 40  # characters from which on equal lines of a running text are copies
TOKENS = 3_000_000  # of each stretch of a running text that is looked at
SHARE = 0.005  # of the texts, from which on another script or language is named
BLOCKS = {
    "Latin": (0x41, 0x250), "Greek": (0x370, 0x400), "Cyrillic": (0x400, 0x530), "Armenian": (0x530, 0x590),
    "Hebrew": (0x590, 0x600), "Arabic": (0x600, 0x780), "Devanagari": (0x900, 0x980), "Thai": (0xE00, 0xE80),
    "kana": (0x3040, 0x3100), "Chinese characters": (0x3400, 0xA000), "Hangul": (0xAC00, 0xD7B0),
}  # fmt: skip
COMMON = {
    "English": "the and of to is that with for you this was are not have from they",
    "German": "der die das und ist nicht ein eine mit sich auf auch werden wir ich",
    "French": "le la les des et est une dans pour que qui pas vous nous avec sur",
    "Spanish": "el los las una que con para por como pero esta su al muy del se",
    "Italian": "il gli della che con per una sono non come anche questo nel alla di",
    "Portuguese": "o os uma que com para por como mas seu ao muito do da em nao",
    "Dutch": "het een van en dat niet op voor met zijn aan ook maar wij ik",
    "Latin": "et in est non ad cum qui quod ut sed autem eius sunt ex ab",
}
SAID = 4  # different common words that tell a language


def about(table: Table) -> list[str]:
    """One sentence per finding about the texts of a table that is split."""
    found = []
    target = table[table.target].field if table.target else None
    for field in [*table.inputs, *([target] if target is not None and target.kind == "sentence" else [])]:
        if field.kind in ("text", "sentence"):
            found += _of_column(table, table[field.name])
        elif field.kind == "running":
            found += _of_running(table[field.name])
    texts = [table[f.name].values for f in table.inputs if f.kind == "text"]
    return found + (_copies(table, texts) if texts else [])


def _of_column(table: Table, column: Column) -> list[str]:
    name, values, found = column.field.name, column.values, []
    empty = int(sum(not text.strip() for text in values))
    if empty:
        found.append(f"{name}: {empty:,} of {len(values):,} texts {'are' if empty > 1 else 'is'} empty.")
    long = [int(row) for row in np.flatnonzero([len(text) > LONG and _longest(text) > LONG for text in values])]
    if long:
        most = max(long, key=lambda row: _longest(values[row]))
        found.append(
            f"{name}: {len(long):,} {'texts hold' if len(long) > 1 else 'text holds'} lines of over {LONG:,} characters (the longest {_longest(values[most]):,}, "
            f"in {table.names[most]}): coded data, or lines without ends?"
        )
    sample = values[np.unique(np.linspace(0, len(values) - 1, LOOKED).astype(int))]
    return found + mixed(name, [text[:HEAD] for text in sample if text.strip()])


def mixed(name: str, texts: list[str]) -> list[str]:
    """Scripts and languages of texts, where there are several of a share of SHARE or more."""
    found = []
    for what, tell in (("scripts", script), ("languages", language)):
        count = Counter(told for told in map(tell, texts) if told)
        kept = [(k, n) for k, n in count.most_common() if n >= max(2, SHARE * len(texts))]
        if len(kept) > 1:
            shares = ", ".join(f"{k} {100 * n / count.total():.3g} %" for k, n in kept[:6])
            found.append(f"{name}: several {what}: {shares} of the texts whose {what[:-1]} can be told.")
    return found


def script(text: str) -> str:
    """The script of most letters; "" without letters."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    codes = codes[(codes > 0xBF) | ((codes | 32) - 97 < 26)]
    count = {name: int(((codes >= low) & (codes < high)).sum()) for name, (low, high) in BLOCKS.items()}
    best = max(count, key=lambda name: count[name])
    return best if count[best] else ""


def language(text: str) -> str:
    """The language whose common words are in it, twice as many different ones as of any other; "" where that tells nothing."""
    held = set(re.findall(r"[^\W\d_]+", text.lower()))
    count = sorted(((len(held & set(words.split())), name) for name, words in COMMON.items()), reverse=True)
    return count[0][1] if count[0][0] >= max(SAID, 2 * count[1][0]) else ""


def _longest(text: str) -> int:
    return max(map(len, text.splitlines()), default=0)


def _copies(table: Table, texts: list[np.ndarray]) -> list[str]:
    """Held-out texts that are nearly the same as one of the training rows."""
    assert table.split is not None
    whole = [" ".join(" ".join(row).lower().split()) for row in zip(*texts, strict=True)]
    number = _alike.together(len(whole), ([text] for text in whole), _alike.nearly_same(whole))
    first: dict[int, int] = {}
    for row in table.rows(TRAIN):
        first.setdefault(int(number[row]), int(row))
    found = []
    for split in (VALIDATION, TEST):
        rows = [int(r) for r in table.rows(split) if int(number[r]) in first and whole[r]]
        if rows:
            pair = f"{table.names[rows[0]]} and {table.names[first[int(number[rows[0]])]]}"
            found.append(
                f"{len(rows):,} {SPLITS[split]} texts are nearly in train too (such as {pair}): the score would flatter."
            )
    return found


def _of_running(column: Column) -> list[str]:
    """Lines of a running text: empty, too long, and held-out ones that training has too."""
    if not hasattr(column.values, "coded"):
        return []
    coded, found, known = column.values.coded, [], set()
    begin = 0
    for split, end in enumerate(coded.ends):
        stop = min(end, begin + TOKENS)
        lines = list(_lines(coded.tokens.decode(np.asarray(coded.ids[begin:stop])), stop < end))
        begin = end
        if split == TRAIN and lines:
            empty, most = sum(not line.strip() for line in lines), max(map(len, lines))
            if empty > 0.5 * len(lines):
                found.append(f"{empty / len(lines):.0%} of the lines are empty.")
            if most > LONG and coded.tokens.kind != "words":
                found.append(f"The longest line has {most:,} characters: coded data, or lines without ends?")
            size = max(1, len(lines) // LOOKED)
            found += mixed("Stretches", [" ".join(lines[i : i + 5])[:HEAD] for i in range(0, len(lines), size)])
            known = {line.strip() for line in lines if len(line.strip()) >= LINE}
        elif split == TEST:
            long = [line.strip() for line in lines if len(line.strip()) >= LINE]
            copied = sum(line in known for line in long)
            if long and copied > 0.01 * len(long):
                found.append(
                    f"{copied:,} of {len(long):,} test lines of {LINE} characters or more stand in train too: the score flatters."
                )
    return found


def _lines(text: str, cut: bool) -> Iterator[str]:
    lines = text.split("\n")
    yield from lines[:-1] if cut else lines
