"""What `lamina ask` does beside printing: each picture with its answer drawn on it and the answer as JSON; a talk line by line."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lamina.core.errors import LaminaError, RunError, SettingError
from lamina.data import _encoding
from lamina.data._asked import NAMED, is_file, tables

if TYPE_CHECKING:
    from lamina.data._table import Field


CUT = 5  # texts that are cut, of which each has a sentence


def converse(trained: Any, wanted: bool, files: Sequence[str]) -> int:
    """Answer every line that is typed until an empty one. Raises SettingError where there is nothing to ask, or two ways."""
    if not wanted:
        raise SettingError("name what to ask about: a file, a folder, a table, a text; or --interactive.")
    if files:
        raise SettingError(f"--interactive takes what is typed; leave {files[0]} out.")
    print("Type a text or the path of a file; an empty line or Ctrl-D ends.")
    while line := _line():
        try:
            for _, answer in trained.answers(line)[0]:
                print(answer, flush=True)
        except LaminaError as error:
            print(f"lamina: {error}", file=sys.stderr)
    return 0


def _line() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        return ""


def told(answers: Sequence[tuple[str, Any]], classes: Sequence[str], form: str) -> None:
    """Print (name, answer) a line each: as words, as one JSON object, or form csv: as a table with the probability of each class."""
    if form == "csv":
        rows = csv.writer(sys.stdout)
        named = classes if all("probabilities" in answer.to_json() for _, answer in answers) else ()
        rows.writerow(["name", "answer", *named])
        for name, answer in answers:
            values = answer.to_json()
            given = values["answer"]
            text = "|".join(given) if isinstance(given, list) else given
            rows.writerow([name, text, *(f"{values['probabilities'][c]:.6f}" for c in named)])
        return
    for name, answer in answers:
        line = json.dumps({"name": name, **answer.to_json()}, ensure_ascii=False)
        print(line if form == "json" else f"{name}: {answer}")


def cut(inputs: Sequence[Field], sources: Sequence[Any]) -> list[str]:
    """A sentence for every text that is longer than what the net reads of it: the first tokens, of running text the last ones."""
    said = []
    for field in (f for f in inputs if f.tokens is not None and f.shape):
        for name, text in _given(field, inputs, sources):
            count, most = len(field.tokens.encode(text)), field.shape[0]  # type: ignore[union-attr]
            if count > most:
                which = "last" if field.kind == "running" else "first"
                said.append(f"{name}: {field.name} has {count:,} tokens, of which the net reads the {which} {most:,}.")
    more = len(said) - CUT
    return [*said[:CUT], f"{more:,} more texts are longer than what the net reads of them."] if more > 1 else said


def _given(field: Field, inputs: Sequence[Field], sources: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Name and text of every row that is asked about."""
    if field.kind == "text":
        for table in tables(sources, [f for f in inputs if f.kind == "text"]):
            yield from zip(
                table.names.tolist(), table[field.name].values if field.name in table.columns else (), strict=False
            )
        return
    for source in sources:
        text = _encoding.content(Path(source)) if is_file(source) else str(source)
        for number, line in enumerate(text.splitlines() if field.kind == "sentence" else [text]):
            yield f"line {number + 1}" if is_file(source) else f"'{line[:NAMED]}'", line


def drawn(
    answers: Sequence[tuple[str, Any]], sources: Sequence[Any], columns: tuple[Sequence[Field], Field], folder: Path
) -> list[Path]:
    """Write NAME.png and NAME.json into the folder for every answer that can be drawn on its picture; paths of the pictures.

    `answers` are those of `sources`, in their order; `columns` what the net reads and answers. Raises RunError when the folder cannot be written.
    """
    inputs, target = columns
    image = next((f for f in inputs if f.kind == "image"), None)
    if image is None or not any(hasattr(answer, "draw") for _, answer in answers):
        return []
    pictures = (
        (table[image.name].values, row) for table in tables(sources, [*inputs, target]) for row in range(len(table))
    )
    made: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for (name, answer), (values, row) in zip(answers, pictures, strict=True):
            path = _free(folder, Path(str(name)).stem.replace(" ", "_") or "row", made)
            Image.fromarray(answer.draw(values.open(row))).save(path)
            told = {"name": str(name), **answer.to_json()}
            path.with_suffix(".json").write_text(json.dumps(told, ensure_ascii=False, indent=1), encoding="utf-8")
            made.append(path)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}.") from None
    return made


def _free(folder: Path, stem: str, taken: Sequence[Path]) -> Path:
    """FOLDER/STEM.png, numbered where this name was given already."""
    path, number = folder / f"{stem}.png", 2
    while path in taken:
        path, number = folder / f"{stem}-{number}.png", number + 1
    return path
