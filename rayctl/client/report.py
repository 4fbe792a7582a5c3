"""A saved report: a path that notebooks show as the page."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

__all__ = ["ReportPage"]

_HEIGHT_PX = 720

if TYPE_CHECKING:
    _Path = Path
else:
    _Path = type(Path())  # before Python 3.12 only the class of this system's paths can have subclasses


class ReportPage(_Path):
    """Where a report was saved. It is a `pathlib.Path`, and a notebook shows the page in a frame of its own."""

    def _repr_html_(self) -> str:
        # A frame without an origin: the page's script can sort its tables and reach nothing of the notebook.
        page = escape(self.read_text(encoding="utf-8"))
        style = f"width:100%;height:{_HEIGHT_PX}px;border:0"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{page}"></iframe>'
