"""Where a tenant's configuration comes from. From weak to strong: defaults, file, environment, arguments.

Mappings are joined key by key, everything else (lists too) is replaced as a whole. Every value's origin is known.
Environment variables are only looked at when the caller hands them over. They are named by the path of a value:
``RAYCTL_TENANT__SETTINGS__MODEL__DEPTH=6`` sets ``settings.model.depth``; the text is read as a YAML value. Upper and
lower case do not matter for what the file names already; other names become lower case, but for those of variables
(``RAYCTL_TENANT__ENVIRONMENT__VARIABLES__APP_MODE=fast``).
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from rayctl.errors import InvalidRequest
from rayctl.tenancy.codec import body_of, parse
from rayctl.tenancy.frozen import freeze, thaw
from rayctl.tenancy.model import TenantConfig

__all__ = [
    "ENVIRONMENT_PREFIX",
    "Change",
    "Loaded",
    "assign",
    "assignment",
    "differences",
    "leaves",
    "load",
    "read_file",
    "remove",
]

ENVIRONMENT_PREFIX = "RAYCTL_TENANT__"
_MOST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Loaded:
    """A configuration and, for each of its values, where it is from: JSON pointer → text."""

    config: TenantConfig
    origins: Mapping[str, str]


@dataclass(frozen=True)
class Change:
    """One difference between two configurations; None: not there."""

    pointer: str
    before: Any
    after: Any


def load(
    file: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Loaded:
    """Read and join the sources, and check the whole.

    Args:
        file: YAML, TOML or JSON, by its suffix.
        environ: Environment variables (for example ``os.environ``); None: none.
        arguments: Fields of `TenantConfig` from code or the command line.

    Raises:
        InvalidRequest: ``unreadable-file``, ``invalid-file``, or ``invalid-tenant-config`` with the single places.
    """
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if file is not None:
        layers.append((f"file {file}", read_file(Path(file))))
    layers += _of_environment(environ or {}, layers[0][1] if layers else {})
    if arguments:
        layers.append(("argument", arguments))
    joined: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        _join(joined, layer, "", origin, origins)
    config = parse(joined)
    found = {pointer: _origin(pointer, origins) for pointer, _ in leaves(config)}
    if config.environment.isolation != "process" and found["/environment/isolation"] == "default":
        why = "image" if config.environment.image else "packages"
        found["/environment/isolation"] = f"follows from environment.{why}"
    return Loaded(config, found)


def _origin(pointer: str, origins: Mapping[str, str]) -> str:
    """A value that was given in a short form (``env:NAME``) has its parts from where the short form stood."""
    while pointer and pointer not in origins:
        pointer = pointer.rpartition("/")[0]
    return origins.get(pointer, "default")


def _join(into: dict[str, Any], layer: Mapping[str, Any], place: str, origin: str, origins: dict[str, str]) -> None:
    for key, value in layer.items():
        here = f"{place}/{key}"
        if isinstance(value, Mapping) and isinstance(into.get(key, {}), dict):
            into.setdefault(key, {})
            if not value:
                origins[here] = origin
            _join(into[key], value, here, origin, origins)
        else:
            for known in [pointer for pointer in origins if pointer == here or pointer.startswith(here + "/")]:
                del origins[known]
            into[key] = thaw(value)
            origins[here] = origin


# Sources --------------------------------------------------------------------------------------------------


def read_file(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML, TOML or JSON file.

    Raises:
        InvalidRequest: ``unreadable-file``, ``invalid-file``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.", code="unreadable-file") from None
    if len(data) > _MOST_BYTES:
        raise InvalidRequest(f"{path} is larger than {_MOST_BYTES:,} bytes.", code="invalid-file")
    suffix = path.suffix.lower()
    readers = {".yaml": _yaml, ".yml": _yaml, ".json": _json, ".toml": _toml}
    if suffix not in readers:
        known = ", ".join(readers)
        raise InvalidRequest(f"{path} has an unknown suffix; known are {known}.", code="invalid-file")
    try:
        found = readers[suffix](data.decode())
        freeze(found)  # which refuses what is nested too deeply, or contains itself
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InvalidRequest(f"{path} is not valid: {_one_line(error)}", code="invalid-file") from None
    if not isinstance(found, dict):
        raise InvalidRequest(f"{path} holds no mapping of names to values.", code="invalid-file")
    return found


class _UniqueKeys(yaml.SafeLoader):
    """YAML without keys that occur twice, of which the first one would silently be lost."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"the key {min(twice)} occurs twice (line {node.start_mark.line + 1})")
        return super().construct_mapping(node, deep)


