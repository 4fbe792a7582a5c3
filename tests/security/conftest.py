"""The application over an embedded API server, as the tests of the HTTP API have it."""

from __future__ import annotations

from tests.api.kube.conftest import api, as_caller, client, kubernetes, settings

__all__ = ["api", "as_caller", "client", "kubernetes", "settings"]
