"""Which pictures a report has, where they stand on the page, and the sentence that helps to read each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rayctl.automl.report import ink
from rayctl.automl.report import plots_classes as classes
from rayctl.automl.report import plots_numbers as numbers
from rayctl.automl.report import plots_series as series
from rayctl.automl.report import plots_trials as trials
from rayctl.automl.report.fmt import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PLOTS", "Picture", "Plot", "draw_all"]

Document = dict[str, Any]


@dataclass(frozen=True)
class Plot:
    """One kind of picture.

    ``section``: where the page shows it (None: it is only a file); ``png``: a PNG as well; ``more``: what its text adds
    for this run.
    """

    name: str
    title: str
    help: str
    section: str | None
    draw: Callable[[Document], Figure | None]
    png: bool = False
    more: Callable[[Document], str] | None = None


@dataclass(frozen=True)
class Picture:
    """A drawn picture: standalone ``svg`` (light), and ``png`` for those that are most often put into documents."""

    name: str
    title: str
    help: str
    section: str | None
    svg: bytes
    png: bytes | None


def _together(document: Document) -> str:
    many = classes.others_shown(len(document["classification"]["classes"]))
    return "The smaller classes are counted together; grey: right, or mixed up among themselves." if many else ""


def _one_by_one(document: Document) -> str:
    data = document["classification"]
    count, drawn = len(data["classes"]), len(data["curves"])
    if count == 2:
        return ""
    return "Each class against the rest" + (f"; the {drawn} largest of {count:,}." if drawn < count else ".")


def _thinned(document: Document) -> str:
    count = len(document["score_over_time"]["trials"])
    return f"{trials.DOTS:,} of the {count:,} trials are drawn." if count > trials.DOTS else ""


def _of_the_model(document: Document) -> str:
    if document["run"]["task"] != "forecasting":
        return ""
    return "Measured on a window that the models had seen: what they use, not what new data would lose."


PLOTS = [
    Plot(
        "leaderboard",
        "Scores per fold",
        "Dots are folds, bars their mean. Trials whose dots overlap are not told apart by this data.",
        None,
        trials.draw_leaderboard,
        png=True,
    ),
    Plot(
        "score_over_time",
        "Score over time",
        "Dots are trials as they finished. Lines that still improve at the end say that a longer budget would help.",
        "search",
        trials.draw_progress,
        png=True,
        more=_thinned,
    ),
    Plot(
        "weights",
        "Weights of the ensemble",
        "Each member's share in the prediction. Shares spread over different kinds of model make it sturdier.",
        "search",
        trials.draw_weights,
        png=True,
    ),
    Plot(
        "fit_time",
        "Where the time went",
        "Fitting time by kind of model (× number of trials). Much time for low scores: leave that model out.",
        "search",
        trials.draw_cost,
    ),
    Plot(
        "latency",
        "Quality against speed",
        "Best at the better edge and far left. The line joins the trials that no other beats in both.",
        "search",
        trials.draw_latency,
    ),
    Plot(
        "confusion",
        "Confusion matrix",
        "A row is an actual class; a strong blue diagonal is good, orange off it shows which classes are mixed up.",
        "quality",
        classes.draw_confusion,
        png=True,
        more=_together,
    ),
    Plot(
        "roc",
        "ROC curve",
        "Up and left is good; the diagonal is guessing. AUC: how often a positive row scores above a negative one.",
        "quality",
        classes.draw_roc,
        png=True,
        more=_one_by_one,
    ),
    Plot(
        "precision_recall",
        "Precision and recall",
        "Up and right is good. Of the rows found (recall), how many are right (precision)? Best for rare classes.",
        "quality",
        classes.draw_pr,
        png=True,
        more=_one_by_one,
    ),
    Plot(
        "calibration",
        "Calibration",
        "On the diagonal, a predicted 70% comes true in 70% of cases. Below it the model promises too much.",
        "quality",
        classes.draw_calibration,
        png=True,
    ),
    Plot(
        "thresholds",
        "Choice of the threshold",
        "Move right for fewer false alarms (precision), left to miss fewer (recall); F1 balances both.",
        "quality",
        classes.draw_thresholds,
    ),
    Plot(
        "gain",
        "Cumulative gain",
        "If only some rows can be looked at, the highest-scored share on the x-axis holds this share of all positives.",
        "quality",
        classes.draw_gain,
    ),
    Plot(
        "predicted_actual",
        "Actual against predicted",
        "On the line is right. A cloud that bends away from it shows where the model is biased.",
        "quality",
        numbers.draw_actual,
        png=True,
    ),
    Plot(
        "residuals",
        "Residuals",
        "The band should be centred on zero and equally wide; a funnel means that large values are harder.",
        "quality",
        numbers.draw_residuals,
        png=True,
    ),
    Plot(
        "residual_histogram",
        "Distribution of residuals",
        "A narrow peak at zero is good; a long tail on one side means that the model misses in one direction.",
        "quality",
        numbers.draw_histogram,
    ),
    Plot(
        "forecasts",
        "Forecasts",
        "History, predictions in the validation windows, and the forecast with its intervals.",
        None,
        series.draw_forecasts,
        png=True,
    ),
    Plot(
        "error_by_step",
        "Error by step ahead",
        "How fast the forecast loses sight. Under the dotted line it beats repeating the last season, on average.",
        "quality",
        series.draw_by_step,
    ),
    Plot(
        "error_by_series",
        "Error over the series",
        "Each series counts once. A long tail to the right: a few series are much harder than the rest.",
        "quality",
        series.draw_by_series,
    ),
    Plot(
        "importance",
        "Permutation importance",
        "How much worse the score gets when a column's values are shuffled; columns near zero could be left out.",
        "features",
        trials.draw_importance,
        png=True,
        more=_of_the_model,
    ),
]


def draw_all(document: Document) -> list[Picture]:
    """Draw all pictures that this report's data allow, in the order in which they are listed above."""
    found: list[Picture] = []
    if not any(row["state"] == "done" for row in document["leaderboard"]):
        return found  # and matplotlib is not imported
    with ink.style():
        for plot in PLOTS:
            figure = plot.draw(document)
            if figure is not None:
                picture, bitmap = ink.svg(figure, plot.name), ink.png(figure) if plot.png else None
                help_ = f"{plot.help} {plot.more(document)}".rstrip() if plot.more else plot.help
                found.append(Picture(plot.name, plot.title, help_, plot.section, picture, bitmap))
        for place, panel in enumerate((document["forecast"] or {}).get("panels") or []):
            figure = series.draw_panel(panel, legend=place == 0)
            name = f"forecast_{place + 1:02d}"
            text = {"worst": "one of the worst", "best": "one of the best", "random": "drawn at random"}
            note = text.get(panel["chosen"])
            help_ = f"scaled error {number(panel['error'], 3)}" + (f" · {note}" if note else "")
            found.append(Picture(name, panel["series"], help_, "forecasts", ink.svg(figure, name), None))
    return found
