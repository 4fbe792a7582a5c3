"""The simulation notices defects: each planted one, by the same exploration that the correct controller passes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from rayctl.core.controller import Controller
from rayctl.testkit.plans import FAMILIES, NO_FAULTS, Reference, chaos, generate
from rayctl.testkit.simulation import reference_of, simulate, too_many_writes
from tests.sim.fanout import FanOut
from tests.sim.planted import IN_THE_CONTROLLER, IN_THE_KERNEL
from tests.sim.workloads import all_workloads

PLANS, LAST = 5, 4
"""Of each family so many evenly, and the last ones: nothing comes afterwards that would heal what they break."""
CHAOS = 6


@cache
def references_of_the_correct() -> list[Reference]:
    """Measured once; the tests that plant a defect in the kernel ask before they plant it."""
    return [reference_of(workload) for workload in all_workloads()]


def first_sign(make: Callable[[], Controller], references: list[Reference] | None = None) -> str:
    """Return the first violation that an exploration finds; empty if it finds none."""
    references = references or references_of_the_correct()
    for workload, reference in zip(all_workloads(make), references, strict=True):
        plans = [NO_FAULTS]
        for family in FAMILIES:
            found = list(generate(reference, family))
            plans += [*found[:: max(1, len(found) // PLANS)], *found[-LAST:]]
        plans += [chaos(seed, reference) for seed in range(CHAOS)]
        for plan in plans:
            report = simulate(workload, plan)
            sign = "; ".join(report.violations) or too_many_writes(report, reference)
            if sign:
                return f"{workload.name}, {plan.name}: {sign}"
    return ""


def test_the_correct_controller_shows_no_sign() -> None:
    assert first_sign(FanOut) == ""


@pytest.mark.parametrize("make", IN_THE_CONTROLLER, ids=lambda make: make.__name__)
def test_a_defect_of_the_controller_is_noticed(make: Callable[[], Controller]) -> None:
    assert first_sign(make) != ""


@pytest.mark.parametrize("plant", IN_THE_KERNEL, ids=lambda plant: plant.__name__)
def test_a_defect_of_the_kernel_is_noticed(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the correct kernel needs is measured before the defect is planted.
    references = references_of_the_correct()
    plant(monkeypatch)
    assert first_sign(FanOut, references) != ""
