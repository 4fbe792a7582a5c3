"""How ended trials are written down: their files first, then their rows through the proxy, until both are kept."""

from __future__ import annotations

import asyncio
import logging
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
"""Trials that end within this time are written in one transaction."""


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
        self._waiting: asyncio.Queue[RecordTrial | None] = asyncio.Queue()

    def add(self, record: RecordTrial) -> None:
        """Write an ended trial soon."""
        self._waiting.put_nowait(record)

    def close(self) -> None:
        """No more will be added: `work` returns when everything is written."""
        self._waiting.put_nowait(None)

    async def work(self, written: Callable[[Mapping[str, Any]], Awaitable[None]]) -> None:
        """Write in batches until it is closed. ``written`` gets the proxy's answer to each."""
        open_end = True
        while open_end:
            batch = [await self._waiting.get()]
            if batch[0] is not None:
                await asyncio.sleep(BATCH_S)
            while not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            open_end = None not in batch
            records = [record for record in batch if record is not None]
            if records:
                await written(await self.write(records))

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
            if record.row.reused or not record.results:
                continue
            there = self._outcomes(record)
            found.append((record, {fold: await there[fold] for fold in record.results if fold in there}))

        def save() -> None:
            for record, outcomes in found:
                self._files.save(record.candidate, record.row, record.results, outcomes)

        if found:
            await asyncio.to_thread(save)  # all in one thread: each change of threads waits for the interpreter
