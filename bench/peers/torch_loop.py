"""Peer: the plain PyTorch loop of the tutorials (https://docs.pytorch.org/tutorials/beginner/basics/quickstart_tutorial.html).

Dataset, DataLoader with two workers, transforms per sample, one eager step after another.
"""

from __future__ import annotations

import clock as timing

WORKERS = 2


def main() -> None:
    """Time the loop and print the line."""
    options = timing.parser("torch_loop").parse_args()
    timing.limit_threads(options.threads)
    import torch
    from nets_torch import loss_of, net_of, optimizer_of
    from samples import classes_of, samples_of
    from torch.utils.data import DataLoader

    torch.set_num_threads(options.threads)
    samples = samples_of(options.work, options.data)
    loader = DataLoader(samples, timing.BATCHES[options.work], shuffle=True, num_workers=WORKERS, drop_last=True)
    net, criterion = net_of(options.work, classes_of(samples)), loss_of(options.work)
    optimizer = optimizer_of(options.work, net)
    clock, done = timing.Clock(options.warmup, options.steps), False

    net.train()
    while not done:
        for x, y in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
                loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

            done = clock.tick(loss.detach())
            if done:
                break

    line = timing.Line("torch_loop", options, {"torch": torch.__version__})
    line.notes.append(f"DataLoader with {WORKERS} workers")
    line.print(clock)


if __name__ == "__main__":
    main()
