"""The rules of pods: defaults, what may be in one, and what of it may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.embedded.apiserver.documents import copied
from rayctl.embedded.apiserver.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    shown,
)
from rayctl.embedded.apiserver.kinds.records import Record
from rayctl.embedded.apiserver.names import dns_label
from rayctl.embedded.apiserver.quantity import canonical, parse_quantity

__all__ = ["PodRules", "default_pod_spec"]

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
RESTART_POLICIES = ("Always", "Never", "OnFailure")
DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def default_pod_spec(spec: dict[str, Any]) -> None:
    """Fill in the defaults of a pod's specification, in place."""
    for name in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(name) or []:
            _default_container(container)
        if spec.get(name) == [] and name != "containers":
            del spec[name]
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("securityContext", {})
    for volume in spec.get("volumes") or []:
        for name in ("secret", "configMap", "downwardAPI", "projected"):
            if isinstance(volume.get(name), dict):
                volume[name].setdefault("defaultMode", 420)
        if set(volume) == {"name"}:
            volume["emptyDir"] = {}


def _default_container(container: dict[str, Any]) -> None:
    image = container.get("image", "")
    if "imagePullPolicy" not in container:
        tag = image.rpartition("/")[2].partition(":")[2]
        container["imagePullPolicy"] = "Always" if tag in ("", "latest") and "@" not in image else "IfNotPresent"
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    _default_resources(container.setdefault("resources", {}))
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or []:
        if variable.get("value") == "":
            del variable["value"]
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")
    for name in _PROBES:
        if container.get(name) is not None:
            _default_probe(container[name])
    for name in ("command", "args", "env", "ports", "volumeMounts", "envFrom"):
        if container.get(name) == []:
            del container[name]


def _default_resources(resources: dict[str, Any]) -> None:
    for name in ("limits", "requests"):
        if resources.get(name):
            resources[name] = {key: _canonical(value) for key, value in resources[name].items()}
        else:
            resources.pop(name, None)
    for key, value in (resources.get("limits") or {}).items():
        resources.setdefault("requests", {}).setdefault(key, value)


def _default_probe(probe: dict[str, Any]) -> None:
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        probe.setdefault(field, value)
    if isinstance(probe.get("httpGet"), dict):
        probe["httpGet"].setdefault("scheme", "HTTP")
        probe["httpGet"].setdefault("path", "/")


def _canonical(value: Any) -> Any:
    try:
        return canonical(value)
    except ValueError:
        return value


