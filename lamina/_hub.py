"""hub: a repository of the Hugging Face Hub as a place of published models: hf://OWNER/REPOSITORY (https://huggingface.co/docs/hub).

Reading is plain HTTP and needs no package; writing is one commit of the shipped file, the index and a model card, by
huggingface_hub. HF_ENDPOINT names another hub, HF_TOKEN who asks. A README.md that somebody wrote stays.
"""

from __future__ import annotations

import json
import os
import re
import urllib.request
from typing import Any
from urllib.parse import quote

from lamina.core.errors import RunError, SettingError
from lamina.core.figures import shown

SCHEME = "hf://"
CARD = "README.md"
MARK = "<!-- written by lamina publish -->"
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
PIPELINES = {  # https://huggingface.co/docs/hub/models-tasks
    ("classify", "image"): "image-classification", ("classify", "text"): "text-classification", ("classify", "number"): "tabular-classification",
    ("regress", "number"): "tabular-regression", ("detect", "image"): "object-detection", ("segment", "image"): "image-segmentation",
    ("caption", "image"): "image-to-text", ("translate", "sentence"): "translation", ("write", "running"): "text-generation",
    ("tag", "sentence"): "token-classification", ("tag", "text"): "token-classification",
}  # fmt: skip


def repository(place: str) -> str:
    """OWNER/REPOSITORY of a place. Raises SettingError."""
    name = place.removeprefix(SCHEME).strip("/")
    if not REPOSITORY.fullmatch(name) or ".." in name or "--" in name:
        raise SettingError(
            f"{place[:200]} is no place; on the Hub it is hf://OWNER/REPOSITORY, a model in it that/NAME."
        )
    return name


def endpoint() -> str:
    """Where the Hub is."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def request(place: str, file: str) -> urllib.request.Request:
    """What a file of a place is asked with. The token goes to the Hub alone, and not to where the Hub sends on."""
    found = urllib.request.Request(f"{endpoint()}/{repository(place)}/resolve/main/{quote(file)}")
    if not found.full_url.startswith(("https://", "http://")):
        raise SettingError(f"HF_ENDPOINT must be an https:// address, not '{endpoint()[:100]}'.")
    if token := os.environ.get("HF_TOKEN"):
        found.add_unredirected_header("Authorization", f"Bearer {token}")
    return found


def begin(place: str) -> None:
    """Make the repository where it is not there. Raises SettingError without huggingface_hub, RunError."""
    name, interface = repository(place), _interface(place)
    try:
        interface.create_repo(name, exist_ok=True)
    except Exception as error:  # of HTTP, of the network, of the package's own checks
        raise RunError(f"{place} cannot be made: {_said(error)}.") from None


def put(place: str, files: dict[str, bytes], message: str) -> None:
    """Write files in one commit. Raises SettingError without huggingface_hub, RunError."""
    name, interface = repository(place), _interface(place)
    from huggingface_hub import CommitOperationAdd

    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    try:
        interface.create_commit(name, operations, commit_message=message)
    except Exception as error:
        raise RunError(f"{place} cannot be written: {_said(error)}.") from None


def _interface(place: str) -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise SettingError(
            f"publishing at {place} needs huggingface_hub, which is not installed; pip install 'lamina[hub]'."
        ) from None
    return HfApi(endpoint=endpoint(), token=os.environ.get("HF_TOKEN"), library_name="lamina")


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


def card(place: str, models: dict[str, list[dict[str, Any]]]) -> bytes:
    """The model card of what a place holds: what the index tells of the newest version of each model."""
    newest = {name: versions[-1] for name, versions in sorted(models.items())}
    kinds = {PIPELINES.get((str(e.get("task")), next(iter(e.get("inputs", {}).values()), ""))) for e in newest.values()}
    head = {
        "library_name": "lamina",
        "license": "other",
        "tags": ["lamina", *sorted({_word(e.get("task")) for e in newest.values()})],
    }
    if len(kinds) == 1 and None not in kinds:
        head["pipeline_tag"] = kinds.pop()
    lines = [
        "---",
        *(f"{k}: {json.dumps(v)}" for k, v in head.items()),
        "---",
        MARK,
        "",
        f"# {plain(place.rpartition('/')[2])}",
        "",
    ]
    lines += ["Trained nets with their preprocessing, classes and thresholds inside, shipped by Lamina.", ""]
    for name, entry in newest.items():
        lines += [f"## {plain(name)}", "", *_told(entry), "", "```sh", f"lamina ask {place}/{name} FILE", "```", ""]
    return "\n".join(lines).encode()


def _told(entry: dict[str, Any]) -> list[str]:
    """A list of what is known of a version."""
    score, inputs = entry.get("score") or {}, entry.get("inputs") or {}
    told = {
        "Task": entry.get("task"), "Net": entry.get("net"),
        "Reads": ", ".join(f"{name} ({kind})" for name, kind in inputs.items()), "Answers": entry.get("answers"),
        "Score on rows it never saw": _score(score),
        "Data": entry.get("source"), "Licence of the data": entry.get("licence"), "Published": entry.get("published"),
        "sha256": entry.get("sha256"),
    }  # fmt: skip
    return [f"- {what}: {plain(str(value))}" for what, value in told.items() if value]


def _score(score: dict[str, Any]) -> str:
    numbers = [score.get(k) for k in ("value", "low", "high")]
    if not all(isinstance(n, int | float) for n in numbers):
        return ""
    name = str(score.get("name"))
    value, low, high = (shown(name, number) for number in numbers)  # type: ignore[arg-type]
    return f"{name.replace('_', ' ')} {value} ({low} to {high})"


def _word(text: Any) -> str:
    return re.sub(r"[^a-z0-9-]", "-", str(text).lower())[:40]


def plain(text: str) -> str:
    """Text of data and files as Markdown that shows it and does nothing else (CommonMark, 2.4: any punctuation may be escaped)."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split())[:500])
