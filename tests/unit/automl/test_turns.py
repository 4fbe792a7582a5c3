"""Tasks of quick folds begin in order, when a slot is free."""

from __future__ import annotations

import asyncio

from rayctl.automl.turns import FoldTask, Turns


def test_quick_tasks_begin_in_order_as_slots_become_free_and_those_that_are_dropped_do_not_take_one() -> None:
    async def scene() -> list[str]:
        slots = [2]
        turns, begun = Turns(lambda: slots[0]), []
        other = FoldTask()
        turns.begin(other)  # not a quick one: it takes a slot without waiting
        tasks = {name: FoldTask() for name in "abcdef"}

        async def run(name: str) -> None:
            await turns.wait(tasks[name])
            begun.append(name)

        jobs = [asyncio.create_task(run(name)) for name in tasks]
        await asyncio.sleep(0)  # lets the jobs run up to their turn
        await asyncio.sleep(0)  # and those whose turn it is go on
        assert begun == ["a"]
        turns.drop(tasks["b"])
        turns.drop(tasks["a"])  # it runs already
        await asyncio.sleep(0)  # the dropped one goes on
        assert begun == ["a", "b"]
        turns.end(tasks["b"])
        turns.end(tasks["a"])
        slots[0] = 3
        turns.end(other)
        await asyncio.gather(*jobs[:5])
        assert not jobs[5].done()
        turns.end(tasks["c"])
        await jobs[5]
        return begun

    assert asyncio.run(scene()) == list("abcdef")
