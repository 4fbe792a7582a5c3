"""A pod's way to the API server, as programs in pods use it: the official client, rayctl's own, nothing by hand."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from rayctl.kube.calls import Call
from rayctl.kube.kinds import ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS
from tests.kubelet.node import FAST, MODES, Node, node

pytestmark = pytest.mark.timeout(120)

PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
OFFICIAL = """
import json, kubernetes
from kubernetes import client, config
config.load_config()
core = client.CoreV1Api()
found = {"pods": [p.metadata.name for p in core.list_namespaced_pod("default").items]}
for name, ask in (("secrets", core.list_namespaced_secret), ("kube-system", core.list_namespaced_pod)):
    try:
        ask("kube-system" if name == "kube-system" else "default")
    except client.ApiException as error:
        found[name] = [error.status, json.loads(error.body)["message"]]
print('found', json.dumps(found))
"""
OWN = """
import asyncio
from rayctl.kube.calls import Call
from rayctl.kube.http import connected
async def main():
    transport = await connected()
    found = await transport.request(Call.get("/api/v1/namespaces/default/pods"))
    print(sorted(item["metadata"]["name"] for item in found["items"]))
    await transport.close()
asyncio.run(main())
"""


async def reader(found: Node) -> None:
    """Make an account that may list pods of its namespace, and nothing else."""
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    subjects = [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}]
    await found.create(SERVICE_ACCOUNTS, {"metadata": {"name": "reader"}})
    await found.create(ROLES, {"metadata": {"name": "reader"}, "rules": [rule]})
    await found.create(ROLE_BINDINGS, {"metadata": {"name": "reader"}, "roleRef": reference, "subjects": subjects})


async def run(found: Node, name: str, command: list[str], **spec: Any) -> str:
    """Run a program in a pod to its end; return its log."""
    asked = {"restartPolicy": "Never", **spec}
    await found.pod(name, container={"command": command}, spec=asked)
    ended = await found.until(name, lambda pod: pod.get("status", {}).get("phase") in ("Succeeded", "Failed"), 60)
    log = await found.log(name)
    assert ended["status"]["phase"] == "Succeeded", log
    return log


async def answers(found: Node, name: str, program: str, **spec: Any) -> dict[str, Any]:
    """Run `OFFICIAL`; return what it found."""
    return dict(json.loads((await run(found, name, ["python", "-c", program], **spec)).rpartition("found ")[2]))


@pytest.mark.parametrize("mode", MODES)
async def test_a_pod_may_do_what_its_account_may(tmp_path: Path, mode: str) -> None:
    async with node(tmp_path, mode, tls=True) as found:
        found.start_proxy()
        await reader(found)
        said = await answers(found, "official", OFFICIAL, serviceAccountName="reader")
        assert said["pods"] == ["official"]
        user = 'User "system:serviceaccount:default:reader" cannot list resource'
        assert said["secrets"][0] == said["kube-system"][0] == 403
        assert user in said["secrets"][1]
        assert 'in the namespace "kube-system"' in said["kube-system"][1]
        own = await run(found, "own", ["python", "-c", OWN], serviceAccountName="reader")
        assert own == "['official', 'own']\n"

        # The account that pods have without naming one is known, and may nothing.
        ask = OFFICIAL.replace('[p.metadata.name for p in core.list_namespaced_pod("default").items]', "[]")
        said = await answers(found, "unnamed", ask)
        assert 'User "system:serviceaccount:default:default"' in said["secrets"][1]


@pytest.mark.skipif("netns" not in MODES, reason="needs root and iproute2")
async def test_the_files_are_where_kubernetes_has_them(tmp_path: Path) -> None:
    async with node(tmp_path, "netns", tls=True) as found:
        found.start_proxy()
        script = (
            f"cd {PATH} && stat -Lc '%n %a' token ca.crt namespace; cat namespace; touch x 2>/dev/null || echo ' ro'"
        )
        said = await run(found, "files", ["sh", "-c", script])
        assert said.splitlines() == ["token 600", "ca.crt 644", "namespace 644", "default ro"]
        where = "echo $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT"
        said = await run(found, "where", ["sh", "-c", where])
        service = await found.transport.request(Call.get("/api/v1/namespaces/default/services/kubernetes"))
        assert said == f"{service['spec']['clusterIP']}:443\n"
        ask = "import ssl, urllib.request as u; c = ssl.create_default_context(cafile='" + PATH + "/ca.crt'); "
        ask += "print('said', u.urlopen('https://kubernetes.default.svc/version', context=c).status)"
        assert await run(found, "name", ["python", "-c", ask]) == "said 200\n"
        none = f"ls {PATH} 2>&1 | wc -l; test -e {PATH} || echo none"
        assert (await run(found, "none", ["sh", "-c", none], automountServiceAccountToken=False)).endswith("none\n")


@pytest.mark.parametrize("mode", MODES)
async def test_tokens_are_renewed_and_end_with_the_pod(tmp_path: Path, mode: str) -> None:
    # A token of 3607 s that is replaced after 0.2 per mille of its life.
    async with node(tmp_path, mode, timing={**FAST, "token_share": 0.0002}) as found:
        token = {"serviceAccountToken": {"path": "mine"}}
        authority = {"configMap": {"name": "kube-root-ca.crt"}}
        volumes = [{"name": "own", "projected": {"sources": [token, authority]}}]
        script = "while :; do cat /own/mine; echo; sleep 0.1; done"
        await found.pod(
            "p",
            script,
            container={"volumeMounts": [{"name": "own", "mountPath": "/own"}]},
            spec={"volumes": volumes, "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0},
        )
        await found.until("p", lambda pod: pod.get("status", {}).get("phase") == "Running")
        seen: set[str] = set()
        deadline = time.monotonic() + 20
        while len(seen) < 3:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
            # The last line may be half of one.
            seen.update((await found.log("p")).split("\n")[:-1])
        tokens = found.server.handler._tokens
        names = {user.name for token in seen if (user := tokens.user_of(token)) is not None}
        assert names == {"system:serviceaccount:default:default"}
        await found.delete("p", grace_s=0)
        assert [tokens.user_of(token) for token in seen] == [None] * len(seen)


async def test_an_account_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    async with node(tmp_path, MODES[-1]) as found:
        await found.pod("p", spec={"serviceAccountName": "late"})

        def waits(pod: Any) -> bool:
            return 'serviceaccount "late" not found' in str(pod.get("status"))

        await found.until("p", waits)
        await found.create(SERVICE_ACCOUNTS, {"metadata": {"name": "late"}})
        await found.until("p", lambda pod: pod["status"]["phase"] == "Running")
