"""A run's report: page, data and pictures as files."""

from __future__ import annotations

import json

from rayctl.automl.report.data import report_data
from rayctl.automl.report.inputs import ReportInputs

__all__ = ["build_report"]


def build_report(inputs: ReportInputs) -> dict[str, bytes]:
    """Return the report's files by name; equal inputs give equal bytes.

    ``report.html``: one page that needs nothing else. ``report.json``: the numbers behind everything on it.
    ``plots/<name>.svg`` for every picture and ``plots/<name>.png`` for the main ones (144 dpi).

    Imports matplotlib and jinja2 (about 2 s of CPU the first time). Raises nothing of its own: parts that a run does
    not have are left out, and a run without a model gets a page that says why.
    """
    from rayctl.automl.report.page import render
    from rayctl.automl.report.plots import draw_all

    document = report_data(inputs)
    pictures = draw_all(document)
    files = {
        "report.html": render(document, pictures).encode(),
        "report.json": json.dumps(document, allow_nan=False, separators=(",", ":")).encode(),
    }
    for picture in pictures:
        files[f"plots/{picture.name}.svg"] = picture.svg
        if picture.png is not None:
            files[f"plots/{picture.name}.png"] = picture.png
    return files
