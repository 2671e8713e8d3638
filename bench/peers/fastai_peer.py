"""Peer: fastai, a Learner over DataLoaders (https://docs.fast.ai/learner.html).

fastai imports torchvision, whose wheel is built for CUDA: without CUDA its operators cannot be loaded and its import ends with
"operator torchvision::nms does not exist". No work here uses those that it asks for, so they are declared (not written) before.
"""

from __future__ import annotations

import json
import sys
from functools import partial

import clock as timing

WORKERS = 2


def declare_operators() -> object:
    """Name torchvision's operators to torch, so that torchvision can be imported; the answer must be kept alive."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def ticking(clock: timing.Clock) -> object:
    """A fastai callback that drives the clock."""
    from fastai.callback.core import Callback, CancelFitException

    class Ticking(Callback):
        def after_batch(self) -> None:
            if clock.tick(self.learn.loss.detach()):
                raise CancelFitException

    return Ticking()


def main() -> None:
    """Time Learner.fit and print the line, or say why fastai cannot be imported."""
    options = timing.parser("fastai_peer", precisions=("float32",)).parse_args()
    timing.limit_threads(options.threads)
    try:
        library = declare_operators()
        import fastai
        from fastai.data.core import DataLoaders
        from fastai.data.load import DataLoader
        from fastai.learner import Learner
        from fastai.optimizer import Adam, OptimWrapper
    except (ImportError, RuntimeError, OSError) as error:
        print(json.dumps({"peer": "fastai", "error": f"{type(error).__name__}: {error}"[:500]}))
        sys.exit(1)
    import torch
    from nets_torch import loss_of, net_of
    from samples import classes_of, samples_of

    torch.set_num_threads(options.threads)
    samples, batch = samples_of(options.work, options.data), timing.BATCHES[options.work]
    loader = DataLoader(samples, bs=batch, shuffle=True, drop_last=True, num_workers=WORKERS)
    small = options.work in ("cnn", "mlp")
    nesterov = partial(OptimWrapper, opt=partial(torch.optim.SGD, momentum=0.9, nesterov=True))
    clock = timing.Clock(options.warmup, options.steps)
    learner = Learner(
        DataLoaders(loader, loader, device=torch.device("cpu")),
        net_of(options.work, classes_of(samples)),
        loss_func=loss_of(options.work),
        opt_func=Adam if small else nesterov,
        lr=1e-3 if small else 0.1,
        cbs=[ticking(clock)],
    )
    with learner.no_logging():
        learner.fit(10**6)

    line = timing.Line("fastai", options, {"fastai": fastai.__version__, "torch": torch.__version__})
    line.notes.append(f"fastai's DataLoader with {WORKERS} workers; torchvision without its operators")
    line.print(clock)
    del library


if __name__ == "__main__":
    main()
