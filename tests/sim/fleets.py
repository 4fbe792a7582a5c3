"""What fleets and replica sets are put through in simulations, with an operator that makes clusters ready."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from rayctl.core.controller import Controller
from rayctl.fleet.controller import FleetController
from rayctl.kube.calls import MERGE, Call
from rayctl.kube.errors import KubernetesError
from rayctl.kube.kinds import FLEETS, RAY_CLUSTERS, REPLICA_SETS
from rayctl.manifests import crd_documents
from rayctl.replicaset.controller import ReplicaSetController
from rayctl.replicaset.reader import TransportReader
from rayctl.replicaset.status import rfc3339
from rayctl.testkit.simulation import Invariant, Workload
from rayctl.testkit.world import Happened, World
from tests.unit.fleet.worlds import fleet, rolling
from tests.unit.replicaset.worlds import cluster, replica_set, template

READY_S = 2.0
"""A cluster is ready so long after it was made."""
STRANGER = "stranger"


def make_template(image: str, workers: int = 1) -> dict[str, Any]:
    made = template(image=image, workers=workers)
    for group in (made["spec"]["headGroupSpec"], *made["spec"]["workerGroupSpecs"]):
        group["template"]["spec"]["containers"][0]["name"] = "ray"
    return made


async def operator(world: World) -> None:
    """What KubeRay does, as far as fleets can tell: each cluster becomes ready."""
    transport = world.transport("operator")
    while True:
        await asyncio.sleep(1.0)
        for found in world.objects(RAY_CLUSTERS, "default"):
            metadata = found["metadata"]
            made = float(world.wall()) - _age_at(metadata)
            known = (found.get("status") or {}).get("observedGeneration") == metadata["generation"]
            if known or made < READY_S or metadata.get("deletionTimestamp"):
                continue
            at = rfc3339(world.wall())
            ready = [
                {"type": kind, "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": at}
                for kind in ("HeadPodReady", "RayClusterProvisioned")
            ]
            status = {
                "state": "ready",
                "readyWorkerReplicas": 9,
                "observedGeneration": metadata["generation"],
                "conditions": ready,
            }
            path = RAY_CLUSTERS.path("default", metadata["name"], "status")
            try:
                await transport.request(Call("PATCH", path, body={"status": status}, content_type=MERGE))
            except KubernetesError:
                continue


def _age_at(metadata: Any) -> float:
    from rayctl.replicaset.health import moment

    return moment(metadata["creationTimestamp"])


# Looking ---------------------------------------------------------------------------------------------


def mine(world: World) -> list[dict[str, Any]]:
    """All clusters but the stranger's, that are not being deleted."""
    return [item for item in world.objects(RAY_CLUSTERS, "default") if item["metadata"]["name"] != STRANGER]


def image_of(document: dict[str, Any]) -> str:
    return str(document["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"])


def is_ready(document: dict[str, Any]) -> bool:
    return (document.get("status") or {}).get("state") == "ready"


def fleet_ready(world: World, name: str = "llm") -> bool:
    """Whether the fleet says that it is ready, for its newest specification."""
    found = world.object(FLEETS, name)
    if found is None:
        return False
    status = found.get("status") or {}
    ready = {c["type"]: c for c in status.get("conditions") or ()}.get("Ready") or {}
    return ready.get("status") == "True" and ready.get("observedGeneration") == found["metadata"]["generation"]


