"""The work queue: never two workers on a key, no change lost, later means later."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayctl.core.queue import Backoff, QueueClosed, WorkQueue


async def test_a_key_waits_once_and_comes_back_once_if_it_changes_while_it_is_worked_on() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(3):
        queue.add("a")
    assert len(queue) == 1
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert (len(queue), queue.in_work) == (0, 1), "nobody else may take it now"
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert (len(queue), queue.in_work) == (0, 0)


async def test_what_is_urgent_overtakes_a_first_listing() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in "abc":
        queue.add(key, urgent=False)
    queue.add("x")
    queue.add("c")
    assert [await queue.get() for _ in range(4)] == ["x", "c", "a", "b"]


async def test_the_earliest_of_several_wishes_counts() -> None:
    queue: WorkQueue[str] = WorkQueue()
    loop = asyncio.get_running_loop()
    began = loop.time()
    queue.add_after("a", 30)
    queue.add_after("a", 0.02)
    queue.add_after("b", 0.01)
    assert [await queue.get(), await queue.get()] == ["b", "a"]
    assert 0.02 <= loop.time() - began < 5


async def test_a_closed_queue_gives_what_it_has_and_takes_nothing() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.close()
    queue.add("b")
    assert await queue.get() == "a"
    with pytest.raises(QueueClosed):
        await queue.get()


def test_failures_wait_longer_and_longer_up_to_a_bound() -> None:
    backoff, chance = Backoff(0.005, 10.0, 0.1), random.Random(0)
    delays = [backoff.delay_s(count, chance) for count in range(1, 200)]
    assert all(0.005 * 2**n <= delay <= 0.0055 * 2**n for n, delay in enumerate(delays[:10]))
    assert delays[-1] == 10.0
    assert max(delays) == 10.0


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), workers=st.integers(1, 4), changes=st.integers(1, 60))
async def test_every_change_is_seen_by_exactly_one_worker_at_a_time(seed: int, workers: int, changes: int) -> None:
    rng = random.Random(seed)
    queue: WorkQueue[int] = WorkQueue(Backoff(0.0001, 0.001), rng)
    wanted: dict[int, int] = {}
    seen: dict[int, int] = {}
    busy: set[int] = set()
    settled = asyncio.Event()

    async def work() -> None:
        while True:
            try:
                key = await queue.get()
            except QueueClosed:
                return
            assert key not in busy
            busy.add(key)
            value = wanted[key]
            for _ in range(rng.randint(0, 3)):
                await asyncio.sleep(0)
            busy.discard(key)
            if rng.random() < 0.2:
                queue.retry(key)
            else:
                seen[key] = value
                if seen == wanted:
                    settled.set()
                queue.forget(key)
            queue.done(key)

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    for number in range(changes):
        key = rng.randint(0, 5)
        wanted[key] = number
        settled.clear()
        queue.add(key, urgent=rng.random() < 0.5)
        if rng.random() < 0.5:
            await asyncio.sleep(0)
    await asyncio.wait_for(settled.wait(), 20)
    assert seen == wanted
    queue.close()
    await asyncio.gather(*tasks)
