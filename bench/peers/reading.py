"""Reads the rows of the works as numpy arrays or lists of files; no framework is imported.

cnn: Fashion-MNIST's IDX files, packed or not. resnet20 and resnet18: what data.py made. mlp: numbers from a seed.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

PICTURES32 = "pictures32.npz"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels, as in every tutorial
SIDE = 224
NUMBER_ROWS, NUMBER_COLUMNS = 4096, 10


def gray(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Training rows of Fashion-MNIST or MNIST: image (60000, 28, 28) uint8, label (60000,) int64."""
    image = _idx(folder, "train-images-idx3-ubyte", header=16).reshape(-1, 28, 28)
    return image, _idx(folder, "train-labels-idx1-ubyte", header=8).astype(np.int64)


def _idx(folder: Path, name: str, header: int) -> np.ndarray:
    raw, packed = folder / name, folder / f"{name}.gz"
    if not raw.exists() and not packed.exists():
        raise FileNotFoundError(f"{folder} has neither {name} nor {name}.gz; --data names the folder of the IDX files.")
    content = raw.read_bytes() if raw.exists() else gzip.decompress(packed.read_bytes())
    return np.frombuffer(content, np.uint8, offset=header).copy()


def pictures32(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """image (rows, 32, 32, 3) uint8, label (rows,) int64, from pictures32.npz in the folder or from the file itself."""
    path = folder if folder.suffix == ".npz" else folder / PICTURES32
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; make it by: python bench/peers/data.py {folder}")
    with np.load(path) as arrays:
        return arrays["image"], arrays["label"].astype(np.int64)


def photographs(folder: Path) -> tuple[list[Path], np.ndarray]:
    """JPEG files in folders named by class, in order of name, and the classes as int64."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and any(path.glob("*.jpg")))
    if not classes:
        raise FileNotFoundError(
            f"{folder} has no folders of .jpg files; make them by: python bench/peers/data.py FOLDER"
        )
    files = [(path, label) for label, name in enumerate(classes) for path in sorted(name.glob("*.jpg"))]
    return [path for path, _ in files], np.array([label for _, label in files], np.int64)


def numbers() -> tuple[np.ndarray, np.ndarray]:
    """x (4096, 10) and y (4096, 1) float32: normal numbers and a smooth function of them."""
    random = np.random.default_rng(0)
    x = random.standard_normal((NUMBER_ROWS, NUMBER_COLUMNS)).astype(np.float32)
    y = np.sin(x @ random.standard_normal((NUMBER_COLUMNS, 1)).astype(np.float32))
    return x, y.astype(np.float32)
