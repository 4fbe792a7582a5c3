"""Bundles: round trips, and that a hostile or damaged file gives a typed error and runs nothing."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import Ridge
from sklearn.svm import SVC

from rayctl.automl.bundle import Member, dump_object, load_object, read_bundle, write_bundle
from rayctl.errors import InvalidRequest, RayctlError, TooLarge


def sample() -> bytes:
    return write_bundle("tabular", {"answer": 42}, {"a.bin": Member(b"abc"), "b.json": Member(b"{}", "json")})


def rewrite(data: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """Unpack a zip file, change its members, pack it again."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return buffer.getvalue()


def edit_json(data: bytes, name: str, change: Callable[[dict[str, Any]], None]) -> bytes:
    def edit(parts: dict[str, bytes]) -> None:
        value = json.loads(parts[name])
        change(value)
        parts[name] = json.dumps(value).encode()

    return rewrite(data, edit)


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(RayctlError) as raised:
        call()
    return raised.value.code


def test_round_trip_and_equal_bytes() -> None:
    opened = read_bundle(sample(), kind="tabular")
    assert opened.info == {"answer": 42}
    assert opened.members == {"a.bin": Member(b"abc"), "b.json": Member(b"{}", "json")}
    assert "scikit-learn" in opened.versions
    assert sample() == sample()


def test_refusals_by_structure() -> None:
    data = sample()
    assert code_of(lambda: read_bundle(b"no zip at all")) == "invalid-bundle"
    assert code_of(lambda: read_bundle(data[: len(data) // 2])) == "invalid-bundle"
    assert code_of(lambda: read_bundle(data, kind="forecasting")) == "bundle-kind"
    assert code_of(lambda: read_bundle(rewrite(data, lambda parts: parts.pop("manifest.json")))) == "invalid-bundle"
    assert code_of(lambda: read_bundle(rewrite(data, lambda parts: parts.pop("a.bin")))) == "invalid-bundle"
    assert code_of(lambda: read_bundle(rewrite(data, lambda parts: parts.update(c=b"")))) == "invalid-bundle"
    damaged = rewrite(data, lambda parts: parts.update({"a.bin": b"abd"}))
    assert code_of(lambda: read_bundle(damaged)) == "bundle-digest"


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("version", 3, "bundle-version"),
        ("version", None, "invalid-bundle"),
        ("format", "other", "invalid-bundle"),
        ("members", [], "invalid-bundle"),
        ("members", {"a.bin": 1}, "invalid-bundle"),
        ("info", None, "invalid-bundle"),
        ("kind", 3, "invalid-bundle"),
    ],
)
def test_refusals_by_manifest(field: str, value: object, code: str) -> None:
    data = edit_json(sample(), "manifest.json", lambda manifest: manifest.update({field: value}))
    assert code_of(lambda: read_bundle(data)) == code


@pytest.mark.security("S16")
def test_archive_bombs_are_refused_before_unpacking() -> None:
    bomb = write_bundle("tabular", {}, {"zeros": Member(bytes(10_000_000))})
    assert len(bomb) < 100_000
    with pytest.raises(TooLarge):
        read_bundle(bomb, max_bytes=1_000_000)


def test_known_types_need_no_pickle() -> None:
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 3
    model = ExtraTreesClassifier(5, random_state=0).fit(x, y)
    member = dump_object(model)
    assert member.stored == "skops"
    assert (load_object(member).predict_proba(x) == model.predict_proba(x)).all()


def test_other_classes_are_pickled_and_load_only_when_allowed() -> None:
    member = dump_object(SVC())
    assert member.stored == "pickle"
    assert code_of(lambda: load_object(member)) == "untrusted-model"
    assert isinstance(load_object(member, allow_pickle=True), SVC)


def test_a_known_type_with_a_foreign_parameter_is_pickled() -> None:
    forest = ExtraTreesClassifier(2)
    forest.extra = SVC()
    assert dump_object(forest).stored == "pickle"


def test_a_pickle_that_cannot_be_loaded_gives_a_typed_error() -> None:
    broken = Member(b"\x80\x05cno_such_module\nThing\n.", "pickle")
    assert code_of(lambda: load_object(broken, allow_pickle=True)) == "unknown-model"


class Evil:
    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (Evil.mark, ())

    @staticmethod
    def mark() -> None:
        Evil.ran = True


@pytest.mark.security("S10")
def test_a_pickle_behind_another_label_is_not_run() -> None:
    for stored in ("skops", "raw", "lightgbm"):
        member = Member(pickle.dumps(Evil()), stored)
        assert code_of(lambda member=member: load_object(member)) == "invalid-bundle"
    assert not Evil.ran


@pytest.mark.security("S10")
def test_types_outside_the_list_are_refused_even_if_skops_would_trust_them() -> None:
    assert not skops.io.get_untrusted_types(data=skops.io.dumps(SVC()))
    assert code_of(lambda: load_object(Member(skops.io.dumps(SVC()), "skops"))) == "untrusted-model"


@pytest.mark.parametrize(
    "node",
    [
        {"__loader__": "FunctionNode", "__module__": "os", "__class__": "system"},
        {"__loader__": "MethodNode", "__module__": "builtins", "__class__": "str"},
        {"__loader__": "ObjectNode", "__module__": "subprocess", "__class__": "Popen"},
        {"__class__": "list", "__module__": "builtins"},
    ],
)
@pytest.mark.security("S10")
def test_hostile_nodes_are_refused(node: dict[str, Any]) -> None:
    data = skops.io.dumps(Ridge().fit([[0.0], [1.0]], [0.0, 1.0]))
    hostile = edit_json(data, "schema.json", lambda schema: schema["content"]["content"].update(x=node))
    assert code_of(lambda: load_object(Member(hostile, "skops"))) == "untrusted-model"


def test_arrays_that_claim_more_than_they_hold_are_refused() -> None:
    data = skops.io.dumps(Ridge().fit([[0.0], [1.0]], [0.0, 1.0]))

    def inflate(parts: dict[str, bytes]) -> None:
        name = next(name for name in parts if name.endswith(".npy"))
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**13,)})
        parts[name] = header.getvalue()

    assert code_of(lambda: load_object(Member(rewrite(data, inflate), "skops"))) == "invalid-bundle"


def test_trees_that_point_outside_themselves_are_refused() -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    model = ExtraTreesClassifier(2, random_state=0).fit(x, x[:, 0] > 0)
    state = model.estimators_[0].tree_.__getstate__()
    state["nodes"]["feature"][0] = 1000
    tree = model.estimators_[0].tree_
    tree.__setstate__(state)
    with pytest.raises(InvalidRequest, match="decision tree"):
        load_object(dump_object(model))
