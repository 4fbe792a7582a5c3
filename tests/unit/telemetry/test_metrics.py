"""The metrics: known names, right numbers, and never more series because there are more objects."""

from __future__ import annotations

import inspect

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rayctl.core.execute import Ending
from rayctl.core.metrics import Metrics as CountedByLoops
from rayctl.telemetry.metrics import Metrics

LARGEST = 2000
"""Series that one actor may have."""
KNOWN = {
    "workqueue_depth",
    "workqueue_adds_total",
    "workqueue_queue_duration_seconds_bucket",
    "workqueue_work_duration_seconds_bucket",
    "workqueue_unfinished_work_seconds",
    "workqueue_longest_running_processor_seconds",
    "workqueue_retries_total",
    "controller_runtime_reconcile_total",
    "controller_runtime_reconcile_errors_total",
    "controller_runtime_terminal_reconcile_errors_total",
    "controller_runtime_reconcile_panics_total",
    "controller_runtime_reconcile_timeouts_total",
    "controller_runtime_reconcile_time_seconds_bucket",
    "controller_runtime_active_workers",
    "controller_runtime_max_concurrent_reconciles",
    "leader_election_master_status",
    "rayctl_leader_transitions_total",
    "rayctl_fenced_requests_total",
    "rest_client_requests_total",
    "rest_client_request_duration_seconds_bucket",
    "rayctl_informer_store_rv",
    "rayctl_informer_lag_seconds",
    "rayctl_informer_relists_total",
    "rayctl_informer_watch_restarts_total",
    "rayctl_informer_objects",
    "rayctl_stale_skips_total",
    "rayctl_switchover_seconds_bucket",
    "rayctl_condition",
    "rayctl_desired_replicas",
    "rayctl_ready_replicas",
}


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return (name, label values in the labels' order) → value, read back from the text."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_the_names_that_dashboards_know() -> None:
    assert Metrics().names() >= KNOWN


def test_a_loop_can_count_with_it() -> None:
    counted: CountedByLoops = Metrics()
    for name, method in inspect.getmembers(CountedByLoops, inspect.isfunction):
        if not name.startswith("_"):
            ours = inspect.signature(getattr(type(counted), name))
            assert list(ours.parameters) == list(inspect.signature(method).parameters)


@pytest.mark.parametrize(
    ("result", "outcome", "errors"),
    [
        *((ending.value, outcome, errors) for ending, outcome, errors in [
            (Ending.DONE, "success", 0),
            (Ending.AGAIN, "requeue", 0),
            (Ending.LATER, "requeue_after", 0),
            (Ending.REFUSED, "error", 1),
            (Ending.TROUBLE, "error", 1),
            (Ending.LOST, "error", 1),
        ]),
        ("nothing", "success", 0),
        ("stale", "requeue_after", 0),
        ("crashed", "error", 1),
    ],
)  # fmt: skip
def test_every_ending_has_a_result(result: str, outcome: str, errors: int) -> None:
    metrics = Metrics()
    metrics.passed("c", result, 0.3)
    found = samples(metrics)
    assert found["controller_runtime_reconcile_total", ("c", outcome)] == 1
    assert found.get(("controller_runtime_reconcile_errors_total", ("c",)), 0) == errors
    assert found.get(("controller_runtime_reconcile_panics_total", ("c",)), 0) == (result == "crashed")
    assert found.get(("controller_runtime_terminal_reconcile_errors_total", ("c",)), 0) == (result == "refused")
    assert found["controller_runtime_reconcile_time_seconds_bucket", ("c", "0.25")] == 0
    assert found["controller_runtime_reconcile_time_seconds_bucket", ("c", "0.5")] == 1
    assert found["controller_runtime_reconcile_time_seconds_sum", ("c",)] == pytest.approx(0.3)


def test_no_ending_is_forgotten() -> None:
    from rayctl.telemetry.metrics import _RESULTS

    assert {ending.value for ending in Ending} | {"nothing", "stale", "crashed"} == set(_RESULTS)


def test_leading_counts_beginnings_only() -> None:
    metrics = Metrics()
    for does in (True, True, False, True):
        metrics.leads("lease", does)
    found = samples(metrics)
    assert found["leader_election_master_status", ("lease",)] == 1
    assert found["rayctl_leader_transitions_total", ("lease",)] == 2


def test_conditions_are_replaced() -> None:
    metrics = Metrics()
    metrics.conditions("RayCluster", {("Ready", "True"): 3, ("Ready", "False"): 1})
    metrics.conditions("RayCluster", {("Ready", "True"): 4, ("Ready", "odd"): 1})
    found = {key: value for key, value in samples(metrics).items() if key[0] == "rayctl_condition"}
    assert found == {
        ("rayctl_condition", ("RayCluster", "True", "Ready")): 4,
        ("rayctl_condition", ("RayCluster", "Unknown", "Ready")): 1,
    }


def use(metrics: Metrics, objects: int) -> None:
    """Count what a process with so many objects would count, odd values among it."""
    for controller in ("fleet", "replicaset", "raycluster", "rayservice"):
        for number in range(objects):
            metrics.added(controller)
            metrics.depth(controller, number, 1)
            metrics.passed(controller, ["done", "again", "trouble", "crashed"][number % 4], 0.001 * number)
            metrics.waited(controller, 0.1)
            metrics.retried(controller)
            metrics.stale(controller)
        metrics.unfinished(controller, 1.0, 1.0)
        metrics.leads(controller, True)
        metrics.fenced(controller)
    for number in range(objects):
        metrics.requested(["GET", "PATCH", "BREW"][number % 3], number % 600, 0.1)
        metrics.cached(f"kind-{number % 60}", 1, str(number), 0.1)
        metrics.relisted("pods", f"reason {number}")
        metrics.conditions("RayCluster", {(f"type {number}", "True"): 1})
        metrics.switched(f"phase {number}", 1.0)


def test_more_objects_are_not_more_series() -> None:
    metrics = Metrics()
    use(metrics, 1000)
    before = len(samples(metrics))
    use(metrics, 10_000)
    assert len(samples(metrics)) == before <= LARGEST


def test_times_of_creation_are_left_out() -> None:
    metrics = Metrics()
    use(metrics, 1)
    assert b"_created" not in metrics.text()


def test_requests_are_counted_by_answer() -> None:
    metrics = Metrics()
    metrics.requested("PATCH", 200, 0.1)
    metrics.requested("PATCH", 404, 0.1)
    metrics.requested("GET", 0, 1.0)
    metrics.fenced("mine")
    found = samples(metrics)
    assert found["rest_client_requests_total", ("200", "PATCH")] == 1
    assert found["rest_client_requests_total", ("404", "PATCH")] == 1
    assert found["rest_client_requests_total", ("<error>", "GET")] == 1
    assert found["rest_client_request_duration_seconds_count", ("PATCH",)] == 2
    assert found["rayctl_fenced_requests_total", ("mine",)] == 1
