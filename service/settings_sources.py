"""Where settings come from: a TOML file, and the environment over it. Remembers which said what."""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import orjson
from pydantic import BaseModel, ValidationError

from service.errors import SettingsError
from service.settings import Settings

PREFIX: Final = "TIDEGATE_"
DEFAULT_FILE: Final = Path("tidegate.toml")
NOT_SETTINGS: Final = frozenset(
    {"TIDEGATE_CONFIG_FILE", "TIDEGATE_CACHE", "TIDEGATE_REQUIRE_APACHE_KAFKA", "TIDEGATE_PURE"}
)
"""Variables with our prefix that say something else than a setting."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """Settings, and which source each path that is not a default came from."""

    settings: Settings
    origins: Mapping[str, str]
    ignored: Sequence[str]
    """Environment variables that look like settings and are none."""


def load(file: Path | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """Environment over file over defaults.

    An unknown key in the file is an error: somebody meant something. An unknown variable only warns: the
    environment is shared with others (Kubernetes adds `TIDEGATE_SERVICE_PORT` for a service of that name).

    Raises
    ------
    SettingsError
        Every bad path, with its source.
    """
    environ = os.environ if environ is None else environ
    path = _file(file, environ)
    document, origins = ({}, {}) if path is None else _from_file(path)
    ignored = []
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
            continue
        keys = variable.removeprefix(PREFIX).lower().split("__")
        if not _known(Settings, keys):
            ignored.append(variable)
            continue
        _put(document, keys, _parsed(keys, environ[variable]))
        dotted = ".".join(keys)
        origins = {p: s for p, s in origins.items() if not p.startswith(f"{dotted}.")} | {dotted: variable}
    for variable in ignored:
        _LOG.warning("%s is not a setting and is ignored", variable)
    try:
        settings = Settings(**document)
    except ValidationError as error:
        raise SettingsError(*_problems(error, origins)) from None
    return Loaded(settings, origins, ignored)


def _file(file: Path | None, environ: Mapping[str, str]) -> Path | None:
    if file is not None:
        return file
    if named := environ.get("TIDEGATE_CONFIG_FILE"):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def _from_file(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from None
    return document, {dotted: str(path) for dotted in _leaves(document)}


def _leaves(document: Mapping[str, Any], inside: str = "") -> Iterator[str]:
    for key, value in document.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{inside}{key}.")
        else:
            yield f"{inside}{key}"


def _known(annotation: Any, keys: Sequence[str]) -> bool:
    """Whether a path of keys leads to something that can be set."""
    if not keys:
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(keys[0])
        return field is not None and _known(field.annotation, keys[1:])
    if get_origin(annotation) is dict:
        return bool(keys[0]) and _known(get_args(annotation)[1], keys[1:])
    return any(_known(branch, keys) for branch in get_args(annotation))


def _parsed(keys: Sequence[str], value: str) -> Any:
    """A whole section or table may be given as JSON; anything else is the string it is."""
    if value[:1] not in ("{", "[") or (len(keys) > 1 and keys[-1] != "receivers"):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _put(document: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    *parents, last = keys
    for key in parents:
        inner = document.get(key)
        if not isinstance(inner, dict):
            inner = document[key] = {}
        document = inner
    document[last] = value


def _problems(error: ValidationError, origins: Mapping[str, str]) -> list[str]:
    problems = []
    for complaint in error.errors(include_url=False, include_input=False, include_context=False):
        # The tag of a union ("slack") is in pydantic's location but in nobody's file.
        keys = [str(key) for key in complaint["loc"]]
        if keys[:2] == ["notify", "receivers"] and len(keys) > 3:
            del keys[3]
        dotted = ".".join(keys)
        message = "no such setting" if complaint["type"] == "extra_forbidden" else complaint["msg"]
        problems.append(f"{_origin(dotted, origins)}: {dotted}: {message.removeprefix('Value error, ')}")
    return problems


def _origin(dotted: str, origins: Mapping[str, str]) -> str:
    """Who said it: the path itself, what it lies in, or what lies in it."""
    for path, source in origins.items():
        if path == dotted or dotted.startswith(f"{path}.") or path.startswith(f"{dotted}."):
            return source
    return "settings"
