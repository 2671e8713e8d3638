"""Measures of sentences against several references: BLEU by sacrebleu, and CIDEr-D; recall of a retrieval.

BLEU: Papineni 2002, computed by sacrebleu (Post 2018, https://arxiv.org/abs/1804.08771). CIDEr-D: Vedantam 2015,
https://arxiv.org/abs/1411.5726, eq. 4 with the clipping and the length penalty of section 8, times 10 as is usual.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from lamina.core.errors import SettingError

MEANING = {
    "cider": "CIDEr-D: words and phrases shared with the reference sentences, rare ones counting more; 10 is all of them",
    "bleu": "BLEU: phrases of up to four words shared with a reference sentence, of 100",
    "exact": "share of rows with every label right, or of sentences that are a reference word by word",
}
LONGEST = 4  # words of a phrase
SIGMA = 6.0  # words, of the length penalty


def phrases(text: str) -> Counter[tuple[str, ...]]:
    """How often each phrase of one to LONGEST words occurs, in small letters, without punctuation."""
    found = re.findall(r"\w+", text.lower())
    return Counter(tuple(found[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(found) - n + 1))


class Cider:
    """CIDEr-D over a corpus of references: how rare a phrase is follows from all of them."""

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        self.counts = [[phrases(text) for text in row] for row in references]
        seen: Counter[tuple[str, ...]] = Counter()
        for row in self.counts:
            seen.update({phrase for count in row for phrase in count})
        self.seen, self.log_rows = seen, math.log(max(1, len(references)))
        self.vectors = [[self._vector(count) for count in row] for row in self.counts]

    def _vector(self, count: Counter[tuple[str, ...]]) -> tuple[list[dict[tuple[str, ...], float]], list[float], int]:
        """Per length of phrase: weight by phrase, and the norm; and the words of the sentence."""
        weights: list[dict[tuple[str, ...], float]] = [{} for _ in range(LONGEST)]
        for phrase, times in count.items():
            weights[len(phrase) - 1][phrase] = times * (self.log_rows - math.log(max(1, self.seen[phrase])))
        norms = [math.sqrt(sum(w * w for w in part.values())) for part in weights]
        return weights, norms, sum(times for phrase, times in count.items() if len(phrase) == 1)

    def score(self, row: int, answer: str) -> float:
        """CIDEr-D of an answer to a row, 0 to 10."""
        mine, norms, length = self._vector(phrases(answer))
        total = 0.0
        for theirs, other_norms, other_length in self.vectors[row]:
            penalty = math.exp(-((length - other_length) ** 2) / (2 * SIGMA**2))
            for n in range(LONGEST):
                shared = sum(min(w, theirs[n].get(p, 0.0)) * theirs[n].get(p, 0.0) for p, w in mine[n].items())
                scale = norms[n] * other_norms[n]
                total += penalty * shared / scale if scale else 0.0
        return 10 * total / (LONGEST * max(1, len(self.vectors[row])))


def bleu(answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU of 100, small letters, by sacrebleu. Raises SettingError when that is not installed."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise SettingError("BLEU needs the package sacrebleu: pip install 'lamina[text]'.") from None
    most = max(len(row) for row in references)
    streams = [[row[i] if i < len(row) else None for row in references] for i in range(most)]
    return float(BLEU(lowercase=True, effective_order=False).corpus_score(list(answers), streams).score)  # type: ignore[arg-type]


def recall(similarity: np.ndarray, ranks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """similarity (rows, rows), the own partner on the diagonal -> share of rows whose partner is among the first `rank`.

    Equal values count against the partner, half of them.
    """
    own = np.diag(similarity)[:, None]
    place = (similarity > own).sum(1) + ((similarity == own).sum(1) - 1) / 2
    return {f"at_{rank}": float((place < rank).mean()) for rank in ranks}
