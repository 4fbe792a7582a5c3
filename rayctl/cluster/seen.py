"""What was seen of a cluster: its pods and other objects, read into frozen data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rayctl.cluster import keys
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.spec import ClusterSpec, parse_cluster
from rayctl.core.conditions import Condition, parse_conditions
from rayctl.core.plan import Ref

__all__ = ["ClusterSeen", "PodSeen", "is_owned", "read_pod", "read_seen", "seconds"]

Document = Mapping[str, Any]


def seconds(text: Any) -> float:
    """Return a time of the API as seconds since the epoch; 0 if there is none."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


@dataclass(frozen=True)
class PodSeen:
    """A pod that carries a cluster's labels.

    Args:
        terminating: It is being deleted.
        over: Why it will never run again by itself (``Failed``, ``Succeeded``, ``ContainerTerminated``), or empty.
        over_at: Since when; 0 if not known.
        waiting: Reason and message of the first container that is not ready; empty if all are.
        replica, host: By its labels; -1 where there is none.
        shows_token: Ray runs with token authentication in it.
        started_at: When Ray's container began to run; 0 if it does not run or nobody says.
        restarts: How often it was restarted.
    """

    ref: Ref
    node_type: str
    group: str
    phase: str
    ready: bool
    terminating: bool
    created_at: float
    annotations: Mapping[str, str] = field(default_factory=dict)
    over: str = ""
    over_at: float = 0.0
    waiting: tuple[str, str] = ("", "")
    address: str = ""
    replica: int = -1
    host: int = -1
    shows_token: bool = False
    started_at: float = 0.0
    restarts: int = 0

    @property
    def name(self) -> str:
        """Its name."""
        return self.ref.name

    @property
    def running(self) -> bool:
        """Whether it runs and is to go on."""
        return self.phase == "Running" and not self.terminating

    @property
    def alive(self) -> bool:
        """Whether it is there to stay."""
        return not self.terminating and not self.over


def read_pod(document: Document) -> PodSeen:
    """Read a pod."""
    metadata, status = document["metadata"], document.get("status") or {}
    labels = metadata.get("labels") or {}
    over, over_at = _over(document)
    started_at, restarts = _run(document)
    return PodSeen(
        ref=Ref.to({"apiVersion": "v1", "kind": "Pod", **document}),
        node_type=labels.get(keys.NODE_TYPE, ""),
        group=labels.get(keys.GROUP, ""),
        phase=status.get("phase") or "Pending",
        ready=any(
            item.get("type") == "Ready" and item.get("status") == "True" for item in status.get("conditions") or ()
        ),
        terminating=bool(metadata.get("deletionTimestamp")),
        created_at=seconds(metadata.get("creationTimestamp")),
        annotations=metadata.get("annotations") or {},
        over=over,
        over_at=over_at,
        waiting=_waiting(status),
        address=status.get("podIP") or "",
        replica=_number(labels.get(keys.REPLICA_INDEX)),
        host=_number(labels.get(keys.HOST_INDEX)),
        shows_token=_shows_token(document),
        started_at=started_at,
        restarts=restarts,
    )


def _ray_statuses(document: Document) -> list[Document]:
    """Return the status of Ray's container, the first one; none before there is one."""
    names = [container.get("name") for container in ((document.get("spec") or {}).get("containers") or ())[:1]]
    statuses = (document.get("status") or {}).get("containerStatuses") or ()
    return [item for item in statuses if item.get("name") in names]


def _run(document: Document) -> tuple[float, int]:
    for item in _ray_statuses(document):
        running = (item.get("state") or {}).get("running") or {}
        return seconds(running.get("startedAt")), int(item.get("restartCount") or 0)
    return 0.0, 0


def _shows_token(document: Document) -> bool:
    containers: Sequence[Document] = (document.get("spec") or {}).get("containers") or ({},)
    env = {item.get("name"): item.get("value") for item in containers[0].get("env") or ()}
    return env.get("RAY_AUTH_MODE") == "token"


def _number(text: Any) -> int:
    return int(text) if isinstance(text, str) and text.isdigit() else -1


