"""Lamina learns y = f(g(x)) from data: bring data and a question, and a number of minutes.

table = lamina.open("photos/")
run = lamina.fit(table, minutes=5)
print(run.score())
run.ask("new.jpg")
run.report()
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Threads that wait spin briefly, then sleep: spinning on made training up to 46 times slower beside two busy processes, and
# sleeping at once costs 25 % on an idle machine (2 cores, resnet). It counts only when set before torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

# Sentences have hundreds of lengths, and each makes products of its own shape: of 1,024 that oneDNN keeps compiled a pass of
# translations throws most away. With 4,096 an update takes 73 ms instead of 86 (bfloat16, one core), and 300 MB more.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "4096")

__version__ = "0.1.0"
__all__ = ["check", "compare", "fit", "load", "look", "open", "resume"]

if TYPE_CHECKING:
    from lamina._doors import check, compare
    from lamina.api import fit, load, look, open, resume


def __getattr__(name: str) -> Any:
    """Import the API when it is first used, so that `import lamina` takes milliseconds."""
    if name in ("check", "compare"):
        from lamina import _doors

        return getattr(_doors, name)
    if name in __all__:
        from lamina import api

        return getattr(api, name)
    raise AttributeError(f"module 'lamina' has no attribute '{name}'")
