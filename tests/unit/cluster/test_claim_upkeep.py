"""The claim of the embedded store goes or stays as the specification says now, and is never changed otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl.cluster.gcs_ft.claim_upkeep import DRIFT, drift, ownership
from rayctl.cluster.gcs_ft.inject import claim
from rayctl.cluster.gcs_ft.options import fault_tolerance
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.seen import read_seen
from rayctl.cluster.spec import parse_cluster
from rayctl.core.plan import Patch
from tests.unit.cluster.sample import World, cluster

OTHER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "other"}
KEY = ("PersistentVolumeClaim", "sample-gcs-pvc")


def kept(**storage: Any) -> dict[str, Any]:
    return cluster(gcsFaultToleranceOptions={"backend": "rocksdb", "storage": storage})


def live(policy: str = "DeleteWithCluster", **metadata: Any) -> dict[str, Any]:
    spec = parse_cluster(kept(deletionPolicy=policy))
    found = claim(spec, fault_tolerance(spec))
    assert found is not None
    return {**found, "metadata": {**found["metadata"], "uid": "c", "resourceVersion": "7", **metadata}}


@pytest.mark.parametrize(
    ("policy", "there", "owners"),
    [
        ("DeleteWithCluster", live(), None),
        ("Retain", live("Retain"), None),
        ("Retain", live(), []),
        ("Retain", live(ownerReferences=[*live()["metadata"]["ownerReferences"], OTHER]), [OTHER]),
        ("DeleteWithCluster", live("Retain"), live()["metadata"]["ownerReferences"]),
        ("DeleteWithCluster", live("Retain", labels={}), None),
        ("DeleteWithCluster", live(ownerReferences=[OTHER]), None),
    ],
    ids=["owned", "kept", "to be kept", "to be kept by another", "to go", "not made for it", "another's"],
)
def test_who_owns_it(policy: str, there: dict[str, Any], owners: Any) -> None:
    spec = parse_cluster(kept(deletionPolicy=policy))
    wanted = claim(spec, fault_tolerance(spec))
    assert wanted is not None
    change = ownership(wanted, there, spec)
    assert (None if change is None else (change.changes["metadata"]["ownerReferences"], change.revision)) == (
        None if owners is None else (owners, "7")
    )


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ({}, ""),
        ({"size": "1024Mi"}, ""),
        ({"size": "2Gi"}, "size 1Gi instead of 2Gi"),
        ({"accessModes": ["ReadWriteMany"]}, "accessModes ReadWriteOnce instead of ReadWriteMany"),
        ({"storageClassName": "fast"}, "storageClassName (none) instead of fast"),
        ({"claimName": "mine"}, ""),
    ],
)
def test_what_differs_is_told(storage: dict[str, Any], words: str) -> None:
    seen = read_seen({"cluster": kept(**storage), "children": [live()]}, ClusterOptions())
    told = drift(seen)
    assert [reason for reason, _ in told] == ([DRIFT] if words else [])
    assert words in "".join(text for _, text in told)


def test_a_cluster_whose_claim_is_to_be_kept_from_now_on() -> None:
    world = World(kept())
    world.settle()
    made = world.children[KEY]
    made["metadata"] |= {"resourceVersion": "3"}
    world.change(
        gcsFaultToleranceOptions={"backend": "rocksdb", "storage": {"deletionPolicy": "Retain", "size": "3Gi"}}
    )
    plan = world.plan()
    patches = [action for action in plan.singles if isinstance(action, Patch)]
    assert [(patch.ref.name, patch.changes) for patch in patches] == [
        ("sample-gcs-pvc", {"metadata": {"ownerReferences": []}})
    ]
    made["metadata"] |= {"ownerReferences": []}
    world.settle()
    warned = next(item for item in world.cluster["status"]["conditions"] if item["type"] == "SpecWarned")
    assert (warned["status"], warned["reason"]) == ("True", DRIFT)
    assert not world.plan().writes
