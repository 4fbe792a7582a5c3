"""Which series a report draws, and the history, windows and forecast that each picture holds. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rayctl.automl.report.series import Part, Series

__all__ = ["panels"]

PANELS = 12
_POINTS = 200


def panels(rows: Series, error: np.ndarray, order: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Return up to 12 series: all if there are no more, else the four worst, the four best and four at random.

    Args:
        rows: The collection.
        error: Scaled error per series, NaN for series without validation rows.
        order: Places of the scored series, worst first.
        seed: Of the random choice.
    """
    if len(order) <= PANELS:
        chosen = [(one, "") for one in sorted(order.tolist())]
    else:
        third = PANELS // 3
        worst, best, middle = order[:third].tolist(), order[-third:][::-1].tolist(), order[third:-third]
        drawn = np.random.default_rng(seed).choice(middle, min(third, len(middle)), replace=False).tolist()
        chosen = [(one, why) for group, why in ((worst, "worst"), (best, "best"), (drawn, "random")) for one in group]
    return [_panel(rows, one, why, float(error[one])) for one, why in chosen]


def _panel(rows: Series, one: int, chosen: str, error: float) -> dict[str, Any]:
    windows = rows.validation.of(one)
    ahead = rows.forecast.of(one) if rows.forecast is not None else None
    found: dict[str, Any] = {"series": rows.labels[one], "chosen": chosen, "error": error, "windows": []}
    first = windows.time.min()
    for fold in np.unique(windows.fold).tolist():
        inside = windows.fold == fold
        item = {"fold": fold, "time": _json_times(windows.time[inside])}
        item |= {name: _json(values[inside]) for name, values in windows.values.items()}
        found["windows"].append(item)
    horizon = len(ahead.time) if ahead is not None else int((windows.fold == windows.fold[-1]).sum())
    found["history"] = _history(rows, one, windows, first, horizon)
    found["forecast"] = None
    if ahead is not None and len(ahead.time):
        found["forecast"] = {"time": _json_times(ahead.time)} | {k: _json(v) for k, v in ahead.values.items()}
    return found


def _history(rows: Series, one: int, windows: Part, first: Any, horizon: int) -> dict[str, Any]:
    """The end of the training data: the windows and some context before them."""
    past = rows.history.of(one) if rows.history is not None else None
    if past is None or "target" not in past.values or past.time.dtype != windows.time.dtype or not len(past.time):
        order = np.argsort(windows.time, kind="stable")
        return {"time": _json_times(windows.time[order]), "value": _json(windows.values["truth"][order])}
    inside = int((past.time >= first).sum())
    wanted = min(max(_POINTS, inside), inside + max(2 * horizon, 2 * rows.season, 24))
    return {"time": _json_times(past.time[-wanted:]), "value": _json(past.values["target"][-wanted:])}


def _json(values: np.ndarray) -> list[float | None]:
    return [value if value == value else None for value in values.tolist()]


def _json_times(times: np.ndarray) -> list[Any]:
    """Return ISO 8601 texts, or whole numbers."""
    if times.dtype.kind != "M":
        return times.tolist()
    whole_seconds = not (times.astype("datetime64[us]").astype(np.int64) % 1_000_000).any()
    texts = np.datetime_as_string(times, unit="s" if whole_seconds else "us")
    whole_days = all(text.endswith("T00:00:00") for text in texts.tolist())
    return [text[:10] if whole_days else text for text in texts.tolist()]
