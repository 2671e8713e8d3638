"""The flags of every command; those of a training come from the dataclasses they fill."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from lamina import __version__
from lamina.core import config
from lamina.core.errors import SettingError, unknown
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
            raise unknown("command", found, re.findall("[a-z]+", message.rsplit("choose from", maxsplit=1)[-1]))
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
    sub.add_argument(
        "files", metavar="FILE", nargs="*", help="files, folders, tables; for nets that read texts also a text"
    )
    sub.add_argument(
        "--interactive", action="store_true", help="answer every line that is typed: a text, or the path of a file"
    )
    sub.add_argument("--json", action="store_true", help="one JSON object per row")
    sub.add_argument("--csv", action="store_true", help="a table: name, answer, probability of each class")
    sub.add_argument("--out", metavar="DIR", help="folder of the drawn answers, such as boxes; else `asked` in the run")
    _looking_flags(commands)
    _write_flags(commands.add_parser("write", help="let a net that learned a text write on", allow_abbrev=False))
    sub = commands.add_parser("ship", help=SHIP, description=SHIP, allow_abbrev=False)
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--to", default="pack", metavar="FORM", help="pack (the default), onnx; `lamina list exports`")
    sub.add_argument("--out", metavar="FILE", help="the file; in the run's folder when not given")
    sub.add_argument(
        "--int8", action="store_true", help="of onnx: whole numbers of 8 bits, smaller; what that costs is told"
    )
    sub.add_argument("--anyway", action="store_true", help="keep an int8 file that loses more than 1 %% of the score")
    _serve_flags(commands.add_parser("serve", help="answer over HTTP, as `lamina ask` does", allow_abbrev=False))
    sub = commands.add_parser("publish", help="put a shipped file where others find it", allow_abbrev=False)
    sub.add_argument("file", metavar="PACK")
    sub.add_argument(
        "place",
        metavar="DIR|URL",
        help="a folder, hf://OWNER/REPOSITORY, or any address of fsspec, such as s3://bucket/models",
    )
    sub.add_argument("--name", metavar="NAME", help="its name there; that of the file when not given")
    sub = commands.add_parser("report", help="where the report of a run is; one HTML file", allow_abbrev=False)
    sub.add_argument("run", metavar="RUN")
    sub = commands.add_parser(
        "list", help="nets, tasks, recipes, data sources, explanations, exports or runs", allow_abbrev=False
    )
    sub.add_argument("what", metavar="|".join((*ROOMS, "models")))
    sub.add_argument("place", metavar="DIR|URL", nargs="?", help="of models: where `lamina publish` put them")
    sub = commands.add_parser("fetch", help="bring real data that recipes and made sources need", allow_abbrev=False)
    sub.add_argument("name", metavar="NAME", help="a source such as stamps, or one of its packages")
    _recipe_flags(
        commands.add_parser(
            "recipe", help="make a known system again: what it measures here, beside history", allow_abbrev=False
        )
    )
    commands.add_parser(
        "doctor", help="versions, cores, memory, accelerator; what is missing and how to get it", allow_abbrev=False
    )
    return top


def _looking_flags(commands: argparse._SubParsersAction) -> None:
    """Of the commands that look into a net."""
    sub = commands.add_parser("explain", help="why a net answers as it does for an input", allow_abbrev=False)
    sub.add_argument("run", metavar="RUN")
    sub.add_argument(
        "input",
        metavar="INPUT",
        help="a picture file, a text or its file, a row as JSON, or the position of a test row",
    )
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
    sub = commands.add_parser("style", help="a photograph painted in the style of another picture", allow_abbrev=False)
    sub.add_argument("content", metavar="CONTENT", help="the photograph")
    sub.add_argument("style_of", metavar="STYLE", help="the picture whose style is taken")
    sub.add_argument("--side", metavar="N", help="longer side in pixels (512)")
    sub.add_argument("--minutes", metavar="M", help="time for everything (3)")
    sub.add_argument("--strength", metavar="X", help="how much style counts beside content (1)")
    sub.add_argument("--out", metavar="DIR", help="folder of the pictures; runs/style-CONTENT-STYLE when not given")
    sub = commands.add_parser("layers", help="what each layer of a net answers to: one HTML page", allow_abbrev=False)
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--out", metavar="FILE", help="the page; layers.html in the run's folder when not given")
    sub = commands.add_parser(
        "check", help="what is odd about data, or how far a trained net can be trusted", allow_abbrev=False
    )
    sub.add_argument("what", metavar="DATA|RUN", help="a folder, a file, digits; or a run")
    sub.add_argument(
        "--deep",
        action="store_true",
        help="all rows and every attack, without a limit of time; of a run also what more rows would bring",
    )
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.add_argument(
        "--out", metavar="FILE", help="the page; runs/check-NAME.html, or in the run's folder, when not given"
    )
    _reading_flags(sub)
    sub = commands.add_parser(
        "compare", help="which of several runs is better, and how sure that is", allow_abbrev=False
    )
    sub.add_argument("runs", metavar="RUN", nargs="+")
    sub.add_argument("--json", action="store_true", help="print JSON")


def _recipe_flags(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("name", metavar="NAME", help="one of `lamina list recipes`")
    sub.add_argument(
        "--quick", action="store_true", help="a minute at most, to see that it runs; its numbers mean little"
    )
    sub.add_argument("--record", action="store_true", help="write what was measured into lamina/recipes/RESULTS.md")
    sub.add_argument("--seeds", metavar="N", type=int, help="how often; the intervals are over seeds")
    sub.add_argument("--data", metavar="DATA", help="data instead of that which the recipe usually takes")
    sub.add_argument("--minutes", metavar="M", type=float, help="of each fit, for recipes that are bound by time")
    sub.add_argument("--out", metavar="DIR", help="folder of its runs and pictures; else one in ./runs")


def _serve_flags(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("models", metavar="PACK", nargs="+", help="shipped files or runs; NAME=FILE names one")
    sub.add_argument("--port", type=int, metavar="N", help="8000; 0 takes a free one")
    sub.add_argument("--address", metavar="IP", help="127.0.0.1, this machine alone; others need --token or --insecure")
    sub.add_argument("--token", nargs="?", const="", metavar="TEXT",
                     help="answer only who sends it; without TEXT that of LAMINA_TOKEN, or a new one")  # fmt: skip
    sub.add_argument("--insecure", action="store_true", default=None, help="answer everybody who can reach the address")
    sub.add_argument(
        "--name", dest="names", action="append", metavar="HOST", help="a name that the server goes by; may be repeated"
    )
    sub.add_argument("--workers", type=int, metavar="N", help="processes; the cores are divided among them (1)")
    sub.add_argument(
        "--batch", type=int, metavar="N", help="rows answered together at most, where that changes no bit (64)"
    )
    sub.add_argument("--wait-ms", type=float, metavar="MS", help="how long a row waits for others at most (2)")
    sub.add_argument("--queue", type=int, metavar="N", help="requests that may wait; more are refused with 503 (256)")
    sub.add_argument("--deadline", type=float, metavar="S", help="seconds that a request may take (30)")
    sub.add_argument("--body-mb", type=float, metavar="MB", help="largest request (32)")
    sub.add_argument("--pixels", type=int, metavar="N", help="of the largest picture (25000000)")
    sub.add_argument("--seconds", type=float, metavar="S", help="in which a request must have come (20)")
    sub.add_argument("--no-watch", dest="watch", action="store_false", default=None,
                     help="do not open a model anew when its file changes; SIGHUP still does")  # fmt: skip


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
    _reading_flags(sub)
    if "tokens" not in {setting.name for setting in config.settings(Recipe)}:
        sub.add_argument("--tokens", metavar="KIND", help="what texts are cut into: characters bytes words pairs")
        sub.add_argument("--vocabulary", metavar="N", help="different tokens at most")
    sub.add_argument("--context", metavar="N", help="tokens of a running text that the net sees at once")
    sub.add_argument(
        "--task",
        metavar="TASK[/KIND]",
        help="a task by name, such as paint/colour, instead of the one that fits the target; --task.SETTING changes its settings",
    )
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


def _reading_flags(sub: argparse.ArgumentParser) -> None:
    """How data is read."""
    sub.add_argument("--target", metavar="COLUMN", help="column to be learned")
    sub.add_argument(
        "--ignore", metavar="COLUMN", action="append", default=[], help="column to leave out; may be repeated"
    )
    sub.add_argument(
        "--split-by",
        metavar="COLUMN",
        help="rows of one value stay on one side of the split; of a date the latest rows are the test",
    )
    sub.add_argument("--query", metavar="SQL", help="rows of an SQLite file")
    sub.add_argument("--sheet", help="sheet of an Excel file")
