"""Roles and tenants: who may look, who may change, and that nobody learns of what is another's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rayctl.api.auth import Principal, Role, TokenBook
from rayctl.api.kube.admission import forbidden_fields
from rayctl.errors import Forbidden, InvalidRequest, NotAuthenticated
from rayctl.kube.kinds import FLEETS, RAY_CLUSTERS

from ..conftest import REQUEST, check_problem
from .conftest import Kubernetes, cluster, fleet

AsCaller = Callable[[str], httpx2.AsyncClient]
READS = ("", "/rollout", "/history", "/tree", "/explain", "/events")
CHANGES = (
    ("PUT", "/v1/fleets/a", fleet("a")),
    ("POST", "/v1/fleets", fleet("b")),
    ("PATCH", "/v1/fleets/a", {"spec": {"replicas": 1}}),
    ("POST", "/v1/fleets/a:scale", {"replicas": 1}),
    ("POST", "/v1/fleets/a:pause", None),
    ("POST", "/v1/fleets/a:restart", None),
    ("DELETE", "/v1/fleets/a", None),
    ("POST", "/v1/runs", REQUEST),
    ("PUT", "/v1/tenants/red", {}),
)


@pytest.mark.security("S6")
async def test_viewers_look_and_change_nothing(as_caller: AsCaller, kubernetes: Kubernetes) -> None:
    await kubernetes.create(FLEETS, fleet("a"))
    viewer = as_caller("viewer")
    for path in READS:
        assert (await viewer.get(f"/v1/fleets/a{path}")).status_code == 200, path
    assert (await viewer.post("/v1/fleets/a:plan")).status_code == 200
    for method, path, body in CHANGES:
        check_problem(await viewer.request(method, path, json=body), 403, "role-missing")
        check_problem(await as_caller("red-viewer").request(method, path, json=body), 403, "role-missing")
    assert (await kubernetes.get(FLEETS, "a"))["metadata"]["generation"] == 1


async def test_operators_change_and_do_not_delete(as_caller: AsCaller) -> None:
    operator = as_caller("operator")
    for method, path, body in CHANGES:
        answer = await operator.request(method, path, json=body)
        if method == "DELETE" or "tenants" in path:
            check_problem(answer, 403, "role-missing")
        else:
            assert answer.status_code in (200, 201, 202), (path, answer.text)


async def test_tenants_have_the_namespace_of_their_name(as_caller: AsCaller, kubernetes: Kubernetes) -> None:
    red, blue, admin = as_caller("red"), as_caller("blue"), as_caller("admin")
    made = await red.put("/v1/fleets/a", json=fleet("a"))
    assert made.json()["namespace"] == "red"
    assert (await kubernetes.get(FLEETS, "a", "red"))["metadata"]["namespace"] == "red"
    assert [row["name"] for row in (await red.get("/v1/fleets")).json()["items"]] == ["a"]
    assert (await blue.get("/v1/fleets")).json()["items"] == []
    assert [row["namespace"] for row in (await admin.get("/v1/fleets")).json()["items"]] == ["red"]
    assert (await admin.get("/v1/fleets/a?namespace=red")).status_code == 200
    check_problem(await admin.get("/v1/fleets/a"), 404, "object-not-found")
    check_problem(await blue.get("/v1/fleets?namespace=red"), 403, "other-tenant")
    check_problem(await blue.get("/v1/events?namespace=red"), 403, "other-tenant")
    check_problem(await blue.get("/v1/changes?namespace=red"), 403, "other-tenant")


@pytest.mark.security("S6")
async def test_what_is_anothers_looks_as_if_it_were_not_there(as_caller: AsCaller) -> None:
    red, blue = as_caller("red"), as_caller("blue")
    await red.put("/v1/fleets/a", json=fleet("a"))
    operation = (await red.post("/v1/fleets/a:pause")).headers["location"]
    check_problem(await blue.get(operation), 404, "operation-not-found")

    def told(answer: httpx2.Response) -> tuple[int, str]:
        return answer.status_code, answer.text.replace("fleets/b", "fleets/a").replace("'b'", "'a'").split("trace_id")[
            0
        ]

    for method, path, body in CHANGES:
        if not path.startswith("/v1/fleets/a"):
            continue
        there = await blue.request(method, f"{path}?namespace=red", json=body)
        changed = None if body is None else {**body, **({"metadata": {"name": "b"}} if "metadata" in body else {})}
        missing = await blue.request(method, f"{path.replace('/a', '/b')}?namespace=red", json=changed)
        assert there.status_code == 404, (method, path, there.text)
        assert told(there) == told(missing)
    for path in READS:
        there = await blue.get(f"/v1/fleets/a{path}?namespace=red")
        missing = await blue.get(f"/v1/fleets/b{path}?namespace=red")
        assert there.status_code == 404
        assert told(there) == told(missing)
    escaped = {**fleet("a"), "metadata": {"name": "a", "namespace": "red"}}
    check_problem(await blue.put("/v1/fleets/a", json=escaped), 404, "object-not-found")
    check_problem(await blue.post("/v1/fleets", json=escaped), 403, "other-tenant")


def pod(**spec: Any) -> dict[str, Any]:
    document = cluster("c")
    document["spec"]["headGroupSpec"]["template"]["spec"].update(spec)
    return document


PRIVILEGED = [
    pod(hostNetwork=True),
    pod(hostPID=True),
    pod(serviceAccountName="rayctl"),
    pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
    pod(containers=[{"name": "x", "securityContext": {"privileged": True}}]),
    pod(containers=[{"name": "x", "securityContext": {"allowPrivilegeEscalation": True}}]),
    pod(containers=[{"name": "x", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]),
    pod(containers=[{"name": "x", "ports": [{"containerPort": 1, "hostPort": 80}]}]),
    pod(initContainers=[{"name": "x", "securityContext": {"privileged": True}}]),
    {**cluster("c"), "metadata": {"name": "c", "ownerReferences": [{"uid": "1"}]}},
    {**cluster("c"), "metadata": {"name": "c", "finalizers": ["x/y"]}},
]


@pytest.mark.parametrize("document", PRIVILEGED)
@pytest.mark.security("S19")
async def test_tenants_do_not_borrow_this_services_rights(as_caller: AsCaller, document: dict[str, Any]) -> None:
    red = as_caller("red")
    problem = check_problem(await red.put("/v1/clusters/c", json=document), 403, "not-for-tenants")
    assert problem["errors"]
    check_problem(await red.post("/v1/clusters", json=document), 403, "not-for-tenants")
    changes = {key: value for key, value in document.items() if key in ("metadata", "spec")}
    check_problem(await red.patch("/v1/clusters/c", json=changes), 403, "not-for-tenants")


@pytest.mark.security("S19")
async def test_patches_are_looked_through_at_every_level(as_caller: AsCaller, kubernetes: Kubernetes) -> None:
    await kubernetes.create(RAY_CLUSTERS, cluster("c"), "red")
    for inner in ({"hostNetwork": True}, {"serviceAccountName": "rayctl"}, {"volumes": [{"hostPath": {"path": "/"}}]}):
        changes = {"spec": {"headGroupSpec": {"template": {"spec": inner}}}}
        check_problem(await as_caller("red").patch("/v1/clusters/c", json=changes), 403, "not-for-tenants")


def test_what_is_harmless_passes() -> None:
    harmless = pod(
        serviceAccountName="default",
        volumes=[{"name": "v", "emptyDir": {}}, 5],
        containers=[{"name": "x", "securityContext": {"capabilities": {"drop": ["ALL"]}, "runAsUser": 1}}, None],
    )
    assert list(forbidden_fields(harmless)) == []
    nested = {"spec": {"template": {"spec": {"a": [{"template": {"spec": {"containers": [], "hostIPC": True}}}]}}}}
    assert [place["pointer"] for place in forbidden_fields(nested)] == ["/spec/template/spec/a/0/template/spec/hostIPC"]


async def test_what_another_put_there_stays_where_a_tenant_changes_something_else(
    as_caller: AsCaller, kubernetes: Kubernetes
) -> None:
    await kubernetes.create(RAY_CLUSTERS, pod(hostNetwork=True), "red")
    assert (await as_caller("red").post("/v1/clusters/c:scale", json={"replicas": 2})).status_code == 202


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_roles_in_the_token_file(tmp_path: Path) -> None:
    book = TokenBook.from_file(write(tmp_path / "t", "a\nb * viewer\nc red operator\nd red\ne red admin\n"))
    found = [book.authenticate(f"Bearer {token}") for token in "abcde"]
    assert [(who.tenant, who.role) for who in found] == [
        (None, Role.ADMIN),
        (None, Role.VIEWER),
        ("red", Role.OPERATOR),
        ("red", Role.ADMIN),
        ("red", Role.ADMIN),
    ]
    for wrong in ("a red boss\n", "a * viewer more\n", "a red viewer\na red admin\n"):
        with pytest.raises(InvalidRequest):
            TokenBook.from_file(write(tmp_path / "t", wrong))
    with pytest.raises(Forbidden):
        Principal(None, Role.VIEWER).need(Role.OPERATOR)


def test_sessions_end_with_their_time_and_with_their_token(tmp_path: Path) -> None:
    path = write(tmp_path / "t", "a-token\nb-token red viewer\n")
    book = TokenBook.from_file(path)
    session = book.open_session("b-token", until=1000)
    assert "b-token" not in session
    principal, mark = book.of_session(session, now=999)
    assert principal == Principal("red", Role.VIEWER)
    assert book.of_session(session, now=1)[1] == mark
    assert TokenBook.from_file(path).of_session(session, now=999)[1] == mark, "sessions survive a restart"
    for wrong in (session.replace("1000.", "9999."), session[:-1], session + "0", "", ".", "1000.", "x" + session):
        with pytest.raises(NotAuthenticated):
            book.of_session(wrong, now=999)
    with pytest.raises(NotAuthenticated):
        book.of_session(session, now=1000)
    with pytest.raises(NotAuthenticated):
        book.open_session("c-token", until=1000)
    write(path, "a-token\n# one less\n")
    with pytest.raises(NotAuthenticated):
        book.of_session(session, now=999)
