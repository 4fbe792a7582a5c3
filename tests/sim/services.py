"""What the RayService controller is put through: switches, failures, edits taken back, half-way changes, suspension."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rayctl.core.controller import Controller
from rayctl.core.execute import ServePort
from rayctl.core.plan import Ref
from rayctl.errors import Unavailable
from rayctl.kube.calls import Call
from rayctl.kube.errors import KubernetesError
from rayctl.kube.kinds import PODS, RAY_CLUSTERS, RAY_SERVICES, SERVICES
from rayctl.manifests import crd_documents
from rayctl.service.controller import RayServiceController
from rayctl.testkit.process import PROCESS
from rayctl.testkit.simulation import Invariant, Workload
from rayctl.testkit.world import Happened, World

NAME = "chat"
CONFIG = json.dumps({"applications": [{"name": "app", "import_path": "app:app"}]})


def cluster_spec(image: str) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "ray", "image": image}]}}
    group = {"groupName": "g", "replicas": 1, "minReplicas": 0, "maxReplicas": 3, "template": template}
    return {"rayVersion": "2.60.0", "headGroupSpec": {"template": template}, "workerGroupSpecs": [group]}


def service(image: str = "ray:1", annotations: Mapping[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": NAME, "annotations": dict(annotations or {})},
        "spec": {"serveConfigV2": CONFIG, "rayClusterConfig": cluster_spec(image), **spec},
    }


def image_of(cluster: Mapping[str, Any]) -> str:
    return str(cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"])


# Ray ---------------------------------------------------------------------------------------------------


@dataclass
class FakeServe:
    """The Serve APIs of all clusters of a world: images that contain ``bad`` cannot deploy anything."""

    world: World
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)

    def _head(self, cluster: Mapping[str, Any]) -> bool:
        name = cluster["metadata"]["name"]
        return any(
            pod["metadata"]["labels"].get("ray.io/node-type") == "head" and ready(pod)
            for pod in pods_of(self.world, name)
        )

    async def look(self, cluster: Mapping[str, Any]) -> Mapping[str, Any]:
        uid = cluster["metadata"]["uid"]
        if not self._head(cluster):
            return {"ok": False, "error": "no answer"}
        config = self.configs.get(uid)
        if config is None:
            return {"ok": True, "details": {"applications": {}, "proxies": {}}}
        status = "DEPLOYING" if self.world.wall() - self.since[uid] < 3 else "RUNNING"
        status = "DEPLOY_FAILED" if "bad" in image_of(cluster) else status
        apps = {
            app["name"]: {"status": status, "last_deployed_time_s": self.since[uid], "deployed_app_config": app}
            for app in config["applications"]
        }
        proxies = {"n": {"status": "HEALTHY", "node_ip": "1"}}
        return {
            "ok": True,
            "details": {
                "applications": apps,
                "target_capacity": config.get("target_capacity"),
                "controller_info": {"node_id": "n"},
                "proxies": proxies,
            },
        }

    async def in_flight(self, cluster: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> int | None:
        return 0

    async def call(self, cluster: Ref, request: Mapping[str, Any]) -> Mapping[str, Any]:
        document = self.world.object(RAY_CLUSTERS, cluster.name)
        if document is None or document["metadata"]["uid"] != cluster.uid or not self._head(document):
            raise Unavailable("no answer")
        if self.configs.get(cluster.uid) != request["body"]:
            self.configs[cluster.uid], self.since[cluster.uid] = dict(request["body"]), self.world.wall()
        return {}


def fake_serve(world: World) -> FakeServe:
    """The world's only one: it lives on when the controller dies."""
    found = vars(world).setdefault("fake_serve", None) or FakeServe(world)
    vars(world)["fake_serve"] = found
    return found


def pods_of(world: World, cluster: str) -> list[dict[str, Any]]:
    return [pod for pod in world.objects(PODS, "default") if pod["metadata"]["labels"].get("ray.io/cluster") == cluster]


def ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


