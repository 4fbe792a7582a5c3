"""What goes wrong in a simulation: plans of faults, and all plans that a reference run makes possible."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["FAMILIES", "NO_FAULTS", "FaultPlan", "Reference", "chaos", "generate"]


@dataclass(frozen=True)
class FaultPlan:
    """Faults of one run. Writes and requests are numbered from 1, over all incarnations of the process under test.

    Leases and events are not counted and are spared, except by `silent` and `storm`.

    Args:
        name: What it is, for people.
        crash_before, crash_after: The process dies at this write, before or after it is carried out.
        lost_answer: This write is carried out, its answer never comes.
        late: (write, seconds): no answer; it is carried out so much later.
        answer: (request, status): the server answers this request so, and does nothing.
        storm: (from, until, share, statuses): in this time requests meet one of these answers with this probability.
        lag: Plural → seconds by which the process learns late of every change; ``*``: of all kinds.
        suppress: (plural, n): the n-th change is not seen; what comes after it of the same object is.
        duplicate: The share of changes that are told twice.
        cut_every: Watches break after so many events.
        expire_at: (plural, n): at its n-th event the watch says that it is too old.
        jumps: (at, by): the process' wall clock jumps, seconds.
        silent: (from, until): nothing that the process sends gets through, and nothing comes back.
        restart_s: A process that died is back after so long.
        seed: Of what is left to chance in all this.
    """

    name: str = "none"
    crash_before: int = 0
    crash_after: int = 0
    lost_answer: int = 0
    late: tuple[int, float] | None = None
    answer: tuple[int, int] | None = None
    storm: tuple[float, float, float, tuple[int, ...]] | None = None
    lag: Mapping[str, float] = field(default_factory=dict)
    suppress: tuple[str, int] | None = None
    duplicate: float = 0.0
    cut_every: int = 0
    expire_at: tuple[str, int] | None = None
    jumps: tuple[tuple[float, float], ...] = ()
    silent: tuple[float, float] | None = None
    restart_s: float = 1.0
    seed: int = 0

    @property
    def ends_at(self) -> float:
        """Virtual seconds after which this plan does nothing by the clock any more."""
        ends = [0.0]
        ends += [self.storm[1]] if self.storm else []
        ends += [self.silent[1]] if self.silent else []
        ends += [at for at, _ in self.jumps]
        return max(ends)


NO_FAULTS = FaultPlan()


@dataclass(frozen=True)
class Reference:
    """What a run without faults needed: writes, requests, and changes that its process was told of, by plural."""

    writes: int
    requests: int
    told: Mapping[str, int]
    lasted_s: float


FAMILIES = ("crash", "ambiguous", "error", "unobserved", "stale", "watch", "clock")
ERRORS = (409, 429, 500, 503, 504)


def generate(reference: Reference, family: str, seed: int = 0) -> Iterator[FaultPlan]:
    """Yield all single-fault plans of a family.

    ``crash``: before and after each write. ``ambiguous``: each write's answer lost, or the write late by 1 or 20 s.
    ``error``: each request answered with each error. ``unobserved``: each change not seen. ``stale``: each kind late by
    0.3, 3 or 30 s, also with a crash in the middle. ``watch``: breaks, duplicates, expiry. ``clock``: jumps of an hour
    and of a day both ways, silences.
    """
    made = _MADE.get(family)
    if made is None:
        raise ValueError(f"unknown family {family!r}; there are {', '.join(FAMILIES)}")
    yield from made(reference, seed)


def _crash(reference: Reference, seed: int) -> Iterator[FaultPlan]:
    for number in range(1, reference.writes + 1):
        yield FaultPlan(f"crash before write {number}", crash_before=number, seed=seed)
        yield FaultPlan(f"crash after write {number}", crash_after=number, seed=seed)


def _ambiguous(reference: Reference, seed: int) -> Iterator[FaultPlan]:
    for number in range(1, reference.writes + 1):
        yield FaultPlan(f"answer of write {number} lost", lost_answer=number, seed=seed)
        for late in (1.0, 20.0):
            yield FaultPlan(f"write {number} late by {late:.0f} s", late=(number, late), seed=seed)


def _error(reference: Reference, seed: int) -> Iterator[FaultPlan]:
    for number in range(1, reference.requests + 1):
        for status in ERRORS:
            yield FaultPlan(f"request {number} answered {status}", answer=(number, status), seed=seed)


def _unobserved(reference: Reference, seed: int) -> Iterator[FaultPlan]:
    for plural, count in sorted(reference.told.items()):
        for number in range(1, count + 1):
            yield FaultPlan(f"change {number} of {plural} not seen", suppress=(plural, number), seed=seed)


def _stale(reference: Reference, seed: int) -> Iterator[FaultPlan]:
    middle = max(1, reference.writes // 2)
    for plural in [*sorted(reference.told), "*"]:
        for lag in (0.3, 3.0, 30.0):
            late = {plural: lag}
            yield FaultPlan(f"{plural} late by {lag} s", lag=late, seed=seed)
            yield FaultPlan(f"{plural} late by {lag} s, and a crash", lag=late, crash_after=middle, seed=seed)


def _watch(reference: Reference, seed: int) -> Iterator[FaultPlan]:
    for cut in (1, 2, 5):
        yield FaultPlan(f"watches break after {cut} events", cut_every=cut, seed=seed)
    for share in (0.3, 1.0):
        yield FaultPlan(f"{share:.0%} of changes told twice", duplicate=share, seed=seed)
    for plural, count in sorted(reference.told.items()):
        for number in range(1, min(count, 5) + 1):
            yield FaultPlan(f"watch of {plural} too old at {number}", expire_at=(plural, number), seed=seed)


def _clock(reference: Reference, seed: int) -> Iterator[FaultPlan]:
    for share in (0.25, 0.75):
        at = reference.lasted_s * share
        for by in (3600.0, -3600.0, 86400.0, -86400.0):
            yield FaultPlan(f"clock jumps by {by:+.0f} s at {at:.0f}", jumps=((at, by),), seed=seed)
        for lasting in (5.0, 25.0, 60.0):
            yield FaultPlan(f"silent for {lasting:.0f} s at {at:.0f}", silent=(at, at + lasting), seed=seed)


_MADE = {
    "crash": _crash,
    "ambiguous": _ambiguous,
    "error": _error,
    "unobserved": _unobserved,
    "stale": _stale,
    "watch": _watch,
    "clock": _clock,
}


def chaos(seed: int, reference: Reference) -> FaultPlan:
    """Return a plan with several faults at once, drawn by a seed."""
    chance = random.Random(seed)
    until = max(5.0, reference.lasted_s)

    def sometimes(share: float) -> bool:
        return chance.random() < share

    writes = max(1, reference.writes)
    statuses = chance.choice([(409,), (500, 503), (429,), (409, 429, 500, 504), (504,)])
    begin = chance.uniform(0, until)
    plurals = [*sorted(reference.told), "*"]
    return FaultPlan(
        f"chaos {seed}",
        crash_before=chance.randint(1, writes) if sometimes(0.3) else 0,
        crash_after=chance.randint(1, writes) if sometimes(0.4) else 0,
        lost_answer=chance.randint(1, writes) if sometimes(0.4) else 0,
        late=(chance.randint(1, writes), chance.choice([0.5, 5.0, 20.0])) if sometimes(0.3) else None,
        storm=(begin, begin + chance.uniform(1, 40), chance.choice([0.1, 0.5]), statuses) if sometimes(0.5) else None,
        lag={chance.choice(plurals): chance.choice([0.1, 0.3, 3.0, 10.0])} if sometimes(0.5) else {},
        duplicate=0.2 if sometimes(0.2) else 0.0,
        cut_every=chance.randint(1, 6) if sometimes(0.2) else 0,
        jumps=((chance.uniform(0, until), chance.choice([-3600.0, 3600.0])),) if sometimes(0.15) else (),
        silent=(begin, begin + chance.uniform(1, 40)) if sometimes(0.15) else None,
        restart_s=chance.choice([0.1, 1.0, 20.0]),
        seed=seed,
    )
