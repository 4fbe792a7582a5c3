"""``rayctl up``: make sure that a supervisor runs in this home and wait until everything is ready."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from rayctl.errors import Conflict, DeadlineExceeded, InvalidRequest, Unavailable, from_problem
from rayctl.selfhost import logs, processes, raycmd
from rayctl.selfhost.layout import Layout
from rayctl.selfhost.options import UpOptions
from rayctl.selfhost.ports import answers, is_free, taken
from rayctl.selfhost.upfile import UpFile, ensure_private_dir, file_lock, read_up, write_json

__all__ = ["UpResult", "healthy", "up"]

_POLL_S = 0.1
_STEPS = {
    "kube": "Kubernetes API ready at {api}",
    "installed": "kinds, accounts, roles and RayCluster rayctl-system applied",
    "cluster": "RayCluster rayctl-system is ready",
    "ray": "Ray head started (pid {pid})",
    "connected": "connected to the cluster",
    "control_plane": "control plane ready",
    "http": "HTTP ready at {url}",
    "handed_over": "the controllers lead on rayctl-system",
}


@dataclass(frozen=True)
class UpResult:
    """What is up now. ``already``: it was before we came. ``took_s``: how long it took."""

    up: UpFile
    already: bool
    took_s: float


def healthy(up: UpFile | None) -> bool:
    """Tell whether everything runs and the gateway accepts connections."""
    if up is None or up.state != "ready" or not all(up.alive(part) for part in ("supervisor", "resident")):
        return False
    if not up.attached and not up.alive("kube" if up.kubeconfig else "ray"):
        return False
    where = urlsplit(up.http_url)
    return where.hostname is not None and answers(where.port or 80, where.hostname)


def up(
    layout: Layout,
    options: UpOptions,
    *,
    wait: bool = True,
    timeout_s: float = 120.0,
    report: Callable[[str], None] = lambda _: None,
    environ: Mapping[str, str] = os.environ,
) -> UpResult:
    """Start what is missing. Two calls at once do the work of one; the second waits for the first.

    Raises:
        Conflict: a port is taken, or what runs has other options.
        DeadlineExceeded: it is not ready yet; it goes on starting.
        Unavailable: it cannot start; nothing is left running.
    """
    began = time.monotonic()
    if options.address is not None and "://" in options.address:
        raise InvalidRequest(
            f"{options.address!r} is not host:port of a Ray cluster's GCS.",
            hint="`--address` needs a direct connection, for example 127.0.0.1:6379; `ray://` will not do.",
        )
    for folder in (layout.home, layout.logs, layout.run):
        ensure_private_dir(folder)
    busy = "Another `rayctl up` or `rayctl down` is at work in this home."
    with file_lock(layout.up_lock, timeout_s, busy, on_wait=lambda: report("waiting for another `rayctl up`")):
        seen = read_up(layout.up_file)
        running = seen is not None and seen.alive("supervisor") and seen.state != "stopping"
        options = options.settled(seen)
        options.check()
        if seen is not None and running:
            options.check_running(seen)
            if healthy(seen):
                return UpResult(seen, True, time.monotonic() - began)
            report(f"a supervisor is at work (pid {(seen.supervisor or {}).get('pid')}): {seen.reason or seen.state}")
            child = None
        else:
            _check_explicit_ports(options, seen)
            if seen is not None and seen.state == "failed":
                layout.up_file.unlink(missing_ok=True)  # an old failure must not be taken for the next one's
            child = _launch(layout, options, environ)
        waiter = _Waiter(layout, child, report)
        try:
            document = waiter.wait(began + timeout_s, until_ready=wait)
        except KeyboardInterrupt:
            if child is not None:
                report("interrupted; stopping what was started")
                child.send_signal(signal.SIGTERM)
                child.wait(30)
            raise
    return UpResult(document, False, time.monotonic() - began)


def _check_explicit_ports(options: UpOptions, seen: UpFile | None) -> None:
    # The supervisor decides; this is only to fail at once where that is certain already.
    ours = set(seen.ports.values()) if seen is not None else set()
    for want in options.wanted_ports():
        if want.explicit and want.port not in ours and not is_free(want.port):
            raise taken(want)


def _launch(layout: Layout, options: UpOptions, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    write_json(layout.options, options.to_dict())
    logs.rotate(layout.log("supervisor"))
    env = {name: value for name, value in environ.items() if name != "RAYCTL_PART"}
    env |= {"RAYCTL_HOME": str(layout.home), "PYTHONUNBUFFERED": "1"}
    argv = raycmd.supervisor_argv(sys.executable, layout)
    child, _ = processes.spawn(argv, env=env, log=layout.log("supervisor"), cwd=layout.home)
    return child


class _Waiter:
    """Follows ``up.json`` and says every change once."""

    def __init__(self, layout: Layout, child: subprocess.Popen[bytes] | None, report: Callable[[str], None]) -> None:
        self._layout = layout
        self._child = child
        self._report = report
        self._said: dict[str, float] = {}
        self._reason = ""
        self._moved = False

    def wait(self, deadline: float, *, until_ready: bool) -> UpFile:
        while True:
            ended = self._child is not None and self._child.poll() is not None
            document = self._current()
            if document is not None:
                self._tell(document)
                if document.state == "failed":
                    raise self._failure(document)
                if healthy(document) or (not until_ready and document.http_url):
                    return document
            if ended or (document is not None and not document.alive("supervisor")):
                raise self._vanished()
            if self._child is None and document is None:
                raise Conflict("rayctl was stopped while it was starting.", code="stopped", hint="Run `rayctl up`.")
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"rayctl is not ready yet: {(document.reason if document else '') or 'starting'}.",
                    hint="It goes on starting in the background: see `rayctl status`; `rayctl down` stops it.",
                )
            time.sleep(_POLL_S)

    def _current(self) -> UpFile | None:
        document = read_up(self._layout.up_file)
        if document is None or self._child is None:
            return document
        # A file of an earlier supervisor is not news.
        pid = (document.supervisor or {}).get("pid")
        return document if pid == self._child.pid else None

    def _tell(self, document: UpFile) -> None:
        if document.moved_ports and not self._moved:
            self._moved = True
            for purpose, default in document.moved_ports.items():
                name = purpose.replace("_", " ")
                self._report(f"port {default} is in use; {name} gets {document.ports[purpose]}")
        for step, text in _STEPS.items():
            at = document.steps.get(step)
            if at and self._said.get(step) != at:
                self._said[step] = at
                pid = (document.ray or {}).get("pid", "?")
                self._report(text.format(pid=pid, url=document.http_url, api=document.kubernetes_url))
        trouble = document.reason if any(part.get("last_exit") for part in document.parts.values()) else ""
        if trouble and trouble != self._reason and not trouble.startswith("waiting"):
            self._report(trouble)
        self._reason = trouble

    def _failure(self, document: UpFile) -> Exception:
        if document.error:
            return from_problem(document.error)
        return Unavailable(document.reason or "rayctl could not be started.", code="start-failed")

    def _vanished(self) -> Exception:
        path = self._layout.log("supervisor")
        if self._child is not None and self._child.returncode == 0:
            return Conflict("rayctl was stopped while it was starting.", code="stopped", hint="Run `rayctl up` again.")
        return Unavailable(
            f"The supervisor ended unexpectedly. Last lines of {path}:\n{logs.tail(path)}", code="supervisor-ended"
        )
