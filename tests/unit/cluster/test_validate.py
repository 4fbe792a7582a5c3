"""What is refused, and why (KubeRay's expectations 18 to 20)."""
# ruff: noqa: S106 (no passwords)

from __future__ import annotations

from typing import Any

import pytest

from rayctl.cluster import keys
from rayctl.cluster.gcs_ft.inject import FOLDER
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.validate import check_cluster, warnings
from tests.unit.cluster.sample import group, spec_of, template

OPTIONS = ClusterOptions()
ON = {keys.FT_ENABLED: "true"}
ROCKS = {"backend": "rocksdb"}


def env(**values: str) -> dict[str, Any]:
    return {"template": template(env=[{"name": name, "value": value} for name, value in values.items()])}


def mounted(mount: dict[str, str], volumes: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"template": template(pod={"volumes": volumes or []}, volumeMounts=[mount] if mount else [])}


REFUSED: list[tuple[dict[str, Any], str]] = [
    # 1 to 13: fault tolerance.
    ({"annotations": ON, "gcsFaultToleranceOptions": {}}, "remove the annotation"),
    ({"annotations": {keys.FT_ENABLED: "false"}, "gcsFaultToleranceOptions": {}}, "whatever its value"),
    ({"head": env(RAY_REDIS_ADDRESS="r:1")}, "RAY_REDIS_ADDRESS alone"),
    ({"head": env(RAY_REDIS_ADDRESS="r:1"), "annotations": {keys.FT_ENABLED: "false"}}, "RAY_REDIS_ADDRESS alone"),
    (
        {"head": {"template": template(), "rayStartParams": {"redis-password": "x"}}, "gcsFaultToleranceOptions": {}},
        "redisPassword instead",
    ),
    ({"head": env(REDIS_PASSWORD="x"), "gcsFaultToleranceOptions": {}}, "REDIS_PASSWORD: use"),
    ({"head": env(RAY_REDIS_ADDRESS="x"), "gcsFaultToleranceOptions": {}}, "RAY_REDIS_ADDRESS: use"),
    (
        {"annotations": {keys.STORAGE_NAMESPACE: "n"}, "gcsFaultToleranceOptions": {}},
        "externalStorageNamespace instead",
    ),
    ({"head": env(REDIS_USERNAME="x")}, "redisUsername only"),
    ({"head": env(REDIS_USERNAME="x"), "annotations": ON}, "redisUsername only"),
    ({"head": {"template": template(), "rayStartParams": {"redis-username": "x"}}}, "redisUsername only"),
    ({"gcsFaultToleranceOptions": {**ROCKS, "redisAddress": "r:1"}}, "for the backend redis only"),
    ({"gcsFaultToleranceOptions": {**ROCKS, "redisUsername": {"value": "u"}}}, "for the backend redis only"),
    ({"gcsFaultToleranceOptions": {**ROCKS, "redisPassword": {"value": "u"}}}, "for the backend redis only"),
    ({"gcsFaultToleranceOptions": {**ROCKS, "externalStorageNamespace": "n"}}, "for the backend redis only"),
    ({"gcsFaultToleranceOptions": {**ROCKS, "storage": {"claimName": "c", "size": "1Gi"}}}, "one of your own"),
    ({"gcsFaultToleranceOptions": ROCKS, "head": env(RAY_gcs_storage="x")}, "set by the backend"),
    ({"gcsFaultToleranceOptions": ROCKS, "head": env(RAY_gcs_storage_path="x")}, "set by the backend"),
    ({"gcsFaultToleranceOptions": ROCKS, "head": mounted({"name": "v", "mountPath": FOLDER})}, "made by the backend"),
    (
        {"gcsFaultToleranceOptions": ROCKS, "head": mounted({"name": "gcs-storage", "mountPath": "/x"})},
        "made by the backend",
    ),
    ({"gcsFaultToleranceOptions": ROCKS, "head": mounted({}, [{"name": "gcs-storage"}])}, "made by the backend"),
    ({"gcsFaultToleranceOptions": {"redisAddress": "r:1", "storage": {"size": "1Gi"}}}, "rocksdb only"),
    # Everything else.
    ({"name": "a" * 54}, "at most 53"),
    ({"name": "1a"}, "DNS label"),
    ({"head": {"template": {"spec": {"containers": []}}}}, "at least one container"),
    ({"groups": [group(template={"spec": {"containers": []}})]}, "at least one container"),
    ({"groups": [group(), group()]}, "name of another group"),
    ({"groups": [group(name="headgroup")]}, "name of another group"),
    ({"groups": [group(minReplicas=None)]}, "must both be set"),
    ({"groups": [group(minReplicas=-1)]}, "negative"),
    ({"groups": [group(maxReplicas=-1, minReplicas=-2)]}, "negative"),
    ({"groups": [group(minReplicas=5, maxReplicas=4)]}, "greater than maxReplicas"),
    ({"groups": [group(resources={"cpu": "1"}, rayStartParams={"num-cpus": "1"})]}, "use only one"),
    ({"head": {"template": template(), "resources": {"cpu": "many"}}}, "not a quantity"),
    ({"groups": [group(rayStartParams={"labels": "a=b"})]}, "use the field labels"),
    ({"groups": [group(labels={"a/b/c": "d"})]}, "name of a label"),
    ({"groups": [group(labels={"a": "-"})]}, "value of a label"),
    ({"groups": [group(idleTimeoutSeconds=60)]}, "needs autoscaler v2"),
    ({"groups": [group(priority=3)], "rayVersion": "2.55.0"}, "Ray 2.56"),
    ({"enableInTreeAutoscaling": True, "groups": [group(suspend=True)]}, "cannot be suspended"),
    ({"head": env(RAY_enable_autoscaler_v2="1")}, "enableInTreeAutoscaling is not"),
    (
        {
            "head": env(RAY_enable_autoscaler_v2="0"),
            "enableInTreeAutoscaling": True,
            "autoscalerOptions": {"version": "v2"},
        },
        "use only the latter",
    ),
    (
        {
            "groups": [group(template=template(pod={"restartPolicy": "Always"}))],
            "enableInTreeAutoscaling": True,
            "autoscalerOptions": {"version": "v2"},
        },
        "needs Never",
    ),
    ({"autoscalerOptions": {"idleTimeoutSeconds": -1}}, "negative"),
    ({"autoscalerOptions": {"env": [{"name": "KUBERAY_GEN_AUTOSCALER_START_CMD"}]}}, "made by the controller"),
    ({"authOptions": {"mode": "token"}, "rayVersion": "2.51.0"}, "needs Ray 2.52"),
    ({"authOptions": {"mode": "token"}, "rayVersion": ""}, "not set"),
    ({"authOptions": {"mode": "token", "enableK8sTokenAuth": True}, "rayVersion": "2.54.0"}, "needs Ray 2.55"),
    ({"authOptions": {"mode": "token", "enableK8sTokenAuth": True, "secretName": "s"}}, "there is no secret"),
    ({"authOptions": {"enableK8sTokenAuth": True}}, "needs mode: token"),
    ({"upgradeStrategy": {"type": "Sometimes"}}, "not one of"),
    ({"upgradeStrategy": {"type": "Recreate"}, "labels": {keys.ORIGIN_KIND: "RayService"}}, "RayService decides"),
    ({"annotations": {keys.UPGRADE_STRATEGY: "Slow"}}, "is not RollingUpdate"),
    ({"tlsOptions": {"enabled": True}}, "mutual TLS"),
    ({"historyServerOptions": {}}, "history server"),
]


