"""rayctl: a control plane made of Ray actors.

``rayctl.connect()`` is the way in, ``rayctl.custom_metric()`` makes a metric of a function; importing this package
imports nothing heavy and configures nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayctl import errors

if TYPE_CHECKING:
    from rayctl.automl.request import custom_metric
    from rayctl.client import connect

__version__ = "0.1.0"
__all__ = ["__version__", "connect", "custom_metric", "errors"]


def __getattr__(name: str) -> Any:
    if name == "connect":
        from rayctl.client import connect

        return connect
    if name == "custom_metric":
        from rayctl.automl.request import custom_metric

        return custom_metric
    raise AttributeError(f"module 'rayctl' has no attribute {name!r}")
