"""Labels, annotations and names of fleets, replica sets and their clusters: AIBrix's words where it has them."""

from __future__ import annotations

import re

__all__ = [
    "DELETION_COST",
    "DRAINING_SINCE",
    "FLEET_LABEL",
    "HASH_LABEL",
    "IN_PLACE_HASH",
    "MAX_CLUSTER_NAME",
    "MAX_SET_NAME",
    "REVISION_LABEL",
    "RUNNING_JOBS",
    "cluster_name",
    "name_problem",
    "ordinal_of",
]

HASH_LABEL = "pod-template-hash"
"""On a replica set, in its selector and template, and on its clusters: which revision they belong to."""
FLEET_LABEL = "orchestration.aibrix.ai/raycluster-fleet-name"
"""On the pods of a fleet's clusters."""
REVISION_LABEL = "rayctl.io/revision-hash"
"""On the pods of a blue/green fleet's clusters, for its services: to which revision they belong."""
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""On a cluster: of those that are equally ready, the one with the lowest goes first."""
RUNNING_JOBS = "rayctl.io/running-jobs"
"""On a cluster: how many Ray jobs run on it, as far as somebody has counted."""
DRAINING_SINCE = "rayctl.io/draining-since"
"""On a cluster that is to go: since when (ISO 8601). It takes no new work, and goes when its work is done."""
IN_PLACE_HASH = "rayctl.io/in-place-hash"
"""On a cluster: of the fields that are changed without a new cluster, as they were last set."""

MAX_CLUSTER_NAME = 53
"""Characters of a RayCluster's name, as KubeRay allows."""
_DIGITS = 5
MAX_SET_NAME = MAX_CLUSTER_NAME - 1 - _DIGITS
"""Characters of a replica set's name, so that ``-`` and five digits still fit."""
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def cluster_name(replica_set: str, ordinal: int) -> str:
    """Return the name of a set's cluster: ``<set>-<ordinal>``. Ordinals are never used again."""
    return f"{replica_set}-{ordinal}"


def ordinal_of(replica_set: str, name: str) -> int | None:
    """Return the ordinal in a cluster's name; None for clusters that were adopted."""
    tail = name.removeprefix(f"{replica_set}-")
    if tail == name or not tail.isdigit() or (len(tail) > 1 and tail.startswith("0")):
        return None
    return int(tail)


def name_problem(name: str, longest: int) -> str:
    """Return why nothing can be created under this name; empty if it can. ``longest``: characters."""
    if len(name) > longest:
        return (
            f"the name {name!r} has {len(name)} characters, at most {longest} are possible: with what is appended, "
            f"its clusters would have names longer than the {MAX_CLUSTER_NAME} that KubeRay takes"
        )
    if not _LABEL.fullmatch(name):
        return f"the name {name!r} must begin with a letter and have only a-z, 0-9 and -, as names of Ray clusters do"
    return ""