@pytest.mark.parametrize(("asked", "text"), REFUSED)
def test_refused(asked: dict[str, Any], text: str) -> None:
    problems = check_cluster(spec_of(**asked), OPTIONS)
    assert any(text in str(problem) for problem in problems), problems
    assert all(problem.path and problem.message for problem in problems)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"annotations": ON, "head": env(RAY_REDIS_ADDRESS="r:1", REDIS_PASSWORD="p")},
        {"annotations": {**ON, keys.STORAGE_NAMESPACE: "n"}, "head": env(RAY_REDIS_ADDRESS="r:1")},
        {"gcsFaultToleranceOptions": {"redisAddress": "r:1", "redisUsername": {"value": "u"}}},
        {"gcsFaultToleranceOptions": {**ROCKS, "storage": {"claimName": "c", "subPath": "a"}}},
        {"enableInTreeAutoscaling": True, "groups": [group(minReplicas=None, maxReplicas=None)]},
        {"groups": [group(suspend=True)]},
        {"upgradeStrategy": {"type": "Recreate"}},
        {"annotations": {keys.UPGRADE_STRATEGY: "RollingUpdate"}},
        {
            "groups": [group(idleTimeoutSeconds=60, priority=1)],
            "enableInTreeAutoscaling": True,
            "autoscalerOptions": {"version": "v2"},
        },
    ],
)
def test_accepted(asked: dict[str, Any]) -> None:
    assert check_cluster(spec_of(**asked), OPTIONS) == []


def test_everything_that_is_wrong_is_told_at_once() -> None:
    problems = check_cluster(spec_of(name="1", groups=[group(minReplicas=-1)], tlsOptions={}), OPTIONS)
    assert {problem.path for problem in problems} >= {"metadata.name", "spec.tlsOptions"}


def test_the_embedded_store_can_be_switched_off() -> None:
    spec = spec_of(gcsFaultToleranceOptions=ROCKS)
    assert check_cluster(spec, OPTIONS) == []
    assert "switched off" in str(check_cluster(spec, ClusterOptions(embedded_storage=False))[0])


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"annotations": ON, "head": env(RAY_REDIS_ADDRESS="r:1")}, "DeprecatedFaultToleranceAnnotation"),
        ({"gcsFaultToleranceOptions": {}}, "RedisAddressMissing"),
        ({"gcsFaultToleranceOptions": {"redisAddress": "http://r"}}, "RedisAddressNotUnderstood"),
        ({"gcsFaultToleranceOptions": ROCKS, "rayVersion": "2.52.0"}, "EmbeddedStoreNotSupported"),
        (
            {
                "gcsFaultToleranceOptions": {"redisAddress": "r:1", "externalStorageNamespace": "n"},
                "labels": {keys.ORIGIN_KIND: "RayService"},
            },
            "StorageNamespaceShared",
        ),
        ({"labels": {"volcano.sh/queue-name": "q"}}, "BatchSchedulerNotUsed"),
    ],
)
def test_warned(asked: dict[str, Any], reason: str) -> None:
    spec = spec_of(**asked)
    assert reason in [found for found, _ in warnings(spec)]
    assert check_cluster(spec, OPTIONS) == []
