"""rayctl: a control plane made of Ray actors.

``rayctl.connect()`` is the way in, ``rayctl.custom_metric()`` makes a metric of a function, ``rayctl.load_model()``
predicts with a downloaded model without a service; inside a tenant's call
``rayctl.current_config()``, ``current_context()`` and ``secret()`` belong to that call. Importing this package imports
nothing heavy and configures nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rayctl import errors

if TYPE_CHECKING:
    from rayctl.automl.request import custom_metric
    from rayctl.client import connect
    from rayctl.client.model import load_model
    from rayctl.tenancy.current import current_config
    from rayctl.tenancy.handle import current_context
    from rayctl.tenancy.model import TenantConfig
    from rayctl.tenancy.secrets import secret

__version__ = "0.1.0"
__all__ = [
    "TenantConfig",
    "__version__",
    "connect",
    "current_config",
    "current_context",
    "custom_metric",
    "errors",
    "load_model",
    "secret",
]

_WHERE = {
    "TenantConfig": "rayctl.tenancy.model",
    "connect": "rayctl.client",
    "current_config": "rayctl.tenancy.current",
    "current_context": "rayctl.tenancy.handle",
    "custom_metric": "rayctl.automl.request",
    "load_model": "rayctl.client.model",
    "secret": "rayctl.tenancy.secrets",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'rayctl' has no attribute {name!r}")
