"""The files of a real report, of a small made-up run. Without pictures of its own: drawing them takes seconds."""

from __future__ import annotations

import json
from typing import Any

from rayctl.automl.report import ReportInputs
from rayctl.automl.report.data import report_data
from rayctl.automl.report.page import render

__all__ = ["SVG", "sample_report"]

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def sample_report(view: dict[str, Any], rows: list[dict[str, Any]], weights: dict[str, float]) -> dict[str, bytes]:
    """Return page, data and two pictures for a run."""
    succeeded = view["state"] == "succeeded"
    inputs = ReportInputs(
        run={"elapsed_s": 3.5, "time_budget_s": None, "finished_at": None, "reason": None, "error": None, **view},
        rows=rows if succeeded else [row for row in rows if row["state"] != "done"],
        combination={"weights": weights, "score": 0.96} if succeeded else {},
        importance=[
            {"feature": "a", "importance": 0.3, "std": 0.01},
            {"feature": "\x1b[31mb", "importance": 0.1, "std": 0.01},
        ],
        reproduce={"seed": 0, "versions": {}, "data_fingerprint": "abc", "request": {}},
    )
    document = report_data(inputs)
    return {
        "report.html": render(document, []).encode(),
        "report.json": json.dumps(document).encode(),
        "plots/roc.svg": SVG,
        "plots/roc.png": b"\x89PNG",
    }
