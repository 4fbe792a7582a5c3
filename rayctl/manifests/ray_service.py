"""The kind RayService, field for field as KubeRay's API has it."""

from __future__ import annotations

from typing import Any

from rayctl.manifests import ray_cluster
from rayctl.manifests.pods import service
from rayctl.manifests.schema import (
    any_object,
    boolean,
    column,
    conditions,
    definition,
    integer,
    mapping,
    moment,
    object_of,
    text,
)

__all__ = ["ray_service"]

Schema = dict[str, Any]


def _spec() -> Schema:
    gradual = object_of(
        {
            "gatewayClassName": text(),
            "stepSizePercent": integer("How much of the traffic moves at a time."),
            "intervalSeconds": integer("Seconds between two moves."),
            "maxSurgePercent": integer("How much capacity may be there in addition.", default=100),
        },
        required=("gatewayClassName", "intervalSeconds", "stepSizePercent"),
    )
    return object_of(
        {
            "rayClusterConfig": ray_cluster.spec(),
            "serveConfigV2": text("The Serve applications, as YAML in the form of serve deploy."),
            "serveService": service("The service of the applications, as a base."),
            "excludeHeadPodFromServeSvc": boolean("Whether the head takes no requests."),
            "upgradeStrategy": object_of(
                {"type": text("NewCluster, NewClusterWithIncrementalUpgrade, None."), "clusterUpgradeOptions": gradual}
            ),
            "rayClusterDeletionDelaySeconds": integer("Seconds until a replaced cluster goes.", minimum=0),
            "serviceUnhealthySecondThreshold": integer("Deprecated; has no effect."),
            "deploymentUnhealthySecondThreshold": integer("Deprecated; has no effect."),
            "suspend": boolean(),
            "managedBy": ray_cluster.managed_by(),
        },
        required=("rayClusterConfig",),
    )


def _side() -> Schema:
    deployment = object_of({"status": text(), "message": text()})
    application = object_of(
        {"status": text(), "message": text(), "serveDeploymentStatuses": mapping(deployment)},
    )
    return object_of(
        {
            "rayClusterName": text(),
            "rayClusterStatus": ray_cluster.status(),
            "applicationStatuses": mapping(application),
            "targetCapacity": integer(),
            "trafficRoutedPercent": integer(),
            "lastTrafficMigratedTime": moment(),
        }
    )


def _status() -> Schema:
    return object_of(
        {
            "serviceStatus": text(),
            "numServeEndpoints": integer(),
            "activeServiceStatus": _side(),
            "pendingServiceStatus": _side(),
            "conditions": conditions(),
            "lastUpdateTime": moment(),
            "observedGeneration": integer(bits=64),
            "switchover": any_object("rayctl's own: from, to, step, deadline, trace and history of switches."),
        }
    )


def ray_service() -> Schema:
    """Return the definition."""
    return definition(
        "ray.io",
        "v1",
        "RayService",
        "rayservices",
        _spec(),
        _status(),
        [
            column("service status", "string", ".status.serviceStatus"),
            column("num serve endpoints", "string", ".status.numServeEndpoints"),
        ],
    )
