"""Claims of volumes: which get a folder, which keep it, and what is said to pods that wait for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rayctl.embedded.apiserver.registry import Registry
from rayctl.embedded.apiserver.tables import columns_of
from rayctl.embedded.kubelet.claims import (
    PROTECTED,
    bound_status,
    claim_refusal,
    hindrance,
    plan_claims,
    volume_document,
)

Document = dict[str, Any]


def claim(name: str = "c", phase: str = "Pending", spec: Document | None = None, **metadata: Any) -> Document:
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **(spec or {})}
    return {
        "metadata": {"namespace": "default", "name": name, "uid": f"uid-{name}", **metadata},
        "spec": asked,
        "status": {"phase": phase},
    }


def pod(name: str = "c", phase: str = "Running") -> Document:
    volumes = [{"name": "x", "emptyDir": {}}, {"name": "y", "persistentVolumeClaim": {"claimName": name}}]
    return {"metadata": {"namespace": "default"}, "spec": {"volumes": volumes}, "status": {"phase": phase}}


GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [PROTECTED]}


@pytest.mark.parametrize(
    ("claims", "pods", "folders", "steps"),
    [
        ([claim()], [], [], [("bind", "uid-c")]),
        ([claim(phase="Bound")], [], ["uid-c"], []),
        ([claim(phase="Bound", **GOING)], [pod()], ["uid-c"], []),
        ([claim(phase="Bound", **GOING)], [pod(phase="Succeeded")], ["uid-c"], [("release", "uid-c")]),
        ([claim(phase="Bound", **GOING)], [pod("other")], ["uid-c"], [("release", "uid-c")]),
        ([claim(deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["mine"])], [], [], []),
        ([claim(phase="Bound")], [], ["uid-c", "uid-old"], [("sweep", "uid-old")]),
        ([claim(spec={"volumeMode": "Block"})], [], [], [("refuse", "uid-c")]),
    ],
    ids=["new", "at rest", "in use", "pod ended", "unused", "never bound", "left over", "refused"],
)
def test_what_is_done(claims: list[Document], pods: list[Document], folders: list[str], steps: list[Any]) -> None:
    found = plan_claims(claims, [], pods, folders)
    assert [(step.do, step.uid) for step in found] == steps


def test_only_volumes_made_here_are_swept() -> None:
    ours = volume_document(claim(), Path("folder"), "node")
    users = {**ours, "metadata": {"name": "theirs", "annotations": {}}}
    named = {**ours, "metadata": {**ours["metadata"], "name": "pvc-of-another"}}
    assert [step.uid for step in plan_claims([], [users, named], [], [])] == []
    assert [(step.do, step.uid) for step in plan_claims([], [ours], [], [])] == [("sweep", "uid-c")]
    assert plan_claims([claim(phase="Bound")], [ours], [], ["uid-c"]) == []


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"volumeName": "theirs"}, "theirs"),
        ({"selector": {"matchLabels": {"a": "b"}}}, "selector"),
        ({"storageClassName": ""}, "asks for no volume"),
        ({"accessModes": ["ReadWriteOncePod"]}, "ReadWriteOncePod"),
    ],
)
def test_what_cannot_be_had_is_said(spec: Document, word: str) -> None:
    assert word in (claim_refusal(claim(spec=spec)) or "")


def test_any_class_is_served() -> None:
    document = claim(spec={"storageClassName": "standard"})
    assert claim_refusal(document) is None
    assert volume_document(document, Path("folder"), "node")["spec"]["storageClassName"] == "standard"
    assert bound_status(document)["capacity"] == {"storage": "1Gi"}


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ([], 'persistentvolumeclaim "c" not found'),
        ([claim("other", "Bound")], 'persistentvolumeclaim "c" not found'),
        ([claim()], "pod has unbound immediate PersistentVolumeClaims"),
        ([claim(phase="Bound", **GOING)], 'persistentvolumeclaim "c" is being deleted'),
        ([claim(phase="Bound")], ""),
    ],
)
def test_a_pod_waits_for_its_claim(claims: list[Document], words: str) -> None:
    assert hindrance(pod(), claims) == words


def test_kubectl_sees_a_claim_that_must_wait_as_terminating() -> None:
    resource = Registry().find("", "v1", "persistentvolumeclaims")
    assert resource is not None
    going = claim(spec={"volumeName": "pvc-c", "storageClassName": "rayctl-local"}, **GOING)
    going["status"] = bound_status(going)
    cells = {column.name: column.read(going, 0) for column in columns_of(resource) if column.name != "Age"}
    assert list(cells.values()) == ["c", "Terminating", "pvc-c", "1Gi", "RWO", "rayctl-local"]
