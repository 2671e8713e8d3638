"""Taps: what every layer of a net takes and gives for an input, recorded from outside; the net stays as it was.

Recording layers by hooks of the framework: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Seen:
    """One call of a layer."""

    name: str
    """path of the layer in the net: features.3.residual.0; "" is the net itself"""
    module: nn.Module
    taken: Tensor | None
    """its first input, when that is a tensor"""
    given: Tensor
    """its output"""


@contextmanager
def untouched(net: nn.Module) -> Iterator[nn.Module]:
    """The net in its answering mode, run layer by layer even when it is compiled, gradients allowed.

    On leaving, also by an error, the mode of every layer and the compiled form are what they were.
    """
    inner: nn.Module = getattr(net, "_orig_mod", net)  # torch.compile(net) wraps, net.compile() does not
    modes = [(m, m.training) for m in inner.modules()]
    compiled = [(m, m._compiled_call_impl) for m in inner.modules() if m._compiled_call_impl is not None]
    try:
        for module, _ in modes:
            module.training = False
        for module, _ in compiled:
            module._compiled_call_impl = None  # compiled code runs past hooks that were added later
        with torch.inference_mode(False), torch.enable_grad():
            yield inner
    finally:
        for module, training in modes:
            module.training = training
        for module, call in compiled:
            module._compiled_call_impl = call


@contextmanager
def recording(net: nn.Module, wanted: Callable[[nn.Module], bool] = lambda module: True) -> Iterator[list[Seen]]:
    """A list that fills with the calls of the wanted layers, in the order in which they end, as the net runs.

    Only outputs that are tensors are recorded. Tensors keep their gradients; nothing is copied.
    """
    seen: list[Seen] = []
    names = {module: name for name, module in net.named_modules()}

    def note(module: nn.Module, taken: tuple[Any, ...], given: Any) -> None:
        if isinstance(given, Tensor):
            first = taken[0] if taken and isinstance(taken[0], Tensor) else None
            seen.append(Seen(names[module], module, first, given))

    handles = []
    try:
        handles += [module.register_forward_hook(note) for module in names if wanted(module)]
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def giving(module: nn.Module, value: Tensor) -> Iterator[None]:
    """While it lasts, the layer gives `value` whatever it takes."""
    handle = module.register_forward_hook(lambda *_: value)
    try:
        yield
    finally:
        handle.remove()


def last_map(seen: list[Seen], within: nn.Module | None = None) -> Seen | None:
    """The last call whose output is a map (batch, channels, height, width) of more than one position, if there is one.

    Of the layers inside `within` alone, when one of them gives such a map.
    """
    maps = [s for s in seen if s.given.dim() == 4 and s.given.shape[2] * s.given.shape[3] > 1]
    own = set(within.modules()) if within is not None else set()
    return next((s for s in reversed(maps) if s.module in own), maps[-1] if maps else None)
