"""The Python client: ``connect()`` and what it returns, the same over HTTP and over Ray.

Importing this package imports no HTTP library, no Ray and no data frames; each is imported when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayctl.client.connection import Connection, connect

if TYPE_CHECKING:
    from rayctl.client.automl import AutoML
    from rayctl.client.ensemble import Ensemble
    from rayctl.client.leaderboard import Leaderboard
    from rayctl.client.report import ReportPage
    from rayctl.client.run import Run

__all__ = ["AutoML", "Connection", "Ensemble", "Leaderboard", "ReportPage", "Run", "connect"]

_LAZY = {
    "AutoML": "rayctl.client.automl",
    "Ensemble": "rayctl.client.ensemble",
    "Leaderboard": "rayctl.client.leaderboard",
    "ReportPage": "rayctl.client.report",
    "Run": "rayctl.client.run",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'rayctl.client' has no attribute {name!r}")
