"""The command line: lamina COMMAND, one function each. Flags come from the dataclasses they fill."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lamina import __version__
from lamina.core import catalog, config, device
from lamina.core.errors import LaminaError, SettingError, unknown
from lamina.train.recipe import Recipe

ROOMS = ("nets", "tasks", "recipes", "data", "explanations", "exports", "runs")
SHIP = "write a trained net as one file that answers alike: preprocessing, classes and score inside"
EXAMPLES = """examples:
  lamina train                               the handwritten digits that come with Lamina
  lamina train photos/ --minutes 5           a folder of class folders
  lamina train houses.csv --target price     a table
  lamina ask runs/photos-1 new.jpg           what a trained net answers
"""


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one sentence with the nearest name."""

    def error(self, message: str) -> NoReturn:
        if "invalid choice: '" in message:
            found = message.split("invalid choice: '")[1].split("'", maxsplit=1)[0]
            raise unknown("command", found, COMMANDS)
        raise SettingError(f"{message[0].lower()}{message[1:]}; `{self.prog} --help` shows what there is.")


def parser() -> Parser:
    """All commands and their flags."""
    top = Parser("lamina", description="Learn from your data: images and tables in; a trained, scored, explained net out.",
                 epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)  # fmt: skip
    top.add_argument("--version", action="version", version=f"lamina {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, about in (("train", "train on data: announce a plan, keep to the time, score, report"),
                        ("look", "say what the data is and what would be done, without training"),
                        ("bench", "measure the machine, and how much of it training a net reaches")):  # fmt: skip
        sub = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        _data_flags(sub)
        if name == "train":
            sub.add_argument("--resume", metavar="RUN", help="go on with a stopped or killed run, to the same bits")
            sub.add_argument("--run", metavar="DIR", help="folder of the new run; runs/NAME-1 when not given")
        if name == "bench":
            sub.add_argument("--json", action="store_true", help="print JSON")
    sub = commands.add_parser("score", help="score a run, on its test rows or on other data", allow_abbrev=False)
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--on", metavar="DATA", help="data with the same columns; all its rows are scored")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub = commands.add_parser(
        "ask", help="what a trained net answers for files, a folder or a table", allow_abbrev=False
    )
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("files", metavar="FILE", nargs="+")
    sub.add_argument("--json", action="store_true", help="one JSON object per row")
    sub.add_argument("--csv", action="store_true", help="a table: name, answer, probability of each class")
    sub = commands.add_parser("explain", help="why a net answers as it does for an input", allow_abbrev=False)
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("input", metavar="INPUT", help="a picture file, a row as JSON, or the position of a test row")
    sub.add_argument("--method", metavar="NAME", help="one of `lamina list explanations`, or all; else one that fits")
    sub.add_argument("--class", dest="label", metavar="X", help="the class to explain; else the most probable one")
    sub.add_argument("--out", metavar="DIR", help="folder of the pictures and arrays; else one inside the run")
    sub = commands.add_parser(
        "dream", help="a picture changed until the net sees more of a class in it", allow_abbrev=False
    )
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--class", dest="label", metavar="X", help="the class to dream of")
    sub.add_argument("--layer", metavar="PATH", default="", help="dream of what a layer looks for, such as features.3")
    sub.add_argument(
        "--start", metavar="PHOTO", help="a picture file, or the position of a test row; else an even picture"
    )
    sub.add_argument("--side", metavar="N", help="shorter side in pixels, for nets that take pictures of any size")
    sub.add_argument("--out", metavar="DIR", help="folder of the pictures and arrays; else one inside the run")
    _write_flags(commands.add_parser("write", help="let a net that learned a text write on", allow_abbrev=False))
    sub = commands.add_parser("ship", help=SHIP, description=SHIP, allow_abbrev=False)
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--to", default="pack", metavar="FORM", help="pack (the default), onnx; `lamina list exports`")
    sub.add_argument("--out", metavar="FILE", help="the file; in the run's folder when not given")
    sub = commands.add_parser("report", help="where the report of a run is; one HTML file", allow_abbrev=False)
    sub.add_argument("run", metavar="RUN")
    sub = commands.add_parser(
        "list", help="nets, tasks, recipes, data sources, explanations, exports or runs", allow_abbrev=False
    )
    sub.add_argument("what", metavar="|".join(ROOMS))
    sub = commands.add_parser("fetch", help="bring real data that recipes and made sources need", allow_abbrev=False)
    sub.add_argument("name", metavar="NAME", help="a source such as stamps, or one of its packages")
    commands.add_parser(
        "doctor", help="versions, cores, memory, accelerator; what is missing and how to get it", allow_abbrev=False
    )
    return top


