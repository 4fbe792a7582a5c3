"""Everything that a request can make grow has a bound: one case for each, and its refusal changes nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from rayctl.embedded.apiserver.access.tokens import ADMIN
from rayctl.embedded.apiserver.requests import Response
from rayctl.embedded.apiserver.server import Options, Server
from tests.unit.embedded.local import APPLY, MERGE, WIDGETS, Local

MAPS = "/api/v1/namespaces/default/configmaps"
WIDGET = "/apis/test.io/v1/namespaces/default/widgets"
JSON, YAML, STEPS = "application/json", "application/yaml", "application/json-patch+json"


@pytest.fixture
async def local() -> Local:
    found = await Local().start()
    assert (await found.call("POST", MAPS, {"metadata": {"name": "there"}, "data": {"k": "v" * 1000}}))[0] == 201
    return found


def nested(depth: int) -> bytes:
    return b'{"metadata":{"name":"x"},"spec":{"free":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}}"


def bomb() -> bytes:
    """YAML that is small and says a billion."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    return "\n".join(lines).encode()


def a_map(**metadata: Any) -> bytes:
    return json.dumps({"metadata": {"name": "x", **metadata}}).encode()


def definition(pattern: str) -> bytes:
    document = json.loads(json.dumps(WIDGETS).replace("widget", "gadget").replace("Widget", "Gadget"))
    schema = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["color"]["pattern"] = pattern
    return json.dumps(document).encode()


MANY = json.dumps({"kind": "Widget", "apiVersion": "test.io/v1", "metadata": {"name": "x"}}).encode()[:-1]
ADD = {"op": "add", "path": "/data/x", "value": "y"}
DOUBLE = {"op": "copy", "from": "/data/k", "path": "/data/k0"}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.mark.security("S16")
@pytest.mark.parametrize(
    ("method", "target", "kind", "body", "codes"),
    [
        ("POST", MAPS, JSON, b'{"data":{"k":"' + b"x" * 3_200_000 + b'"}}', (413,)),
        ("POST", WIDGET, JSON, nested(200), (400,)),
        ("POST", WIDGET, JSON, b"[" * 100_000, (400,)),
        ("POST", WIDGET, YAML, b"a: " * 1 + b"[" * 20_000, (400,)),
        ("POST", WIDGET, JSON, MANY + b',"spec":{"free":{"a":[' + b"1," * 100_001 + b"1]}}}", (400,)),
        ("POST", MAPS, YAML, bomb(), (400,)),
        ("POST", MAPS, JSON, gzip.compress(json.dumps({"metadata": {"name": "x"}}).encode()), (400, 415)),
        ("PATCH", f"{MAPS}/there", STEPS, json.dumps([ADD] * 10_001).encode(), (413, 422)),
        (
            "PATCH",
            f"{MAPS}/there",
            STEPS,
            json.dumps([{**DOUBLE, "from": "", "path": f"/data/k{number}"} for number in range(40)]).encode(),
            (400, 413, 422),
        ),
        ("PATCH", f"{MAPS}/there", MERGE, b'{"data":{"k":"' + b"x" * 1_100_000 + b'"}}', (422,)),
        ("PATCH", f"{WIDGET}/w?fieldManager=m", APPLY, bomb(), (400,)),
        ("PATCH", f"{WIDGET}/w?fieldManager={'m' * 200}", APPLY, MANY + b"}", (400, 422)),
        ("GET", f"{MAPS}?labelSelector={','.join(['a=b'] * 101)}", JSON, b"", (400,)),
        ("GET", f"{MAPS}?fieldSelector={','.join(['metadata.name=b'] * 102)}", JSON, b"", (400,)),
        ("GET", f"{MAPS}?continue={'x' * 5000}", JSON, b"", (400,)),
        ("POST", DEFINITIONS, JSON, definition("(a+)" * 2000), (422,)),
        (
            "POST",
            f"{MAPS}",
            JSON,
            json.dumps({"metadata": {"name": "x", "annotations": {"a": "b" * 270_000}}}).encode(),
            (422,),
        ),
        ("POST", f"{MAPS}", JSON, json.dumps({"metadata": {"name": "x" * 300}}).encode(), (422,)),
        ("POST", f"{MAPS}", JSON, json.dumps({"metadata": {"name": "x", "labels": {"a": "b" * 64}}}).encode(), (422,)),
    ],
    ids=[
        "body",
        "depth",
        "depth that is no JSON",
        "depth in YAML",
        "values",
        "aliases in YAML",
        "compressed",
        "operations",
        "copies",
        "data",
        "aliases in an apply",
        "manager",
        "label terms",
        "field terms",
        "continue",
        "pattern",
        "annotations",
        "name",
        "label",
    ],
)
async def test_too_much_is_refused(
    local: Local, method: str, target: str, kind: str, body: bytes, codes: tuple[int, ...]
) -> None:
    before = local.store.revision
    began = asyncio.get_running_loop().time()
    encoding = {"content_encoding": "gzip"} if body[:2] == b"\x1f\x8b" else {}
    answer = await asyncio.wait_for(local.send(method, target, body, content_type=kind, **encoding), 20)
    assert isinstance(answer, Response)
    assert answer.code in codes, answer.body[:300]
    assert len(answer.body) < 20_000, "a refusal does not send back what was sent"
    assert local.store.revision == before
    assert asyncio.get_running_loop().time() - began < 10
    assert (await local.call("GET", f"{MAPS}/there"))[0] == 200


