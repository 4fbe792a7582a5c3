"""The envelope: identity both ways, nothing changed unnoticed, other versions within the rules."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayctl.errors import (
    InvalidRequest,
    MalformedEnvelope,
    TamperedEnvelope,
    TooLarge,
    UnsupportedEnvelope,
)
from rayctl.tenancy import codec
from rayctl.tenancy.envelope import MAX_ENVELOPE_BYTES, Envelope, fingerprint_of, peek
from rayctl.tenancy.model import SCHEMA, TenantConfig
from rayctl.tenancy.wire import pack
from tests.unit.tenancy.test_wire import VALUES, same

KEY = b"k" * 32
GOLDEN = Path(__file__).with_name("golden")
FULL: dict[str, Any] = {
    "tenant": "pricing",
    "description": "Prices of the shop",
    "settings": {"model": {"depth": 6, "rate": Decimal("0.05")}, "regions": ["eu", "us"]},
    "environment": {"packages": ["six==1.16.0", "toolz>=1"], "variables": {"PRICING_MODE": "fast"}},
    "secrets": {"db": "env:PRICING_DB", "api": {"source": "tenant", "name": "api-key"}},
    "defaults": {"num_cpus": 0.5, "resources": {"disk": 1.0}},
    "quota": {"max_running": 2, "max_cpus": 4.0},
    "artifacts": "s3://shop/pricing",
}


def envelope(body: dict[str, Any] | None = None, **header: Any) -> Envelope:
    made = Envelope.of("thing", (1, 2), "team-a", {"x": 1} if body is None else body, 123.5, "0.1.0")
    return replace(made, header=replace(made.header, **header))


def read(data: bytes, **more: Any) -> Envelope:
    return Envelope.decode(data, "thing", (1, 2), **more)[0]


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=5), st.sampled_from([None, KEY]))
def test_decoding_is_the_inverse_of_encoding(body: dict[str, Any], key: bytes | None) -> None:
    made = envelope(body)
    found = read(made.encode(key), key=key)
    assert found.header == made.header
    assert same(found.body, made.body)
    assert found.encode(key) == made.encode(key)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_every_truncation_and_every_changed_bit_is_refused(data: st.DataObject) -> None:
    whole = envelope({"text": "abc", "numbers": [1, 2.5, -3], "deep": {"k": (1, 2)}}).encode(KEY)
    if data.draw(st.booleans()):
        broken = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        place = data.draw(st.integers(0, 8 * len(whole) - 1))
        broken = bytearray(whole)
        broken[place // 8] ^= 1 << place % 8
        broken = bytes(broken)
    with pytest.raises((MalformedEnvelope, TamperedEnvelope)):
        read(broken, key=KEY)


def test_every_single_bit_matters_without_a_signature_too() -> None:
    whole = envelope().encode()
    for place in range(8 * len(whole)):
        broken = bytearray(whole)
        broken[place // 8] ^= 1 << place % 8
        with pytest.raises((MalformedEnvelope, TamperedEnvelope)):
            read(bytes(broken))
    with pytest.raises(MalformedEnvelope):
        read(whole + b"\0")


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300))
def test_no_input_crashes_the_reader(data: bytes) -> None:
    with pytest.raises(MalformedEnvelope):
        read(data)


@settings(max_examples=500, deadline=None)
@given(VALUES)
def test_no_payload_crashes_the_reader(value: Any) -> None:
    """What is properly wrapped may still be anything inside."""
    from hashlib import sha256

    payload = pack(value)
    data = msgpack.packb(["rayctl.envelope/1", payload, sha256(payload).digest(), None])
    with pytest.raises(MalformedEnvelope):
        read(data)


@pytest.mark.parametrize("data", [None, "text", 5, [b""]])
def test_only_bytes_are_read(data: Any) -> None:
    with pytest.raises(MalformedEnvelope):
        read(data)


def test_another_kind_is_refused() -> None:
    with pytest.raises(UnsupportedEnvelope) as caught:
        Envelope.decode(envelope().encode(), "other", (1, 0))
    assert caught.value.code == "wrong-kind"


def test_a_newer_major_version_is_refused_and_both_versions_are_named() -> None:
    made = Envelope.of("thing", (2, 0), "a", {}, 0.0, "9.9")
    with pytest.raises(UnsupportedEnvelope) as caught:
        read(made.encode())
    assert caught.value.code == "newer-version"
    assert "9.9" in caught.value.message
    assert "2.0" in caught.value.message


def test_fields_of_a_newer_minor_version_survive_a_round_trip() -> None:
    made = Envelope.of("thing", (1, 7), "a", {"x": 1, "later": {"y": [1]}}, 1.0, "0.9")
    made = replace(made, header=replace(made.header, unknown={"trace": "abc"}))
    found = read(made.encode())
    assert found.header.schema == (1, 7)
    assert found.header.unknown == {"trace": "abc"}
    assert found.encode() == made.encode()


def test_older_versions_are_migrated_step_by_step() -> None:
    old = Envelope.of("thing", (0, 3), "a", {"n": 1}, 5.0, "0.0.1").encode()
    steps = {0: lambda body: {"number": body["n"]}, 1: lambda body: {"numbers": [body["number"]]}}
    found, body = Envelope.decode(old, "thing", (2, 0), migrations=steps)
    assert found.body == body == {"numbers": [1]}
    assert found.header.schema == (2, 0)
    assert found.header.created_at == 5.0
    assert found.header.fingerprint == fingerprint_of("thing", 2, pack({"numbers": [1]}))
    with pytest.raises(UnsupportedEnvelope) as caught:
        Envelope.decode(old, "thing", (2, 0), migrations={1: steps[1]})
    assert caught.value.code == "too-old"
    with pytest.raises(MalformedEnvelope, match="version 0"):
        Envelope.decode(old, "thing", (1, 0), migrations={0: lambda body: {"n": body["absent"]}})


def test_a_signature_is_demanded_and_checked() -> None:
    with pytest.raises(TamperedEnvelope) as caught:
        read(envelope().encode(), key=KEY)
    assert caught.value.code == "not-signed"
    with pytest.raises(TamperedEnvelope) as caught:
        read(envelope().encode(b"other" * 8), key=KEY)
    assert caught.value.code == "wrong-signature"
    assert read(envelope().encode(KEY)).body == {"x": 1}


def test_a_wrong_fingerprint_is_refused() -> None:
    with pytest.raises(TamperedEnvelope) as caught:
        read(envelope(fingerprint="0" * 64).encode())
    assert caught.value.code == "wrong-fingerprint"


def test_what_is_too_large_is_refused_on_both_sides() -> None:
    with pytest.raises(TooLarge):
        envelope({"x": "a" * MAX_ENVELOPE_BYTES}).encode()
    with pytest.raises(TooLarge):
        read(b"\0" * (MAX_ENVELOPE_BYTES + 1))


def test_peek_reads_headers_of_any_kind_and_version() -> None:
    header = peek(Envelope.of("future", (9, 1), "team", {"a": 1}, 7.0, "3.0").encode(KEY))
    assert (header.kind, header.schema, header.tenant, header.created_at) == ("future", (9, 1), "team", 7.0)


def test_errors_cross_process_borders() -> None:
    error = UnsupportedEnvelope("no", code="newer-version", hint="h")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    assert (type(again), again.code, again.hint) == (UnsupportedEnvelope, "newer-version", "h")


# Configurations -------------------------------------------------------------------------------------------


def test_a_configuration_travels() -> None:
    config = codec.parse(FULL)
    found = codec.decode(codec.encode(config, KEY), KEY)
    assert found == config
    assert codec.fingerprint(found) == codec.fingerprint(config)
    assert codec.encode(found, KEY, 5.0) == codec.encode(config, KEY, 5.0)


def test_a_changed_copy_is_packed_anew() -> None:
    config = codec.parse({"tenant": "a", "settings": {"x": 1}})
    before = codec.encode(config, None, 1.0)
    for other in (config.model_copy(update={"description": "new"}), config.with_changes(description="new")):
        assert codec.decode(codec.encode(other, None, 1.0)).description == "new"
    assert codec.encode(config, None, 1.0) == before


def test_the_same_said_in_another_order_has_the_same_fingerprint() -> None:
    turned = {name: FULL[name] for name in reversed(FULL)}
    turned["settings"] = {name: FULL["settings"][name] for name in reversed(FULL["settings"])}
    assert codec.fingerprint(codec.parse(turned)) == codec.fingerprint(codec.parse(FULL))
    assert codec.fingerprint(codec.parse({**FULL, "description": ""})) != codec.fingerprint(codec.parse(FULL))


def test_a_configuration_of_a_newer_minor_version_keeps_what_is_unknown() -> None:
    body = {
        "tenant": "a",
        "later": {"x": 1},
        "quota": {"max_running": 1, "max_actors": 5},
        "secrets": {"s": {"source": "env", "name": "S", "version": "3"}},
    }
    data = Envelope.of(codec.KIND, (SCHEMA[0], SCHEMA[1] + 5), "a", body, 1.0, "9").encode()
    found = codec.decode(data)
    assert found.quota.max_running == 1
    assert codec.body_of(found)["later"] == {"x": 1}
    again = codec.decode(codec.encode(found))
    assert again.model_extra == {"later": {"x": 1}}
    assert again.quota.model_extra == {"max_actors": 5}
    assert again.secrets["s"].model_extra == {"version": "3"}


def test_unknown_fields_that_somebody_wrote_are_mistakes() -> None:
    with pytest.raises(InvalidRequest) as caught:
        codec.parse({"tenant": "a", "setings": {}, "quota": {"max_runs": 1}})
    assert [item["pointer"] for item in caught.value.errors] == ["/setings", "/quota/max_runs"]
    assert caught.value.code == "invalid-tenant-config"


def test_a_name_that_contradicts_its_envelope_is_refused() -> None:
    data = Envelope.of(codec.KIND, SCHEMA, "other", {"tenant": "a"}, 1.0, "1").encode()
    with pytest.raises(MalformedEnvelope, match="different tenants"):
        codec.decode(data)


def test_an_invalid_configuration_shows_no_values() -> None:
    with pytest.raises(InvalidRequest) as caught:
        codec.parse({"tenant": "a", "secrets": {"db": "hunter2-without-colon"}})
    shown = json.dumps(caught.value.to_problem()) + str(caught.value)
    assert "hunter2" not in shown
    data = Envelope.of(codec.KIND, SCHEMA, "a", {"tenant": "a", "quota": {"max_cpus": "hunter2"}}, 1.0, "1").encode()
    with pytest.raises(MalformedEnvelope) as again:
        codec.decode(data)
    assert "hunter2" not in str(again.value)
    assert "/quota/max_cpus" in str(again.value)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([*TenantConfig.model_fields, "other"]), VALUES, max_size=4))
def test_no_body_crashes_the_reader(body: dict[str, Any]) -> None:
    data = Envelope.of(codec.KIND, SCHEMA, "a", body, 1.0, "1").encode()
    with suppress(MalformedEnvelope):
        codec.decode(data)


def test_a_body_that_is_no_configuration_is_refused_when_it_is_asked_for() -> None:
    """What is intact may still say anything: nobody gets a value of it unvalidated, signed or not."""
    for key in (None, KEY):
        for body in ({"tenant": "a", "quota": {"max_cpus": -1}}, {"tenant": "a", "settings": 5}, {"tenant": "b"}):
            data = Envelope.of(codec.KIND, SCHEMA, "a", body, 1.0, "1").encode(key)
            found = codec.receive(data, key)
            assert found.tenant == "a"
            for _ in range(2):
                with pytest.raises(MalformedEnvelope):
                    found.config  # noqa: B018


def test_known_bytes_are_read_once_and_only_for_the_same_key() -> None:
    data = codec.encode(codec.parse(FULL), KEY, 1.0)
    assert codec.decode(data, KEY) is codec.decode(bytes(bytearray(data)), KEY)
    assert codec.decode(data) is not codec.decode(data, KEY)
    with pytest.raises(TamperedEnvelope):
        codec.decode(data, b"another key than this")
    assert codec.decode(memoryview(data), KEY) == codec.decode(data, KEY)


def test_what_is_kept_of_known_bytes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    known = codec._Known()
    sizes = []
    for number in range(codec._KEPT + 20):
        data = codec.encode(codec.parse({"tenant": "a", "settings": {"n": number}}), None, 1.0)
        sizes.append(len(data))
        known.get(data, None)
    assert (len(known._found), known._bytes) == (codec._KEPT, sum(sizes[-codec._KEPT :]))
    monkeypatch.setattr(codec, "_KEPT_BYTES", 3 * max(sizes))
    known.get(codec.encode(codec.parse({"tenant": "a"}), None, 1.0), None)
    assert len(known._found) in (3, 4)
    assert known._bytes <= 3 * max(sizes)


def test_settings_that_are_too_deep_or_contain_themselves_are_mistakes() -> None:
    around: dict[str, Any] = {}
    around["again"] = around
    deep: Any = 1
    for _ in range(3000):
        deep = [deep]
    for value in (around, {"deep": deep}):
        with pytest.raises(InvalidRequest, match="deeper") as caught:
            codec.parse({"tenant": "a", "settings": value})
        assert [item["pointer"] for item in caught.value.errors] == ["/settings"]


def golden_files() -> list[Path]:
    return sorted(GOLDEN.glob("*.bin"))


@pytest.mark.parametrize("path", golden_files(), ids=lambda path: path.stem)
def test_what_earlier_versions_wrote_is_still_read(path: Path) -> None:
    """Golden files stay as they are for ever; a change that cannot read one needs a new major version and a step."""
    wanted = json.loads(path.with_suffix(".json").read_text())
    config = codec.decode(path.read_bytes())
    assert json.loads(config.model_dump_json(exclude_unset=True)) == wanted


def test_there_is_a_golden_file_of_every_version() -> None:
    found = {peek(path.read_bytes()).schema for path in golden_files()}
    latest_minor = {1: SCHEMA[1]}  # a new major version adds the last minor one of the major before
    assert found == {(major, minor) for major, last in latest_minor.items() for minor in range(last + 1)}
    assert max(latest_minor) == SCHEMA[0]
