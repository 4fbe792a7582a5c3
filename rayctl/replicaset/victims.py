"""Which clusters go first when there are too many.

In this order, the first difference decides:

1. clusters that are drained already;
2. clusters whose replacement has been decided;
3. suspended, then never ready, then not ready any more, then ready but not for ``minReadySeconds`` yet, then available:
   what cannot serve yet goes before what serves, or a rollout would lose more than its budget;
4. the lower ``controller.kubernetes.io/pod-deletion-cost``;
5. fewer running Ray jobs, as far as they are known;
6. fewer ready workers;
7. the newer one, by its time of creation, then by its ordinal;
8. the name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rayctl.replicaset.health import Phase
from rayctl.replicaset.seen import Member

__all__ = ["choose_victims", "rank"]

_PHASES = {Phase.SUSPENDED: 0, Phase.STARTING: 1, Phase.UNREADY: 2, Phase.READY: 3, Phase.TERMINATING: 4}


def rank(member: Member, doomed: Collection[str] = (), settling: Collection[str] = ()) -> tuple[object, ...]:
    """Return the key by which clusters are sorted; the lowest goes first.

    ``doomed``: uids that are being replaced; ``settling``: uids of those that are ready but not available yet.
    """
    return (
        not member.draining_at,
        member.uid not in doomed,
        _PHASES[member.health.phase],
        member.uid not in settling,
        member.cost,
        member.jobs or 0,
        member.health.workers,
        -member.created_at,
        -(member.ordinal if member.ordinal is not None else -1),
        member.name,
    )


def choose_victims(
    members: Sequence[Member], count: int, doomed: Collection[str] = (), settling: Collection[str] = ()
) -> list[Member]:
    """Return the ``count`` members that go; if all go, in the given order and without ranking."""
    if count >= len(members):
        return list(members)
    return sorted(members, key=lambda member: rank(member, doomed, settling))[: max(0, count)]
