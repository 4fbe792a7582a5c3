"""What a delivered model consists of: trials and their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, overload

from rayctl.client.figures import number_text, share_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Ensemble", "Member", "ensemble_of"]

Document = dict[str, Any]


@dataclass(frozen=True)
class Member:
    """One trial of the delivered model. ``weight``: its share; all shares sum up to 1."""

    trial: int
    model: str
    weight: float
    score: float | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


class Ensemble(Sequence[Member]):
    """The members of a delivered model, heaviest first. ``score``: of all of them together, in the run's metric."""

    def __init__(self, members: Sequence[Member], score: float | None = None, metric: str | None = None) -> None:
        self._members = sorted(members, key=lambda member: (-member.weight, member.trial))
        self.score = score
        self.metric = metric

    @overload
    def __getitem__(self, index: int) -> Member: ...
    @overload
    def __getitem__(self, index: slice) -> list[Member]: ...
    def __getitem__(self, index: int | slice) -> Member | list[Member]:
        return self._members[index]

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members)

    @property
    def weights(self) -> dict[int, float]:
        """Trial → weight."""
        return {member.trial: member.weight for member in self._members}

    def to_pandas(self) -> pd.DataFrame:
        """Return one line per member; parameters stay dictionaries."""
        import pandas as pd

        return pd.DataFrame([vars(member) for member in self._members], columns=list(Member.__dataclass_fields__))

    def __repr__(self) -> str:
        head = f"{self._title()}\n" if self.score is not None else ""
        return head + "\n".join(f"{share_text(m.weight):>6}  {_clean(m.model)}  #{m.trial}" for m in self._members)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(share_text(m.weight))}</td><td>{escape(_clean(m.model))}</td><td>{m.trial}</td>"
            f"<td>{number_text(m.score)}</td></tr>"
            for m in self._members
        )
        head = "<th>weight</th><th>model</th><th>trial</th><th>score</th>"
        return (
            f"<table><caption>{escape(self._title())}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{rows}</tbody></table>"
        )

    def _title(self) -> str:
        score = "" if self.score is None else f"{_clean(self.metric or 'score')} {number_text(self.score)}, "
        return f"{score}{len(self)} {'trial' if len(self) == 1 else 'trials'}"


def ensemble_of(view: Document, leaderboard: Callable[[], list[Document]]) -> Ensemble | None:
    """Return the ensemble of a run's view; ``leaderboard`` is called for the names of its models."""
    weights = {int(trial): float(weight) for trial, weight in (view.get("ensemble") or {}).items()}
    if not weights:
        return None
    rows = {int(row["trial"]): row for row in leaderboard()}
    members = [
        Member(trial, str(row.get("model", "?")), weight, row.get("score"), row.get("params") or {})
        for trial, weight in weights.items()
        if weight > 0
        for row in (rows.get(trial, {}),)
    ]
    return Ensemble(members, view.get("ensemble_score"), view.get("metric"))


def _clean(text: str) -> str:
    # Names come from models, and may hold what a terminal would obey.
    return "".join(char if char.isprintable() else " " for char in text)
