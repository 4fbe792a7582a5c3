"""rayctl through its HTTP service, as a caller sees it: the clock runs from submit to the result in hand."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
from job import Job

import rayctl
from rayctl.automl.model import RunRequest

PATIENCE_S = 3600.0


def request_of(job: Job) -> dict[str, Any]:
    """Return the fields of the request: the data, the metric, the budget, and otherwise rayctl's own defaults."""
    fields: dict[str, Any] = {
        "target": job.target, "metric": job.metric, "time_budget": job.budget_s, "seed": job.seed,
        "name": "quality-benchmark",
    }  # fmt: skip
    if job.problem == "series":
        fields |= {"task": "forecasting", "time_column": "time", "id_columns": ["series"], "horizon": job.horizon}
        fields |= {"season_length": [job.season], "frequency": job.frequency}
    else:
        fields["task"] = "regression" if job.is_regression else "classification"
    if "reuse" in RunRequest.model_fields:
        fields["reuse"] = False  # no peer may profit from an earlier run either
    return fields | job.options.get("request", {})


def source_version() -> str:
    """Return the commit of the rayctl that is imported, with a mark if its files differ from it."""
    folder = Path(rayctl.__file__).parents[1]

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "no repository") + ("+" if git("status", "-s", "rayctl") else "")


def main() -> None:
    """Submit, wait, fetch the result, predict."""
    job = Job.read()
    train, test = job.frames()
    fields = request_of(job)
    with rayctl.connect(job.options["url"], token_file=job.options["token_file"], timeout_s=600) as connection:
        connection.automl.info()  # the connection is open and the modules are imported before the clock starts
        with job.timed("fit"):
            run = connection.automl.submit_request(fields, train)
            result = run.result(wait=PATIENCE_S)
        with job.timed("predict"):
            predicted = run.forecast() if job.problem == "series" else run.predict(test, proba=not job.is_regression)
        job.notes |= {"run": result["run"], "best": result["best"], "leaderboard": result["leaderboard"][:50]}
    job.notes["source"] = source_version()
    job.options = {"request": fields}  # where the service listened is of no interest
    if job.problem == "series":
        predicted = predicted[["series", "time", "prediction"]].assign(time=pd.to_datetime(predicted["time"]))
    elif job.is_regression:
        predicted = predicted[["prediction"]]
    else:
        predicted = predicted[[f"proba_{label}" for label in job.classes]].set_axis(job.classes, axis=1)
    job.hand_in(predicted, None, ["rayctl", "ray", "lightgbm", "scikit-learn", "statsforecast", "pandas"])


if __name__ == "__main__":
    main()
