"""Server-side apply: laws that hold whatever several managers apply, update and drop, in any order."""

from __future__ import annotations

import copy
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from rayctl.embedded.apiserver.apply import managers
from rayctl.embedded.apiserver.apply.fields import Fields
from tests.unit.embedded.local import MERGE, Local

TARGET = "/apis/test.io/v1/namespaces/default/widgets/w"
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "color": st.sampled_from(["red", "blue"]),
        "replicas": st.integers(0, 3),
        "tags": st.lists(st.sampled_from("abc"), unique=True, max_size=3),
        "limits": st.dictionaries(st.sampled_from(["cpu", "mem"]), st.sampled_from(["1", "2"]), max_size=2),
        "ports": st.lists(
            st.fixed_dictionaries({"number": st.integers(1, 3)}, optional={"name": st.sampled_from(["x", "y"])}),
            max_size=3,
            unique_by=lambda port: port["number"],
        ),
    },
)
STEPS = st.lists(st.tuples(st.sampled_from(["one", "two", "update"]), SPECS), min_size=1, max_size=6)


def owned(document: dict[str, Any]) -> dict[str, Fields]:
    entries = document["metadata"].get("managedFields") or []
    return {f"{e['manager']}/{e['operation']}": Fields.parse(e["fieldsV1"]) for e in entries}


@settings(max_examples=120, deadline=None)
@given(steps=STEPS)
async def test_what_a_manager_applies_is_there_and_its_own(steps: list[tuple[str, dict[str, Any]]]) -> None:
    local = await Local().start()
    for manager, spec in steps:
        if manager == "update":
            code, found = await local.call("PATCH", f"{TARGET}?fieldManager=hand", {"spec": spec}, MERGE)
            assert code in (200, 404)
            continue
        code, found = await local.apply(manager, "w", spec, force=True)
        assert code in (200, 201), found
        stored = found.get("spec", {})
        for name, value in spec.items():
            if name in ("tags", "ports"):
                continue
            if isinstance(value, dict):
                assert value.items() <= stored.get(name, {}).items()
            else:
                assert stored[name] == value
        assert set(spec.get("tags", [])) <= set(stored.get("tags", []))
        numbers = {port["number"]: port for port in stored.get("ports", [])}
        assert len(numbers) == len(stored.get("ports", []))
        for port in spec.get("ports", []):
            assert port.items() <= numbers[port["number"]].items()


def _without_empty(spec: dict[str, Any]) -> dict[str, Any]:
    # An applied empty list belongs to nobody (as in Kubernetes), and so stays when its author drops it.
    return {name: value for name, value in spec.items() if value != [] and value != {}}


@settings(max_examples=80, deadline=None)
@given(spec=SPECS.map(_without_empty), other=SPECS.map(_without_empty))
async def test_applying_again_changes_nothing_and_dropping_undoes(spec: dict[str, Any], other: dict[str, Any]) -> None:
    local = await Local().start()
    _, first = await local.apply("one", "w", spec, force=True)
    _, again = await local.apply("one", "w", spec, force=True)
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    await local.apply("two", "w", other, force=True)
    await local.apply("two", "w", {}, force=True)
    _, restored = await local.apply("one", "w", spec, force=True)
    assert restored["spec"] == first["spec"]
    left = owned(restored)
    assert left["one/Apply"] == owned(first)["one/Apply"]
    assert set(left.pop("two/Apply", Fields()).paths()) <= {("f:spec",)}


@settings(max_examples=80, deadline=None)
@given(mine=SPECS, theirs=SPECS)
async def test_a_conflict_is_told_and_nothing_happens(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    local = await Local().start()
    _, before = await local.apply("one", "w", mine)
    code, answer = await local.apply("two", "w", theirs)
    _, after = await local.call("GET", TARGET)
    clash = [name for name in ("color", "replicas") if name in mine and name in theirs and mine[name] != theirs[name]]
    clash += [
        f"limits.{key}"
        for key in mine.get("limits", {})
        if theirs.get("limits", {}).get(key, mine["limits"][key]) != mine["limits"][key]
    ]
    names = {port["number"]: port.get("name") for port in mine.get("ports", [])}
    clash += [
        f"ports[number={port['number']}].name"
        for port in theirs.get("ports", [])
        if port.get("name") and names.get(port["number"]) and names[port["number"]] != port["name"]
    ]
    if clash:
        assert code == 409
        assert {cause["field"] for cause in answer["details"]["causes"]} == {f".spec.{name}" for name in clash}
        assert after == before
    else:
        assert code == 200


@given(
    paths=st.lists(st.lists(st.sampled_from(["f:a", "f:b", 'k:{"n":1}', 'v:"x"']), min_size=1, max_size=3), max_size=6)
)
def test_field_sets_come_back_from_their_wire_form_and_obey_set_algebra(paths: list[list[str]]) -> None:
    half = len(paths) // 2
    left, right = Fields(), Fields()
    for path in paths[:half]:
        left.add(tuple(path))
    for path in paths[half:]:
        right.add(tuple(path))
    mine, theirs = set(left.paths()), set(right.paths())
    assert Fields.parse(left.document()) == left
    assert set(left.union(right).paths()) == mine | theirs
    assert set(left.intersection(right).paths()) == mine & theirs
    assert set(left.difference(right).paths()) == mine - theirs


PODS = st.fixed_dictionaries(
    {
        "containers": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from("abc")},
                optional={
                    "env": st.lists(st.fixed_dictionaries({"name": st.sampled_from("xy")}), max_size=3),
                    "command": st.lists(st.text(max_size=2), max_size=2),
                    "resources": st.just({"limits": {"cpu": "1"}}),
                },
            ),
            max_size=3,
        )
    },
    optional={"nodeSelector": st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2), "x": st.none()},
)


@given(spec=SPECS | PODS, labels=st.dictionaries(st.sampled_from("ab"), st.just("v")), status=st.booleans())
async def test_the_short_way_to_a_new_objects_fields_is_the_long_one(
    spec: dict[str, Any], labels: dict[str, str], status: bool
) -> None:
    local = await Local().start()
    found = [local.api.registry.find("test.io", "v1", "widgets"), local.api.registry.find("", "v1", "pods")]
    for resource in found:
        assert resource is not None
        metadata = {"name": "n", "uid": "u", "labels": labels, "finalizers": ["a/b"], "annotations": {}}
        new: dict[str, Any] = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        new["spec"] = spec
        if status:
            new["status"] = {"phase": "x"}
        writer = managers.Writer("me", resource.api_version, "", resource.node, 0.0)
        short, long = copy.deepcopy(new), copy.deepcopy(new)
        managers.record_update(writer, None, short, resource.kept_by_main)
        with mock.patch.object(managers, "created_fields", return_value=None):
            managers.record_update(writer, None, long, resource.kept_by_main)
        assert short == long
