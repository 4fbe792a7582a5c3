"""Labels, annotations and other fixed words of RayClusters: KubeRay's, so that all tools keep working, and ours."""

from __future__ import annotations

__all__: list[str] = []

# Labels of pods, services and clusters.
CLUSTER = "ray.io/cluster"
NODE_TYPE = "ray.io/node-type"
GROUP = "ray.io/group"
IS_RAY_NODE = "ray.io/is-ray-node"
IDENTIFIER = "ray.io/identifier"
SERVE = "ray.io/serve"
REPLICA_INDEX = "ray.io/worker-group-replica-index"
REPLICA_NAME = "ray.io/worker-group-replica-name"
HOST_INDEX = "ray.io/replica-host-index"
HEADLESS_SERVICE = "ray.io/headless-worker-svc"
ORIGIN_NAME = "ray.io/originated-from-cr-name"
ORIGIN_KIND = "ray.io/originated-from-crd"
APP_NAME = "app.kubernetes.io/name"
CREATED_BY = "app.kubernetes.io/created-by"

HEAD, WORKER, CLEANUP = "head", "worker", "redis-cleanup"
"""Values of ``ray.io/node-type``."""
HEAD_GROUP = "headgroup"
APP_VALUE = "kuberay"
CREATED_BY_VALUE = "kuberay-operator"
"""Services select by these two, so they are KubeRay's."""

# Annotations.
FT_ENABLED = "ray.io/ft-enabled"
STORAGE_NAMESPACE = "ray.io/external-storage-namespace"
FT_DELETION_TIMEOUT = "ray.io/gcs-ft-deletion-timeout"
OVERWRITE_COMMAND = "ray.io/overwrite-container-cmd"
ENABLE_SERVE_SERVICE = "ray.io/enable-serve-service"
NO_HEAD_RESTART = "ray.io/disable-provisioned-head-restart"
REVISION = "rayctl.io/template-revision"
"""On pods: what they were built from (`rayctl.cluster.revision`)."""
UNPROTECTED = "rayctl.io/started-without-token"
"""On clusters that say nothing about authentication: ``true``: their head was started without a token, by another
controller, so that new pods get none either: they could not join it."""
UPGRADE_STRATEGY = "rayctl.io/upgrade-strategy"
"""On clusters: ``RollingUpdate`` replaces pods one after the other when their template changed."""

BATCH_SCHEDULING = frozenset(
    {
        *("ray.io/scheduler-name", "ray.io/gang-scheduling-enabled", "ray.io/priority-class-name"),
        *("volcano.sh/queue-name", "yunikorn.apache.org/app-id", "yunikorn.apache.org/queue", "kai.scheduler/queue"),
    }
)
"""Labels of clusters that KubeRay acts on when it was started for a batch scheduler."""

FINALIZER = "ray.io/gcs-ft-redis-cleanup-finalizer"
MANAGED_BY_OPERATOR = "ray.io/kuberay-operator"

# Ports, by name.
MOVED_PORTS = "rayctl.io/ports"
"""Annotation of a pod on an embedded node: which of its ports are at another number (JSON, wanted → real)."""
PORTS = {"client": 10001, "gcs-server": 6379, "dashboard": 8265, "metrics": 8080, "serve": 8000}
AGENT_PORT = 52365
GCS_PORT = "6379"

TOKEN_KEY = "auth_token"  # noqa: S105 (the key in a Secret, not a token)
