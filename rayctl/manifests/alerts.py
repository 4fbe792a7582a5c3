"""What Prometheus should wake somebody for: eight alerts, as data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ALERTS", "Alert"]


@dataclass(frozen=True)
class Alert:
    """One rule. ``for_``: how long it must hold; ``meaning``: what happens; ``todo``: what to do first."""

    name: str
    expression: str
    for_: str
    severity: str
    meaning: str
    todo: str


ALERTS = (
    Alert(
        "RayctlQueueGrows",
        "min_over_time(workqueue_depth[10m]) > 0 and deriv(workqueue_depth[10m]) > 0",
        "10m",
        "warning",
        "Controller {{ $labels.controller }} gets more work than it does.",
        "Look at the pass times and at the API server's answers.",
    ),
    Alert(
        "RayctlPassesSlow",
        "histogram_quantile(0.99, sum by (controller, le)"
        " (rate(controller_runtime_reconcile_time_seconds_bucket[10m]))) > 5",
        "10m",
        "warning",
        "One pass in a hundred of {{ $labels.controller }} takes more than 5 s.",
        "Look at the API server's latency, and for clusters whose Serve API hangs.",
    ),
    Alert(
        "RayctlNoLeader",
        "sum by (name) (leader_election_master_status) < 1 or absent(leader_election_master_status)",
        "30s",
        "critical",
        "Nobody leads {{ $labels.name }}: nothing is reconciled.",
        "rayctl doctor; then the logs of the control plane's pods.",
    ),
    Alert(
        "RayctlCacheBehind",
        "rayctl_informer_lag_seconds > 60",
        "1m",
        "warning",
        "The cache of {{ $labels.resource }} has heard nothing for a minute.",
        "Look at the connection to the API server; restarts of watches say why.",
    ),
    Alert(
        "RayctlPassesFail",
        "sum by (controller) (rate(controller_runtime_reconcile_errors_total[10m]))"
        " / sum by (controller) (rate(controller_runtime_reconcile_total[10m])) > 0.05",
        "10m",
        "warning",
        "More than 5 % of the passes of {{ $labels.controller }} fail.",
        "rayctl explain the objects that are not ready; the logs name them.",
    ),
    Alert(
        "RayctlDefect",
        "increase(controller_runtime_reconcile_panics_total[15m]) > 0",
        "0m",
        "critical",
        "A pass of {{ $labels.controller }} ended by a defect of rayctl.",
        "The log has the traceback; please report it.",
    ),
    Alert(
        "RayctlFenced",
        "increase(rayctl_fenced_requests_total[15m]) > 0",
        "0m",
        "warning",
        "A process that no longer led {{ $labels.name }} wanted to write, and was held back.",
        "Harmless once; often: the API server is slower than the lease's renewal.",
    ),
    Alert(
        "RayctlSwitchoverSlow",
        'histogram_quantile(0.95, sum by (le) (rate(rayctl_switchover_seconds_bucket{phase="total"}[1h]))) > 600',
        "0m",
        "warning",
        "Switchovers take more than ten minutes.",
        "rayctl explain the service; its record says which step waits for what.",
    ),
)
