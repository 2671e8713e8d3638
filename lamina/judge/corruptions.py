"""Corruptions: pictures made worse as cameras, hands and networks make them, in three strengths (Hendrycks 2019).

https://arxiv.org/abs/1903.12261; the strengths are our own, as shares of the range of a pixel, of the side, in degrees, in
the quality of JPEG. Every function takes image (B, C, H, W) float in [0, 1], a strength and a generator, and gives the same
shape and range.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


def noise(image: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Normal noise, drawn for every pixel and channel."""
    return (image + deviation * torch.randn(image.shape, generator=generator).to(image)).clamp(0, 1)


def blur(image: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """A normal window whose deviation is a share of the shorter side."""
    channels, height, width = image.shape[1:]
    pixels = deviation * min(height, width)
    reach = min(math.ceil(3 * pixels), min(height, width) - 1)
    window = torch.exp(-(torch.arange(-reach, reach + 1, device=image.device) ** 2) / (2 * pixels**2)).to(image)
    window = (window / window.sum()).expand(channels, 1, 1, -1)
    image = F.conv2d(F.pad(image, (reach, reach, 0, 0), mode="reflect"), window, groups=channels)
    return F.conv2d(F.pad(image, (0, 0, reach, reach), mode="reflect"), window.transpose(2, 3), groups=channels)


def _moved(image: Tensor, matrix: Tensor) -> Tensor:
    """Sampled at the places that matrix (B, 2, 3) sends the picture's to; beyond the border its last pixel is repeated."""
    grid = F.affine_grid(matrix.to(image), list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False).clamp(0, 1)


def shift(image: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Moved by a share of the sides, up or down and left or right."""
    matrix = torch.eye(2, 3).repeat(len(image), 1, 1)
    matrix[:, :, 2] = 2 * share * (2 * torch.randint(0, 2, (len(image), 2), generator=generator) - 1)
    return _moved(image, matrix)


def rotation(image: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Turned about the centre, left or right."""
    angle = math.radians(degrees) * (2 * torch.randint(0, 2, (len(image),), generator=generator) - 1)
    stretch = image.shape[2] / image.shape[3]
    matrix = torch.zeros(len(image), 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 1] = torch.cos(angle), -torch.sin(angle) * stretch
    matrix[:, 1, 0], matrix[:, 1, 1] = torch.sin(angle) / stretch, torch.cos(angle)
    return _moved(image, matrix)


def darkness(image: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A share of the light taken away."""
    return image * (1 - share)


def haze(image: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A share of the contrast taken away: every pixel drawn towards the picture's mean."""
    return torch.lerp(image, image.mean((1, 2, 3), keepdim=True), share)


def jpeg(image: Tensor, quality: float, generator: torch.Generator) -> Tensor:
    """Written as JPEG and read again."""
    bytes_ = (image * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    read = []
    for picture in bytes_:
        file = io.BytesIO()
        Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).save(file, "JPEG", quality=int(quality))
        again = np.asarray(Image.open(file))
        read.append(again[:, :, None] if again.ndim == 2 else again)
    return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).to(image) / 255


CORRUPTIONS: dict[str, tuple[Callable[[Tensor, float, torch.Generator], Tensor], tuple[float, float, float]]] = {
    "noise": (noise, (0.05, 0.1, 0.2)),
    "blur": (blur, (0.02, 0.04, 0.08)),
    "shift": (shift, (0.05, 0.1, 0.2)),
    "rotation": (rotation, (5.0, 15.0, 30.0)),
    "darkness": (darkness, (0.2, 0.5, 0.75)),
    "haze": (haze, (0.2, 0.5, 0.75)),
    "jpeg": (jpeg, (50.0, 20.0, 8.0)),
}
"""name -> what does it, and its strengths: mild, clear, strong"""
STRENGTHS = ("mild", "clear", "strong")
