"""Moving the control plane to another RayCluster: looks, asks the switchover, does what it says."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from rayctl.kube.calls import MERGE, Call, Transport
from rayctl.kube.errors import KubernetesError, ObjectNotFound
from rayctl.kube.kinds import CONFIG_MAPS, LEASES, PODS, RAY_CLUSTERS, SERVICES
from rayctl.kube.lease import Observed, asking
from rayctl.manifests.access import CONTROLLERS
from rayctl.manifests.installation import Installation, cluster
from rayctl.selfhost import moving
from rayctl.selfhost.turns import FileTurns, Turns
from rayctl.service.sides import CLAIM
from rayctl.service.switchover import advance
from rayctl.service.terms import Ask, Claim, Make, Point, Remove, Side
from rayctl.state.turn import Turn, turn_file

__all__ = ["Mover"]

log = logging.getLogger("rayctl.system")
FORCE_S = 30.0
"""A side that does not hand the state over within this time, and whose head is gone, is not asked any more."""


class Mover:
    """Args: the way to the API server; what is wanted of the first side; seconds since the epoch; where the turn is
    written down (default: the file)."""

    def __init__(
        self,
        transport: Transport,
        base: Installation,
        wall: Callable[[], float] = time.time,
        turns: Turns | None = None,
    ) -> None:
        self._transport, self._base, self._wall = transport, base, wall
        self._turns = turns or FileTurns(turn_file(Path(base.home)))
        self._namespace = base.namespace
        self._asked_at: float | None = None

    def rebase(self, base: Installation) -> None:
        """Take note of what is wanted of sides that have no wishes of their own."""
        self._base = base

    async def move(self) -> tuple[moving.Move, dict[str, Any] | None]:
        """Return what is kept, and its ConfigMap."""
        try:
            found = await self._transport.request(Call.get(CONFIG_MAPS.path(self._namespace, moving.CONFIG)))
        except ObjectNotFound:
            return moving.parse_move(None), None
        return moving.parse_move(found), found

    async def keep(self, move: moving.Move, found: dict[str, Any] | None) -> None:
        """Write it down. Raises WriteConflict if somebody else has."""
        metadata: dict[str, Any] = {"name": moving.CONFIG, "namespace": self._namespace}
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": move.data()}
        if found is None:
            await self._transport.request(Call("POST", CONFIG_MAPS.path(self._namespace), body=document))
            return
        metadata |= {name: value for name, value in found["metadata"].items() if name != "managedFields"}
        path = CONFIG_MAPS.path(self._namespace, moving.CONFIG)
        await self._transport.request(Call("PUT", path, body=document))

    def installation(self, move: moving.Move, side: str) -> Installation:
        """Return what is wanted of a side."""
        changes: Any = dict(move.changes.get(side, {}))
        return replace(self._base, cluster=side, **changes)

    async def step(self, session: aiohttp.ClientSession) -> moving.Move:
        """Do what comes next, if anything; return what is kept."""
        move, found = await self.move()
        record = move.record
        names = {record.active, record.source, record.target, move.target} - {""}
        sides = {name: await self._side(name, session) for name in names}
        if moving.at_rest(move) and not (record.retiring and sides[record.retiring].exists):
            return move
        service = await self._transport.request(Call.get(SERVICES.path(self._namespace, "rayctl")))
        selected = str(service["spec"]["selector"].get("ray.io/cluster", ""))
        items = (await self._transport.request(Call.get(LEASES.path(self._namespace))))["items"]
        leases = {item["metadata"]["name"]: item for item in items}
        turn = await self._turns.read()
        seen = moving.look(move, sides, selected, turn, leases)
        found_next = advance(record, seen, move.rules, move.wish, self._wall())
        if found_next.record is not None and found_next.record != record:
            log.info("upgrade: %s", found_next.because.message if found_next.because else found_next.record.step)
            move = replace(move, record=found_next.record)
            await self.keep(move, found)
        elif found_next.do is not None:
            await self._do(found_next.do, move, sides, turn, leases)
        return move

    async def exists(self, side: str) -> bool:
        """Whether a side's cluster is there."""
        if not side:
            return False
        try:
            await self._transport.request(Call.get(RAY_CLUSTERS.path(self._namespace, side)))
        except ObjectNotFound:
            return False
        return True

    async def take_over(self, side: str) -> None:
        """Give the state to the only side that there is, whoever had it in an earlier life of this home."""
        if (await self._turns.read()).holder not in ("", side):
            await self._turns.write(Turn(side, side))

    async def _side(self, name: str, session: aiohttp.ClientSession) -> Side:
        try:
            cluster = await self._transport.request(Call.get(RAY_CLUSTERS.path(self._namespace, name)))
        except ObjectNotFound:
            return Side(name)
        return moving.side_of(name, cluster, await self._answers(name, session))

    async def _head(self, side: str) -> dict[str, Any] | None:
        labels = f"ray.io/cluster={side},ray.io/node-type=head"
        call = Call.get(PODS.path(self._namespace)).asking(labelSelector=labels)
        items = (await self._transport.request(call))["items"]
        return items[0] if items else None

    async def _answers(self, side: str, session: aiohttp.ClientSession) -> bool | None:
        pod = await self._head(side)
        address = ((pod or {}).get("status") or {}).get("podIP")
        if not address:
            return False
        try:
            async with session.get(f"http://{address}:8000/healthz") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectorError:
            return False
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def _do(
        self, ask: Ask, move: moving.Move, sides: dict[str, Side], turn: Turn, leases: dict[str, dict[str, Any]]
    ) -> None:
        log.info("upgrade: %s", ask)
        if isinstance(ask, Make):
            source = move.record.active or move.record.source
            if not turn.holder:
                await self._turns.write(Turn(source, source))  # before the other side looks whose turn it is
            document = cluster(self.installation(move, ask.side))
            document["metadata"]["annotations"] = {CLAIM: str(move.record.serial)}
            await self._transport.request(Call("POST", RAY_CLUSTERS.path(self._namespace), body=document))
        elif isinstance(ask, Claim):
            body = {"metadata": {"annotations": {CLAIM: str(ask.serial)}}}
            await self._patch(RAY_CLUSTERS.path(self._namespace, ask.side), body)
        elif isinstance(ask, Remove):
            with contextlib.suppress(ObjectNotFound):
                await self._transport.request(Call("DELETE", RAY_CLUSTERS.path(self._namespace, ask.side)))
        elif isinstance(ask, Point) and ask.entry == moving.SERVICE:
            body = {"spec": {"selector": {"ray.io/cluster": ask.side}}}
            await self._patch(SERVICES.path(self._namespace, "rayctl"), body)
        elif isinstance(ask, Point) and ask.entry == moving.STATE:
            await self._hand_over_state(turn, ask.side)
        elif isinstance(ask, Point):
            await self._hand_over_leases(leases, ask.side)

    async def _patch(self, path: str, body: dict[str, Any]) -> None:
        await self._transport.request(Call("PATCH", path, body=body, content_type=MERGE))

    async def _hand_over_state(self, turn: Turn, side: str) -> None:
        if turn.wanted != side:
            self._asked_at = time.monotonic()
            await self._turns.write(Turn(turn.holder, side))
            return
        waited = time.monotonic() - (self._asked_at or time.monotonic())
        if waited > FORCE_S and await self._head(turn.holder) is None:
            await self._turns.write(Turn(side, side))
        elif self._asked_at is None:
            self._asked_at = time.monotonic()

    async def _hand_over_leases(self, leases: dict[str, dict[str, Any]], side: str) -> None:
        for name in CONTROLLERS:
            observed = Observed(leases[name], 0.0) if name in leases else None
            if observed is None or observed.holder.startswith(f"{side}_") or observed.preferred == side:
                continue
            call = Call("PUT", LEASES.path(self._namespace, name), body=asking(observed, side))
            with contextlib.suppress(KubernetesError):  # it was renewed meanwhile; the next look tries again
                await self._transport.request(call)
