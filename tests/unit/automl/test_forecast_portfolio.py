"""Which models a collection of series gets first, by what is known of it. No model is fitted here."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest

from rayctl.automl.forecast.engine import ENGINE
from rayctl.automl.forecast.portfolio import portfolio
from rayctl.automl.model import RunRequest, TaskType

REQUEST = RunRequest(task=TaskType.FORECASTING, target="sales", time_column="month", id_columns=["part"], horizon=6)
FOR_GAPS = {"TSB", "IMAPA", "CrostonSBA"}


def demand(zeros: float, series: int = 4) -> pa.Table:
    """Monthly demand of parts; the given share of months has none."""
    months = pd.date_range("2018-01-01", periods=60, freq="MS")
    every = max(1, round(1 / (1 - zeros)))
    values = [5.0 + number % 3 if number % every == 0 else 0.0 for number in range(60)]
    frames = [pd.DataFrame({"part": f"p{n}", "month": months, "sales": values}) for n in range(series)]
    return pa.Table.from_pandas(pd.concat(frames), preserve_index=False)


@pytest.mark.parametrize(("zeros", "early"), [(0.0, False), (0.75, True)])
def test_intermittent_demand_gets_its_models_early(zeros: float, early: bool) -> None:
    summary = ENGINE.validate(demand(zeros), REQUEST)
    assert summary.zero_share == pytest.approx(zeros, abs=0.01)
    models = [candidate.model for candidate in portfolio(summary, REQUEST)]
    assert set(models) >= FOR_GAPS
    assert (set(models[1:4]) == FOR_GAPS) is early
