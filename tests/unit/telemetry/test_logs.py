"""Log lines: one schema, one line each, and no secret in them however it got there."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import pytest

from rayctl.telemetry.logs import JsonLines, about
from rayctl.telemetry.redaction import HIDDEN, Redactor, is_secret_name

CANARY = "c4n4ry-0f-s3cr3t"


@pytest.fixture
def log() -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(Redactor([CANARY]), {"pid": 7}))
    logger = logging.Logger("rayctl.test", logging.DEBUG)
    logger.addHandler(handler)
    return logger, stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_schema(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    with about(controller="c", kind="RayCluster", name="n", reconcile_id="r"):
        logger.info("pod created", extra={"pod": "n-head", "rv": "12"})
    logger.warning("after")
    first, second = lines(stream)
    assert list(first) == [
        "ts", "level", "msg", "controller", "kind", "name", "rv", "reconcile_id", "pid", "pod", "logger",
    ]  # fmt: skip
    assert (first["level"], first["msg"], first["rv"]) == ("INFO", "pod created", "12")
    assert len(first["ts"]) == len("2026-01-02T03:04:05.678901Z")
    assert "controller" not in second


def test_fields_follow_tasks(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log

    async def one(name: str, gate: asyncio.Event) -> None:
        with about(name=name):
            await gate.wait()
            logger.info("x")

    async def main() -> None:
        gate = asyncio.Event()
        tasks = [asyncio.ensure_future(one(name, gate)) for name in "ab"]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert sorted(line["name"] for line in lines(stream)) == ["a", "b"]


def test_one_line_whatever_happens(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    logger.info("a\nb\u2028c")
    logger.info("%d and %d", 1)
    logger.info("odd", extra={"object": object(), "huge": "x" * 100_000})
    try:
        raise ValueError(f"with {CANARY}")
    except ValueError:
        logger.exception("failed")
    found = [json.loads(line) for line in stream.getvalue().split("\n") if line]
    assert found[0]["msg"] == "a\nb\u2028c"
    assert "TypeError" in found[1]["msg"]
    assert len(found[2]["huge"]) < 20_000
    assert found[3]["error"]["type"] == "ValueError"
    assert "test_logs.py" in found[3]["error"]["stack"]


@pytest.mark.parametrize(
    "extra",
    [
        {"note": f"it is {CANARY}."},
        {"document": {"a": [{"b": CANARY}]}},
        {"env": [{"name": "REDIS_PASSWORD", "value": "other"}]},
        {"secret": {"kind": "Secret", "data": {"x": "b3RoZXI="}}},
        {"document": {"kind": "Secret", "stringData": {"x": "other"}}},
        {"password": "other"},
        {"authToken": "other"},
        {"headers": {"Authorization": "Bearer other-and-long"}},
        {"text": "Authorization: Bearer other-and-long"},
        {"url": "redis://user:other@host:6379"},
        {"command": "redis-cli --password=other"},
        {"raw": CANARY.encode()},
        {"nested": {"api_key": {"deep": "other"}}},
    ],
)
@pytest.mark.security("S7")
def test_no_secret_comes_out(log: tuple[logging.Logger, io.StringIO], extra: dict[str, Any]) -> None:
    logger, stream = log
    logger.info("said %s", extra, extra=extra)
    logger.info("constant", extra=extra)
    for line in stream.getvalue().splitlines()[1:]:
        assert HIDDEN in line
        assert CANARY not in line
        assert "other" not in line
        assert "b3RoZXI=" not in line


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("password", True),
        ("REDIS_PASSWORD", True),
        ("authToken", True),
        ("access-key", True),
        ("client_key", True),
        ("token", True),
        ("tokens", True),
        ("token_file", False),
        ("RAY_AUTH_TOKEN_PATH", False),
        ("tokenName", False),
        ("secretRef", False),
        ("author", False),
        ("key", False),
        ("monkey", False),
        ("passwordless", False),
    ],
)
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"redisPassword": {"value": CANARY}}, {"redisPassword": {"value": HIDDEN}}),
        ({"env": [{"name": "API_KEY", "value": CANARY}]}, {"env": [{"name": "API_KEY", "value": HIDDEN}]}),
        ({"env": [{"name": "MODE", "value": "fast"}]}, {"env": [{"name": "MODE", "value": "fast"}]}),
        (
            {"redisPassword": {"valueFrom": {"secretKeyRef": {"name": "r", "key": "p"}}}},
            {"redisPassword": {"valueFrom": {"secretKeyRef": {"name": "r", "key": "p"}}}},
        ),
        (f'[{{"name":"OPENAI_API_KEY","value":"{CANARY}"}}]', f'[{{"name":"OPENAI_API_KEY","value":"{HIDDEN}"}}]'),
        (f"- name: DB_PASSWORD\n  value: {CANARY}\n", f"- name: DB_PASSWORD\n  value: {HIDDEN}\n"),
        ('{"name":"RAY_AUTH_TOKEN_PATH","value":"/x/y"}', '{"name":"RAY_AUTH_TOKEN_PATH","value":"/x/y"}'),
        (f"env_vars: {{API_KEY: {CANARY}}}", f"env_vars: {{API_KEY: {HIDDEN}}}"),
    ],
)
@pytest.mark.security("S7")
def test_what_kubernetes_writes_in_pairs(value: Any, shown: Any) -> None:
    assert Redactor().value(value) == shown


def test_short_secrets_hide_no_words() -> None:
    assert Redactor(["the"]).text("the end") == "the end"


def test_a_pass_logs_one_line_per_write_and_who_wrote(log: tuple[logging.Logger, io.StringIO]) -> None:
    from rayctl.core.execute import Executor
    from rayctl.core.plan import Create, Delete, Emit, Plan, Ref
    from rayctl.kube.calls import Call
    from rayctl.kube.own_writes import OwnWrites

    class Server:
        async def request(self, call: Call) -> Any:
            return {"metadata": {"name": "m", "namespace": "n", "uid": "u", "resourceVersion": "7"}}

    async def main() -> None:
        executor = Executor(Server(), "c", OwnWrites(), lambda _: None)  # type: ignore[arg-type]
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "n"}}
        ref = Ref("v1", "ConfigMap", "n", "m", "u")
        with about(controller="c", name="owner", reconcile_id=3):
            await executor.perform(("n", "owner"), Plan((Create(document), Emit(ref, "Normal", "R", "t"), Delete(ref))))

    root = logging.getLogger("rayctl.core.execute")
    handler, level = log[0].handlers[0], root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        asyncio.run(main())
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    found = lines(log[1])
    assert [(line["action"], line["object"]) for line in found] == [
        ("Create", "ConfigMap n/m"),
        ("Delete", "ConfigMap n/m"),
    ]
    assert all((line["name"], line["reconcile_id"]) == ("owner", 3) for line in found)
    assert found[0]["rv"] == "7"
