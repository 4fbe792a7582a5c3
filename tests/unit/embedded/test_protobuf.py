"""What clients send as protobuf is what they would have sent as JSON, or it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl.embedded.apiserver.protobuf import NotReadable, decode_protobuf

Fields = list[tuple[int, Any]]
"""(number, value): an integer, a text, or the fields of a message."""


def varint(value: int) -> bytes:
    found = b""
    while value > 0x7F:
        found += bytes([value & 0x7F | 0x80])
        value >>= 7
    return found + bytes([value])


def encode(fields: Fields) -> bytes:
    found = b""
    for number, value in fields:
        if isinstance(value, int):
            found += varint(number << 3) + varint(value)
            continue
        raw = value.encode() if isinstance(value, str) else encode(value)
        found += varint(number << 3 | 2) + varint(len(raw)) + raw
    return found


def body(version: str, kind: str, fields: Fields) -> bytes:
    return b"k8s\x00" + encode([(1, [(1, version), (2, kind)]), (2, fields)])


LABELS: Fields = [(1, [(1, "app"), (2, "web")])]
NAMED: Fields = [(1, "web"), (2, ""), (5, ""), (7, 0), (8, ""), (11, LABELS[0][1])]
CONTAINER: Fields = [
    (1, "c"),
    (2, "nginx"),
    (3, "sleep"),
    (3, "3"),
    (6, [(2, 0), (3, 8080), (5, "")]),
    (8, ""),
    (16, 0),
]
TEMPLATE: Fields = [(1, [(1, ""), (7, 0), (11, LABELS[0][1])]), (2, [(2, CONTAINER), (3, ""), (6, ""), (11, 0)])]
# As kubectl 1.32 sends them, fields that are not set included.
DEPLOYMENT: Fields = [
    (1, NAMED),
    (2, [(1, 0), (2, LABELS), (3, TEMPLATE), (4, [(1, "")]), (5, 0), (7, 0)]),
    (3, [(1, 0), (2, 0)]),
]
SERVICE: Fields = [
    (1, [(1, "s")]),
    (
        2,
        [
            (1, [(1, "a"), (2, "TCP"), (3, 80), (4, [(1, 0), (2, 81), (3, "")]), (5, 0)]),
            (1, [(1, "b"), (2, "TCP"), (3, 82), (4, [(1, 1), (2, 0), (3, "http")]), (5, 30001)]),
            (3, "None"),
            (12, 0),
        ],
    ),
    (3, [(1, "")]),
]
INGRESS: Fields = [
    (1, [(1, "i")]),
    (2, [(3, [(1, "a.b"), (2, [(1, [(1, [(1, "/x"), (2, [(4, [(1, "s"), (2, [(2, 80)])])]), (3, "Prefix")])])])])]),
]


def test_a_deployment() -> None:
    found = decode_protobuf(body("apps/v1", "Deployment", DEPLOYMENT))
    container = {"name": "c", "image": "nginx", "command": ["sleep", "3"], "ports": [{"containerPort": 8080}]}
    labels = {"app": "web"}
    assert found == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "generation": 0, "labels": labels},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"generation": 0, "labels": labels}, "spec": {"containers": [container]}},
            "strategy": {},
        },
    }


def test_ports_by_number_and_by_name() -> None:
    assert decode_protobuf(body("v1", "Service", SERVICE))["spec"] == {
        "ports": [
            {"name": "a", "protocol": "TCP", "port": 80, "targetPort": 81},
            {"name": "b", "protocol": "TCP", "port": 82, "targetPort": "http", "nodePort": 30001},
        ],
        "clusterIP": "None",
    }


def test_fields_that_json_has_one_level_higher() -> None:
    path = {"path": "/x", "backend": {"service": {"name": "s", "port": {"number": 80}}}, "pathType": "Prefix"}
    rules = decode_protobuf(body("networking.k8s.io/v1", "Ingress", INGRESS))["spec"]["rules"]
    assert rules == [{"host": "a.b", "http": {"paths": [path]}}]


@pytest.mark.parametrize("unknown", [(9, 600), (2, [(3, "volume")]), (20, [(1, [(1, 1)])])])
def test_what_is_not_known_is_refused_and_not_lost(unknown: tuple[int, Any]) -> None:
    spec = [*DEPLOYMENT[1][1], unknown]
    with pytest.raises(NotReadable):
        decode_protobuf(body("apps/v1", "Deployment", [DEPLOYMENT[0], (2, spec)]))


@pytest.mark.parametrize("blank", [(9, 0), (20, ""), (20, [(1, 0), (2, [(1, "")])])])
def test_what_is_not_known_and_not_set_is_no_matter(blank: tuple[int, Any]) -> None:
    spec = [*DEPLOYMENT[1][1], blank]
    found = decode_protobuf(body("apps/v1", "Deployment", [DEPLOYMENT[0], (2, spec)]))
    assert found == decode_protobuf(body("apps/v1", "Deployment", DEPLOYMENT))


def test_a_status_is_not_for_clients_to_create() -> None:
    assert "status" not in decode_protobuf(body("apps/v1", "Deployment", [*DEPLOYMENT[:2], (3, [(1, 7)])]))
