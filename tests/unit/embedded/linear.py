"""A checker for histories of one store whose keys are registers: did everything happen at one moment, in one order?

Every write tells its revision, and revisions are the order in which writes happened. That makes the check linear: what
remains is that each operation's moment lies between its call and its answer, and that reads saw what was there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Operation", "check"]


@dataclass(frozen=True)
class Operation:
    """One call and its answer. Moments are any growing numbers.

    ``revision``: of a write, what it made; of a read, the revision of what was read (0: nothing was there).
    ``value``: what was written or read; None: deleted or not there. ``at_least``: the newest revision of the whole
    store that a list told, else 0.
    """

    key: str
    write: bool
    called_at: int
    answered_at: int
    revision: int
    value: str | None
    at_least: int = 0


def check(history: Sequence[Operation]) -> list[str]:
    """Return what contradicts linearizability; nothing if the history is linearizable."""
    wrong: list[str] = []
    writes = sorted((op for op in history if op.write), key=lambda op: op.revision)
    wrong += [f"two writes have revision {a.revision}" for a, b in pairwise(writes) if a.revision == b.revision]
    # The order of revisions may not contradict real time: the latest call so far must precede every later answer.
    latest_call = -1
    for op in writes:
        if op.answered_at < latest_call:
            wrong.append(f"{op} was answered before a write with an older revision was called")
        latest_call = max(latest_call, op.called_at)
    by_key: dict[str, list[Operation]] = defaultdict(list)
    for op in writes:
        by_key[op.key].append(op)
    for op in history:
        if not op.write:
            wrong += _check_read(op, by_key[op.key], writes)
    return wrong


def _check_read(read: Operation, writes: Sequence[Operation], everything: Sequence[Operation]) -> list[str]:
    seen = next((i for i, op in enumerate(writes) if op.revision == read.revision), None)
    if read.revision and seen is None:
        return [f"{read} saw what nobody wrote"]
    if read.revision and (writes[seen or 0].value != read.value or writes[seen or 0].called_at > read.answered_at):
        return [f"{read} saw another value than was written, or before it was written"]
    if read.at_least:
        missed = [op for op in everything if op.answered_at < read.called_at and op.revision > read.at_least]
        if missed:
            return [f"{read} told revision {read.at_least} after {missed[0]} had been answered"]
    candidates = [seen] if seen is not None else [-1, *(i for i, op in enumerate(writes) if op.value is None)]
    for index in candidates:
        after = writes[index + 1 :]
        began = index < 0 or writes[index].called_at <= read.answered_at
        if began and not any(op.answered_at < read.called_at for op in after):
            return []
    return [f"{read} missed a write that had been answered before"]
