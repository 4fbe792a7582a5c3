"""Generated tables: numeric, with strong non-linear structure, of which the wheels have few. Seeded."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["clusters", "friedman", "heavy_tail", "interactions"]

_TEST_ROWS = 6_000


def _frame(x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({f"x{column:02d}": x[:, column] for column in range(x.shape[1])} | {"y": y})


def interactions() -> pd.DataFrame:
    """Two classes by products and a ratio of numbers, and by a category that turns the sign of one of them."""
    rng = np.random.default_rng(101)
    rows = 2_200 + _TEST_ROWS
    x = rng.normal(size=(rows, 24))
    x[:, 8:16] = np.exp(0.7 * x[:, 8:16])
    group = rng.integers(0, 6, rows)
    sign = np.array([-1.0, -1.0, 0.0, 0.5, 1.0, 1.0])[group]
    logit = 1.3 * x[:, 0] * x[:, 1] + 1.5 * sign * x[:, 2] + 1.2 * np.log(x[:, 8] / x[:, 9]) + np.sin(2.5 * x[:, 3])
    y = (rng.random(rows) < 1 / (1 + np.exp(-(logit - 0.8)))).astype(int)
    x += 0.05 * rng.normal(size=x.shape)
    return _frame(x, y).assign(group=np.array(list("abcdef"))[group])


def clusters() -> pd.DataFrame:
    """Six classes of two clusters each in 14 informative of 24 numbers (`sklearn.datasets.make_classification`)."""
    from sklearn.datasets import make_classification

    x, y = make_classification(
        1_500 + _TEST_ROWS, 24, n_informative=14, n_redundant=4, n_classes=6, n_clusters_per_class=2,
        class_sep=1.2, flip_y=0.03, random_state=102,
    )  # fmt: skip
    return _frame(x, y)


def friedman() -> pd.DataFrame:
    """Friedman's first function (`sklearn.datasets.make_friedman1`) among 20 numbers, with noise."""
    from sklearn.datasets import make_friedman1

    return _frame(*make_friedman1(2_200 + _TEST_ROWS, 20, noise=2.0, random_state=103))


def heavy_tail() -> pd.DataFrame:
    """Products of factors, as prices are: a target of heavy tail, with 12 numbers and two categories."""
    rng = np.random.default_rng(104)
    rows = 2_200 + _TEST_ROWS
    x = np.column_stack([np.exp(0.6 * rng.normal(size=(rows, 6))), rng.random((rows, 6))])
    place, grade = rng.integers(0, 40, rows), rng.integers(0, 5, rows)
    level = rng.normal(scale=0.5, size=40)[place] + 0.3 * grade
    log = 0.9 * np.log(x[:, 0]) + 0.6 * np.log(x[:, 1]) + level + np.where(x[:, 6] > 0.7, x[:, 7], -0.4)
    y = 100 * np.exp(log + 0.35 * rng.normal(size=rows))
    names = np.array([f"place{number}" for number in range(40)])
    return _frame(x, y).assign(place=names[place], grade=np.array(list("ABCDE"))[grade])
