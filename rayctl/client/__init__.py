"""The Python client: ``connect()`` and what it returns, the same over HTTP and over Ray.

Importing this package imports no HTTP library, no Ray and no data frames; each is imported when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayctl.client.connection import Connection, connect

if TYPE_CHECKING:
    from rayctl.client.automl import AutoML
    from rayctl.client.leaderboard import Leaderboard
    from rayctl.client.run import Run

__all__ = ["AutoML", "Connection", "Leaderboard", "Run", "connect"]

_LAZY = {
    "AutoML": "rayctl.client.automl",
    "Leaderboard": "rayctl.client.leaderboard",
    "Run": "rayctl.client.run",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'rayctl.client' has no attribute {name!r}")
