"""Kubernetes' own expectations of the Deployment arithmetic, row by row."""

import pytest

from rayctl.fleet.arithmetic import (
    Limits,
    Size,
    canary_counts,
    clean_unhealthy,
    fenceposts,
    fraction,
    history_victims,
    max_unavailable,
    min_available,
    new_size,
    proportional,
    saturated,
    shrink_old,
    trim_healthy,
)

ERROR = "error"


def limits(replicas, surge=0, unavailable=0):
    return Limits(replicas, surge, min(replicas, unavailable))


@pytest.mark.parametrize(
    ("row", "surge", "unavailable", "desired", "expected"),
    [
        ("F1", "0%", "0%", 0, (0, 1)),
        ("F2", "39%", "39%", 10, (4, 3)),
        ("F3", "oops", "39%", 10, ERROR),
        ("F4", "55%", "urg", 10, ERROR),
        ("F5", None, "39%", 10, (0, 3)),
        ("F6", "39%", None, 10, (4, 0)),
        ("F7", None, None, 10, (0, 1)),
        ("F8", "25%", "25%", 1, (1, 0)),
        ("F9", "50%", "50%", 3, (2, 1)),
        ("F10", "25%", "25%", 2, (1, 0)),
        ("F11", "25%", "25%", 3, (1, 0)),
        ("F12", "25%", "25%", 4, (1, 1)),
        ("F13", "25%", "25%", 5, (2, 1)),
        ("F14", "25%", "25%", 8, (2, 2)),
        ("F15", "25%", "25%", 10, (3, 2)),
        ("F16", "0%", "1%", 2, (0, 1)),
        ("F17", "1%", "0%", 2, (1, 0)),
        ("F18", "100%", "0%", 3, (3, 0)),
        ("integers", 2, 3, 10, (2, 3)),
        ("not a number", 1.5, 0, 10, ERROR),
        ("a truth is not a number", True, 0, 10, ERROR),
        ("no sign", "-5%", 0, 10, ERROR),
    ],
)
def test_fenceposts(row, surge, unavailable, desired, expected):
    if expected == ERROR:
        with pytest.raises(ValueError, match="neither an integer nor a percentage"):
            fenceposts(surge, unavailable, desired)
    else:
        assert fenceposts(surge, unavailable, desired) == expected


@pytest.mark.parametrize(
    ("replicas", "unavailable", "rolling", "most", "fewest"),
    [
        (10, 5, True, 5, 5),
        (10, 10, True, 10, 0),
        (5, 10, True, 5, 0),
        (0, 10, True, 0, 0),
        (10, 5, False, 0, 0),
        (10, "50%", True, 5, 5),
        (10, "60%", True, 6, 4),
        (10, "100%", True, 10, 0),
        (5, "100%", True, 5, 0),
    ],
)
def test_availability(replicas, unavailable, rolling, most, fewest):
    assert max_unavailable(replicas, 1, unavailable, rolling=rolling) == most
    assert min_available(replicas, 1, unavailable, rolling=rolling) == fewest


@pytest.mark.parametrize(
    ("row", "replicas", "surge", "others", "own", "expected"),
    [
        ("N1", 10, 0, 10, 0, 0),
        ("N2", 10, 2, 10, 0, 2),
        ("N3", 10, 2, 5, 0, 7),
        ("N4", 10, 2, 10, 2, 2),
        ("N5", 10, 2, 2, 11, 10),
        ("N6", 1, 1, 5, 5, 1),
        ("N7", 6, 10, 5, 2, 6),
    ],
)
def test_size_of_the_new_set(row, replicas, surge, others, own, expected):
    assert new_size(limits(replicas, surge), others + own, own) == expected


def test_new_set_cannot_grow_while_others_are_too_many():
    assert new_size(limits(10, 1), 15, 5) == 5


def test_new_set_stops_at_its_goal():
    assert new_size(limits(10, 3), 10, 0, goal=2) == 2
    assert new_size(limits(10, 3), 10, 4, goal=2) == 2


@pytest.mark.parametrize(
    ("row", "replicas", "unavailable", "old", "new", "old_ready", "new_ready", "expected"),
    [
        ("O1", 10, fenceposts(0, 0, 10)[1], 10, 0, 10, 0, 9),
        ("O2", 10, 2, 10, 0, 10, 0, 8),
        ("O3", 10, 2, 10, 0, 8, 0, 8),
        ("O4", 10, 2, 10, 0, 9, 0, 8),
        ("O5", 10, 2, 8, 2, 8, 0, 8),
    ],
)
def test_old_sets_shrink(row, replicas, unavailable, old, new, old_ready, new_ready, expected):
    found = shrink_old(limits(replicas, 0, unavailable), Size("new", new, new_ready), [Size("old", old, old_ready)])
    assert [size.replicas for size in found] == [expected]


