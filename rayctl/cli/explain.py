"""Why a run or a trial ended as it did. Pure: documents in, documents out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rayctl.cli.board import why_not_the_best
from rayctl.cli.output import duration_text, number
from rayctl.client.figures import size_text

__all__ = ["explain_run", "explain_trial"]

Document = dict[str, Any]
Row = Mapping[str, Any]

# Code of a trial: what it means, and what can be done about it (empty: nothing needs to be done).
_CODES: dict[str, tuple[str, str]] = {
    "abandoned": ("given up: its first folds were clearly worse than the best trials", ""),
    "too-slow": ("not begun: it would not have ended in the time that was left", "Extend the run."),
    "too-large": ("not begun: it would not fit into a task's memory", "Ask for more with --memory."),
    "incomplete": ("some of its folds ended in time, not all", "Extend the run."),
    "baseline": ("predicts without a model: no trial had ended in time", "Extend the run."),
    "deadline": ("not ended when the time was up", "Extend the run."),
    "finished-early": ("not ended when somebody ended the run with `finish`", "Extend the run."),
    "cancelled": ("not ended when the run was cancelled", ""),
    "not-replayed": ("left out: it did not end in the run that is repeated", ""),
    "model-error": ("the model raised an error", "Change its parameters, or leave it out of the search space."),
    "trial-timeout": ("a fold took longer than a trial may take", "Raise --trial-timeout."),
    "out-of-memory": (
        "a task was killed because memory ran out",
        "Ask for more with --memory, or fewer --max-parallel.",
    ),
    "invalid-score": ("the metric gave no finite number", "Look at the metric and at the folds' targets."),
    "invalid-prediction": ("the model predicted something that cannot be scored", "Look at the model's predict."),
    "worker-died": ("its worker processes died", "See the logs of the cluster; it may need more --memory."),
    "unknown-model": ("there is no such model", "Correct the name in the search space."),
    "unknown-parameter": ("the model has no such parameter", "Correct the name in the search space."),
    "environment-error": ("its runtime environment could not be built", "Check runtime_env."),
}
_STATES = ("done", "failed", "skipped")


def explain_run(view: Row, rows: Sequence[Row]) -> Document:
    """Return ``summary``, ``because`` (texts), ``outcomes`` (trials by state and code) and ``you_can`` (commands)."""
    state, outcomes = str(view["state"]), _outcomes(rows)
    took = f" after {duration_text(view['elapsed_s'])}" if view.get("elapsed_s") else ""
    return {
        "run": view["id"],
        "state": state,
        "reason": view.get("reason"),
        "summary": f"run {view['id']} {'is ' if state in ('queued', 'running') else ''}{state}{took}",
        "because": _because(view, rows),
        "outcomes": outcomes,
        "you_can": _run_advice(view, outcomes),
    }


def _outcomes(rows: Sequence[Row]) -> list[Document]:
    groups: dict[tuple[str, str | None], list[Row]] = {}
    for row in rows:
        groups.setdefault((str(row["state"]), (row.get("error") or {}).get("code")), []).append(row)
    found = []
    for (state, code), members in sorted(groups.items(), key=lambda item: (_STATES.index(item[0][0]), -len(item[1]))):
        first = members[0]
        message = (first.get("error") or {}).get("message")
        found.append(
            {
                "state": state,
                "code": code,
                "count": len(members),
                "meaning": _CODES.get(code or "", ("ended with a score" if state == "done" else state, ""))[0],
                "trials": sorted(row["trial"] for row in members),
                "example": {"trial": first["trial"], "model": first["model"], "message": message} if message else None,
            }
        )
    return found


def _because(view: Row, rows: Sequence[Row]) -> list[str]:
    state, reason = view["state"], view.get("reason")
    error = view.get("error") or {}
    texts = []
    if state == "queued":
        place = view.get("queue_position")
        texts.append("other runs are running" + (f"; it is number {place} in the queue" if place is not None else ""))
    elif state == "running":
        texts.append(_budget_left(view))
    elif state == "cancelled":
        texts.append("somebody cancelled it")
    elif state == "failed":
        texts.append(str(error.get("message") or reason or "no reason was given"))
        if error.get("hint"):
            texts.append(str(error["hint"]))
    else:
        texts += [_why_enough(view, rows), *(view.get("warnings") or [_what_is_delivered(view)])]
    if view.get("continues"):
        reused = sum(bool(row.get("reused")) for row in rows)
        texts.append(f"it continues run {view['continues']} ({reused} of its trials were taken over)")
    if view.get("replay_of"):
        texts.append(f"it repeats run {view['replay_of']}")
    return [text for text in texts if text]


def _budget_left(view: Row) -> str:
    parts = []
    if view.get("time_budget_s"):
        left_s = max(0.0, view["time_budget_s"] - (view.get("elapsed_s") or 0.0))
        parts.append(f"{duration_text(left_s)} of its time budget are left")
    if view.get("max_trials"):
        counts = view.get("trials") or {}
        ended = sum(counts.get(kind) or 0 for kind in _STATES)
        parts.append(f"{ended} of {view['max_trials']} trials have ended")
    return "; ".join(parts) or "not all of its trials have ended"


def _why_enough(view: Row, rows: Sequence[Row]) -> str:
    budget_s, elapsed_s = view.get("time_budget_s"), view.get("elapsed_s") or 0.0
    if view.get("reason") == "deadline":
        if budget_s and elapsed_s >= 0.9 * budget_s:
            return f"its time budget of {duration_text(budget_s)} was used up"
        return "what was left of its time budget was too short for more"
    if view.get("reason") == "finished-early":
        return "somebody ended its search with `finish`" + (
            f", after {duration_text(elapsed_s)} of {duration_text(budget_s)}" if budget_s else ""
        )
    if view.get("reason") == "completed":
        most = view.get("max_trials")
        return f"all of its {most or len(rows)} trials have ended"
    return str(view.get("reason") or "")


def _what_is_delivered(view: Row) -> str:
    members = [weight for weight in (view.get("ensemble") or {}).values() if weight > 0]
    metric = view.get("metric")
    single = f"{view.get('best_model')}, {metric} {number(view.get('best_score'))}"
    if len(members) > 1:
        score = number(view.get("ensemble_score"))
        text = f"the model is an ensemble of {len(members)} trials, {metric} {score} (the best single trial: {single})"
        return f"{text}; {why}" if (why := why_not_the_best(view)) else text
    return f"the model is the best trial: {single}" if view.get("best_model") else ""


def _run_advice(view: Row, outcomes: Sequence[Row]) -> list[Document]:
    run, state = view["id"], view["state"]
    code = (view.get("error") or {}).get("code")
    advice = []
    if state == "running":
        advice += [(f"watch {run}", "follow it"), (f"finish {run}", "end it now and take the best so far")]
    elif state == "queued":
        advice += [("list --state running", "see what it waits for"), (f"cancel {run}", "give up its place")]
    elif state == "succeeded":
        if view.get("reason") in ("deadline", "finished-early"):
            advice.append((f"extend {run} --time-budget 2m", "go on where it stopped"))
        advice.append((f"report {run} --open", "look at the result"))
    elif code in ("no-trial-finished", None) or state == "cancelled":
        advice.append((f"extend {run} --time-budget 2m", "go on with more time"))
    for item in outcomes:
        if item["state"] == "failed":
            advice.append((f"why {run} {item['trials'][0]}", f"see how a trial failed ({item['code']})"))
    return [{"command": f"rayctl automl {command}", "effect": effect} for command, effect in advice]


def explain_trial(view: Row, row: Row, rows: Sequence[Row]) -> Document:
    """Return ``summary``, ``because`` and ``you_can`` for one trial of a run."""
    error = row.get("error") or {}
    code = error.get("code")
    meaning, todo = _CODES.get(code or "", ("", ""))
    texts = [meaning, str(error.get("message") or "")] if row["state"] != "done" else _standing(view, row, rows)
    texts += _circumstances(row)
    if todo and row["state"] != "done":
        texts.append(todo)
    params = " ".join(f"{key}={value}" for key, value in (row.get("params") or {}).items())
    advice = []
    if code in ("deadline", "finished-early", "too-slow"):
        command = f"rayctl automl extend {view['id']} --time-budget 2m"
        advice.append({"command": command, "effect": "give it another chance"})
    return {
        "run": view["id"],
        "trial": row["trial"],
        "state": row["state"],
        "code": code,
        "summary": f"trial {row['trial']} of run {view['id']}: {row['model']} {params}".rstrip() + f" {row['state']}",
        "because": [text for text in texts if text],
        "you_can": advice,
    }


def _standing(view: Row, row: Row, rows: Sequence[Row]) -> list[str]:
    done = sum(other["state"] == "done" for other in rows)
    spread = "" if row.get("std") is None else f" ± {number(row['std'], 2)}"
    score = f"{view.get('metric')} {number(row.get('score'))}{spread}"
    texts = [f"it ended with {score}, place {row.get('rank')} of {done}"]
    weight = row.get("weight")
    if weight:
        texts.append(f"it has a share of {100 * weight:.1f}% in the delivered model")
    elif weight is not None:
        texts.append("it is not in the delivered model: the others were not better with it")
    return texts


def _circumstances(row: Row) -> list[str]:
    texts = []
    if row.get("fold_scores"):
        texts.append("scores of its folds: " + " ".join(number(score) for score in row["fold_scores"]))
    if row.get("reused"):
        texts.append("it was taken from an earlier run on the same data")
    stopped = row.get("stopped_at") or {}
    if stopped:
        rounds = ", ".join(f"fold {fold} after {at} rounds" for fold, at in stopped.items())
        texts.append(f"time ended its fit early: {rounds}")
    measured = [
        f"fitting took {duration_text(row['fit_s'])} per fold" if row.get("fit_s") is not None else "",
        f"its models have {size_text(row['size_bytes'])}" if row.get("size_bytes") else "",
    ]
    return [*texts, "; ".join(text for text in measured if text)]
