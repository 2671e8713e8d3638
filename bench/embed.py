"""Words per processor second of word2vec beside gensim: python bench/embed.py TEXT --gensim PYTHON [--repeats 5]

PYTHON is an interpreter that has gensim (python -m venv ENV; ENV/bin/pip install gensim). Each side trains on one thread in a
process of its own, in turn, on the same words: width 100, window 5, 5 noise words, words of 5 or more occurrences, common ones
left out from a share of 1e-3 on. Counted are all words of the text, as gensim does, in one pass. --million WORDS: instead, memory and
speed of so many different words. The figures are medians over repeats, the ratio that of the turns, with the least and the most;
results/embed.md takes them.
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
BLOCK = 8192  # the task's own 8 rows of 896 words are 7,168
HERE = Path(__file__).parent


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
    steps = max(4, len(tokens) // BLOCK)
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
    start = time.process_time()
    made.train(parts, total_examples=len(parts), epochs=1)
    return {"words_per_second": len(words) / (time.process_time() - start)}


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
    rows = ["| kind | Lamina, words/s | gensim, words/s | ratio |", "|---|---|---|---|"]
    print("\n".join(rows))
    loads = [os.getloadavg()[0]]
    for model, output in KINDS:
        rows.append(compared(given, model, output))
        loads.append(os.getloadavg()[0])
        print(rows[-1], flush=True)
    write(rows, given, loads)


def compared(given: argparse.Namespace, model: str, output: str) -> str:
    """A line of the table: both sides in turn, `repeats` times."""
    found: dict[str, list[float]] = {"lamina": [], "gensim": []}
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    for _ in range(given.repeats):
        for side, python in (("lamina", sys.executable), ("gensim", given.gensim)):
            command = [python, __file__, str(given.text), "--side", side, model, output]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **single})
            found[side].append(json.loads(done.stdout.splitlines()[-1])["words_per_second"])
    ratios = [own / other for own, other in zip(*found.values(), strict=True)]
    cells = [f"{statistics.median(v):,.0f} ({min(v):,.0f} to {max(v):,.0f})" for v in found.values()]
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"| {model}, {output} | {' | '.join(cells)} | {ratio} |"


def write(rows: list[str], given: argparse.Namespace, loads: list[float]) -> None:
    """results/embed.md."""
    from lamina.core.device import machine

    here, words = machine(), len(words_of(given.text))
    page = ["# word2vec beside gensim", "", f"Words of a text of {words:,} words per processor second, one thread, one pass, width 100.", "", *rows, ""]  # fmt: skip
    page += [f"Medians of {given.repeats}, in turn; {here['processor']}, torch {here['torch']}; load {min(loads):.1f} to {max(loads):.1f}, {time.strftime('%Y-%m-%d')}: "
             f"`python bench/embed.py TEXT --gensim PYTHON --repeats {given.repeats}`."]  # fmt: skip
    (HERE / "results" / "embed.md").write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
