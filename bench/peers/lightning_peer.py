"""Peer: Lightning, as its guide shows (https://lightning.ai/docs/pytorch/stable/starter/introduction.html).

The same Dataset and DataLoader as the plain loop; logger, checkpoints and progress bar are off, which favours the peer.
"""

from __future__ import annotations

import argparse
import logging
import tempfile

import clock as timing

WORKERS = 2


def trainer_of(options: argparse.Namespace, folder: str) -> tuple[object, timing.Clock]:
    """A Trainer for warm-up and timed steps, and the clock that it drives."""
    import lightning

    clock = timing.Clock(options.warmup, options.steps)

    class Ticking(lightning.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
            clock.tick(outputs["loss"].detach())

    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=options.warmup + options.steps,
        max_epochs=-1,
        precision="bf16-mixed" if options.precision == "bfloat16" else "32-true",
        callbacks=[Ticking()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    return trainer, clock


def module_of(work: str, classes: int) -> object:
    """The work's net, loss and optimizer as a LightningModule."""
    import lightning
    from nets_torch import loss_of, net_of, optimizer_of

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.criterion = net_of(work, classes), loss_of(work)

        def training_step(self, batch, batch_idx):
            x, y = batch
            return self.criterion(self.net(x), y)

        def configure_optimizers(self):
            return optimizer_of(work, self.net)

    return Module()


def main() -> None:
    """Time Trainer.fit and print the line."""
    options = timing.parser("lightning_peer").parse_args()
    timing.limit_threads(options.threads)
    import lightning
    import torch
    from samples import classes_of, samples_of
    from torch.utils.data import DataLoader

    torch.set_num_threads(options.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    samples = samples_of(options.work, options.data)
    loader = DataLoader(samples, timing.BATCHES[options.work], shuffle=True, num_workers=WORKERS, drop_last=True)
    with tempfile.TemporaryDirectory() as folder:
        trainer, clock = trainer_of(options, folder)
        trainer.fit(module_of(options.work, classes_of(samples)), loader)

    versions = {"lightning": lightning.__version__, "torch": torch.__version__}
    line = timing.Line("lightning", options, versions)
    line.notes.append(f"DataLoader with {WORKERS} workers; no logger, checkpoints or progress bar")
    line.print(clock)


if __name__ == "__main__":
    main()
