"""Defects that switchovers are known for, each planted on purpose: what tests this function must notice them.

Each replaces one decision for the time of a test: the gate, the intent, the order, the drain, the way back, the upkeep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from rayctl.core.plan import Delete, Patch, Plan, SetStatus
from rayctl.service import plan, seen, sides, switchover, upkeep
from rayctl.service.record import Phase, Record
from rayctl.service.terms import Advance, Point, Remove, Rules, Seen, Side, Wish

__all__ = ["PLANTED"]

Plant = Callable[[pytest.MonkeyPatch], None]
PLANTED: list[tuple[Plant, str]] = []
"""Each with the name of the test that is there for it."""

right_advance, right_see_sides = switchover.advance, seen.ServiceSeen.sides
Advancing = Callable[[Record | None, Seen, Rules, Wish, float], Advance]


def noticed_by(test: str) -> Callable[[Plant], Plant]:
    """Note a defect, and the test that must notice it."""

    def note(plant: Plant) -> Plant:
        PLANTED.append((plant, test))
        return plant

    return note


def _advancing(patch: pytest.MonkeyPatch, wrong: Advancing) -> None:
    patch.setattr(plan, "advance", wrong)


def _ruled(patch: pytest.MonkeyPatch, **changes: Any) -> None:
    _advancing(patch, lambda record, world, rules, wish, now: right_advance(
        record, world, replace(rules, **changes), wish, now
    ))  # fmt: skip


def _sided(patch: pytest.MonkeyPatch, change: Callable[[Side, Record | None], Side]) -> None:
    def wrong(self: seen.ServiceSeen, now: float) -> dict[str, Side]:
        return {name: change(side, self.record) for name, side in right_see_sides(self, now).items()}

    patch.setattr(seen.ServiceSeen, "sides", wrong)


# What is gone by --------------------------------------------------------------------------------------


@noticed_by("test_5_one_endpoint_is_not_enough_for_three")
def no_capacity_gate(patch: pytest.MonkeyPatch) -> None:
    """One running replica is enough to take over from many."""
    patch.setattr(switchover, "_short", lambda *_: "")


@noticed_by("test_34_an_old_answer_is_not_taken_for_the_new_configuration")
def unknown_is_ready(patch: pytest.MonkeyPatch) -> None:
    """A side that cannot be asked counts as ready."""
    _sided(patch, lambda side, _: replace(side, ready=side.exists if side.ready is None else side.ready))


@noticed_by("test_a_new_side_that_cannot_be_asked_is_not_taken_for_a_broken_one")
def unknown_is_broken(patch: pytest.MonkeyPatch) -> None:
    """A side that cannot be asked counts as one that does not serve."""
    _sided(patch, lambda side, _: replace(side, serves=side.serves is True))


@noticed_by("test_8_both_sides_are_reported_and_the_old_one_is_kept_up_during_an_upgrade")
def unready_is_ready(patch: pytest.MonkeyPatch) -> None:
    """A side is ready as soon as its cluster is there."""
    _sided(patch, lambda side, _: replace(side, ready=True))


@noticed_by("test_7_the_old_side_stays_until_its_requests_are_answered_up_to_a_limit")
def unknown_flights_are_none(patch: pytest.MonkeyPatch) -> None:
    """Requests in flight that cannot be counted count as none."""
    _sided(patch, lambda side, _: replace(side, in_flight=side.in_flight or 0))


@noticed_by("test_34_an_old_answer_is_not_taken_for_the_new_configuration")
def an_old_answer_is_believed(patch: pytest.MonkeyPatch) -> None:
    """A configuration counts as taken over as soon as applications run."""
    patch.setattr(sides, "is_current", lambda wanted, serve: bool(serve.apps))


# The intent -------------------------------------------------------------------------------------------


@noticed_by("test_4_deadlines_and_what_was_submitted_survive_a_restart")
def deletes_before_it_commits(patch: pytest.MonkeyPatch) -> None:
    """The old side goes in the pass in which traffic has moved; the record comes with the next."""

    def wrong(record: Record | None, world: Seen, rules: Rules, wish: Wish, now: float) -> Advance:
        step = right_advance(record, world, rules, wish, now)
        moved = step.record
        if moved is not None and record is not None and moved.phase is Phase.SWITCHED and moved is not record:
            retiring = world.side(moved.retiring)
            if retiring.exists and not retiring.going:
                return Advance(record, Remove(retiring.name))
        return step

    _advancing(patch, wrong)


@noticed_by("test_2_a_crash_between_the_two_services_is_ended_by_the_next_write")
def commits_half(patch: pytest.MonkeyPatch) -> None:
    """Traffic counts as moved when the head service has moved."""

    def wrong(record: Record | None, world: Seen, rules: Rules, wish: Wish, now: float) -> Advance:
        if record is not None and record.source:
            head = world.entries[0]
            world = replace(world, entries=tuple(replace(entry, at=head.at) for entry in world.entries))
        return right_advance(record, world, rules, wish, now)

    _advancing(patch, wrong)


@noticed_by("test_2_a_crash_between_the_two_services_is_ended_by_the_next_write")
def other_writes_come_between(patch: pytest.MonkeyPatch) -> None:
    """While the services differ, status and upkeep are written as ever, before the second one moves."""

    def wrong(record: Record | None, world: Seen, rules: Rules, wish: Wish, now: float) -> Advance:
        step = right_advance(record, world, rules, wish, now)
        return replace(step, half=False, because=None)

    right_status = plan.build_status

    def status(what: Any, record: Any, blocked: Any, now: float) -> dict[str, Any]:
        return right_status(what, record, blocked, now) | {"lastUpdateTime": str(now)}

    _advancing(patch, wrong)
    patch.setattr(plan, "build_status", status)
    patch.setattr(plan, "_status", lambda what, found, *_: (SetStatus(what.ref, found, what.revision),))


@noticed_by("test_13_and_when_the_new_one_fails_the_old_one_is_made_again")
def intent_without_wish(patch: pytest.MonkeyPatch) -> None:
    """What is wanted is not kept: whoever goes on, or back, takes what the specification says by then."""
    patch.setattr(seen.ServiceSeen, "saved", True)
    patch.setattr(upkeep, "save_revision", lambda _: [])


@noticed_by("test_a_late_write_of_a_switch_that_was_taken_back_fails")
def no_preconditions(patch: pytest.MonkeyPatch) -> None:
    """Writes carry no revision: the last one wins."""
    right_translate = plan._translate

    def wrong(what: Any, ask: Any, now: float) -> Any:
        return tuple(_bare(action) for action in right_translate(what, ask, now))

    patch.setattr(plan, "_translate", wrong)


def _bare(action: Any) -> Any:
    return replace(action, revision="") if isinstance(action, (Delete, Patch)) else action


@noticed_by("test_a_side_that_a_later_switch_returns_to_is_safe_from_those_that_would_delete_it")
def claims_nothing(patch: pytest.MonkeyPatch) -> None:
    """A side is not marked as belonging to the switch: whoever knows only an older one can delete it."""
    _sided(patch, lambda side, record: replace(side, claim=record.serial if record else 0))


# The way back -----------------------------------------------------------------------------------------


@noticed_by("test_6_a_switch_has_a_deadline_and_a_policy")
def no_deadline(patch: pytest.MonkeyPatch) -> None:
    """A switch may take for ever."""
    _ruled(patch, deadline_s=0.0)


@noticed_by("test_41_a_first_cluster_that_never_serves_ends_in_a_timeout")
def no_first_deadline(patch: pytest.MonkeyPatch) -> None:
    """The first start may take for ever."""
    _ruled(patch, first_deadline_s=0.0)


@noticed_by("test_6_a_switch_has_a_deadline_and_a_policy")
def never_pauses(patch: pytest.MonkeyPatch) -> None:
    """A deadline takes a switch back also where a person is to decide."""
    _ruled(patch, on_deadline="rollback")


@noticed_by("test_6_a_switch_has_a_deadline_and_a_policy")
def deadline_begins_anew(patch: pytest.MonkeyPatch) -> None:
    """A switch whose time is over gets all of it again."""

    def wrong(record: Record | None, world: Seen, rules: Rules, wish: Wish, now: float) -> Advance:
        if record is not None and record.deadline_at and now >= record.deadline_at:
            record = replace(record, deadline_at=now + rules.deadline_s)
        return right_advance(record, world, rules, wish, now)

    _advancing(patch, wrong)


@noticed_by("test_6_a_clock_that_jumps_ends_no_switch_and_holds_none_up")
def trusts_its_clock(patch: pytest.MonkeyPatch) -> None:
    """Times in the future are waited for."""
    patch.setattr(switchover, "_clock_went_back", lambda *_: None)


@noticed_by("test_6_an_application_that_cannot_be_deployed_is_given_up_before_the_deadline")
def failures_are_waited_out(patch: pytest.MonkeyPatch) -> None:
    """A side that can never become ready is waited for until the deadline."""
    _sided(patch, lambda side, _: replace(side, failed=""))


@noticed_by("test_3_a_new_side_that_fails_after_the_commit_is_left_as_long_as_the_old_one_is_warm")
def stays_on_the_broken_side(patch: pytest.MonkeyPatch) -> None:
    """Once traffic has moved, nothing leads back to the side that is still warm."""
    _sided(
        patch,
        lambda side, record: (
            replace(side, serves=True)
            if record is not None and record.phase is Phase.SWITCHED and side.name == record.target
            else side
        ),
    )


@noticed_by("test_9_taking_the_edit_back_returns_to_the_warm_side_without_a_third_cluster")
def reverts_by_a_third(patch: pytest.MonkeyPatch) -> None:
    """A specification taken back gets a new cluster, like any other."""
    right_wish = seen.ServiceSeen.wish

    def wrong(self: seen.ServiceSeen) -> Wish:
        wish, record = right_wish(self), self.record
        if record is not None and record.pending and wish.target == record.source:
            return replace(wish, target=f"{record.source[:-5]}third")
        return wish

    patch.setattr(seen.ServiceSeen, "wish", wrong)


@noticed_by("test_3_a_new_side_that_fails_after_the_commit_is_left_as_long_as_the_old_one_is_warm")
def tries_again_for_ever(patch: pytest.MonkeyPatch) -> None:
    """What failed is begun again at once."""

    def wrong(record: Record | None, world: Seen, rules: Rules, wish: Wish, now: float) -> Advance:
        if record is not None and record.phase.ended:
            record = replace(record, refused="")
        return right_advance(record, world, rules, wish, now)

    _advancing(patch, wrong)


@noticed_by("test_2_also_on_the_way_back")
def leaves_the_services_split(patch: pytest.MonkeyPatch) -> None:
    """A way back ends when the serve service has moved."""

    def wrong(record: Record | None, world: Seen, rules: Rules, wish: Wish, now: float) -> Advance:
        if record is not None and record.phase is Phase.BACK:
            serve = world.entries[-1]
            world = replace(world, entries=tuple(replace(entry, at=serve.at) for entry in world.entries))
        return right_advance(record, world, rules, wish, now)

    _advancing(patch, wrong)


@noticed_by("test_10_services_that_lead_elsewhere_are_repaired_and_told")
def nothing_is_repaired(patch: pytest.MonkeyPatch) -> None:
    """A service that somebody leads elsewhere stays there."""

    def wrong(record: Record | None, world: Seen, rules: Rules, wish: Wish, now: float) -> Advance:
        step = right_advance(record, world, rules, wish, now)
        repairs = isinstance(step.do, Point) and step.because is not None and step.because.code == "Repaired"
        return replace(step, do=None, half=False) if repairs else step

    _advancing(patch, wrong)


# The end of the old side ------------------------------------------------------------------------------


@noticed_by("test_4_deadlines_and_what_was_submitted_survive_a_restart")
def no_drain(patch: pytest.MonkeyPatch) -> None:
    """The old side goes as soon as traffic has moved."""
    _ruled(patch, drain_min_s=0.0, drain_max_s=0.0, settle_s=0.0)


@noticed_by("test_7_the_old_side_stays_until_its_requests_are_answered_up_to_a_limit")
def drains_for_ever(patch: pytest.MonkeyPatch) -> None:
    """The old side stays as long as one request lasts."""
    _ruled(patch, drain_max_s=1e9)


@noticed_by("test_a_new_side_that_cannot_be_asked_is_not_taken_for_a_broken_one")
def deletes_whatever_serves(patch: pytest.MonkeyPatch) -> None:
    """The old side goes whether the new one answers or not."""
    right_retire = switchover._retire

    def wrong(record: Record, active: Side, retiring: Side, rules: Rules, now: float) -> Advance | None:
        return right_retire(record, replace(active, serves=True), retiring, rules, now)

    patch.setattr(switchover, "_retire", wrong)


@noticed_by("test_a_cluster_that_no_switch_knows_of_goes_when_it_is_known_to_be_one")
def strays_live(patch: pytest.MonkeyPatch) -> None:
    """A cluster that no switch knows of is left for ever."""
    patch.setattr(upkeep, "drop_strays", lambda *_: [])


@noticed_by("test_33_when_a_new_cluster_is_prepared")
def stops_without_need(patch: pytest.MonkeyPatch) -> None:
    """The old side goes first, though there is room for both."""
    _ruled(patch, stop_first=True)


@noticed_by("test_13_without_spare_capacity_the_old_side_is_stopped_first")
def never_stops_first(patch: pytest.MonkeyPatch) -> None:
    """Both sides are there at once, though there is no room."""
    _ruled(patch, stop_first=False)


# Upkeep -----------------------------------------------------------------------------------------------


@noticed_by("test_12_an_invalid_edit_is_told_and_the_last_valid_one_is_kept_up")
def invalid_stops_everything(patch: pytest.MonkeyPatch) -> None:
    """An edit that is not valid ends the pass."""
    right_life = plan._plan_life
    patch.setattr(plan, "_plan_life", lambda what, now: Plan() if what.problems else right_life(what, now))


@noticed_by("test_1_a_broken_new_side_does_not_freeze_the_status_of_the_old_one")
def status_waits_for_the_new_side(patch: pytest.MonkeyPatch) -> None:
    """While a new side comes up, the status is not written."""
    right_status = plan._status

    def wrong(what: Any, status: Any, *rest: Any) -> Any:
        record = what.record
        coming = record is not None and record.phase is Phase.FORWARD and record.source and record is what.record
        same = (status.get("switchover") or {}).get("step") == (record.step if record else "")
        return () if coming and same else right_status(what, status, *rest)

    patch.setattr(plan, "_status", wrong)


@noticed_by("test_14_a_settled_service_is_not_written_to")
def tells_the_time(patch: pytest.MonkeyPatch) -> None:
    """The status says when it was written, and is written to say so."""
    right_differs, right_status = plan.differs, plan.build_status
    patch.setattr(
        plan,
        "differs",
        lambda before, after: right_differs(before, after) or before.get("told") != after["told"],
    )
    patch.setattr(plan, "build_status", lambda what, record, blocked, now: {
        **right_status(what, record, blocked, now), "told": now // 10
    })  # fmt: skip


@noticed_by("test_34_the_head_serves_exactly_while_its_proxy_does")
def head_is_always_in(patch: pytest.MonkeyPatch) -> None:
    """A head whose proxy does not answer takes requests."""
    right_label = upkeep.label_heads

    def wrong(what: Any) -> list[Any]:
        return [one for one in right_label(what) if one.changes["metadata"]["labels"]["ray.io/serve"] == "true"]

    patch.setattr(upkeep, "label_heads", wrong)


@noticed_by("test_40_a_configuration_and_a_cluster_changed_together_go_to_the_new_side_only")
def old_side_gets_the_new_configuration(patch: pytest.MonkeyPatch) -> None:
    """A configuration goes to all clusters, whichever it was written for."""

    def wrong(what: seen.ServiceSeen, name: str) -> Mapping[str, Any]:
        return what.spec.serve if what.spec is not None else {}

    patch.setattr(seen, "_wanted", wrong)


@noticed_by("test_a_strangers_service_is_never_overwritten")
def strangers_are_overwritten(patch: pytest.MonkeyPatch) -> None:
    """A Service of somebody else that has the name is taken."""
    right_sort = seen._sort_services

    def wrong(owner: Any, services: Any, spec: Any) -> Any:
        mine = {"ownerReferences": [{"uid": owner.uid, "controller": True}]}
        return right_sort(owner, [{**one, "metadata": {**one["metadata"], **mine}} for one in services], spec)

    patch.setattr(seen, "_sort_services", wrong)
