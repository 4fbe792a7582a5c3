"""Spans of passes and of the requests within them, if they are wanted: `install`; otherwise `span` costs nothing.

They are OpenTelemetry's, whose API and SDK come with Ray: written to a file as JSON lines, or, where a program has set
up a tracer provider of its own (an exporter to a collector), handed to that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

__all__ = ["install", "span"]

_start: Callable[..., AbstractContextManager[Any]] | None = None


class _Off:
    """A span that nobody wants."""

    def set_attribute(self, name: str, value: Any) -> None:
        """Do nothing."""


_OFF = nullcontext(_Off())


def span(name: str, /, **attributes: Any) -> AbstractContextManager[Any]:
    """Return a span for the time of a block, child of the one around it; an exception within is noted in it."""
    return _OFF if _start is None else _start(name, attributes=attributes)


def install(path: Path | None = None) -> Callable[[], None]:
    """Have spans made from now on; return what ends that.

    Args:
        path: A file that gets a line of JSON for each span, made with mode 0600. None: the tracer provider that this
            process has set up takes them.

    Raises:
        OSError: The file cannot be written.
    """
    global _start
    if path is None:
        from opentelemetry import trace

        _start = trace.get_tracer("rayctl").start_as_current_span
        return _remove
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    class Lines(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            os.write(descriptor, b"".join(one.to_json(indent=None).encode() + b"\n" for one in spans))
            return SpanExportResult.SUCCESS

    provider = TracerProvider(resource=Resource({"service.name": "rayctl"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(Lines()))
    _start = provider.get_tracer("rayctl").start_as_current_span

    def end() -> None:
        _remove()
        provider.shutdown()
        os.close(descriptor)

    return end


def _remove() -> None:
    global _start
    _start = None
