"""Bodies of older major versions, brought up to date step by step. A step is a pure function and never changes.

A step stays as long as its version can be met: in stored history, in a client within the window of mixed versions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rayctl.errors import MalformedEnvelope, UnsupportedEnvelope

__all__ = ["STEPS", "Step", "migrate"]

Step = Callable[[dict[str, Any]], dict[str, Any]]


STEPS: Mapping[str, Mapping[int, Step]] = {"tenant-config": {}}
"""Kind → major version → the step from it to the next one. There has been one major version so far."""


def migrate(
    kind: str, body: Mapping[str, Any], found: int, wanted: int, steps: Mapping[int, Step] | None = None
) -> dict[str, Any]:
    """Return the body in major version ``wanted``.

    Raises:
        UnsupportedEnvelope: ``too-old``: a step is missing.
        MalformedEnvelope: ``not-readable``: the body is not what its version says.
    """
    known = STEPS.get(kind, {}) if steps is None else steps
    current = dict(body)
    for major in range(found, wanted):
        step = known.get(major)
        if step is None:
            raise UnsupportedEnvelope(
                f"This {kind} is of version {major}, which this rayctl cannot read any more.",
                code="too-old",
                hint="Read and save it with a version of rayctl between the two.",
            )
        try:
            current = step(current)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MalformedEnvelope(
                f"The {kind} is not what its version {major} says: {type(error).__name__}: {error}", code="not-readable"
            ) from error
    return current
