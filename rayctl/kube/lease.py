"""Who leads: one Lease object, and a fence that lets nobody write whose time is over.

A holder renews, and may write for `Terms.renew_deadline_s` after it *sent* the last renewal that was acknowledged.
Others take over when they have seen no change for the holder's whole `Terms.duration_s`, by their own monotonic clocks.
The difference, the margin, is how late a request may still arrive without harm: Kubernetes offers no check at the
server that would hold for longer. Wall clocks decide nothing. The numbers are Kubernetes' own.

A holder gives the lease back when somebody else is preferred: an annotation names a candidate, or what the names of
several begin with. A candidate asks for it that finds a mere standby in its place; an upgrade does, too.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from rayctl.kube.calls import Call, Resource, Transport
from rayctl.kube.errors import AlreadyExists, KubernetesError, LeaseLost, ObjectNotFound, WriteConflict

__all__ = [
    "LEASES",
    "PREFERRED",
    "STANDBY",
    "Elector",
    "Fence",
    "FencedTransport",
    "Observed",
    "Terms",
    "asking",
    "may_claim",
    "must_give_back",
    "renewal",
    "wants_to_ask",
]

_log = logging.getLogger(__name__)

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
PREFERRED = "rayctl.io/preferred-holder"
"""Who should hold the lease next: an identity, or what comes before the ``_`` of one. Gone when somebody claims it."""
STANDBY = "rayctl.io/standby"
"""Said of its holder: it only stands in, and makes way for whoever asks."""
RESERVED_S = 10.0
"""For so long a lease that is free is left to who is preferred."""


@dataclass(frozen=True)
class Terms:
    """How long a lease lasts, how long its holder dares to act on it, and how often it is looked after; in seconds.

    ``standby``: whether who holds it makes way for any candidate that is none.
    """

    duration_s: int = 15
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0
    standby: bool = False

    def __post_init__(self) -> None:
        if not self.duration_s > self.renew_deadline_s > self.retry_s > 0:
            raise ValueError("a lease needs duration_s > renew_deadline_s > retry_s > 0")


@dataclass(frozen=True)
class Observed:
    """A Lease as we saw it. ``since``: our clock when it first looked like this."""

    document: Mapping[str, Any]
    since: float

    @property
    def holder(self) -> str:
        """Who holds it; empty: nobody."""
        return self.document.get("spec", {}).get("holderIdentity") or ""

    @property
    def transitions(self) -> int:
        """How often it changed hands: the epoch of its holder."""
        return int(self.document.get("spec", {}).get("leaseTransitions") or 0)

    @property
    def revision(self) -> str:
        """Its resourceVersion."""
        return str(self.document["metadata"]["resourceVersion"])

    @property
    def preferred(self) -> str:
        """Who should hold it next; empty: nobody in particular."""
        return str((self.document["metadata"].get("annotations") or {}).get(PREFERRED) or "")

    @property
    def standby(self) -> bool:
        """Whether its holder only stands in."""
        return bool((self.document["metadata"].get("annotations") or {}).get(STANDBY) == "true")

    def then(self, document: Mapping[str, Any], now: float) -> Observed:
        """Return what is known after another look."""
        return self if document["metadata"]["resourceVersion"] == self.revision else Observed(document, now)


def may_claim(observed: Observed, now: float, identity: str = "") -> bool:
    """Whether a candidate may take a lease: nobody's, or one that was not renewed for its holder's own duration.

    The candidate's own name as the holder's proves nothing: it may be that of a process before it. It only counts for
    whether it is the one that is preferred; all others leave it the lease for another while.
    """
    reserved_s = RESERVED_S if must_give_back(observed, identity) else 0.0
    if not observed.holder:
        return now >= observed.since + reserved_s
    duration_s = float(observed.document.get("spec", {}).get("leaseDurationSeconds") or Terms().duration_s)
    return now >= observed.since + duration_s + reserved_s


def must_give_back(observed: Observed, identity: str) -> bool:
    """Whether somebody else should hold the lease."""
    preferred = observed.preferred
    return bool(preferred) and identity != preferred and not identity.startswith(f"{preferred}_")


def wants_to_ask(observed: Observed, terms: Terms) -> bool:
    """Whether a candidate should say that it is there: somebody only stands in, and nobody has asked yet."""
    return bool(observed.holder) and observed.standby and not terms.standby and not observed.preferred


def asking(observed: Observed, preferred: str) -> dict[str, Any]:
    """Return the Lease to write to ask its holder to make way; its holder and times stay as they are."""
    metadata = {key: value for key, value in observed.document["metadata"].items() if key != "managedFields"}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), PREFERRED: preferred}
    return {**observed.document, "metadata": metadata}


def renewal(
    observed: Observed | None, key: tuple[str, str], identity: str, terms: Terms, wall: float
) -> dict[str, Any]:
    """Return the Lease to write: renewed if it is held already, else claimed in the next epoch.

    Args:
        observed: What is there; its revision becomes the precondition. None: nothing.
        key: Namespace and name.
        identity: Who writes.
        terms: Its duration.
        wall: Seconds since the epoch, for people to read.
    """
    now = datetime.fromtimestamp(wall, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    held = observed is not None and observed.holder == identity
    old = {} if observed is None else dict(observed.document.get("spec", {}))
    epoch = 0 if observed is None else observed.transitions + (not held)
    spec = {
        "holderIdentity": identity,
        "leaseDurationSeconds": terms.duration_s,
        "acquireTime": old.get("acquireTime", now) if held else now,
        "renewTime": now,
        "leaseTransitions": epoch,
    }
    metadata = _kept(observed, standby=terms.standby)
    metadata |= {"namespace": key[0], "name": key[1]}
    return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}


def _kept(observed: Observed | None, standby: bool = False, preferred: str = "") -> dict[str, Any]:
    """Return the metadata to write: that of others stays, such as labels by which an installation is taken away."""
    if observed is None:
        return {"annotations": {STANDBY: "true"}} if standby else {}
    metadata = {key: value for key, value in observed.document["metadata"].items() if key != "managedFields"}
    annotations = {
        **(metadata.pop("annotations", None) or {}),
        STANDBY: "true" if standby else "",
        PREFERRED: preferred,
    }
    found = {key: value for key, value in annotations.items() if value or key not in (STANDBY, PREFERRED)}
    return {**metadata, "annotations": found} if found else metadata


class Fence:
    """Until when its holder may write, by the event loop's clock.

    Attributes:
        epoch: The lease's number of changes of hands.
        until: The end.
        doubt_at: When the last write ended of which nobody knows whether it will still happen.
    """

    def __init__(self, epoch: int, until: float) -> None:
        self.epoch, self.until = epoch, until
        self.doubt_at = float("-inf")

    def left_s(self) -> float:
        """Seconds for which writing is allowed; never negative."""
        return max(0.0, self.until - asyncio.get_running_loop().time())


class FencedTransport:
    """A transport on which nothing is written once the fence's time is over, and nothing takes longer than that.

    ``held_back`` is told of every write that was not sent.
    """

    def __init__(self, inner: Transport, fence: Fence, held_back: Callable[[], None] = lambda: None) -> None:
        self._inner, self._fence, self._held_back = inner, fence, held_back

    async def request(self, call: Call) -> Any:
        """See `Transport.request`.

        Raises:
            LeaseLost: It was not sent.
        """
        if call.writes:
            left_s = self._fence.left_s()
            if left_s <= 0:
                self._held_back()
                raise LeaseLost(f"{call.method} {call.path}: not sent, the lease is no longer ours")
            call = replace(call, timeout_s=min(call.timeout_s, left_s))
        try:
            return await self._inner.request(call)
        except asyncio.CancelledError:
            self._doubt(call)
            raise
        except KubernetesError as error:
            if error.outcome_unknown:
                self._doubt(call)
            raise

    def _doubt(self, call: Call) -> None:
        if call.writes:
            self._fence.doubt_at = asyncio.get_running_loop().time()

    def watch(self, call: Call, silence_s: float) -> AsyncGenerator[dict[str, Any], None]:
        """See `Transport.watch`."""
        return self._inner.watch(call, silence_s)

    async def close(self) -> None:
        """Do nothing: the connections are not the fence's."""


