"""Words per processor second of word2vec beside gensim: python bench/embed.py TEXT --gensim PYTHON [--repeats 5]

PYTHON is an interpreter that has gensim (python -m venv ENV; ENV/bin/pip install gensim). Each side trains on one thread in a
process of its own, in turn, on the same words: width 100, window 5, 5 noise words, words of 5 or more occurrences, common ones
left out from a share of 1e-3 on. Counted are all words of the text, as gensim does. --million WORDS: instead, memory and speed of
so many different words. The figures are medians over repeats, with the least and the most.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

KINDS = [(m, o) for m in ("skipgram", "cbow") for o in ("negative", "hierarchical")]
PASSES = {"negative": 2.0, "hierarchical": 0.2}
BLOCK = 8192


def words_of(text: Path) -> list[str]:
    """The words of a text, as both sides get them."""
    return text.read_text(encoding="utf-8", errors="replace").lower().split()


def ours(text: Path, model: str, output: str) -> dict[str, float]:
    """Lamina's net and optimiser on blocks of words, a short run first."""
    from collections import Counter

    import torch

    from lamina.nets import word2vec
    from lamina.train.optim import optimizers

    torch.set_num_threads(1)
    words = words_of(text)
    known = [w for w, n in Counter(words).most_common() if n >= 5]
    ids = {w: i + 4 for i, w in enumerate(known)}
    tokens = torch.tensor([ids.get(w, 1) for w in words])
    return _trained(word2vec, optimizers, torch, tokens, len(known) + 4, model, output)


def _trained(word2vec, optimizers, torch, tokens, vocabulary: int, model: str, output: str) -> dict[str, float]:
    net = word2vec.Net(word2vec.Config(vocabulary=vocabulary, model=model, output=output))
    net.fit_counts(torch.bincount(tokens, minlength=vocabulary))
    (rows,) = optimizers("adamw", net, 0.1, 0.0)
    steps = max(4, int(PASSES[output] * len(tokens) / BLOCK))
    start = time.process_time()
    for number in range(-3, steps):
        if number == 0:
            start = time.process_time()
        at = max(0, number) * BLOCK % max(1, len(tokens) - BLOCK)
        loss, _ = net.losses(tokens[at : at + BLOCK])
        rows.zero()
        loss.sum().backward()
        rows.step(1 - max(0, number) / steps)
    return {"words_per_second": steps * BLOCK / (time.process_time() - start)}


def theirs(text: Path, model: str, output: str) -> dict[str, float]:
    """gensim on one worker."""
    from gensim.models import Word2Vec  # type: ignore[import-not-found]

    words = words_of(text)
    parts = [words[i : i + 1000] for i in range(0, len(words), 1000)]
    how = {"negative": 5, "hs": 0} if output == "negative" else {"negative": 0, "hs": 1}
    made = Word2Vec(vector_size=100, window=5, min_count=5, workers=1, sg=int(model == "skipgram"), sample=1e-3, **how)
    made.build_vocab(parts)
    passes = max(1, round(PASSES[output]))
    start = time.process_time()
    made.train(parts, total_examples=len(parts), epochs=passes)
    return {"words_per_second": passes * len(words) / (time.process_time() - start)}


def million(words: int) -> dict[str, float]:
    """Peak memory and speed of a vocabulary of so many words, drawn by Zipf's law."""
    import torch

    from lamina.nets import word2vec
    from lamina.train.optim import optimizers

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokens = ((words ** torch.rand(1 << 20, dtype=torch.float64)).long() + 3).clamp(4, words + 3)
    found = _trained(word2vec, optimizers, torch, tokens, words + 4, "skipgram", "negative")
    return {**found, "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def main() -> None:
    """Measure both sides in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("text", type=Path, nargs="?")
    parser.add_argument("--gensim", help="an interpreter that has gensim")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--million", type=int, metavar="WORDS")
    parser.add_argument("--side", nargs=3)
    given = parser.parse_args()
    if given.side:
        side, model, output = given.side
        print(json.dumps((ours if side == "lamina" else theirs)(given.text, model, output)))
        return
    if given.million:
        print(json.dumps(million(given.million)))
        return
    print("| kind | lamina, words/s | gensim, words/s | ratio |\n|---|---|---|---|")
    for model, output in KINDS:
        found: dict[str, list[float]] = {"lamina": [], "gensim": []}
        for _ in range(given.repeats):
            for side, python in (("lamina", sys.executable), ("gensim", given.gensim)):
                command = [python, __file__, str(given.text), "--side", side, model, output]
                environment = {
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                    "MKL_NUM_THREADS": "1",
                }
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
                found[side].append(json.loads(done.stdout.splitlines()[-1])["words_per_second"])
        cells = [f"{statistics.median(v):,.0f} ({min(v):,.0f} to {max(v):,.0f})" for v in found.values()]
        ratio = statistics.median(found["lamina"]) / statistics.median(found["gensim"])
        print(f"| {model}, {output} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
