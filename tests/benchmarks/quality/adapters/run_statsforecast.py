"""One cheap statistical model per series, or the median of three, from statsforecast."""

from __future__ import annotations

from typing import Any

import pandas as pd
from job import Job
from statsforecast import StatsForecast
from statsforecast.models import AutoCES, AutoETS, AutoTheta, DynamicOptimizedTheta, SeasonalNaive

MODELS: dict[str, Any] = {
    "seasonal_naive": SeasonalNaive,
    "auto_ets": AutoETS,
    "auto_ces": AutoCES,
    "dynamic_theta": DynamicOptimizedTheta,
    "auto_theta": AutoTheta,
}


def main() -> None:
    """Forecast every series. A series on which a model fails gets the seasonal naive forecast."""
    job = Job.read()
    train, _ = job.frames()
    long = train.rename(columns={"series": "unique_id", "time": "ds", "value": "y"})
    models = [MODELS[name](season_length=job.season) for name in job.options["models"]]
    with job.timed("fit"):
        engine = StatsForecast(
            models=models, freq=job.frequency, n_jobs=job.cpus, fallback_model=SeasonalNaive(season_length=job.season)
        )
        forecast = engine.forecast(df=long, h=job.horizon)
    with job.timed("predict"):  # these models forecast while they fit
        columns = forecast.columns.difference(["unique_id", "ds"])
        predictions = pd.DataFrame(
            {
                "series": forecast["unique_id"],
                "time": forecast["ds"],
                "prediction": forecast[columns].median(axis=1),
            }
        )
    job.hand_in(predictions, None, ["statsforecast", "coreforecast", "numpy", "pandas"])


if __name__ == "__main__":
    main()
