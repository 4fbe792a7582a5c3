"""Tenants on a real cluster: each call sees its own configuration, environment and packages; nobody sees another's."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray

import rayctl
from rayctl.client import Connection, connect
from rayctl.errors import InvalidRequest, NotFound, TamperedEnvelope
from rayctl.tenancy import codec
from rayctl.tenancy.cluster import environments
from tests.ray.helpers import processes_of, quick_request, wait_until
from tests.ray.wheels import wheel

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

Open = Callable[..., Connection]
CALLS = 2_000


def report(nonce: int = 0) -> tuple[str, Any, str | None, str | None, int]:
    """What a call sees: its tenant, its setting, its variable, its package, and what it was asked."""
    config = rayctl.current_config()
    try:
        import rctiny

        package: str | None = rctiny.VERSION
    except ImportError:
        package = None
    return config.tenant, config.setting("secret.number"), os.environ.get("RCT_MODE"), package, nonce


class Desk:
    """One async actor that all tenants share."""

    async def ask(self, nonce: int, pause: float) -> tuple[str, Any, int]:
        before = rayctl.current_config()
        await asyncio.sleep(pause)
        after = rayctl.current_config()
        assert before is after
        return after.tenant, after.setting("secret.number"), nonce

    async def pid(self) -> int:
        return os.getpid()


@pytest.fixture
def opened(cluster: Path) -> Iterator[Open]:
    """Connections of tenants on the test's cluster; no service is needed for them."""
    made: list[Connection] = []

    def open_(tenant: Any) -> Connection:
        made.append(connect("auto", tenant=tenant))
        return made[-1]

    yield open_
    for connection in made:
        connection.close()


def fields(number: int, **environment: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"tenant": f"tenant-{number}", "settings": {"secret": {"number": 1000 + number}}}
    return found | ({"environment": environment} if environment else {})


def test_without_a_tenant_it_is_plain_ray(opened: Open) -> None:
    connection = opened({"tenant": "any"})
    plain = type(connection)(connection.transport)
    function = plain.remote(lambda: 5)
    assert type(function).__module__ == "ray.remote_function"
    assert ray.get(function.remote()) == 5
    assert isinstance(plain.remote(Desk), ray.actor.ActorClass)
    assert plain.config is None
    outside = plain.remote(lambda: rayctl.tenancy.current.current_envelope())
    assert ray.get(outside.remote()) is None


def test_what_is_started_inside_a_call_belongs_to_it(opened: Open) -> None:
    def inner() -> str:
        return rayctl.current_config().tenant

    class Inner:
        def who(self) -> str:
            return rayctl.current_config().tenant

    def outer(other: bytes) -> list[str]:
        context = rayctl.current_context()
        found = [context.get(context.submit(inner)), context.get(context.actor(Inner).who.remote())]
        with rayctl.tenancy.current.serving(other):  # unless it says otherwise
            found.append(rayctl.current_context().get(rayctl.current_context().submit(inner)))
        return found

    connection = opened(fields(1))
    other = codec.encode(codec.parse(fields(2)))
    assert connection.get(connection.submit(outer, other)) == ["tenant-1", "tenant-1", "tenant-2"]
    assert list(connection.map(lambda x, y: (x + y, inner()), [1, 2, 3], [10, 20, 30], in_flight=2)) == [
        (11, "tenant-1"),
        (22, "tenant-1"),
        (33, "tenant-1"),
    ]


def test_a_handle_can_be_handed_on(opened: Open) -> None:
    class Keeper:
        def who(self) -> str:
            return rayctl.current_config().tenant

    def visit(handle: Any) -> tuple[str, str]:
        mine = rayctl.current_context().wrap(handle)
        return ray.get(handle.who.remote()), ray.get(mine.who.remote())

    one, two = opened(fields(1)), opened(fields(2))
    keeper = one.actor(Keeper)
    assert two.get(two.submit(visit, keeper)) == ("tenant-1", "tenant-2")
    assert ray.get(keeper.plain.who.remote()) == "tenant-1", "plain calls belong to the actor's creator"


def test_defaults_and_options(opened: Open) -> None:
    def assigned() -> dict[str, Any]:
        return dict(ray.get_runtime_context().get_assigned_resources())

    connection = opened(fields(1) | {"defaults": {"num_cpus": 0.5}})
    assert connection.get(connection.submit(assigned))["CPU"] == 0.5
    assert connection.get(connection.remote(assigned, num_cpus=0.25).remote())["CPU"] == 0.25
    assert connection.get(connection.remote(assigned).options(num_cpus=1).remote())["CPU"] == 1