def _write_flags(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--start", metavar="TEXT", default="", help="what the text begins with")
    sub.add_argument("--file", metavar="FILE", help="a file that the text begins with")
    sub.add_argument("--length", metavar="N", help="tokens to write at most (500)")
    sub.add_argument("--temperature", metavar="T", help="0: always the likeliest token; 1: as the net says (0.8)")
    sub.add_argument("--top-k", metavar="K", help="draw from so many of the likeliest tokens; 0: all (0)")
    sub.add_argument("--top-p", metavar="P", help="draw from the likeliest that hold this share together (1)")
    sub.add_argument("--stop", metavar="TEXT", help="end before this text")
    sub.add_argument("--seed", metavar="N", help="key of the draws (0)")
    sub.add_argument("--interactive", action="store_true", help="go on after every line that is typed")


def _data_flags(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("data", metavar="DATA", nargs="?", default="digits", help="folder, file, or digits (the default)")
    sub.add_argument("--target", metavar="COLUMN", help="column to be learned")
    sub.add_argument(
        "--ignore", metavar="COLUMN", action="append", default=[], help="column to leave out; may be repeated"
    )
    sub.add_argument("--query", metavar="SQL", help="rows of an SQLite file")
    sub.add_argument("--sheet", help="sheet of an Excel file")
    sub.add_argument("--tokens", metavar="KIND", help="what texts are cut into: characters bytes words pairs")
    sub.add_argument("--vocabulary", metavar="N", help="different tokens at most")
    sub.add_argument("--context", metavar="N", help="tokens of a running text that the net sees at once")
    sub.add_argument("--task", help="classify or regress, instead of the one that fits the target")
    sub.add_argument(
        "--net", metavar="NET[/SIZE]", help="a net by name, such as resnet/20; --net.SETTING changes its settings"
    )
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    group = sub.add_argument_group("recipe (open ones are chosen for the data)")
    for setting in config.settings(Recipe):
        group.add_argument(
            f"--{setting.name.replace('_', '-')}",
            dest=f"recipe_{setting.name}",
            metavar="X",
            help=setting.help.replace("%", "%%"),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 for what a user can mend, 130 after Ctrl-C, 143 after SIGTERM."""
    begun = time.monotonic() - device.process_age()
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
    """Take --net.width 64 and --net.width=64 out of the words of train, look and bench; the rest is argparse's."""
    if not given or given[0] not in ("train", "look", "bench"):
        return given, {}
    rest: list[str] = []
    found: dict[str, str] = {}
    words = iter(given)
    for word in words:
        name, equals, value = word.partition("=")
        if not name.startswith("--net."):
            rest.append(word)
            continue
        text = value if equals else next(words, None)
        if text is None:
            raise SettingError(f"{name} needs a value.")
        found[name.removeprefix("--net.")] = text
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
        tokens=options.tokens,
        vocabulary=_whole("vocabulary", options.vocabulary),
        context=_whole("context", options.context),
    )
    return Wishes(options.task, options.net, net_settings, options.device, recipe), reading


def _whole(name: str, text: str | None) -> int | None:
    if text is not None and not text.isdecimal():
        raise SettingError(f"--{name} must be a whole number, not '{text}'.")
    return None if text is None else int(text)


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
    if Path(options.run).is_file():  # a shipped file; some need no torch
        from lamina.ship._parcel import load
    else:
        from lamina.api import load
    trained = load(options.run)
    answers, bad = trained.answers(*options.files)
    if options.csv:
        rows = csv.writer(sys.stdout)
        classes = trained.classes
        rows.writerow(["name", "answer", *classes])
        for name, answer in answers:
            told = answer.to_json()
            given = told["answer"]
            text = "|".join(given) if isinstance(given, list) else given
            rows.writerow([name, text, *(f"{told['probabilities'][c]:.6f}" for c in classes)])
    for name, answer in [] if options.csv else answers:
        print(
            json.dumps({"name": name, **answer.to_json()}, ensure_ascii=False) if options.json else f"{name}: {answer}"
        )
    for where, why in bad:
        print(f"lamina: left out {where}: {why}", file=sys.stderr)
    return 0


def _explain(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina import explaining

    words = vars(options)
    print("\n".join(explaining.COMMANDS[words.pop("command")](**words)))
    return 0


def _write(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina import writing

    words = vars(options)
    words.pop("command")
    writing.show(**words)
    return 0


def _ship(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    from lamina import api

    print(api.load_run(options.run).ship(options.to, options.out))
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


def _list(options: argparse.Namespace, _: dict[str, str], begun: float) -> int:
    if options.what not in ROOMS:
        raise unknown("list", options.what, ROOMS)
    if options.what == "runs":
        from lamina.core.run import Run

        for run in Run.all():
            print(f"{run.path.name:24} {_run_line(run)}")
        return 0
    room = {"explanations": "explain", "exports": "ship"}.get(options.what, options.what)
    found = [catalog.describe(room, name) for name in catalog.names(room)]
    for entry in found:
        print(f"{entry.name:20} {entry.summary}")
        if entry.sizes:
            print(f"{'':20} sizes: {' '.join(f'{entry.name}/{s}' for s in entry.sizes)}")
    if not found:
        print(f"no {options.what} yet")
    return 0


def _run_line(run: Any) -> str:
    with contextlib.suppress(LaminaError, KeyError):
        plan = run.read_json("config.json")["plan"]
        about = f"{plan['task']} {plan['target']['name']}, {plan['net']}"
        if not run.has("score.json"):
            return f"{about}: not finished; lamina train --resume {run.path}"
        made = run.read_json("score.json")
        return f"{about}: {made['name']} {made['value']:.4g} ({made['low']:.4g} to {made['high']:.4g})"
    return "damaged"


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
    "write": _write,
    "ship": _ship,
    "fetch": _fetch,
    "report": _report,
    "list": _list,
    "doctor": _doctor,
}
