"""How a cluster's GCS keeps its state: both ways of saying it (options, annotation) read into one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from rayctl.cluster import keys, names
from rayctl.cluster.spec import ClusterSpec, env_of

__all__ = ["FaultTolerance", "fault_tolerance", "first_address", "is_beside_head"]

Document = Mapping[str, Any]


@dataclass(frozen=True)
class FaultTolerance:
    """How the state is kept.

    Args:
        backend: ``none``, ``redis`` or ``rocksdb``.
        route: ``options``, ``annotation`` (deprecated), or empty.
        address: Of Redis; from the options or from the head's own variables.
        namespace: Prefix of the cluster's keys in Redis that really counts: the head's variable, then what the user
            named, then the cluster's uid.
        pinned: The user named it, so it does not change with the cluster's uid.
        username, password: ``{"value": …}`` or ``{"valueFrom": …}``; None: none.
        storage: Of the embedded backend.
    """

    backend: str = "none"
    route: str = ""
    address: str = ""
    namespace: str = ""
    pinned: bool = False
    username: Document | None = None
    password: Document | None = None
    storage: Document | None = None

    @property
    def on(self) -> bool:
        """Whether the state outlives the head."""
        return self.backend != "none"

    def claim(self, cluster: str) -> str:
        """Return the name of the embedded backend's volume claim."""
        return str((self.storage or {}).get("claimName") or "") or names.gcs_claim(cluster)

    @property
    def claim_is_users(self) -> bool:
        """Whether the claim is the user's own."""
        return bool((self.storage or {}).get("claimName"))


def fault_tolerance(spec: ClusterSpec) -> FaultTolerance:
    """Return how a cluster keeps its GCS' state."""
    options = spec.spec.get("gcsFaultToleranceOptions")
    if options is not None:
        if options.get("backend") == "rocksdb":
            return FaultTolerance("rocksdb", "options", storage=options.get("storage") or {})
        namespace, pinned = _namespace(spec, options.get("externalStorageNamespace") or "")
        return FaultTolerance(
            "redis",
            "options",
            address=options.get("redisAddress") or "",
            namespace=namespace,
            pinned=pinned,
            username=options.get("redisUsername"),
            password=options.get("redisPassword"),
        )
    if spec.annotations.get(keys.FT_ENABLED, "").lower() != "true":
        return FaultTolerance()
    env = env_of(spec.head.template)
    namespace, pinned = _namespace(spec, "")
    return FaultTolerance(
        "redis",
        "annotation",
        address=str(env.get("RAY_REDIS_ADDRESS", {}).get("value") or ""),
        namespace=namespace,
        pinned=pinned,
        password=_password(spec, env),
    )


def _namespace(spec: ClusterSpec, named: str) -> tuple[str, bool]:
    own = str(env_of(spec.head.template).get("RAY_external_storage_namespace", {}).get("value") or "")
    found = own or named or spec.annotations.get(keys.STORAGE_NAMESPACE, "")
    return (found, True) if found else (spec.uid, False)


def _password(spec: ClusterSpec, env: Mapping[str, Document]) -> Document | None:
    found = env.get("REDIS_PASSWORD")
    if found is not None:
        return {name: found[name] for name in ("value", "valueFrom") if name in found}
    literal = spec.head.params.get("redis-password", "")
    return {"value": literal} if literal else None


def first_address(text: str) -> tuple[str, int, bool]:
    """Return host, port and whether TLS is spoken, of the first of the addresses in a comma list.

    Raises:
        ValueError: It is not an address.
    """
    first = text.split(",", 1)[0].strip()
    parts = urlsplit(first if "://" in first else f"redis://{first}")
    if not parts.hostname or parts.scheme not in ("redis", "rediss"):
        raise ValueError(f"{first!r} is no address of Redis: host:port, redis://host:port or rediss://host:port")
    return parts.hostname, parts.port or 6379, parts.scheme == "rediss"


def is_beside_head(address: str) -> bool:
    """Return whether Redis runs in the head's own pod, where nobody else reaches it."""
    try:
        host = first_address(address)[0]
    except ValueError:
        return False
    return host in ("localhost", "::1") or host.startswith("127.")