def test_eight_tenants_with_clashing_needs_see_nothing_of_each_other(opened: Open, tmp_path: Path) -> None:
    """Two versions of one package, two values of one variable, eight of one setting; kills in between."""
    old, new = wheel(tmp_path, "rctiny", "1.0"), wheel(tmp_path, "rctiny", "2.0")
    needs: list[dict[str, Any]] = [
        {"packages": [old]},
        {"packages": [new]},
        {"variables": {"RCT_MODE": "slow"}},
        {"variables": {"RCT_MODE": "fast"}, "packages": [new]},
        {},
        {},
        {},
        {},
    ]
    tenants = [opened(fields(number, **need)) for number, need in enumerate(needs)]
    packages: list[str | None] = ["1.0", "2.0", None, "2.0", None, None, None, None]
    modes: list[str | None] = [None, None, "slow", "fast", None, None, None, None]
    desk = tenants[7].actor(Desk, options={"name": "desk", "max_restarts": -1, "max_task_retries": -1})
    desks = [tenant.wrap(desk) for tenant in tenants]
    functions = [tenant.remote(report, max_retries=5) for tenant in tenants]
    rng = random.Random(5)
    wrong, seen = [], 0
    waiting: dict[Any, tuple[int, int, bool]] = {}

    def take(number: int) -> None:
        nonlocal seen
        ready, _ = ray.wait(list(waiting), num_returns=number, timeout=120)
        assert len(ready) == number, "calls are stuck"
        for reference in ready:
            tenant, nonce, by_task = waiting.pop(reference)
            expected: tuple[Any, ...] = (f"tenant-{tenant}", 1000 + tenant)
            expected += (modes[tenant], packages[tenant], nonce) if by_task else (nonce,)
            found = ray.get(reference)
            seen += 1
            if found != expected:
                wrong.append((found, expected))

    # Those with an environment of their own have processes of their own, which Ray ends and starts as it needs room.
    plan = [rng.choice((4, 5, 6, 7)) if rng.random() < 0.9 else rng.choice((0, 1, 2, 3)) for _ in range(CALLS)]
    for nonce, tenant in enumerate(plan):
        by_task = rng.random() < 0.5 or tenant < 4
        call = functions[tenant].remote(nonce) if by_task else desks[tenant].ask.remote(nonce, rng.random() / 200)
        waiting[call] = (tenant, nonce, by_task)
        if nonce % 450 == 449:
            victim = rng.choice(processes_of("ray::report") or processes_of("ray::IDLE"))
            os.kill(victim.pid, signal.SIGKILL)
        if nonce == 900:
            os.kill(ray.get(desk.pid.remote()), signal.SIGKILL)
        if len(waiting) > 60:
            take(20)
    take(len(waiting))
    assert (seen, wrong) == (CALLS, [])
    ray.kill(desk.plain)


def test_packages_that_cannot_be_installed(opened: Open, tmp_path: Path) -> None:
    broken = opened(fields(1, packages=[f"rctiny @ file://{tmp_path}/none-1.0-py3-none-any.whl"], setup_timeout_s=60))
    began = time.monotonic()
    with pytest.raises(InvalidRequest) as caught:
        broken.remote(report)
    assert time.monotonic() - began < 60
    assert caught.value.code == "environment-error"
    assert "none-1.0" in caught.value.message, "the installer's own words"
    fine = opened(fields(2))
    assert fine.get(fine.submit(report))[0] == "tenant-2"


def test_environments_are_shared_listed_and_built_once(opened: Open, tmp_path: Path) -> None:
    line = wheel(tmp_path, "rctiny", "3.0")
    one, two = opened(fields(1, packages=[line])), opened(fields(2, packages=[line]))
    assert one.get(one.submit(report))[3] == "3.0"
    began = time.monotonic()
    assert one.context.runtime_env == two.context.runtime_env
    assert time.monotonic() - began < 10
    [listed] = environments().values()
    [found] = [entry for entry in listed if any(str(tmp_path) in text for text in entry["requirements"])]
    assert found["bytes"] > 0
    assert found["used_at"] >= found["built_at"] - 1


def test_a_broken_envelope_fails_its_own_call(opened: Open) -> None:
    connection = opened(fields(1))
    assert connection.context.envelope is not None
    bad = bytearray(connection.context.envelope)
    bad[-60] ^= 1
    changed = type(connection.context)(connection.config, bytes(bad))
    with pytest.raises(TamperedEnvelope):
        ray.get(changed.submit(report))
    for get in (lambda: changed.get(changed.submit(report)), lambda: list(changed.map(report, [1]))):
        with pytest.raises(TamperedEnvelope) as caught:
            get()
        assert (type(caught.value), caught.value.code) == (TamperedEnvelope, "wrong-digest")
    signed = type(connection.context)(connection.config, codec.encode(connection.config, b"k" * 32))
    assert connection.get(signed.submit(report))[0] == "tenant-1", "without a key a signature is not looked at"
    assert connection.get(connection.submit(report))[0] == "tenant-1"


