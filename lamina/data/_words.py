"""Words of a text: runs of letters, marks and digits; every other sign alone; signs of scripts without blanks alone too.

Combining characters and joiners belong to the word that they are in, in any script and direction.
"""

from __future__ import annotations

import re

SIGNS = (
    r"\x00-\x20\x7f!-/:-@\[-`{-~\x80-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7\u2000-\u200b\u200e-\u206f\u20a0-\u20bf"
    r"\u2190-\u2bff\u3000-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\U0001f000-\U0001faff"
)
ALONE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana and ideographs
LETTER = rf"[^\s{SIGNS}{ALONE}]"
WORD = re.compile(rf"{LETTER}+(?:['\u2019]{LETTER}+)*|[^\s]")
CLOSING, OPENING = re.compile(r" (?=[,.;:!?)\]}%\u2019\u201d])"), re.compile(r"(?<=[(\[{\u201c\u2018]) ")


def words(text: str) -> list[str]:
    """The words and signs of a text, in order; blanks are dropped."""
    return WORD.findall(text)


def joined(found: list[str]) -> str:
    """Words and signs as a text: blanks between them, but none before , . ; : ! ? and inside brackets."""
    return OPENING.sub("", CLOSING.sub("", " ".join(found)))
