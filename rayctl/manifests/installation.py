"""Everything that an installation on Kubernetes consists of, in the order in which it is applied. The one source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rayctl import __version__
from rayctl.manifests.access import (
    CONTROLLERS,
    INSTALLATION,
    STATUS,
    TOKEN,
    TURN,
    UPGRADE,
    gateway_rules,
    lease_rules,
    rules_of,
    standby_rules,
    state_rules,
    token_rules,
    user_roles,
)

__all__ = [
    "CHOICES",
    "NAME",
    "STANDBY",
    "Installation",
    "access",
    "actors_access",
    "chosen_fields",
    "claim",
    "cluster",
    "documents",
    "entry",
    "everywhere",
    "installed",
    "standby",
    "within",
]

NAME = "rayctl-system"
"""The namespace by default, and the RayCluster that the control plane runs on."""
PODS_ACCOUNT, STANDBY = "rayctl", "rayctl-standby"
STATE_FOLDER, STATE_CLAIM = "/var/lib/rayctl", "rayctl-state"
"""Where the service keeps its state in a pod, and the volume that it is on."""
SHARED_FOLDER = "/var/run/rayctl"
"""In a pod: what its processes tell each other, as whose turn it is with the state."""
SETTINGS_SECRET = "rayctl-settings"  # noqa: S105
"""If there is a Secret of this name, its keys are variables of the head: RAYCTL_DATABASE_URL and the like."""
CHOICES = {
    "watchNamespace": "watch_namespace",
    "image": "image",
    "rayVersion": "ray_version",
    "workers": "workers",
    "cpu": "cpu",
    "memory": "memory",
    "numCpus": "num_cpus",
}
"""What can be chosen of a control plane of actors: key in the ConfigMap → field of `Installation`."""
Document = dict[str, Any]
_RBAC = "rbac.authorization.k8s.io"
_UNPRIVILEGED = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
_CONFINED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@dataclass(frozen=True)
class Installation:
    """What can be chosen.

    Args:
        namespace: Where rayctl itself lives.
        watch_namespace: Only objects in it are looked after; empty: in all.
        image: Of head and workers: Ray and rayctl of the same versions as this one.
        ray_version: Ray's version in it.
        workers: Worker pods beside the head.
        cpu: Of the head.
        memory: Of the head.
        actors: In the head runs the job that makes the controllers' actors and the AutoML service, and stays. Where
            there are no ``folders``, a standby beside it makes the cluster and moves rayctl from one to the next.
        cluster: The RayCluster's name.
        num_cpus: CPUs of the head that tasks may use: AutoML's, where there are no workers.
        home: RAYCTL_HOME of the service; without ``folders`` a volume.
        folders: Files and folders of the node that the head has at the same place (embedded server only).
        storage, storage_class, access_mode: Of the volume where there are no ``folders``.
        settings: More variables of the head.
        port: Of the service ``rayctl``, over HTTP.
        ray_client_port, dashboard_port: Of the same service, for programs that use Ray; 0: not there.
        requested_memory: What the head keeps free for itself on its node; as ``memory`` if empty.
        environment: A Secret with more variables of the head, whose own ones count first.
        object_store: Bytes of the head's object store; what Ray would choose if 0.
        ray_token: The Secret with Ray's token; the cluster has one of its own if empty.
    """

    namespace: str = NAME
    watch_namespace: str = ""
    image: str = f"rayctl:{__version__}"
    ray_version: str = "2.60.0"
    workers: Any = 0
    cpu: str = "2"
    memory: str = "4Gi"
    actors: bool = False
    cluster: str = NAME
    num_cpus: int = 0
    home: str = STATE_FOLDER
    folders: tuple[tuple[str, str], ...] = ()
    storage: str = "10Gi"
    storage_class: str = ""
    access_mode: str = "ReadWriteOnce"
    settings: tuple[tuple[str, str], ...] = ()
    port: int = 8000
    ray_client_port: int = 0
    dashboard_port: int = 0
    requested_memory: str = ""
    object_store: int = 0
    ray_token: str = ""
    environment: str = ""

    @property
    def stands_by(self) -> bool:
        """Whether a process of the cluster looks after the control plane's own RayCluster."""
        return self.actors and not self.folders


