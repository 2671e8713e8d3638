"""What the features of a layer answer to: the training pictures that excite them most, what excites them there, and what covers it.

Zeiler and Fergus 2013, https://arxiv.org/abs/1311.2901: patches and deconvolution (section 2.1: back through the net with every
activation keeping what is positive of the signal from above, poolings by the places that won), and occlusion (section 4.2).
Letters: N pictures, F features, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.explain._taps import Seen, recording
from lamina.tasks._task import Batch, inputs

PARTS = 64  # pictures that are computed at a time
RECTIFIED = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Hardswish)


@dataclass(frozen=True)
class Feature:
    """One channel of a layer and what it answers to."""

    channel: int
    strength: float
    """its mean largest activation over the pictures shown"""
    share: float
    """of all sampled pictures, those in which it is active anywhere, in [0, 1]"""
    rows: tuple[int, ...]
    """positions of the sampled pictures, strongest first"""
    windows: tuple[tuple[int, int, int, int], ...]
    """top, bottom, left, right of what it sees of each, in pixels"""
    patterns: np.ndarray
    """(pictures, channels, height, width) deconvolution views of the whole pictures"""
    falls: np.ndarray
    """(height, width) of the strongest picture: how far it falls, as a share, when the place is covered"""


@dataclass(frozen=True)
class Layer:
    """A layer, by its path in the net."""

    name: str
    kind: str
    shape: tuple[int, int, int]
    sees: int
    """pixels of the side that one position sees"""
    maps: np.ndarray
    """(channels, height, width): what it makes of the example"""
    features: tuple[Feature, ...]


def layers_of(net: nn.Module, batch: Batch, most: int) -> list[str]:
    """Paths of at most so many layers that give maps, spread evenly: activations, or convolutions where there are none."""
    with torch.no_grad(), recording(net) as seen:
        net(*inputs(net, batch))
    maps = [s for s in _once(seen) if s.given.dim() == 4 and s.given.shape[2] * s.given.shape[3] > 1 and s.name]
    chosen = [s for s in maps if isinstance(s.module, RECTIFIED)] or [
        s for s in maps if isinstance(s.module, nn.Conv2d)
    ]
    return (
        [chosen[i].name for i in np.unique(np.linspace(0, len(chosen) - 1, min(most, len(chosen))).astype(int))]
        if chosen
        else []
    )


def _once(seen: list[Seen]) -> list[Seen]:
    """The first call of each layer."""
    return list({s.name: s for s in reversed(seen)}.values())[::-1]


def survey(net: nn.Module, batches: Sequence[Batch], names: Sequence[str]) -> dict[str, Tensor]:
    """Layer -> (N, F) float32: the largest activation of each feature in each picture."""
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    wanted = {net.get_submodule(name) for name in names}
    for batch in batches:
        with torch.no_grad(), recording(net, lambda m: m in wanted) as seen:
            net(*inputs(net, batch))
        for s in _once(seen):
            found[s.name].append(s.given.flatten(2).amax(2).float().cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}


def striking(best: Tensor, count: int) -> list[int]:
    """The features whose strongest pictures stand out most from their usual one, in units of their spread; no dead ones."""
    top = best.topk(min(6, len(best)), 0).values.mean(0)
    spread = best.std(0, correction=0)
    score = torch.where(spread > 1e-8, (top - best.median(0).values) / spread.clamp(min=1e-8), -torch.inf)
    order = torch.argsort(-score, stable=True)[:count]
    return [int(i) for i in order if score[i] > -torch.inf]


@contextmanager
def _positive_backwards(net: nn.Module) -> Iterator[None]:
    """While it lasts, activations pass back what is positive of the signal from above (Zeiler 2013, section 2.1)."""

    def keep(module: nn.Module, grads: Any, above: Any) -> Any:
        return tuple(None if g is None else g.clamp(min=0) for g in above)

    handles = [
        m.register_full_backward_hook(keep)
        for m in net.modules()
        if isinstance(m, RECTIFIED) and not getattr(m, "inplace", False)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _back(net: nn.Module, batch: Batch, name: str, channel: int) -> tuple[Tensor, Tensor]:
    """From the strongest position of a feature in each picture back to the pixels: (N, C, H, W); and its activations (N,)."""
    module = net.get_submodule(name)
    image = batch["image"].detach().clone().requires_grad_()
    with recording(net, lambda m: m is module) as seen:
        net(*inputs(net, {**batch, "image": image}))
    strongest = seen[0].given[:, channel].flatten(1).amax(1)
    return torch.autograd.grad(strongest.sum(), image)[0], strongest.detach()


def _windows(net: nn.Module, batch: Batch, name: str, channel: int) -> list[tuple[int, int, int, int]]:
    """What the strongest position sees of each picture: where any pixel changes it, by the gradient."""
    found = []
    for pixels in _back(net, batch, name, channel)[0].abs().amax(1):
        rows, columns = (torch.nonzero(pixels.amax(axis) > 0).flatten().tolist() for axis in (1, 0))
        height, width = pixels.shape
        found.append((rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) if rows else (0, height, 0, width))
    return found


def _covered(net: nn.Module, one: Batch, name: str, channel: int) -> np.ndarray:
    """(H, W): by which share the feature falls when a square of the mean colour, a quarter of the side, covers the place."""
    image, module = one["image"], net.get_submodule(name)
    height, width = image.shape[2:]
    size = max(2, min(height, width) // 4)
    step = max(1, size // 2)
    places = [(y, x) for y in range(0, height - size + step, step) for x in range(0, width - size + step, step)]
    fill, values = image.mean((2, 3), keepdim=True)[0], []
    for start in range(0, len(places) + 1, PARTS):
        some = [None, *places][start : start + PARTS]
        part = image.repeat(len(some), 1, 1, 1)
        for i, place in enumerate(some):
            if place is not None:
                part[i, :, place[0] : place[0] + size, place[1] : place[1] + size] = fill
        rest = {k: v.expand(len(some), *v.shape[1:]) for k, v in one.items()}
        with torch.no_grad(), recording(net, lambda m: m is module) as seen:
            net(*inputs(net, {**rest, "image": part}))
        values += seen[0].given[:, channel].flatten(1).amax(1).tolist()
    heat, count = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for (y, x), value in zip(places, values[1:], strict=True):
        heat[y : y + size, x : x + size] += values[0] - value
        count[y : y + size, x : x + size] += 1
    return heat / np.maximum(count, 1) / (abs(values[0]) or 1.0)


def look(net: nn.Module, name: str, best: Tensor, pictures: Batch, example: Batch, features: int, shown: int) -> Layer:
    """A layer's most striking features. `pictures` holds the sampled rows in the order of `best` (N, F)."""
    module = net.get_submodule(name)
    with torch.no_grad(), recording(net, lambda m: m is module) as seen:
        net(*inputs(net, example))
    maps, found, sees = seen[0].given[0], [], 0
    for channel in striking(best, features):
        rows = torch.argsort(-best[:, channel], stable=True)[:shown]
        part = {k: v[rows.to(v.device)] for k, v in pictures.items()}
        windows = _windows(net, part, name, channel)
        with _positive_backwards(net):
            patterns, strongest = _back(net, part, name, channel)
        sees = max(sees, *(b - t for t, b, _, _ in windows))
        one = {k: v[:1] for k, v in part.items()}
        found.append(
            Feature(
                channel, float(strongest.mean()), float((best[:, channel] > 0).float().mean()), tuple(rows.tolist()), tuple(windows),
                patterns.float().cpu().numpy(), _covered(net, one, name, channel),
            )
        )  # fmt: skip
    return Layer(name, type(module).__name__, tuple(maps.shape), sees, maps.float().cpu().numpy(), tuple(found))  # type: ignore[arg-type]
