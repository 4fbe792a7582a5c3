"""Setting the number of workers of a group of a RayCluster. Pure."""

from __future__ import annotations

from typing import Any

from rayctl.errors import Conflict, InvalidRequest

__all__ = ["group_patch"]


def group_patch(
    cluster: dict[str, Any], group: str | None, replicas: int, current: int | None = None
) -> list[dict[str, Any]]:
    """Return the JSON patch that sets the replicas of a worker group, and of nothing else. Pure.

    Args:
        cluster: A RayCluster.
        group: The group's name; None: its only one.
        replicas: How many.
        current: Only if there are so many now.

    Raises:
        InvalidRequest: There is no such group; or its limits do not allow it.
        Conflict: There are not ``current`` replicas now.
    """
    name = cluster["metadata"]["name"]
    groups = (cluster.get("spec") or {}).get("workerGroupSpecs") or []
    names = [str(found.get("groupName")) for found in groups]
    if group is None and len(groups) == 1:
        group = names[0]
    if group not in names:
        known = ", ".join(names) or "none"
        what = f"has no group {group!r}" if group else "has several groups" if groups else "has no worker groups"
        raise InvalidRequest(f"raycluster/{name} {what}.", code="no-such-group", hint=f"--group: {known}.")
    index = names.index(group)
    chosen = groups[index]
    lowest, highest = chosen.get("minReplicas", 0), chosen.get("maxReplicas")
    if (highest is not None and replicas > highest) or replicas < (lowest or 0):
        raise InvalidRequest(
            f"Group {group} of raycluster/{name} may have {lowest or 0} to {highest} replicas, not {replicas}.",
            code="outside-limits",
            hint="Change minReplicas or maxReplicas first (`rayctl apply`).",
        )
    have = chosen.get("replicas")
    if current is not None and (have or 0) != current:
        raise Conflict(
            f"Group {group} of raycluster/{name} has {have or 0} replicas, not {current}.", code="other-replicas"
        )
    path = f"/spec/workerGroupSpecs/{index}"
    return [
        {"op": "test", "path": f"{path}/groupName", "value": group},  # the list may have changed meanwhile
        {"op": "add" if have is None else "replace", "path": f"{path}/replicas", "value": replicas},
    ]