class Elector:
    """A candidate for one lease.

    Args:
        transport: The way to the server.
        key: The Lease's namespace and name.
        identity: Unique for every process that ever runs, not only for every host.
        lead: What the leader does; is cancelled, and waited for, when the lease is lost.
        wall: Seconds since the epoch.
        terms: The lease's times.
        chance: Source of jitter.
    """

    def __init__(
        self,
        transport: Transport,
        key: tuple[str, str],
        identity: str,
        lead: Callable[[Fence], Awaitable[None]],
        wall: Callable[[], float],
        terms: Terms | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._transport, self._key, self._identity, self._lead, self._wall = transport, key, identity, lead, wall
        self._terms = terms or Terms()
        self._chance = chance or random.Random()
        self._observed: Observed | None = None
        self._path = LEASES.path(*key)

    async def run(self) -> None:
        """Stand for election until cancelled; give the lease back then.

        Raises:
            Exception: What ``lead`` raised; the lease is given back first.
        """
        while True:
            fence = await self._acquire()
            leading = asyncio.ensure_future(self._lead(fence))
            try:
                await self._keep(fence, leading)
            finally:
                leading.cancel()
                await asyncio.wait([leading])
                fence.until = min(fence.until, asyncio.get_running_loop().time())
                await self._release(fence)
            if not leading.cancelled():
                leading.result()  # raises what ended it
                return

    async def _acquire(self) -> Fence:
        while True:
            try:
                await self._look(self._terms.renew_deadline_s)
                now = asyncio.get_running_loop().time()
                if self._observed is None or may_claim(self._observed, now, self._identity):
                    if self._observed is not None and self._observed.holder == self._identity:
                        # A namesake's: claimed as from a stranger, so that the epoch moves on.
                        spec = {**self._observed.document["spec"], "holderIdentity": ""}
                        self._observed = replace(self._observed, document={**self._observed.document, "spec": spec})
                    return await self._write(self._terms.renew_deadline_s)
                if wants_to_ask(self._observed, self._terms):
                    await self._ask(self._observed)
            except KubernetesError as error:
                # Whatever it was: this candidate looks again, and does not lead until it has seen success.
                _log.info("candidate %s for %s/%s: %s", self._identity, *self._key, error)
            await asyncio.sleep(self._terms.retry_s * (1 + 0.2 * self._chance.random()))

    async def _keep(self, fence: Fence, leading: asyncio.Future[None]) -> None:
        """Renew until the fence's time is over, or the work has ended."""
        while fence.left_s() > 0:
            pause_s = min(self._terms.retry_s, fence.left_s())
            await asyncio.wait([leading], timeout=pause_s)
            if leading.done():
                return
            try:
                fence.until = (await self._write(fence.left_s())).until
            except WriteConflict:
                try:
                    await self._look(fence.left_s())
                except KubernetesError as error:
                    _log.warning("leader %s of %s/%s: %s", self._identity, *self._key, error)
                    continue
                if self._observed is None or (self._observed.holder, self._observed.transitions) != (
                    self._identity,
                    fence.epoch,
                ):
                    return
                if must_give_back(self._observed, self._identity):
                    _log.info("%s makes way for %s", self._identity, self._observed.preferred)
                    return
            except KubernetesError as error:
                # The fence ends it when that goes on.
                _log.warning("leader %s of %s/%s did not renew: %s", self._identity, *self._key, error)

    async def _ask(self, observed: Observed) -> None:
        document = asking(observed, self._identity)
        call = Call("PUT", self._path, body=document, timeout_s=self._terms.renew_deadline_s)
        written = await self._transport.request(call)
        self._observed = observed.then(written, asyncio.get_running_loop().time())

    async def _look(self, timeout_s: float) -> None:
        try:
            document = await self._transport.request(Call.get(self._path, timeout_s))
        except ObjectNotFound:
            self._observed = None
            return
        now = asyncio.get_running_loop().time()
        self._observed = Observed(document, now) if self._observed is None else self._observed.then(document, now)

    async def _write(self, timeout_s: float) -> Fence:
        loop = asyncio.get_running_loop()
        sent = loop.time()
        document = renewal(self._observed, self._key, self._identity, self._terms, self._wall())
        if self._observed is None:
            call = Call("POST", LEASES.path(self._key[0]), body=document, timeout_s=timeout_s)
        else:
            call = Call("PUT", self._path, body=document, timeout_s=timeout_s)
        try:
            written = await self._transport.request(call)
        except AlreadyExists as error:
            raise WriteConflict(str(error)) from error
        self._observed = Observed(written, loop.time())
        return Fence(self._observed.transitions, sent + self._terms.renew_deadline_s)

    async def _release(self, fence: Fence) -> None:
        """Let the next one in at once; not while a write may still be under way. Without it, it waits for the end."""
        margin_s = self._terms.duration_s - self._terms.renew_deadline_s
        if asyncio.get_running_loop().time() - fence.doubt_at < margin_s:
            return
        held = self._observed
        if held is None or (held.holder, held.transitions) != (self._identity, fence.epoch):
            return
        document = renewal(held, self._key, self._identity, self._terms, self._wall())
        document["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
        document["metadata"] = {
            **_kept(held, preferred=held.preferred),
            "namespace": self._key[0],
            "name": self._key[1],
        }
        call = Call("PUT", self._path, body=document, timeout_s=self._terms.retry_s)
        try:
            await self._transport.request(call)
        except KubernetesError as error:
            _log.info("%s could not give %s/%s back: %s", self._identity, *self._key, error)
        self._observed = None
