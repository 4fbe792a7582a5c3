"""Endpoints of services: the rules, and the controller that keeps them while pods come, change and go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from rayctl.embedded.apiserver.access.tokens import ADMIN
from rayctl.embedded.apiserver.controllers.endpoints import PER_SLICE, endpoints_of, slices_of
from rayctl.embedded.apiserver.requests import Request, Response
from rayctl.embedded.apiserver.server import Options, Server

CORE = "/api/v1/namespaces/default"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


def service(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "s", "namespace": "default", "uid": "s-uid", "labels": {"team": "t"}}
    base = {"selector": {"app": "a"}, "clusterIP": "127.96.0.9", "ports": [{"name": "web", "port": 80}]}
    return {"metadata": metadata, "spec": base | spec}


def pod(name: str = "p", ready: bool = True, going: bool = False, **more: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": f"{name}-uid", "labels": {"app": "a"}}
    if going:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ports = [{"name": "http", "containerPort": 8000, "protocol": "TCP"}]
    spec = {"containers": [{"name": "c", "ports": ports}], "nodeName": "n"} | more.pop("spec", {})
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"phase": "Running", "podIP": f"127.1.0.{1 + sum(name.encode()) % 250}", "conditions": conditions} | more
    return {"metadata": metadata, "spec": spec, "status": status}


@pytest.mark.parametrize("always", [False, True])
@pytest.mark.parametrize("going", [False, True])
@pytest.mark.parametrize("ready", [False, True])
def test_conditions_and_the_older_form(ready: bool, going: bool, always: bool) -> None:
    served = service(publishNotReadyAddresses=always)
    pods = [pod(ready=ready, going=going)]
    [found] = slices_of(served, pods)
    assert [e["conditions"] for e in found["endpoints"]] == [
        {"ready": always or (ready and not going), "serving": ready, "terminating": going}
    ]
    subsets = endpoints_of(served, pods).get("subsets", [])
    if going and not always:
        assert subsets == []
    else:
        [subset] = subsets
        assert list(subset) == ["addresses" if ready or always else "notReadyAddresses", "ports"]


@pytest.mark.parametrize(
    ("changed", "count"),
    [
        ({}, 1),
        ({"podIP": None}, 0),
        ({"phase": "Succeeded"}, 0),
        ({"phase": "Failed"}, 0),
        ({"phase": "Pending"}, 1),
    ],
)
def test_which_pods_count(changed: dict[str, Any], count: int) -> None:
    [found] = slices_of(service(), [pod(**changed)])
    assert len(found["endpoints"]) == count
    assert found["ports"] == ([{"name": "web", "port": 80, "protocol": "TCP"}] if count else None)


def test_pods_with_other_labels_do_not_count() -> None:
    other = pod()
    other["metadata"]["labels"] = {"app": "b"}
    assert slices_of(service(), [other])[0]["endpoints"] == []


@pytest.mark.parametrize(
    ("target", "number"),
    [(8000, 8000), ("http", 8000), ("none", None), (None, 80)],
    ids=["number", "name", "gone", "default"],
)
def test_targets(target: int | str | None, number: int | None) -> None:
    port = {"name": "web", "port": 80, "protocol": "TCP"}
    if target is not None:
        port["targetPort"] = target
    [found] = slices_of(service(ports=[port]), [pod()])
    assert found["ports"] == (None if number is None else [{"name": "web", "port": number, "protocol": "TCP"}])


def test_a_port_name_of_another_protocol_or_of_a_sidecar() -> None:
    port = {"name": "web", "port": 80, "protocol": "UDP", "targetPort": "http"}
    assert slices_of(service(ports=[port]), [pod()])[0]["ports"] is None
    sidecar = {"name": "i", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 9}]}
    port = {"name": "web", "port": 80, "targetPort": "side"}
    found = slices_of(service(ports=[port]), [pod(spec={"initContainers": [sidecar]})])
    assert found[0]["ports"] == [{"name": "web", "port": 9, "protocol": "TCP"}]


def test_pods_whose_named_ports_differ_are_in_slices_of_their_own() -> None:
    port = {"name": "web", "port": 80, "targetPort": "http"}
    other = pod("q", spec={"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 9000}]}]})
    found = slices_of(service(ports=[port]), [pod(), other])
    assert sorted((s["ports"][0]["port"], s["endpoints"][0]["targetRef"]["name"]) for s in found) == [
        (8000, "p"),
        (9000, "q"),
    ]


def test_headless_services_hostnames_and_labels() -> None:
    headless = service(clusterIP="None", ports=[])
    [found] = slices_of(headless, [pod(spec={"hostname": "h", "subdomain": "s"})])
    assert found["endpoints"][0]["hostname"] == "h"
    assert found["metadata"]["labels"] == {
        "team": "t",
        "service.kubernetes.io/headless": "",
        "kubernetes.io/service-name": "s",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert endpoints_of(headless, [pod()])["subsets"][0]["addresses"][0]["targetRef"]["uid"] == "p-uid"


def test_many_endpoints_are_cut_into_slices_whose_names_stay() -> None:
    pods = [pod(f"p{number:03d}") for number in range(2 * PER_SLICE + 1)]
    found = slices_of(service(), pods)
    assert [len(s["endpoints"]) for s in found] == [PER_SLICE, PER_SLICE, 1]
    names = [s["metadata"]["name"] for s in found]
    assert len(set(names)) == 3
    assert [s["metadata"]["name"] for s in slices_of(service(), reversed(pods[:-1]))] == names[:2]


# The controller ---------------------------------------------------------------------------------------


class Client:
    def __init__(self, server: Server) -> None:
        self.server = server

    async def __call__(
        self, method: str, target: str, body: Any = None, kind: str = "application/json", accept: str = "*/*"
    ) -> Any:
        raw = b"" if body is None else json.dumps(body).encode()
        headers = {"authorization": "Bearer t", "content-type": kind, "accept": accept}
        answer = await self.server.handler.handle(Request.make(method, target, headers, raw))
        assert isinstance(answer, Response)
        return json.loads(answer.body)

    async def until(self, target: str, holds: Callable[[Any], bool]) -> Any:
        for _ in range(200):
            found = await self("GET", target)
            if holds(found):
                return found
            await asyncio.sleep(0.005)
        raise AssertionError(found)

    async def quiet(self) -> int:
        """Return the revision at which nothing is left to do."""
        revision = -1
        while revision != self.server.api.store.revision:
            revision = self.server.api.store.revision
            for _ in range(50):
                await asyncio.sleep(0)
        return revision


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    server = Server(Options(tokens=[("t", ADMIN)]))
    await server.start()
    found = Client(server)
    for path in (SLICES, f"{CORE}/endpoints"):
        await found("DELETE", f"{path}/kubernetes")  # the server's own would be in all lists
    yield found
    await server.stop()


def ready_addresses(found: Any) -> list[str]:
    return sorted(e["addresses"][0] for s in found["items"] for e in s["endpoints"] if e["conditions"]["ready"])


async def make_pod(client: Client, name: str, address: str, ready: bool = True) -> None:
    spec = {
        "nodeName": "n",
        "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8000}]}],
    }
    await client("POST", f"{CORE}/pods", {"metadata": {"name": name, "labels": {"app": "a"}}, "spec": spec})
    conditions = [{"type": "Ready", "status": str(ready)}]
    status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}}
    await client("PATCH", f"{CORE}/pods/{name}/status", status, "application/merge-patch+json")


async def test_a_services_life(client: Client) -> None:
    spec = {"selector": {"app": "a"}, "ports": [{"port": 80, "targetPort": "http"}]}
    made = await client("POST", f"{CORE}/services", {"metadata": {"name": "s"}, "spec": spec})
    await client.until(SLICES, lambda found: [s["endpoints"] for s in found["items"]] == [[]])
    [row] = (await client("GET", SLICES, accept="application/json;as=Table;v=v1;g=meta.k8s.io"))["rows"]
    assert row["cells"][1:4] == ["IPv4", "<unset>", "<unset>"]
    await make_pod(client, "one", "127.1.0.1")
    await make_pod(client, "two", "127.1.0.2", ready=False)
    found = await client.until(SLICES, lambda found: ready_addresses(found) == ["127.1.0.1"])
    [held] = found["items"]
    assert held["ports"] == [{"name": "", "port": 8000, "protocol": "TCP"}]
    assert held["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert len(held["endpoints"]) == 2
    subsets = (await client("GET", f"{CORE}/endpoints/s"))["subsets"]
    assert [a["ip"] for a in subsets[0]["addresses"]] == ["127.1.0.1"]
    assert [a["ip"] for a in subsets[0]["notReadyAddresses"]] == ["127.1.0.2"]

    revision = await client.quiet()
    await client("PATCH", f"{CORE}/pods/one/status", {"status": {"message": "m"}}, "application/merge-patch+json")
    assert await client.quiet() == revision + 1, "what does not concern endpoints causes no writes"

    await client("DELETE", f"{CORE}/pods/one")  # it ends with grace: bound, and nobody confirms
    found = await client.until(SLICES, lambda found: ready_addresses(found) == [])
    assert [e["conditions"]["terminating"] for e in found["items"][0]["endpoints"]] == [True, False]
    await client("DELETE", f"{CORE}/pods/one?gracePeriodSeconds=0")
    await client.until(SLICES, lambda found: len(found["items"][0]["endpoints"]) == 1)
    await client("DELETE", f"{SLICES}/{held['metadata']['name']}")
    await client.until(SLICES, lambda found: len(found["items"]) == 1)

    await client("DELETE", f"{CORE}/services/s")
    await client.until(SLICES, lambda found: found["items"] == [])
    await client.until(f"{CORE}/endpoints", lambda found: found["items"] == [])
    again = await client("POST", f"{CORE}/services", {"metadata": {"name": "s"}, "spec": spec})
    assert again["spec"]["clusterIP"] == made["spec"]["clusterIP"], "the address of a name is the same again"
    assert again["spec"]["clusterIP"].startswith("127.96.")


async def test_what_others_made_for_a_service_without_a_selector_stays(client: Client) -> None:
    await client("POST", f"{CORE}/services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
    slice_ = {
        "metadata": {"name": "mine", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}],
    }
    await client("POST", SLICES, slice_)
    await client(
        "POST", f"{CORE}/endpoints", {"metadata": {"name": "s"}, "subsets": [{"addresses": [{"ip": "10.0.0.1"}]}]}
    )
    revision = await client.quiet()
    assert [s["metadata"]["name"] for s in (await client("GET", SLICES))["items"]] == ["mine"]
    await client("DELETE", f"{CORE}/services/s")
    assert await client.quiet() == revision + 1
