"""dream: the picture changed until the net sees more of a class in it, or more of what a layer looks for.

Mordvintsev 2015, https://research.google/blog/inceptionism-going-deeper-into-neural-networks/ (octaves, jitter, a layer's energy); Simonyan
2013, https://arxiv.org/abs/1312.6034, section 2 (pictures of a class by ascending its score); Yosinski 2015,
https://arxiv.org/abs/1506.06579, section 3 (blur and decay, without which such pictures look like noise). From an even picture with a little
noise it draws what the net takes for the class.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.check import within
from lamina.core.errors import unknown
from lamina.explain import _draw
from lamina.explain._method import Explanation, Question, about, array, blurred, needs_image, scores
from lamina.explain._taps import recording, untouched
from lamina.nets._blocks import Standardize
from lamina.tasks._task import Batch, Task

SHOWN = 300  # pixels of a picture
Size = tuple[int, int]


@dataclass(frozen=True)
class Config:
    """How far and how smoothly the picture is changed."""

    layer: str = ""
    """path of a layer, such as features.3, whose energy is raised instead of the score of a class"""
    steps: int = 40
    """changes in each octave"""
    rate: float = 0.01
    """mean change of a pixel in a step, of its full range"""
    octaves: int = 3
    """sizes, from small to large, each 1.4 times the one before; the last is that of the picture"""
    smooth: float = 1.0
    """blur of the changes in pixels at the beginning of an octave; it falls to a third"""
    decay: float = 0.01
    """part of the distance to the start that is taken back in a step"""


def explain(task: Task, net: nn.Module, batch: Batch, question: Question, config: Config) -> Explanation:
    """image (channels, height, width) in [0, 1]: the dream; values (2,): the score, or the layer's energy, before and after.

    Raises SettingError without a picture and for settings out of range, NameUnknown for a layer.
    """
    start = needs_image("dream", batch)
    for name, low, high in (
        ("steps", 1, 10_000),
        ("rate", 0, 1),
        ("octaves", 1, 20),
        ("smooth", 0, 100),
        ("decay", 0, 1),
    ):
        within(name, getattr(config, name), low, high)
    with untouched(net) as inner:
        what = about(task, inner, batch, question)
        if config.layer and config.layer not in dict(inner.named_modules()):
            raise unknown("layer", config.layer, [name for name, _ in inner.named_modules()])
        own: Size = (start.shape[2], start.shape[3])
        sizes = [
            (max(1, round(own[0] / 1.4**i)), max(1, round(own[1] / 1.4**i))) for i in reversed(range(config.octaves))
        ]
        dreamer = _Dreamer(task, inner, batch, what.output, config, None if takes_any_size(inner) else own)
        before = float(dreamer.value(start).detach())
        image = _octaves(dreamer, start, sizes, torch.Generator().manual_seed(question.seed))
        after = float(dreamer.value(image).detach())
        dreamt = about(task, inner, {**batch, "image": image}, Question(what.output))
    aim = f"energy of {config.layer}" if config.layer else f"score of {what.name}"
    pictures = [(start, f"start: {what}"), (image, f"dream: {dreamt}")]
    tiles = [(_draw.enlarged(_draw.pixels(array(p[0])), SHOWN), caption) for p, caption in pictures]
    said = f"the {aim} raised from {before:.3g} to {after:.3g} in {config.steps} steps at each of {len(sizes)} sizes"
    picture = _draw.tiles([("", tiles)], f"Dream: {config.layer or what.name}", said)
    arrays = {"image": array(image[0]), "values": array(torch.tensor([before, after]))}
    return Explanation(
        "dream", str(what), arrays, picture, f"{said[0].upper()}{said[1:]}; the answer would be: {dreamt}."
    )


@dataclass(frozen=True)
class _Dreamer:
    """What is raised, for a picture of any size."""

    task: Task
    net: nn.Module
    batch: Batch
    output: int
    config: Config
    own: Size | None
    """the size to which a picture is brought for a net that takes no other"""

    def value(self, image: Tensor) -> Tensor:
        """The score, or the mean square of the layer's output."""
        seen_as = _resized(image, self.own) if self.own else image
        layer = self.net.get_submodule(self.config.layer) if self.config.layer else None
        with recording(self.net, lambda module: module is layer) as seen:
            score = scores(self.task, self.net, {**self.batch, "image": seen_as})[0, self.output]
        return seen[-1].given.float().square().mean() if seen else score

    def gradient(self, image: Tensor) -> Tensor:
        x = image.detach().clone().requires_grad_()
        return torch.autograd.grad(self.value(x), x)[0]


def _octaves(dreamer: _Dreamer, start: Tensor, sizes: list[Size], generator: torch.Generator) -> Tensor:
    """From small to large: what was added at one size is carried over to the next."""
    config, added = dreamer.config, torch.zeros_like(start)
    image = start
    for size in sizes:
        ground = _resized(start, size)
        image = (ground + _resized(added, size)).clamp(0, 1)
        for step in range(config.steps):
            reach = max(1, min(size) // 16)
            shift = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
            gradient = dreamer.gradient(image.roll(shift, (2, 3))).roll([-s for s in shift], (2, 3))
            sigma = config.smooth * (1 - 2 / 3 * step / config.steps)
            gradient = blurred(gradient, sigma) if sigma > 0 else gradient
            image = image + config.rate * gradient / gradient.abs().mean().clamp(min=1e-12)
            image = torch.lerp(image, ground, config.decay).clamp(0, 1)
        added = image - ground
    return image


def takes_any_size(net: nn.Module) -> bool:
    """Whether a net takes pictures of other sizes than it was made for: it takes pictures, and its Config has no side."""
    module = sys.modules[type(net).__module__]
    return "image" in module.TAKES and "side" not in {f.name for f in fields(module.Config)}


def even(shape: tuple[int, ...], net: nn.Module, seed: int) -> Tensor:
    """(1, channels, height, width): the mean colour of the training pictures with a little noise, to begin with nothing."""
    fitted = next((m.mean.cpu() for m in net.modules() if isinstance(m, Standardize)), torch.full(shape[:1], 0.5))
    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))
    return (fitted.view(1, -1, 1, 1) + 0.02 * noise).clamp(0, 1)


def _resized(image: Tensor, size: Size | None) -> Tensor:
    if size is None or tuple(image.shape[2:]) == size:
        return image
    return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