class PodRules(Record):
    """Pods, as far as an API server knows them."""

    graceful = True
    returns_deleted = True

    def default(self, document: dict[str, Any]) -> None:
        default_pod_spec(document.setdefault("spec", {}))

    def prepare_create(self, document: dict[str, Any]) -> None:
        document["status"] = {"phase": "Pending", "qosClass": _quality(document["spec"])}

    def prepare_update(self, new: dict[str, Any], old: Mapping[str, Any], subresource: str) -> None:
        if subresource == "status":
            status = new.setdefault("status", {})
            if "qosClass" not in status and old.get("status", {}).get("qosClass"):
                status["qosClass"] = old["status"]["qosClass"]
            if status.get("podIP") and not status.get("podIPs"):
                status["podIPs"] = [{"ip": status["podIP"]}]

    def warnings(self, document: Mapping[str, Any]) -> list[str]:
        problems = dns_label(document["metadata"]["name"])
        if not problems:
            return []
        text = "this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended"
        return [f"metadata.name: {text}: [{', '.join(problems)}]"]

    def validate(self, document: Mapping[str, Any]) -> list[FieldError]:
        spec = document.get("spec") or {}
        errors: list[FieldError] = []
        if not spec.get("containers"):
            errors.append(required("spec.containers"))
        volumes = {volume.get("name") for volume in spec.get("volumes") or []}
        seen: set[str] = set()
        for field in ("initContainers", "containers"):
            for index, container in enumerate(spec.get(field) or []):
                errors += _check_container(container, f"spec.{field}[{index}]", volumes, seen)
        if spec.get("restartPolicy") not in RESTART_POLICIES:
            errors.append(not_supported("spec.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES))
        if spec.get("dnsPolicy") not in DNS_POLICIES:
            errors.append(not_supported("spec.dnsPolicy", spec.get("dnsPolicy"), DNS_POLICIES))
        return errors

    def validate_update(self, new: Mapping[str, Any], old: Mapping[str, Any], subresource: str) -> list[FieldError]:
        if subresource:
            return []
        before, after = old.get("spec") or {}, new.get("spec") or {}
        for field in ("containers", "initContainers"):
            if len(before.get(field) or []) != len(after.get(field) or []):
                return [forbidden_field(f"spec.{field}", "pod updates may not add or remove containers")]
        if _fixed(after, before) != before:
            return [forbidden_field("spec", _MAY_CHANGE)]
        return []


def _fixed(after: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the new specification with everything that may change put back."""
    found = copied(dict(after))
    for field in ("containers", "initContainers"):
        for mine, theirs in zip(found.get(field) or [], before.get(field) or [], strict=True):
            if mine.get("image"):
                mine["image"] = theirs.get("image")
    for name in ("activeDeadlineSeconds",):
        if name in before:
            found[name] = before[name]
        else:
            found.pop(name, None)
    kept = before.get("tolerations") or []
    if (found.get("tolerations") or [])[: len(kept)] == kept or all(
        t in (found.get("tolerations") or []) for t in kept
    ):
        if kept:
            found["tolerations"] = kept
        else:
            found.pop("tolerations", None)
    return found


def _check_container(container: Mapping[str, Any], path: str, volumes: set[Any], seen: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    name = container.get("name", "")
    if not name:
        errors.append(required(f"{path}.name"))
    else:
        errors += [invalid_value(f"{path}.name", name, text) for text in dns_label(name)[:1]]
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)
    if not container.get("image"):
        errors.append(required(f"{path}.image"))
    if container.get("imagePullPolicy") not in PULL_POLICIES:
        errors.append(not_supported(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), PULL_POLICIES))
    for index, port in enumerate(container.get("ports") or []):
        number = port.get("containerPort")
        if not number:
            errors.append(required(f"{path}.ports[{index}].containerPort"))
        elif not 1 <= number <= 65535:
            text = "must be between 1 and 65535, inclusive"
            errors.append(invalid_value(f"{path}.ports[{index}].containerPort", number, text))
    for index, mount in enumerate(container.get("volumeMounts") or []):
        where = f"{path}.volumeMounts[{index}]"
        if mount.get("name") not in volumes:
            errors.append(FieldError("NotFound", f"{where}.name", f"Not found: {shown(mount.get('name'))}"))
        if not mount.get("mountPath"):
            errors.append(required(f"{where}.mountPath"))
    return errors + _check_resources(container.get("resources") or {}, f"{path}.resources")


def _check_resources(resources: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    numbers: dict[tuple[str, str], Any] = {}
    for part in ("limits", "requests"):
        for name, value in (resources.get(part) or {}).items():
            try:
                numbers[part, name] = parse_quantity(value)
            except ValueError as error:
                errors.append(invalid_value(f"{path}.{part}[{name}]", value, str(error)))
                continue
            if numbers[part, name] < 0:
                text = "must be greater than or equal to 0"
                errors.append(invalid_value(f"{path}.{part}[{name}]", value, text))
    for name, value in (resources.get("requests") or {}).items():
        limit, request = numbers.get(("limits", name)), numbers.get(("requests", name))
        if limit is not None and request is not None and request > limit:
            text = f"must be less than or equal to {name} limit of {resources['limits'][name]}"
            errors.append(invalid_value(f"{path}.requests", value, text))
    return errors


def _quality(spec: Mapping[str, Any]) -> str:
    """Return the quality of service class of a pod."""
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    named = ("cpu", "memory")
    requests = [(c.get("resources") or {}).get("requests") or {} for c in containers]
    limits = [(c.get("resources") or {}).get("limits") or {} for c in containers]
    if not any(name in found for found in [*requests, *limits] for name in named):
        return "BestEffort"
    guaranteed = all(
        name in limit and request.get(name, limit[name]) == limit[name]
        for request, limit in zip(requests, limits, strict=True)
        for name in named
    )
    return "Guaranteed" if guaranteed else "Burstable"
