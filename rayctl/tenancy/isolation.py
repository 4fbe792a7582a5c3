"""Proof on a running cluster: two tenants see nothing of each other, as far as Ray can separate them.

Each check starts work of two throw-away tenants at once and compares what they saw with what they were told. What Ray
does not separate is listed as well, because whoever shares a cluster has to know it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rayctl.errors import InvalidRequest
from rayctl.tenancy.cluster import container_runtimes
from rayctl.tenancy.codec import encode, parse
from rayctl.tenancy.current import current_config, serving
from rayctl.tenancy.handle import TenantContext, current_context
from rayctl.tenancy.keys import signing_key
from rayctl.tenancy.model import TenantConfig

__all__ = ["NOT_ISOLATED", "Check", "check_isolation"]

CALLS = 40

NOT_ISOLATED = (
    "Ray's namespaces are names: every job can look up, call and kill every named actor.",
    "Objects can be read by whoever has their reference; the state API and the dashboard list those of all jobs.",
    "Tasks of different tenants without packages or variables of their own share worker processes: what code leaves in "
    "module globals, os.environ, the working directory or temporary files is seen by the next call.",
    "Processes of one node run as one user: they can read each other's files, environment and memory maps.",
    "Containers of images share the node's network, process numbers and shared memory with everything else.",
    "The cluster's token, where there is one, is in the environment of every worker.",
    "CPUs and memory that tasks reserve are not enforced by Ray beyond its memory monitor.",
)
"""What tenants of one Ray cluster have to trust each other with; the remedy is a cluster of one's own."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. ``detail``: what was seen, without any tenant's values.

    ``passed`` None: it could not be tried on this cluster; the detail says why.
    """

    name: str
    passed: bool | None
    detail: str


def _look(variable: str) -> tuple[str, Any, str | None]:
    config = current_config()
    return config.tenant, config.setting("probe.value"), os.environ.get(variable)


class _Shared:
    async def look(self, pause: float) -> tuple[str, Any]:
        before = current_config()
        await asyncio.sleep(pause)
        after = current_config()
        return (after.tenant, after.setting("probe.value")) if before is after else ("", "changed while waiting")


def _nested(variable: str) -> Any:
    context = current_context()
    return context.get(context.submit(_look, variable))


def _change() -> str:
    try:
        current_config().settings["probe"]["value"] = "changed"
    except TypeError:
        return "refused"
    return "changed"


def check_isolation(open_context: Callable[[TenantConfig], TenantContext], nonce: str) -> Iterator[Check]:
    """Yield the checks as they are done; takes some seconds, most of it for processes with a variable of their own.

    Args:
        open_context: Makes a context on the connected cluster.
        nonce: Makes the names and values of this run its own.
    """
    configs = [
        parse({"tenant": f"probe-{side}-{nonce}", "settings": {"probe": {"value": f"{side}-{nonce}"}}}) for side in "ab"
    ]
    one, two = (open_context(config) for config in configs)
    sides = [(one, configs[0]), (two, configs[1])]
    expected = [(config.tenant, config.setting("probe.value")) for config in configs]

    looks = [context.remote(_look) for context, _ in sides]
    references = [(side, looks[side].remote("RCT_PROBE")) for _ in range(CALLS) for side in (0, 1)]
    wrong = sum(one.get(reference)[:2] != expected[side] for side, reference in references)
    yield Check("tasks in reused workers see their own settings", wrong == 0, f"{2 * CALLS} calls, {wrong} wrong")

    shared = one.actor(_Shared, options={"num_cpus": 0})
    handles = [context.wrap(shared) for context, _ in sides]
    calls = [(side, handles[side].look.remote(0.001 * (number % 3))) for number in range(CALLS) for side in (0, 1)]
    wrong = sum(one.get(reference) != expected[side] for side, reference in calls)
    yield Check("interleaved calls of one async actor see their own", wrong == 0, f"{2 * CALLS} calls, {wrong} wrong")

    found = [one.get(context.submit(_nested, "RCT_PROBE"))[:2] for context, _ in sides]
    yield Check("nested tasks inherit their own", found == expected, "one level below the call")

    refused = [one.get(context.submit(_change)) for context, _ in sides]
    yield Check("a call cannot change what the next one sees", refused == ["refused"] * 2, "settings are frozen")

    yield _tampering(configs[0])
    yield from _variables(open_context, configs)
    yield _images(container_runtimes())


def _images(runtimes: Mapping[str, str | None]) -> Check:
    """Say whether tenants can have images here. Nothing is started: there is no image that every cluster has."""
    name = "container images (isolation image)"
    lacking = sum(found is None for found in runtimes.values())
    if lacking:
        return Check(name, None, f"not tried: {lacking} of {len(runtimes)} nodes have no podman, so images are refused")
    return Check(name, None, "not tried: podman is there, and no image is known that could be run")


def _tampering(config: TenantConfig) -> Check:
    data = bytearray(encode(config, signing_key()))
    data[len(data) // 2] ^= 1
    try:
        with serving(bytes(data)):
            return Check("changed envelopes are refused", False, "a changed byte was not noticed")
    except InvalidRequest as error:
        return Check("changed envelopes are refused", True, error.code)


def _variables(open_context: Callable[[TenantConfig], TenantContext], configs: list[TenantConfig]) -> Iterator[Check]:
    contexts = [
        open_context(config.with_changes(environment={"variables": {"RCT_PROBE": config.tenant}})) for config in configs
    ]
    plain = open_context(configs[0])
    found = [context.get(context.submit(_look, "RCT_PROBE"))[2] for context in contexts]
    outside = plain.get(plain.submit(_look, "RCT_PROBE"))[2]
    passed = found == [config.tenant for config in configs] and outside is None
    yield Check("environment variables stay in the tenant's own processes", passed, "two tenants and one without")
