"""Tables, as kubectl shows them: columns and cells are made here, not by the client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rayctl.embedded.apiserver.jsonpath import JsonPath
from rayctl.embedded.apiserver.resources import Column, Resource
from rayctl.embedded.apiserver.schema.formats import parse_time

__all__ = ["age", "columns_of", "custom_columns", "definitions", "human_duration"]

NAME = Column("Name", "string", lambda document, now: document["metadata"]["name"], format="name")


def human_duration(seconds: float) -> str:
    """Return a duration as kubectl writes ages: ``5s``, ``3m20s``, ``4h``, ``2d3h``, ``10d``, ``1y20d``."""
    whole = int(seconds)
    if whole < 0:
        return "<invalid>" if whole < -1 else "0s"
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        rest = whole % 60
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        rest = minutes % 60
        return f"{hours}h{rest}m" if rest else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        rest = hours % 24
        return f"{days}d{rest}h" if rest else f"{days}d"
    if days < 730:
        return f"{days}d"
    years = days // 365
    rest = days % 365
    return f"{years}y{rest}d" if years < 8 and rest else f"{years}y"


def age(text: Any, now: float) -> str:
    """Return the age of a time as kubectl writes it."""
    try:
        return human_duration(now - parse_time(text).timestamp())
    except ValueError:
        return "<unknown>" if text in (None, "") else "<invalid>"


def _age(document: Mapping[str, Any], now: float) -> str:
    return age(document["metadata"].get("creationTimestamp"), now)


AGE = Column("Age", "string", _age)
CUSTOM_AGE = Column("Age", "date", _age)


def custom_columns(version: Mapping[str, Any]) -> tuple[Column, ...]:
    """Return the columns that a version of a custom resource definition asks for."""
    wanted = version.get("additionalPrinterColumns")
    if not wanted:
        return (NAME, CUSTOM_AGE)
    return (NAME, *(_custom(column) for column in wanted))


def _custom(column: Mapping[str, Any]) -> Column:
    path = JsonPath.parse(column["jsonPath"])
    kind = column["type"]

    def read(document: Mapping[str, Any], now: float) -> Any:
        found = path.find(document)
        if not found or found[0] is None:
            return None
        return _cell(kind, found, now)

    return Column(
        column["name"], kind, read, column.get("description", ""), column.get("format", ""), column.get("priority", 0)
    )


def _cell(kind: str, found: list[Any], now: float) -> Any:
    value = found[0]
    if kind == "date":
        return age(value, now)
    if kind == "integer":
        return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if kind == "number":
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    texts = [item if isinstance(item, str) else _plain(item) for item in found]
    return " ".join(texts)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        import json

        return json.dumps(value, separators=(",", ":"))
    return str(value)


def definitions(columns: tuple[Column, ...]) -> list[dict[str, Any]]:
    """Return the ``columnDefinitions`` of a table."""
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in columns
    ]


# Built-in kinds ---------------------------------------------------------------------------------------

Read = Callable[[Mapping[str, Any]], Any]


def _column(name: str, read: Read, kind: str = "string", priority: int = 0) -> Column:
    return Column(name, kind, lambda document, now: read(document), priority=priority)


def _at(*path: str, default: Any = "") -> Read:
    def read(document: Mapping[str, Any]) -> Any:
        found: Any = document
        for part in path:
            found = found.get(part) if isinstance(found, dict) else None
        return default if found is None else found

    return read


def _ready(document: Mapping[str, Any]) -> str:
    states = document.get("status", {}).get("containerStatuses", [])
    return f"{sum(1 for state in states if state.get('ready'))}/{len(document.get('spec', {}).get('containers', []))}"


def _pod_status(document: Mapping[str, Any]) -> str:
    status = document.get("status", {})
    reason = status.get("reason") or status.get("phase", "Unknown")
    for state in reversed(status.get("containerStatuses") or []):
        inner = state.get("state", {})
        if inner.get("waiting", {}).get("reason"):
            reason = inner["waiting"]["reason"]
        elif inner.get("terminated") and status.get("phase") not in ("Running",):
            ended = inner["terminated"]
            reason = ended.get("reason") or f"ExitCode:{ended.get('exitCode')}"
    return "Terminating" if document["metadata"].get("deletionTimestamp") else str(reason)


def _restarts(document: Mapping[str, Any]) -> str:
    return str(sum(state.get("restartCount", 0) for state in document.get("status", {}).get("containerStatuses", [])))


def _ports(document: Mapping[str, Any]) -> str:
    shown = []
    for port in document.get("spec", {}).get("ports", []):
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port['port']}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(shown) or "<none>"


def _selector(document: Mapping[str, Any]) -> str:
    found = document.get("spec", {}).get("selector") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(found.items())) or "<none>"


def _external(document: Mapping[str, Any]) -> str:
    ingress = document.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    found = [entry.get("ip") or entry.get("hostname", "") for entry in ingress]
    found += document.get("spec", {}).get("externalIPs", [])
    if document.get("spec", {}).get("type") == "LoadBalancer" and not found:
        return "<pending>"
    return ",".join(found) or "<none>"


def _data(document: Mapping[str, Any]) -> int:
    return len(document.get("data") or {}) + len(document.get("binaryData") or {})


def _node_status(document: Mapping[str, Any]) -> str:
    conditions = document.get("status", {}).get("conditions", [])
    ready = next((c["status"] for c in conditions if c.get("type") == "Ready"), "Unknown")
    text = {"True": "Ready", "False": "NotReady"}.get(ready, "Unknown")
    return f"{text},SchedulingDisabled" if document.get("spec", {}).get("unschedulable") else text


def _event_object(document: Mapping[str, Any]) -> str:
    about = document.get("involvedObject") or document.get("regarding") or {}
    return f"{about.get('kind', '').lower()}/{about.get('name', '')}"


def _last_seen(document: Mapping[str, Any], now: float) -> str:
    series = document.get("series") or {}
    text = (
        series.get("lastObservedTime")
        or document.get("lastTimestamp")
        or document.get("deprecatedLastTimestamp")
        or document.get("eventTime")
        or document.get("firstTimestamp")
    )
    return age(text, now)


def _replicas(*path: str) -> Read:
    return _at(*path, default=0)


_EVENTS = (
    Column("Last Seen", "string", _last_seen),
    _column("Type", _at("type")),
    _column("Reason", _at("reason")),
    _column("Object", _event_object),
    _column("Message", lambda d: (d.get("message") or d.get("note") or "").strip()),
    Column("Name", "string", NAME.read, priority=1),
)

_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(part: Mapping[str, Any]) -> str:
    """Return kubectl's letters for access modes, in their usual order."""
    wanted = part.get("accessModes") or ()
    return ",".join(letters for mode, letters in _MODES.items() if mode in wanted)


