"""A Grafana dashboard and Prometheus' alert rules, made from `rayctl.manifests.alerts` and the panels below. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from rayctl.manifests.alerts import ALERTS
from rayctl.manifests.text import render

__all__ = ["PANELS", "metrics_in", "monitoring"]


def _rate(by: str, name: str) -> str:
    return f"sum by ({by}) (rate({name}[5m]))"


def _quantile(share: float, by: str, name: str, window: str = "5m") -> str:
    return f"histogram_quantile({share}, sum by ({by}, le) (rate({name}_bucket[{window}])))"


def _each(*labels: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in labels)


_NOT_READY = 'rayctl_condition{type="Ready",status!="True"}'
_WANTED = (("rayctl_ready_replicas", "{{kind}} ready"), ("rayctl_desired_replicas", "{{kind}} wanted"))
_PASSES, _PASS_S = "controller_runtime_reconcile_total", "controller_runtime_reconcile_time_seconds"
_QUEUED_S, _REQUEST_S = "workqueue_queue_duration_seconds", "rest_client_request_duration_seconds"
_WATCHES, _BORN_S = "rayctl_informer_watch_restarts_total", "rayctl_cluster_provisioned_duration_seconds"
_ONE = _each("controller")

PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("Ready of wanted", "short", _WANTED),
    ("Objects that are not ready", "short", ((_NOT_READY, _each("kind", "status")),)),
    ("Who leads", "short", (("leader_election_master_status", _each("name", "instance")),)),
    ("Passes per second", "ops", ((_rate("controller, result", _PASSES), _each("controller", "result")),)),
    ("Time of a pass, p99", "s", ((_quantile(0.99, "controller", _PASS_S), _ONE),)),
    ("Keys waiting", "short", (("workqueue_depth", _ONE),)),
    ("Waiting in the queue, p99", "s", ((_quantile(0.99, "controller", _QUEUED_S), _ONE),)),
    ("Retries per second", "ops", ((_rate("controller", "workqueue_retries_total"), _ONE),)),
    ("Passes put off: own writes not seen", "ops", ((_rate("controller", "rayctl_stale_skips_total"), _ONE),)),
    ("Requests", "reqps", ((_rate("code, method", "rest_client_requests_total"), _each("method", "code")),)),
    ("Time of a request, p99", "s", ((_quantile(0.99, "verb", _REQUEST_S), _each("verb")),)),
    ("Caches: silence", "s", (("rayctl_informer_lag_seconds", _each("resource")),)),
    ("Caches: objects", "short", (("rayctl_informer_objects", _each("resource")),)),
    ("Watches begun anew", "ops", ((_rate("resource, reason", _WATCHES), _each("resource", "reason")),)),
    ("RayClusters: from creation to ready, p95", "s", ((_quantile(0.95, "job", _BORN_S, "1h"), "p95"),)),
    (
        "Switchovers: time, p95",
        "s",
        ((_quantile(0.95, "phase", "rayctl_switchover_seconds", "1h"), _each("phase")),),
    ),
)
"""(title, unit, ((query, legend), …)) of each panel, in reading order."""
_WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_PREFIXES = ("workqueue_", "controller_runtime_", "rest_client_", "leader_election_", "rayctl_")


def metrics_in(query: str) -> set[str]:
    """Return the names of metrics in a query: everything that begins as ours do, outside of quotes."""
    bare = re.sub(r'"[^"]*"', "", query)
    return {word for word in _WORD.findall(bare) if word.startswith(_PREFIXES)}


def monitoring() -> dict[str, str]:
    """Return the files: ``grafana.json`` to import, ``alerts.yaml`` for Prometheus' ``rule_files``."""
    return {"grafana.json": json.dumps(_dashboard(), indent=1) + "\n", "alerts.yaml": render(_rules())}


def _rules() -> dict[str, Any]:
    rules = [
        {
            "alert": alert.name,
            "expr": alert.expression,
            "for": alert.for_,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.meaning, "description": alert.todo},
        }
        for alert in ALERTS
    ]
    return {"groups": [{"name": "rayctl", "rules": rules}]}


def _dashboard() -> dict[str, Any]:
    return {
        "title": "rayctl",
        "uid": "rayctl",
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "tags": ["rayctl"],
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [_panel(number, *panel) for number, panel in enumerate(PANELS)],
    }


def _panel(number: int, title: str, unit: str, queries: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": source,
        "gridPos": {"h": 7, "w": 8, "x": 8 * (number % 3), "y": 7 * (number // 3)},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(65 + index), "datasource": source, "expr": query, "legendFormat": legend}
            for index, (query, legend) in enumerate(queries)
        ],
    }
