"""One pod's life on this node: look, plan, act, report, until nothing of it is left. Decisions are in `plan` and
`status`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import shutil
import signal
import time
from collections.abc import Mapping
from typing import Any

from rayctl.embedded.apiserver.schema.formats import parse_time
from rayctl.embedded.kubelet.account import Account
from rayctl.embedded.kubelet.containers import Container
from rayctl.embedded.kubelet.environment import Facts, Missing
from rayctl.embedded.kubelet.execution import run_inside
from rayctl.embedded.kubelet.host import Host
from rayctl.embedded.kubelet.launching import Surroundings, build_launch, commands_of, pod_folder, texts_of
from rayctl.embedded.kubelet.plan import ContainerSeen, PodSeen, Step, plan_pod
from rayctl.embedded.kubelet.pod_files import PodFiles
from rayctl.embedded.kubelet.prober import Prober
from rayctl.embedded.kubelet.processes import holding, send, strays
from rayctl.embedded.kubelet.rewriting import ray_ports, serve_port
from rayctl.embedded.kubelet.spec import ContainerSpec, PodSpec, refusal
from rayctl.embedded.kubelet.status import pod_status
from rayctl.embedded.kubelet.stopping import Stopping
from rayctl.kube.errors import KubernetesError

__all__ = ["PodWorker"]

_log = logging.getLogger(__name__)

ORPHAN_GRACE_S = 1
"""Seconds that a pod gets which the API no longer has."""


class PodWorker:
    """Args: what the pods share; the pod as it was when it came to this node.

    Attributes:
        spec: The pod.
        done: Nothing of it is left on this machine.
    """

    def __init__(self, host: Host, spec: PodSpec) -> None:
        self.spec = spec
        self.done = False
        self._host = host
        self._woken = asyncio.Event()
        self._folder = host.pods / spec.uid
        self._short = pod_folder(host.short, spec.uid)
        mounted = host.network.mode == "netns"
        place = self._folder / "account" if mounted else self._short / "a"
        self.account = Account(
            host.transport, spec, place, mounted, host.api_place, self.refresh, host.timing.token_share
        )
        self.files = PodFiles(host, spec, self._folder, self._short, self.account.token)
        self._gone_at: float | None = None
        self._failed: tuple[str, str] | None = None
        self._sandbox_trouble: tuple[str, str] | None = None
        self._sandbox_tried_at = 0.0
        self._sandbox = False
        self._troubles: dict[str, tuple[tuple[str, str], float]] = {}
        self._waiting_for_names: dict[str, float] = {}
        self._stopping: dict[str, Stopping] = {}
        self._probers: dict[str, Prober] = {}
        self._document: Mapping[str, Any] = spec.document
        self._began_at = time.time()
        host.store_pod(spec, self._folder)
        inside = host.network.mode == "netns"
        self.containers = {
            found.name: Container(self._folder / "containers" / found.name, self.wake, inside)
            for found in spec.containers
        }
        text = refusal(spec, host.shared)
        if text is not None:
            self._failed = ("NotAllowed", text)

    def wake(self) -> None:
        """Have the pod looked at now."""
        self._woken.set()

    def end_here(self) -> None:
        """End the pod on this machine though the API wants it: the kubelet is about to end."""
        self.take(None)

    def take(self, document: Mapping[str, Any] | None) -> None:
        """Take a newer state of the pod; None: the API no longer has it."""
        if document is None:
            self._gone_at = self._gone_at or time.time()
        else:
            self._document = document
        self.wake()

    async def run(self) -> None:
        """Live until the pod has gone."""
        for container in self.spec.containers:
            if self.containers[container.name].running:
                self._probe(container, adopted=True)
        while not self.done:
            self._woken.clear()
            try:
                wait = await self._pass()
            except (OSError, KubernetesError) as error:
                _log.warning("pod %s/%s: %s", self.spec.namespace, self.spec.name, error)
                wait = self._host.timing.retry_s
            if not self.done:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), wait)

    async def _pass(self) -> float | None:
        seen = self._look()
        plan = plan_pod(seen, time.time(), self._host.timing)
        for step in plan.steps:
            await self._act(step)
        if self.done:
            return None
        if any(step.do in ("sandbox", "start", "fail") for step in plan.steps):
            seen = self._look()
            self.wake()
        await self._report(seen)
        return None if plan.next_check_at is None else max(0.01, plan.next_check_at - time.time())

    # -- look

    def _look(self) -> PodSeen:
        started = (self._document.get("status") or {}).get("startTime")
        return PodSeen(
            spec=self.spec,
            containers={found.name: self._look_at(found) for found in self.spec.containers},
            sandbox=self._sandbox,
            ending_s=self._ending_s(),
            began_at=parse_time(started).timestamp() if started else self._began_at,
            failed=self._failed,
            sandbox_trouble=self._sandbox_trouble,
            sandbox_tried_at=self._sandbox_tried_at,
        )

    def _ending_s(self) -> float | None:
        if self._gone_at is not None:
            return ORPHAN_GRACE_S
        metadata = self._document["metadata"]
        if metadata.get("deletionTimestamp"):
            return float(metadata.get("deletionGracePeriodSeconds") or 0)
        return None

    def _look_at(self, spec: ContainerSpec) -> ContainerSeen:
        container = self.containers[spec.name]
        if not container.running:
            self._container_ended(spec.name)
        prober = self._probers.get(spec.name)
        trouble = self._troubles.get(spec.name)
        runs = container.runs
        return ContainerSeen(
            running=container.running,
            attempt=container.attempt,
            row=container.row,
            started_at=container.started_at,
            last=runs[-1] if runs else None,
            before_last=runs[-2] if len(runs) > 1 else None,
            started=prober is not None and prober.health.started,
            ready=prober is not None and prober.health.ready and spec.name not in self._stopping,
            unhealthy="" if prober is None else prober.health.unhealthy,
            stopping=spec.name in self._stopping,
            trouble=None if trouble is None else trouble[0],
            tried_at=0.0 if trouble is None else trouble[1],
        )

    def _container_ended(self, name: str) -> None:
        prober = self._probers.pop(name, None)
        if prober is not None:
            prober.stop()
        stopping = self._stopping.pop(name, None)
        if stopping is not None:
            stopping.ended.set()

    # -- act

    async def _act(self, step: Step) -> None:
        if step.do == "sandbox":
            await self._set_up()
        elif step.do == "start":
            await self._start(next(found for found in self.spec.containers if found.name == step.container), step)
        elif step.do == "stop":
            self._stop(step)
        elif step.do == "fail":
            self._failed = (step.why, "Pod was active on the node longer than the specified deadline")
        else:
            await self._tear_down()

    async def _set_up(self) -> None:
        self._sandbox_tried_at = time.time()
        texts = [text for container in self.spec.containers for text in texts_of(container)]
        try:
            ports = ray_ports(texts)
            serve = serve_port(self.spec.document) if ports else None
            place = await self._host.network.attach(self.spec.uid, ports if serve is None else (*ports, serve))
            self.files.prepare()
            await self.account.prepare()
            self.files.write_live(self._facts(place.ip))
            await self._host.annotate(self.spec, place)
        except Missing as error:
            self._sandbox_trouble = ("FailedMount", f"MountVolume.SetUp failed: {error}")
            self._tell("Warning", "FailedMount", str(error))
        except (OSError, ValueError, KubernetesError) as error:
            self._sandbox_trouble = ("FailedCreatePodSandBox", str(error))
            self._tell("Warning", "FailedCreatePodSandBox", str(error))
        else:
            self._sandbox, self._sandbox_trouble = True, None
            self.files.write_hosts()

    async def _start(self, spec: ContainerSpec, step: Step) -> None:
        container = self.containers[spec.name]
        now = time.time()
        try:
            self.files.write_live(self._facts())
            launch = build_launch(self.spec, spec, self._around(spec), step.attempt)
        except LookupError as error:
            first = self._waiting_for_names.setdefault(spec.name, now)
            if now < first + self._host.timing.name_wait_s:
                self._troubles[spec.name] = (("ContainerCreating", str(error)), now - self._host.timing.retry_s + 0.2)
                return
            launch = build_launch(self.spec, spec, self._around(spec, patient=False), step.attempt)
        except Missing as error:
            self._troubles[spec.name] = (("CreateContainerConfigError", str(error)), now)
            self._tell("Warning", "Failed", f"Error: {error}")
            return
        try:
            await container.start(launch, step.attempt, step.row, self.files.private(spec.name, launch))
        except OSError as error:
            self._troubles[spec.name] = (("CreateContainerError", str(error)), now)
            self._tell("Warning", "Failed", f"Error: {error}")
            return
        self._troubles.pop(spec.name, None)
        self._waiting_for_names.pop(spec.name, None)
        self._tell("Normal", "Started", f"Started container {spec.name}")
        if container.running:
            self._probe(spec)

    def _probe(self, spec: ContainerSpec, adopted: bool = False) -> None:
        container = self.containers[spec.name]
        place = self._host.network.known(self.spec.uid)
        before = self._reported(spec.name) if adopted else {}

        async def execute(words: list[str], timeout_s: float) -> tuple[int, str]:
            return await run_inside(container, commands_of(self.spec, spec, self._around(spec))(words), timeout_s)

        prober = Prober(
            spec=spec,
            started_at=container.started_at,
            address="" if place is None else place.ip,
            ports={} if place is None else place.ports,
            execute=execute,
            changed=self.wake,
            told=lambda text: self._tell("Warning", "Unhealthy", text),
            ready_before=bool(before.get("ready")),
            started_before=bool(before.get("started")),
        )
        self._probers[spec.name] = prober
        prober.start()

    def _reported(self, name: str) -> Mapping[str, Any]:
        """Return what the API says of a container, if it is about the run that still goes on."""
        status = self._document.get("status") or {}
        every = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
        identity = f"rayctl://{self.spec.uid}/{name}/{self.containers[name].attempt}"
        return next((found for found in every if found.get("containerID") == identity), {})

    def _stop(self, step: Step) -> None:
        known = self._stopping.get(step.container)
        if known is not None:
            known.shorten(step.grace_s)
            return
        container = self.containers[step.container]
        spec = next(found for found in self.spec.containers if found.name == step.container)
        self._tell("Normal", "Killing", f"Stopping container {spec.name}: {step.why}")
        hook = None if spec.pre_stop is None else functools.partial(self._pre_stop, spec)
        self._stopping[step.container] = Stopping(container, step.grace_s, hook, self._host.timing, self._sweep)

    async def _pre_stop(self, spec: ContainerSpec, timeout_s: float) -> str:
        assert spec.pre_stop is not None
        action = spec.pre_stop
        try:
            if action.get("sleep"):
                await asyncio.sleep(float(action["sleep"].get("seconds", 0)))
            elif action.get("exec"):
                words = [str(word) for word in action["exec"].get("command") or ()]
                command = commands_of(self.spec, spec, self._around(spec))(words)
                code, text = await run_inside(self.containers[spec.name], command, timeout_s)
                if code:
                    self._tell("Warning", "FailedPreStopHook", f"PreStopHook failed with {code}: {text[:200]}")
        except (OSError, Missing, asyncio.TimeoutError) as error:
            self._tell("Warning", "FailedPreStopHook", f"PreStopHook failed: {error or 'timed out'}")
            return str(error)
        return ""

    async def _sweep(self) -> None:
        """Kill what belongs to the pod and has no shim any more."""
        folders = [str(self._folder), str(self._short)]
        with holding(self._host.network.namespace(self.spec.uid)) as net:
            for _ in range(100):
                left = await asyncio.to_thread(strays, f"RAYCTL_POD_UID={self.spec.uid}", folders, net)
                if not left:
                    return
                for process in left:
                    send(process.pid, process.start_time, signal.SIGKILL)
                await asyncio.sleep(0.05)
        raise OSError(f"processes that cannot be killed: {[process.pid for process in left]}")

    async def _tear_down(self) -> None:
        await self._sweep()
        # The last word about the containers, for whoever watches; the object goes right after it.
        with contextlib.suppress(KubernetesError):
            await self._report(self._look())
        self.account.release()
        self.files.remove()
        await self._host.network.detach(self.spec.uid)
        shutil.rmtree(self._short, ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._gone_at is None:
            await self._host.finish(self.spec)
        self.done = True

    # -- report

    async def _report(self, seen: PodSeen) -> None:
        if self._gone_at is not None:
            return
        place = self._host.network.known(self.spec.uid)
        await self._host.report(
            self.spec,
            lambda before: pod_status(
                seen, before, "" if place is None else place.ip, "127.0.0.1", self._host.timing, time.time()
            ),
        )

    def _tell(self, kind: str, reason: str, message: str) -> None:
        self._host.tell(self.spec, kind, reason, message)

    def _facts(self, ip: str = "") -> Facts:
        place = self._host.network.known(self.spec.uid)
        address = ip or ("" if place is None else place.ip)
        return Facts(self._document, address, "127.0.0.1", self._host.node_name, self._host.capacity)

    def refresh(self) -> None:
        """Have ConfigMaps, Secrets and names of Services in the pod follow the API."""
        if not self._sandbox or self._ending_s() is not None:
            return
        try:
            self.files.write_live(self._facts())
            self.files.write_hosts()
        except (Missing, OSError) as error:
            _log.info("pod %s/%s: %s", self.spec.namespace, self.spec.name, error)

    def _around(self, spec: ContainerSpec, patient: bool = True) -> Surroundings:
        place = self._host.network.known(self.spec.uid)
        assert place is not None
        host = self._host
        return Surroundings(
            place=place,
            mode=host.network.mode,
            namespace=host.network.namespace(self.spec.uid),
            environment=host.images.find(str(spec.document.get("image", ""))),
            facts=self._facts(),
            folder=self._folder,
            short=self._short,
            programs=host.programs,
            volumes=self.files.volumes,
            config_map=lambda name: host.config_map_text(self.spec.namespace, name),
            secret=lambda name: host.secret_text(self.spec.namespace, name),
            service=host.service_address
            if patient
            else lambda namespace, name: host.service_address(namespace, name) or "",
            hidden=host.hidden,
            account=self.account.folder,
            api=self.account.variables,
        )

    def release(self) -> None:
        """Let the pod go on without this kubelet."""
        self.account.release()
        for prober in self._probers.values():
            prober.stop()
        for stopping in self._stopping.values():
            stopping.task.cancel()
        for container in self.containers.values():
            container.close()
