"""That pictures can be read: nothing lies on anything else, in light and in dark, with few things and with many."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rayctl.automl.report import ink, plots_trials
from rayctl.automl.report.classification import classification_data, read_labelled
from rayctl.automl.report.ink import DARK, LIGHT
from rayctl.automl.report.page import render
from rayctl.automl.report.plots_classes import (
    DEEP,
    draw_calibration,
    draw_confusion,
    draw_pr,
    draw_roc,
    draw_thresholds,
)
from tests.unit.automl.report_samples import failed


def _document(classes: int, rows: int = 900, skill: float = 0.3) -> dict[str, Any]:
    """The parts of a report's document that pictures of classes need."""
    rng = np.random.default_rng(classes)
    names = [f"class {place:03d} with a long name" for place in range(classes)]
    truth = rng.integers(0, classes, rows)
    proba = rng.dirichlet(np.ones(classes), rows)
    proba[np.arange(rows), truth] += skill
    proba /= proba.sum(axis=1, keepdims=True)
    table = pa.table(
        {"row": np.arange(rows), "fold": np.zeros(rows, int), "truth": np.array(names)[truth]}
        | {f"proba_{name}": proba[:, k] for k, name in enumerate(names)}
    )
    labelled = read_labelled(table, {})
    assert labelled is not None
    return {"classification": classification_data(labelled)}


