"""Peer: skorch, a scikit-learn estimator around a PyTorch net (https://skorch.readthedocs.io/en/stable/user/quickstart.html).

Grey pictures and numbers are numpy arrays, as its documentation recommends; crop, flip and JPEG files a Dataset with workers.
skorch has no mixed precision on a CPU without accelerate: float32 alone.
"""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

import clock as timing
import reading

WORKERS = 2


class Enough(Exception):
    """All steps are done."""


def ticking(clock: timing.Clock) -> object:
    """A skorch callback that drives the clock."""
    from skorch.callbacks import Callback

    class Ticking(Callback):
        def on_batch_end(self, net, batch=None, training=None, **kwargs) -> None:
            if training and clock.tick(net.history[-1, "batches", -1, "train_loss"]):
                raise Enough

    return Ticking()


def rows_of(options: argparse.Namespace) -> tuple[Any, Any, int]:
    """What fit takes: arrays x and y, or a Dataset and None; and the number of classes."""
    from samples import classes_of, samples_of

    if options.work == "mlp":
        return *reading.numbers(), 1
    if options.work == "cnn":
        image, label = reading.gray(options.data)
        return image[:, None].astype("float32") / 255, label, int(label.max()) + 1
    samples = samples_of(options.work, options.data)
    return samples, None, classes_of(samples)


def main() -> None:
    """Time the estimator's fit and print the line."""
    options = timing.parser("skorch_peer", precisions=("float32",)).parse_args()
    timing.limit_threads(options.threads)
    import skorch
    import torch
    from nets_torch import loss_of, net_of, optimizer_of

    torch.set_num_threads(options.threads)
    x, y, classes = rows_of(options)
    net, clock = net_of(options.work, classes), timing.Clock(options.warmup, options.steps)
    settings = optimizer_of(options.work, net)
    workers = WORKERS if y is None else 0
    learner = skorch.NeuralNet(
        net,
        criterion=loss_of(options.work),
        optimizer=type(settings),
        **{
            f"optimizer__{name}": settings.defaults[name]
            for name in ("momentum", "nesterov")
            if name in settings.defaults
        },
        lr=settings.defaults["lr"],
        batch_size=timing.BATCHES[options.work],
        max_epochs=10**6,
        iterator_train__shuffle=True,
        iterator_train__drop_last=True,
        iterator_train__num_workers=workers,
        train_split=None,
        callbacks=[ticking(clock)],
        verbose=0,
    )
    with contextlib.suppress(Enough):
        learner.fit(x, y)

    line = timing.Line("skorch", options, {"skorch": skorch.__version__, "torch": torch.__version__})
    line.notes.append(f"DataLoader with {WORKERS} workers" if workers else "numpy arrays")
    line.print(clock)


if __name__ == "__main__":
    main()
