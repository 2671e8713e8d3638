"""Peer: the PyTorch loop tuned by hand: the honest rival.

Rows lie in memory as uint8 tensors, a batch is gathered and changed as a whole, channels_last, fused optimizer, bfloat16 by
autocast, freed memory is kept (glibc's mallopt), optionally torch.compile.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import clock as timing
import reading

if TYPE_CHECKING:
    from torch import Tensor

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
PADDING = 4


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed: without it each step faults thousands of pages in again."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    return bool(library.mallopt(M_MMAP_MAX, 0)) and bool(library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def rows_of(options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """All rows of the work: image (rows, height, width, channels) uint8 and label, or numbers and targets."""
    import torch

    if options.work == "mlp":
        x, y = reading.numbers()
    elif options.work == "cnn":
        x, y = reading.gray(options.data)
        x = x[..., None]
    elif options.work == "resnet20":
        x, y = reading.pictures32(options.data)
    else:
        return decoded(options)
    return torch.from_numpy(x), torch.from_numpy(y)


def decoded(options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """The photographs at 224 x 224, decoded once, at a reduced scale where the decoder can."""
    import numpy as np
    import torch
    from PIL import Image
    from samples import resize_and_crop

    files, label = reading.photographs(options.data)
    image = np.empty((len(files), reading.SIDE, reading.SIDE, 3), np.uint8)
    for row, path in enumerate(files):
        with Image.open(path) as file:
            file.draft("RGB", (reading.SIDE, reading.SIDE))
            image[row] = np.asarray(resize_and_crop(file.convert("RGB")))
    return torch.from_numpy(image), torch.from_numpy(label)


def batches(options: argparse.Namespace, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of what the net takes, each epoch in a new order."""
    import torch

    batch, augment = timing.BATCHES[options.work], options.work.startswith("resnet")
    if options.work == "resnet20":
        x = torch.nn.functional.pad(x, (0, 0, PADDING, PADDING, PADDING, PADDING))
    mean, deviation = 255 * torch.tensor(reading.MEAN), 255 * torch.tensor(reading.DEVIATION)
    while True:
        order = torch.randperm(len(y))
        for start in range(0, len(y) - batch + 1, batch):
            rows = order[start : start + batch]
            image = crop(x, rows) if options.work == "resnet20" else x[rows]
            if options.work == "mlp":
                yield image, y[rows]
                continue
            image = image.permute(0, 3, 1, 2).to(torch.float32)  # (B, C, H, W), channels_last by its strides
            if not augment:
                yield image.div_(255), y[rows]
                continue
            mirrored = (torch.rand(batch) < 0.5).nonzero().flatten()
            image[mirrored] = image[mirrored].flip(3)
            yield image.sub_(mean.view(3, 1, 1)).div_(deviation.view(3, 1, 1)), y[rows]


def crop(padded: Tensor, rows: Tensor) -> Tensor:
    """A random 32 x 32 window of each row, gathered from a view of all windows."""
    import torch

    windows = padded.unfold(1, 32, 1).unfold(2, 32, 1).permute(0, 1, 2, 4, 5, 3)  # (rows, 9, 9, 32, 32, 3)
    top, left = torch.randint(0, 2 * PADDING + 1, (2, len(rows)))
    return windows[rows, top, left]


def options_of() -> argparse.Namespace:
    """The command line."""
    parser = timing.parser("torch_tuned")
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile the net (its seconds fall in the warm-up)"
    )
    parser.add_argument("--no-mallopt", action="store_true", help="leave glibc's handling of freed memory as it is")
    return parser.parse_args()


def main() -> None:
    """Time the loop and print the line."""
    options = options_of()
    timing.limit_threads(options.threads)
    kept = not options.no_mallopt and keep_freed_memory()
    import torch
    from nets_torch import loss_of, net_of, optimizer_of

    torch.set_num_threads(options.threads)
    started = time.perf_counter()
    x, y = rows_of(options)
    seconds = time.perf_counter() - started
    net = net_of(options.work, 1 if options.work == "mlp" else int(y.max()) + 1, tuned=True)
    net.train().to(memory_format=torch.channels_last)
    optimizer, criterion = optimizer_of(options.work, net, fused=True), loss_of(options.work)
    if options.compile:
        net.compile()
    clock, low = timing.Clock(options.warmup, options.steps), options.precision == "bfloat16"

    for image, label in batches(options, x, y):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = criterion(net(image), label)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if clock.tick(loss.detach()):
            break

    line = timing.Line("torch_tuned", options, {"torch": torch.__version__})
    line.notes.append(f"channels_last, fused, mallopt {kept}, compile {options.compile}, rows read in {seconds:.2f} s")
    line.print(clock)


if __name__ == "__main__":
    main()
