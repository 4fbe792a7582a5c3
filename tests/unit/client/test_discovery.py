"""What servers say that they have, in the new form and in the old one, and what people call it."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from rayctl.client.kube.discovery import Kinds, discover, from_aggregated
from rayctl.errors import NotFound
from rayctl.kube.calls import Call


def entry(plural: str, kind: str, short: tuple[str, ...] = (), scope: str = "Namespaced") -> dict[str, Any]:
    return {
        "resource": plural,
        "responseKind": {"kind": kind},
        "scope": scope,
        "singularResource": kind.lower(),
        "shortNames": list(short),
        "verbs": ["get", "list"],
        "subresources": [{"subresource": "status"}],
    }


def group(name: str, **versions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "versions": [{"version": version, "resources": found} for version, found in versions.items()],
    }


PODS = entry("pods", "Pod", ("po",))
AGGREGATED = {
    "kind": "APIGroupDiscoveryList",
    "items": [
        group(
            "", v1=[entry("pods", "Pod", ("po",)), entry("replicationcontrollers", "ReplicationController", ("rc",))]
        ),
        group("serving.test", v1=[entry("services", "Service")]),
        group("ray.io", v1=[entry("rayclusters", "RayCluster")], v1alpha1=[entry("rayclusters", "RayCluster")]),
    ],
}


def test_names() -> None:
    kinds = Kinds(from_aggregated(AGGREGATED))
    assert kinds.find("po").resource.path("n", "x") == "/api/v1/namespaces/n/pods/x"
    assert kinds.find("rayclusters").resource.version == "v1"
    assert kinds.find("raycluster.v1alpha1.ray.io").resource.version == "v1alpha1"
    assert kinds.find("clusters").resource.kind == "RayCluster"
    assert kinds.of("ray.io/v1alpha1", "RayCluster").resource.version == "v1alpha1"
    assert kinds.find("pods").subresources == {"status"}


def test_rc_is_a_ray_cluster_even_beside_replication_controllers() -> None:
    assert Kinds(from_aggregated(AGGREGATED)).find("rc").resource.kind == "RayCluster"
    without = {**AGGREGATED, "items": AGGREGATED["items"][:1]}
    with pytest.raises(NotFound, match="does not know the kind RayCluster"):
        Kinds(from_aggregated(without)).find("rc")


def test_a_manifest_of_another_version() -> None:
    with pytest.raises(NotFound) as caught:
        Kinds(from_aggregated(AGGREGATED)).of("ray.io/v2", "RayCluster")
    assert caught.value.hint == "It has RayCluster of ray.io/v1, ray.io/v1alpha1."


class OldServer:
    """Answers like a server before 1.26, which knows no aggregated discovery."""

    answers: ClassVar[dict[str, Any]] = {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "groups": [
                {
                    "name": "ray.io",
                    "versions": [{"groupVersion": "ray.io/v1alpha1"}, {"groupVersion": "ray.io/v1"}],
                    "preferredVersion": {"groupVersion": "ray.io/v1"},
                }
            ],
        },
        "/api/v1": {
            "groupVersion": "v1",
            "resources": [
                {"name": "pods", "kind": "Pod", "namespaced": True, "shortNames": ["po"], "verbs": ["get"]},
                {"name": "pods/log", "kind": "Pod", "namespaced": True},
            ],
        },
        "/apis/ray.io/v1": {
            "groupVersion": "ray.io/v1",
            "resources": [{"name": "rayclusters", "kind": "RayCluster", "namespaced": True}],
        },
        "/apis/ray.io/v1alpha1": {
            "groupVersion": "ray.io/v1alpha1",
            "resources": [{"name": "rayclusters", "kind": "RayCluster", "namespaced": True}],
        },
    }

    def request(self, call: Call, accept: str = "") -> Any:
        return self.answers[call.path]


def test_an_old_server() -> None:
    kinds = discover(OldServer())  # type: ignore[arg-type]
    assert kinds.find("rc").resource.version == "v1"
    assert kinds.find("po").subresources == {"log"}
