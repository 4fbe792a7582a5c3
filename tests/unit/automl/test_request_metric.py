"""Metrics of one's own in requests: from functions, paths and helpers to documents."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import cloudpickle
import numpy as np
import pytest
from sklearn import metrics

import rayctl
from rayctl.automl.metrics import metric_of, score
from rayctl.automl.request import build_request, custom_metric, further_budget, request_document
from rayctl.errors import InvalidRequest

ASK = {"task": "classification", "target": "y"}


def hit_rate(y_true: Any, y_pred: Any) -> float:
    return float(np.mean(y_true == y_pred))


def confidence(y_true: Any, proba: Any) -> float:
    return float(proba.max(axis=1).mean())


confidence.needs_proba = True  # type: ignore[attr-defined]
confidence.greater_is_better = False  # type: ignore[attr-defined]


def sent(metric: Any, kind: str = "ray") -> dict[str, Any]:
    document = request_document(build_request({**ASK, "metric": metric}), kind)
    assert "metric" not in document
    return dict(document["custom_metric"])


def test_names_stay_names() -> None:
    assert request_document(build_request({**ASK, "metric": "roc_auc"}), "http") == {**ASK, "metric": "roc_auc"}


def test_functions_that_workers_can_import_go_by_name() -> None:
    assert sent(hit_rate, "http") == {
        "name": "hit_rate", "path": f"{__name__}.hit_rate", "greater_is_better": True, "needs_proba": False,
    }  # fmt: skip
    module, _, name = sent(metrics.hamming_loss)["path"].rpartition(".")
    assert getattr(importlib.import_module(module), name) is metrics.hamming_loss


def test_paths() -> None:
    for path in ("sklearn.metrics:log_loss", "sklearn.metrics.log_loss"):
        found = sent(path, "http")
        assert (found["path"], found["name"], found["greater_is_better"]) == (
            "sklearn.metrics.log_loss", "log_loss", False,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "up"),
    [("mean_squared_error", False), ("hinge_loss", False), ("d2_tweedie_deviance", False), ("r2_score", True),
     ("profit", True), ("lossless", True)],
)  # fmt: skip
def test_the_direction_by_name(name: str, up: bool) -> None:
    assert custom_metric(f"module:{name}").greater_is_better is up
    assert custom_metric(f"module:{name}", greater_is_better=not up).greater_is_better is not up


def test_attributes_of_the_function() -> None:
    found = sent(confidence)
    assert (found["greater_is_better"], found["needs_proba"]) == (False, True)
    said = rayctl.custom_metric(confidence, greater_is_better=True, needs_proba=False, name="sure")
    assert (said.name, said.greater_is_better, said.needs_proba) == ("sure", True, False)
    assert sent(said)["name"] == "sure"


def test_other_functions_travel_pickled_and_still_work() -> None:
    threshold = 0.5

    def above(y_true: Any, y_pred: Any) -> float:
        return float(np.mean(y_pred > threshold))

    for function in (above, lambda y_true, y_pred: 1.0, functools.partial(hit_rate)):
        found = sent(function)
        assert "path" not in found
        assert cloudpickle.loads(found["pickled"])(np.ones(2), np.ones(2)) == 1.0
        with pytest.raises(InvalidRequest) as caught:
            sent(function, "http")
        assert caught.value.code == "metric-not-importable"
        assert "ray://" in str(caught.value.hint)


def test_the_service_scores_with_it() -> None:
    labels = ["no", "yes"]

    def yes_found(y_true: Any, y_pred: Any) -> float:
        return float(np.mean(y_pred[y_true == "yes"] == "yes"))

    for function, expected in ((hit_rate, 0.75), (yes_found, 0.5)):
        received = build_request(request_document(build_request({**ASK, "metric": function}), "ray"))
        metric = metric_of(received, 2)
        value = score(metric, np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), 2, classes=labels)
        assert (metric.name, value) == (function.__name__, expected)


@pytest.mark.parametrize(
    "metric",
    ["no such:thing", "a..b", ":f", "module:", "module:f()", "a/b.c", metrics.make_scorer(metrics.r2_score)],
)
def test_what_is_no_metric(metric: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        build_request({**ASK, "metric": metric})
    assert caught.value.code == "bad-metric"
    assert caught.value.errors[0]["pointer"] == "/metric"
    assert caught.value.hint


def test_what_cannot_be_sent() -> None:
    import threading

    lock = threading.Lock()

    def guarded(y_true: Any, y_pred: Any) -> float:
        with lock:
            return 1.0

    with pytest.raises(InvalidRequest, match="guarded cannot be sent"):
        custom_metric(guarded)


def test_both_are_too_many() -> None:
    with pytest.raises(InvalidRequest, match="not both"):
        build_request({**ASK, "metric": hit_rate, "custom_metric": {"name": "x", "path": "a.b"}})
    with pytest.raises(InvalidRequest, match="exactly one of path and pickled"):
        build_request({**ASK, "custom_metric": {"name": "x"}})


def test_one_is_a_list() -> None:
    request = build_request({**ASK, "known_future": "price", "levels": 90})
    assert (request.known_future, request.levels) == (["price"], [90])
    with pytest.raises(InvalidRequest, match="between 1 and 99"):
        build_request({**ASK, "levels": [100]})


def test_further_budgets() -> None:
    assert further_budget("2m", 5) == (120.0, 5)
    assert further_budget(None, 1) == (None, 1)
    for budget, trials, code in (
        (None, None, "missing-budget"),
        (0, None, "bad-duration"),
        (float("nan"), None, "bad-duration"),
        ("31d", None, "bad-duration"),
        ("soon", None, "bad-duration"),
        (None, 0, "bad-count"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            further_budget(budget, trials)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("name", "up"),
    [("rmse", False), ("my_MAE", False), ("wape", False), ("hamming_loss", False), ("profit", True), ("roc_auc", True)],
)
def test_the_way_of_a_metric_follows_from_its_name_unless_it_says_so(name: str, up: bool) -> None:
    assert custom_metric(f"somewhere:{name}").greater_is_better is up
    assert custom_metric(f"somewhere:{name}", greater_is_better=not up).greater_is_better is not up
