"""Makes the golden packs: shipped nets of several tasks that later versions of Lamina must open with the same answers.

python tests/golden/make.py NAME...: makes those that are not there yet, in a folder of its own; a file that is there is never made anew.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import lamina
from lamina.data._dense import Floats, Masks
from lamina.data._pictures import Pictures
from lamina.data._table import Column, Field, Table

HERE = Path(__file__).parent


def digits(**more):
    table = lamina.open("digits")
    return lamina.fit(table, net="resnet9", net_settings={"stem": 4, "stages": "8,8"}, epochs=2, show=False, **more)


def people(target="class", **more):
    random = np.random.default_rng(0)
    age, town = random.normal(40, 12, 300).round(1), random.choice(["Ulm", "Bonn", "Jena"], 300)
    older = age + 10 * (town == "Ulm") + random.normal(0, 3, 300)
    seen = pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 900, 300), "D")
    frame = pd.DataFrame({"age": age, "town": town, "seen": seen})
    frame[target] = np.where(older > 42, "old", "young") if target == "class" else older * 10
    frame.loc[::17, "age"] = np.nan
    return lamina.fit(
        frame, target=target, net="mlp", net_settings={"width": 16, "depth": 1}, steps=150, show=False, **more
    )


def scenes(kind, rows=40):
    random = np.random.default_rng(0)
    codes = np.zeros((rows, 16, 24), np.uint8)
    for own in codes:
        top, left = random.integers(0, 8), random.integers(0, 14)
        own[top : top + 8, left : left + 10] = 1
    image = (60 + 120 * codes[..., None] + random.integers(0, 40, (rows, 16, 24, 3))).astype(np.uint8)
    columns = {"image": Column(Field("image", "image"), Pictures.of_array(image))}
    if kind == "mask":
        columns[kind] = Column(Field(kind, kind, ("ground", "thing")), Masks.of_array(codes))
    else:
        columns[kind] = Column(Field(kind, kind), Floats.of_array(4.0 - 3 * codes.astype(np.float32)))
    return Table(columns, "scenes", "memory", np.array([f"s{i}" for i in range(rows)], object), kind)


def dense(kind, **more):
    return lamina.fit(
        scenes(kind), net="unet", net_settings={"width": "4", "depth": "1"}, steps=40, batch=8, show=False, **more
    )


def sentences(folder, net="seq2seq", **more):
    words = {"one": "un", "two": "deux", "red": "rouge", "big": "grand", "dog": "chien", "cat": "chat"}
    random, lines = np.random.default_rng(0), ["en\tfr"]
    for _ in range(200):
        said = random.choice(list(words), random.integers(2, 5))
        lines.append(f"{' '.join(said)}\t{' '.join(words[w] for w in said)}")
    (folder / "pairs.tsv").write_text("\n".join(dict.fromkeys(lines)) + "\n")
    settings = {"width": 8, "depth": 1, "dropout": 0.0}
    return lamina.fit(folder / "pairs.tsv", net=net, net_settings=settings, steps=150, lr=0.01, show=False, **more)


def order(folder, task=None, **more):
    """Sentences whose class is what comes first: who bites whom; task mask: the same without a class."""
    random = np.random.default_rng(0)
    said = [" ".join(random.choice(["dog", "cat", "the", "big", "red"], 6)) for _ in range(200)]
    frame = pd.DataFrame({"text": said})
    if not task:
        frame["class"] = ["cat" if "cat" in s.split("dog")[0] else "dog" for s in said]
    frame.to_csv(folder / "order.csv", index=False)
    settings = {"width": 8, "depth": 1, "heads": 2, "dropout": 0.0, "context": 12}
    return lamina.fit(
        folder / "order.csv", task=task, net_settings=settings, longest=12, steps=150, lr=0.01, show=False, **more
    )


def book(folder, net="char_rnn", **more):
    text = "In the beginning was the word, and the word was good.\n" * 300
    (folder / "book.txt").write_text(text)
    settings = {"width": "16", "depth": "1"}
    return lamina.fit(
        folder / "book.txt", net=net, net_settings=settings, context=16, steps=150, lr=0.01, show=False, **more
    )


MADE = {
    "digits": lambda _, **k: digits(**k), "people": lambda _, **k: people(**k), "numbers": lambda _, **k: people("price", **k),
    "mask": lambda _, **k: dense("mask", **k), "depth": lambda _, **k: dense("picture", **k),
    "translate": sentences, "write": book, "order": lambda f, **k: order(f, net="transformer", **k),
    "hidden": lambda f, **k: order(f, "mask", net="bert", **k), "gpt": lambda f, **k: book(f, "gpt", **k),
    "translator": lambda f, **k: sentences(f, "translator", **k),
}  # fmt: skip
ALSO_ONNX = ("digits", "people", "numbers")


def main(names):
    sums = HERE / "sha256.json"
    told = json.loads(sums.read_text()) if sums.exists() else {}
    for name in names or MADE:
        wanted = [f"{name}.safetensors", *([f"{name}.onnx"] if name in ALSO_ONNX else [])]
        if all(w in told for w in wanted):
            continue
        folder = Path(tempfile.mkdtemp())
        (folder / "data").mkdir()
        os.environ["LAMINA_STORE"] = str(folder / "store")
        run = MADE[name](folder / "data", run=folder / "run")
        for file in wanted:
            path = run.ship("onnx" if file.endswith(".onnx") else "pack", folder / file)
            print(name, file, path.stat().st_size, run.score().name, run.score().value)
            if path.stat().st_size < 50_000 and file not in told:
                shutil.copy(path, HERE / file)
                told[file] = hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.rmtree(folder)
    sums.write_text(json.dumps(dict(sorted(told.items())), indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
