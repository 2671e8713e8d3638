"""One virtual environment per peer of the speed bench, outside the repository: python bench/peers/environments.py [PEER ...]

They lie under $LAMINA_HOME/peers (default ~/.cache/lamina/peers). What cannot be installed leaves failed.json there and is said.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

TORCH = ("torch==2.13.0", "numpy==2.4.6", "pillow==13.0.0")
# One environment serves the three backends: tf.data, which Keras recommends for each of them, comes with TensorFlow.
PACKAGES: dict[str, tuple[str, ...]] = {
    "torch": TORCH,
    "keras": ("keras==3.15.1", "tensorflow-cpu==2.21.0", "jax==0.10.2", *TORCH),
    "lightning": ("lightning==2.6.6", *TORCH),
    "skorch": ("skorch==1.4.0", *TORCH),
    "fastai": ("fastai==2.8.12", "torchvision==0.28.0", *TORCH),
}
IMPORTS: dict[str, str] = {
    "torch": "import torch, PIL",
    "keras": "import tensorflow, jax, torch",  # keras itself asks for its backend on import
    "lightning": "import lightning",
    "skorch": "import skorch",
    "fastai": "import fastai_peer; library = fastai_peer.declare_operators(); import fastai.vision.all",
}
ENVIRONMENT_OF: dict[str, str] = {
    "torch_loop": "torch",
    "torch_tuned": "torch",
    "keras_peer": "keras",
    "keras_mnist_example": "keras",
    "lightning_peer": "lightning",
    "skorch_peer": "skorch",
    "fastai_peer": "fastai",
    "data": "torch",
}
SECONDS_OF_INSTALLING = 1800
HERE = Path(__file__).parent


class PeerMissing(Exception):
    """A peer's packages cannot be installed or imported here; the message says why."""


def home() -> Path:
    """Folder of everything that Lamina keeps outside the repository."""
    return Path(os.environ.get("LAMINA_HOME", Path.home() / ".cache" / "lamina"))


def python_of(peer: str) -> Path:
    """Interpreter that runs bench/peers/PEER.py; its environment is made at the first call.

    Raises PeerMissing when the packages cannot be installed or imported: now, or at an earlier try with the same pins.
    """
    if peer not in ENVIRONMENT_OF:
        raise PeerMissing(f"There is no peer '{peer}'; the peers are {', '.join(ENVIRONMENT_OF)}.")
    name = ENVIRONMENT_OF[peer]
    folder = home() / "peers" / name
    python = folder / "bin" / "python"
    ready, failed = folder / "ready.json", folder / "failed.json"
    if _pins_in(ready) == list(PACKAGES[name]) and python.exists():
        return python
    if _pins_in(failed) == list(PACKAGES[name]):
        raise PeerMissing(f"{name}: {json.loads(failed.read_text())['error']} (delete {failed} to try again)")
    _make(name, folder)
    return python


def _pins_in(marker: Path) -> list[str] | None:
    return json.loads(marker.read_text())["packages"] if marker.exists() else None


def _make(name: str, folder: Path) -> None:
    """Environment with the pinned packages; a marker file is written last, so that half an environment is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    python, packages = str(folder / "bin" / "python"), list(PACKAGES[name])
    error = _run([python, "-m", "pip", "install", "--quiet", *packages])
    error = error or _run([python, "-c", IMPORTS[name]])
    frozen = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    record = {"packages": packages, "error": error, "installed": [line for line in frozen if line]}
    (folder / ("failed.json" if error else "ready.json")).write_text(json.dumps(record, indent=1) + "\n")
    if error:
        raise PeerMissing(f"{name}: {error}")


def _run(command: list[str]) -> str:
    """Empty when the command succeeded, else the last line that it wrote."""
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=SECONDS_OF_INSTALLING, cwd=HERE
        )
    except subprocess.TimeoutExpired:
        return f"not installed within {SECONDS_OF_INSTALLING} s"
    lines = [line for line in (done.stdout + "\n" + done.stderr).split("\n") if line.strip()]
    return "" if done.returncode == 0 else (lines or [f"exit code {done.returncode}"])[-1][:500]


def main() -> None:
    """Make the environments of the named peers, or of all, and say of each what became of it."""
    for peer in sys.argv[1:] or ENVIRONMENT_OF:
        try:
            print(json.dumps({"peer": peer, "python": str(python_of(peer))}), flush=True)
        except PeerMissing as error:
            print(json.dumps({"peer": peer, "error": str(error)}), flush=True)


if __name__ == "__main__":
    main()
