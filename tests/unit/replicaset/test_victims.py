"""Who goes first: the order of `rayctl.replicaset.victims`, and AIBrix's own two tests."""

import pytest

from rayctl.core.plan import Ref
from rayctl.replicaset.health import Health, Phase
from rayctl.replicaset.seen import Member, _cost
from rayctl.replicaset.victims import choose_victims


def member(name="c", phase=Phase.READY, cost=0, jobs=None, workers=1, created=0.0, ordinal=None, draining=0.0):
    ref = Ref("ray.io/v1", "RayCluster", "default", name, f"uid-{name}")
    health = Health(phase, "Because", workers=workers)
    return Member(ref, "1", {}, {}, (), created, ordinal, health, cost, jobs, None, draining)


def first(*members, doomed=()):
    return choose_victims(members, 1, doomed)[0].name


@pytest.mark.parametrize(
    ("goes", "stays"),
    [
        ({"draining": 1.0}, {"phase": Phase.STARTING}),
        ({"phase": Phase.SUSPENDED}, {"phase": Phase.STARTING}),
        ({"phase": Phase.STARTING}, {"phase": Phase.UNREADY}),
        ({"phase": Phase.UNREADY, "cost": 1000}, {"phase": Phase.READY, "cost": -10}),
        ({"cost": 10}, {"cost": 100}),
        ({"cost": 10, "jobs": 9}, {"cost": 100, "jobs": 0}),
        ({"jobs": 0, "workers": 8}, {"jobs": 2, "workers": 1}),
        ({"workers": 1, "created": 1.0}, {"workers": 2, "created": 5.0}),
        ({"created": 5.0}, {"created": 1.0}),
        ({"ordinal": 7}, {"ordinal": 3}),
    ],
)
def test_order(goes, stays):
    assert first(member("a", **stays), member("b", **goes)) == "b"
    assert first(member("a", **goes), member("b", **stays)) == "a"


def test_replaced_clusters_go_before_others():
    assert first(member("a", Phase.STARTING), member("b", Phase.UNREADY), doomed={"uid-b"}) == "b"


def test_aibrix_prioritizes_not_ready_then_lower_cost():
    three = [member("a", cost=100), member("b", Phase.UNREADY, cost=1000), member("c", cost=-10)]
    gone = {victim.name for victim in choose_victims(three, 2)}
    assert gone == {"b", "c"}


def test_aibrix_uses_the_name_at_last():
    assert first(member("raycluster-b"), member("raycluster-a")) == "raycluster-a"


def test_all_go_in_the_given_order():
    three = [member("a", cost=3), member("b", cost=1), member("c", cost=2)]
    assert [victim.name for victim in choose_victims(three, 3)] == ["a", "b", "c"]


def test_none_and_too_many():
    assert choose_victims([member()], 0) == []
    assert choose_victims([member()], -1) == []
    assert len(choose_victims([member()], 9)) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("-10", -10),
        ("0", 0),
        ("+10", 0),
        ("008", 0),
        ("x", 0),
        (None, 0),
        ("", 0),
        ("2147483647", 2147483647),
        ("2147483648", 0),
        ("-2147483648", -2147483648),
        ("1.5", 0),
        ("٣", 0),
    ],
)
def test_cost_is_read_as_kubernetes_reads_it(text, value):
    assert _cost(text) == value
