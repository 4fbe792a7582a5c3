"""The rights that an installation grants are those that are used: every controller does its work under its own account.

All workloads of the simulation run with the server's authorizer between; a refused request fails the test, and what is
granted but was not used must be in the list below, with the reason why it is granted nevertheless.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from rayctl.core.controller import Controller
from rayctl.core.host import ControllerHost, HostSettings
from rayctl.embedded.apiserver.access.rbac import Authorizer
from rayctl.embedded.apiserver.access.tokens import ADMIN, Tokens
from rayctl.embedded.apiserver.handler import Handler
from rayctl.embedded.apiserver.requests import User
from rayctl.kube.calls import APPLY, Call, Transport
from rayctl.kube.errors import Denied
from rayctl.manifests import crd_documents
from rayctl.manifests.access import CONTROLLERS, lease_rules, rules_of
from rayctl.manifests.installation import NAME, Installation, documents
from rayctl.testkit.local_transport import LocalTransport
from rayctl.testkit.simulation import TERMS, Workload
from rayctl.testkit.virtual_time import run_virtual
from rayctl.testkit.world import World
from tests.sim import clusters, fleets, services

Right = tuple[str, str, str]
"""Verb, group, resource."""

SERIES = "a repeated event is counted in the first one"
OWNERS = "servers that check owner references ask for it where deletion of the owner is to wait for the child"
ORPHANS = "asked before objects without an owner are adopted, or old ones counted"
BLUE_GREEN = "the blue/green strategy moves a service; no workload here has one"
GATES = "gates ask dashboards, which want their cluster's token; these workloads have no sockets"
DRAINS = "clusters that drain are asked for their jobs and requests; these workloads have no sockets"
GRANTS = "the autoscaler's role has it, and nobody can give what he does not have"
OPTIONAL = (
    "made and mended for clusters with an autoscaler, an ingress, network rules or a volume; not in these workloads"
)
GATEWAY = "only with the Gateway API, for switchovers by weight"
ONCE = "the service's own finalizer, annotations of its clusters, and old revisions: not in these workloads"
TOKEN = "the Serve API of a cluster asks for its token; these workloads have no sockets"  # noqa: S105
EVENTS, AIBRIX, RBAC = "events.k8s.io", "orchestration.aibrix.ai", "rbac.authorization.k8s.io"
NETWORK, GATEWAYS = "networking.k8s.io", "gateway.networking.k8s.io"

UNUSED: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    # verbs, group, resource, why it is granted nevertheless
    "fleet-controller": (
        ("patch", EVENTS, "events", SERIES),
        ("update", AIBRIX, "rayclusterfleets/finalizers", OWNERS),
        ("get", AIBRIX, "rayclusterfleets", ORPHANS),
        ("list", "ray.io", "rayclusters", ORPHANS),
        ("list", "", "pods", ORPHANS),
        ("get patch", "", "services", BLUE_GREEN),
        ("get", "", "secrets", GATES),
        ("delete", AIBRIX, "rayclusterreplicasets", "beyond the history limit; these workloads stay below it"),
    ),
    "replicaset-controller": (
        ("patch", EVENTS, "events", SERIES),
        ("update", AIBRIX, "rayclusterreplicasets/finalizers", OWNERS),
        ("get", AIBRIX, "rayclusterreplicasets", ORPHANS),
        ("get", "", "secrets", DRAINS),
        ("list", "", "pods", DRAINS),
    ),
    "raycluster-controller": (
        ("update", "ray.io", "rayclusters/finalizers", OWNERS),
        ("get patch", "", "pods", GRANTS),
        ("patch", "", "pods/resize", GRANTS),
        ("create patch", "", "serviceaccounts", OPTIONAL),
        ("create patch", "", "persistentvolumeclaims", OPTIONAL),
        ("patch", "", "services", OPTIONAL),
        ("create patch", RBAC, "roles", OPTIONAL),
        ("create patch", RBAC, "rolebindings", OPTIONAL),
        ("create patch delete", NETWORK, "ingresses", OPTIONAL),
        ("create patch delete", NETWORK, "networkpolicies", OPTIONAL),
    ),
    "rayservice-controller": (
        ("patch", EVENTS, "events", SERIES),
        ("update", "ray.io", "rayservices/finalizers", OWNERS),
        ("patch", "ray.io", "rayservices", ONCE),
        ("patch", "ray.io", "rayclusters", ONCE),
        ("delete", "", "configmaps", ONCE),
        ("get", "", "secrets", TOKEN),
        ("watch create delete", GATEWAYS, "gateways", GATEWAY),
        ("watch create patch delete", GATEWAYS, "httproutes", GATEWAY),
    ),
}


class Recording:
    """A transport under a service account that remembers what it was used for."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.used: set[Right] = set()
        self.refused: set[str] = set()

    async def request(self, call: Call) -> Any:
        self._note(call, "")
        try:
            return await self._inner.request(call)
        except Denied as error:
            self.refused.add(f"{call.method} {call.path}: {error}")
            raise

    async def watch(self, call: Call, silence_s: float) -> AsyncGenerator[dict[str, Any], None]:
        self._note(call, "watch")
        async for event in self._inner.watch(call, silence_s):
            yield event

    async def close(self) -> None:
        pass

    def _note(self, call: Call, verb: str) -> None:
        parts = [part for part in call.path.split("/") if part]
        if parts[0] not in ("api", "apis"):
            return  # the server's version: everybody may ask
        group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
        if len(rest) > 2 and rest[0] == "namespaces":
            rest = rest[2:]
        named = len(rest) > 1
        resource = f"{rest[0]}/{rest[2]}" if len(rest) > 2 else rest[0]
        words = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
        found = verb or words.get(call.method) or ("get" if named else "list")
        self.used.add((found, group, resource))
        if ("sendInitialEvents", "true") in call.query:
            self.used.add(("list", group, resource))  # what it falls back to on servers without streamed lists
        if call.content_type == APPLY:
            self.used.add(("create", group, resource))


