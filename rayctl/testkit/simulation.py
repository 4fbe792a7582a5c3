"""A simulation: one workload under one plan of faults, judged at every revision of the store; and many of them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rayctl.core.controller import Controller
from rayctl.core.execute import ServePort
from rayctl.core.host import ControllerHost, HostSettings
from rayctl.kube.calls import Transport
from rayctl.kube.lease import Terms
from rayctl.testkit.plans import FAMILIES, NO_FAULTS, FaultPlan, Reference, chaos, generate
from rayctl.testkit.process import PROCESS, Process
from rayctl.testkit.virtual_time import run_virtual
from rayctl.testkit.world import Happened, World

__all__ = ["Invariant", "Report", "Summary", "Workload", "explore", "reference_of", "simulate", "too_many_writes"]

WASTE, SPARE = 3, 20
"""Writes under faults: so many times those of the reference run, and so many more."""
TERMS = Terms(duration_s=30, renew_deadline_s=20.0, retry_s=5.0)
"""Leases in simulations are renewed seldom: that is most of what a quiet world does."""


@dataclass(frozen=True)
class Invariant:
    """What must hold at every revision. ``check``: (world, what just happened) → what is wrong, or nothing."""

    name: str
    check: Callable[[World, Happened], str]


@dataclass(frozen=True)
class Workload:
    """What is simulated.

    Args:
        name: For people.
        definitions: CustomResourceDefinitions.
        controllers: Makes the controllers of one incarnation.
        script: What users do. It may wait (`World.until`); it must end.
        goal: What is lacking to the wanted end; empty: nothing. Asked after the script.
        invariants: Beside those that hold for all workloads.
        surroundings: What else lives in this world, without faults: a kubelet that makes pods ready, say.
        serve: Makes the way to Serve APIs, if controllers need one.
        settle_s: The goal is reached so long after the script and the last fault (virtual seconds).
        quiet_s: Then nothing is written for so long.
    """

    name: str
    definitions: Sequence[Mapping[str, Any]]
    controllers: Callable[[World], Sequence[Controller]]
    script: Callable[[World], Awaitable[None]]
    goal: Callable[[World], str]
    invariants: tuple[Invariant, ...] = ()
    surroundings: Callable[[World], Iterable[Awaitable[None]]] = lambda world: ()
    serve: Callable[[World], ServePort] | None = None
    settle_s: float = 180.0
    quiet_s: float = 60.0


@dataclass(frozen=True)
class Report:
    """How a run went. ``violations``: empty if all is well; ``digest``: of its whole history, equal for equal runs."""

    workload: str
    plan: FaultPlan
    violations: tuple[str, ...]
    digest: str
    writes: int
    requests: int
    told: Mapping[str, int]
    lasted_s: float
    deaths: int
    story: tuple[str, ...] = field(repr=False, default=())

    def __str__(self) -> str:
        found = "; ".join(self.violations) or "all well"
        return f"{self.workload} under {self.plan.name} (seed {self.plan.seed}): {found}"


def simulate(workload: Workload, plan: FaultPlan = NO_FAULTS) -> Report:
    """Run a workload under a plan, on a loop of its own. The same arguments give the same report."""
    log = logging.getLogger("rayctl")
    before = log.level
    log.setLevel(logging.CRITICAL)  # injected faults are no news
    try:
        return run_virtual(_simulate(workload, plan))
    finally:
        log.setLevel(before)


def reference_of(workload: Workload, seed: int = 0) -> Reference:
    """Return what the workload needs when nothing goes wrong.

    Raises:
        AssertionError: Something goes wrong nevertheless.
    """
    report = simulate(workload, FaultPlan(seed=seed))
    assert not report.violations, f"without any fault: {report}\n" + "\n".join(report.story[-60:])
    return Reference(report.writes, report.requests, report.told, report.lasted_s)


def too_many_writes(report: Report, reference: Reference) -> str:
    """Return what is wrong with the number of writes: faults may cost three times what the work itself needs."""
    most = WASTE * reference.writes + SPARE
    return f"{report.writes} writes, where {reference.writes} suffice" if report.writes > most else ""


async def _simulate(workload: Workload, plan: FaultPlan) -> Report:
    world = await World(plan.seed, workload.definitions).start()
    judge = _Judge(world, workload)

    async def body(transport: Transport, wall: Callable[[], float], identity: str) -> None:
        serve = None if workload.serve is None else workload.serve(world)
        settings = HostSettings(identity, "kube-system", workers=4, terms=TERMS)
        chance = random.Random(plan.seed + 7)
        host = ControllerHost(transport, workload.controllers(world), settings, wall, serve, chance=chance)
        await host.run()

    process = Process(world, body, plan)
    tasks = [asyncio.ensure_future(one) for one in workload.surroundings(world)]
    tasks.append(asyncio.ensure_future(process.run()))
    began = world.time()
    try:
        await workload.script(world)
        await asyncio.sleep(max(0.0, plan.ends_at - world.time()))
        reached = await world.until(lambda: not workload.goal(world), workload.settle_s)
        lasted_s = world.time() - began
        counted = Reference(process.writes, process.requests, dict(process.told), lasted_s)
        if not reached:
            judge.wrong(f"not reached: {workload.goal(world)}")
        else:
            await _quiet(world, workload, process, judge)
        counted = Reference(process.writes, process.requests, dict(process.told), lasted_s)
        for failure in process.failures:
            judge.wrong(f"the process {failure}")
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                judge.wrong(f"in the surroundings: {task.exception()!r}")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    digest = hashlib.sha256("\n".join(map(str, world.history)).encode()).hexdigest()[:16]
    return Report(
        workload.name,
        plan,
        tuple(judge.violations),
        digest,
        counted.writes,
        counted.requests,
        counted.told,
        counted.lasted_s,
        process.deaths,
        tuple(map(str, world.history)),
    )


async def _quiet(world: World, workload: Workload, process: Process, judge: _Judge) -> None:
    """The goal is reached and stays so, and after a while of tidying up nothing is written any more."""
    await asyncio.sleep(workload.quiet_s)  # late and delayed things arrive, the last statuses are written
    writes = process.writes
    await asyncio.sleep(workload.quiet_s)
    if process.writes != writes:
        last = [str(happened) for happened in world.history if happened.actor == PROCESS][-3:]
        judge.wrong(f"{process.writes - writes} writes although nothing was left to do; the last: {last}")
    lacking = workload.goal(world)
    if lacking:
        judge.wrong(f"was reached, and is not any more: {lacking}")


class _Judge:
    """Looks at every revision: the workload's invariants, and those of all workloads."""

    def __init__(self, world: World, workload: Workload) -> None:
        self.violations: list[str] = []
        self._world, self._invariants = world, workload.invariants
        self._observed: dict[str, int] = {}
        world.on_change(self._look)

    def wrong(self, text: str) -> None:
        """Note a violation, each only once."""
        if text not in self.violations and len(self.violations) < 20:
            self.violations.append(text)

    def _look(self, happened: Happened) -> None:
        for invariant in self._invariants:
            text = invariant.check(self._world, happened)
            if text:
                self.wrong(f"{invariant.name} at {happened.at:.3f}: {text}")
        if happened.type != "DELETED":
            self._generation(happened)

    def _generation(self, happened: Happened) -> None:
        status = happened.new.get("status")
        observed = status.get("observedGeneration") if isinstance(status, Mapping) else None
        if not isinstance(observed, int):
            return
        uid = happened.new["metadata"]["uid"]
        if observed > int(happened.new["metadata"].get("generation") or 0):
            self.wrong(f"{happened.plural} {happened.name} claims to have observed generation {observed} of the future")
        if observed < self._observed.get(uid, 0):
            self.wrong(f"{happened.plural} {happened.name}: observedGeneration went back to {observed}")
        self._observed[uid] = max(observed, self._observed.get(uid, 0))