def documents(chosen: Installation) -> list[Document]:
    """Return all objects but the definitions of kinds (`rayctl.manifests.crd_documents`), which come first.

    Where there is a standby, the RayCluster and its service are not among them: they move, and it makes them.
    """
    bind = within(chosen, chosen.watch_namespace) if chosen.watch_namespace else everywhere(chosen)
    found = [_object(chosen, "v1", "Namespace", chosen.namespace, ""), *access(chosen)]
    found += actors_access(chosen) if chosen.actors else []
    return [*found, *bind, *(standby(chosen) if chosen.stands_by else (cluster(chosen), entry(chosen)))]


def _object(chosen: Installation, version: str, kind: str, name: str, namespace: str | None = None) -> Document:
    labels = {"app.kubernetes.io/name": "rayctl", "app.kubernetes.io/part-of": "rayctl"}
    metadata: Document = {"name": name, "labels": labels}
    where = chosen.namespace if namespace is None else namespace
    if where:
        metadata["namespace"] = where
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def access(chosen: Installation) -> list[Document]:
    """Return accounts, leases and roles; not where the controllers' roles hold (`everywhere`, `within`)."""
    found = [_object(chosen, "v1", "ServiceAccount", name) for name in (PODS_ACCOUNT, *CONTROLLERS)]
    for name in CONTROLLERS:
        found.append({**_object(chosen, "coordination.k8s.io/v1", "Lease", name), "spec": {}})
        role = _object(chosen, f"{_RBAC}/v1", "Role", f"rayctl-lease-{name}")
        found += [{**role, "rules": lease_rules(name)}, _binding(chosen, f"rayctl-lease-{name}", "Role", name)]
        clusters = _object(chosen, f"{_RBAC}/v1", "ClusterRole", f"rayctl-{name}", "")
        found.append({**clusters, "rules": rules_of(name)})
    tokens = _object(chosen, f"{_RBAC}/v1", "Role", "rayctl-tokens")
    found += [{**tokens, "rules": token_rules()}, _binding(chosen, "rayctl-tokens", "Role", PODS_ACCOUNT)]
    for user, rules in user_roles().items():
        role = _object(chosen, f"{_RBAC}/v1", "ClusterRole", f"rayctl-user-{user}", "")
        role["metadata"]["labels"][f"{_RBAC}/aggregate-to-{user}"] = "true"
        if user == "edit":
            role["metadata"]["labels"][f"{_RBAC}/aggregate-to-admin"] = "true"
        found.append({**role, "rules": rules})
    return found


def actors_access(chosen: Installation) -> list[Document]:
    """Return the further accounts and roles of a control plane of actors."""
    gateway = _object(chosen, f"{_RBAC}/v1", "ClusterRole", "rayctl-gateway", "")
    found: list[Document] = [{**gateway, "rules": gateway_rules()}]
    if not chosen.stands_by:
        return found
    found.append(_object(chosen, "v1", "ServiceAccount", STANDBY))
    for name, rules, account in (
        ("rayctl-state", state_rules(), PODS_ACCOUNT),
        (STANDBY, standby_rules(), STANDBY),
        ("rayctl-standby-tokens", token_rules(), STANDBY),
    ):
        role = _object(chosen, f"{_RBAC}/v1", "Role", name)
        found += [{**role, "rules": rules}, _binding(chosen, name, "Role", account)]
    return found


def everywhere(chosen: Installation) -> list[Document]:
    """Return what lets the controllers work in all namespaces."""
    return [_binding(chosen, role, "ClusterRole", name, everywhere=True) for role, name in _holders(chosen)]


def within(chosen: Installation, namespace: str) -> list[Document]:
    """Return what lets the controllers work in one namespace, and in their own."""
    return [
        _binding(chosen, role, "ClusterRole", name, where)
        for where in dict.fromkeys((namespace, chosen.namespace))
        for role, name in _holders(chosen)
    ]


def _holders(chosen: Installation) -> list[tuple[str, str]]:
    """Return cluster roles and who has them."""
    gateway = [("rayctl-gateway", PODS_ACCOUNT)] if chosen.actors else []
    return [*((f"rayctl-{name}", name) for name in CONTROLLERS), *gateway]


def _binding(
    chosen: Installation,
    role: str,
    kind: str,
    account: str,
    namespace: str | None = None,
    everywhere: bool = False,
) -> Document:
    own = _object(
        chosen,
        f"{_RBAC}/v1",
        "ClusterRoleBinding" if everywhere else "RoleBinding",
        role,
        "" if everywhere else namespace,
    )
    return {
        **own,
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": chosen.namespace}],
    }


