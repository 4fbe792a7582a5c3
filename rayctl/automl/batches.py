"""How folds of milliseconds are submitted: ahead of free workers, and several in one task. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rayctl.automl.actions import StartFold

__all__ = ["in_batches", "most_in_flight"]

PREFETCH_S = 0.05
"""Work that may wait in front of the workers, so that a result's way through the trainer costs no worker time."""
PREFETCH_QUICK_S = 0.06
MOST_QUICK_PER_SLOT, MOST_QUICK = 24, 256
"""The same for folds that may share a task: seconds per slot, how many per slot, and how many."""
BATCH_S = 0.03
"""What the folds of one task are predicted to take together: short beside every bound of time that a run keeps."""
ITEM_S = 0.002
"""What a fold costs beside fitting and predicting."""
MOST = 16
"""So many folds share a task at most."""


def most_in_flight(slots: int, fold_s: float, quick: bool) -> int:
    """Return how many folds may be in flight if one takes ``fold_s``; ``quick``: they may share tasks."""
    most = min(4 * slots, int(PREFETCH_S / max(fold_s, 1e-4)))
    if quick:
        per_slot = min(MOST_QUICK_PER_SLOT, int(PREFETCH_QUICK_S / (fold_s + ITEM_S)))
        most = max(most, min(slots * per_slot, MOST_QUICK))
    return max(slots, most)


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
