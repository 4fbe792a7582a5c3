"""How a run searches and what it knows before it begins: what a schedule is given. Plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rayctl.automl.actions import FoldResult
from rayctl.automl.model import LeaderboardRow
from rayctl.automl.replay import Replay

__all__ = ["KnownTrial", "Strategy"]


@dataclass(frozen=True)
class Strategy:
    """How a run searches.

    ``ensemble``: what is delivered is combined from trials (else the best trial). ``race``: give up hopeless trials.
    ``prefetch``: more folds than slots may wait for a worker while folds take milliseconds. ``replay``: the run that
    is repeated; only what ended in it is run. ``bounded``: not every trial may be delivered: it may predict too slowly.
    """

    ensemble: bool = True
    bounded: bool = False
    race: bool = False
    prefetch: bool = False
    replay: Replay | None = None


@dataclass(frozen=True)
class KnownTrial:
    """What an earlier run found out about a configuration: folds that need not be repeated; ``row`` if it ended."""

    results: Mapping[int, FoldResult]
    row: LeaderboardRow | None = None
