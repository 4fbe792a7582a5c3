"""The line that starts Ray in a container: ``ray start`` with what the user, the limits and the cluster say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from rayctl.cluster import keys
from rayctl.core.quantity import parse_quantity, whole

__all__ = ["command_line", "is_gpu", "start_params"]

Document = Mapping[str, Any]
_ACCELERATORS = {"aws.amazon.com/neuroncore": "neuron_cores", "google.com/tpu": "TPU"}
_EXPLICIT = ("log-color", "include-dashboard", "include-log-monitor")
"""Switches whose value is written even if it is true or false."""
_MIG = re.compile(r"nvidia\.com/mig-\d+g\.\d+gb")


def is_gpu(resource: str) -> bool:
    """Return whether a resource of a container is a kind of GPU."""
    return resource.endswith("gpu") or bool(_MIG.fullmatch(resource))


def start_params(
    node_type: str,
    params: Mapping[str, str],
    resources: Mapping[str, str],
    labels: Mapping[str, str],
    container: Document,
    address: str = "",
) -> dict[str, str]:
    """Return all parameters of a node.

    Args:
        node_type: ``head`` or ``worker``.
        params: The user's own; they win, but for ``block``.
        resources: The group's Ray resources.
        labels: The group's Ray labels.
        container: Ray's container, whose limits become Ray's resources.
        address: Where the head is, for workers.
    """
    found = dict(params)
    _add_group(found, resources, labels)
    if node_type == keys.WORKER:
        found.setdefault("address", address)
    else:
        found.setdefault("dashboard-host", "0.0.0.0")  # noqa: S104 (inside the pod; the service leads there)
    found.setdefault("metrics-export-port", str(keys.PORTS["metrics"]))
    found.setdefault("dashboard-agent-listen-port", str(keys.AGENT_PORT))
    found["block"] = "true"
    _add_limits(found, container.get("resources") or {})
    return found


def _add_group(found: dict[str, str], resources: Mapping[str, str], labels: Mapping[str, str]) -> None:
    if labels:
        found["labels"] = ",".join(f"{name}={labels[name]}" for name in sorted(labels))
    others: dict[str, float] = {}
    for name, text in resources.items():
        try:
            amount = parse_quantity(text)
        except ValueError:
            continue  # `validate` tells of it
        lower = name.lower()
        if lower in ("cpu", "memory"):
            found["num-cpus" if lower == "cpu" else "memory"] = str(whole(text))
        elif is_gpu(lower):
            found["num-gpus"] = str(whole(text))
        else:
            others[name] = float(amount)
    if others:
        found["resources"] = _quoted(others)


def _add_limits(found: dict[str, str], resources: Document) -> None:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    if "num-cpus" not in found:
        for source in (limits, requests):
            cpus = _amount(source, "cpu")
            if cpus:
                found["num-cpus"] = str(cpus)
                break
    if "memory" not in found and _amount(limits, "memory"):
        found["memory"] = str(_amount(limits, "memory"))
    if "num-gpus" not in found:
        gpus = [_amount(limits, name) for name in sorted(limits) if is_gpu(name) and _amount(limits, name)]
        if gpus:
            found["num-gpus"] = str(gpus[0])
    _add_accelerator(found, limits)


def _add_accelerator(found: dict[str, str], limits: Document) -> None:
    own = _ray_resources(found)
    if own is None or any(name in own for name in _ACCELERATORS.values()):
        return
    for name in sorted(limits):
        if name in _ACCELERATORS and _amount(limits, name):
            own[_ACCELERATORS[name]] = float(parse_quantity(limits[name]))
            found["resources"] = _quoted(own)
            return


def _ray_resources(found: Mapping[str, str]) -> dict[str, float] | None:
    """Return the user's own resources; None if they cannot be read (Ray will say so)."""
    text = found.get("resources", "").strip("'\"` ")
    if not text:
        return {}
    try:
        parsed = json.loads(text)
        return {str(name): float(value) for name, value in parsed.items()}
    except (ValueError, AttributeError, TypeError):
        return None


def _amount(source: Document, name: str) -> int:
    with suppress(ValueError):
        return whole(source.get(name, 0))
    return 0


def _quoted(resources: Mapping[str, float]) -> str:
    plain = {name: int(value) if value == int(value) else value for name, value in sorted(resources.items())}
    return "'" + json.dumps(plain, separators=(",", ":")) + "'"


def command_line(node_type: str, params: Mapping[str, str]) -> str:
    """Return the line: parameters by name, switches bare, what is false left out."""
    words = ["ray start --head" if node_type == keys.HEAD else "ray start"]
    for name in sorted(params):
        value = params[name]
        lower = value.lower()
        if lower in ("true", "false") and name not in _EXPLICIT:
            if lower == "true":
                words.append(f"--{name}")
        else:
            words.append(f"--{name}={value}")
    return " ".join(words)
