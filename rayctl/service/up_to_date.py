"""Whether what serves is what the newest specification says: the condition that a change is waited for with."""

from __future__ import annotations

from rayctl.cluster.status import readiness
from rayctl.core.conditions import UP_TO_DATE, UPGRADE_DISABLED, Condition, parse_conditions
from rayctl.core.plan import Blocker
from rayctl.service.fingerprint import changed_in_place
from rayctl.service.record import Phase, Record
from rayctl.service.seen import ServiceSeen, wanted_id
from rayctl.service.serve_state import is_current
from rayctl.service.sides import ClusterSeen
from rayctl.service.upkeep import update_services

__all__ = ["CONFIG_REJECTED", "FINAL", "ROLLED_BACK", "up_to_date"]

CONFIG_REJECTED = "ConfigRejected"
ROLLED_BACK = "RolledBack"
FINAL = ("ValidationFailed", CONFIG_REJECTED, ROLLED_BACK, "WriteRefused")
"""Reasons that last until somebody changes something, or asks for it again."""


def up_to_date(seen: ServiceSeen, record: Record | None, blocked_on: Blocker | None) -> Condition:
    """Return the condition of a specification that is valid. Pure.

    It holds once the active cluster, and what runs on it, is as specified and complete. What breaks later is told by
    Ready: only another specification, or another active cluster, takes it back.
    """
    if blocked_on is not None and blocked_on.code == "WriteRefused":
        return _not(blocked_on.code, blocked_on.message)
    if record is None or not record.phase.ended:
        return _under_way(record, blocked_on)
    if not record.active:
        return _not(record.reason or "Initializing", record.message or "no cluster serves yet")
    cluster = seen.clusters.get(record.active)
    if cluster is None or cluster.going:
        return _not("ActiveClusterLost", f"{record.active} is gone")
    return _differs(seen, record, cluster) or _reached(seen, cluster)


def _not(reason: str, message: str) -> Condition:
    return Condition(UP_TO_DATE, "False", reason, message)


def _under_way(record: Record | None, blocked_on: Blocker | None) -> Condition:
    # One reason for all of it: what is waited for stands in the sentence, and a change of that alone can wait.
    waits = f", waits: {blocked_on.message}" if blocked_on else ""
    if record is None or not record.source:
        return _not("Initializing", f"the first cluster is being made{waits}")
    between = f"{record.source} to {record.target}"
    if record.phase is Phase.BACK:
        return _not("RollingBack", f"{between} is taken back: {record.message}")
    return _not("Switching", f"{between}: {record.step}{waits}")


def _differs(seen: ServiceSeen, record: Record, cluster: ClusterSeen) -> Condition | None:
    """Return what of the active side is not as specified; None if all is, as far as anybody can tell."""
    wanted = seen.effective.get("rayClusterConfig") or {}
    if not seen.fits(cluster.name, wanted):
        if record.refused and record.refused == wanted_id(seen.effective):
            return _not(ROLLED_BACK, f"{cluster.name} serves what was there before: {record.message}")
        if seen.spec is not None and seen.spec.strategy == "None":
            return _not(UPGRADE_DISABLED, "the upgrade strategy is None: changes of the cluster are not acted upon")
        return _not("Switching", f"{cluster.name} is to be replaced")
    if changed_in_place(cluster.document.get("spec") or {}, wanted) or update_services(seen):
        return _not("ChangingInPlace", f"{cluster.name} or its services are being changed in place")
    if cluster.serve.known and not is_current(cluster.wanted, cluster.serve):
        side = seen.sides(0.0)[cluster.name]
        waits = side.waits_for
        rejected = waits is not None and waits.code == CONFIG_REJECTED
        text = waits.message if waits is not None else f"{cluster.name} has another Serve configuration"
        return _not(CONFIG_REJECTED if rejected else "ConfigPending", text)
    return None


def _reached(seen: ServiceSeen, cluster: ClusterSeen) -> Condition:
    holds = Condition(UP_TO_DATE, "True", "RolledOut", f"{cluster.name} is as specified")
    before = parse_conditions(seen.status.get("conditions")).get(UP_TO_DATE)
    if before is not None and before.is_true and before.observed_generation == seen.generation:
        told = (seen.status.get("activeServiceStatus") or {}).get("rayClusterName")
        if told == cluster.name:
            return holds
    waits = seen.sides(0.0)[cluster.name].waits_for
    if waits is not None:
        return _not(waits.code, waits.message)
    found = readiness(cluster.document)
    return holds if found.ready else _not(found.reason, f"{cluster.name}: {found.message}")
