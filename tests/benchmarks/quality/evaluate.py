"""From result lines to outcomes: which line counts, its score, and what existed at the deadline."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from .layout import SERIES, Layout, Problem, read_lines
from .scoring import BadPredictions, constant, last_value, loss_of, score_table, series_errors

__all__ = ["Outcome", "evaluate", "kept"]

LATE = 1.02


@dataclass(frozen=True)
class Outcome:
    """One framework on one task-split.

    ``score`` is in the metric's own direction, ``loss`` lower is better; both of the constant predictor where the run
    failed, with ``failure`` saying why. ``deadline_loss``: of what existed at the budget plus 2 %. ``smape``: percent,
    for series. ``line``: the measurements.
    """

    framework: str
    problem: Problem
    score: float
    loss: float
    deadline_loss: float
    failure: str
    is_late: bool
    smape: float | None
    line: Mapping[str, Any]


def evaluate(layout: Layout, keys: Iterable[str], budget_s: float) -> list[Outcome]:
    """Score all runs of these task-splits at this budget (and those of frameworks that know no budget)."""
    wanted = set(keys)
    chosen: dict[tuple[str, str], dict[str, Any]] = {}
    for line in read_lines(layout.results):
        key = f"{line['task']}-s{line['split']}"
        if key not in wanted or line["budget_s"] not in (0.0, budget_s):
            continue
        before = chosen.get((key, line["framework"]))
        if before is None or _counts_more(line, before):
            chosen[key, line["framework"]] = line
    found = []
    for key in sorted({key for key, _ in chosen}):
        judge = Judge(layout, key)
        found += [judge.outcome(line, budget_s) for (of, _), line in chosen.items() if of == key]
    return [outcome for outcome in found if outcome is not None]


def kept(layout: Layout, report: Mapping[str, Any], keys: Iterable[str], measured: Iterable[Outcome]) -> list[Outcome]:
    """Return the outcomes that an earlier report has of other frameworks on the same data (by its digests).

    Of their measurements it has what the tables of scores need; times and memory stay as that report summed them up.
    """
    new = {(outcome.framework, outcome.problem.key) for outcome in measured}
    rows = [row for kind in ("tables", "series") for row in report.get(kind, {}).get("scores", ())]
    found = []
    for row in rows:
        key = f"{row['task']}-s{row['split']}"
        if key not in set(keys):
            continue
        judge = Judge(layout, key)
        if report["data_sha256"].get(key) == judge.problem.sha256:
            of_others = {name: result for name, result in row["results"].items() if (name, key) not in new}
            found += [judge.repeated(name, result) for name, result in of_others.items()]
    return found


def _counts_more(line: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """A newer session replaces an older one; within a session the least disturbed repeat counts, never the best."""
    if line["session"] != before["session"]:
        return bool(line["session"] > before["session"])
    return bool(line["others_cores"] < before["others_cores"])


class Judge:
    """Scores predictions for one task-split."""

    def __init__(self, layout: Layout, key: str) -> None:
        folder = layout.data(key)
        self._layout = layout
        self._problem = Problem.from_dict(json.loads((folder / "problem.json").read_text(encoding="utf-8")))
        self._train = pd.read_parquet(folder / "train.parquet")
        self._truth = pd.read_parquet(layout.truth(key))
        self._nothing = self._score(self._without_model())

    @property
    def problem(self) -> Problem:
        """What is judged."""
        return self._problem

    def repeated(self, framework: str, result: Mapping[str, Any]) -> Outcome:
        """Return an outcome from an earlier report's row of scores."""
        loss = self._nothing[0] if result["is_late"] else result["score"]
        at_deadline = loss_of(self._problem.metric, loss)
        known = {name: result[name] for name in ("score", "loss", "failure", "is_late", "smape")}
        line = {"fit_s": result["fit_s"], "disturbed": result["disturbed"]}
        return Outcome(framework=framework, problem=self._problem, deadline_loss=at_deadline, line=line, **known)

    def outcome(self, line: Mapping[str, Any], budget_s: float) -> Outcome | None:
        """Score one run; None if it was made on other data than those that are there now."""
        problem = self._problem
        if line["data_sha256"] != problem.sha256:
            return None
        failure = "" if line["state"] == "ok" else f"{line['state']}: {line['reason']}"
        (score, smape) = self._nothing
        if not failure:
            try:
                score, smape = self._score(pd.read_parquet(self._layout.root / line["predictions"]))
            except (BadPredictions, OSError, KeyError) as error:
                failure = f"not usable: {error}"
        loss = loss_of(problem.metric, score)
        is_late = not failure and line["fit_s"] > LATE * budget_s
        at_deadline = loss_of(problem.metric, self._nothing[0]) if is_late else loss
        return Outcome(line["framework"], problem, score, loss, at_deadline, failure, is_late, smape, line)

    def _without_model(self) -> pd.DataFrame:
        problem = self._problem
        if problem.kind == SERIES:
            return last_value(self._train, self._truth)
        return constant(problem.problem, self._train[problem.target], len(self._truth), problem.classes)

    def _score(self, predicted: pd.DataFrame) -> tuple[float, float | None]:
        problem = self._problem
        if problem.kind == SERIES:
            errors = series_errors(self._train, self._truth, predicted, problem.season)
            return float(errors[problem.metric].mean()), float(errors["smape"].mean())
        return score_table(problem.metric, self._truth[problem.target], predicted, problem.classes), None
