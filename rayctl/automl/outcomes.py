"""What became of a run's trials: what the codes of failed and skipped ones mean, and what can be done. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["meaning_of", "outcomes", "remedy_of"]

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
    "wrong-model-type": ("the model is not one for this task", "Choose another in the search space."),
    "unknown-parameter": ("the model has no such parameter", "Correct the name in the search space."),
    "invalid-parameter": ("the model does not take this value of a parameter", "Correct it in the search space."),
    "missing-extra": ("the model's library is not installed where models are fitted", "Install it there."),
    "environment-error": ("its runtime environment could not be built", "Check runtime_env."),
}
_STATES = ("done", "failed", "skipped")


def meaning_of(state: str, code: str | None) -> str:
    """Return what a trial's state and code mean; the state itself where the code is not known."""
    return _CODES.get(code or "", ("ended with a score" if state == "done" else state, ""))[0]


def remedy_of(code: str | None) -> str:
    """Return what can be done about a code; empty if nothing, or if nobody knows."""
    return _CODES.get(code or "", ("", ""))[1]


def outcomes(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the trials by state and code: ``state``, ``code``, ``count``, ``meaning``, ``trials``, and an ``example``.

    Done ones come first, then failed, then skipped; within a state the most frequent code.
    """
    groups: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
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
                "meaning": meaning_of(state, code),
                "trials": sorted(row["trial"] for row in members),
                "example": {"trial": first["trial"], "model": first["model"], "message": message} if message else None,
            }
        )
    return found
