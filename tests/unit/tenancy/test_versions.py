"""Client and cluster of different versions."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl import __version__
from rayctl.client.tenancy import open_context
from rayctl.errors import InvalidRequest, NotFound, UnsupportedEnvelope
from rayctl.tenancy import codec
from rayctl.tenancy.versions import check_versions


def test_versions_one_minor_step_apart_work_together() -> None:
    for there in ("0.1.0", "0.2.7", "0.0.9", "0.1", "0.2rc1", "0.1.0.dev3+local"):
        check_versions("0.1.0", there)
    for there in ("0.3.0", "1.1.0", "0.10.0", "unknown", "", "v0.1"):
        with pytest.raises(UnsupportedEnvelope) as caught:
            check_versions("0.1.0", there)
        assert caught.value.code == "version-window"
        assert there in caught.value.message


class Service:
    """As much of a transport as opening a context asks for."""

    kind = "ray"

    def __init__(self, version: str = __version__) -> None:
        self.version = version
        self.registered: dict[str, Any] = {}

    def info(self) -> dict[str, Any]:
        return {"version": self.version}

    def get_tenant(self, name: str, version: int | None = None) -> dict[str, Any]:
        if name not in self.registered:
            raise NotFound("no such tenant", code="tenant-not-found")
        return {"tenant": name, "version": 1, "config": self.registered[name]}


def test_a_service_of_another_time_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(UnsupportedEnvelope):
        open_context(Service("7.0.0"), "a", None, True)  # type: ignore[arg-type]
    assert open_context(Service("7.0.0"), None, None, True).envelope is None, "plain Ray asks nobody"  # type: ignore[arg-type]


def test_a_registered_tenant_and_a_mere_name() -> None:
    service = Service()
    service.registered["a"] = {"tenant": "a", "settings": {"x": 1}}
    found = open_context(service, "a", None, True)  # type: ignore[arg-type]
    assert found.config is not None
    assert found.config.settings == {"x": 1}
    assert found.runtime_env is None
    unknown = open_context(service, "b", None, True)  # type: ignore[arg-type]
    assert codec.decode(unknown.envelope or b"").tenant == "b"


def test_a_name_that_nobody_can_have_is_refused_as_every_other_mistake() -> None:
    with pytest.raises(InvalidRequest) as caught:
        open_context(Service(), "Bad Name", None, True)  # type: ignore[arg-type]
    assert caught.value.code == "invalid-tenant-config"


def test_functions_are_not_started_over_http() -> None:
    service = Service()
    service.kind = "http"
    with pytest.raises(InvalidRequest) as caught:
        open_context(service, "a", None, True)  # type: ignore[arg-type]
    assert caught.value.code == "needs-ray"
