"""Peer: skorch, a scikit-learn estimator around a PyTorch net (https://skorch.readthedocs.io/en/stable/user/quickstart.html).

Grey pictures and numbers are numpy arrays, as its documentation recommends; crop, flip and JPEG files a Dataset with workers.
skorch has no mixed precision on a CPU without accelerate: float32 alone.
"""

from __future__ import annotations

import contextlib

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


def main() -> None:
    """Time the estimator's fit and print the line."""
    options = timing.parser("skorch_peer", precisions=("float32",)).parse_args()
    timing.limit_threads(options.threads)
    import skorch
    import torch
    from nets_torch import loss_of, net_of, optimizer_of
    from samples import classes_of, samples_of

    torch.set_num_threads(options.threads)
    arrayed = options.work in ("cnn", "mlp")
    if arrayed:
        x, y = reading.numbers() if options.work == "mlp" else reading.gray(options.data)
        x, classes = (x, 1) if options.work == "mlp" else (x[:, None].astype("float32") / 255, int(y.max()) + 1)
    else:
        x, y = samples_of(options.work, options.data), None
        classes = classes_of(x)

    net, clock = net_of(options.work, classes), timing.Clock(options.warmup, options.steps)
    settings = optimizer_of(options.work, net)
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
        iterator_train__num_workers=0 if arrayed else WORKERS,
        train_split=None,
        callbacks=[ticking(clock)],
        verbose=0,
    )
    with contextlib.suppress(Enough):
        learner.fit(x, y)

    line = timing.Line("skorch", options, {"skorch": skorch.__version__, "torch": torch.__version__})
    line.notes.append("numpy arrays" if arrayed else f"DataLoader with {WORKERS} workers")
    line.print(clock)


if __name__ == "__main__":
    main()