def test_old_sets_keep_the_floor():
    old = [Size("old-a", 5, 5, 1), Size("old-b", 5, 4, 2)]
    found = shrink_old(limits(10, 0, 10), None, old, floor=7)
    assert [size.replicas for size in found] == [3, 4]


@pytest.mark.parametrize(
    ("row", "ready", "budget", "taken"), [("U1", 8, 1, 1), ("U2", 8, 3, 2), ("U3", 8, 0, 0), ("U4", 10, 3, 0)]
)
def test_unhealthy_go_first(row, ready, budget, taken):
    found, count = clean_unhealthy([Size("old", 10, ready)], budget)
    assert (found[0].replicas, count) == (10 - taken, taken)


@pytest.mark.parametrize(
    ("row", "unavailable", "ready", "old", "expected"),
    [("D1", 0, 10, 10, 10), ("D2", 2, 10, 10, 8), ("D3", 2, 8, 10, 10), ("D4", 2, 10, 0, 0), ("D5", 2, 1, 10, 10)],
)
def test_healthy_go_down_to_the_floor(row, unavailable, ready, old, expected):
    # D1: with nothing allowed to be missing, nothing may go. Upstream's 9 comes from surge 0 + unavailable 0 = 1 (O1).
    assert trim_healthy([Size("old", old, ready)], ready - (10 - unavailable))[0].replicas == expected


def test_both_zero_lets_one_go():
    _, unavailable = fenceposts(0, 0, 10)
    assert trim_healthy([Size("old", 10, 10)], 10 - (10 - unavailable))[0].replicas == 9


def sizes_of(before, marks, available=None):
    """The first is the new set, if it is one; ages fall from left to right."""
    found = []
    for index, (replicas, mark) in enumerate(zip(before, marks, strict=True)):
        found.append(
            None
            if replicas is None
            else Size(f"set-{index}", replicas, (available or before)[index], 100.0 - index, mark[0], mark[1])
        )
    return found


@pytest.mark.parametrize(
    ("row", "old_spec", "new_spec", "surge", "before", "after"),
    [
        ("P1", 10, 12, 0, [10], [12]),
        ("P2", 10, 5, 0, [10], [5]),
        ("P3", 5, 10, 0, [2, 3], [4, 6]),
        ("P4", 5, 3, 0, [2, 3], [1, 2]),
        ("P5", 9, 4, 0, [8, 1], [4, 0]),
        ("P6", 7, 10, 0, [2, 3, 2], [3, 4, 3]),
        ("P7", 13, 8, 0, [2, 8, 3], [1, 5, 2]),
        ("P8", 3, 4, 0, [1, 1, 1], [2, 1, 1]),
        ("P9", 3, 2, 0, [1, 1, 1], [1, 1, 0]),
        ("P10", 4, 5, 0, [None, 2, 2], [None, 3, 2]),
        ("P11", 6, 0, 0, [3, 2, 1], [0, 0, 0]),
        ("P12", 0, 6, 0, [0, 0, 0], [6, 0, 0]),
        ("P14", 10, 20, 2, [6, 6], [11, 11]),
        ("P15", 10, 50, (3, 6), [5, 8], [22, 34]),
        ("P16", 10, 14, 0, [None, 7, 3], [None, 10, 4]),
        ("P18", 10, 30, 3, [5, 8], [13, 20]),
    ],
)
def test_proportional_scaling(row, old_spec, new_spec, surge, before, after):
    surge_before, surge_after = surge if isinstance(surge, tuple) else (surge, surge)
    found = sizes_of(before, [(old_spec, old_spec + surge_before)] * len(before))
    new, old = found[0], [size for size in found[1:] if size]
    got = proportional(limits(new_spec, surge_after), new, old)
    assert [size and got.get(size.name, size.replicas) for size in found] == after


def test_proportional_scaling_after_a_failed_write():
    # P13: 3 → 5; the first try wrote two of three sets.
    found = sizes_of([2, 1, 1], [(5, 5), (3, 3), (5, 5)])
    got = proportional(limits(5), found[0], found[1:])
    assert [got[size.name] for size in found] == [2, 2, 1]


def test_a_broken_new_set_does_not_kill_the_old_one():
    # P17
    found = sizes_of([2, 1], [(2, 3), (2, 3)], available=[0, 1])
    assert proportional(limits(2, 1, 1), found[0], found[1:]) == {"set-0": 2, "set-1": 1}


