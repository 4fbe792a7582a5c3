"""What the RayCluster controller is put through: growing, suspension, the loss of a head, new templates, deletion."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from rayctl.cluster import keys
from rayctl.cluster.controller import RayClusterController
from rayctl.cluster.status import readiness
from rayctl.core.controller import Controller
from rayctl.kube.calls import Call
from rayctl.kube.errors import KubernetesError
from rayctl.kube.kinds import PODS, RAY_CLUSTERS, SECRETS, SERVICES
from rayctl.manifests import crd_documents
from rayctl.testkit.simulation import Invariant, Workload
from rayctl.testkit.world import Happened, World

NAME = "one"
REDIS = {"redisAddress": "redis:6379", "redisPassword": {"value": "p"}}


def template(image: str = "ray:2.60.0") -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "ray", "image": image}], "terminationGracePeriodSeconds": 5}}


def group(replicas: int, name: str = "g", image: str = "ray:2.60.0", **more: Any) -> dict[str, Any]:
    limits = {"minReplicas": 0, "maxReplicas": 9}
    return {"groupName": name, "replicas": replicas, **limits, "template": template(image), **more}


def cluster(groups: Sequence[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": NAME},
        "spec": {
            "rayVersion": "2.60.0",
            "headGroupSpec": {"template": template()},
            "workerGroupSpecs": list(groups),
            **spec,
        },
    }


def pods(world: World, node_type: str = "") -> list[dict[str, Any]]:
    """All pods with the cluster's label, of one type if it is given."""
    found = [
        pod for pod in world.objects(PODS, "default") if pod["metadata"].get("labels", {}).get(keys.CLUSTER) == NAME
    ]
    return [pod for pod in found if not node_type or pod["metadata"]["labels"].get(keys.NODE_TYPE) == node_type]


