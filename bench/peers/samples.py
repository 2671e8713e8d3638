"""Data sets as PyTorch's tutorials write them: one sample at a time through Pillow and transforms.

The transforms are torchvision's, written by hand for Pillow pictures: torchvision has no CPU build for this torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import reading
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

MEAN, DEVIATION = torch.tensor(reading.MEAN).view(3, 1, 1), torch.tensor(reading.DEVIATION).view(3, 1, 1)


def to_tensor(picture: Image.Image) -> Tensor:
    """Picture -> (channels, height, width) float in [0, 1]; torchvision's ToTensor."""
    array = np.array(picture, np.uint8, copy=True)
    image = torch.from_numpy(array).view(picture.size[1], picture.size[0], len(picture.getbands()))
    return image.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def flip(picture: Image.Image) -> Image.Image:
    """Mirrored with probability one half; RandomHorizontalFlip."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(1).item() < 0.5 else picture


def crop_with_padding(picture: Image.Image, padding: int = 4) -> Image.Image:
    """A window of the same size in the picture with a black border; RandomCrop(32, padding=4)."""
    width, height = picture.size
    padded = ImageOps.expand(picture, border=padding, fill=0)
    left = int(torch.randint(0, 2 * padding + 1, (1,)).item())
    top = int(torch.randint(0, 2 * padding + 1, (1,)).item())
    return padded.crop((left, top, left + width, top + height))


def resize_and_crop(picture: Image.Image, side: int = reading.SIDE) -> Image.Image:
    """Shorter side to `side`, then the square in the middle; Resize(side) and CenterCrop(side)."""
    width, height = picture.size
    scale = side / min(width, height)
    size = (max(side, int(width * scale)), max(side, int(height * scale)))
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return picture.crop((left, top, left + side, top + side))


class Gray(Dataset):
    """image (1, 28, 28) in [0, 1], label; Fashion-MNIST as torchvision.datasets gives it."""

    def __init__(self, folder: Path) -> None:
        self.image, self.label = reading.gray(folder)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return to_tensor(Image.fromarray(self.image[row])), int(self.label[row])


class Pictures32(Dataset):
    """image (3, 32, 32), cropped, flipped and normalised, label; CIFAR as torchvision.datasets gives it."""

    def __init__(self, folder: Path) -> None:
        self.image, self.label = reading.pictures32(folder)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        picture = flip(crop_with_padding(Image.fromarray(self.image[row])))
        return (to_tensor(picture) - MEAN) / DEVIATION, int(self.label[row])


class Photographs(Dataset):
    """image (3, 224, 224) from JPEG files, flipped and normalised, label; ImageFolder."""

    def __init__(self, folder: Path) -> None:
        self.files, self.label = reading.photographs(folder)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        with Image.open(self.files[row]) as file:
            picture = flip(resize_and_crop(file.convert("RGB")))
        return (to_tensor(picture) - MEAN) / DEVIATION, int(self.label[row])


def samples_of(work: str, folder: Path | None) -> Dataset:
    """The training rows of the work."""
    if work == "mlp":
        x, y = reading.numbers()
        return TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    if folder is None:
        raise ValueError(f"{work} needs --data FOLDER.")
    return {"cnn": Gray, "resnet20": Pictures32, "resnet18": Photographs}[work](folder)


def classes_of(samples: Dataset) -> int:
    """Number of classes; 1 for numbers."""
    return int(samples.label.max()) + 1 if hasattr(samples, "label") else 1
