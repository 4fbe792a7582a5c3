"""The report of a run: what users look at, as a page, as data, as pictures and as text. No Ray, no network."""

from rayctl.automl.report.build import build_report
from rayctl.automl.report.inputs import ReportInputs
from rayctl.automl.report.text import summary_text

__all__ = ["ReportInputs", "build_report", "summary_text"]
