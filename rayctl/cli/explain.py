"""Why a run or a trial ended as it did. Pure: documents in, documents out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rayctl.automl.outcomes import meaning_of, outcomes, remedy_of
from rayctl.cli.board import two_scores, why_not_the_best
from rayctl.cli.output import duration_text, number
from rayctl.client.figures import size_text

__all__ = ["explain_run", "explain_trial"]

Document = dict[str, Any]
Row = Mapping[str, Any]

_STATES = ("done", "failed", "skipped")


def explain_run(view: Row, rows: Sequence[Row]) -> Document:
    """Return ``summary``, ``because`` (texts), ``outcomes`` (trials by state and code) and ``you_can`` (commands)."""
    state, found = str(view["state"]), outcomes(rows)
    took = f" after {duration_text(view['elapsed_s'])}" if view.get("elapsed_s") else ""
    return {
        "run": view["id"],
        "state": state,
        "reason": view.get("reason"),
        "summary": f"run {view['id']} {'is ' if state in ('queued', 'running') else ''}{state}{took}",
        "because": _because(view, rows),
        "outcomes": found,
        "you_can": _run_advice(view, found),
    }


def _because(view: Row, rows: Sequence[Row]) -> list[str]:
    state, reason = view["state"], view.get("reason")
    error = view.get("error") or {}
    texts = []
    if state == "queued":
        place = view.get("queue_position")
        texts.append("it waits for its turn" + (f"; it is number {place} in the queue" if place is not None else ""))
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
    members = [int(trial) for trial, weight in (view.get("ensemble") or {}).items() if weight > 0]
    metric = view.get("metric")
    best, delivered = two_scores(view)
    single = f"{view.get('best_model')}, {metric} {best}"
    if members and (len(members) > 1 or view.get("best_trial") not in (None, members[0])):
        what = f"an ensemble of {len(members)} trials" if len(members) > 1 else f"trial {members[0]} alone"
        text = f"the model is {what}, {metric} {delivered} (the best single trial: {single})"
        return f"{text}; {why}" if (why := why_not_the_best(view)) else text
    return f"the model is the best trial: {single}" if view.get("best_model") else ""


def _run_advice(view: Row, found: Sequence[Row]) -> list[Document]:
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
    for item in found:
        if item["state"] == "failed":
            advice.append((f"why {run} {item['trials'][0]}", f"see how a trial failed ({item['code']})"))
    return [{"command": f"rayctl automl {command}", "effect": effect} for command, effect in advice]


def explain_trial(view: Row, row: Row, rows: Sequence[Row]) -> Document:
    """Return ``summary``, ``because`` and ``you_can`` for one trial of a run."""
    error = row.get("error") or {}
    code = error.get("code")
    meaning, todo = meaning_of("", code), str(error.get("hint") or "") or remedy_of(code)
    message = str(error.get("message") or "")
    texts = [meaning, message] if row["state"] != "done" else [*_standing(view, row, rows), message]
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
