"""Waiting until what goes on with an object has a verdict that stays, telling meanwhile what changes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from rayctl.cli.output import clean
from rayctl.errors import DeadlineExceeded

if TYPE_CHECKING:
    from rayctl.cli.kubernetes import Kube
    from rayctl.kube.calls import Resource

__all__ = ["Going", "until_final"]

View = dict[str, Any]


@dataclass(frozen=True)
class Going:
    """What goes on.

    Args:
        resource, name: With which object.
        title: How people call it: ``fleet/f``.
        final: Verdicts that stay.
        look: Returns its view (with ``verdict`` and ``message``) as it is now.
        line: A view as one line, without the time.
        show: Prints a view.
        hints: What to do when the time is up, by verdict; for others it simply goes on.
    """

    resource: Resource
    name: str
    title: str
    final: Collection[str]
    look: Callable[[], View]
    line: Callable[[View], str]
    show: Callable[[View], None]
    hints: Mapping[str, str] = field(default_factory=dict)


def until_final(kube: Kube, going: Going, timeout_s: float) -> View:
    """Return the view once its verdict is final; a line for each change goes to the standard error stream.

    Raises:
        DeadlineExceeded: It is still going on; the last view was shown.
    """
    from rayctl.client.kube.following import Selection

    deadline = time.monotonic() + timeout_s
    view, told = going.look(), ""
    while view["verdict"] not in going.final:
        told = _tell(kube, going.line(view), told)
        selection = Selection(going.resource, kube.namespace, fields=f"metadata.name={going.name}")
        for _ in kube.follow(selection, deadline):
            view = going.look()
            told = _tell(kube, going.line(view), told)
            if view["verdict"] in going.final:
                break
        if time.monotonic() >= deadline and view["verdict"] not in going.final:
            going.show(view)
            raise DeadlineExceeded(
                f"{going.title} is still {view['verdict']} after {timeout_s:.0f} s: {view['message']}",
                hint=going.hints.get(view["verdict"], "It goes on; repeat the command, or give it a longer --timeout."),
            )
    return view


def _tell(kube: Kube, line: str, told: str) -> str:
    if line != told and kube.settings.for_people and not kube.settings.quiet:
        at = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        print(f"{at} {clean(line)}", file=sys.stderr, flush=True)
    return line
