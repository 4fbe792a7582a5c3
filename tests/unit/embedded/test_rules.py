"""Validation rules in CEL: when they hold, when they are not asked, and what is told where they cannot be."""

from __future__ import annotations

import copy
from typing import Any
from unittest import mock

import pytest

from rayctl.embedded.apiserver.requests import Response
from rayctl.embedded.apiserver.schema import rules
from tests.unit.embedded.local import MERGE, WIDGETS, Local

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TANKS = "/apis/test.io/v1/namespaces/default/tanks"
INTEGER = {"type": "integer"}


def definition(spec: dict[str, Any], **root: Any) -> dict[str, Any]:
    found = copy.deepcopy(WIDGETS)
    found["metadata"]["name"] = "tanks.test.io"
    found["spec"]["names"] = {"plural": "tanks", "singular": "tank", "kind": "Tank", "listKind": "TankList"}
    schema = {"type": "object", "properties": {"spec": {"type": "object", **spec}}, **root}
    found["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema
    del found["spec"]["versions"][0]["subresources"]["scale"]
    return found


async def serving(spec: dict[str, Any], **root: Any) -> Local:
    local = await Local().start()
    code, answer = await local.call("POST", DEFINITIONS, definition(spec, **root))
    assert code == 201, answer
    await local.establish("tanks.test.io")
    return local


async def post(local: Local, spec: dict[str, Any], name: str = "t") -> tuple[int, list[tuple[str, str]]]:
    body = {"apiVersion": "test.io/v1", "kind": "Tank", "metadata": {"name": name}, "spec": spec}
    return _causes(*await local.call("POST", TANKS, body))


async def patch(local: Local, spec: dict[str, Any]) -> tuple[int, list[tuple[str, str]]]:
    return _causes(*await local.call("PATCH", f"{TANKS}/t", {"spec": spec}, MERGE))


def _causes(code: int, answer: Any) -> tuple[int, list[tuple[str, str]]]:
    return code, [(cause["field"], cause["message"]) for cause in answer.get("details", {}).get("causes", [])]


def rule(text: str, **more: Any) -> dict[str, Any]:
    return {"x-kubernetes-validations": [{"rule": text, **more}]}


@pytest.fixture
def cel() -> None:
    pytest.importorskip("cel_expr_python")


@pytest.mark.usefixtures("cel")
@pytest.mark.parametrize(
    ("more", "causes"),
    [
        ({}, [("spec", "Invalid value: failed rule: self.a <= self.b")]),
        ({"message": "no"}, [("spec", "Invalid value: no")]),
        ({"messageExpression": "string(self.a) + '>'", "message": "no"}, [("spec", "Invalid value: 3>")]),
        ({"messageExpression": "self.c", "message": "no"}, [("spec", "Invalid value: no")]),
        (
            {"reason": "FieldValueForbidden", "fieldPath": ".a"},
            [("spec.a", "Forbidden: failed rule: self.a <= self.b")],
        ),
    ],
    ids=["plain", "message", "expression", "expression-fails", "reason"],
)
async def test_what_is_told(more: dict[str, Any], causes: list[tuple[str, str]]) -> None:
    properties = {"a": INTEGER, "b": INTEGER, "c": INTEGER}
    local = await serving({"properties": properties, **rule("self.a <= self.b", **more)})
    assert await post(local, {"a": 1, "b": 2}) == (201, [])
    assert await post(local, {"a": 3, "b": 2}, "other") == (422, causes)


@pytest.mark.usefixtures("cel")
async def test_changes_and_what_was_there_before() -> None:
    ports = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "number": {**INTEGER, **rule("self >= oldSelf", message="grows")},
            },
        },
    }
    local = await serving({"properties": {"ports": ports, "x": INTEGER}})
    assert (await post(local, {"ports": [{"name": "a", "number": 5}, {"name": "b", "number": 9}]}))[0] == 201
    assert (await patch(local, {"ports": [{"name": "b", "number": 9}, {"name": "a", "number": 6}]}))[0] == 200
    code, causes = await patch(local, {"ports": [{"name": "b", "number": 1}, {"name": "c", "number": 0}]})
    assert (code, causes) == (422, [("spec.ports[0].number", "Invalid value: 1: grows")])


