"""Learning by code that torch.compile makes for a net: what lies between its products is done in one pass over memory.

Ansel 2024, https://doi.org/10.1145/3620665.3640366. Answers are computed as they came, by torch's own operations.
An update of a GPT 4x128 by AdamW, 12 x 64 tokens on one core of a Xeon with bfloat16, took 20 ms where 27 (gpt2), 21 where 31 (modern);
a ViT of 32x32 pixels gains a tenth, the MLP, LeNet and small convolutional nets lose.
Compiling takes 10 seconds of Python, and another 20 to 40 of the C++ compiler where the machine has not made this code before. What
the compiler made lies in the user's own cache folder; torch's caches of graphs are pickles, and stay off.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

MINUTES = 8.0  # a budget from which on it pays: in 4 minutes a GPT 4x128 made 2,094 updates, and 2,274 without, as the code was new


def suits(net: nn.Module, alike: bool, where: torch.device, minutes: float | None) -> bool:
    """Whether compiling may make a net faster and pays in a budget of `minutes`.

    Every shape is compiled by itself: only nets that say so (COMPILES), on batches that are `alike`, of one shape.
    """
    wanted = bool(getattr(net, "COMPILES", False)) and alike and (minutes or 0.0) >= MINUTES
    return wanted and where.type == "cpu" and compiler()


def told(net: nn.Module, alike: bool, where: torch.device, minutes: float | None) -> list[str]:
    """What a plan says of it."""
    said = "Updates are tried as compiled code, too; making it takes 10 seconds, or up to a minute where it was never made."
    return [said] if suits(net, alike, where, minutes) else []


def compiler() -> bool:
    """Whether torch finds what it needs: a C++ compiler, Python's headers, and openssl, by which it knows its own again."""
    usual = "clang++" if sys.platform == "darwin" else "g++"
    tools = all(shutil.which(name) for name in (os.environ.get("CXX", usual), "openssl"))
    return tools and Path(sysconfig.get_path("include"), "Python.h").exists()


def turn(net: nn.Module, on: bool) -> None:
    """Let a net learn by compiled code, made at its first update, or as it came."""
    if on or isinstance(net._compiled_call_impl, Learning):
        net._compiled_call_impl = Learning(net) if on else None


def failed(net: nn.Module) -> str:
    """Why the net learns as it came although compiled code was asked for; "" when it does not."""
    call = net._compiled_call_impl
    return call.failed if isinstance(call, Learning) else ""


class Learning:
    """The call of a net: by compiled code while it learns."""

    def __init__(self, net: nn.Module) -> None:
        self.net, self.failed = net, ""
        try:
            folder = Path.home() / ".cache" / "lamina" / "compiled"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (OSError, RuntimeError) as error:
            self.failed = str(error)
            return
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))  # counts until torch looks at it
        import torch._dynamo
        import torch._functorch.config
        import torch._inductor.config
        from torch._dynamo.exc import TorchDynamoException
        from torch._inductor import codecache

        codecache._HEADER_DIR = str(folder / "headers")
        codecache._HEADER_LOCK_DIR = str(folder / "headers" / "locks")
        torch._inductor.config.fx_graph_cache = False
        torch._inductor.config.compile_threads = 1  # more are processes of their own, each with torch
        torch._functorch.config.enable_autograd_cache = False
        torch._dynamo.config.automatic_dynamic_local_pgo = False
        warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # of masks: constants
        self.failure, self.fused = TorchDynamoException, torch.compile(net._call_impl, dynamic=False)

    def __call__(self, *given: Any, **named: Any) -> Any:
        if self.failed or not (self.net.training and torch.is_grad_enabled()):
            return self.net._call_impl(*given, **named)
        try:
            return self.fused(*given, **named)
        except (self.failure, AttributeError) as error:  # of an operation that another torch lacks
            self.failed = str(error).strip().split("\n")[0]
            return self.net._call_impl(*given, **named)