def _yaml(text: str) -> Any:
    return yaml.load(text, Loader=_UniqueKeys)  # which is a SafeLoader


def _json(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key occurs twice")
        return found

    return json.loads(text, object_pairs_hook=once)


def _toml(text: str) -> Any:
    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    return importlib.import_module(name).loads(text)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _of_environment(environ: Mapping[str, str], known: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in sorted(environ):
        if name.startswith(ENVIRONMENT_PREFIX):
            path = name.removeprefix(ENVIRONMENT_PREFIX).split("__")
            if all(path):
                yield f"environment {name}", assign({}, _spelled(path, known), _value(environ[name]))


def _spelled(path: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    """Return a path as it is written where it is known already."""
    found: list[str] = []
    inner: Any = known
    for part in path:
        alike = [key for key in inner if str(key).lower() == part.lower()] if isinstance(inner, Mapping) else []
        keeps_case = found == ["environment", "variables"]
        found.append(
            part if keeps_case and part in alike else alike[0] if alike else part if keeps_case else part.lower()
        )
        inner = inner.get(found[-1]) if isinstance(inner, Mapping) else None
    return found


def _value(text: str) -> Any:
    try:
        return _yaml(text)
    except (ValueError, yaml.YAMLError):
        return text


def assignment(text: str) -> tuple[list[str], Any]:
    """Return (path, value) of ``settings.model.depth=6``; the value is read as YAML.

    Raises:
        InvalidRequest: ``invalid-assignment``.
    """
    path, equals, value = text.partition("=")
    parts = [part.strip() for part in path.split(".")]
    if not equals or not all(parts):
        raise InvalidRequest(
            f"{text!r} is no assignment.", code="invalid-assignment", hint="Write it like settings.model.depth=6."
        )
    return parts, _value(value)


def assign(document: dict[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """Put a value into nested dicts, in place; returns the document."""
    inner = document
    for part in path[:-1]:
        following = inner.get(part)
        if not isinstance(following, dict):
            following = inner[part] = {}
        inner = following
    inner[path[-1]] = value
    return document


def remove(document: dict[str, Any], path: str) -> None:
    """Take a value (its path with dots) out of nested dicts, in place.

    Raises:
        InvalidRequest: ``no-such-value``.
    """
    *parents, last = path.split(".")
    inner: Any = document
    for part in parents:
        inner = inner.get(part) if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or last not in inner:
        raise InvalidRequest(f"There is no value {path} to take out.", code="no-such-value")
    del inner[last]


# Looking at configurations --------------------------------------------------------------------------------


def leaves(config: TenantConfig) -> Iterator[tuple[str, Any]]:
    """Yield (JSON pointer, value) of everything a configuration says or takes from the defaults."""
    yield from _leaves("", config)


def _leaves(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _leaves(f"{place}/{name}", getattr(value, name))
    elif isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(f"{place}/{key}", item)
    else:
        yield place, value


def differences(before: TenantConfig | None, after: TenantConfig | None) -> list[Change]:
    """Return what changes from one configuration to another, by place."""
    old = dict(_leaves("", thaw(body_of(before)))) if before is not None else {}
    new = dict(_leaves("", thaw(body_of(after)))) if after is not None else {}
    places = sorted({*old, *new})
    return [
        Change(place, old.get(place), new.get(place))
        for place in places
        if place not in old or place not in new or old[place] != new[place]
    ]