@dataclass(frozen=True)
class Summary:
    """Many runs. ``runs``, ``possible``: family → plans run, possible. ``failed``: the reports that are not well."""

    runs: Mapping[str, int]
    possible: Mapping[str, int]
    failed: tuple[Report, ...]

    def __str__(self) -> str:
        lines = [f"{family}: {self.runs[family]} of {self.possible[family]} plans" for family in self.runs]
        return "\n".join([*lines, *(str(report) for report in self.failed)])


def explore(
    workload: Workload,
    families: Sequence[str] = FAMILIES,
    at_most: int | None = None,
    chaos_seeds: Iterable[int] = (),
    seed: int = 0,
) -> Summary:
    """Run a workload under all plans of these families, and under chaos.

    Args:
        workload: Which.
        families: Of `rayctl.testkit.plans.generate`.
        at_most: Plans per family; more are thinned out evenly, beginning at a place that ``seed`` chooses.
        chaos_seeds: One run with several faults each.
        seed: Of all runs.
    """
    reference = reference_of(workload, seed)
    runs: dict[str, int] = {}
    possible: dict[str, int] = {}
    failed: list[Report] = []

    def run(plans: Iterable[FaultPlan]) -> None:
        for plan in plans:
            report = simulate(workload, plan)
            wasteful = too_many_writes(report, reference)
            if wasteful:
                report = replace(report, violations=(*report.violations, wasteful))
            if report.violations:
                failed.append(report)

    for family in families:
        plans = list(generate(reference, family, seed))
        possible[family] = len(plans)
        if at_most is not None and len(plans) > at_most:
            step = len(plans) / at_most
            start = random.Random(seed).random()
            plans = [plans[int((index + start) * step)] for index in range(at_most)]
        runs[family] = len(plans)
        run(plans)
    drawn = [chaos(number, reference) for number in chaos_seeds]
    if drawn:
        runs["chaos"] = possible["chaos"] = len(drawn)
        run(drawn)
    return Summary(runs, possible, tuple(failed))
