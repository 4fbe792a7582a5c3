"""Whatever a client sends: an answer in the API's words, never a 5xx of ours, never an exception, never a hang."""

from __future__ import annotations

import copy
import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayctl.embedded.apiserver.protobuf import NotReadable, decode_protobuf
from rayctl.embedded.apiserver.requests import Response
from rayctl.embedded.apiserver.selectors import parse_labels
from tests.unit.embedded.local import APPLY, MERGE, Local
from tests.unit.embedded.local import WIDGETS as DEFINITION

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
WORDS = [
    "metadata",
    "name",
    "labels",
    "spec",
    "status",
    "ports",
    "finalizers",
    "ownerReferences",
    "free",
    "kind",
    "tags",
]
LIKELY = st.recursive(
    st.none() | st.integers(-5, 5) | st.sampled_from(["a", "", "A b", "x" * 300, "1", "test.io/v1", "Widget"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=15,
)
WIDGETS = "/apis/test.io/v1/namespaces/default/widgets"
MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
KNOWN_500 = (
    *("failed to create typed patch object", "resourceVersion", "strconv.ParseUint", "unknown patch type", "map: "),
    "does not exist",
)
"""Answers with 500 that kube-apiserver gives as well; clients know them."""
WIDGET = {"apiVersion": "test.io/v1", "kind": "Widget", "metadata": {"name": "w"}}
PATH_PARTS = ["api", "apis", "v1", "test.io", "namespaces", "default", "widgets", "w", "..", "%00", "é"]
PARAMETERS = [
    *("labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "dryRun", "fieldManager", "pretty"),
]


def check(answer: Any, what: object) -> None:
    assert isinstance(answer, Response)
    if answer.code >= 500:
        assert any(text in answer.body.decode() for text in KNOWN_500), (what, answer.body)
    if answer.content_type == "application/json" and answer.code >= 400:
        document = json.loads(answer.body)
        assert document["kind"] == "Status"
        assert document["code"] == answer.code


@settings(max_examples=150, deadline=None)
@given(body=JSON | LIKELY, target=st.sampled_from([WIDGETS, MAPS, PODS, "/api/v1/namespaces"]))
@pytest.mark.security("S24")
async def test_bodies(body: Any, target: str) -> None:
    local = await Local().start()
    kinds = {WIDGETS: ("test.io/v1", "Widget"), MAPS: ("v1", "ConfigMap"), PODS: ("v1", "Pod")}
    variants = [body]
    if isinstance(body, dict) and target in kinds:
        version, kind = kinds[target]
        variants.append({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, **body})
    for variant in variants:
        check(await local.send("POST", target, json.dumps(variant).encode(), content_type="application/json"), variant)


@settings(max_examples=150, deadline=None)
@given(
    patch=JSON | LIKELY,
    kind=st.sampled_from([MERGE, APPLY, "application/json-patch+json", "application/strategic-merge-patch+json"]),
    target=st.sampled_from([f"{WIDGETS}/w", f"{WIDGETS}/w/status", f"{WIDGETS}/w/scale", f"{MAPS}/m", f"{PODS}/p"]),
)
@pytest.mark.security("S24")
async def test_patches(patch: Any, kind: str, target: str) -> None:
    local = await Local().start()
    await local.call("POST", WIDGETS, {**WIDGET, "spec": {}})
    await local.call("POST", MAPS, {"metadata": {"name": "m"}, "data": {"a": "b"}})
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await local.call("POST", PODS, pod)
    if kind == APPLY and isinstance(patch, dict):
        patch = {"apiVersion": "test.io/v1", "kind": "Widget", **patch}
    check(await local.send("PATCH", f"{target}?fieldManager=f", json.dumps(patch).encode(), content_type=kind), patch)
    for path in (WIDGETS, MAPS, PODS):
        assert (await local.call("GET", path))[0] == 200


OPERATIONS = st.lists(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]),
            "path": st.sampled_from(["", "/", "/spec", "/spec/ports/-", "/spec/ports/0", "/metadata", "/a~1b", "a"]),
        },
        optional={"value": LIKELY, "from": st.sampled_from(["/spec", "/metadata/name", "", "/x"])},
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(operations=OPERATIONS)
@pytest.mark.security("S24")
async def test_json_patches(operations: list[dict[str, Any]]) -> None:
    local = await Local().start()
    spec = {"ports": [{"number": 1}], "color": "red"}
    await local.call("POST", WIDGETS, {**WIDGET, "spec": spec})
    raw = json.dumps(operations).encode()
    check(await local.send("PATCH", f"{WIDGETS}/w", raw, content_type="application/json-patch+json"), operations)


@settings(max_examples=200, deadline=None)
@given(
    path=st.lists(
        st.sampled_from(["api", "apis", "v1", "test.io", "namespaces", "default", "widgets", "w", "..", "%00", "é"]),
        max_size=7,
    ),
    query=st.dictionaries(
        st.sampled_from(PARAMETERS),
        st.text(string.printable, max_size=12),
        max_size=3,
    ),
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"]),
)
@pytest.mark.security("S24")
async def test_paths_and_queries(path: list[str], query: dict[str, str], method: str) -> None:
    from urllib.parse import urlencode

    if query.get("resourceVersion", "").strip().isdigit():
        return  # a revision that has not been reached is waited for
    local = await Local().start()
    check(await local.send(method, "/" + "/".join(path) + "?" + urlencode(query)), (method, path, query))


@given(text=st.text(string.printable, max_size=30))
@pytest.mark.security("S24")
def test_selectors(text: str) -> None:
    from rayctl.embedded.apiserver.errors import ApiError

    try:
        parse_labels(text).matches({"metadata": {"labels": {"a": "b"}}})
    except ApiError as error:
        found = error.code
    else:
        found = 200
    assert found in (200, 400)


@given(raw=st.binary(max_size=60))
@pytest.mark.security("S24")
def test_protobuf(raw: bytes) -> None:
    for given_bytes in (
        raw,
        b"k8s\x00" + raw,
        b"k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12" + bytes([len(raw)]) + raw,
    ):
        try:
            decode_protobuf(given_bytes)
        except NotReadable:
            continue


@pytest.mark.security("S16")
async def test_deep_and_wide_bodies_are_refused() -> None:
    local = await Local().start()
    raw = b'{"metadata":{"name":"x"},"data":' + b"[" * 5000 + b"]" * 5000 + b"}"
    answer = await local.send("POST", MAPS, raw, content_type="application/json")
    assert isinstance(answer, Response)
    assert answer.code == 400
    wide = {
        "apiVersion": "test.io/v1",
        "kind": "Widget",
        "metadata": {"name": "x"},
        "spec": {"free": {"l": [0] * 200_000}},
    }
    assert (await local.call("POST", WIDGETS, wide))[0] == 400
    bomb = b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n"
    answer = await local.send("POST", MAPS, bomb, content_type="application/yaml")
    assert isinstance(answer, Response)
    assert answer.code == 400


async def test_texts_beyond_the_first_plane_survive_and_broken_ones_become_whole() -> None:
    local = await Local().start()
    escaped = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s"},"data":{"k":"\\ud83d\\ude00 \\ud800"}}'
    for name, target, method, kind in (
        (b"posted", MAPS, "POST", "application/json"),
        (b"applied", f"{MAPS}/applied?fieldManager=f", "PATCH", APPLY),
    ):
        answer = await local.send(method, target, escaped % name, content_type=kind)
        assert isinstance(answer, Response)
        assert answer.code == 201, answer.body
        assert json.loads(answer.body)["data"]["k"] == "\U0001f600 \ufffd"


REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@pytest.mark.parametrize("target", [REVIEW, "/apis/authentication.k8s.io/v1/tokenreviews"])
@pytest.mark.parametrize(
    "body",
    [
        {"spec": "x"},
        {"spec": {"token": {"a": 1}, "resourceAttributes": "x"}},
        {"spec": {"token": 5, "nonResourceAttributes": 7}},
        {"metadata": "x", "spec": {"token": "t"}},
        {"spec": {"groups": 5, "resourceAttributes": {"verb": ["get"]}}},
    ],
)
async def test_reviews_of_the_wrong_shape_are_refused(target: str, body: Any) -> None:
    local = await Local().start()
    code, answer = await local.call("POST", target, body)
    assert (code, answer["kind"]) in ((400, "Status"), (201, "TokenReview"))


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "X"])
@pytest.mark.parametrize("target", [WIDGETS, f"{WIDGETS}/w", f"{WIDGETS}/w/status", MAPS, f"{PODS}/p/log", REVIEW])
async def test_methods_that_are_no_verbs(method: str, target: str) -> None:
    local = await Local().start()
    assert (await local.call(method, target))[0] == 405


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": False}},
        {"properties": {"a": {"type": "array", "items": {"type": 5}}}},
        {"properties": {"a": {"type": "string", "pattern": 5}}},
        {"properties": {"a": {"type": "integer", "minimum": "x"}}},
        {"properties": {"a": {"type": "object", "required": "x"}}},
        {"properties": {"a": {"type": "string", "enum": 1}}},
        {"properties": {"a": {"allOf": [1], "type": "string"}}},
        {"properties": {"a": {"not": 1, "type": "string"}}},
        {"properties": []},
        {"properties": {"a": {"type": "object", "additionalProperties": 4}}},
        {
            "properties": {
                "a": {"type": "array", "items": {"properties": {"k": 3}}, "x-kubernetes-list-map-keys": ["k"]}
            }
        },
    ],
)
async def test_schemas_that_are_none_are_refused(schema: dict[str, Any]) -> None:
    local = await Local().start()
    definition = copy.deepcopy(DEFINITION)
    definition["metadata"]["name"] = "others.test.io"
    definition["spec"]["names"] = {"plural": "others", "singular": "other", "kind": "Other", "listKind": "OtherList"}
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = {"type": "object", **schema}
    target = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert (await local.call("POST", target, definition))[0] == 422
