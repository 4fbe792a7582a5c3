"""Defects that planners of fleets and replica sets could have, each planted on purpose: some law must notice it.

Each is a function that puts the defect in place of what is right, by pytest's monkeypatch.
"""

from dataclasses import replace

from rayctl.core.plan import Patch, SetStatus
from rayctl.fleet import edits, revisions, seen, spec, target
from rayctl.fleet import plan as fleet_plans
from rayctl.fleet.arithmetic import Limits, fenceposts, resolve, shrink_old, trim_healthy
from rayctl.fleet.strategies import move, rolling
from rayctl.replicaset import plan as set_plans
from rayctl.replicaset.health import Phase
from rayctl.replicaset.options import Drain
from rayctl.replicaset.selectors import Selector
from rayctl.replicaset.victims import choose_victims
from tests.unit.fleet import worlds

# Rolling ---------------------------------------------------------------------------------------------


def budget_counts_on_the_new_set(patch):
    """Clusters of the new set that are not available yet count as if they were."""
    patch.setattr(
        rolling,
        "shrink_old",
        lambda limits, new, old, floor=0: shrink_old(limits, replace(new, available=new.replicas), old, floor),
    )


def shrinks_without_looking_at_availability(patch):
    """Old sets go down by what the surge has brought, available or not."""

    def wrong(limits, new, old, floor=0):
        total = sum(size.replicas for size in old) + new.replicas
        return trim_healthy(old, total - limits.fewest)

    patch.setattr(rolling, "shrink_old", wrong)


def broken_old_ones_stay(patch):
    """Old clusters that do not work keep their place, and healthy ones go for them."""
    patch.setattr("rayctl.fleet.arithmetic.clean_unhealthy", lambda old, budget: (list(old), 0))


def grows_beside_sets_that_have_not_seen_their_size(patch):
    patch.setattr(move.Situation, "unsettled", property(lambda self: None))


def shrinks_by_counts_from_before(patch):
    """What an old set said before its last change is taken for how it is now."""
    right = move.Situation.unsettled.fget
    settled = seen.SetView.settled.fget

    def unsettled(self):
        return next((view for view in self.sets if not settled(view)), None)

    assert right is not None
    patch.setattr(move.Situation, "unsettled", property(unsettled))
    patch.setattr(seen.SetView, "settled", property(lambda self: True))


def what_is_being_deleted_has_no_place(patch):
    patch.setattr(seen.SetView, "occupied", property(lambda self: self.replicas))


def grows_to_the_goal_at_once(patch):
    patch.setattr(rolling, "new_size", lambda limits, total, current, goal=None: goal)


def both_bounds_may_be_zero(patch):
    def wrong(surge, unavailable, desired):
        return resolve(surge, desired, up=True), resolve(unavailable, desired, up=False)

    patch.setattr(spec, "fenceposts", wrong)


def unavailability_is_rounded_up(patch):
    def wrong(surge, unavailable, desired):
        return fenceposts(surge, unavailable, desired)[0], max(1, resolve(unavailable, desired, up=True))

    patch.setattr(spec, "fenceposts", wrong)


def surge_is_added_for_each_set(patch):
    patch.setattr(Limits, "most", property(lambda self: self.replicas + 2 * self.surge))


def a_smaller_share_at_once(patch):
    """Of a canary whose new revision has more members than a step wants, the rest goes, whatever serves."""
    patch.setattr(rolling, "_spare", lambda situation: 10**6)


def steps_on_the_way_back(patch):
    """A canary goes step by step also to what was good before, and takes from it what a step does not want."""
    right = target._state

    def wrong(found, hash_value, now):
        state = right(replace(found, state=replace(found.state, stable="")), hash_value, now)
        return replace(state, stable=found.state.stable)

    patch.setattr(target, "_state", wrong)
    a_smaller_share_at_once(patch)


# Recreate --------------------------------------------------------------------------------------------


def recreate_overlaps(patch):
    patch.setattr(fleet_plans, "recreate", lambda situation, now: rolling.roll(situation))


