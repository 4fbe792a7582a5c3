"""Names of everything that belongs to a RayCluster: pure functions of cluster, group and index, never random.

A name is made of what people can read, and of a few characters of a hash where reading alone could mistake one owner
for another: cluster ``a-b`` with group ``c`` and cluster ``a`` with group ``b-c`` share a namespace in peace.
"""

from __future__ import annotations

import base64
import hashlib
import re

__all__ = [
    "MAX_CLUSTER_NAME",
    "MAX_SERVICE_NAME",
    "check_label",
    "check_name",
    "cleanup_pod",
    "gcs_claim",
    "head_pod",
    "head_service",
    "headless_service",
    "identifier",
    "ingress",
    "name_problem",
    "replica_name",
    "serve_service",
    "short_hash",
    "token_secret",
    "worker_pod",
]

MAX_CLUSTER_NAME = 53
"""Characters of a RayCluster's name, as in KubeRay."""
MAX_SERVICE_NAME = 47
"""Characters of a RayService's name: its clusters' names are longer by six."""
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_READABLE = 41
"""Characters of a worker's name before ``-worker-``, so that six digits of an index still fit into a host name (63)."""


def name_problem(name: str, longest: int = MAX_CLUSTER_NAME) -> str:
    """Return why a RayCluster (or a RayService: `MAX_SERVICE_NAME`) must not have this name; empty if it may."""
    if len(name) > longest:
        return f"the name has {len(name)} characters, at most {longest} are possible"
    if not _LABEL.fullmatch(name):
        return "the name must be a DNS label: a-z, 0-9 and -, first a letter, last no hyphen"
    return ""


def check_name(name: str) -> str:
    """Return the name of an object that is called after its cluster (ServiceAccount, Role, Secret).

    KubeRay's rule: the last 50 characters; a digit or a sign in front becomes ``r``.
    """
    return _front(name[-50:], digits=True)


def check_label(value: str) -> str:
    """Return a label's value: the last 63 characters; a sign in front becomes ``r`` (KubeRay's rule)."""
    return _front(value[-63:], digits=False)


def _front(name: str, digits: bool) -> str:
    if name and ((digits and name[0].isdigit()) or not name[0].isalnum()):
        return "r" + name[1:]
    return name


def short_hash(*parts: str, length: int = 4) -> str:
    """Return a few characters (a-z, 2-7) that depend on all parts and on where one ends."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return base64.b32encode(digest).decode().lower()[:length]


def head_pod(cluster: str) -> str:
    """``<cluster>-head``: at most 58 characters, and never that of another cluster."""
    return f"{cluster.lower()}-head"


def worker_pod(cluster: str, group: str, index: int) -> str:
    """``<cluster>-<group>, at most 41 characters>-worker-<4 of a hash>-<index>``.

    ``index`` counts the pods of a group: replica x hosts + host.
    """
    readable = f"{cluster}-{group}".lower()[:_READABLE].rstrip("-.")
    return f"{readable}-worker-{short_hash(cluster, group)}-{index}"


def replica_name(cluster: str, group: str, replica: int) -> str:
    """Return the label value that the pods of one replica of a group with several hosts share."""
    return check_label(f"{group}-{short_hash(cluster, group, str(replica), length=5)}")


def identifier(cluster: str, node_type: str) -> str:
    """Return the value of the label ``ray.io/identifier``."""
    return check_label(f"{cluster}-{node_type}")


def head_service(cluster: str, wanted: str = "") -> str:
    """``<cluster>-head-svc``, or the name that the user gave his own."""
    return wanted or f"{cluster}-head-svc"


def headless_service(cluster: str) -> str:
    """``<cluster>-headless``: the workers of groups with several hosts find each other through it."""
    return f"{cluster}-headless"


def serve_service(cluster: str) -> str:
    """``<cluster>-serve-svc``."""
    return f"{cluster}-serve-svc"


def ingress(cluster: str) -> str:
    """``<cluster>-head-ingress``."""
    return f"{cluster}-head-ingress"


def token_secret(cluster: str) -> str:
    """Return the name of the Secret with the cluster's token."""
    return check_name(cluster)


def gcs_claim(cluster: str) -> str:
    """``<cluster>-gcs-pvc``."""
    return f"{cluster}-gcs-pvc"


def cleanup_pod(cluster: str) -> str:
    """``<cluster>-redis-cleanup``: the last 63 characters."""
    return check_label(f"{cluster}-redis-cleanup")