@pytest.mark.usefixtures("cel")
async def test_what_broke_a_rule_before_it_was_made_may_stay() -> None:
    properties = {"a": {**INTEGER}, "b": INTEGER}
    local = await serving({"properties": properties})
    assert (await post(local, {"a": -1}))[0] == 201
    stricter = definition({"properties": {"a": {**INTEGER, **rule("self > 0")}, "b": INTEGER}})
    patched = await local.call("PATCH", f"{DEFINITIONS}/tanks.test.io", {"spec": stricter["spec"]}, MERGE)
    assert patched[0] == 200
    assert (await patch(local, {"b": 1}))[0] == 200
    assert (await patch(local, {"a": -2}))[0] == 422


@pytest.mark.usefixtures("cel")
async def test_rules_at_the_root_see_the_name_and_an_endless_one_ends() -> None:
    local = await serving({}, **rule("self.metadata.name.startsWith('t')"))
    assert (await post(local, {}, "t"))[0] == 201
    assert (await post(local, {}, "x"))[0] == 422
    numbers = {"type": "array", "items": INTEGER}
    local = await serving(
        {"properties": {"n": {**numbers, **rule("self.all(x, self.all(y, self.all(z, x + y + z > 0)))")}}}
    )
    code, causes = await post(local, {"n": list(range(1, 1000))})
    assert code == 422
    assert "rule evaluation error" in causes[0][1]


@pytest.mark.usefixtures("cel")
@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"rule": ""}, "rule is not specified"),
        ({"rule": "self +"}, "Syntax error"),
        ({"rule": "nothing(self)"}, "undeclared reference to 'nothing'"),
        ({"rule": "self.b.c == 1"}, "undefined field 'b'"),
        ({"rule": "true", "reason": "Because"}, "must be one of"),
        ({"rule": 5}, "must be a string"),
        ({"rule": "true", "messageExpression": "'"}, "compilation failed"),
        (5, "must be an object"),
    ],
)
async def test_rules_that_are_none_are_refused(wrong: Any, text: str) -> None:
    local = await Local().start()
    made = definition({"properties": {"a": INTEGER}, "x-kubernetes-validations": [wrong]})
    code, answer = await local.call("POST", DEFINITIONS, made)
    assert code == 422
    assert text in answer["message"]


async def warnings_of(made: dict[str, Any]) -> tuple[int, list[str]]:
    import json

    local = await Local().start()
    answer = await local.send("POST", DEFINITIONS, json.dumps(made).encode(), content_type="application/json")
    assert isinstance(answer, Response)
    return answer.code, [value for name, value in answer.headers if name == "Warning"]


@pytest.mark.usefixtures("cel")
async def test_functions_that_only_kubernetes_has_are_told_of() -> None:
    code, told = await warnings_of(definition({"properties": {"a": {"type": "string", **rule("isQuantity(self)")}}}))
    assert code == 201
    assert len(told) == 1
    assert "isQuantity(self)" in told[0]
    assert await warnings_of(definition({"properties": {"a": {**INTEGER, **rule("self > 0")}}})) == (201, [])


async def test_without_the_package_rules_are_stored_not_checked_and_that_is_told() -> None:
    with mock.patch.object(rules, "_environment", return_value=None):
        made = definition({"properties": {"a": {**INTEGER, **rule("self > 0")}}})
        code, told = await warnings_of(made)
        assert code == 201
        why = "1 rules are stored and not checked, because cel-expr-python is not installed"
        assert told == [f'299 - "x-kubernetes-validations: {why}"']
        local = await serving({"properties": {"a": {**INTEGER, **rule("self > 0")}}})
        assert (await post(local, {"a": -1}))[0] == 201
