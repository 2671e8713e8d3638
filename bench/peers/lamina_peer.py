"""Lamina's own side: its engine on the same rows, net, optimiser and batch; what `lamina train` runs, without the report.

ensemble: 64 nets of the work mlp in one, each with its own weights and its own loss. --bare: the engine's updates without the
engine, that is, without its log, health, weight average and saving.
"""

from __future__ import annotations

import clock as timing
import reading

SETTINGS = {  # net, its settings, recipe
    "cnn": ("cnn", {}, {"optimizer": "adamw", "lr": 1e-3, "augment": "none"}),
    "resnet20": ("resnet/20", {}, {"optimizer": "sgd", "lr": 0.1, "augment": "flip"}),
    "resnet18": ("resnet/18", {"stem": "large"}, {"optimizer": "sgd", "lr": 0.1, "augment": "flip", "side": 224}),
    "mlp": ("mlp", {"width": "64", "members": "1", "dropout": "0", "ranked": "False", "unknown": "0"},
            {"optimizer": "adamw", "lr": 1e-3}),
    "ensemble": ("mlp", {"width": "64", "members": "64", "shared": "False", "dropout": "0", "ranked": "False", "unknown": "0"},
                 {"optimizer": "adamw", "lr": 1e-3}),
}  # fmt: skip


def table_of(options):
    """The rows as a Table."""
    import lamina

    if options.work in ("mlp", "ensemble"):
        import pandas

        x, y = reading.numbers()
        frame = pandas.DataFrame({f"x{i}": x[:, i] for i in range(x.shape[1])})
        frame["y"] = y[:, 0]
        return lamina.open(frame, target="y")
    if options.work == "cnn":
        return lamina.open(reading.gray(options.data))
    if options.work == "resnet20":
        return lamina.open(reading.pictures32(options.data))
    return lamina.open(str(options.data))


def main() -> None:
    """Time the engine's steps by its generator, or its bare updates, and print the line."""
    parser = timing.parser("lamina", ("float32",))
    parser.add_argument("--bare", action="store_true", help="the updates without the engine")
    options = parser.parse_args()
    timing.limit_threads(options.threads)
    import torch

    import lamina
    from lamina.core import device
    from lamina.train import plan as planning

    device.keep_freed_memory()
    torch.set_num_threads(options.threads)
    net_name, net_settings, recipe = SETTINGS[options.work]
    prepared = lamina.look(
        table_of(options), net=net_name, net_settings=net_settings, steps=options.warmup + options.steps,
        batch=timing.BATCHES[options.work], weight_decay=0.0, smoothing=0.0, average=0.0, schedule="constant", **recipe,
    )  # fmt: skip
    task, net = planning.build(prepared.plan, prepared.table, torch.device("cpu"))
    clock = timing.Clock(options.warmup, options.steps)
    line = timing.Line("lamina", options, {"torch": torch.__version__, "lamina": lamina.__version__})
    run = bare if options.bare else engine
    line.notes.append(run(clock, prepared, task, net))
    line.print(clock)


def engine(clock, prepared, task, net) -> str:
    """The engine's generator; validation is left out, the rest is on."""
    import statistics
    import tempfile
    from pathlib import Path

    from lamina.core.run import Run
    from lamina.train import budget
    from lamina.train import engine as training

    training.TICK, budget.VALIDATIONS = 0.2, 1
    started, waiting = None, []
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run")
        run.write_json("config.json", {"plan": prepared.plan.to_json()})
        for report in training.fit(task, net, prepared.table, prepared.plan.recipe, run):
            if clock.first is None:
                clock.first = report.loss
            if started is None and report.step >= clock.warmup:
                started = report.step
                clock.start()
            elif started is not None and report.fraction < 1:
                clock.stop()
                clock.steps, clock.last = report.step - started, report.loss
                waiting.append(report.waiting)
        way = run.history("ways")[0]["measured"][0]
    return f"waiting for data {statistics.mean(waiting):.4f}; {way}; health, log and saving on; validation left out"


def bare(clock, prepared, task, net) -> str:
    """Feed and Step, one after the other."""
    import torch

    from lamina.data._batches import Batches
    from lamina.data._store import shared
    from lamina.data._table import TRAIN
    from lamina.train import freeze
    from lamina.train.step import Feed, Step

    plan, table = prepared.plan, prepared.table
    train = Batches(table.take(table.rows(TRAIN)), plan.inputs, plan.target, torch.device("cpu"), shared())
    net, _ = freeze.once(task, net, plan.recipe, (train,), 60.0)
    feed, step = Feed(task, train, plan.recipe), Step(task, net, plan.recipe)
    net.train()
    for number in range(plan.recipe.steps):
        if clock.tick(step(feed(number), number, 0.0)):
            break
    return "Feed and Step alone"


if __name__ == "__main__":
    main()
