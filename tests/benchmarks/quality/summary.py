"""From outcomes to the figures that the targets speak of; a plain document, which the report then lays out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .evaluate import Outcome
from .layout import SERIES, TABLES
from .peers import FRAMEWORKS, OURS
from .ranking import duel, interval, mean_ranks, ranks, regret

__all__ = ["summarise"]

REFERENCE = "lightgbm"
NAIVE, ETS = "seasonal_naive", "auto_ets"

Losses = dict[str, dict[str, float]]


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return all figures for tables and series."""
    found: dict[str, Any] = {}
    for kind in (TABLES, SERIES):
        of_kind = [outcome for outcome in outcomes if outcome.problem.kind == kind]
        if of_kind:
            found[kind] = _kind(of_kind)
            if kind == SERIES:
                found[kind]["counts"] = _series_counts(of_kind)
    return found


def _kind(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    present = [name for name in FRAMEWORKS if any(outcome.framework == name for outcome in outcomes)]
    as_run = _losses(outcomes, lambda outcome: outcome.loss)
    at_deadline = _losses(outcomes, lambda outcome: outcome.deadline_loss)
    # A mean rank among all is only defined where all took part.
    whole = [key for key, row in as_run.items() if len(row) == len(present)]
    metrics = {outcome.problem.key: outcome.problem.metric for outcome in outcomes}
    tasks = {outcome.problem.key: outcome.problem.task for outcome in outcomes}
    return {
        "frameworks": present,
        "task_splits": len(as_run),
        "whole_task_splits": len(whole),
        "scores": _scores(outcomes),
        "ranks": {
            "as_run": _ranks(as_run, whole, tasks),
            "at_deadline": _ranks(at_deadline, whole, tasks),
        },
        "duels": {
            "as_run": _duels(as_run, present, metrics, tasks),
            "at_deadline": _duels(at_deadline, present, metrics, tasks),
        },
        "regret": _regrets(as_run),
        "cost": {name: _cost([o for o in outcomes if o.framework == name]) for name in present},
    }


def _losses(outcomes: Sequence[Outcome], value: Callable[[Outcome], float]) -> Losses:
    found: Losses = {}
    for outcome in outcomes:
        found.setdefault(outcome.problem.key, {})[outcome.framework] = value(outcome)
    return found


def _scores(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        problem = outcome.problem
        row = rows.setdefault(
            problem.key, {"task": problem.task, "split": problem.split, "metric": problem.metric, "results": {}}
        )
        row["results"][outcome.framework] = {
            "score": outcome.score, "loss": outcome.loss, "smape": outcome.smape, "failure": outcome.failure,
            "is_late": outcome.is_late, "fit_s": outcome.line["fit_s"], "disturbed": outcome.line["disturbed"],
        }  # fmt: skip
    return list(rows.values())


def _ranks(losses: Losses, whole: Sequence[str], tasks: dict[str, str]) -> dict[str, Any]:
    rows = [losses[key] for key in whole]
    found = {}
    for name, mean in mean_ranks(rows).items():
        low, high = interval([ranks(row)[name] for row in rows], [tasks[key] for key in whole])
        firsts = sum(ranks(row)[name] == 1 for row in rows)
        found[name] = {"mean": mean, "low": low, "high": high, "firsts": firsts}
    return dict(sorted(found.items(), key=lambda item: item[1]["mean"]))


def _duels(losses: Losses, present: Sequence[str], metrics: dict[str, str], tasks: dict[str, str]) -> dict[str, Any]:
    found = {}
    for peer in present:
        keys = [key for key, row in losses.items() if OURS in row and peer in row]
        if peer != OURS and keys:
            ours, theirs = ([losses[key][name] for key in keys] for name in (OURS, peer))
            found[peer] = vars(duel(ours, theirs, [metrics[k] for k in keys], [tasks[k] for k in keys]))
    return found


def _regrets(losses: Losses) -> dict[str, dict[str, float | None]]:
    """Return for each task-split the regret on the scale of the reference, and as a share of the best peer's loss."""
    found: dict[str, dict[str, float | None]] = {}
    for key, row in losses.items():
        peers = [loss for name, loss in row.items() if name != OURS]
        if OURS in row and REFERENCE in row and len(peers) > 1:
            relative = row[OURS] / min(peers) - 1 if min(peers) else 0.0
            found[key] = {"scaled": regret(row, OURS, REFERENCE), "relative": relative}
    return found


def _cost(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Time and memory over all runs of one framework that ended well; seconds and bytes."""
    lines = [outcome.line for outcome in outcomes if not outcome.failure and "cpu_s" in outcome.line]
    found: dict[str, Any] = {
        "runs": len(outcomes),
        "failures": sum(bool(outcome.failure) for outcome in outcomes),
        "late": sum(outcome.is_late for outcome in outcomes),
        "disturbed": sum(bool(outcome.line["disturbed"]) for outcome in outcomes),
    }
    if not lines:
        return found
    fit = np.array([line["fit_s"] for line in lines])
    found |= {
        "fit_s_median": float(np.median(fit)),
        "fit_s_max": float(fit.max()),
        "predict_s_median": float(np.median([line["predict_s"] for line in lines])),
        "predict_s_max": float(max(line["predict_s"] for line in lines)),
        "cpu_s_mean": float(np.mean([line["cpu_s"] for line in lines])),
        "core_use": float(np.mean([line["cpu_s"] / (line["cores"] * line["wall_s"]) for line in lines])),
        "peak_rss_max": int(max(line["peak_rss"] for line in lines)),
        "peak_private_max": int(max(line["peak_private"] for line in lines)),
        "above_idle_rss_max": int(max(line["peak_rss"] - line["idle_rss"] for line in lines)),
        "above_idle_private_max": int(max(line["peak_private"] - line["idle_private"] for line in lines)),
    }
    budgets = np.array([line["budget_s"] for line in lines])
    if budgets.all():
        over = fit - budgets
        found |= {
            "overshoot_s_median": float(np.median(over)),
            "overshoot_s_p95": float(np.percentile(over, 95)),
            "overshoot_s_max": float(over.max()),
        }
    return found


def _series_counts(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """How many collections rayctl beats: seasonal naive, AutoETS, and the single model that is best in hindsight."""
    found = {"collections": 0, "beats_naive": 0, "beats_ets": 0, "beats_best_single": 0, "within_2_percent_of_best": 0}
    for row in _losses(outcomes, lambda outcome: outcome.loss).values():
        # The median of three is a combination, so it is not among the single models.
        singles = [loss for name, loss in row.items() if name not in (OURS, "median_of_three")]
        if OURS not in row or not singles:
            continue
        ours = row[OURS]
        found["collections"] += 1
        found["beats_naive"] += ours < row.get(NAIVE, -np.inf)
        found["beats_ets"] += ours < row.get(ETS, -np.inf)
        found["beats_best_single"] += ours < min(singles)
        found["within_2_percent_of_best"] += ours <= 1.02 * min(singles)
    return {name: int(count) for name, count in found.items()}
