"""The configuration of a call: each call sees its own, whoever else is served by the same thread, loop or process."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
import random
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rayctl.errors import InvalidRequest, NotFound, TamperedEnvelope
from rayctl.tenancy import codec
from rayctl.tenancy.calls import ENVELOPE, belonging, carrying, carrying_class
from rayctl.tenancy.current import current_config, current_envelope, serving
from rayctl.tenancy.handle import TenantContext
from rayctl.tenancy.keys import KEY_FILE_VARIABLE


def envelope(name: str, **fields: Any) -> bytes:
    return codec.encode(codec.parse({"tenant": name, **fields}))


A, B = envelope("a", settings={"x": 1}), envelope("b", settings={"x": 2})


def whoami() -> str:
    return current_config().tenant


def test_outside_of_a_call_there_is_no_configuration() -> None:
    assert current_envelope() is None
    with pytest.raises(NotFound) as caught:
        current_config()
    assert caught.value.code == "no-tenant"
    with serving(None), pytest.raises(NotFound):
        current_config()


def test_a_function_sees_the_configuration_of_its_call() -> None:
    call = carrying(lambda x, y=0: (whoami(), x, y))
    assert call(1, y=2, **{ENVELOPE: A}) == ("a", 1, 2)
    assert call(3, **{ENVELOPE: B}) == ("b", 3, 0)
    with serving(A):
        with serving(B):
            assert whoami() == "b"
        assert whoami() == "a"
    assert current_envelope() is None


def test_a_function_of_one_tenant_has_its_configuration_with_it() -> None:
    def work(x: int, *, y: int = 0) -> tuple[str, int, int]:
        return whoami(), x, y

    one, two = belonging(work, A), belonging(work, B)
    assert (one(1, y=2), two(3), one(4)) == (("a", 1, 2), ("b", 3, 0), ("a", 4, 0))
    assert current_envelope() is None
    assert inspect.signature(one) == inspect.signature(work), "so that Ray checks the arguments where they are given"
    assert (one.__name__, one.__module__) == ("work", work.__module__)
    assert belonging(min, B)(3, 2) == 2


def test_generators_of_one_tenant_step_by_step() -> None:
    def items() -> Iterator[str]:
        yield whoami()
        yield whoami()

    one, two = belonging(items, A)(), belonging(items, B)()
    assert [next(one), next(two), next(one), next(two)] == ["a", "b", "a", "b"]


def test_a_broken_envelope_is_refused_before_anything_runs() -> None:
    ran = []
    call = carrying(lambda: ran.append(1))
    with pytest.raises(TamperedEnvelope):
        call(**{ENVELOPE: A[:-40] + bytes([A[-40] ^ 1]) + A[-39:]})
    with pytest.raises(TamperedEnvelope):
        belonging(lambda: ran.append(1), A[:-40] + bytes([A[-40] ^ 1]) + A[-39:])()
    assert ran == []


def test_a_worker_with_a_key_refuses_what_is_not_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"s" * 32)
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(key))
    with pytest.raises(TamperedEnvelope), serving(A):
        pass
    with serving(codec.encode(codec.parse({"tenant": "a"}), b"s" * 32)):
        assert whoami() == "a"


class Actor:
    """Every kind of method that an actor can have."""

    def __init__(self, greeting: str = "hi") -> None:
        self.greeting = greeting
        self.made_for = whoami()

    def plain(self, x: int = 0) -> tuple[str, int, str]:
        return whoami(), x, self.greeting

    def items(self, n: int) -> Iterator[str]:
        for _ in range(n):
            yield whoami()

    async def slow(self, steps: list[float]) -> list[str]:
        seen = [whoami()]
        for step in steps:
            await asyncio.sleep(step)
            seen.append(whoami())
        return seen

    async def stream(self, n: int) -> AsyncIterator[str]:
        for _ in range(n):
            await asyncio.sleep(0)
            yield whoami()

    async def nested(self) -> tuple[str, str]:
        return whoami(), await asyncio.create_task(self._inner())

    async def _inner(self) -> str:
        await asyncio.sleep(0)
        return whoami()

    @staticmethod
    def fixed() -> int:
        return 5

    @property
    def name(self) -> str:
        return self.greeting

    def __call__(self) -> str:
        return whoami()


def make(data: bytes = A, **kwargs: Any) -> Any:
    return carrying_class(Actor)(**{ENVELOPE: data, **kwargs})


def test_an_actor_serves_each_call_for_whom_it_was_made() -> None:
    actor = make(greeting="yo")
    assert actor.made_for == "a"
    assert actor.plain(3, **{ENVELOPE: B}) == ("b", 3, "yo")
    assert actor.plain() == ("a", 0, "yo"), "a call without an envelope belongs to the actor's creator"
    assert list(actor.items(2, **{ENVELOPE: B})) == ["b", "b"]
    assert (actor.fixed(), actor.name, actor()) == (5, "yo", "a")
    assert type(actor).__name__ == "Actor"
    assert isinstance(actor, Actor)


async def test_a_hundred_interleaved_calls_see_their_own() -> None:
    actor = make()
    rng = random.Random(1)
    names = [f"t{number % 8}" for number in range(100)]
    envelopes = {name: envelope(name) for name in names}

    async def one(name: str) -> None:
        steps = [rng.choice([0.0, 0.0, 0.001]) for _ in range(20)]
        assert await actor.slow(steps, **{ENVELOPE: envelopes[name]}) == [name] * 21
        assert [item async for item in actor.stream(5, **{ENVELOPE: envelopes[name]})] == [name] * 5
        assert await actor.nested(**{ENVELOPE: envelopes[name]}) == (name, name)

    await asyncio.gather(*map(one, names))
    assert current_envelope() is None


def test_threads_see_their_own() -> None:
    actor = make()
    names = [f"t{number % 8}" for number in range(200)]
    envelopes = {name: envelope(name) for name in names}
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda name: actor.plain(**{ENVELOPE: envelopes[name]})[0], names))
    assert found == names


def test_a_generator_left_in_the_middle_leaves_nothing_behind() -> None:
    actor = make()
    first, second = actor.items(5, **{ENVELOPE: A}), actor.items(5, **{ENVELOPE: B})
    assert [next(first), next(second), next(first), next(second)] == ["a", "b", "a", "b"]
    first.close()
    assert current_envelope() is None
    assert next(second) == "b"


async def test_an_async_generator_left_in_the_middle_leaves_nothing_behind() -> None:
    stream = make().stream(5, **{ENVELOPE: B})
    assert await anext(stream) == "b"
    await asyncio.create_task(stream.aclose())
    assert current_envelope() is None


def test_what_a_call_was_handed_cannot_be_changed_for_the_next_one() -> None:
    data = envelope("a", settings={"list": [1, {"k": 1}], "map": {"k": 1}})
    for change in (
        lambda found: found["list"].append(2),
        lambda found: found["map"].update(k=2),
        lambda found: found["list"][1].__setitem__("k", 2),
        lambda found: found.pop("list"),
        lambda found: found.__ior__({"x": 1}),
    ):
        with serving(data), pytest.raises(TypeError, match="cannot be changed"):
            change(current_config().settings)
    with serving(data):
        assert current_config().settings == {"list": [1, {"k": 1}], "map": {"k": 1}}


# What a task may reserve ----------------------------------------------------------------------------------


def context(**fields: Any) -> TenantContext:
    return TenantContext(codec.parse({"tenant": "a", **fields}), A)


@pytest.mark.parametrize(
    ("limits", "options", "num_cpus", "said"),
    [
        ({"num_cpus": 2}, {"num_cpus": 3}, 1, "num_cpus=3; its limit is 2"),
        ({"num_cpus": 0.5}, {}, 1, "num_cpus=1; its limit is 0.5"),
        ({"num_gpus": 0}, {"num_gpus": 1}, 1, "num_gpus=1"),
        ({"memory_bytes": 100}, {"memory": 101}, 0, "memory=101"),
        ({"resources": {"disk": 1}}, {"resources": {"disk": 2}}, 0, "disk=2"),
    ],
)
def test_a_call_over_the_tenants_limits_is_refused(limits: Any, options: Any, num_cpus: float, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        context(limits=limits).options_with(options, num_cpus)
    assert caught.value.code == "over-tenant-limit"


def test_a_call_within_the_limits_gets_its_options() -> None:
    limits = {"num_cpus": 2, "num_gpus": 0, "memory_bytes": 100, "resources": {"disk": 1}}
    options = {"num_cpus": 2, "memory": 100, "resources": {"disk": 1, "other": 5}}
    assert context(limits=limits).options_with(options, 1) == options
    assert context(limits={"num_cpus": 0.5}).options_with({}, 0) == {}, "an actor reserves none unless it says so"


def test_only_what_holds_no_values_of_its_own_is_sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = context()
    monkeypatch.setattr(TenantContext, "remote", lambda self, function, **options: [function])
    held = 1

    def closure() -> int:
        return held

    assert made._known(whoami) is made._known(whoami)
    for function in (closure, Path("x").exists, functools.partial(whoami)):
        assert made._known(function) is not made._known(function)
    with pytest.raises(InvalidRequest, match="a class"):
        made.submit(int)
    for number in range(200):
        made._known(eval(f"lambda: {number}"))  # noqa: S307  (functions that differ)
    assert len(made._submitted) == 128


def test_a_context_travels_without_what_was_sent_through_it() -> None:
    made = context(settings={"x": 1})
    before = len(pickle.dumps(made))
    made._submitted[whoami] = made
    again = pickle.loads(pickle.dumps(made))  # noqa: S301  (our own bytes)
    assert len(pickle.dumps(made)) == before
    assert (again.config, again.envelope, again.runtime_env) == (made.config, made.envelope, None)
