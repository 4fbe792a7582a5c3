"""What a container's command and environment are, once every reference in the pod's document is followed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING
from typing import Any

from rayctl.embedded.apiserver.quantity import parse_quantity

__all__ = ["Facts", "Missing", "expand", "field_value", "references", "resolve_command", "resolve_environment"]

_REFERENCE = re.compile(r"\$(\$|\(([-._a-zA-Z][-._a-zA-Z0-9]*)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")

Lookup = Callable[[str], Mapping[str, str] | None]
"""Name → decoded data, or None when there is no such object."""


class Missing(Exception):
    """A ConfigMap, Secret or key that a container needs is not there (yet). The text is Kubernetes' own."""


@dataclass(frozen=True)
class Facts:
    """What references may refer to. ``allocatable``: of the node, for containers without limits."""

    document: Mapping[str, Any]
    pod_ip: str = ""
    host_ip: str = "127.0.0.1"
    node_name: str = ""
    allocatable: Mapping[str, str] = field(default_factory=dict)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)``; unknown names stay as they are; ``$$`` is a dollar sign."""

    def put(found: re.Match[str]) -> str:
        if found[1] == "$":
            return "$"
        return variables.get(found[2], found[0])

    return _REFERENCE.sub(put, text)


def field_value(path: str, facts: Facts) -> str:
    """Return what a ``fieldRef`` refers to.

    Raises:
        Missing: There is no such field.
    """
    metadata, spec = facts.document["metadata"], facts.document["spec"]
    found = _SUBSCRIPT.fullmatch(path)
    if found is not None:
        return str((metadata.get(found[1]) or {}).get(found[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = (metadata.get(path.partition(".")[2]) or {}).items()
        return "\n".join(f'{key}="{_quoted(str(value))}"' for key, value in sorted(pairs))
    simple = {
        "metadata.name": metadata.get("name", ""),
        "metadata.namespace": metadata.get("namespace", ""),
        "metadata.uid": metadata.get("uid", ""),
        "spec.nodeName": facts.node_name,
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": facts.pod_ip,
        "status.podIPs": facts.pod_ip,
        "status.hostIP": facts.host_ip,
        "status.hostIPs": facts.host_ip,
    }
    if path not in simple:
        raise Missing(f'unsupported fieldPath: "{path}"')
    return str(simple[path])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_value(reference: Mapping[str, Any], own: Mapping[str, Any], facts: Facts) -> str:
    """Return what a ``resourceFieldRef`` refers to, rounded up to whole divisors as Kubernetes does.

    Raises:
        Missing: The container it names is not in the pod.
    """
    container = own
    if reference.get("containerName"):
        spec = facts.document["spec"]
        every = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
        named = [found for found in every if found["name"] == reference["containerName"]]
        if not named:
            raise Missing(f"container {reference['containerName']} not found")
        container = named[0]
    part, _, name = str(reference["resource"]).partition(".")
    resources = container.get("resources") or {}
    value = (resources.get(part) or {}).get(name)
    if value is None and part == "limits":
        value = facts.allocatable.get(name)
    divisor = parse_quantity(reference.get("divisor") or "1") or parse_quantity("1")
    return str(int((parse_quantity(value or "0") / divisor).to_integral_value(ROUND_CEILING)))


def references(document: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Return the names of the ConfigMaps and of the Secrets that a pod's environment and volumes refer to."""
    maps: set[str] = set()
    secrets: set[str] = set()
    spec = document["spec"]
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        for variable in container.get("env") or ():
            source = variable.get("valueFrom") or {}
            maps |= {source["configMapKeyRef"]["name"]} if source.get("configMapKeyRef") else set()
            secrets |= {source["secretKeyRef"]["name"]} if source.get("secretKeyRef") else set()
        for source in container.get("envFrom") or ():
            maps |= {source["configMapRef"]["name"]} if source.get("configMapRef") else set()
            secrets |= {source["secretRef"]["name"]} if source.get("secretRef") else set()
    for volume in spec.get("volumes") or ():
        parts = [volume, *((volume.get("projected") or {}).get("sources") or ())]
        for part in parts:
            maps |= {part["configMap"]["name"]} if part.get("configMap") else set()
            secret = part.get("secret") or {}
            secrets |= {name for name in (secret.get("secretName"), secret.get("name")) if name}
    return maps, secrets


def resolve_environment(
    container: Mapping[str, Any], facts: Facts, config_map: Lookup, secret: Lookup
) -> dict[str, str]:
    """Return a container's variables, in the order of the document: ``envFrom`` first, later ones win.

    Raises:
        Missing: Something that is not optional is not there.
    """
    found: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix", "")
        for name, lookup, kind in (("configMapRef", config_map, "configmap"), ("secretRef", secret, "secret")):
            if source.get(name):
                data = _whole(source[name], lookup, kind)
                found |= {prefix + key: value for key, value in data.items() if _VARIABLE.fullmatch(prefix + key)}
    for variable in container.get("env") or ():
        value = _value(variable, container, facts, config_map, secret, found)
        if value is not None:
            found[variable["name"]] = value
    return found


def _value(
    variable: Mapping[str, Any],
    container: Mapping[str, Any],
    facts: Facts,
    config_map: Lookup,
    secret: Lookup,
    before: Mapping[str, str],
) -> str | None:
    source = variable.get("valueFrom")
    if not source:
        return expand(str(variable.get("value", "")), before)
    if source.get("fieldRef"):
        return field_value(source["fieldRef"]["fieldPath"], facts)
    if source.get("resourceFieldRef"):
        return resource_value(source["resourceFieldRef"], container, facts)
    if source.get("configMapKeyRef"):
        return _key(source["configMapKeyRef"], config_map, "configmap")
    if source.get("secretKeyRef"):
        return _key(source["secretKeyRef"], secret, "secret")
    raise Missing(f"the source of variable {variable['name']} is not supported")


def _whole(reference: Mapping[str, Any], lookup: Lookup, kind: str) -> Mapping[str, str]:
    data = lookup(reference["name"])
    if data is None and not reference.get("optional"):
        raise Missing(f'{kind} "{reference["name"]}" not found')
    return data or {}


def _key(reference: Mapping[str, Any], lookup: Lookup, kind: str) -> str | None:
    data = lookup(reference["name"])
    if data is not None and reference["key"] in data:
        return data[reference["key"]]
    if reference.get("optional"):
        return None
    if data is None:
        raise Missing(f'{kind} "{reference["name"]}" not found')
    raise Missing(f"couldn't find key {reference['key']} in {kind.replace('m', 'M').capitalize()} {reference['name']}")


def resolve_command(
    container: Mapping[str, Any], variables: Mapping[str, str], image_command: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return the argument list: ``command`` (or the image's) and ``args``, with ``$(NAME)`` replaced."""
    words = [*(container.get("command") or image_command), *(container.get("args") or ())]
    return tuple(expand(str(word), variables) for word in words)