async def operator(world: World) -> None:
    """Each RayCluster gets a head and a worker, which become ready after a while, and a status."""
    tasks: list[asyncio.Task[None]] = []
    transport = world.transport("operator")

    async def bring_up(cluster: dict[str, Any]) -> None:
        name, uid = cluster["metadata"]["name"], cluster["metadata"]["uid"]
        owner = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": name, "uid": uid, "controller": True}
        try:
            for node in ("head", "worker"):
                await asyncio.sleep(world.chance.uniform(0.1, 1.0))
                labels = {"ray.io/cluster": name, "ray.io/node-type": node}
                labels["ray.io/serve"] = "true" if node == "worker" else "false"
                metadata = {"name": f"{name}-{node}", "labels": labels, "ownerReferences": [owner]}
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
                await world.create({**pod, "spec": {"containers": [{"name": "r", "image": "r"}]}}, "operator")
                await asyncio.sleep(world.chance.uniform(0.1, 2.0))
                conditions = [{"type": "Ready", "status": "True"}]
                body = {"status": {"phase": "Running", "conditions": conditions, "podIP": "10.0.0.1"}}
                await world.patch(PODS, f"{name}-{node}", body, "status", "operator")
            status = {"state": "ready", "observedGeneration": 1, "desiredWorkerReplicas": 1, "readyWorkerReplicas": 1}
            await world.patch(RAY_CLUSTERS, name, {"status": status}, "status", "operator")
        except KubernetesError:
            return  # it was deleted meanwhile

    async def take_down(cluster: dict[str, Any]) -> None:
        await asyncio.sleep(world.chance.uniform(0.1, 3.0))
        for pod in pods_of(world, cluster["metadata"]["name"]):
            body = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
            path = PODS.path("default", pod["metadata"]["name"])
            try:
                await transport.request(Call("DELETE", path, body=body))
            except KubernetesError:
                continue

    def look(happened: Happened) -> None:
        if happened.plural == "rayclusters" and happened.type == "ADDED":
            tasks.append(asyncio.ensure_future(bring_up(dict(happened.new))))
        if happened.plural == "rayclusters" and happened.type == "DELETED":
            tasks.append(asyncio.ensure_future(take_down(dict(happened.new))))

    world.on_change(look)
    await asyncio.sleep(1e9)


# What must hold ------------------------------------------------------------------------------------------


def pointers(world: World) -> tuple[str, str]:
    found = []
    for kind in ("head", "serve"):
        document = world.object(SERVICES, f"{NAME}-{kind}-svc")
        found.append(str(document["spec"]["selector"]["ray.io/cluster"]) if document else "")
    return found[0], found[1]


def status_of(world: World) -> dict[str, Any]:
    return (world.object(RAY_SERVICES, NAME) or {}).get("status") or {}


def living(world: World) -> list[str]:
    return [
        cluster["metadata"]["name"]
        for cluster in world.objects(RAY_CLUSTERS, "default")
        if not cluster["metadata"].get("deletionTimestamp")
    ]


def suspended(world: World) -> bool:
    conditions = {item["type"]: item["status"] for item in status_of(world).get("conditions") or ()}
    return conditions.get("Suspending") == "True" or conditions.get("Suspended") == "True"


def agree() -> Invariant:
    """Both services lead to the same cluster, or one write ago they began to move as the record says."""
    split: list[int] = []

    def check(world: World, happened: Happened) -> str:
        head, serve = pointers(world)
        counts = happened.actor == PROCESS and happened.plural not in ("leases", "events")
        if not head or not serve or head == serve or suspended(world):
            split.clear()
            return ""
        record = status_of(world).get("switchover") or {}
        if {head, serve} != {record.get("from"), record.get("to")}:
            return f"{head} and {serve} without a record that says so"
        if not split:
            split.append(1)
        elif counts:
            return f"{head} and {serve} for more than one write"
        return ""

    return Invariant("the services agree", check)


def no_third() -> Invariant:
    """Never more than the two clusters of the record; one that a lost request makes late is gone after two minutes."""
    strays: dict[str, float] = {}

    def check(world: World, happened: Happened) -> str:
        record = status_of(world).get("switchover") or {}
        there = [name for name in living(world) if name not in (record.get("from"), record.get("to"))]
        for name in [*strays]:
            if name not in there:
                del strays[name]
        for name in there:
            since = strays.setdefault(name, happened.at)
            if happened.at - since > 120 or name in pointers(world):
                return f"{name} belongs to no switch"
        return ""

    return Invariant("never a third cluster", check)


def _not_too_early(world: World, happened: Happened) -> str:
    if happened.plural != "rayclusters" or happened.actor != PROCESS or suspended(world):
        return ""
    gone = happened.type == "DELETED" or happened.new["metadata"].get("deletionTimestamp")
    name = happened.new["metadata"]["name"]
    if not gone:
        return ""
    if name in pointers(world):
        return f"{name} is deleted while a service leads to it"
    serve = pointers(world)[1]
    serving = [
        pod for pod in pods_of(world, serve) if ready(pod) and pod["metadata"]["labels"]["ray.io/serve"] == "true"
    ]
    return "" if serving or not serve else f"{name} is deleted, and {serve} does not answer"


