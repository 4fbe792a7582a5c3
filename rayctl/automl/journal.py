"""How ended trials are written down: their files first, then their rows through the proxy, until both are kept."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ray.exceptions import RayError

from rayctl.automl.actions import RecordTrial
from rayctl.automl.engine import FoldOutcome
from rayctl.automl.trial_files import TrialFiles
from rayctl.errors import RayctlError

if TYPE_CHECKING:
    import ray

__all__ = ["Journal"]

log = logging.getLogger(__name__)

RETRY_S = 1.0
BATCH_S = 0.02
"""Trials that end within this time are written in one transaction, unless they are the last ones."""
PAUSE, LONGEST_PAUSE_S = 2.0, 0.1
"""So many times as long as a write took is no other begun: cheap trials shall not mostly be written down."""


class Journal:
    """The journal of one run.

    Args:
        run_id: The run.
        proxy: Handle of the actor that keeps the rows; its ``record`` answers with what it wants of the trainer.
        files: Where predictions and models go.
        outcomes: Returns references to the outcomes of a trial's folds that are worth keeping, by fold.
        under_way: Returns how many trials have begun and not ended.
    """

    def __init__(
        self,
        run_id: str,
        proxy: Any,
        files: TrialFiles,
        outcomes: Callable[[RecordTrial], Mapping[int, ray.ObjectRef]],
        under_way: Callable[[], int],
    ) -> None:
        self._run_id = run_id
        self._proxy = proxy
        self._files = files
        self._outcomes = outcomes
        self._under_way = under_way
        self._waiting: list[RecordTrial] = []
        self._news = asyncio.Event()
        self._closed = False

    def add(self, record: RecordTrial) -> None:
        """Write an ended trial soon."""
        self._waiting.append(record)
        self._news.set()

    def close(self) -> None:
        """No more will be added: `work` returns when everything is written."""
        self._closed = True
        self._news.set()

    async def work(self, written: Callable[[Mapping[str, Any]], Awaitable[None]]) -> None:
        """Write in batches until it is closed. ``written`` gets the proxy's answer to each."""
        not_before = 0.0
        while True:
            await self._news.wait()
            await self._gather(not_before)
            self._news.clear()
            records, self._waiting = self._waiting, []
            if records:
                began = time.monotonic()
                answer = await self.write(records)
                ended = time.monotonic()
                not_before = ended + max(BATCH_S, min(PAUSE * (ended - began), LONGEST_PAUSE_S))
                await written(answer)
            if self._closed and not self._waiting:
                return

    async def _gather(self, until: float) -> None:
        """Wait for more trials, but not if there will be none: what has ended then is written at once."""
        while not self._closed and self._under_way() and (left := until - time.monotonic()) > 0:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except asyncio.TimeoutError:
                return

    async def write(self, records: Sequence[RecordTrial]) -> Mapping[str, Any]:
        """Write these trials; return the proxy's answer. Repeats until it is done."""
        texts = [record.row.model_dump_json() for record in records]
        while True:
            try:
                await self._keep_files(records)
                answer: Mapping[str, Any] = await self._proxy.record.remote(self._run_id, texts, self._under_way())
            except (RayctlError, RayError) as error:
                # A full disk or a proxy that is starting again: the trials are safe in memory meanwhile.
                log.warning("run %s: the journal cannot be written, trying again: %s", self._run_id, error)
                await asyncio.sleep(RETRY_S)
                continue
            return answer

    async def _keep_files(self, records: Sequence[RecordTrial]) -> None:
        """Store trials; predictions and models only of those that may still be needed. Safe to repeat."""
        found: list[tuple[RecordTrial, dict[int, FoldOutcome]]] = []
        for record in records:
            if record.row.reused or not record.results or not self._files.keeps(record.candidate):
                continue
            refs = {fold: ref for fold, ref in self._outcomes(record).items() if fold in record.results}
            found.append((record, dict(zip(refs, await asyncio.gather(*refs.values()), strict=True))))

        def save() -> None:
            for record, outcomes in found:
                self._files.save(record.candidate, record.row, record.results, outcomes)

        if found:
            await asyncio.to_thread(save)  # all in one thread: each change of threads waits for the interpreter