def cluster(chosen: Installation) -> Document:
    """Return the RayCluster that the control plane runs on."""
    head = _pod(chosen, "ray-head", chosen.cpu, chosen.memory, chosen.requested_memory)
    if chosen.actors:
        _add_bootstrap(chosen, head)
    return _ray_cluster(chosen, head)


def claim(chosen: Installation) -> Document:
    """Return the claim of the volume with the state."""
    found = _object(chosen, "v1", "PersistentVolumeClaim", STATE_CLAIM)
    amounts = {"requests": {"storage": chosen.storage}}
    spec: Document = {"accessModes": [chosen.access_mode], "resources": amounts}
    if chosen.storage_class:
        spec["storageClassName"] = chosen.storage_class
    return {**found, "spec": spec}


def installed(namespace: str, config: Document) -> Installation:
    """Return what the ConfigMap `INSTALLATION` says."""
    data = config.get("data") or {}
    fields: dict[str, Any] = {field: data[key] for key, field in CHOICES.items() if key in data}
    fields |= {field: int(fields[field]) for field in ("workers", "num_cpus") if field in fields}
    return Installation(namespace=namespace, actors=True, **fields)


def chosen_fields(chosen: Installation) -> Document:
    """Return the fields of `CHOICES`: what one side of a move can have differently from the other."""
    return {field: getattr(chosen, field) for field in CHOICES.values()}


def standby(chosen: Installation) -> list[Document]:
    """Return what is there beside the control plane's cluster: its settings and records, its volume, and the process
    that makes it, leads while the actors cannot, and moves rayctl to the next one."""
    config = _object(chosen, "v1", "ConfigMap", INSTALLATION)
    config["data"] = {key: str(getattr(chosen, field)) for key, field in CHOICES.items()}
    kept = [_object(chosen, "v1", "ConfigMap", name) for name in (UPGRADE, TURN, STATUS)]
    found = [claim(chosen), config, *kept, _object(chosen, "v1", "Secret", TOKEN)]
    deployment = _object(chosen, "apps/v1", "Deployment", STANDBY)
    labels = {"app.kubernetes.io/name": STANDBY, "app.kubernetes.io/part-of": "rayctl"}
    container = {
        "name": "standby",
        "image": chosen.image,
        "command": ["python", "-m", "rayctl.selfhost.standby"],
        "securityContext": _CONFINED,
        "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        "env": [{"name": "RAYCTL_NAMESPACE", "value": chosen.namespace}],
    }
    spec = {"serviceAccountName": STANDBY, "securityContext": _UNPRIVILEGED, "containers": [container]}
    deployment["spec"] = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {"app.kubernetes.io/name": STANDBY}},
        "template": {"metadata": {"labels": labels}, "spec": spec},
    }
    return [*found, deployment]


def _ray_cluster(chosen: Installation, head: Document) -> Document:
    ray = _object(chosen, "ray.io/v1", "RayCluster", chosen.cluster)
    ray["spec"] = {
        "rayVersion": chosen.ray_version,
        "authOptions": {"mode": "token", **({"secretName": chosen.ray_token} if chosen.ray_token else {})},
        "headGroupSpec": {
            # The address: in a pod; a token guards it.
            "rayStartParams": {
                "dashboard-host": "0.0.0.0",  # noqa: S104
                "num-cpus": str(chosen.num_cpus),
                **({"object-store-memory": str(chosen.object_store)} if chosen.object_store else {}),
            },
            "template": {"metadata": {"labels": {HOLDS: "state"}}, "spec": head}
            if chosen.stands_by
            else {"spec": head},
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": chosen.workers,
                "minReplicas": 0,
                "maxReplicas": chosen.workers,
                "rayStartParams": {},
                "template": {"spec": _pod(chosen, "ray-worker", "2", "4Gi")},
            }
        ],
    }
    return ray


def entry(chosen: Installation) -> Document:
    """Return the service under which the HTTP API is found."""
    service = _object(chosen, "v1", "Service", "rayctl")
    service["spec"] = {
        "type": "ClusterIP",
        "selector": {"ray.io/cluster": chosen.cluster, "ray.io/node-type": "head"},
        "ports": [
            {"name": "http", "port": chosen.port, "targetPort": 8000, "protocol": "TCP"},
            {"name": "metrics", "port": 8080, "targetPort": 8080, "protocol": "TCP"},
        ],
    }
    for name, port, target in (("client", chosen.ray_client_port, 10001), ("dashboard", chosen.dashboard_port, 8265)):
        if port:
            found = {"name": name, "port": port, "targetPort": target, "protocol": "TCP"}
            service["spec"]["ports"].append(found)
    if chosen.folders:
        # The embedded node's only: callers on this machine need not know the service's address.
        service["metadata"]["annotations"] = {"rayctl.io/on-loopback": "http,client,dashboard"}
    return service


