"""The report's own numpy metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from rayctl.automl.report.fmt import short_each
from rayctl.automl.report.scores import (
    class_scores,
    confusion,
    constant_scores,
    label_scores,
    pr_points,
    roc_points,
)


def _sample(k: int, seed: int = 0, rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(k, rows, p=np.arange(1, k + 1) / (k * (k + 1) / 2))
    proba = rng.dirichlet(np.ones(k), rows) + 0.8 * np.eye(k)[truth] * rng.random((rows, 1))
    proba = np.round(proba / proba.sum(axis=1, keepdims=True), 2)  # ties
    return truth, proba / proba.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_metrics_of_classifiers_equal_those_of_scikit_learn(k: int) -> None:
    truth, proba = _sample(k)
    decided = proba.argmax(axis=1)
    found = class_scores(truth, proba, decided, k)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, decided))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, decided))
    assert found["f1_macro"] == pytest.approx(sk.f1_score(truth, decided, average="macro"))
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(truth, decided))
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, proba))
    if k == 2:
        assert found["f1"] == pytest.approx(sk.f1_score(truth, decided))
        assert found["precision"] == pytest.approx(sk.precision_score(truth, decided))
        assert found["recall"] == pytest.approx(sk.recall_score(truth, decided))
        assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(truth, proba[:, 1]))
        assert found["brier"] == pytest.approx(sk.brier_score_loss(truth, proba[:, 1]))
        assert found["average_precision"] == pytest.approx(sk.average_precision_score(truth, proba[:, 1]))
    else:
        assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(truth, proba, multi_class="ovr", average="macro"))
        each = [sk.average_precision_score(truth == c, proba[:, c]) for c in range(k)]
        assert found["average_precision"] == pytest.approx(np.mean(each))


def test_confusion_has_true_classes_in_rows() -> None:
    truth, decided = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 2, 2])
    assert confusion(truth, decided, 3).tolist() == sk.confusion_matrix(truth, decided).tolist()


def test_a_constant_answer_has_no_precision_and_no_correlation() -> None:
    found = label_scores(np.array([[90, 0], [10, 0]]))
    assert found["mcc"] == 0.0
    assert found["recall"] == 0.0
    assert np.isnan(found["precision"])
    assert found["balanced_accuracy"] == 0.5


def test_a_class_that_never_occurs_does_not_count() -> None:
    truth, decided = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    found = label_scores(confusion(truth, decided, 3))
    assert found["f1_macro"] == pytest.approx(sk.f1_score(truth, decided, average="macro"))
    assert found["balanced_accuracy"] == pytest.approx(0.75)


def test_curves_equal_those_of_scikit_learn() -> None:
    truth, proba = _sample(2, seed=4)
    fpr, tpr, _ = roc_points(truth == 1, proba[:, 1])
    expected_fpr, expected_tpr, _ = sk.roc_curve(truth, proba[:, 1], drop_intermediate=False)
    np.testing.assert_allclose(fpr, expected_fpr)
    np.testing.assert_allclose(tpr, expected_tpr)
    recall, precision, thresholds = pr_points(truth == 1, proba[:, 1])
    expected_precision, expected_recall, expected_thresholds = sk.precision_recall_curve(truth, proba[:, 1])
    np.testing.assert_allclose(recall, expected_recall[:-1][::-1])
    np.testing.assert_allclose(precision, expected_precision[:-1][::-1])
    np.testing.assert_allclose(thresholds, expected_thresholds[::-1])


def test_names_that_stand_beside_each_other_stay_different() -> None:
    names = [f"class number {place} with a long name" for place in range(12)]
    assert short_each(names, 14)[:2] == ["…number 0…", "…number 1…"]
    assert len(set(short_each(names, 14))) == 12
    assert short_each(["yes", "no"], 14) == ["yes", "no"]
    assert short_each(["a" * 30, "a" * 31, "a" * 30], 14) == ["…" + "a" * 11, "…" + "a" * 12, "…" + "a" * 11]


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("missing", [False, True], ids=["all-there", "one-missing"])
@pytest.mark.parametrize("also", ["", "brier", "cohen_kappa"])
def test_the_scores_of_a_constant_answer_need_no_answer_per_row(k: int, missing: bool, also: str) -> None:
    truth, _ = _sample(k)
    truth = np.where(truth == k - 1, 0, truth) if missing else truth
    share = np.bincount(truth, minlength=k) / len(truth)
    decided = np.full(len(truth), share.argmax())
    for proba in (True, False):
        expected = class_scores(truth, np.tile(share, (len(truth), 1)) if proba else None, decided, k, also)
        found = constant_scores(truth, k, proba=proba, also=also)
        assert list(found) == list(expected)
        assert found == pytest.approx(expected, nan_ok=True)