def recreate_waits_for_ready_ones_only(patch):
    """As AIBrix does: what is broken, or being deleted, does not count."""
    patch.setattr(move.Situation, "old_there", property(lambda self: sum(view.ready for view in self.old)))


# Revisions -------------------------------------------------------------------------------------------


def numbers_by_counting(patch):
    """The number of a revision is how many sets there are."""
    for module in (revisions, fleet_plans, edits):
        patch.setattr(module, "next_revision", len)


def an_earlier_template_is_not_found_again(patch):
    def wrong(found):
        newest = revisions.current_set(found)
        equal = revisions.find_equal(found)
        return equal if newest is None or equal is None or equal.name == newest.name else None

    patch.setattr(target, "find_equal", wrong)
    patch.setattr(revisions, "digest", lambda template, salt="": f"h{next(_SERIAL):05d}")


def history_takes_sets_in_use(patch):
    right = fleet_plans.history_victims
    patch.setattr(fleet_plans, "history_victims", lambda rows, limit: right([(*row[:3], True) for row in rows], limit))


def history_is_kept_for_ever(patch):
    patch.setattr(fleet_plans, "history_victims", lambda rows, limit: [])


def going_back_never_ends(patch):
    """The annotation that asks for an earlier revision stays."""
    right = fleet_plans._plan_rollback

    def wrong(found, text):
        plan = right(found, text)
        actions = [_asking_again(action) for action in plan.actions]
        return replace(plan, actions=tuple(actions))

    patch.setattr(fleet_plans, "_plan_rollback", wrong)


def _asking_again(action):
    if not isinstance(action, Patch):
        return action
    return replace(action, changes={**action.changes, "metadata": {"annotations": {"test.io/asked": "yes"}}})


def pause_is_overheard(patch):
    right = seen.parse_fleet_spec
    patch.setattr(seen, "parse_fleet_spec", lambda document: replace(right(document), paused=False))


def scaling_is_not_noted(patch):
    """Sets do not note for which size of the fleet theirs was computed."""
    right = fleet_plans.edits_for
    patch.setattr(
        fleet_plans,
        "edits_for",
        lambda found, aim, sizes, limits, scaling: right(
            found, aim, sizes, replace(limits, replicas=limits.replicas + 1), scaling
        ),
    )


# Telling ---------------------------------------------------------------------------------------------


def ready_before_the_old_ones_are_gone(patch):
    patch.setattr(fleet_plans, "complete", lambda desired, now, goal=None: now.updated >= desired)


def ready_before_all_are_available(patch):
    patch.setattr(fleet_plans, "complete", lambda desired, now, goal=None: now.updated == now.replicas == desired)


def the_time_is_told(patch):
    right = fleet_plans.report

    def wrong(found, *more):
        status = right(found, *more)
        return [replace(one, status={**one.status, "lookedAt": more[-1]}) for one in status] or [
            SetStatus(found.ref, {**found.status, "lookedAt": more[-1]}, "")
        ]

    patch.setattr(fleet_plans, "report", wrong)


# Replica sets ----------------------------------------------------------------------------------------


def _planning(patch, change):
    """Plant a change of what a set's planner sees, or of what it decides."""
    right = set_plans.plan_replicaset

    def wrong(found, now):
        return right(change(found), now)

    for module in (set_plans, worlds):
        patch.setattr(module, "plan_replicaset", wrong)


def deleted_ones_free_their_place_at_once(patch):
    _planning(patch, lambda found: replace(found, members=tuple(m for m in found.members if not m.terminating)))


def broken_ones_do_not_count(patch):
    """As AIBrix does: what was ready and is not any more is neither counted nor deleted."""
    _planning(
        patch,
        lambda found: replace(found, members=tuple(m for m in found.members if m.health.phase is not Phase.UNREADY)),
    )


def strangers_are_adopted(patch):
    patch.setattr(Selector, "matches", lambda self, labels: True)


def orphans_are_left(patch):
    _planning(patch, lambda found: replace(found, orphans=()))


