"""The resident: a Ray driver that stays connected for ever.

Ray keeps no warm workers for a job that has ended, and actors keep the job they were created from. So one long-lived
job owns the control plane's actors: this process. It installs the services, looks at them every few seconds and
repairs them. It is not afraid of dying: the C++ part of Ray ends a driver 60 s after its cluster went away, and the
supervisor starts the next one.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rayctl.selfhost.logs import tell_on_stdout
from rayctl.selfhost.services import Problem, Services, load
from rayctl.selfhost.upfile import Report

__all__ = ["Resident", "main"]

log = logging.getLogger("rayctl.resident")

CHECK_S = 3.0
HEAD_READY_S = 300.0
# Ray restarts a proxy and Serve a gateway by themselves; only when that has not helped after so many looks do we.
PATIENCE = 3


class Resident:
    """Installs services, reports to a file, checks and repairs.

    Args:
        services: What to install.
        status_file: Where to report: ``{"pid", "state", "reason", "at", "steps", "http_port"}``.
        sleep: Waits between two checks.
    """

    def __init__(self, services: Services, status_file: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        self._services = services
        self._status = Report(status_file)
        self._sleep = sleep
        self._steps: dict[str, float] = {}
        self._failures = 0

    def connect(self) -> None:
        """Connect to the cluster."""
        self._report("starting", "connecting to the cluster")
        self._services.connect()
        self._done("connected", "looking around")

    def start(self) -> None:
        """Install everything; every finished step is reported."""
        for part, step in self._services.order():
            self._report("starting", f"starting the {part}")
            self._services.install(part)
            self._done(step, "checking")
        self._services.check()
        self._report("ready", "")

    def look(self) -> None:
        """Check once, and repair what needs it."""
        try:
            self._services.check()
        except Problem as problem:
            self._failures += 1
            log.warning("check %d failed: %s", self._failures, problem)
            # One missed answer under load is no outage; the state changes with the second.
            if self._failures > 1 or problem.for_good:
                self._report("broken", str(problem))
            if self._failures >= PATIENCE or problem.for_good:
                self._repair(problem)
                return
        else:
            if self._failures:
                log.info("everything answers again")
            self._failures = 0
        if not self._failures:
            self._report("ready", "")

    def _repair(self, problem: Problem) -> None:
        self._report("broken", f"{problem}; repairing the {problem.part}")
        try:
            self._services.install(problem.part)
        except Exception:
            log.exception("repairing the %s failed", problem.part)
        else:
            log.info("repaired the %s", problem.part)
            self._failures = 0

    def run(self) -> None:
        """Start and look after everything until the process is told to end."""
        self.start()
        while True:
            self._sleep(CHECK_S)
            self.look()

    def _done(self, step: str, following: str) -> None:
        self._steps[step] = time.time()
        log.info("%s", step)
        self._report("starting", following)

    def _report(self, state: str, reason: str) -> None:
        document: dict[str, Any] = {
            "pid": os.getpid(),
            "state": state,
            "reason": reason,
            "at": time.time(),
            "steps": self._steps,
            "http_port": self._services.http_port,
        }
        self._status.write(document)


def wait_for_head(ready_file: Path, timeout_s: float = HEAD_READY_S) -> None:
    """Wait until ``ray start`` has said that its node is complete."""
    deadline = time.monotonic() + timeout_s
    while not ready_file.exists():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"the Ray head did not write {ready_file} within {timeout_s:.0f} s")
        time.sleep(0.1)


def _leave_on_sigterm() -> None:
    """Turn SIGTERM into SystemExit.

    Needed again after connecting: Ray puts a crash handler in its place, which ends the process after three seconds.
    """

    def leave(*_: object) -> None:
        signal.alarm(0)
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)


def main() -> int:
    """Entry point of the resident process."""
    parser = argparse.ArgumentParser(prog="rayctl-resident")
    parser.add_argument("--address", required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--status-file", type=Path, required=True)
    parser.add_argument("--ready-file", type=Path)
    arguments = parser.parse_args()
    tell_on_stdout()
    ready_file: Path | None = arguments.ready_file
    services = load(arguments.address, arguments.http_port, ready_file.parent if ready_file else None)

    _leave_on_sigterm()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        # The imports cost as many seconds as the head needs to start: do them while waiting. (Not in a thread: two
        # threads that import parts of Ray at once see each other's half-made modules.)
        services.preload()
        if ready_file is not None:
            wait_for_head(ready_file)
        resident = Resident(services, arguments.status_file)
        resident.connect()
        _leave_on_sigterm()
        resident.run()
    except SystemExit:
        if ready_file is None:
            # The cluster goes on without us, so leave nothing of ours on it.
            services.remove()
        raise
    except Exception:
        log.exception("the resident failed")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
