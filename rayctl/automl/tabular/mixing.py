"""From the predictions of several trials to those of a combination: the one place that says how.

``settings`` of a combination (JSON): ``temperature`` (number), ``threshold`` (two classes: the second from this
probability on), ``multipliers`` (one factor per class before the largest is taken), ``stack`` (see
`rayctl.automl.tabular.stacking`). All are optional.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rayctl.automl.ensemble import weighted_sum

__all__ = ["TINY", "labels_of", "mix", "tempered"]

TINY = 1e-6
"""Probabilities are kept this far from 0 and 1 before logarithms are taken of them."""


def mix(parts: Mapping[int, np.ndarray], weights: Mapping[int, float], settings: Mapping[str, Any]) -> np.ndarray:
    """Return the combined predictions: (n, classes) probabilities, (n,) numbers, or (n,) codes of a single trial.

    Args:
        parts: Trial → its predictions, for every trial in ``weights``.
        weights: Trial → weight, summing to 1.
        settings: See the module's text.
    """
    if settings.get("stack") is not None:
        from rayctl.automl.tabular.stacking import Stack

        return Stack.from_json(settings["stack"]).predict(parts)
    if len(weights) == 1:
        values = np.asarray(parts[next(iter(weights))])
        values = values.astype(np.float64) if values.ndim == 2 else values
    else:
        values = weighted_sum(parts, weights)
    temperature = settings.get("temperature")
    return values if temperature is None else tempered(values, float(temperature))


def tempered(proba: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities whose logarithms were divided by a temperature: above 1 they become less extreme.

    Temperature scaling (Guo et al., "On calibration of modern neural networks", ICML 2017), on the logarithms of
    the combined probabilities instead of one model's logits.
    """
    logs = np.log(np.clip(proba, TINY, 1.0)) / temperature
    scaled = np.exp(logs - logs.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)


def labels_of(values: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    """Return the class codes (int64) that probabilities stand for; codes stay what they are."""
    if values.ndim == 1:
        return values.astype(np.int64)
    if settings.get("threshold") is not None:
        return (values[:, 1] > float(settings["threshold"])).astype(np.int64)
    if settings.get("multipliers") is not None:
        values = values * np.asarray(settings["multipliers"], dtype=np.float64)
    return values.argmax(axis=1)
