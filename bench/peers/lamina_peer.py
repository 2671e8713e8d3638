"""Lamina's own side: its engine on the same rows, net, optimiser and batch; what `lamina train` runs, without the report."""

from __future__ import annotations

import clock as timing
import reading

SETTINGS = {  # net, its settings, recipe
    "cnn": ("cnn", {}, {"optimizer": "adamw", "lr": 1e-3, "augment": "none"}),
    "resnet20": ("resnet/20", {}, {"optimizer": "sgd", "lr": 0.1, "augment": "flip"}),
    "resnet18": ("resnet/18", {"stem": "large"}, {"optimizer": "sgd", "lr": 0.1, "augment": "flip"}),
    "mlp": ("mlp", {"width": "64", "members": "1", "dropout": "0", "ranked": "False", "unknown": "0"},
            {"optimizer": "adamw", "lr": 1e-3}),
}  # fmt: skip


def table_of(options):
    """The rows as a Table."""
    import lamina

    if options.work == "mlp":
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
    options = timing.parser("lamina", ("float32",)).parse_args()
    timing.limit_threads(options.threads)
    import tempfile
    from pathlib import Path

    import torch

    import lamina
    from lamina.core import device
    from lamina.core.run import Run
    from lamina.train import engine
    from lamina.train import plan as planning

    device.keep_freed_memory()
    torch.set_num_threads(options.threads)
    net_name, net_settings, recipe = SETTINGS[options.work]
    steps = options.warmup + options.steps
    prepared = lamina.look(
        table_of(options), net=net_name, net_settings=net_settings, steps=steps, batch=timing.BATCHES[options.work],
        weight_decay=0.0, smoothing=0.0, average=0.0, schedule="constant", **recipe,
    )  # fmt: skip
    task, net = planning.build(prepared.plan, prepared.table, torch.device("cpu"))
    clock, way = timing.Clock(options.warmup, options.steps), {}
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run")
        run.write_json("config.json", {"plan": prepared.plan.to_json()})
        engine.TICK = 0.2
        started = None
        for report in engine.fit(task, net, prepared.table, prepared.plan.recipe, run):
            if clock.first is None:
                clock.first = report.loss
            if started is None and report.step >= options.warmup:
                started = report.step
                clock.start()
            elif started is not None and report.fraction < 1:
                clock.stop()
                clock.steps, clock.last = report.step - started, report.loss
        way = run.history("ways")[0]["measured"][0]
    line = timing.Line("lamina", options, {"torch": torch.__version__, "lamina": lamina.__version__})
    line.notes.append(f"ways measured {len(way)}; {way}; health, log and saving on; validation left out")
    line.print(clock)


if __name__ == "__main__":
    main()
