"""A small world for plans: a store with resourceVersions, an operator that makes pods, and Ray clusters that serve."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from rayctl.core.plan import Apply, CallServe, Create, Delete, Emit, Patch, Plan, SetStatus, Single, Together
from rayctl.kube.calls import Resource
from rayctl.kube.kinds import CONFIG_MAPS, GATEWAYS, HTTP_ROUTES, PODS, RAY_CLUSTERS, RAY_SERVICES, SERVICES
from rayctl.service.fingerprint import digest
from rayctl.service.plan import plan_service
from rayctl.service.seen import ServiceSeen, see

APP = {"name": "app", "import_path": "app:app", "route_prefix": "/"}


def cluster_spec(image: str = "ray:1", workers: int = 1, **more: Any) -> dict[str, Any]:
    """A RayClusterSpec."""
    container = {"name": "ray", "image": image}
    return {
        "rayVersion": "2.60.0",
        "headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [dict(container)]}}},
        "workerGroupSpecs": [
            {
                "groupName": "small",
                "replicas": workers,
                "minReplicas": 0,
                "maxReplicas": 10,
                "rayStartParams": {},
                "template": {"spec": {"containers": [dict(container)]}},
            }
        ],
        **more,
    }


def serve_config(**more: Any) -> str:
    """A Serve configuration with one application."""
    return yaml.safe_dump({"applications": [{**APP, **more}]})


def ray_service(name: str = "chat", annotations: Mapping[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A RayService."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": name, "namespace": "default", "annotations": dict(annotations or {})},
        "spec": {"serveConfigV2": serve_config(), "rayClusterConfig": cluster_spec(), **spec},
    }


class ConflictError(Exception):
    """A write was refused because the world is not as it was seen."""


class CrashError(Exception):
    """The controller died."""


@dataclass
class Ray:
    """What one Ray cluster does: how far it has come, and what runs on it."""

    head_ready: bool = False
    workers_ready: bool = False
    reachable: bool = True
    status: str = "RUNNING"
    config: dict[str, Any] | None = None
    config_at: float = 0.0
    accepted: str = ""
    rejects: str = ""
    rejected: str = ""
    in_flight: int | None = 0
    running: int | None = None
    target: int = 1
    proxy: str = "HEALTHY"


@dataclass
class World:
    """Everything there is. ``now``: seconds since the epoch; ``auto``: the operator makes clusters ready at once."""

    now: float = 1_700_000_000.0
    auto: bool = True
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    rays: dict[str, Ray] = field(default_factory=dict)
    revision: int = 1
    writes: list[tuple[str, str, str]] = field(default_factory=list)
    puts: list[str] = field(default_factory=list)
    events: list[Emit] = field(default_factory=list)
    watchers: list[Callable[[World], None]] = field(default_factory=list)
    gateway_api: bool = False
    uid: int = 0
    keep_terminating: bool = False

    # Objects ------------------------------------------------------------------------------------------

    def add(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object, as anybody."""
        made = copy.deepcopy(dict(document))
        key = (made["kind"], made["metadata"]["name"])
        if key in self.objects:
            raise ConflictError(f"{key} is there already")
        self.uid += 1
        made["metadata"] |= {"uid": f"uid-{self.uid}", "generation": 1, "creationTimestamp": "2023-11-14T22:13:20Z"}
        made["metadata"].setdefault("namespace", "default")
        self._store(key, made)
        return made

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return an object."""
        return self.objects.get((kind, name))

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return all objects of a kind, by name."""
        return [self.objects[key] for key in sorted(self.objects) if key[0] == kind]

    def edit(self, kind: str, name: str, **spec: Any) -> None:
        """Change fields of a spec, as a person does; None takes one away."""
        document = copy.deepcopy(self.objects[kind, name])
        for key, value in spec.items():
            document["spec"][key] = value
            if value is None:
                del document["spec"][key]
        document["metadata"]["generation"] += 1
        self._store((kind, name), document)

    def annotate(self, kind: str, name: str, **annotations: str) -> None:
        """Set annotations below rayctl.io/, as a person does."""
        document = copy.deepcopy(self.objects[kind, name])
        for key, value in annotations.items():
            document["metadata"].setdefault("annotations", {})[f"rayctl.io/{key.replace('_', '-')}"] = value
        self._store((kind, name), document)

    def remove(self, kind: str, name: str) -> None:
        """Delete an object, and what belongs to it."""
        gone = self.objects.pop((kind, name), None)
        if gone is None:
            return
        self.revision += 1
        if kind == "RayCluster":
            for pod in self.all("Pod"):
                if pod["metadata"]["labels"]["ray.io/cluster"] == name:
                    self.objects.pop(("Pod", pod["metadata"]["name"]))
            self.rays.pop(name, None)
            self.objects.pop(("Service", f"{name}-serve-svc"), None)
        for watcher in self.watchers:
            watcher(self)

    def _store(self, key: tuple[str, str], document: dict[str, Any]) -> None:
        self.revision += 1
        document["metadata"]["resourceVersion"] = str(self.revision)
        self.objects[key] = document
        for watcher in self.watchers:
            watcher(self)

    # The operator of RayClusters, and Ray -------------------------------------------------------------

    def operate(self) -> None:
        """Bring pods and statuses in line with the clusters, as an operator and Ray do."""
        for cluster in self.all("RayCluster"):
            name = cluster["metadata"]["name"]
            if cluster["metadata"].get("deletionTimestamp"):
                if not self.keep_terminating:
                    self.remove("RayCluster", name)
                continue
            ray = self.rays.setdefault(name, Ray(head_ready=self.auto, workers_ready=self.auto))
            groups = cluster["spec"].get("workerGroupSpecs") or []
            workers = sum(int(group.get("replicas") or 0) for group in groups)
            self._pod(f"{name}-head", name, "head", ray.head_ready, "false")
            for index in range(workers):
                self._pod(f"{name}-w-{index}", name, "worker", ray.workers_ready, "true")
            for pod in self.all("Pod"):
                number = pod["metadata"]["name"].removeprefix(f"{name}-w-")
                if number.isdigit() and int(number) >= workers:
                    self.remove("Pod", pod["metadata"]["name"])
            ready = ray.head_ready and ray.workers_ready
            status = {
                "state": "ready" if ready else "",
                "desiredWorkerReplicas": workers,
                "readyWorkerReplicas": workers if ray.workers_ready else 0,
                "observedGeneration": cluster["metadata"]["generation"],
                "head": {"podIP": "10.0.0.1"},
            }
            if cluster.get("status") != status:
                self._store(("RayCluster", name), {**cluster, "status": status})

    def _pod(self, name: str, cluster: str, node: str, ready: bool, serve: str) -> None:
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        there = self.get("Pod", name)
        if there is None:
            labels = {"ray.io/cluster": cluster, "ray.io/node-type": node, "ray.io/serve": serve}
            document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}}
            self.add({**document, "status": {"conditions": conditions, "podIP": "10.0.0.1"}})
        elif there["status"]["conditions"] != conditions:
            self._store(("Pod", name), {**there, "status": {**there["status"], "conditions": conditions}})

    def ready(self, cluster: str) -> None:
        """Make a cluster ready."""
        self.rays[cluster].head_ready = self.rays[cluster].workers_ready = True
        self.operate()

    def _serve(self, name: str) -> dict[str, Any]:
        ray = self.rays.get(name)
        if ray is None or not ray.head_ready or not ray.reachable:
            accepted = ray.accepted if ray else ""
            return {"ok": False, "error": "the Serve API does not answer: timeout", "accepted": accepted}
        apps = {}
        for app in (ray.config or {}).get("applications") or ():
            running = ray.target if ray.running is None else ray.running
            replicas = [{"state": "RUNNING"}] * running
            status = "HEALTHY" if ray.status == "RUNNING" else "UPDATING"
            deployment = {"status": status, "message": "", "target_num_replicas": ray.target, "replicas": replicas}
            apps[app["name"]] = {
                "status": ray.status,
                "message": "" if ray.status == "RUNNING" else "because",
                "last_deployed_time_s": ray.config_at,
                "deployed_app_config": app,
                "deployments": {"D": deployment},
            }
        details = {
            "applications": apps,
            "target_capacity": (ray.config or {}).get("target_capacity"),
            "controller_info": {"node_id": "n0"} if ray.config else {},
            "proxies": {"n0": {"status": ray.proxy, "node_ip": "10.0.0.1"}} if ray.config else {},
        }
        return {
            "ok": True,
            "details": details,
            "accepted": ray.accepted,
            "rejected": ray.rejected,
            "rejection": ray.rejects if ray.rejected else "",
        }

    # The controller -----------------------------------------------------------------------------------

    def look(self, name: str = "chat") -> dict[str, Any]:
        """Return what a look finds now."""
        service = self.objects["RayService", name]
        uid = service["metadata"]["uid"]

        def mine(kind: str) -> list[dict[str, Any]]:
            owned = [
                document
                for document in self.all(kind)
                if any(owner["uid"] == uid for owner in document["metadata"].get("ownerReferences") or ())
            ]
            return copy.deepcopy(owned)

        clusters = mine("RayCluster")
        names = {cluster["metadata"]["name"] for cluster in clusters}
        return {
            "service": copy.deepcopy(service),
            "clusters": clusters,
            "pods": copy.deepcopy([p for p in self.all("Pod") if p["metadata"]["labels"]["ray.io/cluster"] in names]),
            "services": copy.deepcopy(self.all("Service")),
            "revisions": mine("ConfigMap"),
            "routes": mine("HTTPRoute"),
            "gateways": mine("Gateway"),
            "gateway_api": self.gateway_api,
            "serve": {cluster: self._serve(cluster) for cluster in names},
            "in_flight": {cluster: self.rays[cluster].in_flight for cluster in names if cluster in self.rays},
        }

    def seen(self, name: str = "chat") -> ServiceSeen:
        """Return what a look finds, read."""
        return see(self.look(name), lambda spec: ())

    def plan(self, name: str = "chat") -> Plan:
        """Return the controller's plan for now."""
        return plan_service(self.seen(name), self.now)

    def execute(self, plan: Plan, limit: int | None = None, lost: int | None = None) -> int:
        """Perform a plan; return how many writes were done.

        ``limit``: the controller dies after so many; ``lost``: the answer of this write (from 1) does not come.
        """
        done = 0
        for action in plan.actions:
            group = action.actions if isinstance(action, Together) else (action,)
            failed: Exception | None = None
            for single in group:
                if isinstance(single, Emit):
                    self.events.append(single)
                    continue
                if limit is not None and done >= limit:
                    raise CrashError
                try:
                    self._write(single)
                except ConflictError as error:
                    failed = failed or error
                    continue
                done += 1
                if lost is not None and done == lost:
                    failed = failed or ConflictError("no answer")
            if failed is not None:
                raise failed
        return done

    def _write(self, action: Single) -> None:
        assert not isinstance(action, (Emit, Apply))
        if isinstance(action, CallServe):
            self._put(action)
            return
        ref = action.ref
        if isinstance(action, Create):
            if (ref.kind, ref.name) in self.objects:
                raise ConflictError(f"{ref} is there already")
            self.writes.append(("create", ref.kind, ref.name))
            self.add(action.document)
            return
        there = self.objects.get((ref.kind, ref.name))
        if isinstance(action, Delete):
            if there is None:
                return
            self._check(there, ref.uid, action.revision)
            self.writes.append(("delete", ref.kind, ref.name))
            if ref.kind == "RayCluster":
                marked = copy.deepcopy(there)
                if not marked["metadata"].get("deletionTimestamp"):
                    marked["metadata"]["deletionTimestamp"] = "2023-11-14T22:13:20Z"
                    self._store((ref.kind, ref.name), marked)
            else:
                self.remove(ref.kind, ref.name)
            return
        if there is None:
            raise ConflictError(f"{ref} is gone")
        self._check(there, ref.uid, action.revision)
        document = copy.deepcopy(there)
        if isinstance(action, SetStatus):
            document["status"] = json.loads(json.dumps(action.status))
            self.writes.append(("status", ref.kind, ref.name))
        else:
            assert isinstance(action, Patch)
            _merge(document, json.loads(json.dumps(action.changes)))
            if "spec" in action.changes and ref.kind == "RayCluster":
                document["metadata"]["generation"] += 1
            self.writes.append(("patch", ref.kind, ref.name))
        self._store((ref.kind, ref.name), document)

    @staticmethod
    def _check(there: Mapping[str, Any], uid: str, revision: str) -> None:
        metadata = there["metadata"]
        if (uid and metadata["uid"] != uid) or (revision and metadata["resourceVersion"] != revision):
            raise ConflictError(f"{metadata['name']} has changed")

    def _put(self, action: CallServe) -> None:
        ray = self.rays.get(action.cluster.name)
        if ray is None or not ray.head_ready or not ray.reachable:
            raise ConflictError("no answer")
        body = copy.deepcopy(dict(action.request["body"]))
        assert action.request["digest"] == digest(body)
        self.puts.append(action.cluster.name)
        if ray.rejects:
            ray.rejected = action.request["digest"]
            raise ConflictError("400")
        ray.config, ray.config_at, ray.accepted = body, self.now, action.request["digest"]

    def step(self, name: str = "chat") -> Plan:
        """Let the operator and the controller do one pass each; return the controller's plan."""
        self.operate()
        plan = self.plan(name)
        with contextlib.suppress(ConflictError):
            self.execute(plan)
        self.operate()
        return plan

    def settle(self, name: str = "chat", seconds: float = 200.0, each: float = 1.0) -> None:
        """Run passes until so much time has gone by."""
        end = self.now + seconds
        while self.now < end:
            for _ in range(20):
                before = self.revision, len(self.puts)
                self.step(name)
                if (self.revision, len(self.puts)) == before:
                    break
            self.now += each

    # Convenience --------------------------------------------------------------------------------------

    @property
    def status(self) -> dict[str, Any]:
        """The status of the RayService called chat."""
        return self.objects["RayService", "chat"].get("status") or {}

    @property
    def record(self) -> dict[str, Any]:
        """Its record."""
        return self.status.get("switchover") or {}

    def condition(self, kind: str) -> tuple[str, str]:
        """Return status and reason of a condition; two empty texts if it is not there."""
        for item in self.status.get("conditions") or ():
            if item["type"] == kind:
                return item["status"], item["reason"]
        return "", ""

    @property
    def active(self) -> str:
        """The active cluster's name."""
        return (self.status.get("activeServiceStatus") or {}).get("rayClusterName", "")

    @property
    def pending(self) -> str:
        """The pending cluster's name."""
        return (self.status.get("pendingServiceStatus") or {}).get("rayClusterName", "")

    @property
    def pointers(self) -> tuple[str, str]:
        """The clusters that head and serve service lead to; empty if there is no such service."""
        found = []
        for kind in ("head", "serve"):
            service = self.get("Service", f"chat-{kind}-svc")
            found.append(service["spec"]["selector"]["ray.io/cluster"] if service else "")
        return found[0], found[1]

    def weights(self) -> dict[str, int]:
        """The weights on the stable service."""
        service = self.get("Service", "chat-serve-svc") or {"metadata": {}}
        found: dict[str, int] = json.loads(
            (service["metadata"].get("annotations") or {}).get("rayctl.io/weights", "{}")
        )
        return found


def _merge(target: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        elif isinstance(value, dict):
            target[key] = {}
            _merge(target[key], value)
        else:
            target[key] = value


RESOURCES: tuple[Resource, ...] = (RAY_SERVICES, RAY_CLUSTERS, PODS, SERVICES, CONFIG_MAPS, GATEWAYS, HTTP_ROUTES)


def running(**more: Any) -> World:
    """Return a world in which a service called chat serves."""
    world = World()
    world.add(ray_service(**more))
    world.settle(seconds=5)
    assert world.condition("Ready") == ("True", "NonZeroServeEndpoints"), world.status
    world.writes.clear()
    world.puts.clear()
    world.events.clear()
    return world
