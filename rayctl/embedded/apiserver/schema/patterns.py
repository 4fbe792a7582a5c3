"""Patterns of schemas. Those in which repetitions are nested could take for ever on a text made for that.

They are matched by RE2, which takes time in proportion to the text, where CEL is installed (it brings RE2 with it);
elsewhere by Python's own machine, on texts of limited length.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from rayctl.embedded.apiserver.schema.rules import matcher

__all__ = ["LONGEST", "is_nested", "matches"]

LONGEST = 2_000
"""Without RE2, longer texts do not match nested patterns."""
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import sre_constants
    import sre_parse
_REPEATS = (sre_constants.MAX_REPEAT, sre_constants.MIN_REPEAT)


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern occurs in a text."""
    return _compiled(pattern)(text)


@lru_cache(maxsize=2_000)
def _compiled(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    if not is_nested(pattern):
        return lambda text: compiled.search(text) is not None
    linear = matcher(pattern)
    if linear is not None:
        return linear
    return lambda text: len(text) <= LONGEST and compiled.search(text) is not None


def is_nested(pattern: str) -> bool:
    """Whether something that repeats without end is in something that repeats without end."""
    parsed: Any = sre_parse.parse(pattern)
    return _nested(parsed, False)


def _nested(parts: Iterable[Any], inside: bool) -> bool:
    for operation, argument in parts:
        endless = operation in _REPEATS and argument[1] == sre_constants.MAXREPEAT
        if endless and inside:
            return True
        if any(_nested(below, inside or endless) for below in _below(argument)):
            return True
    return False


def _below(argument: Any) -> Iterable[Any]:
    if isinstance(argument, sre_parse.SubPattern):
        yield argument
    elif isinstance(argument, (tuple, list)):
        for part in argument:
            yield from _below(part)
