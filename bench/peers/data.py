"""Makes the pictures of the works resnet20 and resnet18: python bench/peers/data.py FOLDER [--only pictures32]

FOLDER/pictures32.npz: 10,000 emoji of three vendors, 32x32 over white, label = category. FOLDER/photographs/CLASS/NNNN.jpg:
1,024 files of 640x480, random windows of real photographs in 8 classes. The packages come from npm and Debian by their own
clients (npm, apt-get) and stay in $LAMINA_HOME/assets (default ~/.cache/lamina/assets); none of it goes into the repository.
Runs in the environment `torch`. About 40 seconds for both on one core of an EPYC (AVX2), fetching included.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from environments import home
from PIL import Image
from reading import PICTURES32

SEED = 2026
ROWS32, SIDE32 = 10_000, 32
CLASSES, ROWS_PER_CLASS = 8, 128
SIZE, QUALITY = (640, 480), 90  # pixels, of Pillow's JPEG encoder


class PackageDamaged(Exception):
    """A fetched package is not the one that the figures were measured with."""


@dataclass(frozen=True)
class Package:
    """A package of a registry, as it was when the figures were measured."""

    file: str
    command: tuple[str, ...]
    megabytes: int
    licence: str
    sha256: str


def _emoji(vendor: str, megabytes: int, licence: str, sha256: str) -> Package:
    name = f"emoji-datasource-{vendor}"
    return Package(f"{name}-16.0.0.tgz", ("npm", "pack", f"{name}@16.0.0"), megabytes, licence, sha256)


def _debian(name: str, version: str, megabytes: int, licence: str, sha256: str) -> Package:
    return Package(
        f"{name}_{version}_all.deb", ("apt-get", "download", f"{name}={version}"), megabytes, licence, sha256
    )


EMOJI = {
    "twitter": _emoji(
        "twitter", 62, "MIT; pictures CC-BY 4.0", "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877"
    ),
    "google": _emoji(
        "google", 74, "MIT; pictures Apache-2.0", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"
    ),
    "apple": _emoji(
        "apple",
        99,
        "MIT; pictures Apple's, not free",
        "b34d1665e136f163b0d4433318df151895b785186e8c729b2211b43017945075",
    ),
}
PHOTOGRAPHS = (
    _debian(
        "mate-backgrounds",
        "1.26.0-1",
        47,
        "GPL-2+, CC-BY-SA-4.0",
        "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
    ),
    _debian(
        "lomiri-wallpapers-16.04",
        "20.04.0-2",
        16,
        "CC-BY, CC-BY-SA, CC0",
        "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
    ),
)
DRAWINGS = ("abstract", "desktop", "analogpattern", "Elephants_")  # not photographs, or the same one again


def fetched(package: Package) -> Path:
    """The package's file in the cache, fetched at the first call.

    Raises PackageDamaged when its SHA-256 is another one.
    """
    cache = home() / "assets"
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / package.file
    if not path.exists():
        print(f"fetching {package.file}: {package.megabytes} MB, licence {package.licence}", flush=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            subprocess.run(package.command, cwd=folder, check=True, capture_output=True)
            os.replace(Path(folder) / package.file, path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise PackageDamaged(f"{path} has SHA-256 {found}, not {package.sha256}; delete it and run again.")
    return path


def over_white(content: bytes) -> np.ndarray:
    """A PNG -> (32, 32, 3) uint8 over white."""
    with Image.open(io.BytesIO(content)) as file:
        picture = file.convert("RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(ground, picture).convert("RGB").resize((SIDE32, SIDE32)))


def emoji_of(vendor: str) -> tuple[list[np.ndarray], list[str]]:
    """All pictures of a vendor and their categories."""
    with tarfile.open(fetched(EMOJI[vendor])) as archive:
        contents = {}
        for member in archive:
            if member.name.endswith("/emoji.json") or f"img/{vendor}/64/" in member.name:
                contents[Path(member.name).name] = archive.extractfile(member).read()
    symbols = json.loads(contents["emoji.json"])
    categories = {
        variant["image"]: symbol["category"]
        for symbol in symbols
        for variant in (symbol, *symbol.get("skin_variations", {}).values())
        if symbol["category"] != "Component"
    }
    names = sorted(name for name in contents if name in categories)
    return [over_white(contents[name]) for name in names], [categories[name] for name in names]


def write_pictures32(folder: Path) -> None:
    """FOLDER/pictures32.npz: image (10000, 32, 32, 3) uint8, label (10000,) int64, classes (9,) text."""
    images, categories = [], []
    for vendor in EMOJI:
        image, category = emoji_of(vendor)
        images += image
        categories += category
    classes, label = np.unique(categories, return_inverse=True)
    rows = np.random.default_rng(SEED).permutation(len(label))[:ROWS32]
    path = folder / PICTURES32
    np.savez(path, image=np.stack(images)[rows], label=label[rows].astype(np.int64), classes=classes)
    print(f"{path}: {len(rows):,} of {len(label):,} pictures, {len(classes)} classes")


def sources(folder: Path) -> list[Path]:
    """The photographs of the Debian packages, unpacked in the folder."""
    for package in PHOTOGRAPHS:
        subprocess.run(["dpkg-deb", "-x", str(fetched(package)), str(folder)], check=True)
    found = sorted(folder.rglob("*.jpg"), key=lambda path: path.name)
    return [path for path in found if not any(name in str(path.relative_to(folder)) for name in DRAWINGS)]


def write_photographs(folder: Path) -> None:
    """FOLDER/photographs/CLASS/NNNN.jpg: windows of 4:3 at half to full height; a class is a group of photographs."""
    random = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as unpacked:
        pictures = [Image.open(path).convert("RGB") for path in sources(Path(unpacked))]
    made = folder / "photographs.part"
    shutil.rmtree(made, ignore_errors=True)
    for label in range(CLASSES):
        (made / f"group{label}").mkdir(parents=True)
        for number in range(ROWS_PER_CLASS):
            group = pictures[label::CLASSES]
            window = window_of(group[number % len(group)], random)
            window.save(made / f"group{label}" / f"{number:04}.jpg", quality=QUALITY)
    shutil.rmtree(folder / "photographs", ignore_errors=True)
    os.replace(made, folder / "photographs")
    print(
        f"{folder / 'photographs'}: {CLASSES * ROWS_PER_CLASS:,} files from {len(pictures)} photographs, {CLASSES} classes"
    )


def window_of(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """A random window of the picture at 640x480."""
    fitting = min(picture.height, picture.width * SIZE[1] // SIZE[0])
    height = int(fitting * random.uniform(0.5, 1.0))
    width = height * SIZE[0] // SIZE[1]
    left, top = random.integers(picture.width - width + 1), random.integers(picture.height - height + 1)
    return picture.resize(SIZE, Image.Resampling.BICUBIC, (left, top, left + width, top + height))


def main() -> None:
    """Write the named sets, or both."""
    writers = {"pictures32": write_pictures32, "photographs": write_photographs}
    parser = argparse.ArgumentParser(prog="data.py")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=list(writers), help="one of the sets")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in [options.only] if options.only else writers:
        writers[name](options.folder)


if __name__ == "__main__":
    main()
