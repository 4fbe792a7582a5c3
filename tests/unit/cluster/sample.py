"""Clusters to test with, and a small world in which plans are carried out."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from rayctl.cluster import keys
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.plan import plan_cluster, plan_refused
from rayctl.cluster.seen import read_seen
from rayctl.cluster.spec import ClusterSpec, parse_cluster
from rayctl.core.controller import Refusal
from rayctl.core.plan import Apply, Create, Delete, Emit, Patch, Plan, SetStatus

NOW = 1_800_000_000.0


def container(name: str = "ray", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "ray:2.60.0", **more}


def template(metadata: dict[str, Any] | None = None, pod: dict[str, Any] | None = None, **ray: Any) -> dict[str, Any]:
    return {"metadata": metadata or {}, "spec": {"containers": [container(**ray)], **(pod or {})}}


def group(name: str = "small", replicas: int = 1, **more: Any) -> dict[str, Any]:
    found = {"groupName": name, "replicas": replicas, "minReplicas": 0, "maxReplicas": 10, "template": template()}
    return {**found, **more}


def cluster(
    name: str = "sample",
    head: dict[str, Any] | None = None,
    groups: list[dict[str, Any]] | None = None,
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": f"uid-{name}", "generation": 1}
    metadata |= {"resourceVersion": "1", "annotations": annotations or {}, "labels": labels or {}}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": metadata,
        "spec": {
            "rayVersion": "2.60.0",
            "headGroupSpec": {"template": template(), **(head or {})},
            "workerGroupSpecs": [group()] if groups is None else groups,
            **spec,
        },
    }


def spec_of(**asked: Any) -> ClusterSpec:
    return parse_cluster(cluster(**asked))


def env_of(pod: Mapping[str, Any], index: int = 0) -> dict[str, Any]:
    """The variables of a container by name: their value, or where it comes from."""
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in pod["spec"]["containers"][index]["env"]}


def line_of(pod: Mapping[str, Any]) -> str:
    found = env_of(pod)["KUBERAY_GEN_RAY_START_CMD"]
    assert isinstance(found, str)
    return found


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class World:
    """One cluster and its objects. Deleted pods go at once, unless they are told to linger."""

    def __init__(self, document: dict[str, Any], options: ClusterOptions | None = None) -> None:
        self.cluster = copy.deepcopy(document)
        self.options = options or ClusterOptions()
        self.pods: dict[str, dict[str, Any]] = {}
        self.children: dict[tuple[str, str], dict[str, Any]] = {}
        self.secret = False
        self.now = NOW
        self.uids = 0
        self.events: list[Emit] = []
        self.writes: list[str] = []
        self.operator = ""
        self.lingering: set[str] = set()
        self.gone = False

    def look(self) -> dict[str, Any]:
        found = {
            "cluster": self.cluster,
            "pods": [self.pods[name] for name in sorted(self.pods)],
            "children": [self.children[place] for place in sorted(self.children)],
            "token_secret": "there" if self.secret else "missing",
            "operator": self.operator,
        }
        return dict(json.loads(json.dumps(found)))

    def plan(self) -> Plan:
        return plan_cluster(read_seen(self.look(), self.options), self.now)

    def refuse(self, action: Any, status: int, message: str) -> Plan:
        refusal = Refusal(action, status, "Forbidden", message)
        return plan_refused(read_seen(self.look(), self.options), refusal, self.now)

    def apply(self, plan: Plan, most: int | None = None) -> None:
        """Carry out a plan, or only its first actions: a controller that crashes in the middle."""
        for action in plan.singles[:most]:
            if isinstance(action, Emit):
                self.events.append(action)
                continue
            self.writes.append(f"{type(action).__name__} {action.ref}")
            self._write(action)

    def _write(self, action: Any) -> None:
        ref = action.ref
        if isinstance(action, Create):
            self._create(copy.deepcopy(dict(action.document)))
        elif isinstance(action, Delete):
            pod = self.pods.get(ref.name)
            assert pod is None or pod["metadata"]["uid"] == ref.uid, "a pod that is not the one that was seen"
            if pod is not None:
                assert pod["metadata"]["ownerReferences"][0]["uid"] == self.cluster["metadata"]["uid"], "a foreign pod"
                self.remove(ref.name)
            else:
                self.children.pop((ref.kind, ref.name), None)
        elif isinstance(action, SetStatus):
            assert action.revision == self.cluster["metadata"]["resourceVersion"]
            self.cluster["status"] = copy.deepcopy(dict(action.status))
            self._touch()
        elif isinstance(action, Patch):
            self.cluster["metadata"].update(copy.deepcopy(action.changes["metadata"]))
            self._touch()
            if "deletionTimestamp" in self.cluster["metadata"] and not self.cluster["metadata"]["finalizers"]:
                self.gone = True
        else:
            assert isinstance(action, Apply)
            self.children[ref.kind, ref.name].update(copy.deepcopy(dict(action.document)))

    def _touch(self) -> None:
        metadata = self.cluster["metadata"]
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)

    def _create(self, document: dict[str, Any]) -> None:
        self.uids += 1
        metadata = document["metadata"]
        metadata |= {"uid": f"u{self.uids}", "creationTimestamp": moment(self.now)}
        if document["kind"] == "Secret":
            self.secret = True
        elif document["kind"] == "Pod":
            if metadata["name"] in self.pods:
                return  # the name is taken: nothing happens
            self.pods[metadata["name"]] = {**document, "status": {"phase": "Pending"}}
        else:
            self.children.setdefault((document["kind"], metadata["name"]), document)

    def remove(self, name: str) -> None:
        """Delete a pod."""
        if name in self.lingering:
            self.pods[name]["metadata"]["deletionTimestamp"] = moment(self.now)
        else:
            del self.pods[name]

    def run(self, *names: str, ready: bool = True) -> None:
        """Have pods run; all if none is named."""
        for name in names or tuple(self.pods):
            if name == "-":
                return
            condition = {"type": "Ready", "status": "True" if ready else "False", "reason": "ContainersNotReady"}
            status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [condition]}
            self.pods[name]["status"] = status

    def fail(self, name: str, reason: str = "") -> None:
        """Have a pod end."""
        self.pods[name]["status"] = {"phase": "Failed", **({"reason": reason} if reason else {})}

    def settle(self, most: int = 20, ready: bool = True) -> None:
        """Plan and carry out until nothing is left to do, with all pods running."""
        for _ in range(most):
            plan = self.plan()
            if not plan.writes and plan.next_check_at is None:
                return
            self.apply(plan)
            if self.gone:
                return
            if ready:
                self.run(*[n for n, pod in self.pods.items() if pod["status"]["phase"] == "Pending"] or ["-"])
            self.now = max(self.now + 0.5, plan.next_check_at or 0.0)
        raise AssertionError(f"not settled: {self.plan()}")

    def change(self, **spec: Any) -> None:
        """Edit the specification."""
        self.cluster["spec"].update(spec)
        self.cluster["metadata"]["generation"] += 1
        self._touch()

    def delete(self) -> None:
        """Ask for the cluster's deletion."""
        self.cluster["metadata"]["deletionTimestamp"] = moment(self.now)
        self._touch()

    def names(self, node_type: str) -> list[str]:
        return sorted(n for n, pod in self.pods.items() if pod["metadata"]["labels"]["ray.io/node-type"] == node_type)

    def condition(self, kind: str) -> tuple[str, str]:
        for item in self.cluster["status"]["conditions"]:
            if item["type"] == kind:
                return item["status"], item["reason"]
        return "", ""


def made_by_kuberay(world: World) -> World:
    """Make a settled cluster look as KubeRay makes it: random names, no marks of rayctl, a token only if asked for."""
    for number, name in enumerate(sorted(world.pods)):
        pod = world.pods.pop(name)
        stem = (
            name
            if pod["metadata"]["labels"][keys.NODE_TYPE] == keys.HEAD
            else name.rpartition("-worker-")[0] + "-worker"
        )
        pod["metadata"]["name"] = f"{stem}-x{number}k2p"
        pod["metadata"]["annotations"] = {keys.FT_ENABLED: "false"}
        world.pods[pod["metadata"]["name"]] = pod
    return world
