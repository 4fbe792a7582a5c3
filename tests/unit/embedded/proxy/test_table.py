"""Where Services lead."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest

from rayctl.embedded.proxy.balance import order
from rayctl.embedded.proxy.table import Backend, frontends


def pod(ip: str, ready: bool = True, cluster: str = "a", **metadata: Any) -> dict[str, Any]:
    labels = {"app": "x", "ray.io/cluster": cluster}
    container = {"name": "c", "ports": [{"name": "http", "containerPort": 8000}]}
    return {
        "metadata": {"name": ip, "namespace": "default", "labels": labels, **metadata},
        "spec": {"containers": [container]},
        "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def service(target: Any = 8000, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "s", "namespace": "default", "annotations": annotations or {}}
    ports = [{"name": "p", "port": 80, "targetPort": target}]
    return {"metadata": metadata, "spec": {"clusterIP": "127.64.0.9", "selector": {"app": "x"}, "ports": ports, **spec}}


PLACE = ("127.64.0.9", 80)


@pytest.mark.parametrize("target", [8000, "http"])
def test_ready_pods_take_connections(target: Any) -> None:
    going = pod("10.0.0.4", deletionTimestamp="2026-01-01T00:00:00Z")
    pods = [pod("10.0.0.2"), pod("10.0.0.3", ready=False), going]
    assert frontends([service(target)], pods, []) == {PLACE: (Backend("10.0.0.2", 8000),)}


def test_others_only_where_the_service_wants_it_and_none_is_ready() -> None:
    wants = service(publishNotReadyAddresses=True)
    unready = pod("10.0.0.3", ready=False)
    assert frontends([wants], [unready], [])[PLACE] == (Backend("10.0.0.3", 8000),)
    assert frontends([wants], [unready, pod("10.0.0.2")], [])[PLACE] == (Backend("10.0.0.2", 8000),)
    assert frontends([service()], [unready], [])[PLACE] == ()


def test_moved_ports_are_followed_and_belong_to_headless_services() -> None:
    moved = pod("127.9.0.2", annotations={"rayctl.io/ports": json.dumps({"8000": 25000, "6379": 25001})})
    assert frontends([service()], [moved], [])[PLACE] == (Backend("127.0.0.1", 25000),)
    headless = service(clusterIP="None", annotations={"rayctl.io/address": "127.9.200.1"})
    found = frontends([headless], [moved], [])
    assert found["127.9.200.1", 6379] == (Backend("127.0.0.1", 25001),)
    assert found["127.9.200.1", 80] == (Backend("127.9.0.2", 80),)
    assert frontends([service(clusterIP="None")], [moved], []) == {}


def test_named_ports_are_open_on_the_machines_own_address_too() -> None:
    there = service()
    there["spec"]["ports"].append({"name": "q", "port": 81, "targetPort": 8001})
    there["metadata"]["annotations"] = {"rayctl.io/on-loopback": "q,r"}
    found = frontends([there], [pod("10.0.0.2")], [])
    assert {place[1] for place in found if place[0] == "127.0.0.1"} == {81}
    assert found["127.0.0.1", 81] == (Backend("10.0.0.2", 8001),)


def test_slices_where_nothing_is_selected() -> None:
    plain = service()
    del plain["spec"]["selector"]
    item = {
        "metadata": {"name": "s-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "s"}},
        "ports": [{"name": "p", "port": 9000}],
        "endpoints": [
            {"addresses": ["127.0.0.1"]},
            {"addresses": ["127.0.0.7"], "conditions": {"ready": False}},
        ],
    }
    assert frontends([plain], [], [item]) == {PLACE: (Backend("127.0.0.1", 9000),)}


def test_weights_share_new_connections_and_nothing_is_refused_while_somebody_is_ready() -> None:
    annotations = {"rayctl.io/weights": json.dumps({"a": 90, "b": 10, "c": 0})}
    pods = [
        pod("10.0.0.1", cluster="a"),
        pod("10.0.0.2", cluster="a"),
        pod("10.0.0.3", cluster="b"),
        pod("10.0.0.4", cluster="c"),
    ]
    backends = frontends([service(annotations=annotations)], pods, [])[PLACE]
    chance = random.Random(7)
    first = Counter(order(backends, turn, chance)[0].group for turn in range(2000))
    assert set(first) == {"a", "b"}
    assert 1720 < first["a"] < 1880
    assert all(order(backends, turn, chance)[-1].group == "c" for turn in range(50))
    hosts = Counter(order(backends, turn, random.Random(0))[0].host for turn in range(10))
    assert hosts["10.0.0.1"] == hosts["10.0.0.2"] == 5


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"a": "x"}', '{"a": true}'])
def test_weights_that_make_no_sense_stop_nothing(text: str) -> None:
    found = frontends([service(annotations={"rayctl.io/weights": text})], [pod("10.0.0.2")], [])[PLACE]
    assert [backend.host for backend in order(found, 1, random.Random(0))] == ["10.0.0.2"]


def test_turns() -> None:
    backends = [Backend(f"10.0.0.{number}", 1) for number in range(3)]
    assert [order(backends, turn, random.Random(0))[0].host for turn in range(4)] == [
        "10.0.0.0",
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.0",
    ]
    assert order([], 1, random.Random(0)) == []
