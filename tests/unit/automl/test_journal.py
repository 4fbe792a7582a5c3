"""Ended trials are written together while others are under way, the last ones at once, and never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from ray.exceptions import RayActorError

from rayctl.automl import journal
from rayctl.automl.actions import FoldResult, RecordTrial
from rayctl.automl.engine import Candidate, FoldOutcome
from rayctl.automl.journal import Journal
from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.automl.trial_files import TrialFiles
from rayctl.state.artifacts import ArtifactStore


def ended(trial: int, candidate: Candidate | None = None) -> RecordTrial:
    row = LeaderboardRow(trial=trial, model="m", state=TrialState.DONE, score=1.0)
    return RecordTrial(row, candidate or Candidate("m", {"x": trial}), {0: FoldResult(1.0, 0.1, 0.1)})


class Proxy:
    """Remembers what was written; fails as often as it is told to."""

    def __init__(self, fails: int = 0) -> None:
        self.written: list[list[int]] = []
        self.fails = fails
        self.record = self  # `record.remote(…)`, as on an actor's handle

    async def remote(self, run_id: str, texts: list[str], running: int) -> Mapping[str, Any]:
        if self.fails:
            self.fails -= 1
            raise RayActorError
        self.written.append([LeaderboardRow.model_validate_json(text).trial for text in texts])
        return {"slots": 1, "cancelled": False}


class Scene:
    """A journal at work, `under_way` trials of whose run have not ended."""

    def __init__(self, proxy: Proxy, outcomes: Callable[[RecordTrial], Any] = lambda record: {}) -> None:
        self.proxy = proxy
        self.under_way = 1
        files = TrialFiles(ArtifactStore("memory://journal"), "reuse/a")
        self.journal = Journal("run-1", proxy, files, outcomes, lambda: self.under_way)
        self.told = asyncio.Event()
        self.work = asyncio.create_task(self.journal.work(self._written))

    async def _written(self, answer: Mapping[str, Any]) -> None:
        self.told.set()

    async def next_write(self) -> list[int]:
        await self.told.wait()
        self.told.clear()
        return self.proxy.written[-1]


def play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scene(), 10))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "BATCH_S", 3600.0)
    monkeypatch.setattr(journal, "RETRY_S", 0.0)


def test_the_first_and_the_last_trials_do_not_wait_for_others() -> None:
    async def scene() -> None:
        run = Scene(Proxy())
        run.journal.add(ended(0))
        assert await run.next_write() == [0]
        run.journal.add(ended(1))
        for _ in range(20):
            await asyncio.sleep(0)  # whatever can go on without time passing
        assert run.proxy.written == [[0]]
        run.under_way = 0
        run.journal.add(ended(2))
        assert await run.next_write() == [1, 2]
        run.journal.close()
        await run.work

    play(scene)


def test_what_waits_is_written_when_it_is_closed_and_a_proxy_that_is_away_is_asked_again() -> None:
    async def scene() -> None:
        run = Scene(Proxy(fails=2))
        run.journal.add(ended(0))
        assert await run.next_write() == [0]
        run.journal.add(ended(1))
        run.journal.add(ended(2))
        run.journal.close()
        await run.work
        assert run.proxy.written == [[0], [1, 2]]

    play(scene)


def test_of_a_class_that_is_never_found_again_no_outcome_is_fetched() -> None:
    async def scene() -> None:
        fetched: list[int] = []

        def outcomes(record: RecordTrial) -> Mapping[int, Any]:
            fetched.append(record.row.trial)
            future: asyncio.Future[FoldOutcome] = asyncio.get_running_loop().create_future()
            import numpy as np

            nothing = np.empty(0)
            future.set_result(FoldOutcome(1.0, nothing, 0.1, 0.1, nothing.astype(np.uint8)))
            return {0: future}

        run = Scene(Proxy(), outcomes)
        run.journal.add(ended(0, Candidate("Mine", {"x": 0}, b"by value")))
        run.journal.add(ended(1))
        assert await run.next_write() == [0, 1]
        assert fetched == [1]
        run.journal.close()
        await run.work

    play(scene)