def reached(image: str, count: int) -> Callable[[World], str]:
    """Return the goal: so many ready clusters of an image, no others, and the stranger is still there."""

    def goal(world: World) -> str:
        found = mine(world)
        wrong = [item["metadata"]["name"] for item in found if image_of(item) != image or not is_ready(item)]
        if len(found) != count or wrong:
            return f"{len(found)} clusters of {count}; not as wanted: {wrong}"
        if world.object(RAY_CLUSTERS, STRANGER) is None:
            return "the stranger is gone"
        if not fleet_ready(world):
            return "the fleet does not say that it is ready"
        status = (world.object(FLEETS, "llm") or {}).get("status") or {}
        counts = [status.get(name) for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
        return "" if counts == [count] * 4 else f"the fleet counts {counts}"

    return goal


# Scripts ---------------------------------------------------------------------------------------------


def _fleet(replicas: int, surge: Any = 1, unavailable: Any = 0, **spec: Any) -> dict[str, Any]:
    return fleet(replicas=replicas, made=make_template("ray:1"), strategy=rolling(surge, unavailable), **spec)


async def _stranger(world: World) -> None:
    made = cluster(STRANGER, labels={"app": "other"})
    made["spec"] = make_template("ray:1")["spec"]
    await world.create(made)


async def rolls(world: World) -> None:
    """Three clusters; another image; one more in the middle of the rollout."""
    await _stranger(world)
    await world.create(_fleet(3))
    await world.until(lambda: fleet_ready(world), 120)
    await world.patch(FLEETS, "llm", {"spec": {"template": make_template("ray:2")}})
    await world.until(lambda: any(image_of(item) == "ray:2" and is_ready(item) for item in mine(world)), 120)
    await world.patch(FLEETS, "llm", {"spec": {"replicas": 4}})


async def changes_its_mind(world: World) -> None:
    """A rollout is overtaken by another, then taken back by annotation, paused and resumed on the way."""
    await _stranger(world)
    await world.create(_fleet(2, 1, 1))
    await world.until(lambda: fleet_ready(world), 120)
    await world.patch(FLEETS, "llm", {"spec": {"template": make_template("ray:3")}})
    await world.until(lambda: any(image_of(item) == "ray:3" for item in mine(world)), 60)
    await world.patch(FLEETS, "llm", {"spec": {"paused": True, "template": make_template("ray:2")}})
    await asyncio.sleep(5)
    await world.patch(FLEETS, "llm", {"spec": {"paused": False}})
    await world.until(lambda: fleet_ready(world), 200)
    changes = {"metadata": {"annotations": {"deprecated.deployment.rollback.to": "1"}}}
    await world.patch(FLEETS, "llm", changes)


async def made_anew(world: World) -> None:
    """Deleted while it grows, and made anew under its name at once."""
    await _stranger(world)
    await world.create(_fleet(4))
    await world.until(lambda: len(mine(world)) >= 2, 60)
    await world.delete(FLEETS, "llm")
    again = _fleet(2)
    again["spec"]["template"] = make_template("ray:2")
    await world.create(again)


async def recreates(world: World) -> None:
    """All old ones go before the first new one comes."""
    await _stranger(world)
    wish = _fleet(2)
    wish["spec"]["strategy"] = {"type": "Recreate"}
    await world.create(wish)
    await world.until(lambda: fleet_ready(world), 120)
    await world.patch(FLEETS, "llm", {"spec": {"template": make_template("ray:2")}})


async def a_set_alone(world: World) -> None:
    """A replica set with an orphan to adopt; it grows and shrinks, one cluster is deleted by hand."""
    await _stranger(world)
    orphan = cluster("orphan")
    orphan["spec"] = make_template("ray:1")["spec"]
    await world.create(orphan)
    await world.create(replica_set(replicas=3, made=make_template("ray:1")))
    await world.until(lambda: len(mine(world)) == 3, 60)
    await world.delete(RAY_CLUSTERS, "orphan")
    await world.until(lambda: len(mine(world)) == 3, 60)
    await world.patch(REPLICA_SETS, "llm", {"spec": {"replicas": 2}})


def set_goal(world: World) -> str:
    """Two ready clusters, and the set says so."""
    found = mine(world)
    if len(found) != 2 or not all(map(is_ready, found)):
        return f"{len(found)} clusters"
    status = (world.object(REPLICA_SETS, "llm") or {}).get("status") or {}
    counts = [status.get(name) for name in ("replicas", "readyReplicas", "availableReplicas")]
    return "" if counts == [2, 2, 2] else f"the set counts {counts}"


# Laws ------------------------------------------------------------------------------------------------


def _owner_uids(document: dict[str, Any]) -> list[str]:
    return [owner["uid"] for owner in document["metadata"].get("ownerReferences") or ()]


def never_more_than(most: int) -> Invariant:
    """No owner has more clusters than allowed, whatever their state (I2)."""

    def check(world: World, happened: Happened) -> str:
        if happened.plural != "rayclusters" or happened.type != "ADDED":
            return ""
        owners = {item["metadata"]["uid"]: item for item in world.objects(REPLICA_SETS, "default")}
        counts: dict[str, int] = {}
        for item in mine(world):
            for uid in _owner_uids(item):
                above = _owner_uids(owners[uid]) if uid in owners else []
                for root in above or [uid]:
                    counts[root] = counts.get(root, 0) + 1
        found = max(counts.values(), default=0)
        return f"{found} clusters of one owner" if found > most else ""

    return Invariant("never too many", check)


def never_fewer_ready_than(fewest: int) -> Invariant:
    """Once the fleet was ready, the process leaves so many ready clusters (I3)."""
    was_ready: dict[int, bool] = {}

    def check(world: World, happened: Happened) -> str:
        was_ready[id(world)] = was_ready.get(id(world), False) or fleet_ready(world)
        if happened.plural != "rayclusters" or happened.type != "DELETED" or not was_ready[id(world)]:
            return ""
        found = sum(map(is_ready, mine(world)))
        return f"only {found} clusters are ready" if found < fewest else ""

    return Invariant("never too few", check)


def _strangers(world: World, happened: Happened) -> str:
    if happened.actor != "process" or happened.plural != "rayclusters":
        return ""
    return "the stranger was touched" if happened.new["metadata"]["name"] == STRANGER else ""


def _one_set_per_template(world: World, happened: Happened) -> str:
    if happened.plural != "rayclusterreplicasets" or happened.type != "ADDED":
        return ""
    found: dict[tuple[str, str], int] = {}
    for item in world.objects(REPLICA_SETS, "default"):
        for uid in _owner_uids(item):
            key = (uid, image_of({"spec": item["spec"]["template"]["spec"]}))
            found[key] = found.get(key, 0) + 1
    twice = [key for key, count in found.items() if count > 1]
    return f"two sets of one template: {twice}" if twice else ""


def _revisions_rise(world: World, happened: Happened) -> str:
    name = "deployment.kubernetes.io/revision"
    if happened.plural != "rayclusterreplicasets" or happened.type != "MODIFIED" or happened.old is None:
        return ""
    before = int((happened.old["metadata"].get("annotations") or {}).get(name) or 0)
    after = int((happened.new["metadata"].get("annotations") or {}).get(name) or 0)
    return f"revision {before} became {after}" if after < before else ""


LAWS = (
    Invariant("strangers are left alone", _strangers),
    Invariant("one set per template", _one_set_per_template),
    Invariant("revisions rise", _revisions_rise),
)


def _controllers(world: World) -> Sequence[Controller]:
    reader = TransportReader(world.transport("reader"))
    return [FleetController(reader), ReplicaSetController(None, reader)]


def _surroundings(world: World) -> Iterable[Awaitable[None]]:
    return [operator(world)]


def workload(
    name: str, script: Callable[[World], Awaitable[None]], goal: Callable[[World], str], *laws: Invariant
) -> Workload:
    definitions = crd_documents("RayCluster", "RayClusterFleet", "RayClusterReplicaSet")
    return Workload(name, definitions, _controllers, script, goal, (*LAWS, *laws), _surroundings, settle_s=2000.0)


def all_workloads(late: int = 0) -> list[Workload]:
    """Return all.

    ``late``: clusters that may come on top for a moment. A creation whose answer was lost, and which the server
    carries out when its set has been made smaller meanwhile, cannot be called back; the cluster goes at once.
    """
    return [
        workload("rolls", rolls, reached("ray:2", 4), never_more_than(5 + late), never_fewer_ready_than(3)),
        workload("changes its mind", changes_its_mind, reached("ray:1", 2), never_more_than(3 + late)),
        workload("made anew", made_anew, reached("ray:2", 2), never_more_than(5 + late)),
        workload("recreates", recreates, reached("ray:2", 2), never_more_than(2 + late)),
        workload("a set alone", a_set_alone, set_goal, never_more_than(4 + late)),
    ]
