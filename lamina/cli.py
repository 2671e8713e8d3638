"""The command line: lamina COMMAND, one function each. Flags come from the dataclasses they fill."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lamina._flags import parser
from lamina.core import config, device
from lamina.core.errors import LaminaError, SettingError, unknown
from lamina.train.recipe import Recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 for what a user can mend, 130 after Ctrl-C, 143 after SIGTERM."""
    begun = time.monotonic() - device.process_age()
    for stream in (sys.stdout, sys.stderr):  # a text may hold what no encoding knows, such as half a surrogate pair
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        given, net_settings = _net_settings(list(sys.argv[1:] if arguments is None else arguments))
        if not given:
            parser().print_help()
            return 0
        options, rest = parser().parse_known_args(given)
        if rest:
            raise _not_known(rest[0], options.command)
        if options.command is None:
            raise SettingError("a command is missing; `lamina --help` shows them.")
        return COMMANDS[options.command](options, net_settings, begun)
    except LaminaError as error:
        print(f"lamina: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lamina: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")
        return 0


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _net_settings(given: list[str]) -> tuple[list[str], dict[str, str]]:
    """Take --net.width 64, --net.width=64 and --task.X out of the words of train, look and bench; the rest is argparse's.

    What is for the task keeps "task." before its name.
    """
    if not given or given[0] not in ("train", "look", "bench"):
        return given, {}
    rest: list[str] = []
    found: dict[str, str] = {}
    words = iter(given)
    for word in words:
        name, equals, value = word.partition("=")
        if not name.startswith(("--net.", "--task.")):
            rest.append(word)
            continue
        text = value if equals else next(words, None)
        if text is None:
            raise SettingError(f"{name} needs a value.")
        found[name.removeprefix("--").removeprefix("net.")] = text
    return rest, found


def _not_known(word: str, command: str | None) -> LaminaError:
    if word.startswith("-"):
        return unknown(f"flag of lamina {command}", word.partition("=")[0], _flags(command))
    return SettingError(f"'{word}' is one word too many; put names with blanks in quotes.")


def _flags(command: str | None) -> list[str]:
    sub = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return [
        flag for a in sub.choices[command or "train"]._actions for flag in a.option_strings if flag.startswith("--")
    ]


def _wishes(options: argparse.Namespace, net_settings: dict[str, str]) -> tuple[Any, Any]:
    texts = {s.name: getattr(options, f"recipe_{s.name}") for s in config.settings(Recipe)}
    recipe = config.from_texts(Recipe, {k: v for k, v in texts.items() if v is not None}, "--")
    from lamina.data._table import Reading
    from lamina.train.plan import Wishes

    reading = Reading(
        options.target,
        tuple(options.ignore),
        options.query,
        options.sheet,
        tokens=_of_text(options, "tokens"),
        vocabulary=_whole("vocabulary", _of_text(options, "vocabulary")),
        context=_whole("context", options.context),
        split_by=options.split_by,
    )
    task_settings = {k.removeprefix("task."): v for k, v in net_settings.items() if k.startswith("task.")}
    net_settings = {k: v for k, v in net_settings.items() if not k.startswith("task.")}
    return Wishes(options.task, options.net, net_settings, task_settings, options.device, recipe), reading


def _of_text(options: argparse.Namespace, name: str) -> str | None:
    """A flag of texts, which a running text needs to be read and other texts to be planned."""
    found = getattr(options, name, None) or getattr(options, f"recipe_{name}", None)
    return None if found == "auto" else found


def _whole(name: str, text: str | None) -> int | None:
    if text is not None and not text.isdecimal():
        raise SettingError(f"--{name} must be a whole number, not '{text}'.")
    return None if text is None else int(text)


def _words(options: argparse.Namespace) -> dict[str, Any]:
    return {k: v for k, v in vars(options).items() if k != "command"}


@contextlib.contextmanager
def _stopping() -> Iterator[dict[str, int]]:
    """Turn the first Ctrl-C or SIGTERM into a wish to stop; a second one interrupts at once."""
    caught = {"signal": 0}

    def note(number: int, _: Any) -> None:
        if caught["signal"]:
            raise KeyboardInterrupt
        caught["signal"] = number

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _train(options: argparse.Namespace, net_settings: dict[str, str], begun: float) -> int:
    with _stopping() as caught:
        device.keep_freed_memory()
        from lamina import api
        from lamina.show import Display

        common: dict[str, Any] = {"begun": begun, "display": Display(), "stop": lambda: bool(caught["signal"])}
        if options.resume:
            given = [s.name for s in config.settings(Recipe) if getattr(options, f"recipe_{s.name}") is not None]
            if given or net_settings or options.net:
                raise SettingError("--resume goes on with the settings of the run; leave the others out.")
            api.resume(options.resume, **common)
        else:
            wishes, reading = _wishes(options, net_settings)
            from lamina.data import sniff

            table = sniff.open(options.data, reading)
            api.train(table, wishes, Path(options.run) if options.run else None, reading=reading, **common)
    return 128 + caught["signal"] if caught["signal"] else 0


