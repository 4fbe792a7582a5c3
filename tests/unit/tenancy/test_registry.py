"""The registry when something is wrong with what it holds."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from rayctl.errors import RayctlError
from rayctl.state.database import Database
from rayctl.state.tenants import TenantStore
from rayctl.tenancy.policy import Policy
from rayctl.tenancy.registry import TenantRegistry


def test_a_damaged_tenant_does_not_keep_the_service_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = TenantStore(Database(f"sqlite:///{tmp_path / 'rayctl.db'}"))
    registry = TenantRegistry(store, Policy())
    registry.put({"tenant": "fine", "quota": {"max_running": 2}}, 1.0)
    store.put("damaged", b"\x00 not an envelope", "0" * 64, 1.0)
    with caplog.at_level(logging.ERROR):
        assert {name: quota.max_running for name, quota in registry.quotas().items()} == {"fine": 2}
    assert "tenant damaged, version 1, cannot be read" in caplog.text
    with pytest.raises(RayctlError):
        registry.current("damaged")
    found = registry.current("fine")
    assert found is not None
    assert found[0] == 1