def test_secrets_are_found_nowhere(opened: Open, cluster: Path, tmp_path: Path) -> None:
    value = "swordfish-4711"
    (tmp_path / "key").write_text(value)

    def use() -> int:
        found = rayctl.secret("key")
        print("using", found, rayctl.current_config())
        return len(found.get_secret_value())

    def fail() -> None:
        found = rayctl.secret("key")
        raise RuntimeError(f"cannot use {found}")

    connection = opened(fields(1) | {"secrets": {"key": f"file:{tmp_path / 'key'}", "none": "env:RCT_NOT_THERE"}})
    assert connection.get(connection.submit(use)) == len(value)
    with pytest.raises(RuntimeError) as caught:
        connection.get(connection.submit(fail))
    assert value not in str(caught.value)
    with pytest.raises(NotFound, match="RCT_NOT_THERE") as missing:
        connection.get(connection.submit(lambda: rayctl.secret("none")))
    assert missing.value.code == "secret-missing"
    assert value.encode() not in (connection.context.envelope or b"")
    logs = list(cluster.glob("session_*/logs/**/*"))
    assert logs
    holding = [path for path in logs if path.is_file() and value.encode() in path.read_bytes()]
    assert holding == []


# AutoML -----------------------------------------------------------------------------------------------


def tilted(y_true: Any, y_pred: Any) -> float:
    """A metric that depends on the tenant's configuration, and on what its task reserves."""
    hits = sum(a == b for a, b in zip(y_true, y_pred, strict=True)) / len(y_true)
    reserved = ray.get_runtime_context().get_assigned_resources().get("CPU", 0)
    return hits + float(rayctl.current_config().setting("bonus")) + 100 * reserved


def test_automl_runs_carry_their_tenant(start_proxy: Callable[..., Any], table: pd.DataFrame) -> None:
    start_proxy()
    with connect("auto", tenant="red") as red, connect("auto", tenant="blue") as blue:
        red.tenants.create({"tenant": "red", "settings": {"bonus": 10}, "defaults": {"num_cpus": 0.5}})
        quota, limits = {"max_running": 1, "max_queued": 0}, {"num_cpus": 1}
        red.tenants.create({"tenant": "blue", "settings": {"bonus": 20}, "quota": quota, "limits": limits})
        metric = rayctl.custom_metric(tilted, greater_is_better=True)
        wanted = quick_request(max_trials=2, metric=metric, seed=3)
        with pytest.raises(InvalidRequest) as caught:
            blue.automl.submit(table, **wanted, resources={"cpus": 2})
        assert caught.value.code == "over-tenant-limit"
        runs = [side.automl.submit(table, **wanted) for side in (red, blue)]
        for run in runs:
            run.wait(timeout=120)
        scores = [run.result()["best"]["score"] for run in runs]
        assert 60 < scores[0] < 61 < 120 < scores[1] < 121, "red's default of half a CPU, blue's own bonus"
        assert [run.document["tenant_version"] for run in runs] == [1, 1]
        with pytest.raises(NotFound):
            red.automl.run(runs[1].id).fetch()
        red.tenants.update({"tenant": "red", "settings": {"bonus": 30}})
        again = red.automl.submit(table, **wanted)
        again.wait(timeout=120)
        assert again.document["tenant_version"] == 2
        assert 130 < again.result()["best"]["score"] < 131


def test_a_tenant_waits_for_its_own_quota_only(start_proxy: Callable[..., Any], table: pd.DataFrame) -> None:
    start_proxy()
    with connect("auto", tenant="green") as green, connect("auto", tenant="free") as free:
        green.tenants.create({"tenant": "green", "quota": {"max_running": 1, "max_queued": 1}})
        slow = {"task": "classification", "target": "target", "time_budget": "600s", "reuse": False}
        first, second = green.automl.submit(table, **slow), green.automl.submit(table, **slow)
        with pytest.raises(rayctl.errors.QuotaExceeded) as caught:
            green.automl.submit(table, **slow)
        assert caught.value.code == "quota-runs"
        other = free.automl.submit(table, **quick_request(max_trials=1))
        other.wait(timeout=120)
        assert other.document["state"] == "succeeded"
        assert second.fetch()["state"] == "queued"
        smaller = {"max_running": 1, "max_queued": 1, "max_cpus": 0.5}
        green.tenants.update({"tenant": "green", "quota": smaller})
        events = ray.get(ray.get_actor("automl-proxy", namespace="rayctl").events.remote(second.id))
        assert any("waits: its tasks need 1 CPUs" in str(event["data"]) for event in events), "it says why it waits"
        green.tenants.update({"tenant": "green", "quota": {"max_running": 1, "max_queued": 1}})
        first.cancel()
        wait_until(lambda: second.fetch()["state"] == "running", 60)
        second.cancel()
        wait_until(lambda: second.fetch()["state"] == "cancelled", 60)
        green.tenants.delete("green")