def _laid_out(figure: Any) -> Any:
    """Draw a figure, so that every text has its place; return the only axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()
    return figure.axes[0]


@pytest.mark.parametrize("draw", [draw_roc, draw_pr, draw_calibration, draw_thresholds])
@pytest.mark.parametrize("classes", [2, 30])
def test_legends_lie_beside_the_curves_and_inside_the_figure(draw: Any, classes: int) -> None:
    with ink.style():
        figure = draw(_document(classes))
        if figure is None:
            assert (draw, classes > 2) == (draw_thresholds, True)
            return
        axes = _laid_out(figure)
        legend = axes.get_legend().get_window_extent()
        assert legend.y0 >= axes.bbox.y1 - 4
        assert legend.y1 <= figure.bbox.y1 + 1
        assert legend.x1 <= figure.bbox.x1 + 1


@pytest.mark.parametrize("classes", [2, 3, 8, 30])
def test_the_title_of_the_confusion_matrix_covers_no_label(classes: int) -> None:
    with ink.style():
        figure = draw_confusion(_document(classes))
        assert figure is not None
        axes = _laid_out(figure)
        labels = [label.get_window_extent() for label in axes.get_xticklabels()]
        title = axes.xaxis.get_label().get_window_extent()
        assert title.y1 <= min(label.y0 for label in labels) + 1
        assert title.y0 >= figure.bbox.y0
        if not axes.get_xticklabels()[0].get_rotation():
            assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(labels))


def test_classes_that_are_counted_together_are_not_shown_as_right() -> None:
    with ink.style():
        figure = draw_confusion(_document(30, rows=3000))
        assert figure is not None
        cells = {
            (round(patch.get_y() - 0.02), round(patch.get_x() - 0.02)): patch.get_facecolor()[:3]
            for patch in figure.axes[0].patches
        }
    last = max(row for row, _ in cells)
    right, together = cells[0, 0], cells[last, last]
    assert right == pytest.approx([int(LIGHT["c1"][i : i + 2], 16) / 255 for i in (1, 3, 5)])
    assert together == pytest.approx([int(LIGHT["muted"][i : i + 2], 16) / 255 for i in (1, 3, 5)])


def _luminance(colour: list[float]) -> float:
    """Relative luminance (Web Content Accessibility Guidelines 2.2)."""
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def _contrast(one: list[float], other: list[float]) -> float:
    dark, light = sorted([_luminance(one), _luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_numbers_in_the_deepest_cells_and_all_lines_have_contrast(colours: dict[str, str]) -> None:
    def rgb(name: str) -> list[float]:
        return [int(colours[name][i : i + 2], 16) / 255 for i in (1, 3, 5)]

    surface, text = rgb("surface"), rgb("text")
    for name in ("c1", "c2", "muted"):
        cell = [DEEP * part + (1 - DEEP) * under for part, under in zip(rgb(name), surface, strict=True)]
        assert _contrast(cell, text) >= 4.5, name
    for name in [f"c{place}" for place in range(1, 9)]:
        assert _contrast(rgb(name), surface) >= 3, name
    assert _contrast(rgb("muted"), surface) >= 4.5


def _trials(count: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    scores = rng.random(count).tolist()
    rows = [
        {"trial": n, "family": f"kind{n % 20}", "state": "done", "score": score, "predict_s": 0.01 + n, "weight": 0.0}
        for n, score in enumerate(sorted(scores, reverse=True))
    ]
    trials = [{"elapsed_s": 3.0 * n, "score": score, "trial": n, "model": "m"} for n, score in enumerate(scores)]
    over_time = {"trials": trials, "best": [[0.0, 0.1]], "ensemble": [], "end_s": 3.0 * count, "budget_s": None}
    run = {"greater_is_better": True, "metric": "roc_auc", "task": "classification"}
    return {"run": run, "leaderboard": rows, "score_over_time": over_time}


@pytest.mark.parametrize("draw", [plots_trials.draw_progress, plots_trials.draw_latency])
def test_ten_thousand_trials_make_no_large_picture(draw: Any) -> None:
    document = _trials(10_000)
    with ink.style():
        figure = draw(document)
        dots = sum(len(line.get_xdata()) for line in figure.axes[0].lines if line.get_linestyle() == "None")
        assert 900 <= dots <= plots_trials.DOTS + 100
        assert len(ink.svg(figure, "x")) < 400_000
        labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    if draw is plots_trials.draw_latency:
        assert labels[-1] == "13 more kinds"
    else:
        assert figure.axes[0].get_xlabel() == "hours since the start"


def test_members_beyond_the_drawn_ones_are_counted() -> None:
    members = [{"trial": n, "family": "m", "weight": 1 / 20, "score": 0.5} for n in range(20)]
    document = {"weights": {"trials": members, "families": [{"family": "m", "weight": 1.0}]}}
    with ink.style():
        figure = plots_trials.draw_weights(document)
        assert figure is not None
        assert figure.axes[0].get_yticklabels()[-1].get_text() == "5 more"
        assert figure.axes[0].patches[-1].get_width() == pytest.approx(0.25)


def test_ticks_beside_each_other_differ() -> None:
    shown = [ink.tick(value, 0.99981, 0.99989) for value in (0.99982, 0.99984, 0.99986, 0.99988)]
    assert shown == ["0.99982", "0.99984", "0.99986", "0.99988"]
    assert [ink.tick(value, 243100, 243110) for value in (243102.0, 243104.0)] == ["243.102k", "243.104k"]
    assert [ink.tick(value, 0, 100) for value in (-1e-15, 20.0)] == ["0", "20"]
    assert ink.tick(2e-12, 0, 1e-11) == "2e−12"
    assert ink.tick(2e299, 0, 1e300) == "2e+299"


def test_equally_quick_trials_have_ticks_too() -> None:
    document = _trials(6)
    for row in document["leaderboard"]:
        row["predict_s"] = 0.0045
    with ink.style():
        figure = plots_trials.draw_latency(document)
        assert figure is not None
        low, high = figure.axes[0].get_xlim()
        assert sum(low <= tick <= high for tick in figure.axes[0].get_xticks()) >= 2


def test_every_class_is_on_the_page_in_a_box_that_scrolls() -> None:
    from rayctl.automl.report.data import report_data

    document = report_data(failed()) | _document(120)
    document["metrics"] = [
        {"name": "log_loss", "value": 0.5, "std": None, "constant": 1.0, "greater_is_better": False, "of_run": True}
    ]
    page = render(document, [])
    table = page[page.index("<h3>By class</h3>") :].split("</table>")[0]
    assert table.count("<tr><td title=") == 120
    assert 'class="scroll tall" tabindex="0" role="region"' in table
