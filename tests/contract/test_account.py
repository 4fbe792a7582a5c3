"""Acting as a service account against a real server: each controller has its own rights and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rayctl.kube.account import AccountToken, connected_as, connected_for
from rayctl.kube.calls import Call
from rayctl.kube.errors import Denied
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, FLEETS, NODES, RAY_SERVICES, kind_of
from rayctl.manifests import crd_documents
from rayctl.manifests.installation import NAME, Installation, documents
from tests.contract.servers import Running, serving


async def installed(server: Running) -> HttpTransport:
    admin = HttpTransport(await load_configuration(str(server.kubeconfig)))
    for document in [*crd_documents(), *documents(Installation())]:
        kind, metadata = document["kind"], document["metadata"]
        if kind in ("RayCluster", "Service"):
            continue
        if kind == "CustomResourceDefinition":
            path = CUSTOM_RESOURCE_DEFINITIONS.path(name=metadata["name"])
        elif kind.startswith("ClusterRole"):
            path = f"/apis/{document['apiVersion']}/{kind.lower()}s/{metadata['name']}"
        else:
            path = kind_of(document["apiVersion"], kind).path(metadata.get("namespace", ""), metadata["name"])
        await admin.request(Call.apply(path, document, "test"))
    return admin


@pytest.mark.security("S5")
async def test_each_controller_has_its_own_rights(tmp_path: Path) -> None:
    with serving(tmp_path, durability="memory") as server:
        admin = await installed(server)
        config = tmp_path / "pod"
        document = yaml.safe_load(server.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": await AccountToken(admin, NAME, "rayctl").get()}
        config.write_text(yaml.safe_dump(document))
        pod = await connected_for("fleet-controller", None, str(config))
        fleets = await connected_for("fleet-controller", NAME, str(config))
        services = await connected_as(NAME, "rayservice-controller", str(config))
        try:
            assert (await fleets.request(Call.get(FLEETS.path())))["items"] == []
            assert (await services.request(Call.get(RAY_SERVICES.path())))["items"] == []
            for transport, path in (
                (pod, FLEETS.path()),
                (fleets, RAY_SERVICES.path()),
                (services, FLEETS.path()),
                (fleets, NODES.path()),
                (fleets, "/api/v1/secrets"),
                (services, f"/api/v1/namespaces/{NAME}/secrets"),
            ):
                with pytest.raises(Denied):
                    await transport.request(Call.get(path))
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
            for account in ("rayctl", "default"):
                path = f"/api/v1/namespaces/{NAME}/serviceaccounts/{account}/token"
                with pytest.raises(Denied):
                    await pod.request(Call("POST", path, body=body))
        finally:
            for transport in (pod, fleets, services, admin):
                await transport.close()


class Giving:
    """A server that gives tokens of ten minutes, numbered."""

    def __init__(self) -> None:
        self.given = 0

    async def request(self, call: Call) -> Any:
        assert call.path == "/api/v1/namespaces/n/serviceaccounts/a/token"
        self.given += 1
        end = f"2026-01-01T00:{10 * self.given:02d}:00Z"
        return {"status": {"token": f"token-{self.given}", "expirationTimestamp": end}}


@pytest.mark.security("S3")
async def test_a_token_is_renewed_before_it_ends() -> None:
    began = 1767225600.0  # 2026-01-01
    now = [began]
    token = AccountToken(Giving(), "n", "a", lambda: now[0])  # type: ignore[arg-type]
    assert await token.get() == "token-1"
    now[0] = began + 470  # of 600, four fifths are 480
    assert await token.get() == "token-1"
    now[0] = began + 481
    assert await token.get() == "token-2"
