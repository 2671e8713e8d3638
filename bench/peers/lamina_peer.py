"""Lamina's own side: its engine on the same rows, net, optimiser and batch; what `lamina train` runs, without the report.

ensemble: 64 nets of the work mlp in one, each with its own weights and its own loss. The line's note says how much processor time
the engine takes beside the updates and their batches: its log, health, weight average and saving.
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
    """Time the engine's steps by its generator and print the line."""
    parser = timing.parser("lamina", ("float32",))
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
    note, line.more["beside_updates"] = engine(clock, prepared, task, net)
    line.notes.append(note)
    line.print(clock)


def counted(*callables) -> list[float]:
    """Seconds of processor time of the main thread inside calls of these classes' objects, as the one entry of a list that grows."""
    import time

    spent = [0.0]

    def wrapped(call):
        def made(*values):
            begun = time.thread_time()
            found = call(*values)
            spent[0] += time.thread_time() - begun
            return found

        return made

    for each in callables:
        each.__call__ = wrapped(each.__call__)
    return spent


def engine(clock, prepared, task, net) -> tuple[str, float]:
    """The engine's generator; validation is left out, the rest is on. A note, and processor time beside the updates over that of these."""
    import statistics
    import tempfile
    from pathlib import Path

    from lamina.core.run import Run
    from lamina.train import budget
    from lamina.train import engine as training
    from lamina.train.step import Feed, Step

    spent, before, inside = counted(Feed, Step), 0.0, 0.0
    training.TICK, budget.VALIDATIONS = 0.2, 1
    started, waiting = None, []
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run")
        run.write_json("config.json", {"plan": prepared.plan.to_json()})
        for report in training.fit(task, net, prepared.table, prepared.plan.recipe, run):
            if clock.first is None:
                clock.first = report.loss
            if started is None and report.step >= clock.warmup:
                started, before = report.step, spent[0]
                clock.start()
            elif started is not None and report.fraction < 1:
                clock.stop()
                inside = spent[0] - before
                clock.steps, clock.last = report.step - started, report.loss
                waiting.append(report.waiting)
        way = run.history("ways")[0]["measured"][0]
    note = f"waiting for data {statistics.mean(waiting):.4f}; {way}; health, log and saving on; validation left out"
    return note, clock.cpu / inside - 1


if __name__ == "__main__":
    main()
