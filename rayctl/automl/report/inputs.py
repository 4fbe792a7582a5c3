"""What a report is made of: documents and tables that the service has at the end of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ReportInputs"]


@dataclass(frozen=True)
class ReportInputs:
    """Everything about one run that a report shows. Parts that a run does not have are empty or None.

    Attributes:
        run: The run's document (`rayctl.automl.model.RunView`).
        rows: All trials (`rayctl.automl.model.LeaderboardRow`), in leaderboard order.
        timeline: What was known when: ``{"elapsed_s", "trial", "model", "score", "best"}`` per finished trial and
            ``{"elapsed_s", "ensemble"}`` per ensemble; seconds since the start of the run.
        validation: The delivered model's predictions of rows it has not seen (`Engine.blended`): ``row``, ``fold``,
            ``truth``, and ``prediction`` and/or ``proba_<class>``. Series also have their id columns, the time
            column and, where there are intervals, ``lower_<level>`` and ``upper_<level>``.
        importance: ``{"feature", "importance", "std"}``, most important first.
        importance_error: Why there are no importances although there is a model.
        parts: Into how many tasks each fold was cut (large collections of series); ``fit_s`` of a row is that of one.
        combination: ``weights`` (trial → weight), ``score``, ``settings``, ``history`` (`Combination`).
        forecast: Series: id columns, time, ``prediction``, ``lower_<level>``, ``upper_<level>``.
        history: Series: id columns, time and target of the training data; the end of each series is enough.
        reproduce: ``request``, ``seed``, ``versions``, ``data_fingerprint``.
    """

    run: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    timeline: list[dict[str, Any]] = field(default_factory=list)
    validation: pa.Table | None = None
    importance: list[dict[str, Any]] | None = None
    importance_error: str | None = None
    parts: int = 1
    combination: dict[str, Any] = field(default_factory=dict)
    forecast: pa.Table | None = None
    history: pa.Table | None = None
    reproduce: dict[str, Any] = field(default_factory=dict)

    @property
    def request(self) -> dict[str, Any]:
        """The request document, empty if it is not known."""
        return self.reproduce.get("request") or {}
