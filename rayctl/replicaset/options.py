"""What rayctl adds to AIBrix's fields of sets and fleets: replacement of broken clusters, and draining."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Drain", "Replacement", "mapping_at", "option_document", "parse_drain", "parse_replacement", "seconds"]

_POLICIES = ("DeleteFirst", "Surge", "Never")


@dataclass(frozen=True)
class Replacement:
    """When a cluster that was ready and is not any more is replaced. All times in seconds.

    Args:
        policy: ``DeleteFirst`` (never more clusters than wanted), ``Surge`` (the new one comes first), ``Never``.
        grace_s: How long the cluster's own controller may try to heal it.
        startup_s: How long a new cluster may take to become ready; 0: as long as it likes.
        surge: With ``Surge``, so many more clusters than wanted at a time.
        backoff_s: Pause after the first replacement; doubled with each further one that did not help.
        at_most: Replacements in a row after which the broken ones are left for inspection.
    """

    policy: str = "DeleteFirst"
    grace_s: float = 300.0
    startup_s: float = 0.0
    surge: int = 1
    backoff_s: float = 30.0
    at_most: int = 5


@dataclass(frozen=True)
class Drain:
    """How long a cluster that is to go may finish its work. ``seconds`` 0: it goes at once."""

    seconds: float = 0.0
    jobs: bool = True
    requests: bool = True


def option_document(document: Mapping[str, Any], name: str) -> Any:
    """Return an optional part of the spec; where the cluster's definitions have no place for it, an annotation's JSON.

    The annotation is ``rayctl.io/<name>``.

    Raises:
        ValueError: The annotation is no JSON.
    """
    found = (document.get("spec") or {}).get(name)
    if found is not None:
        return found
    text = ((document.get("metadata") or {}).get("annotations") or {}).get(f"rayctl.io/{name.lower()}")
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"annotation rayctl.io/{name.lower()} is no JSON: {error}") from error


def parse_replacement(value: Any) -> Replacement:
    """Read ``spec.replacement``.

    Raises:
        ValueError: Says which field is wrong.
    """
    found = mapping_at(value, "replacement")
    policy = found.get("policy", "DeleteFirst")
    if policy not in _POLICIES:
        raise ValueError(f"replacement.policy is {policy!r}, not one of {', '.join(_POLICIES)}")
    default = Replacement()
    return Replacement(
        policy,
        seconds(found, "gracePeriodSeconds", default.grace_s, "replacement"),
        seconds(found, "startupSeconds", default.startup_s, "replacement"),
        int(seconds(found, "surge", default.surge, "replacement")),
        seconds(found, "backoffSeconds", default.backoff_s, "replacement"),
        int(seconds(found, "maxReplacements", default.at_most, "replacement")),
    )


def parse_drain(value: Any) -> Drain:
    """Read ``spec.drain``.

    Raises:
        ValueError: Says which field is wrong.
    """
    found = mapping_at(value, "drain")
    return Drain(
        seconds(found, "seconds", 0.0, "drain"), bool(found.get("jobs", True)), bool(found.get("requests", True))
    )


def seconds(found: Mapping[str, Any], name: str, default: float, where: str) -> float:
    """Return a number that is not negative.

    Raises:
        ValueError: It is something else.
    """
    value = found.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ValueError(f"{where}.{name} is {value!r}, not a number from 0 on")
    return float(value)


def mapping_at(value: Any, name: str) -> Mapping[str, Any]:
    """Return an object of the specification; nothing is an empty one.

    Raises:
        ValueError: It is something else; ``name`` says where.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is {value!r}, not an object")
    return value
