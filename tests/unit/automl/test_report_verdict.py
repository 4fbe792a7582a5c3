"""What a report says of a run as a whole: no more than was observed, and why something is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rayctl.automl.engine import Fold
from rayctl.automl.model import RunRequest, TaskType
from rayctl.automl.report import ReportInputs
from rayctl.automl.report.data import report_data
from rayctl.automl.report.page import render
from tests.unit.automl.report_samples import classifier, forecaster, regressor


def _page(inputs: ReportInputs) -> str:
    return render(report_data(inputs), [])


def _without_model(**fields: Any) -> ReportInputs:
    """A run whose trials have scores, but which delivered nothing."""
    made = classifier("binary")
    rows = [row | {"weight": None} for row in made.rows]
    run = made.run | {"best_score": 0.99, "best_trial": 0, "best_model": "logistic"} | fields
    return replace(made, run=run, rows=rows, combination={}, validation=None, importance=None)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"state": "cancelled", "reason": "cancelled"}, "The run was cancelled."),
        ({"state": "failed", "error": {"code": "final-fit-failed", "message": "No fit.", "hint": "More."}}, "No fit."),
    ],
)
def test_good_trials_are_not_a_model(fields: dict[str, Any], why: str) -> None:
    inputs = _without_model(**fields)
    verdict = report_data(inputs)["verdict"]
    assert verdict["score"] is None
    assert verdict["sentence"].startswith(f"There is no model. {why} The best trial until then, #")
    page = _page(inputs)
    assert 'class="failure"' in page
    assert 'class="tile score"' not in page
    assert "rayctl automl why run-1" in page
    assert ("More." in page) == ("error" in fields)


def test_a_model_of_one_trial_is_that_trial_also_if_another_one_scored_better() -> None:
    made = classifier("binary")
    best, other = made.rows[0]["trial"], made.rows[2]
    rows = [row | {"weight": float(row["trial"] == other["trial"])} for row in made.rows]
    combination = {"weights": {str(other["trial"]): 1.0}, "score": other["score"]}
    verdict = report_data(replace(made, rows=rows, combination=combination))["verdict"]
    assert verdict["delivered_trial"] == other["trial"] != best
    assert verdict["sentence"].startswith(
        f"Trial #{other['trial']} {other['model'].rsplit('.', 1)[-1]} reaches ROC AUC"
    )
    assert f"The best single trial, #{best} " in verdict["sentence"]


def test_the_baseline_is_no_trial_and_no_model() -> None:
    made = classifier("binary")
    row = made.rows[0] | {"trial": 0, "weight": 1.0, "error": {"code": "baseline", "message": "No model was ready."}}
    combination = {"weights": {"0": 1.0}, "score": 0.5, "settings": {"baseline": True}}
    inputs = replace(made, rows=[row], combination=combination)
    verdict = report_data(inputs)["verdict"]
    assert verdict["counts"] == {"done": 0, "failed": 0, "skipped": 0}
    assert verdict["sentence"].startswith(
        "No model was ready in time. The answer is the best guess without one; it has"
    )
    assert "Best single trial" not in _page(inputs)


def test_of_a_metric_of_one_s_own_only_the_score_is_known_whatever_its_name() -> None:
    made = regressor()
    run = made.run | {"metric": "rmse", "greater_is_better": True}
    reproduce = made.reproduce | {"request": made.request | {"custom_metric": {"name": "rmse", "path": "m.f"}}}
    combination = made.combination | {"score": 7.5}
    found = report_data(replace(made, run=run, reproduce=reproduce, combination=combination))
    first, *others = found["metrics"]
    assert (first["name"], first["value"], first["of_run"], first["greater_is_better"]) == ("rmse", 7.5, True, True)
    assert not any(item["of_run"] for item in others)
    assert found["verdict"]["std"] is None, "that of the best trial is not that of the ensemble"
    assert " ± " not in found["verdict"]["sentence"]
    assert "(higher is better)" in found["verdict"]["sentence"]


def test_scores_that_differ_look_different() -> None:
    made = classifier("binary")
    combination = made.combination | {"score": made.rows[0]["score"] - 1e-7}
    inputs = replace(made, combination=combination)
    sentence = report_data(inputs)["verdict"]["sentence"]
    ensemble, single = sentence.split(" ROC AUC ")[1].split(" ")[0], sentence.rsplit(" ", 1)[1].rstrip(".")
    assert ensemble != single
    assert _page(inputs).count(f"<b>{ensemble}</b>") == _page(inputs).count(f"<b>{single}</b>") == 1


def test_what_was_taken_from_earlier_runs_cost_this_one_nothing() -> None:
    made = regressor()
    first, *others = made.rows
    inputs = replace(made, rows=[first | {"reused": True, "fit_s": 1000.0}, *others])
    found = report_data(inputs)
    assert found["verdict"]["reused"] == 1
    assert found["verdict"]["fit_s"] < 1000
    assert "1 from earlier runs" in _page(inputs)
    per_fold = sum(row["fit_s"] * len(row["fold_scores"]) for row in others if row["state"] == "done")
    assert found["verdict"]["fit_s"] == pytest.approx(per_fold)
    assert report_data(replace(inputs, parts=4))["verdict"]["fit_s"] == pytest.approx(4 * per_fold)


def test_a_member_that_has_only_some_folds_is_warned_of() -> None:
    made = classifier("binary")
    error = {"code": "incomplete", "message": "Only 1 of 3 folds ended in time; its score is their mean."}
    inputs = replace(made, rows=[made.rows[0] | {"error": error}, *made.rows[1:]])
    assert f"Trial #{made.rows[0]['trial']}: {error['message']}" in report_data(inputs)["warnings"]


def test_few_values_outside_their_intervals_may_be_chance() -> None:
    made = forecaster(15)
    assert made.validation is not None
    wide = made.validation
    for side, sign in (("lower_80", -1), ("upper_80", 1)):
        far = [sign * 1e9] * wide.num_rows
        wide = wide.set_column(wide.column_names.index(side), side, pa.array(far))
    told = [text for text in report_data(replace(made, validation=wide))["warnings"] if "80 % intervals" in text]
    assert len(told) == 1
    few = replace(made, validation=wide.slice(0, 3))
    found = report_data(few)
    assert [item["rows"] for item in found["forecast"]["coverage"]] == [3, 3]
    assert not any("80 % intervals" in text for text in found["warnings"])


def test_the_page_says_what_became_of_the_trials_and_what_could_not_be_measured() -> None:
    made = classifier("binary")
    given_up = {"code": "abandoned", "message": "Given up: 0.5 on the first fold."}
    skipped = [{"trial": 50 + n, "model": "mlp", "params": {}, "state": "skipped", "error": given_up} for n in range(3)]
    inputs = replace(made, rows=[*made.rows, *skipped], importance=None, importance_error="ValueError: odd column")
    page = _page(inputs)
    assert "given up: its first folds were clearly worse than the best trials" in page
    assert "#50: Given up: 0.5 on the first fold." in page
    assert "The importance of the columns was not measured: ValueError: odd column." in page
    assert "could not be measured" in _page(replace(made, importance=[made.importance[0]] if made.importance else None))
    assert "expect slightly worse on new ones" in page
    request = page[page.index("<summary>Request</summary>") :]
    assert request.split("<pre>")[1].startswith("{\n  &#34;metric&#34;: &#34;roc_auc&#34;,\n")


def test_warnings_beyond_the_first_are_behind_a_click() -> None:
    made = regressor()
    run = made.run | {"warnings": [f"Warning {n}." for n in range(30)]}
    page = _page(replace(made, run=run))
    assert page.count("<li>") == 31
    assert "23 more warnings</summary>" in page


def test_whatever_a_caller_s_metric_raises_there_is_a_report() -> None:
    from rayctl.automl.reporting import _importance

    class Broken:
        def importance(self, *args: Any, **options: Any) -> None:
            raise ZeroDivisionError("no rows")

    request = RunRequest(task=TaskType.REGRESSION, target="y")
    assert _importance(Broken(), request, None, [], b"") == (None, "ZeroDivisionError: no rows")  # type: ignore[arg-type]


@pytest.mark.parametrize(("windows", "parts"), [(1, 1), (3, 1), (3, 4)])
def test_into_how_many_tasks_a_window_is_cut(windows: int, parts: int) -> None:
    from rayctl.automl.reporting import _parts

    nothing = np.zeros(0, np.int32)
    folds = [
        Fold(n, nothing, nothing, group=group, scored=True)
        for n, group in enumerate(group for group in range(windows) for _ in range(parts))
    ]
    folds.append(Fold(len(folds), nothing, nothing, group=windows, scored=False))
    assert _parts(folds) == parts
