"""Measure what one fold costs by family and size, beside what `rayctl.automl.tabular.cost` predicts.

Run it on a quiet machine: ``python -m tests.benchmarks.measure_costs [--rows 1000 10000] [--models lightgbm mlp]``.
Seconds are CPU seconds of one thread. A ratio far from 1 over all sizes of a family means that its coefficient in
`cost.py` wants correcting; the scheduler corrects single requests by itself.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
import pyarrow as pa

from rayctl.automl.model import RunRequest
from rayctl.automl.tabular.engine import ENGINE


def table(rows: int, features: int, classes: int) -> pa.Table:
    """Return synthetic rows: numbers with interactions and a few gaps, a quarter of the columns are categories."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, features))
    signal = x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + 0.5 * x[:, 3] + rng.normal(size=rows)
    columns = {}
    for place in range(features):
        values = x[:, place]
        if place % 4 == 3:
            edges = np.linspace(-2, 2, 4 + 2 * place)
            columns[f"c{place}"] = pa.array(np.digitize(values, edges).astype(str))
        else:
            columns[f"n{place}"] = pa.array(np.where(rng.random(rows) < 0.02, np.nan, values))
    target = signal
    if classes:
        target = np.digitize(signal, np.quantile(signal, np.linspace(0, 1, classes + 1)[1:-1])).astype(str)
    return pa.table({**columns, "y": target})


def main() -> None:
    """Print one line per size and default candidate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 2000, 8000, 30000])
    parser.add_argument("--features", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--classes", type=int, nargs="+", default=[0, 2, 8], help="0: regression")
    parser.add_argument("--models", nargs="*", default=[])
    parser.add_argument("--entries", type=int, default=10, help="of the portfolio")
    asked = parser.parse_args()
    ratios: dict[str, list[float]] = {}
    for rows in asked.rows:
        for features in asked.features:
            for classes in asked.classes:
                request = RunRequest(task="classification" if classes else "regression", target="y")
                data = table(rows, features, classes)
                summary, prepared = ENGINE.validate(data, request), ENGINE.prepare(data, request)
                fold = ENGINE.split(prepared, request)[0]
                for place, candidate in enumerate(ENGINE.portfolio(summary, request)[: asked.entries]):
                    if asked.models and candidate.model not in asked.models:
                        continue
                    began = time.process_time()
                    outcome = ENGINE.evaluate(prepared, fold, candidate, request, seed=0, deadline=None)
                    took = time.process_time() - began
                    cost = ENGINE.cost(summary, request, candidate)
                    assert cost is not None
                    ratios.setdefault(candidate.model, []).append(math.log2(took / cost.seconds))
                    print(
                        f"{rows:6d} x {features:2d} k={classes} {place:2d} {candidate.model:13s} "
                        f"{took:7.2f} s, predicted {cost.seconds:7.2f} s ({took / cost.seconds:5.2f}), "
                        f"{len(outcome.model) / 1e6:6.2f} MB {candidate.params.get('derived') or ''}",
                        flush=True,
                    )
    for model, logs in ratios.items():
        middle, low, high = (2**value for value in (float(np.median(logs)), min(logs), max(logs)))
        print(f"{model:13s} measured/predicted: median {middle:.2f}, from {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    main()
