"""The result of a run in figures and in one sentence. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.automl.baseline import BASELINE
from rayctl.automl.report.fmt import apart, metric_name, number, plural

__all__ = ["verdict"]


def verdict(document: Mapping[str, Any], combination: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a run; ``score`` is None if there is no model, whatever its trials reached.

    ``std`` is that of the delivered model over its folds, None where it is not known; ``best_trial`` the best single
    one, ``delivered_trial`` the number of the only one that the model consists of.
    """
    run, board = document["run"], document["leaderboard"]
    own = next((item for item in document["metrics"] if item["of_run"]), None)
    best = next((row for row in board if row["state"] == "done"), None)
    members, families = document["weights"]["trials"], document["weights"]["families"]
    score = combination.get("score")
    if score is None and run["state"] == "succeeded":
        score = run.get("best_score")
    alone = members[0]["trial"] if len(members) == 1 else best["trial"] if best and not members else None
    only = next((row for row in board if row["trial"] == alone), None)
    counted = [row for row in board if (row["error"] or {}).get("code") != BASELINE]
    found = {
        "score": score,
        "std": own["std"] if own and own["folds"] else only["std"] if only else None,
        "folds": len(own["folds"]) if own and own["folds"] else len(only["fold_scores"]) if only else 0,
        "members": len(members),
        "families": len(families),
        "family": families[0]["family"] if len(families) == 1 else None,
        "best_trial": best and {key: best[key] for key in ("trial", "family", "score", "std")},
        "delivered_trial": None if only is None else only["trial"],
        "baseline": bool((combination.get("settings") or {}).get(BASELINE)),
        "constant": own["constant"] if own else None,
        "counts": {state: sum(row["state"] == state for row in counted) for state in ("done", "failed", "skipped")},
        "reused": sum(row["reused"] for row in counted),
        "size_bytes": sum(row["size_bytes"] or 0 for row in board if row["weight"] > 0) or None,
        "fit_s": sum(item["fit_s"] for item in document["costs"]),
    }
    return found | {"sentence": _no_model(run, best) if score is None else _sentence(run, found, best, only)}


def _no_model(run: Mapping[str, Any], best: Mapping[str, Any] | None) -> str:
    why = (run.get("error") or {}).get("message")
    if not why:
        why = "The run was cancelled." if run["state"] == "cancelled" else run.get("reason")
    text = f"There is no model. {why}" if why else "There is no model: no trial came to an end."
    if best is None:
        return text
    score = f"{metric_name(run['metric'])} {number(best['score'])}"
    return f"{text} The best trial until then, #{best['trial']} {best['family']}, has {score}."


def _sentence(
    run: Mapping[str, Any],
    found: Mapping[str, Any],
    best: Mapping[str, Any] | None,
    only: Mapping[str, Any] | None,
) -> str:
    score, of_best = apart(found["score"], best["score"] if best else None)
    reached = f"{metric_name(run['metric'])} {score}"
    if found["std"] is not None and found["folds"] > 1:
        reached += f" ± {number(found['std'], 3)}"
    if found["folds"]:
        reached += f" over {plural(found['folds'], 'fold' if run['task'] != 'forecasting' else 'window')}"
    reached += f" ({'higher' if run['greater_is_better'] else 'lower'} is better)"
    if found["baseline"]:
        return f"No model was ready in time. The answer is the best guess without one; it has {reached}."
    if found["members"] > 1:
        who = f"An ensemble of {plural(found['members'], 'trial')}"
        one_kind = f" of {found['family']}"
        who += f" ({plural(found['families'], 'kind')} of model)" if found["families"] > 1 else one_kind
    else:
        who = f"Trial #{only['trial']} {only['family']}" if only else "The model"
    single = ""
    if best and (only is None or only["trial"] != best["trial"]):
        single = f" The best single trial, #{best['trial']} {best['family']}, has {of_best}."
    return f"{who} reaches {reached}.{single}"
