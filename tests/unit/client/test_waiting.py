"""When `Objects.wait` of the Python client says that an object is as its newest specification wants it."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl.client.objects import Objects
from rayctl.errors import Conflict, DeadlineExceeded, RayctlError
from rayctl.views.operations import under_way
from rayctl.views.summary import summary

READY = {"type": "Ready", "status": "True", "reason": "NonZeroServeEndpoints", "message": "2 endpoints answer"}


def service(status: str = "True", reason: str = "RolledOut", seen: int = 2) -> dict[str, Any]:
    """A RayService whose old side serves. ``seen``: the generation that its status speaks of."""
    newest = {"type": "UpToDate", "status": status, "reason": reason, "message": f"because of {reason}"}
    conditions = [{**found, "observedGeneration": seen} for found in (READY, newest)]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "chat", "namespace": "n", "generation": 2, "resourceVersion": "7"},
        "spec": {},
        "status": {"observedGeneration": seen, "conditions": conditions},
    }


class Answers:
    """Stands for the connection: answers with an object as the HTTP API does."""

    kind = "http"

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def ask(self, method: str, path: str, **_: Any) -> dict[str, Any]:
        assert (method, path) == ("GET", "/v1/services/chat")
        return {**summary(self.document), "document": self.document}


@pytest.mark.parametrize(
    ("document", "raised", "operation"),
    [
        (service(), None, "done"),
        (service("False", "Switching"), DeadlineExceeded, "running"),
        (service("False", "ConfigPending"), DeadlineExceeded, "running"),
        (service(seen=1), DeadlineExceeded, "running"),
        (service("False", "RolledBack"), DeadlineExceeded, "failed"),
        (service("False", "ConfigRejected"), DeadlineExceeded, "failed"),
        (service("False", "UpgradeDisabled"), Conflict, "failed"),
    ],
)
def test_a_change_is_done_when_it_serves(
    document: dict[str, Any], raised: type[RayctlError] | None, operation: str
) -> None:
    services = Objects(Answers(document), "services")  # type: ignore[arg-type]
    assert under_way("services", document)["state"] == operation
    if raised is None:
        assert services.wait("chat", timeout_s=0).ready
        return
    with pytest.raises(raised, match=r"chat is (not )?ready") as caught:
        services.wait("chat", timeout_s=0)
    newest = document["status"]["conditions"][1]
    assert newest["message"] in caught.value.message or document["status"]["observedGeneration"] == 1
