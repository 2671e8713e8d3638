"""publishing: shipped files put where others find them: a folder, any fsspec address, the Hugging Face Hub, a web server that gives files.

A place is plain files, so that any server of files is one:

index.json                    {"format": 1, "models": {NAME: [{"file", "sha256", "bytes", "task", "net", "score", "licence", "published"}]}}, newest last
NAME/SHA256-NAME.safetensors  every version that was ever published; none is overwritten

What is fetched is kept in $LAMINA_HOME/models by its sha256 and checked before it is opened, every time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lamina import _hub
from lamina.core.errors import RunError, SettingError, ShipError, unknown
from lamina.core.figures import shown
from lamina.core.run import replace
from lamina.data._assets import home

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}/[0-9a-f]{64}-[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.(safetensors|onnx)")
MOST_INDEX = 1 << 24  # bytes
MOST_FILE = 1 << 35
INDEX = "index.json"


def publish(file: str | Path, place: str, name: str | None = None) -> str:
    """Put a shipped file at a place, under a name (that of the file); earlier versions stay. Returns PLACE/NAME.

    Raises ShipError when it is no shipped file, RunError when the place cannot be written.
    """
    from lamina.ship._parcel import load

    if place.startswith(("http://", "https://")):
        raise SettingError(f"{place} is a web server, which is read only; publish into the folder that it gives.")
    path = Path(file)
    opened = load(path)
    name = name or path.stem
    if not NAME.fullmatch(name):
        raise SettingError(f"a model's name is letters, digits, dots, - and _, not '{name[:60]}'; --name gives one.")
    if place.startswith(_hub.SCHEME):
        _hub.begin(place)
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    score = opened.score()
    entry = {
        "file": f"{name}/{sha256}-{name}{path.suffix}",
        "sha256": sha256,
        "bytes": len(content),
        "task": opened.content["task"],
        "net": opened.content["net"],
        "score": {"name": score.name, "value": score.value, "low": score.low, "high": score.high},
        "licence": opened.content["licence"],
        "source": opened.content["source"],
        "inputs": {f["name"]: f["kind"] for f in opened.content["inputs"]},
        "answers": _answers(opened.content["target"]),
        "published": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    index = _index(place, missing=True)
    versions = [v for v in index["models"].get(name, []) if v["sha256"] != sha256]
    index["models"][name] = [*versions, entry]
    files = {entry["file"]: content, INDEX: (json.dumps(index, ensure_ascii=False, indent=1) + "\n").encode()}
    if place.startswith(_hub.SCHEME):
        card = {_hub.CARD: _hub.card(place.rstrip("/"), index["models"])} if _may_write_card(place) else {}
        _hub.put(place, files | card, f"Publish {name} {sha256[:12]}")
    else:
        for inside, held in files.items():
            _put(place, inside, held)
    return f"{place.rstrip('/')}/{name}"


def _answers(target: dict[str, Any]) -> str:
    """The column that is answered, and its classes."""
    named = ", ".join(target["classes"][:20]) + (" ..." if len(target["classes"]) > 20 else "")
    return f"{target['name']}: {named}" if named else target["name"]


def _may_write_card(place: str) -> bool:
    """Whether the model card is not there, or was written here. Raises ShipError."""
    try:
        return _hub.MARK.encode() in _get(place, _hub.CARD, MOST_INDEX)
    except FileNotFoundError:
        return True


def models(place: str) -> list[tuple[str, list[dict[str, Any]]]]:
    """Names and their versions, newest last, of a place. Raises ShipError."""
    return sorted(_index(place)["models"].items())


def fetched(address: str) -> Path:
    """The newest version of PLACE/NAME, or the one of PLACE/NAME@SHA256 (its beginning does), as a file that was checked. Raises ShipError."""
    place, _, word = address.rpartition("/")
    name, _, version = word.partition("@")
    found = _index(place)["models"]
    if name not in found:
        raise ShipError(str(unknown(f"model at {place}", name[:60], found)))
    fitting = [v for v in found[name] if v["sha256"].startswith(version)]
    if not fitting:
        raise ShipError(f"{place} has no version of {name} whose sha256 begins with {version[:64]}.")
    entry = fitting[-1]
    path = home() / "models" / Path(entry["file"]).name
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]:
        return path
    content = _get(place, entry["file"], min(MOST_FILE, entry["bytes"]))
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ShipError(f"{place}/{entry['file']} is damaged: its sha256 is not the one that the index tells.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, content)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}.") from None
    return path


def is_address(text: str) -> bool:
    """Whether PLACE/NAME, and no run or file that is there."""
    if Path(text).is_file() or (Path(text) / "config.json").is_file():
        return False
    parent = Path(text.rpartition("/")[0])
    return "://" in text or ("/" in text and (parent / INDEX).is_file())


def _index(place: str, missing: bool = False) -> dict[str, Any]:
    """The index of a place, every name in it looked at: nothing in it may lead elsewhere. Raises ShipError."""
    try:
        content = _get(place, INDEX, MOST_INDEX)
    except FileNotFoundError:
        if missing:
            return {"format": 1, "models": {}}
        raise ShipError(f"{place} holds no {INDEX}; `lamina publish PACK {place}` makes one.") from None
    try:
        index = json.loads(content)
        listed = index["models"]
        good = index["format"] == 1 and all(
            NAME.fullmatch(name) and versions and all(_fits(name, v) for v in versions)
            for name, versions in listed.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        good, index = False, {}
    if not good:
        raise ShipError(f"{place}/{INDEX} is no index of Lamina, or names files that lead out of it.")
    return index


def _fits(name: str, entry: dict[str, Any]) -> bool:
    file, sha256, size = entry["file"], entry["sha256"], entry["bytes"]
    return (
        bool(FILE.fullmatch(file))
        and file.startswith(f"{name}/{sha256}-")
        and isinstance(size, int)
        and 0 < size <= MOST_FILE
    )


def _get(place: str, file: str, most: int) -> bytes:
    """The bytes of a file of a place. Raises FileNotFoundError, ShipError."""
    try:
        with _opened(place, file) as source:
            content = source.read(most + 1)
    except FileNotFoundError:
        if file in (INDEX, _hub.CARD):
            raise
        raise ShipError(f"{place} names {file}, and it is not there.") from None
    except OSError as error:
        raise ShipError(f"{place} cannot be read ({str(getattr(error, 'reason', '') or error)[:120]}).") from None
    if len(content) > most:
        raise ShipError(f"{place}/{file} is longer than the {most:,} bytes that it may have.")
    return content


def _opened(place: str, file: str) -> Any:
    """A file of a place, for reading. Raises OSError, SettingError."""
    hub = place.startswith(_hub.SCHEME)
    if hub or place.startswith(("http://", "https://")):
        import urllib.error
        import urllib.request

        try:
            return urllib.request.urlopen(
                _hub.request(place, file) if hub else f"{place.rstrip('/')}/{file}", timeout=60
            )
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                raise FileNotFoundError(file) from None
            private = (
                "; is there such a repository, and may HF_TOKEN read it?" if hub and error.code in (401, 403) else ""
            )
            raise OSError(f"status {error.code}{private}") from None
    if "://" in place:
        return _files(place).open(f"{place.partition('://')[2].rstrip('/')}/{file}", "rb")
    return open(Path(place).expanduser() / file, "rb")


def _files(place: str) -> Any:
    """The file system of an address. Raises SettingError where its package is missing."""
    try:
        import fsspec
    except ImportError:
        raise SettingError(f"{place} needs fsspec, which is not installed; pip install 'lamina[hub]'.") from None
    try:
        return fsspec.filesystem(place.partition("://")[0])
    except (ImportError, ValueError) as error:
        raise SettingError(f"{place} cannot be opened: {' '.join(str(error).split())[:120]}") from None


def _put(place: str, file: str, content: bytes) -> None:
    """Write a file of a place whole. Raises RunError."""
    try:
        if "://" in place:
            files, path = _files(place), f"{place.partition('://')[2].rstrip('/')}/{file}"
            files.makedirs(os.path.dirname(path), exist_ok=True)
            with files.open(path, "wb") as out:
                out.write(content)
            return
        path = Path(place).expanduser() / file
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, content)
    except OSError as error:
        raise RunError(f"{place} cannot be written: {error.strerror or error}.") from None


def show(place: str) -> None:
    """The whole of `lamina list models PLACE`."""
    for name, versions in models(place):
        newest = versions[-1]
        score = newest.get("score") or {}
        told = (
            f"{str(score.get('name', '')).replace('_', ' ')} {shown(str(score.get('name', '')), score.get('value', 0))}"
            if isinstance(score.get("value"), int | float)
            else ""
        )
        count = f"{len(versions)} version{'s' if len(versions) > 1 else ''}"
        print(f"{name:24} {newest.get('task')}, {newest.get('net')}: {told}; {count}, newest {newest['sha256'][:12]}")
