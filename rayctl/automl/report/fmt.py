"""Numbers, durations and names as people read them. Everything shown passes through here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rayctl.automl.apart import apart_by

__all__ = [
    "apart",
    "bytes_text",
    "clean",
    "compact",
    "metric_name",
    "model_name",
    "number",
    "percent",
    "plural",
    "seconds",
    "short",
    "short_each",
]

NONE = "–"
EMPTY = "(empty)"

_METRIC_NAMES = {
    "accuracy": "Accuracy",
    "average_precision": "Average precision",
    "balanced_accuracy": "Balanced accuracy",
    "brier": "Brier score",
    "cohen_kappa": "Cohen's kappa",
    "f1": "F1",
    "f1_macro": "Macro F1",
    "f1_weighted": "Weighted F1",
    "log_loss": "Log loss",
    "mae": "MAE",
    "mape": "MAPE",
    "mase": "MASE",
    "mcc": "MCC",
    "median_absolute_error": "Median absolute error",
    "mse": "MSE",
    "precision": "Precision",
    "precision_macro": "Macro precision",
    "quadratic_kappa": "Quadratic kappa",
    "r2": "R²",
    "recall": "Recall",
    "rmse": "RMSE",
    "rmsle": "RMSLE",
    "rmsse": "RMSSE",
    "roc_auc": "ROC AUC",
    "smape": "sMAPE",
    "wape": "WAPE",
}


def clean(value: Any) -> str:
    """Return text without control, formatting and other unprintable characters; None becomes a dash.

    Names of columns, classes and models and error messages come from callers. What remains can be written to a
    terminal (no escape sequences), to XML (no forbidden characters) and to UTF-8 (no lone surrogates).
    """
    text = NONE if value is None else str(value)
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def short(value: Any, limit: int = 28) -> str:
    """Return clean text of at most ``limit`` characters; what is cut off is cut from the middle."""
    text = clean(value) or EMPTY
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 3
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :] if tail else ''}"


def short_each(values: Sequence[Any], limit: int = 28) -> list[str]:
    """Return clean texts of at most ``limit`` characters that stand beside each other.

    Where cutting in the middle would make different names look the same, what they have in common is left out; names
    that still look the same are numbered.
    """
    texts = [clean(value) or EMPTY for value in values]
    shown = [short(text, limit) for text in texts]
    distinct = list(dict.fromkeys(texts))
    if len(set(shown)) == len(distinct):
        return shown
    begin = _common(distinct)
    end = min(_common([text[::-1] for text in distinct]), min(map(len, distinct)) - begin)
    start = max(0, begin - max(0, limit - 2 - max(len(text) - begin - end for text in distinct)))
    if start:  # as much of what they begin with as there is room for, from a whole word on
        start += distinct[0][start:begin].find(" ") + 1
    shown = [
        short(f"{'…' if start else ''}{text[start : len(text) - end]}{'…' if end else ''}", limit) for text in texts
    ]
    if len(set(shown)) == len(distinct):
        return shown
    numbered = {text: f"·{place}" for place, text in enumerate(distinct, 1)}
    return [short(text, limit - len(numbered[full])) + numbered[full] for text, full in zip(shown, texts, strict=True)]


def _common(texts: Sequence[str]) -> int:
    """Return how many characters all texts begin with."""
    first, last = min(texts), max(texts)
    return next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))


def metric_name(name: Any) -> str:
    """Return the usual spelling of a metric's name; others are shown as they are."""
    return _METRIC_NAMES.get(str(name), clean(name))


def model_name(model: Any) -> str:
    """Return a model's short name: the class name of an importable path."""
    text = clean(model)
    return text.rsplit(".", 1)[-1] or text


def number(value: Any, digits: int = 4) -> str:
    """Return a score or another number with about ``digits`` significant digits; None and NaN become a dash.

    What is not quite 1 is not shown as 1: it gets the places that it takes.
    """
    if value is None or isinstance(value, str):
        return clean(value)
    if not math.isfinite(value):
        return NONE
    size = abs(value)
    if isinstance(value, int) or value == 0:
        return f"{int(value):,}".replace("-", "−")
    if size >= 1e9 or size < 1e-3:
        return f"{value:.{digits if size > 1 else digits - 1}g}".replace("-", "−")
    # Below 1 four places, so that columns of scores line up; above, places shrink as the number grows.
    first = math.floor(math.log10(size))
    places = max(digits, digits - 2 - first) if size < 1 else max(0, digits - 1 - first)
    while size < 1 and round(size, places) == 1 and places < 9:
        places += 1
    return f"{value:,.{places}f}".replace("-", "−")


def apart(first: float | None, second: float | None, digits: int = 4) -> tuple[str, str]:
    """Return two numbers as texts that differ if the numbers do, by up to ten digits."""
    return apart_by(number, first, second, digits)


def compact(value: float, digits: int = 4) -> str:
    """Return a number for the tick of an axis: ``25k``, ``1.5M``, ``0.25``."""
    size = abs(value)
    if size >= 1e15:
        return f"{value:.{digits}g}".replace("-", "−")
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.{digits}g}{unit}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def percent(share: Any, places: int = 1) -> str:
    """Return a share (0 to 1) in percent; only nothing is shown as 0, and only everything as 100."""
    if share is None or not math.isfinite(share):
        return NONE
    text = f"{100 * share:.{places}f}"
    step = 10.0**-places
    if float(text) == 0 and share > 0:
        text = f"< {step:.{places}f}"
    elif float(text) == 100 and share < 1:
        text = f"> {100 - step:.{places}f}"
    return f"{text}%".replace("-", "−")


def seconds(value: Any) -> str:
    """Return a duration: ``0.14 ms``, ``4.1 ms``, ``21.3 s``, ``6 m 12 s``, ``2 h 05 m``."""
    if value is None or not math.isfinite(value):
        return NONE
    if value < 0.001:
        return f"{value * 1e3:.2g} ms" if value >= 1e-5 else "< 0.01 ms" if value > 0 else "0 s"
    if value < 0.9995:
        return f"{value * 1e3:.3g} ms"
    if value < 99.95:
        return f"{value:.3g} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"


def bytes_text(value: Any) -> str:
    """Return a size: ``812 B``, ``1.2 MB``."""
    if value is None:
        return NONE
    size = float(value)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            return f"{size:.0f} B" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return NONE


def plural(count: int, word: str, many: str | None = None) -> str:
    """Return ``1 trial``, ``3 trials``."""
    return f"{count:,} {word if count == 1 else many or word + 's'}"