@pytest.mark.parametrize(
    ("row", "replicas", "surge", "size", "annotation", "fleet_size", "delta"),
    [
        ("G1", 0, 0, 10, None, 0, -10),
        ("G2", 10, 0, 5, None, 0, 0),
        ("G3", 10, 0, 5, 0, 0, 0),
        ("G4", 120, 0, 50, None, 100, 10),
        ("G5", 120, 0, 50, 0, 100, 10),
        ("G6", 120, 0, 50, 100, 0, 10),
        ("G7", 120, 10, 50, 110, 0, 9),
        ("G8", 10, 0, 6, 12, 0, -1),
        ("G9", 100, 10, 50, 130, 0, -8),
    ],
)
def test_share_of_one_set(row, replicas, surge, size, annotation, fleet_size, delta):
    assert fraction(Size("set", size, most_before=annotation), limits(replicas, surge), fleet_size) == delta


@pytest.mark.parametrize(
    ("row", "limit", "sets", "deleted"),
    [
        ("H1", 1, [("a", 0, 1, True), ("b", 0, 2, True), ("c", 0, 3, True)], ["a", "b"]),
        ("H2", 0, [("a", 0, 1, True), ("b", 0, 2, False), ("c", 0, 3, False), ("d", 0, 4, False)], ["a"]),
        ("H3", 0, [("a", 0, 1, True), ("b", 0, 2, True)], ["a", "b"]),
        ("H4", 0, [("a", 0, 1, False), ("b", 0, 2, False)], []),
        ("H5", 0, [("a", 0, 1, False)], []),
        ("H6", 2**31 - 1, [("a", 0, 1, True), ("b", 0, 2, True), ("c", 0, 3, True)], []),
        ("H7", 1, [("a", 1, 1, True), ("b", 2, 2, True)], ["a"]),
        ("H8", 1, [("a", 2, 1, True), ("b", 1, 2, True)], ["b"]),
        ("H9", 1, [("a", 1, 1, True), ("b", 0, 2, True)], ["b"]),
        ("H10", 1, [("a", 1, 1, False), ("b", 2, 2, True), ("c", 3, 3, True)], ["b"]),
        ("H11", 1, [("a", 1, 1, False), ("b", 2, 2, False), ("c", 3, 3, True)], []),
        ("H12", 2, [("a", 3, 1, True), ("b", 1, 2, True), ("c", 4, 3, True), ("d", 2, 4, True)], ["b", "d"]),
    ],
)
def test_history(row, limit, sets, deleted):
    assert history_victims(sets, limit) == deleted


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (Size("new", 3, 3, desired_before=3), True),
        (Size("new", 2, 3, desired_before=3), False),
        (Size("new", 3, 2, desired_before=3), False),
        (Size("new", 3, 3, desired_before=2), False),
        (Size("new", 3, 3), False),
        (None, False),
    ],
)
def test_saturated(size, expected):
    assert saturated(3, size) is expected


@pytest.mark.parametrize(
    ("replicas", "weight", "surge", "new", "old"),
    [
        (1, 49, 0, 0, 1),
        (1, 50, 0, 1, 0),
        (1, 1, 1, 1, 1),
        (2, 1, 0, 1, 1),
        (2, 99, 1, 2, 1),
        (3, 50, 0, 2, 1),
        (3, 10, 1, 1, 3),
        (10, 14, 0, 1, 9),
        (10, 15, 0, 2, 8),
        (10, 1, 1, 1, 10),
        (10, 20, 1, 2, 8),
        (10, 24, 1, 3, 8),
        (10, 99, 1, 10, 1),
        (10, 100, 1, 10, 0),
        (10, 0, 1, 0, 10),
    ],
)
def test_canary_counts(replicas, weight, surge, new, old):
    assert canary_counts(replicas, weight, surge) == (new, old)


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "trace"),
    [
        (1, "25%", "25%", [(1, 1), (1, 0)]),
        (2, "25%", "25%", [(1, 2), (1, 1), (2, 1), (2, 0)]),
        (4, "25%", "25%", [(1, 4), (1, 2), (3, 2), (3, 0), (4, 0)]),
        (10, "25%", "25%", [(3, 10), (3, 5), (8, 5), (8, 0), (10, 0)]),
        (3, 1, 0, [(1, 3), (1, 2), (2, 2), (2, 1), (3, 1), (3, 0)]),
        (3, 0, 1, [(0, 2), (1, 2), (1, 1), (2, 1), (2, 0), (3, 0)]),
    ],
)
def test_traces(replicas, surge, unavailable, trace):
    more, fewer = fenceposts(surge, unavailable, replicas)
    bounds, new, old, seen = limits(replicas, more, fewer), 0, replicas, []
    while (new, old) != (replicas, 0):
        grown = new_size(bounds, new + old, new)
        if grown != new:
            new = grown
        else:
            old = shrink_old(bounds, Size("new", new, new), [Size("old", old, old)])[0].replicas
        seen.append((new, old))
    assert seen == trace