async def kubelet(world: World) -> None:
    """Pods are placed and become ready after a while, end some seconds after they are deleted; cleanups succeed."""
    transport = world.transport("kubelet")
    busy: set[str] = set()
    tasks: list[asyncio.Task[None]] = []

    async def live(pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        path = PODS.path(metadata["namespace"], metadata["name"])
        await asyncio.sleep(world.chance.uniform(0.2, 2.0))
        done = metadata["labels"].get(keys.NODE_TYPE) == keys.CLEANUP
        phase = "Succeeded" if done else "Running"
        condition = {"type": "Ready", "status": "False" if done else "True"}
        target = {"apiVersion": "v1", "kind": "Node", "name": "node"}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": metadata["name"]}, "target": target}
        body = {"metadata": {"uid": metadata["uid"]}, "status": {"phase": phase, "conditions": [condition]}}
        try:
            await transport.request(Call("POST", path + "/binding", body=binding))
            await world.patch(PODS, metadata["name"], body, "status", "kubelet", metadata["namespace"])
        except KubernetesError:
            return

    async def end(pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        await asyncio.sleep(world.chance.uniform(0.2, 4.0))
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": metadata["uid"]},
        }
        try:
            await transport.request(Call("DELETE", PODS.path(metadata["namespace"], metadata["name"]), body=body))
        except KubernetesError:
            return

    def look(happened: Happened) -> None:
        if happened.plural != "pods" or happened.type == "DELETED":
            return
        pod = dict(happened.new)
        going = bool(pod["metadata"].get("deletionTimestamp"))
        mark = f"{pod['metadata']['uid']}{going}"
        if mark not in busy:
            busy.add(mark)
            tasks.append(asyncio.ensure_future(end(pod) if going else live(pod)))

    world.on_change(look)
    await asyncio.sleep(1e9)


# Scripts.


async def grows(world: World) -> None:
    """2 workers, then 4, then a second group instead and one worker."""
    await world.create(cluster([group(2)]))
    await world.until(lambda: len(pods(world)) == 3, 120)
    await world.patch(RAY_CLUSTERS, NAME, {"spec": {"workerGroupSpecs": [group(4)]}})
    await world.until(lambda: len(pods(world)) == 5, 120)
    await world.patch(RAY_CLUSTERS, NAME, {"spec": {"workerGroupSpecs": [group(1, "h"), group(1)]}})


async def suspended(world: World) -> None:
    """Suspended while it comes up, resumed while it goes."""
    await world.create(cluster([group(2)]))
    await world.until(lambda: len(pods(world)) >= 2, 120)
    await world.patch(RAY_CLUSTERS, NAME, {"spec": {"suspend": True}})
    await world.until(lambda: not pods(world), 120)
    await world.patch(RAY_CLUSTERS, NAME, {"spec": {"suspend": False, "workerGroupSpecs": [group(1, "h"), group(1)]}})


async def loses_its_head(world: World) -> None:
    """Head and a worker are deleted by somebody, a worker fails."""
    await world.create(cluster([group(1, "h"), group(1)]))
    await world.until(lambda: is_ready(world), 120)
    await world.delete(PODS, f"{NAME}-head")
    await world.until(lambda: is_ready(world), 120)
    worker = pods(world, "worker")[0]["metadata"]["name"]
    await world.patch(PODS, worker, {"status": {"phase": "Failed", "reason": "Evicted"}}, "status")


async def recreated(world: World) -> None:
    """All templates change, with the strategy Recreate."""
    old = cluster([group(2, "h", "ray:old"), group(1, image="ray:old")], upgradeStrategy={"type": "Recreate"})
    await world.create(old)
    await world.until(lambda: is_ready(world), 120)
    await world.patch(RAY_CLUSTERS, NAME, {"spec": {"workerGroupSpecs": [group(1, "h"), group(1)]}})


async def anew(world: World) -> None:
    """A cluster with state in Redis is deleted and made anew under its name at once it is gone."""
    await world.create(cluster([group(2)], gcsFaultToleranceOptions=REDIS))
    await world.until(lambda: len(pods(world)) >= 2, 120)
    await world.delete(RAY_CLUSTERS, NAME)
    await world.until(lambda: world.object(RAY_CLUSTERS, NAME) is None, 600)
    await world.create(cluster([group(1, "h"), group(1)]))


async def several_hosts(world: World) -> None:
    """A group with two hosts each: a host is lost, and a replica more is wanted."""
    await world.create(cluster([group(1, "h"), group(1, numOfHosts=2)]))
    await world.until(lambda: is_ready(world), 120)
    hosts = [pod for pod in pods(world, "worker") if pod["metadata"]["labels"][keys.GROUP] == "g"]
    await world.delete(PODS, hosts[0]["metadata"]["name"])
    await world.patch(RAY_CLUSTERS, NAME, {"spec": {"workerGroupSpecs": [group(1, "h"), group(2, numOfHosts=2)]}})


def is_ready(world: World) -> bool:
    found = world.object(RAY_CLUSTERS, NAME)
    return found is not None and readiness(found).ready


def goal(hosts: int = 1, replicas: int = 1) -> Callable[[World], str]:
    """One head, one worker in h, and so many in g; and the cluster says that it is ready."""

    def lacking(world: World) -> str:
        found = world.object(RAY_CLUSTERS, NAME)
        if found is None:
            return "there is no cluster"
        uid = found["metadata"]["uid"]
        counts: dict[str, int] = {}
        for pod in pods(world):
            if pod["metadata"]["ownerReferences"][0]["uid"] != uid:
                return f"{pod['metadata']['name']} belongs to another cluster"
            counts[pod["metadata"]["labels"].get(keys.GROUP, "")] = (
                counts.get(pod["metadata"]["labels"].get(keys.GROUP, ""), 0) + 1
            )
        if counts != {"headgroup": 1, "h": 1, "g": hosts * replicas}:
            return f"there are {counts}"
        if world.object(SERVICES, f"{NAME}-head-svc") is None or world.object(SECRETS, NAME) is None:
            return "the service or the token is missing"
        images = {pod["spec"]["containers"][0]["image"] for pod in pods(world)}
        if images != {"ray:2.60.0"}:
            return f"images are {images}"
        told = readiness(found)
        return "" if told.ready else f"the cluster says {told.reason}: {told.message}"

    return lacking


# Invariants.


def _one_head(world: World, happened: Happened) -> str:
    heads = pods(world, "head")
    return f"{len(heads)} heads" if len(heads) > 1 else ""


def _foreign(world: World, happened: Happened) -> str:
    if happened.actor != "process" or happened.type == "ADDED" or happened.plural != "pods":
        return ""
    owner = (happened.old or happened.new)["metadata"].get("ownerReferences", [{}])[0]
    return "" if owner.get("kind") == "RayCluster" else f"{happened.name} belongs to nobody"


def _not_too_many(world: World, happened: Happened) -> str:
    staying = [pod for pod in pods(world, "worker") if not pod["metadata"].get("deletionTimestamp")]
    return f"{len(staying)} workers" if len(staying) > 6 else ""


def _told_the_truth(world: World, happened: Happened) -> str:
    if happened.plural != "rayclusters" or happened.actor != "process" or happened.type != "MODIFIED":
        return ""
    state, before = ((item or {}).get("status", {}).get("state") for item in (happened.new, happened.old))
    if state != "ready" or before == "ready":
        return ""
    return "" if pods(world, "head") else "it says ready without a head"


def _token_stays(world: World, happened: Happened) -> str:
    changed = happened.plural == "secrets" and happened.type == "MODIFIED"
    return "the token was changed" if changed else ""


INVARIANTS = (
    Invariant("never two heads", _one_head),
    Invariant("only own pods are touched", _foreign),
    Invariant("never too many workers", _not_too_many),
    Invariant("what is told is so", _told_the_truth),
    Invariant("a token is made once", _token_stays),
)


def all_workloads() -> list[Workload]:
    """Return all of them."""

    def controllers(world: World) -> Sequence[Controller]:
        return [RayClusterController(world.transport("asking"))]

    def surroundings(world: World) -> Iterable[Awaitable[None]]:
        return [kubelet(world)]

    scripts: dict[str, tuple[Callable[[World], Awaitable[None]], Callable[[World], str]]] = {
        "grows": (grows, goal()),
        "suspended": (suspended, goal()),
        "loses its head": (loses_its_head, goal()),
        "recreated": (recreated, goal()),
        "deleted and made anew": (anew, goal()),
        "several hosts": (several_hosts, goal(2, 2)),
    }
    definitions = crd_documents("RayCluster")
    return [
        Workload(name, definitions, controllers, script, wanted, INVARIANTS, surroundings, None, 900.0, 150.0)
        for name, (script, wanted) in scripts.items()
    ]
