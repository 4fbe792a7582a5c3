"""The leaderboard as a list that shows itself well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, overload

from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.client.figures import number_text, share_text, size_text, spark, spark_scale

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Leaderboard"]

_NUMBERS = ("rank", "score", "std", "weight", "fit_s", "predict_s", "size")
_COLUMNS = ("rank", "model", "score", "std", "weight", "folds", "fit_s", "predict_s", "size", "state", "reason")


class Leaderboard(Sequence[LeaderboardRow]):
    """Rows of a run's leaderboard: done trials best first, then failed ones with their reason, then skipped ones."""

    def __init__(self, rows: Iterable[dict[str, Any]], metric: str | None = None) -> None:
        self._rows = [LeaderboardRow.model_validate(row) for row in rows]
        self.metric = metric

    @overload
    def __getitem__(self, index: int) -> LeaderboardRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[LeaderboardRow]: ...
    def __getitem__(self, index: int | slice) -> LeaderboardRow | list[LeaderboardRow]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def best(self) -> LeaderboardRow | None:
        """The first row that has a score; None while there is none."""
        return next((row for row in self._rows if row.state is TrialState.DONE), None)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as JSON-like dictionaries."""
        return [row.model_dump(mode="json") for row in self._rows]

    def to_pandas(self) -> pd.DataFrame:
        """Return one line per trial, with its weight, size and fold scores; parameters stay dictionaries."""
        import pandas as pd

        return pd.DataFrame(self.to_dicts(), columns=list(LeaderboardRow.model_fields))

    def __repr__(self) -> str:
        table = [list(_COLUMNS), *([_text(cell) for cell in cells] for cells in self._cells())]
        widths = [max(len(line[i]) for line in table) for i in range(len(_COLUMNS))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in table)

    def __rich__(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(_text(f"Leaderboard ({self.metric})")) if self.metric else None, box=None)
        for name in _COLUMNS:
            table.add_column(name, justify="right" if name in _NUMBERS else "left")
        for cells in self._cells():
            table.add_row(*(Text(_text(cell)) for cell in cells))
        return table

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(_text(cell))}</td>" for cell in cells) + "</tr>" for cells in self._cells()
        )
        caption = f"<caption>{escape(_text(f'Leaderboard ({self.metric})'))}</caption>" if self.metric else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _cells(self) -> list[tuple[Any, ...]]:
        scale = spark_scale(row.fold_scores for row in self._rows if row.state is TrialState.DONE)
        return [
            (
                row.rank, row.model, row.score, row.std, share_text(row.weight),
                spark(row.fold_scores, scale), row.fit_s, row.predict_s, size_text(row.size_bytes),
                row.state.value + (" (reused)" if row.reused else ""), (row.error or {}).get("message", ""),
            )
            for row in self._rows
        ]  # fmt: skip


def _text(value: Any) -> str:
    if value is None or isinstance(value, float):
        return number_text(value)
    # Names and messages come from models and data, and may hold what a terminal would obey.
    return "".join(char if char.isprintable() else " " for char in str(value))
