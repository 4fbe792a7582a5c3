"""Metrics of several processes as one text that Prometheus reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from rayctl.telemetry.exposition import gauge, joined
from rayctl.telemetry.metrics import Metrics


def test_every_sample_is_there_with_its_process() -> None:
    made = {}
    for number, name in enumerate(("fleet-controller", 'odd "name"')):
        metrics = Metrics()
        for _ in range(number + 1):
            metrics.passed(name, "done", 0.3)
            metrics.requested("GET", 200, 0.1)
        made[name] = metrics.text().decode()
    made["automl"] = gauge("rayctl_automl_runs", "Runs.", [({"state": "run\nning"}, 3), ({"state": "queued"}, 0)])
    text = joined(made)
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }
    for process, own in made.items():
        for family in text_string_to_metric_families(own):
            for sample in family.samples:
                key = (sample.name, tuple(sorted({**sample.labels, "process": process}.items())))
                assert found.pop(key) == sample.value
    assert not found
    kinds = {family.name: family.type for family in families}
    assert kinds["controller_runtime_reconcile_time_seconds"] == "histogram"
    assert kinds["rest_client_requests"] == "counter"
    assert text.count("# TYPE rest_client_requests_total") == 1


def test_nothing_is_nothing() -> None:
    assert joined({}).strip() == ""
    assert joined({"a": ""}).strip() == ""
