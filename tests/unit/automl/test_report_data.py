"""The numbers behind a report's pictures."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from sklearn import metrics as sk

from rayctl.automl.metrics import forecast_score
from rayctl.automl.model import RunRequest
from rayctl.automl.report import command
from rayctl.automl.report.classification import classification_data, read_labelled
from rayctl.automl.report.command import brief, submit_command
from rayctl.automl.report.data import report_data
from rayctl.automl.report.regression import histogram, read_numbers, regression_data
from rayctl.automl.report.trials import fold_range, score_over_time
from rayctl.cli.main import cli
from tests.unit.automl.report_samples import HORIZON, WINDOWS, classifier, failed, forecaster, regressor


def _labelled(settings: dict[str, Any] | None = None) -> dict[str, Any]:
    rows = read_labelled(classifier("binary").validation, settings or {})
    assert rows is not None
    return classification_data(rows)


def _truth_and_proba() -> tuple[np.ndarray, np.ndarray]:
    table = classifier("binary").validation
    assert table is not None
    return np.array(table.column("truth").to_pylist()) == "yes", table.column("proba_yes").to_numpy()


@pytest.mark.parametrize("threshold", [None, 0.05, 0.9])
def test_the_confusion_matrix_is_that_of_the_delivered_decision(threshold: float | None) -> None:
    found = _labelled({} if threshold is None else {"threshold": threshold})
    truth, proba = _truth_and_proba()
    assert found["confusion"] == sk.confusion_matrix(truth, proba > (threshold or 0.5)).tolist()
    chosen = next(row for row in found["thresholds"] if row["delivered"])
    assert chosen["threshold"] == (threshold or 0.5)
    assert [[chosen["called"]], [chosen["hits"]]] == [
        [sum(r[1] for r in found["confusion"])],
        [found["confusion"][1][1]],
    ]


def test_multipliers_move_decisions_of_several_classes() -> None:
    table = classifier("multiclass").validation
    assert table is not None
    rows = read_labelled(table, {"multipliers": [1.0, 0.0, 1.0]})
    assert rows is not None
    assert np.array(classification_data(rows)["confusion"]).sum(axis=0)[1] == 0


def test_thresholds_equal_a_count_by_hand() -> None:
    truth, proba = _truth_and_proba()
    for row in _labelled()["thresholds"][::17]:
        called = proba > row["threshold"]
        assert row["hits"] == (called & truth).sum()
        assert row["false_alarms"] == (called & ~truth).sum()
        assert row["missed"] == (~called & truth).sum()
        assert row["precision"] == pytest.approx(sk.precision_score(truth, called))
        assert row["recall"] == pytest.approx(sk.recall_score(truth, called))
        assert row["f1"] == pytest.approx(sk.f1_score(truth, called))


def test_a_thinned_curve_keeps_its_ends_and_its_area() -> None:
    truth, proba = _truth_and_proba()
    rng = np.random.default_rng(0)
    scores = np.concatenate([proba, rng.random(20_000)])
    labels = np.concatenate([truth, rng.random(20_000) < scores[len(truth) :]])
    names = np.array(["no", "yes"])
    table = pa.table(
        {"row": np.arange(len(labels)), "fold": np.zeros(len(labels), int), "truth": names[labels.astype(int)]}
        | {"proba_no": 1 - scores, "proba_yes": scores}
    )
    rows = read_labelled(table, {})
    assert rows is not None
    curve = classification_data(rows)["curves"][0]
    fpr, tpr = np.array(curve["roc"]["fpr"]), np.array(curve["roc"]["tpr"])
    assert 150 < len(fpr) <= 200
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    area = sk.roc_auc_score(labels, scores)
    assert curve["auc"] == pytest.approx(area)
    assert np.trapezoid(tpr, fpr) == pytest.approx(area, abs=2e-3)
    assert curve["average_precision"] == pytest.approx(sk.average_precision_score(labels, scores))
    assert len(curve["pr"]["recall"]) <= 200


def test_calibration_bins_hold_every_row_once_and_see_a_liar() -> None:
    rng = np.random.default_rng(1)
    claimed = rng.random(4000)
    honest, liar = rng.random(4000) < claimed, rng.random(4000) < claimed / 2
    for happened, distance in ((honest, 0.0), (liar, 0.25)):
        table = pa.table(
            {"row": np.arange(4000), "fold": np.zeros(4000, int), "truth": np.array(["a", "b"])[happened.astype(int)]}
            | {"proba_a": 1 - claimed, "proba_b": claimed}
        )
        rows = read_labelled(table, {})
        assert rows is not None
        found = classification_data(rows)["calibration"]
        assert sum(item["rows"] for item in found["bins"]) == 4000
        assert len(found["bins"]) == 10
        assert all(item["low"] <= item["observed"] <= item["high"] for item in found["bins"])
        assert found["ece"] == pytest.approx(distance, abs=0.03)


def test_lift_ends_with_everything_found() -> None:
    found = _labelled()["lift"]
    assert found[-1]["captured"] == 1.0
    assert found[-1]["lift"] == 1.0
    assert found[0]["lift"] == pytest.approx(1 / np.mean(_truth_and_proba()[0]), rel=0.02)


@pytest.mark.parametrize(
    ("truth", "names"),
    [
        (pa.array([True, False, True, None]), ["False", "True"]),
        (pa.array([True, False, True, None]), ["false", "true"]),
        (pa.array([1, 0, 1, None]), ["no", "yes"]),
        (pa.array([1.0, 0.0, 1.0, None]), ["0", "1"]),
        (pa.array(["yes", "no", "yes", None]).dictionary_encode(), ["no", "yes"]),
    ],
)
def test_labels_are_recognised_in_any_spelling(truth: pa.Array, names: list[str]) -> None:
    proba = np.array([0.9, 0.2, 0.4, 0.5])
    table = pa.table(
        {"row": [0, 1, 2, 3], "fold": [0, 0, 1, 1], "truth": truth}
        | {f"proba_{names[0]}": 1 - proba, f"proba_{names[1]}": proba}
    )
    rows = read_labelled(table, {})
    assert rows is not None
    assert rows.truth.tolist() == [1, 0, 1]
    assert rows.decided.tolist() == [1, 0, 0]
    assert rows.dropped == 1


def test_labels_without_probabilities_still_give_a_confusion_matrix() -> None:
    table = pa.table({"row": [0, 1, 2], "fold": [0, 0, 0], "truth": ["a", "b", "b"], "prediction": ["a", "a", "b"]})
    rows = read_labelled(table, {})
    assert rows is not None
    found = classification_data(rows)
    assert found["confusion"] == [[1, 0], [1, 1]]
    assert found["curves"] is None


def test_many_classes_give_the_largest_ones_curves() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(12, 500, p=np.arange(1, 13) / 78)
    proba = rng.dirichlet(np.ones(12), 500)
    names = [f"k{i:02d}" for i in range(12)]
    table = pa.table(
        {"row": np.arange(500), "fold": np.zeros(500, int), "truth": np.array(names)[truth]}
        | {f"proba_{name}": proba[:, k] for k, name in enumerate(names)}
    )
    rows = read_labelled(table, {})
    assert rows is not None
    assert [curve["class"] for curve in classification_data(rows)["curves"]] == names[4:]


def test_the_worst_rows_of_a_regression_are_named_by_their_row_numbers() -> None:
    rows = read_numbers(regressor().validation)
    assert rows is not None
    found = regression_data(rows, seed=0)
    table = regressor().validation
    assert table is not None
    residual = table.column("truth").to_numpy() - table.column("prediction").to_numpy()
    expected = 1000 + np.argsort(-np.abs(residual))[:10]
    assert [item["row"] for item in found["worst"]] == expected.tolist()
    assert found["worst"][0]["residual"] == pytest.approx(residual[expected[0] - 1000])
    assert {item["quantile"]: item["value"] for item in found["quantiles"]}[0.5] == pytest.approx(np.median(residual))
    bars = found["histogram"]
    assert sum(bars["counts"]) + bars["below"] + bars["above"] == len(residual)


def test_the_sample_of_a_large_regression_is_seeded_and_holds_the_worst_rows() -> None:
    rng = np.random.default_rng(0)
    table = pa.table({"row": np.arange(5000), "fold": np.zeros(5000, int), "truth": rng.normal(size=5000)})
    table = table.append_column("prediction", pa.array(np.zeros(5000)))
    rows = read_numbers(table)
    assert rows is not None
    found = regression_data(rows, seed=1)
    assert found == regression_data(rows, seed=1)
    assert found["sample"] != regression_data(rows, seed=2)["sample"]
    assert {item["row"] for item in found["worst"]} <= set(found["sample"]["row"])
    assert len(found["sample"]["row"]) <= 610


@pytest.mark.parametrize("values", [[3.0, 3.0, 3.0], [0.0], [1.0, 2.0]])
def test_histograms_of_few_or_equal_values(values: list[float]) -> None:
    found = histogram(np.array(values))
    assert sum(found["counts"]) + found["below"] + found["above"] == len(values)


def test_the_scores_of_forecasts_are_those_of_the_leaderboard() -> None:
    inputs = forecaster()
    found = report_data(inputs)
    by_name = {item["name"]: item for item in found["metrics"]}
    assert found["metrics"][0]["name"] == "mase"
    assert by_name["mase"]["folds"] == pytest.approx(inputs.rows[0]["fold_scores"])
    assert inputs.validation is not None
    assert inputs.history is not None
    frame, past = inputs.validation.to_pandas(), inputs.history.to_pandas()
    for name in ("smape", "mae", "rmse", "mape", "rmsse", "wape"):
        expected = []
        for _, window in frame.groupby("fold"):
            parts = [part for _, part in window.groupby("series")]
            before = [
                past[(past.series == p.series.iloc[0]) & (past.month < p.month.min())].sales.to_numpy() for p in parts
            ]
            truth, said = [p.truth.to_numpy() for p in parts], [p.prediction.to_numpy() for p in parts]
            expected.append(forecast_score(name, truth, said, before, 12))
        assert by_name[name]["folds"] == pytest.approx(expected), name


def test_forecasts_show_the_worst_the_best_and_some_others() -> None:
    found = report_data(forecaster())["forecast"]
    assert (found["series"], found["windows"], found["season"]) == (15, WINDOWS, 12)
    assert [item["step"] for item in found["by_step"]] == list(range(1, HORIZON + 1))
    panels = found["panels"]
    assert [panel["chosen"] for panel in panels] == ["worst"] * 4 + ["best"] * 4 + ["random"] * 4
    assert len({panel["series"] for panel in panels}) == 12
    assert [panel["series"] for panel in panels[:4]] == [item["series"] for item in found["by_series"]["worst"][:4]]
    errors = [panel["error"] for panel in panels]
    assert max(errors[8:]) <= errors[3]
    assert min(errors[8:]) >= max(errors[4:8])
    assert [item["level"] for item in found["coverage"]] == ["80", "95"]
    assert found["coverage"][0]["inside"] < found["coverage"][1]["inside"]
    one = panels[0]
    assert len(one["forecast"]["time"]) == HORIZON
    assert one["history"]["time"][-1] < one["forecast"]["time"][0]
    assert one["windows"][0]["time"][0] in one["history"]["time"]


def test_few_series_are_all_shown_also_without_history_and_forecast() -> None:
    inputs = replace(forecaster(4), history=None, forecast=None)
    panels = report_data(inputs)["forecast"]["panels"]
    assert [panel["series"] for panel in panels] == ["s00", "s01", "s02", "s03"]
    assert all(len(panel["history"]["time"]) == WINDOWS * HORIZON for panel in panels)


def test_one_series_without_ids_and_with_whole_numbers_as_times() -> None:
    table = pa.table(
        {"t": [10, 11, 12, 13], "row": [10, 11, 12, 13], "fold": [0, 0, 1, 1], "truth": [1.0, 2.0, 3.0, 4.0]}
    ).append_column("prediction", pa.array([1.0, 1.0, 3.0, 3.0]))
    inputs = forecaster(4)
    request = inputs.request | {"id_columns": [], "time_column": "t"}
    inputs = replace(inputs, validation=table, history=None, forecast=None, reproduce={"request": request})
    found = report_data(inputs)["forecast"]
    assert found["series"] == 1
    assert found["panels"][0]["windows"][1]["time"] == [12, 13]


def _everything() -> list[Any]:
    return [classifier("binary"), classifier("multiclass"), regressor(), forecaster(), failed()]


@pytest.mark.parametrize("inputs", _everything(), ids=["binary", "multiclass", "regression", "forecast", "failed"])
def test_the_document_is_json_and_the_run_s_metric_comes_first(inputs: Any) -> None:
    found = report_data(inputs)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    if found["metrics"]:
        first = found["metrics"][0]
        assert (first["name"], first["of_run"]) == (inputs.run["metric"], True)
        assert found["verdict"]["score"] == inputs.combination["score"]
    assert found["verdict"]["counts"]["failed"] == 1


def test_a_run_without_a_model_says_why() -> None:
    verdict = report_data(failed())["verdict"]
    assert verdict["score"] is None
    assert verdict["sentence"] == "There is no model. None of 2 trials succeeded."


def test_warnings_name_what_to_look_at() -> None:
    inputs = classifier("binary")
    table = inputs.validation
    assert table is not None
    few = np.array([i for i, t in enumerate(table.column("truth").to_pylist()) if t == "yes" or i % 30 == 0])
    run = inputs.run | {"data": inputs.run["data"] | {"warnings": ["From the data."]}}
    found = report_data(replace(inputs, run=run, validation=table.take(pa.array(few))))["warnings"]
    assert found[0] == "From the data."
    assert any("imbalanced: 'no'" in text for text in found)
    assert any("1 trial failed" in text for text in found)


def test_score_over_time_joins_what_changed() -> None:
    timeline = [
        {"elapsed_s": 3.0, "trial": 1, "model": "b", "score": 0.7, "best": 0.8},
        {"elapsed_s": 1.0, "trial": 0, "model": "a", "score": 0.8, "best": 0.8},
        {"elapsed_s": 4.0, "ensemble": 0.85},
    ]
    found = score_over_time(timeline, 10.0)
    assert found["best"] == [[1.0, 0.8]]
    assert [item["trial"] for item in found["trials"]] == [0, 1]
    assert (found["ensemble"], found["end_s"], found["budget_s"]) == ([[4.0, 0.85]], 4.0, 10.0)


def test_hopeless_trials_do_not_flatten_the_scale_of_the_others() -> None:
    board = [{"state": "done", "score": s, "fold_scores": [s - 0.01, s + 0.01]} for s in (0.9, 0.89, 0.88, 0.5, 0.1)]
    limits = fold_range(board)
    assert limits is not None
    assert limits[0] > 0.8
    assert fold_range([{"state": "failed", "score": None, "fold_scores": []}]) is None


_REQUESTS: list[dict[str, Any]] = [
    {
        "task": "forecasting",
        "target": "it's sales",
        "time_column": "day",
        "id_columns": ["shop", "item"],
        "horizon": 7,
        "season_length": [7],
        "frequency": "D",
        "known_future": ["price", "holiday"],
        "levels": [50, 90],
        "time_budget_s": 90,
        "search_space": {"AutoETS": {"season_length": [7]}},
        "validation": {"folds": 4},
        "resources": {"cpus": 2.0, "custom": {"fast": 1}},
        "data": {"uri": "s3://bucket/a b.parquet"},
        "seed": 5,
    },
    {
        "task": "classification",
        "target": "y",
        "features": ["a", "b c"],
        "weight_column": "w",
        "class_weight": "balanced",
        "max_predict_ms": 50,
        "ensemble": False,
        "stacking": True,
        "calibrate": False,
        "reuse": False,
        "validation": {"scheme": "holdout", "holdout_fraction": 0.3, "group_column": "who"},
        "max_trials": 20,
        "trial_timeout_s": 30,
        "custom_metric": {"path": "pack.mod.cost", "name": "cost", "greater_is_better": False, "needs_proba": True},
        "resources": {"memory_bytes": 2_000_000_000, "gpus": 1},
        "labels": {"team": "a=b"},
        "tenant": "acme",
        "name": "a name",
        "data": {"uri": "s3://b/x.csv"},
    },
]


@pytest.mark.parametrize("fields", _REQUESTS, ids=["series", "table"])
def test_the_command_line_says_the_same_as_the_request(fields: dict[str, Any]) -> None:
    request = RunRequest.model_validate(fields).model_dump(mode="json")
    line, missing = submit_command(request)
    assert missing == []
    words = shlex.split(line)
    assert words[:3] == ["rayctl", "automl", "submit"]
    done = CliRunner().invoke(cli, [*words[1:], "--dry-run", "-o", "json"])
    assert done.exit_code == 0, done.output
    again = RunRequest.model_validate(json.loads(done.stdout)).model_dump(mode="json")
    assert again == request


def test_every_field_of_a_request_is_an_option_or_named_as_missing() -> None:
    unknown = set(RunRequest.model_fields) - command._KNOWN
    assert unknown == {"runtime_env", "trainer_runtime_env"}, "`rayctl automl submit` has no option for these"


def test_what_the_command_line_cannot_say_is_named() -> None:
    own = {"name": "f", "pickled": "AAAA", "greater_is_better": True}
    request = {"task": "regression", "target": "y", "features": ["a,b"], "custom_metric": own, "runtime_env": {"x": 1}}
    line, missing = submit_command(request)
    assert missing == ["custom_metric", "features", "runtime_env"]
    assert line == "rayctl automl submit DATA --task regression --target y"


def test_the_shown_request_has_no_tables_and_no_pickles() -> None:
    request = {
        "target": "y",
        "data": {"columns": {"a": [1, 2, 3]}},
        "search_space": [{"model": "M", "pickled_class": "A" * 500, "params": {"columns": [1]}}],
    }
    assert brief(request) == {
        "target": "y",
        "data": {"columns": {"a": "<3 values>"}},
        "search_space": [{"model": "M", "pickled_class": "<500 characters>", "params": {"columns": [1]}}],
    }
    assert brief(None) is None
