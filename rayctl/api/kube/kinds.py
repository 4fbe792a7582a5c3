"""The kinds that the HTTP API has, by the words of their paths."""

from __future__ import annotations

from dataclasses import dataclass

from rayctl.kube.calls import Resource
from rayctl.kube.kinds import FLEETS, RAY_CLUSTERS, RAY_SERVICES, REPLICA_SETS

__all__ = ["BY_WORD", "KINDS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """A kind. ``word``: as in paths, ``fleets``; ``one``: of one object, ``fleet``; ``suspends``: has spec.suspend."""

    word: str
    one: str
    resource: Resource
    suspends: bool = False


KINDS = (
    Kind("fleets", "fleet", FLEETS),
    Kind("sets", "set", REPLICA_SETS),
    Kind("clusters", "cluster", RAY_CLUSTERS, suspends=True),
    Kind("services", "service", RAY_SERVICES, suspends=True),
)
BY_WORD = {kind.word: kind for kind in KINDS}
