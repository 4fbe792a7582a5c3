"""What is known about a run while it goes on. Pure: events in, numbers and lines out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.cli.output import clean, number

__all__ = ["Progress"]

Document = dict[str, Any]


class Progress:
    """The state of a run as far as its events have told it. Applying an event twice changes nothing."""

    def __init__(self, view: Document) -> None:
        self.view = view
        self.rows: dict[int, Document] = {}
        self._ensemble: Document = {}

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take in one event of the run."""
        kind, data = event["kind"], event["data"]
        if kind in ("state", "done") and "state" in data:
            self.view = data
        elif kind == "ensemble":
            self._ensemble = data
        elif kind == "trial" and "trial" in data:
            self.rows[data["trial"]] = data
        elif kind == "leaderboard":
            for row in data.get("rows") or data.get("items") or ():
                self.rows[row["trial"]] = row

    @property
    def state(self) -> str:
        """State of the run."""
        return str(self.view["state"])

    def count(self, kind: str) -> int:
        """How many trials are ``done``, ``failed`` or ``skipped``: the view may be older than the last trial."""
        seen = sum(row.get("state") == kind for row in self.rows.values())
        return max(seen, (self.view.get("trials") or {}).get(kind) or 0)

    @property
    def running(self) -> int:
        """How many trials are under way."""
        return int((self.view.get("trials") or {}).get("running") or 0)

    @property
    def best(self) -> tuple[float | None, str | None]:
        """Score and model of the best trial so far."""
        top = self.top(1)
        score, model = self.view.get("best_score"), self.view.get("best_model")
        if top and (score is None or (self._better(top[0]["score"], score) and self.state == "running")):
            return top[0]["score"], top[0]["model"]
        return score, model

    @property
    def ensemble(self) -> tuple[float | None, dict[int, float]]:
        """Score and weights (by trial) of the combination: so far, or as delivered."""
        score, weights = self.view.get("ensemble_score"), self.view.get("ensemble")
        if not weights:
            score, weights = self._ensemble.get("score"), self._ensemble.get("weights") or {}
        return score, {int(trial): float(weight) for trial, weight in weights.items() if weight > 0}

    def top(self, limit: int) -> list[Document]:
        """The best trials so far."""
        done = [row for row in self.rows.values() if row.get("score") is not None]
        done.sort(key=lambda row: row["score"], reverse=bool(self.view.get("greater_is_better", True)))
        return done[:limit]

    def _better(self, one: float, other: float) -> bool:
        return one > other if self.view.get("greater_is_better", True) else one < other

    def line(self) -> str:
        """One line for logs, without its time; equal lines mean that nothing worth telling happened."""
        score, model = self.best
        parts = [
            f"run={self.view['id']}",
            f"state={self.state}",
            f"trials={self.count('done')}",
            f"failed={self.count('failed')}",
        ]
        if score is not None:
            parts += [f"best={number(score)}", f"model={clean(model)}"]
        ensemble, members = self.ensemble
        if ensemble is not None:
            parts += [f"ensemble={number(ensemble)}", f"members={len(members)}"]
        if self.state == "queued" and self.view.get("queue_position") is not None:
            parts.append(f"position={self.view['queue_position']}")
        if self.view.get("cancel_requested") and self.state == "running":
            parts.append("cancelling=yes")
        if self.view.get("reason"):
            parts.append(f"reason={clean(self.view['reason'])!r}")
        return " ".join(parts)
