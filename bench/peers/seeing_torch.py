"""The plain side of bench/seeing.py: a DataLoader of two workers, Pillow transforms sample by sample, one eager step after another.

As PyTorch's tutorials write it (https://docs.pytorch.org/tutorials/beginner/basics/quickstart_tutorial.html); net and loss are
Lamina's, in the layout that PyTorch gives them.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from samples import resize_and_crop, to_tensor
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

WORKERS = 2
MOST = 8  # boxes of a picture


class Rows(Dataset):
    """(image, target) of one row: opened, resized, flipped one time in two, made a tensor."""

    def __init__(self, work: str, table: Any, side: int) -> None:
        self.work, self.side = work, side
        images = next(c for c in table.columns.values() if c.field.kind == "image")
        target = table[table.target].values
        self.files = [str(p) for p in images.values.paths]
        self.targets = [str(p) for p in target.paths] if work == "unet" else list(target)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        mirrored = bool(torch.rand(1).item() < 0.5)
        picture, target = opened(self.work, self.files[row], self.side), self.targets[row]
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else picture
        if self.work == "resnet18":
            return to_tensor(picture), torch.tensor(int(target))
        if self.work == "unet":
            with Image.open(target) as file:
                mask = file.resize((self.side, self.side), Image.Resampling.NEAREST)
            mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else mask
            return to_tensor(picture), torch.from_numpy(np.array(mask, np.uint8))
        boxes = np.full((MOST, 5), -1, np.float32)
        own = np.array(target[:MOST])
        if mirrored and len(own):
            own[:, [0, 2]] = 1 - own[:, [2, 0]]
        boxes[: len(own)] = own
        return to_tensor(picture), torch.from_numpy(boxes)


class Files(Dataset):
    """Pictures to be answered."""

    def __init__(self, work: str, files: list[Path], side: int) -> None:
        self.work, self.files, self.side = work, files, side

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> Tensor:
        return to_tensor(opened(self.work, str(self.files[row]), self.side))


def opened(work: str, file: str, side: int) -> Image.Image:
    """A picture in the size that the net takes: cropped for classes, else stretched."""
    with Image.open(file) as image:
        picture = image.convert("RGB")
    return (
        resize_and_crop(picture, side)
        if work == "resnet18"
        else picture.resize((side, side), Image.Resampling.BILINEAR)
    )


def training(work: str, table: Any, task: Any, net: nn.Module, plan: Any, steps: int) -> dict[str, float]:
    """Pictures a second of so many updates, the start of the workers included."""
    net = net.to(memory_format=torch.contiguous_format).train()  # type: ignore[call-overload]
    kind = torch.optim.SGD if plan.recipe.optimizer == "sgd" else torch.optim.AdamW
    more = {"momentum": 0.9, "nesterov": True} if kind is torch.optim.SGD else {}
    optimizer = kind(net.parameters(), plan.recipe.lr, **more)
    rows = Rows(work, table, plan.inputs[0].shape[1])
    start, number = time.perf_counter(), 0
    loader = DataLoader(rows, plan.recipe.batch, shuffle=True, num_workers=WORKERS, drop_last=True)
    while number < steps:
        for image, target in loader:
            loss = task.loss(net, {"image": image, "target": target})
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            number += 1
            if number == steps:
                break
    assert bool(loss.detach().isfinite())
    return {"pictures_per_second": steps * plan.recipe.batch / (time.perf_counter() - start)}


@torch.no_grad()
def answering(work: str, files: list[Path], task: Any, net: nn.Module, plan: Any) -> dict[str, float]:
    """Pictures a second, the start of the workers included."""
    net = net.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    start, count = time.perf_counter(), 0
    for image in DataLoader(Files(work, files, plan.inputs[0].shape[1]), 16, num_workers=WORKERS):
        output = net(image)
        answer = net.found(output) if work == "ssd" else output.argmax(1)  # type: ignore[operator]
        count += len(answer)
    return {"pictures_per_second": count / (time.perf_counter() - start)}