def victims_upside_down(patch):
    def wrong(members, count, doomed=(), settling=()):
        return choose_victims(members, len(members), doomed, settling)[-count:] if count else []

    patch.setattr(set_plans, "choose_victims", wrong)


def victims_by_readiness_alone(patch):
    """What is ready, but not for long enough, counts as much as what serves."""
    patch.setattr(
        set_plans,
        "choose_victims",
        lambda members, count, doomed=(), settling=(): choose_victims(members, count, doomed),
    )


def names_come_again(patch):
    _planning(patch, lambda found: replace(found, memory=replace(found.memory, next_ordinal=0)))


def available_as_soon_as_ready(patch):
    patch.setattr("rayctl.replicaset.status.available_at", lambda *_: 0.0)


def nobody_looks_when_one_becomes_available(patch):
    right = set_plans.count
    patch.setattr(set_plans, "count", lambda *given: replace(right(*given), check_at=None))


def nobody_looks_when_draining_is_over(patch):
    right = set_plans._drained
    patch.setattr(set_plans, "_drained", lambda *given: (right(*given)[0], None))


def nobody_looks_when_grace_is_over(patch):
    right = set_plans.decide_replacements
    patch.setattr(set_plans, "decide_replacements", lambda *given: replace(right(*given), check_at=None))


def draining_is_skipped(patch):
    _planning(patch, lambda found: replace(found, spec=replace(found.spec, drain=Drain())))


def drained_ones_are_forgotten(patch):
    patch.setattr(set_plans, "_drained", lambda *_: ([], None))


def no_time_to_heal(patch):
    _planning(
        patch,
        lambda found: replace(
            found, spec=replace(found.spec, replacement=replace(found.spec.replacement, grace_s=0.0))
        ),
    )


def all_broken_ones_at_once(patch):
    right = set_plans.decide_replacements

    def wrong(found, unsettled, now):
        decision = right(found, unsettled, now)
        broken = {m.uid for m in found.members if m.health.phase is Phase.UNREADY and not m.terminating}
        return replace(decision, doomed=decision.doomed | broken) if decision.doomed else decision

    patch.setattr(set_plans, "decide_replacements", wrong)


_SERIAL = iter(range(10**6))
PLANTED = {
    a_smaller_share_at_once: 248,
    steps_on_the_way_back: 248,
    budget_counts_on_the_new_set: 1,
    shrinks_without_looking_at_availability: 1,
    broken_old_ones_stay: 115,
    grows_beside_sets_that_have_not_seen_their_size: 1,
    shrinks_by_counts_from_before: 88,
    what_is_being_deleted_has_no_place: 1,
    grows_to_the_goal_at_once: 1,
    both_bounds_may_be_zero: 25,
    unavailability_is_rounded_up: 6,
    surge_is_added_for_each_set: 1,
    recreate_overlaps: 88,
    recreate_waits_for_ready_ones_only: 105,
    numbers_by_counting: 7,
    an_earlier_template_is_not_found_again: 27,
    history_takes_sets_in_use: 12,
    history_is_kept_for_ever: 8,
    going_back_never_ends: 0,
    pause_is_overheard: 3,
    scaling_is_not_noted: 1,
    ready_before_the_old_ones_are_gone: 0,
    ready_before_all_are_available: 0,
    the_time_is_told: 0,
    deleted_ones_free_their_place_at_once: 1,
    broken_ones_do_not_count: 7,
    strangers_are_adopted: 0,
    orphans_are_left: 1,
    victims_upside_down: 6,
    victims_by_readiness_alone: 576,
    names_come_again: 1,
    available_as_soon_as_ready: 14,
    nobody_looks_when_one_becomes_available: 0,
    nobody_looks_when_draining_is_over: 6,
    nobody_looks_when_grace_is_over: 161,
    draining_is_skipped: 159,
    drained_ones_are_forgotten: 6,
    no_time_to_heal: 78,
    all_broken_ones_at_once: 349,
}
"""Each with a story that notices it; where a change of the planners has made that one blind, others are tried."""