@pytest.mark.security("S16")
async def test_a_text_made_for_a_pattern_takes_no_time(local: Local) -> None:
    """A pattern with nested repetitions is matched in linear time, or not at all on long texts."""
    assert (await local.send("POST", DEFINITIONS, definition("^(a+)+$"), content_type=JSON)).code == 201  # type: ignore[union-attr]
    await local.establish("gadgets.test.io")
    body = {
        "apiVersion": "test.io/v1",
        "kind": "Gadget",
        "metadata": {"name": "x"},
        "spec": {"color": "a" * 40_000 + "!"},
    }
    began = asyncio.get_running_loop().time()
    code, _ = await local.call("POST", "/apis/test.io/v1/namespaces/default/gadgets", body)
    assert code == 422
    assert asyncio.get_running_loop().time() - began < 2


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    running = Server(Options(tokens=[("t", ADMIN)], controllers=False))
    await running.start()
    yield running
    await running.stop()


@pytest.mark.security("S16")
async def test_headers_that_do_not_end_are_not_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends a header every now and then holds no connection for ever."""
    from rayctl.embedded.apiserver import front

    monkeypatch.setattr(front, "HEADERS_WITHIN_S", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    writer.write(f"GET {MAPS} HTTP/1.1\r\nHost: localhost\r\n".encode())

    async def drip() -> None:
        while True:
            writer.write(b"X-More: y\r\n")
            await asyncio.sleep(0.05)  # slowly: that is the attack

    dripping = asyncio.ensure_future(drip())
    try:
        assert await asyncio.wait_for(reader.read(), 10) is not None  # the connection ends
    finally:
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        writer.close()


@pytest.mark.security("S16")
async def test_the_http_api_bounds_what_it_reads(api: FastAPI, as_caller: Callable[[str], httpx2.AsyncClient]) -> None:
    client = as_caller("admin")
    cases: list[tuple[str, dict[str, Any], int]] = [
        ("/v1/runs", {"content": b'{"a":"' + b"x" * 300_000 + b'"}', "headers": {"Content-Type": JSON}}, 413),
        ("/v1/runs", {"content": b"[" * 100_000, "headers": {"Content-Type": JSON}}, 400),
        ("/v1/runs", {"content": b"{}", "headers": {"Content-Type": JSON, "Content-Length": "9" * 30}}, 413),
        ("/v1/runs", {"content": b"{}", "headers": {"Content-Type": "text/xml"}}, 415),
        ("/v1/fleets", {"content": b'{"a":"' + b"x" * 300_000 + b'"}', "headers": {"Content-Type": JSON}}, 413),
        ("/v1/fleets", {"content": nested(300), "headers": {"Content-Type": JSON}}, 400),
        ("/v1/uploads", {"content": b"a\n" * 200_000, "headers": {"Content-Type": "text/csv"}}, 413),
    ]
    for path, sent, code in cases:
        answer = await client.post(path, **sent)
        assert answer.status_code == code, (path, answer.text[:200])
    for query in ("/v1/fleets?limit=100000", "/v1/runs?limit=100000", f"/v1/fleets?label={'a' * 20_000}"):
        assert (await client.get(query)).status_code in (400, 422), query
