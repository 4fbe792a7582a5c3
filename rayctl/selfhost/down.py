"""``rayctl down``: stop everything of a home, whoever started it and whatever has died already.

The supervisor does it when it lives. Otherwise, and for whatever is left, it is done from here: from the processes
recorded in ``up.json`` and from what can be recognised as a part of this home's cluster.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rayctl.embedded.kubelet.leftovers import end_pods_of
from rayctl.errors import Unavailable
from rayctl.selfhost import logs, processes, raycmd
from rayctl.selfhost.layout import Layout
from rayctl.selfhost.processes import ProcessId
from rayctl.selfhost.upfile import UpFile, file_lock, read_up

__all__ = ["Stopped", "down", "remains", "stop_remains"]


_PODS_END_S = 120.0
"""Pods are given their grace."""


@dataclass
class Stopped:
    """What ``down`` found and did."""

    was_running: bool = False
    deleted: list[str] = field(default_factory=list)
    took_s: float = 0.0


def remains(layout: Layout, up: UpFile | None) -> list[ProcessId]:
    """Return every process of this home that runs, apart from a supervisor."""
    recorded = [process for part in ("resident", "ray", "kube") if up and (process := up.process(part))]
    temp_dir = Path(up.ray_temp_dir) if up and up.ray_temp_dir else layout.ray_temp_dir
    found = processes.stray(sessions=recorded, path=temp_dir, marker=raycmd.head_marker(layout))
    found += processes.stray(marker=f"RAYCTL_PART=resident-{layout.id}")
    return list(dict.fromkeys(found))


def stop_remains(layout: Layout, up: UpFile | None) -> None:
    """End what an earlier supervisor left running, and remove the sessions of its Ray head.

    Raises:
        Unavailable: something cannot be ended (code ``processes-left``).
    """
    for part, grace_s in (("resident", 4.0), ("ray", 6.0), ("kube", 100.0)):
        process = up.process(part) if up else None
        if process is not None and process.alive():
            processes.end(process, grace_s=grace_s)
    left = processes.end_all(lambda: remains(layout, up))
    if left:
        raise Unavailable(
            f"These processes of {layout.home} could not be ended: {', '.join(str(each.pid) for each in left)}.",
            code="processes-left",
            hint="Look at them with `ps -fp <pid>`; they may hang in the kernel.",
        )
    logs.remove_sessions(Path(up.ray_temp_dir) if up and up.ray_temp_dir else layout.ray_temp_dir)


def down(
    layout: Layout, *, timeout_s: float, delete_data: bool = False, report: Callable[[str], None] = lambda _: None
) -> Stopped:
    """Stop everything; afterwards no process of this home is left. Fine to repeat.

    Raises:
        Unavailable: something cannot be ended.
        DeadlineExceeded: a ``rayctl up`` holds the lock for longer than ``timeout_s``.
    """
    began = time.monotonic()
    result = Stopped()
    if not layout.home.is_dir():
        return result
    _stop_supervisor(layout, timeout_s, result, report)
    layout.run.mkdir(mode=0o700, exist_ok=True)
    with file_lock(layout.up_lock, timeout_s, "Another `rayctl up` or `rayctl down` is at work in this home."):
        # Between the two steps an `up` that held the lock may have started a supervisor.
        _stop_supervisor(layout, timeout_s, result, report)
        up = read_up(layout.up_file)
        pods = (layout.kube / "node" / "pods").is_dir() and any((layout.kube / "node" / "pods").iterdir())
        if pods or remains(layout, up):
            result.was_running = True
            report("stopping what the supervisor left")
        stop_remains(layout, up)
        if pods:
            end_pods_of(layout.kube / "node")
        files = (layout.up_file, layout.resident_file, layout.options, layout.supervisor_lock)
        for leftover in (*files, layout.installation, layout.kubeconfig, layout.pods_token):
            leftover.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            layout.run.rmdir()
        if delete_data:
            result.deleted = _delete(layout)
    result.took_s = time.monotonic() - began
    return result


def _stop_supervisor(layout: Layout, timeout_s: float, result: Stopped, report: Callable[[str], None]) -> None:
    up = read_up(layout.up_file)
    supervisor = up.process("supervisor") if up else None
    if supervisor is None or not supervisor.alive():
        return
    result.was_running = True
    report(f"stopping (supervisor pid {supervisor.pid})")
    with contextlib.suppress(ProcessLookupError):
        os.kill(supervisor.pid, signal.SIGTERM)
    if up is not None and up.kubeconfig:
        timeout_s = max(timeout_s, _PODS_END_S)
    if not processes.wait_gone([supervisor], timeout_s):
        report("the supervisor does not answer; ending it")
        processes.end(supervisor, grace_s=0.0)


def _delete(layout: Layout) -> list[str]:
    deleted = []
    for path in (*layout.data, layout.logs):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.exists() or path.is_symlink():
            path.unlink()
        else:
            continue
        deleted.append(str(path))
    return deleted
