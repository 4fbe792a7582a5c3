"""Replica sets on an imagined world: documents, statuses as operators write them, and passes until nothing changes."""

from rayctl.fleet.imagined import ImaginedWorld
from rayctl.replicaset.plan import plan_replicaset
from rayctl.replicaset.seen import controller_of, parse_seen
from rayctl.replicaset.spec import parse_spec
from rayctl.replicaset.status import rfc3339

BEGAN = 1_800_000_000.0
NS = "default"


def template(labels=None, image="ray:2.59", workers=1, **spec):
    return {
        "metadata": {"labels": labels or {"app": "llm"}},
        "spec": {
            "headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [{"image": image}]}}},
            "workerGroupSpecs": [
                {
                    "groupName": "gpu",
                    "replicas": workers,
                    "minReplicas": 1,
                    "maxReplicas": 8,
                    "rayStartParams": {},
                    "template": {"spec": {"containers": [{"image": image}]}},
                }
            ],
            **spec,
        },
    }


def replica_set(name="llm", replicas=2, made=None, selector=None, annotations=None, **spec):
    return {
        "apiVersion": "orchestration.aibrix.ai/v1alpha1",
        "kind": "RayClusterReplicaSet",
        "metadata": {"name": name, "namespace": NS, "annotations": annotations or {}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "llm"}} if selector is None else selector,
            "template": made or template(),
            **spec,
        },
    }


def condition(kind, status, at=BEGAN, reason="Because", message=""):
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": rfc3339(at)}


def status(ready=True, provisioned=True, head=True, workers=1, at=BEGAN, desired=1):
    """What KubeRay writes."""
    return {
        "state": "ready" if provisioned else "",
        "desiredWorkerReplicas": desired,
        "readyWorkerReplicas": workers if ready else 0,
        "conditions": [
            condition("HeadPodReady", "True" if head else "False", at),
            condition("RayClusterProvisioned", "True" if provisioned else "False", at),
        ],
    }


STARTING = {"conditions": [condition("HeadPodReady", "False"), condition("RayClusterProvisioned", "False")]}


def cluster(name, labels=None, owner=None, **metadata):
    document = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": name, "namespace": NS, "labels": labels or {"app": "llm"}, **metadata},
        "spec": template()["spec"],
    }
    if owner is not None:
        document["metadata"]["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
            }
        ]
    return document


def look(world, name="llm", work=None):
    """Gather what the controller's look gathers."""
    document = world.get("RayClusterReplicaSet", NS, name)
    clusters = world.all("RayCluster", NS)
    uid = document["metadata"]["uid"]
    spec = parse_spec(document)
    mine = [c for c in clusters if (controller_of(c) or {}).get("uid") == uid]
    orphans = [
        c
        for c in clusters
        if controller_of(c) is None and not spec.problems and spec.selector.matches(c["metadata"]["labels"])
    ]
    taken = [c["metadata"]["name"] for c in clusters if (controller_of(c) or {}).get("uid") != uid]
    return parse_seen({"set": document, "clusters": mine + orphans, "taken": taken, "work": work})


def step(world, name="llm", work=None):
    """One pass; returns its plan."""
    plan = plan_replicaset(look(world, name, work), world.now)
    world.perform(plan)
    return plan


def settle(world, name="llm", work=None, passes=50):
    """Passes until one writes nothing; returns the last plan."""
    for _ in range(passes):
        plan = step(world, name, work)
        if not plan.writes:
            return plan
    raise AssertionError(f"still writing after {passes} passes: {plan.writes}")


def clusters(world):
    return world.all("RayCluster", NS)


def names(world):
    return [c["metadata"]["name"] for c in clusters(world)]


def make_ready(world, *which, at=None):
    for document in clusters(world):
        if not which or document["metadata"]["name"] in which:
            world.set_status(document, status(at=world.now if at is None else at))


def new_world(document=None, keeps=None, **more):
    world = ImaginedWorld(BEGAN, keeps or (lambda _: False))
    world.put(document or replica_set(**more))
    return world
