"""AutoGluon tabular with one of its presets."""

from __future__ import annotations

from autogluon.tabular import TabularPredictor
from job import Job

METRICS = {"roc_auc": "roc_auc", "log_loss": "log_loss", "rmse": "root_mean_squared_error"}


def main() -> None:
    """Fit for the budget, predict the test rows."""
    job = Job.read()
    train, test = job.frames()
    predictor = TabularPredictor(
        label=job.target, problem_type=job.problem, eval_metric=METRICS[job.metric],
        path=f"{job.folder}/model", verbosity=1,
    )  # fmt: skip
    with job.timed("fit"):
        predictor.fit(train, presets=job.options["presets"], time_limit=job.budget_s, num_cpus=job.cpus, num_gpus=0)
    with job.timed("predict"):
        predicted = predictor.predict(test) if job.is_regression else predictor.predict_proba(test)
    board = predictor.leaderboard(silent=True)
    job.notes["models"] = dict(zip(board["model"], board["score_val"], strict=True))
    packages = ["autogluon.tabular", "lightgbm", "catboost", "xgboost-cpu", "scikit-learn", "ray", "torch"]
    job.hand_in(predicted.to_numpy(), ["prediction"] if job.is_regression else predicted.columns, packages)


if __name__ == "__main__":
    main()