HOLDS = "rayctl.io/holds"
"""Label of pods with the state's volume."""
_BOOTSTRAP = "(while true; do python -m rayctl.selfhost.bootstrap; sleep 2; done &)"


def _add_bootstrap(chosen: Installation, head: Document) -> None:
    """Have the head's container run `rayctl.selfhost.bootstrap` before Ray, and keep it running; give it the state."""
    [container] = head["containers"]
    container["command"] = [_BOOTSTRAP]
    container["env"] += [
        {"name": "RAYCTL_NAMESPACE", "value": chosen.namespace},
        {"name": "RAYCTL_HOME", "value": chosen.home},
        {"name": "RAYCTL_SIDE", "value": chosen.cluster},
        {"name": "RAYCTL_POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        *({"name": name, "value": value} for name, value in chosen.settings),
        # Ray forks a server per client; with gRPC's fork support one in ten of them dies (ray issue 63202).
        {"name": "GRPC_ENABLE_FORK_SUPPORT", "value": "false"},
        # Ray's tips for people at a terminal would stand before the answers of programs that come by Ray Client.
        {"name": "RAY_SCHEDULER_EVENTS", "value": "0"},
        # Several trials run side by side; each with as many threads as cores would only get into each other's way.
        {"name": "OMP_NUM_THREADS", "value": "1"},
        # Starting a worker costs about a second of CPU, so a few more than CPUs are kept.
        {"name": "RAY_num_workers_soft_limit", "value": str(chosen.num_cpus + 3)},
    ]
    if chosen.environment:
        container["envFrom"] = [{"secretRef": {"name": chosen.environment}}]
    if chosen.folders:
        head["volumes"] = [
            {"name": f"state-{index}", "hostPath": {"path": path, "type": kind}}
            for index, (path, kind) in enumerate(chosen.folders)
        ]
        container["volumeMounts"] = [
            {"name": f"state-{index}", "mountPath": path} for index, (path, _) in enumerate(chosen.folders)
        ]
        return
    # Written by the bootstrap, read by the gateway: on no volume that two sides of a move share.
    container["env"] += [
        {"name": "RAYCTL_TURN_FILE", "value": f"{SHARED_FOLDER}/turn.json"},
        {"name": "RAYCTL_TOKEN_FILE", "value": f"{SHARED_FOLDER}/token"},
    ]
    container["envFrom"] = [{"secretRef": {"name": SETTINGS_SECRET, "optional": True}}]
    head["volumes"] = [
        {"name": "state", "persistentVolumeClaim": {"claimName": STATE_CLAIM}},
        {"name": "shared", "emptyDir": {}},
    ]
    container["volumeMounts"] = [
        {"name": "state", "mountPath": chosen.home},
        {"name": "shared", "mountPath": SHARED_FOLDER},
    ]
    # A volume that one node can have at a time: the next side is to come where this one is, if there is room.
    near = {"labelSelector": {"matchLabels": {HOLDS: "state"}}, "topologyKey": "kubernetes.io/hostname"}
    preferred = [{"weight": 100, "podAffinityTerm": near}]
    # Volumes belong to root at first, and these pods are nobody in particular.
    head["securityContext"] = {**_UNPRIVILEGED, "fsGroup": 1000, "fsGroupChangePolicy": "OnRootMismatch"}
    head["affinity"] = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def _pod(chosen: Installation, container: str, cpu: str, memory: str, requested: str = "") -> Document:
    amounts = {"cpu": cpu, "memory": requested or memory}
    return {
        "serviceAccountName": PODS_ACCOUNT,
        "securityContext": _UNPRIVILEGED,
        "containers": [
            {
                "name": container,
                "image": chosen.image,
                "securityContext": _CONFINED,
                "resources": {"requests": amounts, "limits": {"memory": memory}},
                "env": [{"name": "RAYCTL_WATCH_NAMESPACE", "value": chosen.watch_namespace}],
            }
        ],
    }
