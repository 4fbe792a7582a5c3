"""Logs as JSON lines of one schema: a constant text, and what it is about in fields; no secrets.

with about(controller="raycluster-controller", kind="RayCluster", namespace="a", name="b", reconcile_id="…"):
    log.info("pod created", extra={"pod": "b-head"})
"""

from __future__ import annotations

import contextvars
import json
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import IO, Any

from rayctl.telemetry.redaction import Redactor

__all__ = ["FIELDS", "JsonLines", "about", "install"]

FIELDS = (
    "controller",
    "kind",
    "namespace",
    "name",
    "uid",
    "generation",
    "rv",
    "reconcile_id",
    "attempt",
    "request_id",
    "trace_id",
)
"""What a line may be about, in this order; all else that is given comes after it."""
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LARGEST = 16 * 1024
"""Characters of one value."""
_about: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("rayctl_log_about", default={})  # noqa: B039


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Add fields to all lines that are logged within, also by what is awaited there."""
    before = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(before)


class JsonLines(logging.Formatter):
    """Makes a line of a record: ``ts`` (UTC, microseconds), ``level``, ``msg``, `FIELDS`, ``logger``, ``error``.

    Args:
        redactor: What hides secrets.
        fields: Added to every line: ``{"pid": …}``.
    """

    def __init__(self, redactor: Redactor | None = None, fields: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.redactor = redactor or Redactor()
        self._fields = dict(fields or {})

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, whatever is in the record."""
        try:
            message = record.getMessage()
        except Exception as wrong:  # a wrong format string must not lose the line
            message = f"{record.msg!s} ({type(wrong).__name__} in its arguments)"
        # What begins with an underscore is somebody's own: Ray notes a time in every record.
        own = {name: value for name, value in vars(record).items() if name not in _OWN and name[0] != "_"}
        given = {**self._fields, **_about.get(), **own}
        at = datetime.fromtimestamp(record.created, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        line: dict[str, Any] = {"ts": at, "level": record.levelname, "msg": self._short(self.redactor.text(message))}
        for name in (*FIELDS, *(name for name in given if name not in FIELDS)):
            if name in given and name not in line:
                line[name] = self._short(self.redactor.value(given[name], name))
        line["logger"] = record.name
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            stack = "".join(traceback.format_exception(*record.exc_info))
            line["error"] = {
                "type": type(error).__name__,
                "message": self._short(self.redactor.text(str(error))),
                "stack": self._short(self.redactor.text(stack)),
            }
        return json.dumps(line, ensure_ascii=False, separators=(",", ":"), default=str)

    @staticmethod
    def _short(value: Any) -> Any:
        return value if not isinstance(value, str) or len(value) <= _LARGEST else value[:_LARGEST] + "…"


def install(
    level: int = logging.INFO,
    stream: IO[str] | None = None,
    redactor: Redactor | None = None,
    fields: Mapping[str, Any] | None = None,
) -> logging.Handler:
    """Have everything that is logged in this process written as JSON lines, to the error stream by default."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(redactor, fields))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    return handler