def accounts() -> list[tuple[str, User]]:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{NAME}", "system:authenticated")
    return [(name, User(f"system:serviceaccount:{NAME}:{name}", groups=groups)) for name in CONTROLLERS]


async def run(workload: Workload) -> dict[str, Recording]:
    """Run a workload without faults, each controller under its account; return what each was used for."""
    world = await World(0, [*workload.definitions, *missing(workload)]).start()
    await install(world)
    handler = Handler(world._api, Tokens([("t", ADMIN), *accounts()]), Authorizer(world._store))
    recordings: dict[str, Recording] = {}
    tasks = [asyncio.ensure_future(one) for one in workload.surroundings(world)]
    for name in CONTROLLERS:
        recording = Recording(LocalTransport(handler, name))
        found = controllers_of(workload, world, recording, name)
        if not found:
            continue
        recordings[name] = recording
        serve = None if workload.serve is None else workload.serve(world)
        settings = HostSettings(name, NAME, workers=4, terms=TERMS)
        host = ControllerHost(recording, found, settings, world.wall, serve, chance=random.Random(1))
        tasks.append(asyncio.ensure_future(host.run()))
    try:
        await workload.script(world)
        assert await world.until(lambda: not workload.goal(world), workload.settle_s), workload.goal(world)
        await asyncio.sleep(workload.quiet_s)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return recordings


def missing(workload: Workload) -> list[dict[str, Any]]:
    there = {definition["metadata"]["name"] for definition in workload.definitions}
    return [definition for definition in crd_documents() if definition["metadata"]["name"] not in there]


def controllers_of(workload: Workload, world: World, transport: Transport, name: str) -> Sequence[Controller]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "transport", lambda actor: transport)  # for what controllers ask for themselves
        return [controller for controller in workload.controllers(world) if controller.name == name]


async def install(world: World) -> None:
    from rayctl.kube.kinds import kind_of

    for document in documents(Installation()):
        if document["kind"] == "RayCluster":
            continue
        try:
            resource = kind_of(document["apiVersion"], document["kind"])
            path = resource.path(document["metadata"].get("namespace", ""), document["metadata"]["name"])
        except KeyError:
            plural = document["kind"].lower() + "s"
            path = f"/apis/{document['apiVersion']}/{plural}/{document['metadata']['name']}"
        await world.transport("admin").request(Call.apply(path, document, "rayctl"))


WORKLOADS = [*clusters.all_workloads(), *fleets.all_workloads(), *services.all_workloads()]


@pytest.fixture(scope="module")
def used() -> dict[str, set[Right]]:
    """Run everything; controller → what it used."""
    found: dict[str, set[Right]] = {name: set() for name in CONTROLLERS}
    for workload in WORKLOADS:
        for name, recording in run_virtual(run(workload)).items():
            assert not recording.refused, f"{workload.name}: {sorted(recording.refused)[:5]}"
            found[name] |= recording.used
    return found


@pytest.mark.parametrize("name", list(CONTROLLERS))
@pytest.mark.security("S5")
def test_what_is_granted_is_used_or_has_a_reason(used: dict[str, set[Right]], name: str) -> None:
    granted = {
        (verb, group, resource)
        for rule in [*rules_of(name), *lease_rules(name)]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert used[name] <= granted
    reasons = {
        (verb, group, resource) for verbs, group, resource, reason in UNUSED[name] if reason for verb in verbs.split()
    }
    assert granted - used[name] <= reasons
    assert reasons <= granted
