"""Which folds share a task: a task costs more than a fold of milliseconds, so such folds go several at a time. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rayctl.automl.actions import StartFold

__all__ = ["ITEM_S", "in_batches"]

BATCH_S = 0.03
"""What the folds of one task are predicted to take together: short beside every bound of time that a run keeps."""
ITEM_S = 0.002
"""What a fold costs beside fitting and predicting."""
MOST = 16
"""So many folds share a task at most."""


def in_batches(starts: Sequence[StartFold], slots: int) -> Iterator[tuple[StartFold, ...]]:
    """Yield what goes into one task each, in order: folds that say nothing of their time go alone.

    ``slots``: how many tasks run at once; as long as each has one fold, quick folds are spread over them.
    """
    quick = [start for start in starts if start.quick_s is not None]
    yield from ((start,) for start in starts if start.quick_s is None)
    if not quick:
        return
    seconds = sum((start.quick_s or 0.0) + ITEM_S for start in quick)
    count = max(math.ceil(seconds / BATCH_S), math.ceil(len(quick) / MOST), min(slots, len(quick)))
    size, longer = divmod(len(quick), min(count, len(quick)))
    begin = 0
    while begin < len(quick):
        end = begin + size + (longer > 0)
        longer -= 1
        yield tuple(quick[begin:end])
        begin = end
