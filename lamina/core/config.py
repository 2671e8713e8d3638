"""Frozen dataclass <-> command-line flags <-> JSON. The string under a field is its help."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import textwrap
import types
import typing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from lamina.core.errors import SettingError, unknown

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """One field of a config: its name, type, default and the string written under it."""

    name: str
    type: Any
    default: Any
    help: str


@functools.cache
def settings(cls: type) -> tuple[Setting, ...]:
    """The fields of a config dataclass, in order, with their help; its source is read once."""
    hints = typing.get_type_hints(cls)
    help_by_name = _help(cls)
    found = dataclasses.fields(cls)
    return tuple(Setting(f.name, hints[f.name], _default(f), help_by_name.get(f.name, "")) for f in found)


def _default(field: dataclasses.Field) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def _help(cls: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body  # type: ignore[attr-defined]
    found = {}
    for field, below in pairwise(body):
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            found[field.target.id] = inspect.cleandoc(str(below.value.value))  # type: ignore[attr-defined]
    return found


def parse(text: str, setting: Setting, prefix: str = "") -> Any:
    """Turn the text of a flag into the field's type. Raises SettingError with the value."""
    wanted = _without_none(setting.type)
    if text.lower() == "none" and wanted is not setting.type:
        return None
    try:
        if wanted is bool:
            return {
                "true": True,
                "1": True,
                "yes": True,
                "on": True,
                "false": False,
                "0": False,
                "no": False,
                "off": False,
            }[text.lower()]
        if typing.get_origin(wanted) is tuple:
            item = typing.get_args(wanted)[0]
            return tuple(item(part) for part in text.split(",") if part)
        return wanted(text)
    except (ValueError, KeyError):
        kind = getattr(wanted, "__name__", str(wanted))
        raise SettingError(f"{prefix}{setting.name} must be {_article(kind)}, not '{text}'.") from None


def _article(kind: str) -> str:
    return {"int": "a whole number", "float": "a number", "bool": "yes or no", "str": "a text"}.get(
        kind, f"of type {kind}"
    )


def _without_none(annotation: Any) -> Any:
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        rest = [a for a in typing.get_args(annotation) if a is not type(None)]
        return rest[0] if len(rest) == 1 else annotation
    return annotation


def from_texts(cls: type[T], texts: dict[str, str], prefix: str = "", **fixed: Any) -> T:
    """Build a config from flag texts: from_texts(Config, {"width": "64"}, "net.").

    Raises NameUnknown (nearest field) and SettingError.
    """
    by_name = {s.name: s for s in settings(cls)}
    values = dict(fixed)
    for name, text in texts.items():
        if name not in by_name:
            raise unknown("setting", f"{prefix}{name}", [f"{prefix}{n}" for n in by_name])
        values[name] = parse(text, by_name[name], prefix)
    return cls(**values)


def to_json(config: Any) -> dict[str, Any]:
    """A config as plain JSON types; tuples become lists."""
    return dataclasses.asdict(config)


def from_json(cls: type[T], values: dict[str, Any]) -> T:
    """The inverse of to_json. Raises NameUnknown on a key that is no field, SettingError on a wrong type."""
    by_name = {s.name: s for s in settings(cls)}
    built = {}
    for name, value in values.items():
        if name not in by_name:
            raise unknown(f"setting of {cls.__name__}", name, by_name)
        built[name] = _restore(value, by_name[name])
    return cls(**built)


def _restore(value: Any, setting: Setting) -> Any:
    wanted = _without_none(setting.type)
    if value is None:
        if wanted is setting.type:
            raise SettingError(f"{setting.name} must not be empty.")
        return None
    if typing.get_origin(wanted) is tuple:
        if not isinstance(value, list | tuple):
            raise SettingError(f"{setting.name} must be a list, not {value!r}.")
        return _tuples(value)
    if dataclasses.is_dataclass(wanted) and isinstance(value, dict):
        return from_json(wanted, value)  # type: ignore[arg-type]
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(wanted, type) and (not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))):
        raise SettingError(f"{setting.name} must be {_article(wanted.__name__)}, not {value!r}.")
    return value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value
