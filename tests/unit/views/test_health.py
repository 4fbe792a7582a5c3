"""The doctor's checks: what is seen, and what is said of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from rayctl.clock import iso
from rayctl.manifests import crd_documents
from rayctl.views.health import (
    check_access,
    check_clock,
    check_cluster,
    check_definition,
    check_kuberay,
    check_lease,
    check_server,
)

NOW = 1_800_000_000.0
WANTED = crd_documents("RayCluster")[0]
ESTABLISHED = {"conditions": [{"type": "Established", "status": "True", "reason": "InitialNamesAccepted"}]}


@pytest.mark.parametrize(
    ("version", "latency_s", "state"),
    [
        ({"major": "1", "minor": "36"}, 0.1, "ok"),
        ({"major": "1", "minor": "27+"}, 0.1, "ok"),
        ({"major": "1", "minor": "24"}, 0.1, "fail"),
        ({"major": "1", "minor": "36"}, 2.0, "warn"),
        ({}, 0.1, "fail"),
    ],
)
def test_servers(version: dict[str, str], latency_s: float, state: str) -> None:
    assert check_server(version, latency_s).state == state


@pytest.mark.parametrize(
    ("server_at", "state"),
    [(NOW, "ok"), (NOW + 4, "ok"), (NOW - 5, "ok"), (NOW + 60, "warn"), (NOW - 60, "warn"), (None, "unknown")],
)
def test_clocks(server_at: float | None, state: str) -> None:
    assert check_clock(server_at, NOW + 0.2, NOW + 0.4).state == state


def live(**changes: Any) -> dict[str, Any]:
    found = copy.deepcopy(WANTED) | {"status": ESTABLISHED}
    found["spec"]["versions"][0] |= changes
    return found


def test_definitions() -> None:
    assert check_definition(WANTED, live(), False).state == "ok"
    assert check_definition(WANTED, None, False).state == "fail"
    assert check_definition(WANTED, live() | {"status": {}}, False).state == "fail"
    assert check_definition(WANTED, live(served=False), False).state == "fail"
    other = live(schema={"openAPIV3Schema": {"type": "object"}})
    assert check_definition(WANTED, other, False).state == "warn"
    assert check_definition(WANTED, other, True).state == "ok"


def test_leases() -> None:
    def lease(age_s: float, holder: str = "me") -> dict[str, Any]:
        return {"spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": iso(NOW - age_s)}}

    assert check_lease("c", lease(3), NOW).state == "ok"
    assert check_lease("c", lease(60), NOW).message == "me has not renewed for 1m00s"
    assert check_lease("c", lease(3, ""), NOW).state == "fail"
    assert check_lease("c", {"spec": {}}, NOW).state == "fail"
    assert check_lease("c", None, NOW).state == "fail"


def test_rights() -> None:
    assert check_access("c", [], 3).state == "ok"
    found = check_access("c", ["get a", "get b", "get c", "get d", "get e"], 5)
    assert (found.state, found.message) == ("fail", "may not get a, get b, get c, get d and 1 more")
    assert check_access("you", ["get a"], 1).state == "warn"
    assert check_access("c", ["get a"], 1, leads_elsewhere=True).state == "ok"


def test_kuberay() -> None:
    operator = {"metadata": {"namespace": "ops", "name": "kuberay-operator"}}
    assert "ops/kuberay-operator" in check_kuberay([operator]).message
    assert check_kuberay([]).state == "ok"
    assert check_kuberay(None).state == "unknown"


def test_the_control_planes_cluster() -> None:
    ready = {"type": "Ready", "status": "True", "reason": "Ready", "observedGeneration": 1}
    document = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "rayctl-system", "namespace": "s", "generation": 1},
        "spec": {"rayVersion": "2.60.0"},
        "status": {"observedGeneration": 1, "conditions": [ready]},
    }
    assert check_cluster(document, "2.60.1").state == "ok"
    assert check_cluster(document, "2.61.0").state == "warn"
    assert check_cluster({**document, "status": {}}, "2.60.0").state == "fail"
    assert check_cluster(None, "2.60.0").state == "fail"
    assert check_cluster(None, "2.60.0", led=True).state == "ok"
