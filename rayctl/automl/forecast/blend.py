"""From the windows' forecasts of many trials to one combination, with guards against believing few windows too much.

Several rules compete: the weights of greedy selection drawn towards a plain average, the median of the best, and,
with several windows, weights of each series' own. Each is judged on windows that its weights were not chosen on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from rayctl.automl.ensemble import greedy_blend
from rayctl.automl.forecast.scoring import WindowScorer
from rayctl.automl.forecast.windows import Window
from rayctl.automl.metrics import METRICS

__all__ = ["Gaps", "Rule", "choose_rule", "mix", "mixed_windows", "series_weights", "window_loss"]

_MAX_TRIALS = 20
_MAX_VALUES = 60_000
_MAX_MEMBERS = 8
_STEPS = 25
_PATIENCE = 6
_TOP = 8
_NEAR = 0.2  # of the best trial's loss: who is further behind is not averaged in for lack of evidence
_APART = 0.3  # of a trial's loss: forecasts that differ by less are variants of one another
_BELIEF = 30.0  # series times windows at which greedy weights and the plain average count the same
_BELIEF_WINDOWS = 1.0  # the same in windows: series of one time share its surprises, however many they are
_CLEARLY = 0.02  # another rule must be better than the weighted average by this share
_POWERS = (1.0, 3.0)
_SHRINK = 2.0  # a series' own errors count as if the collection's mean had been seen in so many windows more


@dataclass(frozen=True)
class Rule:
    """How forecasts of trials become one.

    ``median``: the median of the members instead of their weighted mean. ``power``: above 0, each series has weights
    of its own, the collection's times its relative errors to this negative power. ``loss``: on unseen windows.
    """

    weights: dict[int, float]
    median: bool = False
    power: float = 0.0
    loss: float = float("nan")

    def settings(self) -> dict[str, Any]:
        """Return the JSON form without the weights."""
        return {"median": self.median, "power": self.power}

    @classmethod
    def of(cls, weights: Mapping[int, float], settings: Mapping[str, Any]) -> Rule:
        """Return the rule of weights and `settings`."""
        return cls(dict(weights), bool(settings.get("median", False)), float(settings.get("power", 0.0)))


def mix(rule: Rule, forecasts: Mapping[int, np.ndarray], weights: np.ndarray | None = None) -> np.ndarray:
    """Return the combined forecast, float64, shape of the members'.

    Args:
        rule: The rule.
        forecasts: Member → (series, horizon).
        weights: (series, members in ascending order of trials), for rules with weights per series. Where a weight is
            0, the member's forecast does not matter, and may be NaN.
    """
    members = sorted(rule.weights)
    stack = np.stack([np.asarray(forecasts[trial], np.float64) for trial in members])
    if weights is not None:
        # A member that has no weight for a series may have no forecast of it either.
        used = (weights > 0).T[:, :, None]
        if rule.median:
            return np.asarray(np.nanmedian(np.where(used, stack, np.nan), axis=0))
        stack = np.where(used, stack, 0.0)
    if rule.median:
        return np.asarray(np.median(stack, axis=0))
    if weights is not None:
        return np.einsum("sm,msh->sh", weights, stack)
    return np.asarray(np.einsum("m,msh->sh", np.array([rule.weights[trial] for trial in members]), stack))


def series_weights(rule: Rule, windows: Sequence[Window], count: int) -> np.ndarray:
    """Return the weights of every series from its errors in the windows, shape (count, members), rows sum to 1.

    Members that were better on a series than on the collection weigh more there; how much is `Rule.power`. A series
    without windows has the collection's weights.
    """
    members = sorted(rule.weights)
    total, seen = np.zeros((count, len(members))), np.zeros((count, 1))
    for window in windows:
        losses = np.stack([window.scorer.losses(window.forecasts[trial]) for trial in members], axis=1)
        size = losses.mean(axis=1, keepdims=True)
        usable = (np.isfinite(size) & (size > 0))[:, 0]
        total[window.series[usable]] += losses[usable] / size[usable]
        seen[window.series[usable]] += 1
    common = total.sum(axis=0) / max(1.0, float(seen.sum()))
    common = np.where(common > 0, common, 1.0)
    relative = (total + _SHRINK * common) / (seen + _SHRINK) / common
    raw = np.array([rule.weights[trial] for trial in members]) * np.maximum(relative, 1e-3) ** -rule.power
    return np.asarray(raw / raw.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Gaps:
    """Which members have forecast which series, where they have not forecast all.

    ``there``: (series, members in ascending order). ``fills_in``: the trial that forecasts series of no member.
    """

    there: np.ndarray
    fills_in: int | None

    def members(self, rule: Rule) -> Rule:
        """Return the rule with the trial that fills in as a member, which has no weight of its own."""
        return rule if self.fills_in is None else replace(rule, weights={**rule.weights, self.fills_in: 0.0})

    def weights(self, rule: Rule, windows: Sequence[Window], count: int) -> np.ndarray:
        """Return the weights of every series, for `members` of the rule; rows sum to 1."""
        trials = sorted(rule.weights)
        usual = np.tile(np.array([rule.weights[trial] for trial in trials]), (count, 1))
        raw = np.where(self.there, series_weights(rule, windows, count) if rule.power > 0 else usual, 0.0)
        if self.fills_in is not None:
            alone = np.where(raw.sum(axis=1) > 0, 0.0, 1.0)
            raw = np.insert(raw, sorted(self.members(rule).weights).index(self.fills_in), alone, axis=1)
        return np.asarray(raw / raw.sum(axis=1, keepdims=True))


def mixed_windows(rule: Rule, windows: Sequence[Window], count: int, gaps: Gaps | None = None) -> list[np.ndarray]:
    """Return the combined forecast of every window; weights per series come from the other windows only.

    ``gaps``: each series is forecast by those who forecast it after all data.
    """
    mixed = []
    for window in windows:
        others = [other for other in windows if other.group != window.group]
        if gaps is not None:
            weights = gaps.weights(rule, others, count)[window.series]
            mixed.append(mix(gaps.members(rule), window.forecasts, weights))
            continue
        own = series_weights(rule, others, count)[window.series] if rule.power > 0 else None
        mixed.append(mix(rule, window.forecasts, own))
    return mixed


def window_loss(windows: Sequence[Window], forecasts: Sequence[np.ndarray]) -> float:
    """Return the mean loss over windows (lower is better), infinite where it is not defined."""
    found = [
        window.scorer.metric.loss(window.scorer.score(forecast))
        for window, forecast in zip(windows, forecasts, strict=True)
    ]
    value = sum(found) / len(found)
    return value if np.isfinite(value) else float("inf")


def choose_rule(windows: Sequence[Window], count: int) -> Rule:
    """Choose how to combine the trials of the windows.

    Args:
        windows: All windows, with the forecasts of the same trials.
        count: Number of series of the collection.
    """
    own = _own_losses(windows)
    ranked = sorted(own, key=lambda trial: (own[trial], trial))
    # Variants of the leader would crowd out all others.
    distinct = _distinct(windows, own)
    ranked = (distinct + [trial for trial in ranked if trial not in distinct])[:_MAX_TRIALS]
    small = [_sample(window, ranked, len(windows)) for window in windows]
    makers: dict[str, Callable[[Sequence[Window]], Rule]] = {"weighted": _weighted}
    if len(ranked) >= 3:
        makers["median"] = _median
    splits = _splits(small)
    if len(windows) >= 3 and windows[0].scorer.metric.function is None:
        for power in _POWERS:
            makers[f"own{power:g}"] = _with_power(power)
    losses = {}
    for name, make in makers.items():
        found = []
        for learn, check in splits:
            rule = make(learn)
            weights = series_weights(rule, learn, count) if rule.power > 0 else None
            mixed = [mix(rule, w.forecasts, None if weights is None else weights[w.series]) for w in check]
            found.append(window_loss(check, mixed))
        losses[name] = sum(found) / len(found) if found else float("nan")
    best = "weighted"
    for name, loss in losses.items():
        if loss < losses[best] - _CLEARLY * abs(losses["weighted"]):
            best = name
    return replace(makers[best](small), loss=losses[best])


def _with_power(power: float) -> Callable[[Sequence[Window]], Rule]:
    return lambda windows: replace(_weighted(windows), power=power)


def _sample(window: Window, trials: Sequence[int], windows: int) -> Window:
    """Return a window of the given trials and so many evenly chosen series that choosing weights stays quick."""
    size, horizon = window.positions.shape
    step = max(1, -(-size * horizon * windows // _MAX_VALUES))
    rows = np.arange(0, size, step)
    return Window(
        window.group,
        window.series[rows],
        window.positions[rows],
        window.scorer.take(rows),
        window.scale[rows],
        {trial: window.forecasts[trial][rows] for trial in trials},
    )


def _splits(windows: Sequence[Window]) -> list[tuple[list[Window], list[Window]]]:
    """Return pairs (to choose weights on, to judge them on): by windows, or by halves of the series of one window."""
    if len(windows) > 1:
        return [([other for other in windows if other is not one], [one]) for one in windows]
    (window,) = windows
    if len(window.series) < 8:
        return []
    halves = []
    for half in (0, 1):
        rows = np.arange(half, len(window.series), 2)
        halves.append(
            Window(
                window.group,
                window.series[rows],
                window.positions[rows],
                window.scorer.take(rows),
                window.scale[rows],
                {trial: forecast[rows] for trial, forecast in window.forecasts.items()},
            )
        )
    return [([halves[0]], [halves[1]]), ([halves[1]], [halves[0]])]


def _own_losses(windows: Sequence[Window]) -> dict[int, float]:
    return {trial: window_loss(windows, [w.forecasts[trial] for w in windows]) for trial in windows[0].forecasts}


def _distinct(windows: Sequence[Window], own: Mapping[int, float]) -> list[int]:
    """Return the best trials that differ from one another, best first; those far behind the best are left out.

    Many variants of one model are one opinion: an average over them would be no safer than the best of them. How far
    apart two trials are is the loss of one's forecasts if the other's were true, against the own loss of the worse.
    """
    ranked = sorted(own, key=lambda trial: (own[trial], trial))
    best = own[ranked[0]]
    found = ranked[:1]
    for trial in ranked[1:]:
        if len(found) == _TOP or own[trial] - best > _NEAR * abs(best):
            break
        if all(_distance(windows, trial, other) >= _APART * abs(own[trial]) for other in found):
            found.append(trial)
    return found


def _distance(windows: Sequence[Window], one: int, other: int) -> float:
    """Return how far apart two trials' forecasts are, in the unit of named metrics' losses."""
    parts = []
    for window in windows:
        metric = window.scorer.metric if window.scorer.metric.function is None else METRICS["mase"]
        as_truth = WindowScorer(metric, np.asarray(window.forecasts[other], np.float64), window.scorer.scale)
        parts.append(metric.loss(as_truth.score(np.asarray(window.forecasts[one], np.float64))))
    value = sum(parts) / len(parts)
    return value if np.isfinite(value) else 0.0


def _median(windows: Sequence[Window]) -> Rule:
    top = _distinct(windows, _own_losses(windows))
    return Rule(dict.fromkeys(sorted(top), 1 / len(top)), median=True)


def _weighted(windows: Sequence[Window]) -> Rule:
    """Greedy weights, drawn towards the average of the best few as far as there are few errors to judge by."""
    top = _distinct(windows, _own_losses(windows))
    sizes = np.cumsum([0, *(len(window.series) for window in windows)])
    predictions = {
        trial: np.concatenate([window.forecasts[trial] for window in windows]) for trial in windows[0].forecasts
    }
    blend = greedy_blend(predictions, _loss_of(windows, sizes), steps=_STEPS, patience=_PATIENCE)
    belief = float(sizes[-1]) / (float(sizes[-1]) + _BELIEF) * len(windows) / (len(windows) + _BELIEF_WINDOWS)
    weights = {trial: belief * weight for trial, weight in blend.weights.items()}
    for trial in top:
        weights[trial] = weights.get(trial, 0.0) + (1 - belief) / len(top)
    kept = sorted(weights, key=lambda trial: (-weights[trial], trial))[:_MAX_MEMBERS]
    kept = [trial for trial in kept if weights[trial] >= 0.02] or kept[:1]
    total = sum(weights[trial] for trial in kept)
    return Rule({trial: weights[trial] / total for trial in sorted(kept)})


def _loss_of(windows: Sequence[Window], sizes: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return the loss of all windows' forecasts in one array; a weighted sum of absolute errors where it is one."""
    metric = windows[0].scorer.metric
    if metric.function is not None or metric.name not in ("mae", "mase", "wape"):
        return lambda values: window_loss(windows, [values[a:b] for a, b in pairwise(sizes)])
    truth = np.concatenate([window.scorer.truth for window in windows])
    usable = ~np.isnan(truth)
    factors = []
    for window in windows:
        seen = ~np.isnan(window.scorer.truth)
        if metric.name == "wape":
            actual = float(np.abs(np.where(seen, window.scorer.truth, 0.0)).sum())
            factors.append(np.where(seen, 1.0, 0.0) / (actual or 1.0) / len(windows))
            continue
        each = np.where(seen, 1.0, 0.0) / np.maximum(1, seen.sum(axis=1, keepdims=True))
        if metric.name == "mase":
            each = each / window.scorer.scale[:, None]
        factors.append(each / max(1, int(seen.any(axis=1).sum())) / len(windows))
    factor = np.concatenate(factors)
    filled = np.where(usable, truth, 0.0)
    return lambda values: float(np.vdot(np.abs(filled - values), factor))