def _look(options: argparse.Namespace, net_settings: dict[str, str], begun: float) -> int:
    wishes, reading = _wishes(options, net_settings)
    from lamina._look import look
    from lamina.data import sniff

    look(sniff.open(options.data, reading), wishes)
    return 0


def _bench(options: argparse.Namespace, net_settings: dict[str, str], begun: float) -> int:
    wishes, reading = _wishes(options, net_settings)
    from rich.console import Console

    from lamina.bench import bench
    from lamina.data import sniff

    numbers = bench(sniff.open(options.data, reading), wishes, Console(highlight=False, quiet=options.json))
    if options.json:
        print(json.dumps(numbers))
    return 0


def _score(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina import api
    from lamina.show import Display

    trained = api.load(options.run)
    made = trained.score(options.on)
    if options.json:
        print(json.dumps(made.to_json(), ensure_ascii=False))
    else:
        Display().score(made)
    return 0


def _ask(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    if options.json and options.csv:
        raise SettingError("--json and --csv are two forms; choose one.")
    if "/" in options.run:
        from lamina import publishing

        if publishing.is_address(options.run):
            options.run = str(publishing.fetched(options.run))
    if Path(options.run).is_file():  # a shipped file; some need no torch
        from lamina.ship._parcel import load
    else:
        from lamina.api import load
    trained = load(options.run)
    if options.interactive or not options.files:
        from lamina.asking import converse

        return converse(trained, options.interactive, options.files)
    answers, bad = trained.answers(*options.files)
    from lamina.asking import cut, told

    told(answers, trained.classes, "csv" if options.csv else "json" if options.json else "")
    for sentence in cut(trained.columns[0], options.files):
        print(f"lamina: {sentence}", file=sys.stderr)
    for where, why in bad:
        print(f"lamina: left out {where}: {why}", file=sys.stderr)
    if any(hasattr(answer, "draw") for _, answer in answers):
        from lamina.asking import drawn

        beside = Path(trained.path) / "asked" if Path(trained.path).is_dir() else Path("asked")
        paths = drawn(answers, options.files, trained.columns, Path(options.out) if options.out else beside)
        print(f"drawn: {paths[0]}{f' and {len(paths) - 1} more' if paths[1:] else ''}", file=sys.stderr)
    return 0


def _explain(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina import explaining

    print("\n".join(explaining.COMMANDS[options.command](**_words(options))))
    return 0


def _write(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina import writing

    writing.show(**_words(options))
    return 0


def _check(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina import _check_data

    if _check_data.is_run(options.what):
        from lamina import _check_run

        _check_run.show(options.what, options.deep, options.json, options.out)
        return 0
    from lamina.data._table import Reading

    reading = Reading(options.target, tuple(options.ignore), options.query, options.sheet, split_by=options.split_by)
    _check_data.show(options.what, reading, options.deep, options.json, options.out)
    return 0


def _style(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina import styling

    styling.show(**_words(options))
    return 0


def _compare(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina import comparing

    comparing.show(options.runs, options.json)
    return 0


def _ship(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina import shipping

    shipping.show(**_words(options))
    return 0


def _serve(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina.serving import serve

    serve.show(_words(options))
    return 0


def _fetch(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina.data import _assets

    for path in _assets.fetch(options.name, print):
        print(path)
    return 0


def _report(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina.core.run import Run

    run = Run.open(options.run)
    if not run.has("report.html"):
        raise SettingError(f"{run.path} has no report yet; go on with `lamina train --resume {run.path}`.")
    print((run.path / "report.html").absolute())
    return 0


def _publish(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina import publishing

    print(publishing.publish(options.file, options.place, options.name))
    return 0


def _list(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina import listing

    listing.show(**_words(options))
    return 0


def _recipe(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    device.keep_freed_memory()
    from lamina.reproduce import recipe

    recipe(**_words(options))
    return 0


def _doctor(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina.doctor import examine

    return examine()


COMMANDS = {
    "train": _train,
    "look": _look,
    "bench": _bench,
    "score": _score,
    "ask": _ask,
    "explain": _explain,
    "dream": _explain,
    "style": _style,
    "layers": _explain,
    "check": _check,
    "compare": _compare,
    "write": _write,
    "ship": _ship,
    "serve": _serve,
    "publish": _publish,
    "fetch": _fetch,
    "report": _report,
    "list": _list,
    "recipe": _recipe,
    "doctor": _doctor,
}