def _to_the_ready(world: World, happened: Happened) -> str:
    if happened.plural != "services" or happened.actor != PROCESS or happened.type == "DELETED":
        return ""
    name = (happened.new["spec"].get("selector") or {}).get("ray.io/cluster")
    return "" if any(ready(pod) for pod in pods_of(world, str(name))) else f"traffic to {name}, which is not ready"


def invariants() -> tuple[Invariant, ...]:
    return (
        agree(),
        no_third(),
        Invariant("never deleted too early", _not_too_early),
        Invariant("traffic only to what is ready", _to_the_ready),
    )


# Scripts -------------------------------------------------------------------------------------------------


def serving(world: World, image: str = "") -> bool:
    status = status_of(world)
    active = (status.get("activeServiceStatus") or {}).get("rayClusterName")
    cluster = world.object(RAY_CLUSTERS, active) if active else None
    return cluster is not None and pointers(world)[1] == active and (not image or image_of(cluster) == image)


async def edit(world: World, image: str) -> None:
    await world.patch(RAY_SERVICES, NAME, {"spec": {"rayClusterConfig": cluster_spec(image)}})


def pending(world: World) -> str:
    return str((status_of(world).get("pendingServiceStatus") or {}).get("rayClusterName") or "")


async def switched(world: World) -> None:
    """A new image."""
    await world.create(service())
    await world.until(lambda: serving(world), 900)
    await edit(world, "ray:2")


async def failing(world: World) -> None:
    """An image whose applications cannot be deployed."""
    await world.create(service())
    await world.until(lambda: serving(world), 900)
    await edit(world, "bad:2")
    await world.until(lambda: pending(world) != "", 60)


async def taken_back(world: World) -> None:
    """A new image, taken back while it comes up, and wanted again."""
    await world.create(service())
    await world.until(lambda: serving(world), 900)
    await edit(world, "ray:2")
    await world.until(lambda: pending(world) in living(world), 60)
    await edit(world, "ray:1")
    await asyncio.sleep(world.chance.uniform(0, 8))
    await edit(world, "ray:2")


async def changed_twice(world: World) -> None:
    """A second new image, after a while that may fall into any step of the first."""
    await world.create(service())
    await world.until(lambda: serving(world), 900)
    await edit(world, "ray:2")
    await asyncio.sleep(world.chance.uniform(0, 15))
    await edit(world, "ray:3")


async def parked(world: World) -> None:
    """Suspended in the middle of a switch, and resumed at once."""
    await world.create(service())
    await world.until(lambda: serving(world), 900)
    await edit(world, "ray:2")
    await world.until(lambda: pending(world) != "", 60)
    await world.patch(RAY_SERVICES, NAME, {"spec": {"suspend": True}})
    await asyncio.sleep(1)
    await world.patch(RAY_SERVICES, NAME, {"spec": {"suspend": False}})


def settled(image: str, phase: str = "Switched") -> Callable[[World], str]:
    """One cluster with this image, to which everything leads."""

    def goal(world: World) -> str:
        status = status_of(world)
        record = status.get("switchover") or {}
        if record.get("phase") != phase:
            return f"the record says {record.get('phase')} ({record.get('step')}), not {phase}"
        active = status["activeServiceStatus"].get("rayClusterName")
        if pointers(world) != (active, active) or not serving(world, image):
            return f"not serving {image}: {pointers(world)}"
        names = [cluster["metadata"]["name"] for cluster in world.objects(RAY_CLUSTERS, "default")]
        return "" if names == [active] else f"clusters {names}"

    return goal


def _controllers(world: World) -> Sequence[Controller]:
    return [RayServiceController(fake_serve(world))]


def _serve(world: World) -> ServePort:
    return fake_serve(world)


def all_workloads() -> Iterable[Workload]:
    """Return all of them."""
    scripts: list[tuple[Callable[[World], Awaitable[None]], Callable[[World], str]]] = [
        (switched, settled("ray:2")),
        (failing, settled("ray:1", "RolledBack")),
        (taken_back, settled("ray:2")),
        (changed_twice, settled("ray:3")),
        (parked, settled("ray:2")),
    ]
    for script, goal in scripts:
        yield Workload(
            f"service {script.__name__.replace('_', ' ')}",
            crd_documents("RayService", "RayCluster"),
            _controllers,
            script,
            goal,
            invariants(),
            lambda world: (operator(world),),
            _serve,
            settle_s=900.0,
        )
