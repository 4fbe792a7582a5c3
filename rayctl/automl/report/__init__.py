"""The report of a run: what users look at, as a page, as data and as pictures. No Ray, no network."""

from rayctl.automl.report.build import build_report
from rayctl.automl.report.inputs import ReportInputs

__all__ = ["ReportInputs", "build_report"]
