"""Adaptive search after the portfolio: the next configuration by what the earlier ones gave.

The tree-structured Parzen estimator of Optuna does the work. Every proposal is a function of the trial's number,
the seed and the results that it may know, so a run can be repeated; no study lives between proposals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from rayctl.automl.engine import Candidate
from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.automl.search import Range, Space, derive_seed

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["propose"]

_TURNS = (0, 0, 1)
"""Two proposals for the best model, one for the second best, and so on."""
_RANDOM_FIRST = 6
_PRUNED_AFTER = 200


def propose(
    spaces: Mapping[str, Space], rows: Sequence[LeaderboardRow], greater_is_better: bool, seed: int, number: int
) -> Candidate | None:
    """Return a configuration for trial ``number``; None if there is no space to search in.

    Args:
        spaces: Model → its parameter space.
        rows: The ended trials that the proposal may know.
        greater_is_better: Direction of the scores.
        seed: Of the run.
        number: Of the trial, which decides model and random numbers.
    """
    import optuna

    if not spaces:
        return None
    done = [row for row in rows if row.state is TrialState.DONE and row.score is not None and isfinite(row.score)]
    order = _by_best_score(spaces, done, greater_is_better)
    model = order[_TURNS[number % len(_TURNS)] % len(order)]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(
        seed=derive_seed(seed, f"adaptive/{model}", number), n_startup_trials=_RANDOM_FIRST
    )
    study = optuna.create_study(direction="maximize" if greater_is_better else "minimize", sampler=sampler)
    distributions = {name: _distribution(choice) for name, choice in spaces[model].items()}
    for row in [row for row in done if row.model == model][-_PRUNED_AFTER:]:
        known = _within(row.params, spaces[model])
        study.add_trial(
            optuna.trial.create_trial(
                params=known, distributions={name: distributions[name] for name in known}, value=row.score
            )
        )
    asked = study.ask(distributions)
    return Candidate(model, {name: _value(spaces[model][name], asked.params[name]) for name in sorted(distributions)})


def _by_best_score(spaces: Mapping[str, Space], done: Sequence[LeaderboardRow], greater_is_better: bool) -> list[str]:
    sign = -1.0 if greater_is_better else 1.0
    best = {model: float("inf") for model in sorted(spaces)}
    for row in done:
        if row.model in best and row.score is not None:
            best[row.model] = min(best[row.model], sign * row.score)
    return sorted(best, key=lambda model: (best[model], model))


def _distribution(choice: Range | Sequence[Any]) -> BaseDistribution:
    from optuna import distributions

    if not isinstance(choice, Range):
        # Choices may be lists, which Optuna cannot hold: it chooses the position.
        return distributions.CategoricalDistribution(list(range(len(choice))))
    if choice.whole:
        return distributions.IntDistribution(int(choice.low), int(choice.high), log=choice.log)
    return distributions.FloatDistribution(choice.low, choice.high, log=choice.log)


def _value(choice: Range | Sequence[Any], drawn: Any) -> Any:
    if not isinstance(choice, Range):
        return choice[drawn]
    # Four digits are short in leaderboards; rounding must not leave the range.
    return int(drawn) if choice.whole else min(max(float(f"{drawn:.4g}"), choice.low), choice.high)


def _within(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Return the parameters of an earlier trial that lie in the space, as Optuna knows them."""
    found: dict[str, Any] = {}
    for name, choice in space.items():
        value = params.get(name)
        if not isinstance(choice, Range):
            # Through JSON a tuple has become a list.
            same = [place for place, item in enumerate(choice) if name in params and _listed(item) == _listed(value)]
            if same:
                found[name] = same[0]
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            held = min(max(value, choice.low), choice.high)
            found[name] = int(held) if choice.whole else float(held)
    return found


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value
