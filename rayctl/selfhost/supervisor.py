"""The supervisor: the one process that keeps a Ray head, or the embedded Kubernetes, and the resident alive.

Imports no Ray.

``python -m rayctl.selfhost.supervisor --home DIR``. It observes, lets `plan` decide, acts, and writes ``up.json``.
SIGTERM makes it stop everything that it started and leave; when it is killed instead, its children go on and the next
supervisor adopts them.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rayctl import __version__
from rayctl.errors import RayctlError, Unavailable
from rayctl.selfhost import kubecmd, logs, processes, raycmd
from rayctl.selfhost.down import stop_remains
from rayctl.selfhost.layout import Layout
from rayctl.selfhost.logs import tell_on_stdout
from rayctl.selfhost.machine import Machine
from rayctl.selfhost.options import NETWORK, UpOptions
from rayctl.selfhost.plan import HEAD, KUBE, RESIDENT, Part, Seen, died, plan
from rayctl.selfhost.ports import DEFAULT_PORTS, LOOPBACK, PortClaims, answers
from rayctl.selfhost.system_view import wanted_installation
from rayctl.selfhost.upfile import (
    Report,
    UpFile,
    ensure_private_dir,
    ensure_token,
    file_lock,
    follow_file,
    read_json,
    read_up,
    write_json,
)

__all__ = ["Supervisor", "main"]

log = logging.getLogger("rayctl.supervisor")
_TICK_S = 0.25
_GRACE_S = {HEAD: 6.0, KUBE: 100.0, RESIDENT: 4.0}  # the Kubernetes server ends its pods before
_ATTACHED_GRACE_S = 25.0  # the resident cleans up a cluster that goes on without us


class Supervisor:
    """One supervisor of one home. `run` returns when everything has been stopped, or raises why it cannot start."""

    def __init__(self, layout: Layout, options: UpOptions, environ: Mapping[str, str]) -> None:
        self.layout = layout
        self.options = options
        self.environ = environ
        self.stopping = threading.Event()
        self._attached = options.address is not None
        self._claims = PortClaims()
        self._auth = raycmd.auth_of(layout, environ, attached=self._attached)
        self._popen: dict[str, subprocess.Popen[bytes]] = {}
        self._base = None if self._attached else KUBE if options.kubernetes else HEAD
        names = [name for name in (self._base, RESIDENT) if name is not None]
        self._parts = {name: Part(name) for name in names}
        self._ever_ready = False
        self._driver_env: dict[str, str] = {}
        self._spec: raycmd.HeadSpec | None = None
        self._shared: list[tuple[str, str]] = []
        self._written: object = None
        self._report = Report(layout.up_file)
        self._tokens_trouble = ""
        me = processes.identify(os.getpid())
        self.up = UpFile(
            home=str(layout.home),
            started_at=time.time(),
            since=time.time(),
            release=__version__,
            supervisor=me.to_dict() if me else None,
            token_file=str(layout.token),
            ray_token_file=self._auth.token_file,
            ray_auth_mode=self._auth.mode,
            attached=self._attached,
        )

    # -- start ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start everything and keep it alive until `stopping` is set."""
        try:
            self._prepare()
            while not self.stopping.is_set():
                self._tick(time.monotonic())
                self.stopping.wait(_TICK_S)
        except RayctlError as error:
            self._give_up(error)
            raise
        except Exception as error:
            log.exception("the supervisor failed")
            self._give_up(Unavailable(f"The supervisor failed: {error}", code="supervisor-failed"))
            raise
        self._stop_all()
        self.layout.up_file.unlink(missing_ok=True)

    def _prepare(self) -> None:
        layout = self.layout
        ensure_token(layout.token, line_break=True)
        previous = read_up(layout.up_file)
        if previous is not None and self._adopt(previous):
            log.info("adopted the running children of an earlier supervisor")
            self._publish("starting", "taking over from an earlier supervisor")
            return
        stop_remains(layout, previous)
        for part in self._parts:
            logs.rotate(layout.log(part))
        ports = self._claims.choose(self.options.wanted_ports())
        self.up.moved_ports = {
            name: DEFAULT_PORTS[name]
            for name, port in ports.items()
            if name not in ("gcs", "kubernetes")
            and port != DEFAULT_PORTS[name]
            and getattr(self.options, _option(name)) is None
        }
        self._describe(ports)
        self._publish("starting", "")
        if self._written is None:
            raise Unavailable(
                f"{layout.up_file} cannot be written.",
                code="disk-full",
                hint=f"Is there room on the disk of {layout.home}? {layout.log('supervisor')} says why.",
            )

    def _adopt(self, previous: UpFile) -> bool:
        """Take over children that outlived their supervisor, if they are complete and what is wanted now."""
        try:
            self.options.check_running(previous)
        except RayctlError:
            return False
        if previous.attached != self._attached or not all(previous.alive(part) for part in self._parts):
            return False
        if previous.release != __version__ or not all(self._claims.claim(port) for port in previous.ports.values()):
            return False
        self.options = UpOptions.from_dict(previous.options)
        self._auth = raycmd.Auth(previous.ray_auth_mode, previous.ray_token_file)
        self.up.ray_token_file, self.up.ray_auth_mode = previous.ray_token_file, previous.ray_auth_mode
        for name in self._parts:
            setattr(self.up, name, getattr(previous, name))
        self.up.started_at, self.up.system = previous.started_at, previous.system
        self.up.steps, self.up.parts, self.up.moved_ports = previous.steps, previous.parts, previous.moved_ports
        self._describe(previous.ports)
        now = time.monotonic()
        self._parts = {name: replace(part, alive=True, started_at=now) for name, part in self._parts.items()}
        self._ever_ready = True
        return True

    def _describe(self, ports: dict[str, int]) -> None:
        up, options = self.up, self.options
        up.ports = ports
        if options.kubernetes:
            self._describe_kubernetes(ports)
            return
        up.gcs_address = up.ray_address = options.address or f"{LOOPBACK}:{ports['gcs']}"
        if options.address is not None:
            self._driver_env = raycmd.attach_env(options.address)
            up.http_url = f"http://{LOOPBACK}:{ports['http']}"
            up.options = {"port": ports["http"], "address": options.address, "kubernetes": False}
            return
        ensure_private_dir(self.layout.ray_temp_dir)
        if self._auth.token_file == str(self.layout.ray_token):
            ensure_token(self.layout.ray_token)
        cpus, memory, store = options.sizes(Machine.measure())
        try:
            self._spec = raycmd.HeadSpec(
                ports["gcs"], ports["ray_client"], ports["dashboard"], self.layout.ray_temp_dir, cpus, memory, store
            )
        except ValueError as error:
            raise Unavailable(str(error), code="temp-dir-too-long") from error
        self._driver_env = raycmd.local_driver_env()
        up.ray_temp_dir = str(self.layout.ray_temp_dir)
        self._describe_ports(ports)
        up.options |= {"num_cpus": cpus, "memory": memory, "kubernetes": False}

    def _describe_kubernetes(self, ports: dict[str, int]) -> None:
        layout, up = self.layout, self.up
        sizes = cpus, memory, _ = self.options.sizes(Machine.measure())
        up.ray_token_file, up.ray_auth_mode = str(layout.ray_token), "token"
        ensure_token(layout.ray_token)
        self._describe_ports(ports)
        up.kubernetes_url = f"https://{LOOPBACK}:{ports['kubernetes']}"
        up.kubeconfig = str(layout.kubeconfig)
        network = self.options.network or NETWORK
        up.options |= {"num_cpus": cpus, "memory": memory, "kubernetes": True, "network": network}
        from rayctl.settings import ServiceSettings

        settings = kubecmd.service_settings(self.environ, ServiceSettings.model_fields)
        for name in kubecmd.FOLDERS:
            ensure_private_dir(layout.home / name)
        follow_file(layout.token, layout.pods_token)
        settings["RAYCTL_TOKEN_FILE"] = str(layout.pods_token)
        self._shared = [(path, kind) for path, kind in kubecmd.shared(layout, settings) if os.path.exists(path)]
        wanted = wanted_installation(str(layout.home), settings, sizes, ports, self._shared)
        write_json(layout.installation, wanted)

    def _describe_ports(self, ports: dict[str, int]) -> None:
        self.up.http_url = f"http://{LOOPBACK}:{ports['http']}"
        self.up.ray_client_address = f"ray://{LOOPBACK}:{ports['ray_client']}"
        self.up.dashboard_url = f"http://{LOOPBACK}:{ports['dashboard']}"
        purposes = {"port": "http", "ray_client_port": "ray_client", "dashboard_port": "dashboard"}
        self.up.options = {option: ports[purpose] for option, purpose in purposes.items()}

    # -- observe, plan, act ----------------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        if self._base == KUBE:
            self._follow_tokens()
        seen = self._observe(now)
        decided = plan(seen, now)
        if decided.give_up is not None:
            text = logs.tail(self.layout.log(decided.give_up))
            reason = decided.reason[:1].upper() + decided.reason[1:]
            raise Unavailable(
                f"{reason}. Last lines of {self.layout.log(decided.give_up)}:\n{text}",
                code=f"{decided.give_up}-failed",
                hint="`rayctl up --no-kubernetes` does with a Ray head alone." if self._base == KUBE else None,
            )
        for name in decided.stop:
            log.warning("stopping %s: %s", name, decided.reason)
            self._stop(name)
        for name in decided.start:
            if self.stopping.is_set():
                return
            log.info("starting %s: %s", name, decided.reason)
            self._start(name, now)
        self._ever_ready = self._ever_ready or decided.state == "ready"
        self._publish(decided.state, decided.reason)

    def _follow_tokens(self) -> None:
        trouble = ""
        try:
            follow_file(self.layout.token, self.layout.pods_token)
        except OSError as error:
            trouble = str(error)
            if trouble != self._tokens_trouble:
                log.error("the pods' tokens stay what they were: %s", error)
        self._tokens_trouble = trouble

    def _observe(self, now: float) -> Seen:
        for name, part in self._parts.items():
            process = self.up.process(name)
            popen = self._popen.get(name)
            if not part.alive or (popen.poll() is None if popen else process is not None and process.alive()):
                continue
            last_exit = _exit_text(popen)
            log.warning("%s ended: %s", name, last_exit)
            self._stop(name)  # what it left behind
            self._parts[name] = died(part, now, last_exit)
            self._remember(name, "dead", last_exit)
        resident = self.up.process(RESIDENT)
        report = read_json(self.layout.resident_file) if self._parts[RESIDENT].alive else None
        if report is None or resident is None or report.get("pid") != resident.pid:
            report = {}
        head_ready = self._base is None or self._is_base_ready()
        if head_ready and self._base is not None and self._part_alive(self._base):
            self.up.steps.setdefault(self._base, time.time())
        self.up.steps |= report.get("steps") or {}
        self.up.system = report.get("system") or self.up.system
        port = report.get("http_port")
        if isinstance(port, int) and port != self.up.ports["http"]:
            self.up.ports["http"] = self.up.options["port"] = port
            self.up.http_url = f"http://{LOOPBACK}:{port}"
        # Not what it says: while the disk is full it cannot say anything, but its file is touched.
        at = self.layout.resident_file.stat().st_mtime if report else None
        return Seen(
            head=self._parts[self._base] if self._base is not None else None,
            resident=self._parts[RESIDENT],
            head_ready=head_ready,
            services=str(report.get("state", "starting")),
            services_reason=str(report.get("reason", "")),
            heartbeat_at=now - max(0.0, time.time() - at) if at is not None else None,
            ever_ready=self._ever_ready,
        )

    def _is_base_ready(self) -> bool:
        if self._base == HEAD:
            return self.layout.ray_ready_file.exists()
        known = KUBE in self.up.steps and self._part_alive(KUBE)
        return known or (self.layout.kubeconfig.exists() and answers(self.up.ports["kubernetes"]))

    def _forget_other_address(self, kubeconfig: Path) -> None:
        """Take a kubeconfig away that names another port than the server is going to have.

        One that names it stays: while the server starts again, its readers are told that it does not answer.
        """
        if kubeconfig.exists() and f":{self.up.ports['kubernetes']}\n" not in kubeconfig.read_text():
            kubeconfig.unlink()

    def _part_alive(self, name: str) -> bool:
        part = self._parts.get(name)
        return part is not None and part.alive

    def _start(self, name: str, now: float) -> None:
        layout = self.layout
        if name == HEAD and self._spec is not None:
            logs.remove_sessions(layout.ray_temp_dir)
            ensure_private_dir(layout.ray_temp_dir)
            self.up.steps = {}
            argv = raycmd.head_argv(sys.executable, self._spec)
            env = raycmd.head_env(layout, self.environ, self._auth, self._spec.num_cpus)
        elif name == KUBE:
            self.up.steps = {}
            self._forget_other_address(layout.kubeconfig)
            argv = kubecmd.kube_argv(
                sys.executable,
                layout,
                self.up.ports["kubernetes"],
                self.up.options["network"],
                [path for path, _ in self._shared],
            )
            env = kubecmd.child_env(layout, self.environ)
        elif self._base == KUBE:
            self.up.steps = {step: at for step, at in self.up.steps.items() if step == KUBE}
            layout.resident_file.unlink(missing_ok=True)
            argv = kubecmd.system_argv(sys.executable, layout)
            env = kubecmd.child_env(layout, self.environ)
        else:
            self.up.steps = {step: at for step, at in self.up.steps.items() if step == HEAD}
            layout.resident_file.unlink(missing_ok=True)
            argv = raycmd.resident_argv(
                sys.executable,
                gcs_address=self.up.gcs_address,
                http_port=self.up.ports["http"],
                status_file=layout.resident_file,
                ready_file=None if self._attached else layout.ray_ready_file,
            )
            env = raycmd.resident_env(layout, self.environ, self._auth, self._driver_env, attached=self._attached)
        logs.rotate_if_large(layout.log(name))
        popen, process = processes.spawn(argv, env=env, log=layout.log(name), cwd=layout.home)
        self._popen[name] = popen
        setattr(self.up, name, process.to_dict())
        part = self._parts[name]
        self._parts[name] = replace(part, alive=True, started_at=now)
        self._remember(name, "running", part.last_exit, restarted=part.started_at is not None)

    def _stop(self, name: str) -> list[processes.ProcessId]:
        popen = self._popen.get(name)
        left = processes.clean_up(
            self.up.process(name),
            path=self.layout.ray_temp_dir if name == HEAD else None,
            marker=raycmd.head_marker(self.layout) if name == HEAD else None,
            grace_s=_ATTACHED_GRACE_S if self._attached else _GRACE_S[name],
            reap=popen.poll if popen else lambda: None,
        )
        if left:
            log.error("could not end %s of %s", [process.pid for process in left], name)
        return left

    # -- report and leave --------------------------------------------------------------------------------------------

    def _remember(self, name: str, state: str, last_exit: str, *, restarted: bool = False) -> None:
        before = self.up.parts.get(name, {})
        self.up.parts[name] = {
            "state": state,
            "since": time.time(),
            "restarts": int(before.get("restarts", 0)) + int(restarted),
            "last_exit": last_exit,
        }

    def _publish(self, state: str, reason: str) -> None:
        if state != self.up.state:
            log.info("state %s -> %s %s", self.up.state, state, reason)
            self.up.state, self.up.since = state, time.time()
        self.up.reason = reason
        document = self.up.to_dict()
        snapshot = repr(document)
        if (snapshot != self._written or not self.layout.up_file.exists()) and self._report.write(document):
            self._written = snapshot

    def _stop_all(self, reason: str = "asked to stop") -> None:
        self._publish("stopping", reason)
        for name in (RESIDENT, HEAD, KUBE):
            if name in self._parts:
                self._stop(name)
        self.layout.resident_file.unlink(missing_ok=True)
        if self._base == KUBE:
            self.layout.kubeconfig.unlink(missing_ok=True)
        if self._base == HEAD:
            logs.remove_sessions(self.layout.ray_temp_dir)
        self._claims.release()

    def _give_up(self, error: RayctlError) -> None:
        log.error("giving up: %s", error)
        self._stop_all("giving up")
        self.up.ray = self.up.kube = self.up.resident = None
        self.up.error = error.to_problem()
        self._publish("failed", error.message.split("\n", 1)[0])


def _option(purpose: str) -> str:
    return "port" if purpose == "http" else f"{purpose}_port"


def _exit_text(popen: subprocess.Popen[bytes] | None) -> str:
    code = popen.returncode if popen else None
    if code is None:
        return "ended while nobody watched"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def main() -> int:
    """Entry point of the supervisor process."""
    parser = argparse.ArgumentParser(prog="rayctl-supervisor")
    parser.add_argument("--home", type=Path, required=True)
    arguments = parser.parse_args()
    tell_on_stdout()
    layout = Layout.of(arguments.home)
    options = UpOptions.from_dict(read_json(layout.options) or {})
    supervisor = Supervisor(layout, options, dict(os.environ))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stopping.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with file_lock(layout.supervisor_lock, 10.0, "Another supervisor of this home is running."):
            supervisor.run()
    except RayctlError as error:
        log.error("%s", error.message)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
