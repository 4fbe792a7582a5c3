"""Names: pure, within limits, and nobody else's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayctl.cluster import names

LABEL = st.from_regex(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?", fullmatch=True)
GROUP = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,60}[A-Za-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("given_name", "wanted"),
    [
        ("a" * 60, "a" * 50),
        ("x" * 5 + "-" + "b" * 49, "r" + "b" * 49),
        ("1abc", "rabc"),
        ("abc", "abc"),
        ("z" * 10 + "9" + "c" * 49, "r" + "c" * 49),
    ],
)
def test_objects_called_after_their_cluster(given_name: str, wanted: str) -> None:
    assert names.check_name(given_name) == wanted


def test_label_values_keep_their_end() -> None:
    assert names.check_label("y" * 20 + "-" + "d" * 62) == "r" + "d" * 62
    assert names.check_label("1abc") == "1abc"


def test_the_head_has_the_name_of_kuberays_deterministic_mode() -> None:
    assert names.head_pod("raycluster-kuberay") == "raycluster-kuberay-head"


@given(cluster=LABEL, group=GROUP, index=st.integers(0, 999_999))
def test_names_fit_into_host_names(cluster: str, group: str, index: int) -> None:
    for name in (names.head_pod(cluster), names.worker_pod(cluster, group, index), names.cleanup_pod(cluster)):
        assert len(name) <= 63
        assert name == name.lower()


def test_workers_of_clusters_that_read_alike_are_told_apart() -> None:
    owners = [("a-b", "c"), ("a", "b-c"), ("a", "B-c"), ("c" * 53, "one"), ("c" * 53, "two")]
    assert len({names.worker_pod(cluster, group, 0) for cluster, group in owners}) == len(owners)
    assert len({names.worker_pod("a", "g", index) for index in range(500)}) == 500


@pytest.mark.parametrize(
    ("name", "right"), [("a", True), ("a" * 53, True), ("a" * 54, False), ("1a", False), ("A", False), ("a-", False)]
)
def test_which_names_clusters_may_have(name: str, right: bool) -> None:
    assert (names.name_problem(name) == "") is right