def _over(document: Document) -> tuple[str, float]:
    """A pod is over if it failed or succeeded, or if Ray's container has ended and nobody restarts it."""
    status, spec = document.get("status") or {}, document.get("spec") or {}
    phase = status.get("phase")
    ended = [(item.get("state") or {}).get("terminated") for item in _ray_statuses(document)]
    at = max((seconds((found or {}).get("finishedAt")) for found in ended), default=0.0)
    if phase in ("Failed", "Succeeded"):
        return str(status.get("reason") or phase), at
    if phase == "Running" and any(ended) and spec.get("restartPolicy") == "Never":
        return "ContainerTerminated", at
    return "", 0.0


def _waiting(status: Document) -> tuple[str, str]:
    for item in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        state = item.get("state") or {}
        done = (state.get("terminated") or {}).get("exitCode") == 0 and item in (
            status.get("initContainerStatuses") or ()
        )
        if item.get("ready") or done:
            continue
        for kind in ("waiting", "terminated"):
            found = state.get(kind)
            if found:
                return str(found.get("reason") or kind.capitalize()), str(found.get("message") or "")
    for item in status.get("conditions") or ():
        if item.get("type") in ("PodScheduled", "Ready") and item.get("status") == "False":
            return str(item.get("reason") or "NotReady"), str(item.get("message") or "")
    return "", ""


@dataclass(frozen=True)
class ClusterSeen:
    """A cluster and everything that belongs to it.

    Args:
        pods: Its own pods, by name; all carry an owner reference with its uid.
        strangers: Pods that carry its labels, but belong to somebody else or to nobody.
        cleanup: The pod that removes its keys from Redis.
        children: ``(kind, name)`` → its other objects, and others' objects that have the name of one.
        credential: The Secret with its token: ``there``, ``missing``, ``old`` (of a cluster that had its name before),
            ``unknown`` (no answer), or empty: nobody has asked.
        operator: The KubeRay operator that looks after this namespace; empty: none.
    """

    spec: ClusterSpec
    options: ClusterOptions
    pods: tuple[PodSeen, ...] = ()
    strangers: tuple[PodSeen, ...] = ()
    cleanup: PodSeen | None = None
    children: Mapping[tuple[str, str], Document] = field(default_factory=dict)
    credential: str = ""
    operator: str = ""

    @property
    def document(self) -> Document:
        """The cluster's document."""
        return self.spec.document

    @property
    def metadata(self) -> Document:
        """The cluster's metadata."""
        return self.document["metadata"]

    @property
    def status(self) -> Document:
        """The cluster's status as it is written."""
        return self.document.get("status") or {}

    @property
    def conditions(self) -> dict[str, Condition]:
        """Its conditions."""
        return parse_conditions(self.status.get("conditions"))

    @property
    def revision(self) -> str:
        """Its resourceVersion."""
        return str(self.metadata.get("resourceVersion") or "")

    @property
    def heads(self) -> tuple[PodSeen, ...]:
        """Its heads: one, or none; terminating ones among them."""
        return tuple(pod for pod in self.pods if pod.node_type == keys.HEAD)

    def workers(self, group: str) -> tuple[PodSeen, ...]:
        """Return the pods of a group, by name."""
        return tuple(pod for pod in self.pods if pod.node_type == keys.WORKER and pod.group == group)

    def holds(self, condition: str) -> bool:
        """Return whether a condition is True."""
        found = self.conditions.get(condition)
        return found is not None and found.is_true


def read_seen(found: Mapping[str, Any], options: ClusterOptions) -> ClusterSeen:
    """Read what a look brought: ``cluster``, ``pods``, ``children``, ``token_secret``, ``operator``."""
    spec = parse_cluster(found["cluster"])
    own, strangers, cleanup = [], [], None
    documents: Sequence[Document] = found.get("pods") or ()
    for document in documents:
        pod = read_pod(document)
        if not is_owned(document, spec.uid):
            strangers.append(pod)
        elif pod.node_type == keys.CLEANUP:
            cleanup = pod
        else:
            own.append(pod)
    children = {(item["kind"], item["metadata"]["name"]): item for item in found.get("children") or ()}
    return ClusterSeen(
        spec,
        options,
        tuple(sorted(own, key=lambda pod: pod.name)),
        tuple(strangers),
        cleanup,
        children,
        found.get("token_secret") or "",
        found.get("operator") or "",
    )


def is_owned(document: Document, uid: str) -> bool:
    """Return whether an object belongs to the cluster with this uid."""
    owners = document["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") and owner.get("uid") == uid for owner in owners)
