"""With a deadline, something that can be delivered comes before the search goes on."""

from __future__ import annotations

import pytest

from rayctl.automl.actions import StartFold
from rayctl.automl.search import candidate_key
from rayctl.automl.strategy import KnownTrial, Strategy
from tests.unit.automl.simulated import Fate, make


@pytest.mark.parametrize("taken_over", [True, False])
@pytest.mark.parametrize("prefetch", [True, False])
def test_the_first_answer_is_fitted_before_others_can_hang_on_all_workers(taken_over: bool, prefetch: bool) -> None:
    """They hang until the end of the search, and then there may be no time for a new process."""
    strategy = Strategy(ensemble=False, race=False, prefetch=prefetch)
    known = {}
    if taken_over:
        first = make(lambda a: Fate(seconds=0.002), max_trials=1, finals=1, count=1).run()
        [record] = first.records
        known = {candidate_key(record.candidate): KnownTrial(record.results, record.row)}

    def fate(action: StartFold) -> Fate:
        return Fate(seconds=0.002) if action.trial == 0 else Fate("hangs")

    cluster = make(fate, deadline_at=8.0, finals=1, strategy=strategy, known=known, ordered=True, count=3).run()
    finals = [
        (action.trial, at) for action, at in zip(cluster.started, cluster.start_times, strict=True) if action.fold == 3
    ]
    assert finals[0][0] == 0
    assert finals[0][1] < 0.1
    assert cluster.delivered == {0: 1.0}
    assert all(row.reused == taken_over for row in cluster.schedule.rows if row.trial == 0)