def _storage_phase(document: Mapping[str, Any]) -> str:
    if document["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str(document.get("status", {}).get("phase", ""))


def _claim(document: Mapping[str, Any]) -> str:
    reference = document.get("spec", {}).get("claimRef") or {}
    return f"{reference.get('namespace', '')}/{reference['name']}" if reference.get("name") else ""


_PRINTED: dict[str, tuple[Column, ...]] = {
    "pods": (
        NAME,
        _column("Ready", _ready),
        _column("Status", _pod_status),
        _column("Restarts", _restarts),
        AGE,
        _column("IP", _at("status", "podIP", default="<none>"), priority=1),
        _column("Node", _at("spec", "nodeName", default="<none>"), priority=1),
        _column("Nominated Node", _at("status", "nominatedNodeName", default="<none>"), priority=1),
        _column("Readiness Gates", lambda d: "<none>", priority=1),
    ),
    "services": (
        NAME,
        _column("Type", _at("spec", "type")),
        _column("Cluster-IP", _at("spec", "clusterIP", default="<none>")),
        _column("External-IP", _external),
        _column("Port(s)", _ports),
        AGE,
        _column("Selector", _selector, priority=1),
    ),
    "configmaps": (NAME, _column("Data", _data), AGE),
    "secrets": (NAME, _column("Type", _at("type")), _column("Data", _data), AGE),
    "namespaces": (NAME, _column("Status", _at("status", "phase")), AGE),
    "nodes": (
        NAME,
        _column("Status", _node_status),
        _column("Roles", lambda d: "<none>"),
        AGE,
        _column("Version", _at("status", "nodeInfo", "kubeletVersion")),
    ),
    "events": _EVENTS,
    "serviceaccounts": (NAME, _column("Secrets", lambda d: len(d.get("secrets") or []), "string"), AGE),
    "endpoints": (
        NAME,
        _column(
            "Endpoints",
            lambda d: (
                ",".join(
                    f"{address['ip']}:{port['port']}"
                    for subset in (d.get("subsets") or [])
                    for address in (subset.get("addresses") or [])
                    for port in (subset.get("ports") or [])
                )
                or "<none>"
            ),
        ),
        AGE,
    ),
    "endpointslices": (
        NAME,
        _column("AddressType", _at("addressType")),
        _column(
            "Ports", lambda d: ",".join(str(port.get("port", "*")) for port in (d.get("ports") or [])) or "<unset>"
        ),
        _column(
            "Endpoints",
            lambda d: ",".join(a for e in (d.get("endpoints") or []) for a in e.get("addresses") or []) or "<unset>",
        ),
        AGE,
    ),
    "leases": (NAME, _column("Holder", _at("spec", "holderIdentity")), AGE),
    "customresourcedefinitions": (
        NAME,
        Column("Created At", "date", lambda document, now: document["metadata"]["creationTimestamp"]),
    ),
    "resourcequotas": (
        NAME,
        _column("Request", lambda d: ", ".join(_used(d, limits=False))),
        _column("Limit", lambda d: ", ".join(_used(d, limits=True))),
        AGE,
    ),
    "persistentvolumeclaims": (
        NAME,
        _column("Status", _storage_phase),
        _column("Volume", _at("spec", "volumeName")),
        _column("Capacity", _at("status", "capacity", "storage")),
        _column("Access Modes", lambda d: _modes(d.get("status", {}))),
        _column("StorageClass", _at("spec", "storageClassName")),
        AGE,
    ),
    "persistentvolumes": (
        NAME,
        _column("Capacity", _at("spec", "capacity", "storage")),
        _column("Access Modes", lambda d: _modes(d.get("spec", {}))),
        _column("Reclaim Policy", _at("spec", "persistentVolumeReclaimPolicy")),
        _column("Status", _storage_phase),
        _column("Claim", _claim),
        _column("StorageClass", _at("spec", "storageClassName")),
        AGE,
    ),
    "deployments": (
        NAME,
        _column("Ready", lambda d: f"{_replicas('status', 'readyReplicas')(d)}/{_replicas('spec', 'replicas')(d)}"),
        _column("Up-to-date", _replicas("status", "updatedReplicas")),
        _column("Available", _replicas("status", "availableReplicas")),
        AGE,
    ),
    "replicasets": (
        NAME,
        _column("Desired", _replicas("spec", "replicas"), "integer"),
        _column("Current", _replicas("status", "replicas"), "integer"),
        _column("Ready", _replicas("status", "readyReplicas"), "integer"),
        AGE,
    ),
    "statefulsets": (
        NAME,
        _column("Ready", lambda d: f"{_replicas('status', 'readyReplicas')(d)}/{_replicas('spec', 'replicas')(d)}"),
        AGE,
    ),
    "poddisruptionbudgets": (
        NAME,
        _column("Min Available", _at("spec", "minAvailable", default="N/A")),
        _column("Max Unavailable", _at("spec", "maxUnavailable", default="N/A")),
        _column("Allowed Disruptions", _replicas("status", "disruptionsAllowed"), "integer"),
        AGE,
    ),
    "roles": (NAME, Column("Created At", "date", lambda document, now: document["metadata"]["creationTimestamp"])),
    "clusterroles": (NAME, Column("Created At", "date", lambda d, now: d["metadata"]["creationTimestamp"])),
    "rolebindings": (NAME, _column("Role", lambda d: f"{d['roleRef']['kind']}/{d['roleRef']['name']}"), AGE),
    "clusterrolebindings": (NAME, _column("Role", lambda d: f"{d['roleRef']['kind']}/{d['roleRef']['name']}"), AGE),
}


def _used(document: Mapping[str, Any], limits: bool) -> list[str]:
    status = document.get("status", {})
    hard, used = status.get("hard", {}), status.get("used", {})
    return [
        f"{name}: {used.get(name, '0')}/{hard[name]}" for name in sorted(hard) if name.startswith("limits.") is limits
    ]


_DEFAULT = (NAME, Column("Created At", "date", lambda document, now: document["metadata"].get("creationTimestamp")))
SCALE = (
    NAME,
    Column("Desired", "integer", lambda document, now: document.get("spec", {}).get("replicas")),
    Column("Available", "integer", lambda document, now: document.get("status", {}).get("replicas")),
    AGE,
)


def columns_of(resource: Resource) -> tuple[Column, ...]:
    """Return the columns of a kind."""
    if resource.columns is not None:
        return resource.columns
    return _PRINTED.get(resource.plural, _DEFAULT)
