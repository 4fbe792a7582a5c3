"""How many workers a cluster is to have, and what all of its pods ask for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any

from rayctl.cluster.raystart import is_gpu
from rayctl.cluster.spec import MAX_INT32, ClusterSpec
from rayctl.core.quantity import format_bytes, format_count, parse_quantity

__all__ = ["resource_totals", "worker_counts"]


def worker_counts(spec: ClusterSpec) -> dict[str, int]:
    """Return wanted, least and most workers in pods, as the status names them. A suspended group has none."""
    groups = [group for group in spec.groups if not group.suspended]
    most = [MAX_INT32 if group.at_most is None else group.at_most for group in groups]
    return {
        "desiredWorkerReplicas": min(MAX_INT32, sum(group.wanted * group.hosts for group in groups)),
        "minWorkerReplicas": min(MAX_INT32, sum((group.at_least or 0) * group.hosts for group in groups)),
        "maxWorkerReplicas": min(MAX_INT32, sum(one * group.hosts for one, group in zip(most, groups, strict=True))),
    }


def resource_totals(spec: ClusterSpec) -> dict[str, str]:
    """Return what head and wanted workers ask for together: requests, else limits, of all containers."""
    totals: dict[str, Fraction] = {}
    parts = [(spec.head.template, 1), *((group.template, group.wanted * group.hosts) for group in spec.groups)]
    for template, pods in parts:
        for name, amount in _of_template(template).items():
            totals[name] = totals.get(name, Fraction(0)) + amount * pods
    gpus = sum((amount for name, amount in totals.items() if is_gpu(name)), Fraction(0))
    zero = Fraction(0)
    return {
        "desiredCPU": format_count(totals.get("cpu", zero)),
        "desiredMemory": format_bytes(totals.get("memory", zero)),
        "desiredGPU": format_count(gpus),
        "desiredTPU": format_count(totals.get("google.com/tpu", zero)),
    }


def _of_template(template: Mapping[str, Any]) -> dict[str, Fraction]:
    totals: dict[str, Fraction] = {}
    for container in (template.get("spec") or {}).get("containers") or ():
        resources = container.get("resources") or {}
        for name, text in {**(resources.get("limits") or {}), **(resources.get("requests") or {})}.items():
            with suppress(ValueError):
                totals[name] = totals.get(name, Fraction(0)) + parse_quantity(text)
    return totals
