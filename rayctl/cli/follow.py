"""Following a run on the command line: lines, a live view, or a stream of JSON; and the verdict at the end."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

import click

from rayctl.cli.context import Settings
from rayctl.cli.output import json_text
from rayctl.cli.progress import Progress
from rayctl.errors import DeadlineExceeded, RunFailed

if TYPE_CHECKING:
    from rayctl.client.run import Run

__all__ = ["follow", "raise_verdict"]

Document = dict[str, Any]
_TICK_S = 0.25


def follow(settings: Settings, run: Run, *, stream: TextIO, events_as_json: bool = False) -> Document:
    """Show the run on ``stream`` until it has ended, and return its view.

    Ctrl-C stops the showing, never the run.

    Raises:
        DeadlineExceeded: the run goes on after ``--timeout``.
    """
    progress = Progress(run.document)
    try:
        if events_as_json:
            for event in _events(run, settings.timeout_s):
                if event is not None:
                    progress.apply(event)
                    print(json_text(event), file=stream, flush=True)
        elif settings.quiet:
            for event in _events(run, settings.timeout_s):
                if event is not None:
                    progress.apply(event)
        elif settings.is_terminal(stream):
            from rayctl.cli.live import live_view

            with live_view(progress, stream) as update:
                for event in _events(run, settings.timeout_s):
                    if event is not None:
                        progress.apply(event)
                    update(event is not None)
        else:
            _lines(progress, _events(run, settings.timeout_s), lambda text: print(text, file=stream, flush=True))
    except KeyboardInterrupt:
        click.echo(
            f"\nRun {run.id} goes on. Follow it with `rayctl automl watch {run.id}`, "
            f"stop it with `rayctl automl cancel {run.id}`.",
            err=True,
        )
        raise
    return progress.view


def raise_verdict(view: Document) -> None:
    """Return if the run succeeded. Raises RunFailed, with the reason, if it did not."""
    if view["state"] == "succeeded":
        return
    failure = view.get("error") or {}
    reason = failure.get("message") or failure.get("detail") or view.get("reason") or "no reason was given"
    raise RunFailed(
        f"Run {view['id']} {'was cancelled' if view['state'] == 'cancelled' else 'failed'}: {reason}",
        code=failure.get("code") or f"run-{view['state']}",
        hint=failure.get("hint") or f"`rayctl automl leaderboard {view['id']}` shows what became of each trial.",
    )


def _lines(progress: Progress, events: Iterator[Document | None], write: Callable[[str], None]) -> None:
    """One line per change, with the time of the event."""
    last = ""
    for event in events:
        if event is None:
            continue
        progress.apply(event)
        text = progress.line()
        if text != last:
            write(f"{event['at']} {text}")
            last = text


def _events(run: Run, timeout_s: float | None) -> Iterator[Document | None]:
    """Yield events as they come, and None a few times a second in between.

    The connection is read by a thread, so that clocks go on, Ctrl-C works at once and ``timeout_s`` is kept to.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    arrived: queue.SimpleQueue[Document | BaseException | None] = queue.SimpleQueue()

    def read() -> None:
        try:
            for event in run.watch_documents():
                arrived.put(event)
            arrived.put(None)
        except BaseException as error:  # it is raised again by the reader of the queue
            arrived.put(error)

    threading.Thread(target=read, name="rayctl-watch", daemon=True).start()
    while True:
        try:
            event = arrived.get(timeout=_TICK_S)
        except queue.Empty:
            if deadline is not None and time.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"Run {run.id} has not ended within {timeout_s:g} s; it goes on.",
                    hint=f"Follow it with `rayctl automl watch {run.id}`.",
                ) from None
            yield None
            continue
        if event is None:
            return
        if isinstance(event, BaseException):
            raise event
        yield event
