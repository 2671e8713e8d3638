"""A net without memory for its weights: to see whether its settings build one, how many weights it has and of what shapes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextmanager
def weightless() -> Iterator[None]:
    """Tensors that are made within have a shape and no values.

    To draw values that are not there, torch loads its compiler and sympy, which takes a second: they are left out.
    """
    with torch.device("meta"), _Undrawn():
        yield


class _Undrawn(TorchFunctionMode):
    """First weights are not drawn, and what makes them is no more than a shape."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict | None = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("normal_", "uniform_"):
            return args[0] if args else (kwargs or {})["tensor"]
        if name in ("rand", "randn") and not kwargs:
            return torch.empty(*args)
        if name == "randint" and not kwargs:
            return torch.empty(args[-1], dtype=torch.int64)
        if name == "linspace" and len(args) == 3 and not kwargs:
            return torch.empty(args[2])
        if name == "repeat" and not kwargs:
            x, *times = args
            whole = (1,) * (len(times) - x.dim()) + x.shape
            return torch.empty([n * k for n, k in zip(whole, times, strict=True)])
        if name == "__getitem__" and isinstance(args[1], int):
            return args[0].select(0, args[1])
        if name in ("mul", "sub", "add", "div", "__truediv__") and len(args) == 2 and not kwargs:
            shapes = [a.shape for a in args if isinstance(a, Tensor) and a.dtype == torch.float32]
            if len(shapes) == sum(isinstance(a, Tensor) for a in args):
                return torch.empty(np.broadcast_shapes(*shapes))  # torch's own loads sympy
        return func(*args, **(kwargs or {}))
