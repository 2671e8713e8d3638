"""doctor: what this machine has, what is missing, and the command that brings it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lamina.core import device
from lamina.show import fields

NEEDED = (
    "torch",
    "numpy",
    "pillow",
    "safetensors",
    "pandas",
    "pyarrow",
    "openpyxl",
    "rich",
    "jinja2",
    "charset-normalizer",
    "filelock",
)
COMPILER = "none; writing nets learn up to a third slower: apt-get install g++ python3-dev openssl"
OPTIONAL = {"polars": "polars frames from Python", "xlrd": "old .xls files"}


def examine() -> int:
    """Print versions, cores, memory, accelerator and what is missing; 2 when something needed is missing."""
    console = Console(highlight=False)
    missing = [name for name in NEEDED if _version(name) is None]
    versions = "  ".join(f"{n} {_version(n)}" for n in NEEDED if _version(n))
    rows = [("python", sys.version.split()[0]), ("packages", versions)]
    if "torch" not in missing:
        import torch

        from lamina.train.compiled import compiler

        found = device.machine()
        where = device.choose()
        rows += [
            ("machine", f"{found['processor']}, {found['cores']} cores, {found['memory_gib']} GiB, {found['system']}"),
            (
                "accelerator",
                f"{found['accelerator'] or where.type}"
                if where.type != "cpu"
                else "none; training runs on the processor",
            ),
            ("threads", f"{torch.get_num_threads()}"),
            ("compiler", "there, for code that is made for a net" if compiler() else COMPILER),
        ]
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    rows += [
        ("disk", f"{free:,.1f} GiB free here"),
        ("runs", f"{len(list(Path('runs').glob('*/config.json')))} in ./runs"),
    ]
    console.print(fields(rows))
    for name, what in OPTIONAL.items():
        if _version(name) is None:
            console.print(Text(f"  not installed: {name} ({what}): pip install {name}", style="dim"))
    for name in missing:
        console.print(Text(f"  missing: {name}: pip install {name}", style="red"))
    console.print(
        Text("  something needed is missing" if missing else "  all is well", style="red" if missing else "green")
    )
    return 2 if missing else 0


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
