"""How a run was made: every setting, the machine, and the commands that make it again and ask it."""

from __future__ import annotations

import shlex
from itertools import groupby
from typing import Any

from lamina.core.config import settings as settings_of
from lamina.core.run import Run
from lamina.train.plan import Plan
from lamina.train.recipe import Recipe
from lamina.train.ways import Way

FILLED = (
    "classes",
    "numbers",
    "categories",
    "channels",
    "side",
    "shape",
)  # settings of a net that follow from the data


def settings(run: Run, config: dict[str, Any], plan: Plan, about: str) -> dict[str, Any]:
    """Every setting of the plan as (name, text), the machine, and the commands that repeat and ask."""
    recipe = [(s.name.replace("_", " "), _plain(getattr(plan.recipe, s.name)), s.help) for s in settings_of(Recipe)]
    kinds = {
        k: [f.name for f in g] for k, g in groupby(sorted(plan.inputs, key=lambda f: f.kind), key=lambda f: f.kind)
    }
    return {
        "task": [("task", plan.task), ("target", f"{plan.target.name} ({plan.target.kind})"), ("device", plan.device)],
        "inputs": [({"label": "category"}.get(k, k), ", ".join(names)) for k, names in kinds.items()],
        "options": [(k, _plain(v)) for k, v in plan.options.items()],
        "net": plan.net,
        "net_config": [(k.replace("_", " "), _plain(v)) for k, v in plan.net_config.items()],
        "recipe": recipe,
        "why": list(plan.why),
        "ways": _ways(run),
        "machine": [(k.replace("_", " "), _plain(v)) for k, v in config.get("machine", {}).items()],
        "fingerprint": str(config.get("fingerprint", "")),
        "repeat": _command(config, plan, about),
        "ask": f"lamina ask {shlex.quote(str(run.path))} FILE",
        "load": f"import lamina\nlamina.load({str(run.path)!r}).ask('FILE')",
    }


def _ways(run: Run) -> list[tuple[str, str]]:
    """Each way of running an update that was tried, the chosen one first, and its milliseconds; of the last choice."""
    events = run.history("ways")
    tried = events[-1]["measured"] if events else []
    named = [
        (str(Way(**{k: v for k, v in m.items() if k != "seconds"})), f"{1e3 * m['seconds']:,.3g} ms") for m in tried
    ]
    return [(name, said if i else f"{said}, taken") for i, (name, said) in enumerate(named)]


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(v) for v in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _command(config: dict[str, Any], plan: Plan, about: str) -> str:
    """The command line that does the same again, or the line of Python for data from memory."""
    own = {
        k: ",".join(map(str, v)) if isinstance(v, list | tuple) else str(v)
        for k, v in plan.net_config.items()
        if k not in FILLED and v is not None
    }
    recipe = {s.name: getattr(plan.recipe, s.name) for s in settings_of(Recipe)}
    recipe = {k: v for k, v in recipe.items() if v is not None}
    if config.get("reader") == "memory":
        words = "".join(f", {k}={v!r}" for k, v in {"net": plan.net, "net_settings": own, **recipe}.items())
        return f"lamina.fit(DATA, target={plan.target.name!r}{words})"
    reading = config.get("reading", {})
    flags = [("target", reading["target"])] if reading.get("target") else []
    flags += [("ignore", name) for name in reading.get("ignore", ())]
    flags += [(k, reading[k]) for k in ("query", "sheet") if reading.get(k)]
    flags += [
        ("task", plan.task),
        ("net", plan.net),
        *((f"net.{k}", v) for k, v in own.items()),
        ("device", plan.device),
    ]
    flags += [(k.replace("_", "-"), f"{v:g}" if isinstance(v, float) else v) for k, v in recipe.items()]
    return " \\\n  ".join([f"lamina train {shlex.quote(about)}", *(f"--{k} {shlex.quote(str(v))}" for k, v in flags)])
