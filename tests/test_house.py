"""The house: imports point down only, files stay readable, listing loads no torch."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lamina
from lamina.core import catalog

PACKAGE = Path(lamina.__file__).parent
FLOORS = {"core": 0, "data": 1, "nets": 1, "measures": 1, "tasks": 2, "train": 3, "judge": 4, "explain": 4, "ship": 5}
TOP = 6  # files of the package itself: api, cli, show, look, doctor
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
    return {name for name in found if name.startswith("lamina.") and name != "lamina.__version__"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path):
    floor = FLOORS.get(room(path), TOP)
    for name in imported(path):
        other = name.split(".")[1]
        if other not in FLOORS:
            assert floor == TOP, f"{path} imports {name} from the top floor"
        elif other != room(path):
            assert FLOORS[other] < floor, f"{path} (floor {floor}) imports {name} (floor {FLOORS[other]})"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_files_are_short_and_say_what_they_are(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["list", "nets"],
        ["list", "tasks"],
        ["list", "data"],
        ["list", "explanations"],
        ["list", "exports"],
        ["list", "recipes"],
        ["train", "--help"],
    ],
)
def test_listing_loads_no_torch(words):
    code = f"""
import sys
from lamina.cli import main
try:
    code = main({words!r})
except SystemExit as stop:
    code = stop.code
assert code == 0, code
assert "torch" not in sys.modules and "pandas" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_name_is_listed_and_described():
    for kind in ("nets", "tasks", "data", "explain", "ship", "recipes"):
        for name in catalog.names(kind):
            assert len(catalog.describe(kind, name).summary) > 20, name


def test_no_pickle():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"torch\.load\([^()]*weights_only=True\)", "", text)  # tensors, numbers and texts: no code
        assert not re.search(r"allow_pickle=True|import pickle|(?<!safetensors\.)torch\.load\(", text), path


def test_no_file_hides_a_function_of_the_package():
    """Importing lamina.look, if there were one, would put the module in the place of the function."""
    files = {p.stem for p in PACKAGE.iterdir()}
    assert not files & set(lamina.__all__)
